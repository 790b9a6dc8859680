/** Which machines are selected, as lists on desks and screens have done it for forty years; pure. */

import type { RoomLayout } from "./room-layout.ts";

export interface Selection {
  /** Ids of machines. */
  readonly ids: ReadonlySet<string>;
  /** Where Shift begins to count. */
  readonly anchor: string | undefined;
  /** The one that the keyboard is at. */
  readonly active: string | undefined;
}

export const nothingSelected: Selection = { ids: new Set(), anchor: undefined, active: undefined };

export const selectOnly = (id: string): Selection => ({ ids: new Set([id]), anchor: id, active: id });

export function toggle({ ids }: Selection, id: string): Selection {
  const after = new Set(ids);
  if (!after.delete(id)) after.add(id);
  return { ids: after, anchor: id, active: id };
}

export const moveTo = (before: Selection, id: string): Selection => ({ ...before, active: id, anchor: id });

/** From the anchor to there; the anchor stays. */
export function extendTo(before: Selection, id: string, layout: RoomLayout): Selection {
  const anchor = before.anchor ?? before.active ?? id;
  return { ids: new Set(between(layout, anchor, id)), anchor, active: id };
}

/** These as well, or, when all of them are selected already, none of them. */
export function toggleAll(before: Selection, ids: readonly string[]): Selection {
  const after = new Set(before.ids);
  const areAll = ids.length > 0 && ids.every((id) => after.has(id));
  for (const id of ids)
    if (areAll) after.delete(id);
    else after.add(id);
  return { ...before, ids: after, active: before.active ?? ids[0] };
}

/** Ids in the order in which they are read: row by row, then those without a seat. */
export function readingOrder({ rows, elsewhere }: RoomLayout): string[] {
  const seated = rows.flatMap(({ seats }) => seats.flatMap(({ machine }) => (machine ? [machine.id] : [])));
  return [...seated, ...elsewhere.map(({ id }) => id)];
}

/** On the plan the rectangle between two seats; otherwise all that are read from the one to the other. */
function between(layout: RoomLayout, from: string, to: string): string[] {
  const places = new Map(
    layout.rows.flatMap(({ row, seats }) =>
      seats.flatMap(({ column, machine }) => (machine ? [[machine.id, { row, column }] as const] : [])),
    ),
  );
  const start = places.get(from);
  const end = places.get(to);
  if (start && end) {
    const isWithin = (value: number, one: number, other: number) =>
      value >= Math.min(one, other) && value <= Math.max(one, other);
    return [...places].flatMap(([id, { row, column }]) =>
      isWithin(row, start.row, end.row) && isWithin(column, start.column, end.column) ? [id] : [],
    );
  }
  const order = readingOrder(layout);
  const [first = 0, last = 0] = [order.indexOf(from), order.indexOf(to)].sort((left, right) => left - right);
  return first < 0 ? [to] : order.slice(first, last + 1);
}
