import { defineError } from "./errors.ts";

/** What goes wrong where machines are switched on and off. */

export const PowerNotPossible = defineError("POWER_NOT_POSSIBLE", {
  kind: "user",
  httpStatus: 409,
  message: (d: { machine: string; action: string; problem: string; advice?: string }) =>
    `${d.machine}: there is no way to ${d.action}: ${d.problem}`,
  advice:
    "`boot machine power MACHINE` shows which way is set; with --method ipmi or redfish it gets the board that can do everything (docs/power.md).",
});
export const PowerFailed = defineError("POWER_FAILED", {
  kind: "operational",
  httpStatus: 502,
  message: (d: { machine: string; action: string; tried: readonly string[] }) =>
    `${d.machine}: could not ${d.action}; tried ${d.tried.join("; ")}`,
  advice:
    "See to the first that should have worked: look whether the machine or its board is on the network, and whether `boot machine power MACHINE` names the right one.",
});
export const PowerTooSoon = defineError("POWER_TOO_SOON", {
  kind: "user",
  httpStatus: 429,
  message: (d: { machine: string; seconds: number }) =>
    `${d.machine} was switched off or restarted less than a minute ago`,
  advice:
    "A machine is switched off or restarted once a minute at most. Wait a minute, then give the order again.",
});
export const PowerProgramMissing = defineError("POWER_PROGRAM_MISSING", {
  kind: "operational",
  httpStatus: 500,
  message: (d: { program: string; package: string }) => `the program ${d.program} is not installed here`,
  advice:
    "Install Debian's package of that name on the server: IPMI goes by ipmitool. Redfish and SSH need no program.",
});

// --- SSH --------------------------------------------------------------------------------------------------------
export const HostKeyUnknown = defineError("HOST_KEY_UNKNOWN", {
  kind: "user",
  httpStatus: 409,
  message: (d: { machine: string }) =>
    `${d.machine} never told its SSH host key, and no other one is trusted`,
  advice:
    "A machine tells it by the callback at the end of its boot. Boot it once into a role with the parameter sshKeys, or set a board: `boot machine power MACHINE --method ipmi --address ADDRESS --user USER --password-stdin`.",
});
export const HostKeyRefused = defineError("HOST_KEY_REFUSED", {
  kind: "operational",
  httpStatus: 502,
  message: (d: { machine: string; address: string }) =>
    `whoever answers SSH at ${d.address} has another host key than ${d.machine} told by its callback`,
  advice:
    "Either it booted since without calling back, or another machine has its address. Look which one that is; the order was given to nobody. After its next boot with a callback the new key counts.",
});
export const MachineUnreachable = defineError("MACHINE_UNREACHABLE", {
  kind: "operational",
  httpStatus: 504,
  message: (d: { machine: string; address: string; reason: string }) =>
    `${d.machine} does not answer SSH at ${d.address}: ${d.reason}`,
  advice:
    "It may be off, or still booting: `boot machine show MACHINE` tells where it was last. `boot power status MACHINE` asks again.",
});
export const SshRefused = defineError("SSH_REFUSED", {
  kind: "operational",
  httpStatus: 502,
  message: (d: { machine: string; user: string; reason: string }) =>
    `${d.machine} does not take this server's order by SSH as ${d.user}: ${d.reason}`,
  advice:
    "The server's key comes with the parameter sshKeys of the role that the machine booted, for the account that `sshUser` in role.yaml names. Boot the machine anew, or look whether its role has both (docs/power.md).",
});

export const CommandNotAllowed = defineError("COMMAND_NOT_ALLOWED", {
  kind: "user",
  httpStatus: 409,
  message: (d: { machine: string }) =>
    `${d.machine} booted a role that lets this server restart and stop it by SSH, and run no command`,
  advice:
    "Make a role of your own that extends it, with `sshCommands: any` in its role.yaml, and boot the machine into that (docs/power.md). Whoever has this server's key may then do there what that account may.",
});
export const CommandCut = defineError("COMMAND_CUT", {
  kind: "operational",
  httpStatus: 504,
  message: (d: { machine: string; reason: string }) =>
    `${d.machine}: the command was given, and nobody heard how it ended: ${d.reason}`,
  advice:
    "It may still run there. Give it more time with --timeout, or start it so that nobody waits for it: `boot run MACHINE -- systemd-run COMMAND`.",
});

// --- boards (BMC) -----------------------------------------------------------------------------------------------
export const BmcUnreachable = defineError("BMC_UNREACHABLE", {
  kind: "operational",
  httpStatus: 504,
  message: (d: { machine: string; method: string; address: string; reason: string }) =>
    `the board of ${d.machine} does not answer ${d.method} at ${d.address}: ${d.reason}`,
  advice:
    "Is the address right, is the board's network plugged in, and is IPMI over LAN or Redfish switched on there? A wrong IPMI password may look the same.",
});
export const BmcRefused = defineError("BMC_REFUSED", {
  kind: "operational",
  httpStatus: 502,
  message: (d: { machine: string; method: string; address: string; reason: string }) =>
    `the board of ${d.machine} at ${d.address} refuses the order by ${d.method}: ${d.reason}`,
  advice:
    "Are user and password right, and may that user switch the machine (Operator)? Set them anew: `boot machine power MACHINE --method ... --address ... --user ... --password-stdin`.",
});
export const BmcCertificateRefused = defineError("BMC_CERTIFICATE_REFUSED", {
  kind: "operational",
  httpStatus: 502,
  message: (d: { machine: string; address: string; seen: string }) =>
    `the board of ${d.machine} at ${d.address} shows a certificate that is not the one to be trusted: SHA-256 ${d.seen}`,
  advice:
    "Compare it with what the board's own page shows. If it is the board's, pin it: `boot machine power MACHINE --method redfish ... --certificate SHA256`. If an authority of yours signed it, name that: --authority FILE. The password was not sent.",
});
