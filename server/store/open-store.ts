import { mkdirSync } from "node:fs";
import { dirname, join } from "node:path";
import Sqlite from "better-sqlite3";
import type { Clock } from "../domain/capabilities.ts";
import { createAssignmentRepository } from "./assignments.ts";
import { createBootStrategyRepository } from "./boot-strategies.ts";
import { createBootRepository } from "./boots.ts";
import { createClaimRepository } from "./claims.ts";
import { createClusterRepository } from "./cluster.ts";
import { CommitQueue } from "./commit-queue.ts";
import { createEventLog } from "./events.ts";
import { createExamRepository } from "./exams.ts";
import { createGroupRepository } from "./groups.ts";
import { createHardwareRepository } from "./hardware.ts";
import { createImageRepository } from "./images.ts";
import { createLeaseRepository } from "./leases.ts";
import { createMachineRepository } from "./machines.ts";
import { migrate } from "./migrate.ts";
import { createOperationRepository } from "./operations.ts";
import { createPowerRepository } from "./power.ts";
import { createProbe } from "./probe.ts";
import { createRegistryRepository } from "./registry.ts";
import { createScheduleRepository } from "./schedules.ts";
import { createSessionRepository } from "./sessions.ts";
import { createSignatureRepository } from "./signatures.ts";
import { createSignerRepository } from "./signers.ts";
import { createStudentRepository } from "./students.ts";
import { createUpstreamRepository } from "./upstreams.ts";
import { createRegistryUpkeepRepository } from "./registry-upkeep.ts";
import { createTokenRepository } from "./tokens.ts";
import { openWalSync } from "./wal-sync.ts";

const migrations = join(import.meta.dirname, "../../db/migrations");

/**
 * Opens the SQLite store and reads its snapshot into memory.
 *
 * WAL with synchronous=NORMAL, and the fdatasync of the log that FULL would do in each COMMIT is done beside the event loop
 * (wal-sync.ts): what was acknowledged survives a power cut, and the disk is waited for by those alone who write.
 *
 * @param path file name, or ":memory:"
 */
export function openStore(path: string, clock: Clock) {
  if (path !== ":memory:") mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
  const db = new Sqlite(path);
  db.pragma("journal_mode = WAL");
  db.pragma("synchronous = NORMAL");
  db.pragma("foreign_keys = ON");
  db.pragma("busy_timeout = 5000");
  migrate(db, migrations);
  const wal = path === ":memory:" ? undefined : openWalSync(path);
  const queue = new CommitQueue(db, wal);
  const machinePower = createPowerRepository(db, queue);
  return {
    machines: createMachineRepository(db, queue),
    groups: createGroupRepository(db, queue, machinePower.forgetBoards),
    hardware: createHardwareRepository(db, queue),
    assignments: createAssignmentRepository(db, queue),
    leases: createLeaseRepository(db, queue),
    boots: createBootRepository(db, queue),
    bootStrategies: createBootStrategyRepository(db, queue),
    claims: createClaimRepository(db, queue, clock),
    cluster: createClusterRepository(db, queue),
    events: createEventLog(db, queue, clock),
    exams: createExamRepository(db, queue),
    machinePower,
    tokens: createTokenRepository(db, queue),
    images: createImageRepository(db, queue),
    operations: createOperationRepository(db, queue),
    registry: createRegistryRepository(db, queue),
    schedules: createScheduleRepository(db, queue),
    sessions: createSessionRepository(db, queue),
    signers: createSignerRepository(db, queue),
    signatures: createSignatureRepository(db, queue),
    students: createStudentRepository(db, queue),
    upstreams: createUpstreamRepository(db, queue),
    registryUpkeep: createRegistryUpkeepRepository(db, queue),
    /** Commits now what waits for the next commit. */
    settle: () => queue.settle(),
    /** Proves in bounded time that the store can be written: for /readyz. @throws StoreFailed */
    probe: createProbe(
      () =>
        queue.run(() => {
          // The value changes each time: SQLite writes nothing where a row stays as it was.
          db.prepare(
            `INSERT INTO settings (key, value) VALUES ('probe', '1')
             ON CONFLICT (key) DO UPDATE SET value = CAST(value AS INTEGER) + 1`,
          ).run();
        }),
      clock,
    ),
    close(): void {
      queue.close();
      db.close();
      wal?.close();
    },
  };
}

export type Store = ReturnType<typeof openStore>;
