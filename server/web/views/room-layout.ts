/** Where the machines of a room stand on its plan; pure. */

import type { GroupLive, MachineLive } from "../live-state.ts";
import { byName } from "../parts/format.ts";

export interface PlacedSeat {
  readonly seat: string;
  /** From 1. */
  readonly column: number;
  /** Undefined: nobody sits there. */
  readonly machine: MachineLive | undefined;
}

export interface SeatRow {
  /** From 1, from the front. */
  readonly row: number;
  /** What its seats' names begin with, or its number. */
  readonly label: string;
  /** Without those of an aisle or a pillar. */
  readonly seats: readonly PlacedSeat[];
}

export interface RoomLayout {
  readonly rows: readonly SeatRow[];
  /** By column: does nobody sit in it, in any row? */
  readonly aisles: readonly boolean[];
  /** Machines that have no seat on the plan, by name. */
  readonly elsewhere: readonly MachineLive[];
}

export const noPlan = (members: readonly MachineLive[]): RoomLayout => ({
  rows: [],
  aisles: [],
  elsewhere: members.toSorted((left, right) => byName(left.name, right.name)),
});

export function layoutOf(plan: GroupLive["plan"], members: readonly MachineLive[]): RoomLayout {
  if (plan === null) return noPlan(members);
  // A1 is a1: who sat down before the plan was drawn may be written otherwise. One seat, one machine: the first by name.
  const bySeat = Map.groupBy(
    members.toSorted((left, right) => byName(left.name, right.name)),
    ({ seat }) => seat?.toLowerCase(),
  );
  const columns = Math.max(0, ...plan.seats.map((row) => row.length));
  const rows = plan.seats.map((places, index): SeatRow => {
    const seats = places.flatMap((seat, at) =>
      seat === null ? [] : [{ seat, column: at + 1, machine: bySeat.get(seat.toLowerCase())?.[0] }],
    );
    return { row: index + 1, label: rowLabel(seats, index + 1), seats };
  });
  const seated = new Set(rows.flatMap(({ seats }) => seats.map(({ machine }) => machine?.id)));
  return {
    rows,
    aisles: Array.from({ length: columns }, (_, at) => plan.seats.every((row) => (row[at] ?? null) === null)),
    elsewhere: noPlan(members.filter(({ id }) => !seated.has(id))).elsewhere,
  };
}

function rowLabel(seats: readonly PlacedSeat[], row: number): string {
  const [first] = seats.map(({ seat }) => /^[A-Za-z]+/.exec(seat)?.[0]);
  const isShared = first !== undefined && seats.every(({ seat }) => seat.startsWith(first));
  return isShared ? first : String(row);
}

/** How many are in each phase, in the order in which phases follow one another. */
export function countPhases<P extends string>(
  members: readonly { readonly phase: P }[],
  order: readonly P[],
): [P, number][] {
  return order
    .map((phase): [P, number] => [phase, members.filter((one) => one.phase === phase).length])
    .filter(([, count]) => count > 0);
}
