import type { Database } from "better-sqlite3";
import type { Boot, BootOutcome } from "../domain/boot.ts";
import type { Mac } from "../net/mac.ts";
import type { CommitQueue } from "./commit-queue.ts";

interface Row {
  id: string;
  machine_id: string;
  mac: Mac;
  started_at_ms: number;
  ended_at_ms: number | null;
  outcome: BootOutcome;
  target: string | null;
  verdict: string | null;
  phases: string;
  steps: string;
}

function fromRow(row: Row): Boot {
  return {
    id: row.id,
    machineId: row.machine_id,
    mac: row.mac,
    startedAt: row.started_at_ms,
    endedAt: row.ended_at_ms ?? undefined,
    outcome: row.outcome,
    target: row.target ?? undefined,
    verdict: row.verdict ?? undefined,
    phases: JSON.parse(row.phases) as Boot["phases"],
    steps: JSON.parse(row.steps) as Boot["steps"],
  };
}

/** A place in the list of a machine's boots; two may begin in the same millisecond. */
export type BootPosition = Pick<Boot, "startedAt" | "id">;
const newest: BootPosition = { startedAt: Number.MAX_SAFE_INTEGER, id: "" };

/** Boots kept of each machine, the newest ones: a machine in a loop, or somebody who plays one, must not fill the disk. */
const keptPerMachine = 50;
/** Deleted at a time, so that no commit takes long where many have gathered. */
const deletedAtOnce = 100;

/** Boot attempts. The running one of each machine is kept in memory by the boot room; here is what was. */
export function createBootRepository(db: Database, queue: CommitQueue) {
  const upsert = db.prepare(
    `INSERT INTO boots (id, machine_id, mac, started_at_ms, ended_at_ms, outcome, target, verdict, phases, steps)
     VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
     ON CONFLICT (id) DO UPDATE SET ended_at_ms = excluded.ended_at_ms, outcome = excluded.outcome, target = excluded.target,
       verdict = excluded.verdict, phases = excluded.phases, steps = excluded.steps`,
  );
  const deleteOld = db.prepare(
    `DELETE FROM boots WHERE id IN
       (SELECT id FROM boots WHERE machine_id = ? ORDER BY started_at_ms DESC, id DESC LIMIT ${deletedAtOnce} OFFSET ${keptPerMachine})`,
  );
  const selectOne = db.prepare("SELECT * FROM boots WHERE id = ?");
  const selectOfMachine = db.prepare(
    "SELECT * FROM boots WHERE machine_id = ? AND (started_at_ms, id) < (?, ?) ORDER BY started_at_ms DESC, id DESC LIMIT ?",
  );
  const selectRunning = db.prepare("SELECT * FROM boots WHERE outcome = 'running' ORDER BY started_at_ms");

  return {
    save: (boot: Boot): Promise<void> =>
      queue.runLater(() => {
        upsert.run(
          boot.id,
          boot.machineId,
          boot.mac,
          boot.startedAt,
          boot.endedAt ?? null,
          boot.outcome,
          boot.target ?? null,
          boot.verdict ?? null,
          JSON.stringify(boot.phases),
          JSON.stringify(boot.steps),
        );
        if (boot.endedAt !== undefined) deleteOld.run(boot.machineId);
      }),
    find(id: string): Boot | undefined {
      const row = selectOne.get(id) as Row | undefined;
      return row && fromRow(row);
    },
    /** Newest first. @param before the boot after which the list goes on, to older ones; it need not be there any more */
    ofMachine: (machineId: string, limit: number, before: BootPosition = newest): Boot[] =>
      (selectOfMachine.all(machineId, before.startedAt, before.id, limit) as Row[]).map(fromRow),
    running: (): Boot[] => (selectRunning.all() as Row[]).map(fromRow),
  };
}
export type BootRepository = ReturnType<typeof createBootRepository>;
