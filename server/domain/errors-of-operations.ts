import { defineError } from "./errors.ts";

// --- long work on machines ----------------------------------------------------------------------------------------
export const OperationNotFound = defineError("OPERATION_NOT_FOUND", {
  kind: "user",
  httpStatus: 404,
  message: (d: { id: string }) => `there is no operation ${d.id}`,
  advice: "`boot operation list` shows those under way and the newest that ended; older ones are let go.",
});
export const OperationUnderWay = defineError("OPERATION_UNDER_WAY", {
  kind: "user",
  httpStatus: 409,
  message: (d: { machines: string; operation: string }) =>
    `the operation ${d.operation} is at work on ${d.machines}`,
  advice:
    "`boot operation show ID` tells how far it is. Wait for its end, leave these machines out, or end it: `boot operation cancel ID`.",
});
export const OperationEnded = defineError("OPERATION_ENDED", {
  kind: "user",
  httpStatus: 409,
  message: (d: { id: string; state: string }) => `the operation ${d.id} has ended already: ${d.state}`,
  advice: "There is nothing left to cancel. `boot operation show ID` tells what it came to.",
});
export const PowerNotConfigured = defineError("POWER_NOT_CONFIGURED", {
  kind: "user",
  httpStatus: 409,
  message: (d: { machine: string }) => `nobody has said how ${d.machine} is switched on and off`,
  advice:
    "Switch it by hand: it boots what is assigned. To have the server do it, boot it once into a role with sshKeys, or set its board: `boot machine power MACHINE --method ipmi --address ADDRESS --user USER --password-stdin` (docs/power.md).",
});
export const StudentsNotKept = defineError("STUDENTS_NOT_KEPT", {
  kind: "user",
  httpStatus: 409,
  message: () => "this server keeps no students, so it has none of their objects to remove",
  advice: "Reset the machines without --students.",
});
export const StepTimedOut = defineError("STEP_TIMED_OUT", {
  kind: "operational",
  httpStatus: 504,
  message: (d: { problem: string }) => d.problem,
  advice: "`boot status` tells where the machine is now. Run the same command again when the cause is gone.",
});
export const MachineNotBack = defineError("MACHINE_NOT_BACK", {
  kind: "operational",
  httpStatus: 504,
  message: (d: { problem: string }) => d.problem,
  advice:
    "`boot doctor NAME` says how far it came. If it was not heard of, go there: is it on, is its cable in, does its firmware boot from the network first? Then run the same command again.",
});
export const BootFailed = defineError("BOOT_FAILED", {
  kind: "operational",
  httpStatus: 502,
  message: (d: { problem: string }) => d.problem,
  advice: "`boot status` and `boot events --machine MACHINE` tell more. Then run the same command again.",
});
export const MachineGone = defineError("MACHINE_GONE", {
  kind: "user",
  httpStatus: 404,
  message: (d: { machine: string }) => `${d.machine} was removed from the inventory meanwhile`,
  advice: "There is nothing left to do on it.",
});
export const NotClean = defineError("NOT_CLEAN", {
  kind: "operational",
  httpStatus: 409,
  message: (d: { machine: string; problems: readonly string[] }) =>
    `${d.machine} runs, but it is not proven clean: ${d.problems.join("; ")}`,
  advice: "Reset it once more; an image or role that changed while it booted is the usual reason.",
});
