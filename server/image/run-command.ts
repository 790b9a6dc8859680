import { spawn } from "node:child_process";
import type { ChildProcess } from "node:child_process";
import { createInterface } from "node:readline";
import type { Command } from "./build-commands.ts";

/** How long a program may clean up after itself when the build is cancelled, before it is killed. */
const GraceMs = 20_000;
const TailLines = 40;

export interface PipelineResult {
  /** Exit code of each command, in order; null when a signal ended it. */
  readonly exitCodes: readonly (number | null)[];
  /** Last lines of what each command wrote to standard error. */
  readonly tails: readonly (readonly string[])[];
  readonly isCancelled: boolean;
}

export interface PipelineOptions {
  readonly env: Record<string, string>;
  readonly onLine: (line: string) => void;
  readonly signal: AbortSignal | undefined;
}

/**
 * Runs two programs, the standard output of the first being the standard input of the second. The bytes do not pass
 * through this process.
 *
 * Each program leads a process group of its own, so that a cancelled build ends with all its children.
 */
export async function runPipeline(first: Command, second: Command, options: PipelineOptions): Promise<PipelineResult> {
  // The consumer starts first, because its standard input is the producer's standard output.
  const consumer = spawn(second.program, second.args, {
    env: options.env,
    stdio: ["pipe", "pipe", "pipe"],
    detached: true,
  });
  const producer = spawn(first.program, first.args, {
    env: options.env,
    stdio: ["ignore", consumer.stdin, "pipe"],
    detached: true,
  });
  // Our own copy of the pipe's end would keep the consumer waiting for more.
  consumer.stdin.destroy();

  const children = [producer, consumer];
  let isCancelled = false;
  let killTimer: NodeJS.Timeout | undefined;
  const cancel = (): void => {
    isCancelled = true;
    for (const child of children) signalGroup(child, "SIGTERM");
    killTimer = setTimeout(() => {
      for (const child of children) signalGroup(child, "SIGKILL");
    }, GraceMs);
  };
  options.signal?.addEventListener("abort", cancel, { once: true });
  if (options.signal?.aborted === true) cancel();

  // Without the consumer the producer works for nothing: it would notice only when it writes, minutes later.
  consumer.once("close", (code) => {
    if (code !== 0) signalGroup(producer, "SIGTERM");
  });

  try {
    const tails = [collectLines(producer, options.onLine), collectLines(consumer, options.onLine)];
    const exitCodes = await Promise.all(children.map(exitCode));
    return { exitCodes, tails, isCancelled };
  } finally {
    clearTimeout(killTimer);
    options.signal?.removeEventListener("abort", cancel);
  }
}

/** Runs a program to its end and answers what it printed; undefined when it can't be run or fails. */
export async function readOutput(command: Command): Promise<string | undefined> {
  const child = spawn(command.program, command.args, { stdio: ["ignore", "pipe", "ignore"] });
  const parts: Buffer[] = [];
  child.stdout.on("data", (part: Buffer) => parts.push(part));
  const code = await exitCode(child);
  return code === 0 ? Buffer.concat(parts).toString("utf8") : undefined;
}

function collectLines(child: ChildProcess, onLine: (line: string) => void): readonly string[] {
  const tail: string[] = [];
  for (const stream of [child.stderr, child.stdout]) {
    if (stream === null) continue;
    createInterface({ input: stream }).on("line", (line) => {
      tail.push(line);
      if (tail.length > TailLines) tail.shift();
      onLine(line);
    });
  }
  return tail;
}

/** 127, like a shell says it, when the program could not be started. */
async function exitCode(child: ChildProcess): Promise<number | null> {
  return new Promise((resolve) => {
    child.once("error", () => resolve(127));
    child.once("close", (code) => resolve(code));
  });
}

function signalGroup(child: ChildProcess, signal: NodeJS.Signals): void {
  if (child.pid === undefined || child.exitCode !== null || child.signalCode !== null) return;
  try {
    process.kill(-child.pid, signal);
  } catch {
    // Already gone: what was wanted.
  }
}
