import type { Database } from "better-sqlite3";
import type { EpochMs } from "../domain/capabilities.ts";
import type { CommitQueue } from "./commit-queue.ts";

/** A room, or any other set of machines that are treated alike. */
export interface Group {
  readonly name: string;
  readonly description: string;
  readonly createdAt: EpochMs;
}

export function createGroupRepository(db: Database, queue: CommitQueue) {
  const byName = new Map<string, Group>();
  const upsert = db.prepare(
    "INSERT INTO groups (name, description, created_at_ms) VALUES (?, ?, ?) ON CONFLICT (name) DO UPDATE SET description = excluded.description",
  );
  const drop = db.prepare("DELETE FROM groups WHERE name = ?");
  const rows = db
    .prepare("SELECT name, description, created_at_ms AS createdAt FROM groups")
    .all() as Group[];
  for (const group of rows) byName.set(group.name, group);

  return {
    all: (): Group[] => [...byName.values()],
    find: (name: string): Group | undefined => byName.get(name),
    names: (): ReadonlySet<string> => new Set(byName.keys()),
    save: (group: Group): Promise<void> =>
      queue.run(({ onRollback }) => {
        const before = byName.get(group.name);
        upsert.run(group.name, group.description, group.createdAt);
        byName.set(group.name, before ? { ...before, description: group.description } : group);
        onRollback(() => (before ? byName.set(group.name, before) : byName.delete(group.name)));
      }),
    remove: (name: string): Promise<void> =>
      queue.run(({ onRollback }) => {
        const before = byName.get(name);
        if (!before) return;
        drop.run(name);
        byName.delete(name);
        onRollback(() => byName.set(name, before));
      }),
  };
}
export type GroupRepository = ReturnType<typeof createGroupRepository>;
