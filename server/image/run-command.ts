import { spawn } from "node:child_process";
import type { ChildProcess } from "node:child_process";
import { createInterface } from "node:readline";
import type { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import type { Command } from "./build-commands.ts";

/** How long a program may clean up after itself when the build is cancelled, before it is killed. */
const GraceMs = 20_000;
const TailLines = 40;

export interface PipelineResult {
  /** The program to blame: the one that failed first. Undefined when all went well or the build was cancelled. */
  readonly failure:
    | { readonly program: string; readonly exitCode: number | null; readonly tail: readonly string[] }
    | undefined;
  readonly isCancelled: boolean;
}

export interface PipelineOptions {
  readonly env: Record<string, string>;
  readonly onLine: (line: string) => void;
  readonly signal: AbortSignal | undefined;
}

/**
 * Runs two programs, the standard output of the first being the standard input of the second. Each leads a process
 * group of its own, so that a cancelled build ends with all its children.
 */
export async function runPipeline(
  first: Command,
  second: Command,
  options: PipelineOptions,
): Promise<PipelineResult> {
  const start = (command: Command, stdin: "ignore" | "pipe"): ChildProcess =>
    spawn(command.program, command.args, {
      env: options.env,
      stdio: [stdin, "pipe", "pipe"],
      detached: true,
    });
  const consumer = start(second, "pipe");
  const producer = start(first, "ignore");
  const children = [producer, consumer];

  let isCancelled = false;
  let killTimer: NodeJS.Timeout | undefined;
  const end = (targets: readonly ChildProcess[]): void => {
    for (const child of targets) signalGroup(child, "SIGTERM");
    killTimer ??= setTimeout(() => {
      for (const child of targets) signalGroup(child, "SIGKILL");
    }, GraceMs);
  };
  const cancel = (): void => {
    isCancelled = true;
    end(children);
  };
  options.signal?.addEventListener("abort", cancel, { once: true });
  if (options.signal?.aborted === true) cancel();

  let hasProducerWritten = false;
  producer.stdout?.once("end", () => (hasProducerWritten = true));
  let isConsumerToBlame = false;
  consumer.once("exit", (code) => {
    if (code === 0 || hasProducerWritten) return;
    // It failed on its own, not for want of input; the producer would notice only when it writes, minutes later.
    isConsumerToBlame = true;
    end([producer]);
  });

  const producerTail = collectLines([producer.stderr], options.onLine);
  const consumerTail = collectLines([consumer.stderr, consumer.stdout], options.onLine);
  try {
    const [producerCode, consumerCode] = await Promise.all([
      exitCode(producer),
      exitCode(consumer),
      // A pipe that breaks is told by the exit codes.
      copy(producer, consumer).catch(() => undefined),
    ]);
    const blameProducer = producerCode !== 0 && !isConsumerToBlame;
    if (isCancelled || (producerCode === 0 && consumerCode === 0)) return { failure: undefined, isCancelled };
    return {
      failure: blameProducer
        ? { program: first.program, exitCode: producerCode, tail: producerTail }
        : { program: second.program, exitCode: consumerCode, tail: consumerTail },
      isCancelled,
    };
  } finally {
    clearTimeout(killTimer);
    options.signal?.removeEventListener("abort", cancel);
  }
}

async function copy(from: ChildProcess, to: ChildProcess): Promise<void> {
  if (from.stdout !== null && to.stdin !== null) await pipeline(from.stdout, to.stdin);
}

/** Runs a program to its end and answers what it printed; undefined when it can't be run or fails. */
export async function readOutput(command: Command): Promise<string | undefined> {
  const child = spawn(command.program, command.args, { stdio: ["ignore", "pipe", "ignore"] });
  const parts: Buffer[] = [];
  child.stdout.on("data", (part: Buffer) => parts.push(part));
  const code = await exitCode(child);
  return code === 0 ? Buffer.concat(parts).toString("utf8") : undefined;
}

function collectLines(
  streams: readonly (Readable | null)[],
  onLine: (line: string) => void,
): readonly string[] {
  const tail: string[] = [];
  for (const stream of streams) {
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
