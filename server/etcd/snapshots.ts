import { mkdir, readdir, rm, stat } from "node:fs/promises";
import { join } from "node:path";
import type { Clock, DurationMs, EpochMs, Log } from "../domain/capabilities.ts";
import { EtcdSnapshotMissing } from "../domain/error-catalogue.ts";
import type { RecordEvent } from "../domain/event.ts";
import type { EtcdGateway } from "./gateway.ts";
import { snapshotProblem } from "./snapshot-file.ts";

export interface Snapshot {
  readonly file: string;
  readonly takenAt: EpochMs;
  readonly bytes: number;
  /** The generation of the cluster that it is of. */
  readonly generation: number;
}

export interface TakenFrom {
  readonly gateway: EtcdGateway;
  readonly generation: number;
}

interface Numbered extends Snapshot {
  /** Each is one more than all that are there; 0 of a file of before there were numbers. */
  readonly number: number;
}

/** Among files without a number, and only among those, the clock has to do. */
const newestFirst = (left: Numbered, right: Numbered): number =>
  right.number - left.number || right.generation - left.generation || right.takenAt - left.takenAt;

/** Where a snapshot is taken from now; undefined: nobody can give one, as while no master is up. */
export type SnapshotSource = () => Promise<TakenFrom | undefined>;

export interface SnapshotKeeper {
  /** Takes one each interval from now on; a failure is an event, and tried again with the next. */
  start(): void;
  /** Resolves when none is under way any more. */
  stop(): Promise<void>;
  /**
   * Takes one now, and lets the oldest go.
   * @param from another source than the usual one
   * @returns undefined without a source @throws what the gateway throws
   */
  take(from?: TakenFrom): Promise<Snapshot | undefined>;
  /** Newest first. */
  list(): Promise<readonly Snapshot[]>;
  /** The newest that is whole. @throws EtcdSnapshotMissing */
  newest(): Promise<Snapshot>;
}

/** `etcd-00000042-20261121T155249.123Z-g3.db`: the time is for people. Without the number it is of before there were any. */
const namePattern = /^etcd-(?:(\d{1,15})-)?(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d\.\d{3})Z-g(\d+)\.db$/;
const nameOf = (number: number, at: EpochMs, generation: number) =>
  `etcd-${String(number).padStart(8, "0")}-${new Date(at).toISOString().replaceAll(/[-:]/g, "")}-g${generation}.db`;

/**
 * Snapshots of etcd in a directory, the newest few, of whatever generation. Newer is what has the larger number: the clock of a machine
 * whose battery is empty begins somewhere after each power cut.
 */
export function createSnapshotKeeper({
  directory,
  everyMs,
  keep,
  source,
  clock,
  log,
  record,
}: {
  readonly directory: string;
  readonly everyMs: DurationMs;
  /** How many stay; at least one. */
  readonly keep: number;
  readonly source: SnapshotSource;
  readonly clock: Clock;
  readonly log: Log;
  readonly record: RecordEvent;
}): SnapshotKeeper {
  let cancel: (() => void) | undefined;
  let isStopped = true;
  let taking: Promise<Snapshot | undefined> | undefined;
  let lastTaken: Promise<unknown> = Promise.resolve();

  const list = async (): Promise<Numbered[]> => {
    const names = await readdir(directory).catch(() => []);
    const found = names.map(async (name): Promise<Numbered[]> => {
      const match = namePattern.exec(name);
      if (!match) return [];
      const [, number = "0", year, month, day, hour, minute, second, generation] = match;
      const file = join(directory, name);
      const facts = await stat(file).catch(() => undefined);
      if (!facts?.isFile()) return [];
      const takenAt = Date.parse(`${year}-${month}-${day}T${hour}:${minute}:${second}Z`);
      return [{ file, takenAt, bytes: facts.size, generation: Number(generation), number: Number(number) }];
    });
    return (await Promise.all(found)).flat().sort(newestFirst);
  };

  const takeOne = async (from: TakenFrom | undefined): Promise<Snapshot | undefined> => {
    if (!from) return undefined;
    await mkdir(directory, { recursive: true, mode: 0o700 });
    // What a server that was killed left.
    for (const name of await readdir(directory))
      if (name.endsWith(".part")) await rm(join(directory, name), { force: true });
    const takenAt = clock.now();
    const { generation } = from;
    const number = 1 + Math.max(0, ...(await list()).map((one) => one.number));
    const { file, bytes } = await from.gateway.snapshot(join(directory, nameOf(number, takenAt, generation)));
    for (const old of (await list()).slice(Math.max(keep, 1))) await rm(old.file, { force: true });
    log.debug({ file, bytes }, "took a snapshot of etcd");
    return { file, takenAt, bytes, generation };
  };

  /** One at a time, each with a number of its own. */
  const inTurn = (work: () => Promise<Snapshot | undefined>): Promise<Snapshot | undefined> => {
    const done = lastTaken.then(work);
    lastTaken = done.catch(() => {});
    return done;
  };

  /** Who asks while one is taken gets that one. */
  const take = async (from?: TakenFrom): Promise<Snapshot | undefined> => {
    if (from) return inTurn(() => takeOne(from));
    taking ??= inTurn(async () => takeOne(await source())).finally(() => {
      taking = undefined;
    });
    return taking;
  };

  const again = () => {
    cancel = clock.after(everyMs, () => {
      take()
        .catch((error: Error) => {
          log.warn({ error: error.message }, "no snapshot of etcd could be taken");
          record({
            type: "etcd.snapshot-failed",
            level: "warning",
            message: `no snapshot of etcd could be taken: ${error.message}`,
          });
        })
        .finally(() => {
          if (!isStopped) again();
        });
    });
  };

  return {
    start() {
      if (!isStopped) return;
      isStopped = false;
      again();
    },
    async stop() {
      isStopped = true;
      cancel?.();
      await lastTaken;
    },
    take,
    list,
    async newest() {
      for (const snapshot of await list()) {
        const problem = await snapshotProblem(snapshot.file);
        if (problem === undefined) return snapshot;
        log.warn({ file: snapshot.file, problem }, "a snapshot of etcd can't be used");
      }
      throw EtcdSnapshotMissing({ directory });
    },
  };
}
