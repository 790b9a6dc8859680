import type { Database } from "better-sqlite3";
import type { PowerMethod } from "../domain/power.ts";
import type { PowerSettings, SshHostKey } from "../domain/power-settings.ts";
import type { CommitQueue } from "./commit-queue.ts";

interface SettingsRow {
  machine_id: string;
  method: PowerMethod;
  address: string | null;
  port: number | null;
  user: string | null;
  sealed: string | null;
  certificate: string | null;
  system: string | null;
}

interface HostKeyRow {
  machine_id: string;
  boot_id: string;
  host_key: string;
  address: string;
  user: string;
  told_at_ms: number;
}

/** How machines are switched, and what they told of their SSH. Rows go with their machine. */
export function createPowerRepository(db: Database, queue: CommitQueue) {
  const settings = new Map<string, PowerSettings>();
  const hostKeys = new Map<string, SshHostKey>();
  for (const row of db.prepare("SELECT * FROM power_settings").all() as SettingsRow[])
    settings.set(row.machine_id, {
      method: row.method,
      address: row.address ?? undefined,
      port: row.port ?? undefined,
      user: row.user ?? undefined,
      sealed: row.sealed ?? undefined,
      certificate: row.certificate ?? undefined,
      system: row.system ?? undefined,
    });
  for (const row of db.prepare("SELECT * FROM ssh_host_keys").all() as HostKeyRow[])
    hostKeys.set(row.machine_id, {
      bootId: row.boot_id,
      hostKey: row.host_key,
      address: row.address,
      user: row.user,
      toldAt: row.told_at_ms,
    });
  const upsert = db.prepare(
    `INSERT OR REPLACE INTO power_settings (machine_id, method, address, port, user, sealed, certificate, system)
     VALUES (?, ?, ?, ?, ?, ?, ?, ?)`,
  );
  const drop = db.prepare("DELETE FROM power_settings WHERE machine_id = ?");
  const upsertKey = db.prepare(
    "INSERT OR REPLACE INTO ssh_host_keys (machine_id, boot_id, host_key, address, user, told_at_ms) VALUES (?, ?, ?, ?, ?, ?)",
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
        const { method, address, port, user, sealed, certificate, system } = value;
        const rest = [address, port, user, sealed, certificate, system].map((one) => one ?? null);
        upsert.run(machineId, method, ...rest);
        onRollback(put(settings, machineId, value));
      }),
    removeSettings: (machineId: string): Promise<void> =>
      queue.run(({ onRollback }) => {
        drop.run(machineId);
        onRollback(put(settings, machineId, undefined));
      }),
    /** The first key of a boot stays, also where two are told in the same moment. @returns the one that counts */
    saveHostKey: (machineId: string, value: SshHostKey): Promise<SshHostKey> =>
      queue.run(({ onRollback }) => {
        const known = hostKeys.get(machineId);
        if (known?.bootId === value.bootId) return known;
        const { bootId, hostKey, address, user, toldAt } = value;
        upsertKey.run(machineId, bootId, hostKey, address, user, toldAt);
        onRollback(put(hostKeys, machineId, value));
        return value;
      }),
  };
}
export type PowerRepository = ReturnType<typeof createPowerRepository>;
