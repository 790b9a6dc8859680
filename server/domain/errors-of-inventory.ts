import { defineError } from "./errors.ts";

/** Errors of rooms, lists of machines and names by a rule. */

export const SeatTaken = defineError("SEAT_TAKEN", {
  kind: "user",
  httpStatus: 409,
  message: (d: { seat: string; group: string; machine: string }) =>
    `${d.machine} sits at ${d.seat} of ${d.group} already`,
  advice:
    'Choose another seat, or clear that one first: `boot machine edit MACHINE --seat ""`. `boot group show GROUP` shows who sits where.',
});
export const SeatNotInRoom = defineError("SEAT_NOT_IN_ROOM", {
  kind: "user",
  httpStatus: 400,
  message: (d: { seat: string; group: string; seats: string }) =>
    `${d.group} has no seat ${JSON.stringify(d.seat.slice(0, 40))}; its seats are ${d.seats}`,
  advice:
    "`boot group show GROUP` shows the plan of the room, and `boot group edit GROUP --plan` changes it.",
});
export const ListRefused = defineError("LIST_REFUSED", {
  kind: "user",
  httpStatus: 400,
  message: (d: { reason: string }) => `the list of machines can't be read: ${d.reason}`,
  advice:
    "A list is CSV with a header line, an ISC dhcpd.conf or dnsmasq lines; say which with `--format csv|isc|dnsmasq` (docs/inventory.md).",
});
export const ListConflicts = defineError("LIST_CONFLICTS", {
  kind: "user",
  httpStatus: 409,
  message: (d: { problems: readonly string[]; count: number }) =>
    `nothing was imported: ${d.count === 1 ? "there is a problem" : `there are ${d.count} problems`}: ${d.problems.join("; ")}${d.count > d.problems.length ? "; and more" : ""}`,
  advice:
    "Mend the list and import it again. `boot machine import FILE --dry-run` tells all problems with their lines.",
});
export const NamesRefused = defineError("NAMES_REFUSED", {
  kind: "user",
  httpStatus: 409,
  message: (d: { problems: readonly string[]; count: number }) =>
    `nothing was accepted: ${d.problems.join("; ")}${d.count > d.problems.length ? `; and ${d.count - d.problems.length} more` : ""}`,
  advice:
    "`boot machine accept ... --dry-run` shows every name. Choose another pattern, or another first number with `--start`.",
});
