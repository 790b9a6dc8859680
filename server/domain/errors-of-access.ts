import { defineError } from "./errors.ts";

// --- who may do what, and when ------------------------------------------------------------------------------------
export const RoomsLimited = defineError("ROOMS_LIMITED", {
  kind: "user",
  httpStatus: 403,
  message: (d: { rooms: readonly string[]; matter?: "cluster" }) =>
    d.matter === "cluster"
      ? `this token is for ${d.rooms.join(", ")} alone, and the cluster is that of all rooms: students' pods run on any of its machines`
      : `this token is for ${d.rooms.join(", ")} alone, and this is a matter of the whole server`,
  advice:
    "Work with the machines of these rooms, or ask an administrator: a token without `--room` reaches everything.",
});
export const TooManyFailures = defineError("TOO_MANY_FAILURES", {
  kind: "user",
  httpStatus: 429,
  message: (d: { address: string; retryAfterSeconds: number }) =>
    `${d.address} showed too many wrong tokens or passwords; it is answered again in ${d.retryAfterSeconds} s`,
  advice:
    "Look for a program there that shows an old token, and give it a new one. Other addresses and commands on the server itself go on.",
});
export const ExamUnderWay = defineError("EXAM_UNDER_WAY", {
  kind: "user",
  httpStatus: 409,
  message: (d: { room: string; startedBy: string; until: string }) =>
    `${d.room} has an exam, started by ${d.startedBy}, ${d.until}: nothing of its machines is changed`,
  advice:
    "Wait for its end. Whoever started it, or an administrator, ends it with `boot exam end`; an administrator's command goes through with --override-exam.",
});
export const ExamNotFound = defineError("EXAM_NOT_FOUND", {
  kind: "user",
  httpStatus: 404,
  message: (d: { room: string }) => `${d.room.slice(0, 70)} has no exam`,
  advice: "`boot exam list` shows what is under way.",
});
export const ExamRoleUnfit = defineError("EXAM_ROLE_UNFIT", {
  kind: "user",
  httpStatus: 400,
  message: (d: { role: string; boot: string }) =>
    `${d.role} boots nothing by itself (boot: ${d.boot}): in an exam every machine boots one role`,
  advice: "Name a role with a system, e.g. `boot exam start lab225 desktop`.",
});
