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
export const SessionEnded = defineError("SESSION_ENDED", {
  kind: "user",
  httpStatus: 401,
  message: () =>
    "you are not signed in any more: the session is over, somebody signed it out, or its token was revoked",
  advice: "Sign in again with a token, or with a link that `boot dashboard` prints on the server.",
});
export const LinkInvalid = defineError("LINK_INVALID", {
  kind: "user",
  httpStatus: 401,
  message: () => "this link for signing in is unknown, was used before, or is older than 5 minutes",
  advice: "Make a new one: `boot dashboard` prints it. A link is good for one time.",
});
export const SessionNotEnough = defineError("SESSION_NOT_ENOUGH", {
  kind: "user",
  httpStatus: 403,
  message: () => "a page that is signed in makes no links for signing in",
  advice: "Run `boot dashboard` on the server, or with --token where you are.",
});
export const CrossSiteRequest = defineError("CROSS_SITE_REQUEST", {
  kind: "user",
  httpStatus: 403,
  message: (d: { origin: string | undefined }) =>
    d.origin === undefined
      ? "a signed-in browser asked for this without saying which page did: it may have been another site's"
      : `a page of ${d.origin.slice(0, 100)} asked for this with the cookie of somebody who is signed in here`,
  advice:
    "Use the dashboard at this server's own address. A program shows a token in `Authorization: Bearer TOKEN` and no cookie; behind a proxy, the proxy must keep the Host header.",
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
