import { mkdir, open, rename } from "node:fs/promises";
import { dirname, join } from "node:path";
import type { Clock, DurationMs, Log } from "../domain/capabilities.ts";
import type { KeyAlgorithm } from "../domain/cluster.ts";
import { EtcdFailed, EtcdNotFound } from "../domain/error-catalogue.ts";
import type { RecordEvent } from "../domain/event.ts";
import { etcdMemberProfile } from "../kubeadm/certificate-layout.ts";
import type { Ipv4 } from "../net/ipv4.ts";
import type { Authority } from "../pki/certificates.ts";
import { findProgram } from "../platform/find-program.ts";
import { issueWithKey, masterLifeMs } from "../pki/master-files.ts";
import { etcdArguments, generationToken, soleMember } from "./arguments.ts";
import { createEtcdCredentials } from "./credentials.ts";
import { type EtcdEnd, type EtcdProcess, endOrphan, startEtcd } from "./etcd-process.ts";
import { createEtcdGateway, type EtcdGateway } from "./gateway.ts";
import { openGenerations } from "./generations.ts";
import { restoreSnapshot } from "./restore.ts";

export type EtcdState =
  | { readonly kind: "stopped" }
  | { readonly kind: "starting" }
  | { readonly kind: "healthy"; readonly pid: number }
  /** It runs, and does not answer as it should. */
  | { readonly kind: "unhealthy"; readonly pid: number }
  /** It ended by itself, and is started again in a moment. */
  | { readonly kind: "waiting"; readonly reason: string };

export interface EtcdTimings {
  /** How long it may take until it is healthy, ms. */
  readonly startMs: DurationMs;
  /** How long it may take to end by itself, ms. */
  readonly stopMs: DurationMs;
  /** Pause before it is started again, ms; twice as long each time, up to the limit. */
  readonly pauseMs: DurationMs;
  readonly longestPauseMs: DurationMs;
  /** Who was healthy for so long begins with the short pause again, ms. */
  readonly steadyMs: DurationMs;
  readonly healthEveryMs: DurationMs;
}

const standardTimings: EtcdTimings = {
  startMs: 60_000,
  // The server has 10 s to end in all.
  stopMs: 5_000,
  pauseMs: 500,
  longestPauseMs: 30_000,
  steadyMs: 60_000,
  healthEveryMs: 10_000,
};
/** How often etcd is asked until it is healthy, ms. */
const askEveryMs: DurationMs = 100;
/** The member's certificate lasts a year, and is made anew each week, ms: etcd reads it at each handshake. */
const renewEveryMs: DurationMs = 7 * 86_400_000;

export interface EtcdSupervisorOptions {
  /** A name on the PATH, or a path. */
  readonly program: string;
  /** Of this server alone; made when it is not there. Absolute. */
  readonly directory: string;
  /** The address at which the masters find this server. */
  readonly address: Ipv4;
  /** 2379 as a rule. */
  readonly port: number;
  /** Name of the cluster, for its token. */
  readonly cluster: string;
  readonly authority: Authority;
  readonly keyAlgorithm: KeyAlgorithm;
  readonly clock: Clock;
  readonly log: Log;
  readonly record: RecordEvent;
  readonly timings?: Partial<EtcdTimings>;
}

/** The one etcd of this server: started, watched, started again, ended. */
export interface EtcdSupervisor {
  /** `https://10.0.0.1:2379` */
  readonly endpoint: string;
  readonly gateway: EtcdGateway;
  readonly state: EtcdState;
  /** The generation of the data in use; undefined before the first start. */
  generation(): Promise<number | undefined>;
  /**
   * Ends what a killed server left, and starts etcd; resolves when it is healthy. From then on it is started again whenever it ends. When it
   * does not get healthy it is not tried again, since its config is wrong: that is for a person.
   * @throws EtcdNotFound, EtcdFailed, EtcdDirectoryHeld
   */
  start(): Promise<void>;
  stop(): Promise<void>;
  /** A cluster was made in the data in use: they are kept once, as a way back, when they are left. */
  markInitialized(): Promise<void>;
  /**
   * Goes on with empty data: a new cluster. Data that held one are kept once, others are thrown away. Does nothing when the generation is the current one already.
   * Runs again after it if it ran before.
   * @throws EtcdGenerationRefused, and what start() throws
   */
  wipe(generation: number): Promise<void>;
  /** As wipe(), with the data of a snapshot. @throws EtcdSnapshotBroken, EtcdRestoreFailed besides */
  restore(snapshot: string, generation: number): Promise<void>;
  /** The last data that held a cluster before those of the last wipe() or restore() are in use again. @returns their generation, undefined when there are none */
  goBack(): Promise<number | undefined>;
}

