import type { Database } from "better-sqlite3";
import type { BootPreferences, DriverChoice, LocalBootMethod, RamCheck } from "../domain/boot-preferences.ts";
import type { EpochMs } from "../domain/capabilities.ts";
import type { RoomPlan } from "../domain/room.ts";
import type { CommitQueue, Transaction } from "./commit-queue.ts";

/** A room, or any other set of machines that are treated alike. */
export interface Group extends BootPreferences {
  readonly name: string;
  readonly description: string;
  /** Where its seats stand; undefined: nobody drew it. */
  readonly plan: RoomPlan | undefined;
  readonly createdAt: EpochMs;
}

interface Row {
  name: string;
  description: string;
  local_boot: LocalBootMethod | null;
  driver: DriverChoice | null;
  ram_check: RamCheck | null;
  plan: string | null;
  created_at_ms: number;
}

/** @param onRemove what else is known of a group that goes; returns what takes that back */
export function createGroupRepository(
  db: Database,
  queue: CommitQueue,
  onRemove: (name: string) => () => void = () => () => undefined,
) {
  const byName = new Map<string, Group>();
  const upsert = db.prepare(
    `INSERT INTO groups (name, description, local_boot, driver, ram_check, plan, created_at_ms) VALUES (?, ?, ?, ?, ?, ?, ?)
     ON CONFLICT (name) DO UPDATE SET
       description = excluded.description, local_boot = excluded.local_boot, driver = excluded.driver,
       ram_check = excluded.ram_check, plan = excluded.plan`,
  );
  const drop = db.prepare("DELETE FROM groups WHERE name = ?");
  for (const row of db.prepare("SELECT * FROM groups").all() as Row[])
    byName.set(row.name, {
      name: row.name,
      description: row.description,
      localBoot: row.local_boot ?? undefined,
      driver: row.driver ?? undefined,
      ramCheck: row.ram_check ?? undefined,
      plan: row.plan === null ? undefined : (JSON.parse(row.plan) as RoomPlan),
      createdAt: row.created_at_ms,
    });

  function put(group: Group, { onRollback }: Transaction): void {
    const before = byName.get(group.name);
    const { name, description, localBoot, driver, ramCheck, plan, createdAt } = group;
    upsert.run(
      name,
      description,
      localBoot ?? null,
      driver ?? null,
      ramCheck ?? null,
      plan ? JSON.stringify(plan) : null,
      createdAt,
    );
    byName.set(name, { ...group, createdAt: before?.createdAt ?? createdAt });
    onRollback(() => (before ? byName.set(name, before) : byName.delete(name)));
  }

  return {
    all: (): Group[] => [...byName.values()],
    find: (name: string): Group | undefined => byName.get(name),
    names: (): ReadonlySet<string> => new Set(byName.keys()),
    save: (group: Group): Promise<void> => queue.run((transaction) => put(group, transaction)),
    /** Adds and changes many; `change` is asked inside the commit, after all that was asked for before. */
    saveAll: (change: () => readonly Group[]): Promise<void> =>
      queue.run((transaction) => {
        for (const group of change()) put(group, transaction);
      }),
    remove: (name: string): Promise<void> =>
      queue.run(({ onRollback }) => {
        const before = byName.get(name);
        if (!before) return;
        drop.run(name);
        byName.delete(name);
        onRollback(() => byName.set(name, before));
        onRollback(onRemove(name));
      }),
  };
}
export type GroupRepository = ReturnType<typeof createGroupRepository>;
