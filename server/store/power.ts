import type { Database } from "better-sqlite3";
import type { BoardMethod, PowerMethod } from "../domain/power.ts";
import type { GroupBoards, PowerSettings, SshHostKey } from "../domain/power-settings.ts";
import type { SshCommands } from "../domain/role.ts";
import type { CommitQueue } from "./commit-queue.ts";

interface SettingsRow {
  machine_id: string;
  method: PowerMethod;
  address: string | null;
  port: number | null;
  user: string | null;
  sealed: string | null;
  certificate: string | null;
  authority: string | null;
  system: string | null;
}

interface GroupRow {
  group_name: string;
  method: BoardMethod;
  address: string;
  port: number | null;
  user: string;
  sealed: string;
  authority: string | null;
  system: string | null;
}

interface HostKeyRow {
  machine_id: string;
  boot_id: string;
  host_key: string;
  address: string;
  user: string;
  commands: SshCommands;
  told_at_ms: number;
}

/** How machines are switched, and what they told of their SSH. Rows go with their machine or group. */
export function createPowerRepository(db: Database, queue: CommitQueue) {
  const settings = new Map<string, PowerSettings>();
  const groups = new Map<string, GroupBoards>();
  const hostKeys = new Map<string, SshHostKey>();
  for (const row of db.prepare("SELECT * FROM power_settings").all() as SettingsRow[])
    settings.set(row.machine_id, {
      method: row.method,
      address: row.address ?? undefined,
      port: row.port ?? undefined,
      user: row.user ?? undefined,
      sealed: row.sealed ?? undefined,
      certificate: row.certificate ?? undefined,
      authority: row.authority ?? undefined,
      system: row.system ?? undefined,
      group: undefined,
    });
  for (const row of db.prepare("SELECT * FROM group_power_settings").all() as GroupRow[])
    groups.set(row.group_name, {
      method: row.method,
      address: row.address,
      port: row.port ?? undefined,
      user: row.user,
      sealed: row.sealed,
      authority: row.authority ?? undefined,
      system: row.system ?? undefined,
    });
  for (const row of db.prepare("SELECT * FROM ssh_host_keys").all() as HostKeyRow[])
    hostKeys.set(row.machine_id, {
      bootId: row.boot_id,
      hostKey: row.host_key,
      address: row.address,
      user: row.user,
      commands: row.commands,
      toldAt: row.told_at_ms,
    });
  const upsert = db.prepare(
    `INSERT OR REPLACE INTO power_settings (machine_id, method, address, port, user, sealed, certificate, authority, system)
     VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)`,
  );
  const drop = db.prepare("DELETE FROM power_settings WHERE machine_id = ?");
  const upsertGroup = db.prepare(
    `INSERT OR REPLACE INTO group_power_settings (group_name, method, address, port, user, sealed, authority, system)
     VALUES (?, ?, ?, ?, ?, ?, ?, ?)`,
  );
  const dropGroup = db.prepare("DELETE FROM group_power_settings WHERE group_name = ?");
  const upsertKey = db.prepare(
    `INSERT OR REPLACE INTO ssh_host_keys (machine_id, boot_id, host_key, address, user, commands, told_at_ms)
     VALUES (?, ?, ?, ?, ?, ?, ?)`,
  );

  /** Changes memory as the row changes, and back where the commit fails. */
  function put<V>(map: Map<string, V>, id: string, value: V | undefined): () => void {
    const before = map.get(id);
    const set = (one: V | undefined) => (one === undefined ? map.delete(id) : map.set(id, one));
    set(value);
    return () => void set(before);
  }

  return {
    settingsOf: (machineId: string): PowerSettings | undefined => settings.get(machineId),
    hostKeyOf: (machineId: string): SshHostKey | undefined => hostKeys.get(machineId),
    saveSettings: (machineId: string, value: PowerSettings): Promise<void> =>
      queue.run(({ onRollback }) => {
        const { method, address, port, user, sealed, certificate, authority, system } = value;
        const rest = [address, port, user, sealed, certificate, authority, system].map((one) => one ?? null);
        upsert.run(machineId, method, ...rest);
        onRollback(put(settings, machineId, value));
      }),
    removeSettings: (machineId: string): Promise<void> =>
      queue.run(({ onRollback }) => {
        drop.run(machineId);
        onRollback(put(settings, machineId, undefined));
      }),
    boardsOf: (group: string): GroupBoards | undefined => groups.get(group),
    saveBoards: (group: string, value: GroupBoards): Promise<void> =>
      queue.run(({ onRollback }) => {
        const { method, address, port, user, sealed, authority, system } = value;
        upsertGroup.run(
          group,
          method,
          address,
          port ?? null,
          user,
          sealed,
          authority ?? null,
          system ?? null,
        );
        onRollback(put(groups, group, value));
      }),
    removeBoards: (group: string): Promise<void> =>
      queue.run(({ onRollback }) => {
        dropGroup.run(group);
        onRollback(put(groups, group, undefined));
      }),
    /** The row goes with the group's own; another group of that name has no boards. @returns what takes it back */
    forgetBoards: (group: string): (() => void) => put(groups, group, undefined),
    /** The first key of a boot stays, also where two are told in the same moment. @returns the one that counts */
    saveHostKey: (machineId: string, value: SshHostKey): Promise<SshHostKey> =>
      queue.run(({ onRollback }) => {
        const known = hostKeys.get(machineId);
        if (known?.bootId === value.bootId) return known;
        const { bootId, hostKey, address, user, commands, toldAt } = value;
        upsertKey.run(machineId, bootId, hostKey, address, user, commands, toldAt);
        onRollback(put(hostKeys, machineId, value));
        return value;
      }),
  };
}
export type PowerRepository = ReturnType<typeof createPowerRepository>;
