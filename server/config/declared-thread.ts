/** The thread that reads texts of declared objects, for `Worker`; and the function that starts it. */
import { isMainThread, parentPort, Worker, workerData } from "node:worker_threads";
import type { Clock } from "../domain/capabilities.ts";
import { ofFile, readDeclaredText, type TextReading } from "./declared-text.ts";

export interface DeclaredParser {
  /** Never fails: what can't be read is a problem of the file. One at a time. */
  parse(file: string, text: string): Promise<TextReading>;
  /** Until the next text nothing of it is left. */
  end(): Promise<void>;
}

interface Question {
  readonly file: string;
  readonly text: string;
}

/** Of one file, ms. */
const usualLimitMs = 30_000;
/** What the thread may take for one file of 1 MiB. */
const mostMemoryMib = 512;

/**
 * A file of the permitted size takes up to a second of JavaScript, in which no machine would get an answer: it has a thread of its own,
 * for as long as there is something to read.
 */
export function createDeclaredThread(clock: Clock, limitMs = usualLimitMs): DeclaredParser {
  let worker: Worker | undefined;
  let settle: ((reading: TextReading | string) => void) | undefined;

  function start(): Worker {
    const thread = new Worker(new URL(import.meta.url), {
      workerData: { declaredObjects: true },
      resourceLimits: { maxOldGenerationSizeMb: mostMemoryMib },
    });
    const end = (reason: string) => {
      // After its error comes its exit, and by then another one may be at work.
      if (worker !== thread) return;
      worker = undefined;
      settle?.(reason);
    };
    thread.on("message", (reading: TextReading) => {
      if (worker === thread) settle?.(reading);
    });
    thread.once("error", ({ code }: NodeJS.ErrnoException) =>
      end(
        code === "ERR_WORKER_OUT_OF_MEMORY"
          ? `it takes more than ${mostMemoryMib} MiB of memory to read; divide it`
          : "it can't be read: is it nested too deep?",
      ),
    );
    thread.once("exit", () => end("it can't be read: the thread that read it ended"));
    return thread;
  }

  async function end(): Promise<void> {
    const last = worker;
    worker = undefined;
    await last?.terminate();
  }

  return {
    async parse(file, text) {
      worker ??= start();
      worker.postMessage({ file, text } satisfies Question);
      const { promise, resolve } = Promise.withResolvers<TextReading | string>();
      settle = resolve;
      const cancel = clock.after(limitMs, () => {
        void end();
        resolve(`it takes longer than ${limitMs / 1000} s to read; divide it`);
      });
      const reading = await promise.finally(cancel);
      return typeof reading === "string" ? { documents: [], problems: [ofFile(file, reading)] } : reading;
    },
    end,
  };
}

if (!isMainThread && (workerData as { declaredObjects?: boolean } | null)?.declaredObjects === true)
  parentPort?.on("message", ({ file, text }: Question) => {
    parentPort?.postMessage(readDeclaredText(file, text));
  });