export function createEtcdSupervisor(options: EtcdSupervisorOptions): EtcdSupervisor {
  const { directory, address, port, cluster, authority, keyAlgorithm, clock, log, record } = options;
  const timings = { ...standardTimings, ...options.timings };
  const pidFile = join(directory, "etcd.pid");
  const memberFile = join(directory, "tls/member.pem");
  const authorityFile = join(directory, "tls/authority.pem");
  const endpoint = `https://${address}:${port}`;
  const generations = openGenerations(directory);
  const gateway = createEtcdGateway({
    endpoint,
    authorityPem: authority.certificatePem,
    credentials: createEtcdCredentials({ authority, keyAlgorithm, clock }),
  });

  let state: EtcdState = { kind: "stopped" };
  let running: EtcdProcess | undefined;
  /** Counts starts and stops: what belongs to an earlier one does nothing any more. */
  let turn = 0;
  let pauseMs = timings.pauseMs;
  let healthySinceMs = 0;
  const timers = new Set<() => void>();
  const after = (delayMs: DurationMs, fn: () => void) => {
    const cancel = clock.after(delayMs, () => {
      timers.delete(cancel);
      fn();
    });
    timers.add(cancel);
  };

  const writeCertificates = async () => {
    const { certificatePem, privateKeyPem } = await issueWithKey(
      authority,
      etcdMemberProfile({ name: soleMember.name, address }),
      { cluster: { keyAlgorithm }, now: clock.now(), lifeMs: masterLifeMs },
    );
    await replaceFile(authorityFile, authority.certificatePem);
    await replaceFile(memberFile, `${certificatePem}${privateKeyPem}`);
  };

  /** @throws EtcdFailed when it ends or the time is up before it is healthy */
  const launch = async (mine: number): Promise<void> => {
    state = { kind: "starting" };
    const program = findProgram(options.program);
    if (program === undefined) throw EtcdNotFound({ program: options.program });
    const generation = (await generations.current()) ?? 1;
    await generations.goOn(generation, async () => {});
    await writeCertificates();
    if (mine !== turn) return;
    const words = etcdArguments({
      dataDirectory: generations.directoryOf(generation),
      address,
      port,
      token: generationToken(cluster, generation),
      memberFile,
      authorityFile,
    });
    const started = startEtcd({ program, words, directory, pidFile, clock, log });
    running = started;
    const untilMs = clock.monotonicMs() + timings.startMs;
    const hasEnded = started.ended.then(() => false);
    while (mine === turn && !(await Promise.race([gateway.isHealthy(), hasEnded]))) {
      if (started.hasEnded) throw EtcdFailed({ reason: describeEnd(await started.ended) });
      if (clock.monotonicMs() > untilMs) {
        await started.end(timings.stopMs);
        throw EtcdFailed({ reason: `it was not healthy after ${timings.startMs} ms` });
      }
      await Promise.race([new Promise<void>((resolve) => after(askEveryMs, resolve)), started.ended]);
    }
    if (mine !== turn) return;
    // An answer of another etcd at this address, while ours could not have it.
    if (started.hasEnded) throw EtcdFailed({ reason: describeEnd(await started.ended) });
    state = { kind: "healthy", pid: started.pid };
    healthySinceMs = clock.monotonicMs();
    log.info({ endpoint, pid: started.pid, generation }, "etcd is healthy");
    record({ type: "etcd.started", message: `etcd is healthy at ${endpoint}`, data: { generation } });
    void started.ended.then((end) => ended(end, mine));
    after(timings.healthEveryMs, () => void watch(mine, started));
  };

  const ended = (end: EtcdEnd, mine: number) => {
    if (mine !== turn) return;
    if (clock.monotonicMs() - healthySinceMs >= timings.steadyMs) pauseMs = timings.pauseMs;
    again(describeEnd(end), mine);
  };

  const again = (reason: string, mine: number) => {
    state = { kind: "waiting", reason };
    log.warn({ reason, pauseMs }, "etcd ended; it is started again");
    record({ type: "etcd.ended", level: "alarm", message: `etcd ended (${reason}); it is started again` });
    after(pauseMs, () => {
      launch(mine).catch((error: Error) => {
        if (mine === turn) again(error.message, mine);
      });
    });
    pauseMs = Math.min(pauseMs * 2, timings.longestPauseMs);
  };

  const watch = async (mine: number, watched: EtcdProcess): Promise<void> => {
    const isHealthy = await gateway.isHealthy();
    if (mine !== turn || watched.hasEnded) return;
    const { pid } = watched;
    if (!isHealthy && state.kind === "healthy") {
      log.warn({ endpoint, pid }, "etcd runs and is not healthy");
      record({
        type: "etcd.unhealthy",
        level: "alarm",
        message: `etcd at ${endpoint} runs and is not healthy`,
      });
    }
    state = { kind: isHealthy ? "healthy" : "unhealthy", pid };
    after(timings.healthEveryMs, () => void watch(mine, watched));
  };

  const renew = (mine: number) =>
    after(renewEveryMs, () => {
      writeCertificates()
        .catch((error: Error) => log.error({ error: error.message }, "etcd's certificate was not renewed"))
        .finally(() => {
          if (mine === turn) renew(mine);
        });
    });

  const start = async () => {
    if (state.kind !== "stopped") return;
    const mine = ++turn;
    state = { kind: "starting" };
    pauseMs = timings.pauseMs;
    try {
      await mkdir(dirname(memberFile), { recursive: true, mode: 0o700 });
      const orphan = await endOrphan({ pidFile, directory, limitMs: timings.stopMs, clock });
      if (orphan !== undefined) log.warn({ pid: orphan }, "ended the etcd of a server that was killed");
      await launch(mine);
      if (mine === turn) renew(mine);
    } catch (error) {
      if (mine === turn) await stop();
      throw error;
    }
  };

  const stop = async () => {
    turn++;
    for (const cancel of timers) cancel();
    timers.clear();
    await running?.end(timings.stopMs);
    running = undefined;
    state = { kind: "stopped" };
  };

  /** What is done to the data, one thing after the other. */
  const inTurn = <Result>(work: () => Promise<Result>): Promise<Result> => {
    const done = lastWork.then(work);
    lastWork = done.catch(() => {});
    return done;
  };
  let lastWork: Promise<unknown> = Promise.resolve();
  /** Of that, what needs that nothing runs on them. */
  const whileStopped = <Result>(work: () => Promise<Result>) => inTurn(() => withEtcdStopped(work));

  const withEtcdStopped = async <Result>(work: () => Promise<Result>): Promise<Result> => {
    const wasRunning = state.kind !== "stopped";
    await stop();
    try {
      await mkdir(directory, { recursive: true, mode: 0o700 });
      await endOrphan({ pidFile, directory, limitMs: timings.stopMs, clock });
      return await work();
    } finally {
      if (wasRunning) await start();
    }
  };

  const goOn = async (generation: number, what: string, fill: (directory: string) => Promise<void>) => {
    if ((await generations.current()) === generation) return;
    if (!(await whileStopped(() => generations.goOn(generation, fill)))) return;
    record({
      type: "etcd.generation",
      level: "warning",
      message: `etcd goes on with ${what}, generation ${generation}`,
      data: { generation },
    });
  };

  return {
    endpoint,
    gateway,
    get state() {
      return state;
    },
    generation: () => generations.current(),
    start,
    stop,
    markInitialized: () => inTurn(() => generations.markInitialized()),
    wipe: (generation) => goOn(generation, "empty data", async () => {}),
    restore: (snapshot, generation) =>
      goOn(generation, "the data of a snapshot", (into) =>
        restoreSnapshot({
          snapshot,
          into,
          member: soleMember,
          token: generationToken(cluster, generation),
          program: options.program,
        }),
      ),
    async goBack() {
      const back = await whileStopped(() => generations.goBack());
      if (back !== undefined)
        record({
          type: "etcd.generation",
          level: "warning",
          message: `etcd goes back to the data of generation ${back}`,
          data: { generation: back },
        });
      return back;
    },
  };
}

const describeEnd = ({ code, signal, lastWord }: EtcdEnd): string =>
  lastWord === "" || signal !== null
    ? `it ended ${signal === null ? `with code ${code}` : `by ${signal}`}`
    : lastWord;

/** All of it or what was there before; mode 0600. */
async function replaceFile(file: string, text: string): Promise<void> {
  const handle = await open(`${file}.new`, "w", 0o600);
  try {
    await handle.writeFile(text);
    await handle.sync();
  } finally {
    await handle.close();
  }
  await rename(`${file}.new`, file);
}
