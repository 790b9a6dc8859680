import { type ChildProcess, spawn } from "node:child_process";
import { readFileSync } from "node:fs";
import { readFile, rm } from "node:fs/promises";
import { createInterface } from "node:readline";
import type { Clock, DurationMs, Log } from "../domain/capabilities.ts";
import { EtcdDirectoryHeld } from "../domain/error-catalogue.ts";
import { readLogLine } from "./log-line.ts";

/** How often a process that is not our child is looked at while it ends, ms: no event tells of its end. */
const lookEveryMs: DurationMs = 50;
/** After SIGKILL a process is gone unless its disk hangs, ms. */
const killLimitMs: DurationMs = 5_000;

/** What our etcd sees of our environment. Its own variables (ETCD_*) would change what the flags say. */
export const bareEnvironment = (): NodeJS.ProcessEnv => ({ PATH: process.env["PATH"], LANG: "C" });

export interface EtcdEnd {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  /** Its last fatal line, or else the last of all. */
  readonly lastWord: string;
}

export interface EtcdProcess {
  readonly pid: number;
  readonly hasEnded: boolean;
  /** Resolves when it ends, however. */
  readonly ended: Promise<EtcdEnd>;
  /** SIGTERM, and SIGKILL if it is still there after the time. */
  end(limitMs: DurationMs): Promise<void>;
}

/**
 * Starts etcd. Its number is in the file before it is etcd: whatever happens to this server, the next one finds it.
 * It is in a process group of its own: a Ctrl-C at the terminal is for the server, which ends it after its own clients.
 */
export function startEtcd({
  program,
  words,
  directory,
  pidFile,
  clock,
  log,
}: {
  readonly program: string;
  readonly words: readonly string[];
  readonly directory: string;
  readonly pidFile: string;
  readonly clock: Clock;
  readonly log: Log;
}): EtcdProcess {
  const child = spawn(
    "/bin/sh",
    ["-c", 'umask 077; echo $$ >"$1" && shift && exec "$@"', "etcd", pidFile, program, ...words],
    { cwd: directory, env: bareEnvironment(), stdio: ["ignore", "pipe", "pipe"], detached: true },
  );
  let lastLine = "";
  let lastFatal = "";
  for (const stream of [child.stdout, child.stderr])
    createInterface({ input: stream }).on("line", (text) => {
      const { isFatal, message } = readLogLine(text);
      lastLine = message;
      if (isFatal) {
        // A panic goes on with a stack trace: its first line is what says something.
        lastFatal ||= message;
        log.error({ etcd: message }, "etcd ends");
      } else log.debug({ etcd: message }, "etcd");
    });
  let end: EtcdEnd | undefined;
  const ended = new Promise<EtcdEnd>((resolve) => {
    const tell = (code: number | null, signal: NodeJS.Signals | null, word: string) => {
      end = { code, signal, lastWord: word };
      resolve(end);
    };
    child.once("error", (error) => tell(null, null, error.message));
    child.once("close", (code, signal) => tell(code, signal, lastFatal || lastLine));
  });
  return {
    pid: child.pid ?? 0,
    get hasEnded() {
      return end !== undefined;
    },
    ended,
    async end(limitMs) {
      if (end !== undefined) return;
      signal(child, "SIGTERM");
      const cancel = clock.after(limitMs, () => signal(child, "SIGKILL"));
      await ended;
      cancel();
    },
  };
}

function signal(child: ChildProcess, name: NodeJS.Signals): void {
  if (child.exitCode === null && child.signalCode === null) child.kill(name);
}

/**
 * Ends the etcd of a server that was killed: the process of the file, if it is an etcd of ours on data below the directory. Another process
 * that has got the number since is let alone.
 * @returns the number of the process that was ended
 * @throws EtcdDirectoryHeld when it does not end
 */
export async function endOrphan({
  pidFile,
  directory,
  limitMs,
  clock,
}: {
  readonly pidFile: string;
  readonly directory: string;
  readonly limitMs: DurationMs;
  readonly clock: Clock;
}): Promise<number | undefined> {
  const pid = Number((await readFile(pidFile, "utf8").catch(() => "")).trim());
  if (!Number.isSafeInteger(pid) || pid <= 1 || !holdsData(pid, directory)) {
    await rm(pidFile, { force: true });
    return undefined;
  }
  for (const [name, waitMs] of [
    ["SIGTERM", limitMs],
    ["SIGKILL", killLimitMs],
  ] as const) {
    try {
      process.kill(pid, name);
    } catch {
      // Gone by itself in between.
    }
    const untilMs = clock.monotonicMs() + waitMs;
    while (holdsData(pid, directory) && clock.monotonicMs() < untilMs)
      await new Promise<void>((resolve) => void clock.after(lookEveryMs, resolve));
    if (!holdsData(pid, directory)) {
      await rm(pidFile, { force: true });
      return pid;
    }
  }
  throw EtcdDirectoryHeld({ directory, pid });
}

/** Whether a process runs with its data below the directory (proc(5): a process that has ended has no command line any more). */
function holdsData(pid: number, directory: string): boolean {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, "utf8")
      .split("\0")
      .some((word) => word.startsWith(`--data-dir=${directory}/`));
  } catch {
    return false;
  }
}
