import type { Database } from "better-sqlite3";
import type { ReportedHardware } from "../domain/hardware.ts";
import type { CommitQueue } from "./commit-queue.ts";

interface Row {
  machine_id: string;
  facts: string;
  reported_at_ms: number;
}

/** The last report of each machine. Its row goes with the machine's; memory is told by `forgetMachine`. */
export function createHardwareRepository(db: Database, queue: CommitQueue) {
  const byMachine = new Map<string, ReportedHardware>();
  const upsert = db.prepare(
    `INSERT INTO machine_hardware (machine_id, facts, reported_at_ms) VALUES (?, ?, ?)
     ON CONFLICT (machine_id) DO UPDATE SET facts = excluded.facts, reported_at_ms = excluded.reported_at_ms`,
  );
  const exists = db.prepare("SELECT 1 FROM machines WHERE id = ?");
  for (const row of db.prepare("SELECT * FROM machine_hardware").all() as Row[])
    byMachine.set(row.machine_id, {
      ...(JSON.parse(row.facts) as Omit<ReportedHardware, "reportedAt">),
      reportedAt: row.reported_at_ms,
    });

  return {
    find: (machineId: string): ReportedHardware | undefined => byMachine.get(machineId),
    forgetMachine: (machineId: string): void => void byMachine.delete(machineId),
    save: (machineId: string, hardware: ReportedHardware): Promise<void> =>
      queue.run(({ onRollback }) => {
        // It may have been removed while its report was on the way.
        if (!exists.get(machineId)) return;
        const before = byMachine.get(machineId);
        const { reportedAt, ...facts } = hardware;
        upsert.run(machineId, JSON.stringify(facts), reportedAt);
        byMachine.set(machineId, hardware);
        onRollback(() => (before ? byMachine.set(machineId, before) : byMachine.delete(machineId)));
      }),
  };
}
export type HardwareRepository = ReturnType<typeof createHardwareRepository>;
