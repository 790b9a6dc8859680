import { defineError } from "./errors.ts";

export const ScheduleNotFound = defineError("SCHEDULE_NOT_FOUND", {
  kind: "user",
  httpStatus: 404,
  message: (d: { name: string }) => `there is no schedule ${d.name}`,
  advice: "`boot schedule list` shows all of them.",
});
export const ScheduleNameTaken = defineError("SCHEDULE_NAME_TAKEN", {
  kind: "user",
  httpStatus: 409,
  message: (d: { name: string }) => `there is a schedule ${d.name} already`,
  advice: "Choose another one with --name NAME, or remove that one: `boot schedule remove NAME`.",
});
