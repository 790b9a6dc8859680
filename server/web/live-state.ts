/** How the messages of `GET /api/v1/live` change what is known; pure. */

import type {
  GroupLive,
  GroupsMessage,
  MachineLive,
  MachinesMessage,
  OperationLive,
  OperationsMessage,
  SnapshotMessage,
} from "../http/api/live-messages.ts";

export type { GroupLive, MachineLive, OperationLive, ProgressLive } from "../http/api/live-messages.ts";

export interface LiveState {
  /** By id. */
  readonly machines: ReadonlyMap<string, MachineLive>;
  /** By name. */
  readonly groups: ReadonlyMap<string, GroupLive>;
  /** By id: those under way, and those that ended while the page was open. */
  readonly operations: ReadonlyMap<string, OperationLive>;
  /** How far the server's clock is ahead of the browser's, ms. */
  readonly clockAheadMs: number;
}

export const nothingLive: LiveState = {
  machines: new Map(),
  groups: new Map(),
  operations: new Map(),
  clockAheadMs: 0,
};

/** @param now of the browser's clock, ms */
export function afterSnapshot(before: LiveState, message: SnapshotMessage, now: number): LiveState {
  const ended = [...before.operations.values()].filter(({ state }) => state !== "running");
  return {
    machines: byKey(message.machines.map(unlessKnown(before.machines, idOf)), idOf),
    groups: byKey(message.groups.map(unlessKnown(before.groups, nameOf)), nameOf),
    operations: byKey([...ended, ...message.operations], idOf),
    clockAheadMs: Date.parse(message.at) - now,
  };
}

export function afterMachines(before: LiveState, { changed, removed }: MachinesMessage): LiveState {
  return { ...before, machines: changedMap(before.machines, changed, removed, idOf) };
}

export function afterGroups(before: LiveState, { changed, removed }: GroupsMessage): LiveState {
  return { ...before, groups: changedMap(before.groups, changed, removed, nameOf) };
}

export function afterOperations(before: LiveState, { changed, removed }: OperationsMessage): LiveState {
  const operations = changedMap(before.operations, changed, removed, idOf);
  const ended = [...operations.values()].filter(({ state }) => state !== "running");
  for (const { id } of ended.slice(0, -mostEnded)) operations.delete(id);
  return { ...before, operations };
}

/** Of those that have ended the newest are kept: a page on a wall is open for months. */
const mostEnded = 200;

const idOf = ({ id }: { readonly id: string }) => id;
const nameOf = ({ name }: { readonly name: string }) => name;

const byKey = <T>(items: readonly T[], keyOf: (item: T) => string): Map<string, T> =>
  new Map(items.map((item) => [keyOf(item), item]));

/** What is as it was stays the same object, so that it is not drawn anew. */
function unlessKnown<T>(known: ReadonlyMap<string, T>, keyOf: (item: T) => string): (item: T) => T {
  return (item) => {
    const before = known.get(keyOf(item));
    return before !== undefined && JSON.stringify(before) === JSON.stringify(item) ? before : item;
  };
}

function changedMap<T>(
  before: ReadonlyMap<string, T>,
  changed: readonly T[],
  removed: readonly string[],
  keyOf: (item: T) => string,
): Map<string, T> {
  const after = new Map(before);
  for (const key of removed) after.delete(key);
  for (const item of changed) after.set(keyOf(item), item);
  return after;
}
