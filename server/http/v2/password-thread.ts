/** The thread that compares passwords with their bcrypt hashes, for `Worker`; and the function that starts it. */
import { isMainThread, parentPort, Worker, workerData } from "node:worker_threads";
import { compareSync } from "bcryptjs";

interface Question {
  readonly password: string;
  readonly hash: string;
}

/**
 * A comparison takes tens of milliseconds of JavaScript, in which no machine would get an answer: it has a thread of its own, which is
 * started by the first one. One comparison at a time.
 */
export function createPasswordThread() {
  let worker: Worker | undefined;
  let settle: { resolve(isRight: boolean): void; reject(error: unknown): void } | undefined;

  function start(): Worker {
    const thread = new Worker(new URL(import.meta.url), { workerData: { passwords: true } });
    // It must not keep the process from ending.
    thread.unref();
    thread.on("message", (isRight: boolean) => settle?.resolve(isRight));
    const end = (error: unknown) => {
      // After its error comes its exit, and by then another one may be at work.
      if (worker !== thread) return;
      worker = undefined;
      settle?.reject(error);
    };
    thread.once("error", end);
    thread.once("exit", () => end(new Error("the thread that compares passwords ended")));
    return thread;
  }

  return {
    /** @throws when the thread ended; the next one has a new thread */
    compare(password: string, hash: string): Promise<boolean> {
      worker ??= start();
      worker.postMessage({ password, hash } satisfies Question);
      return new Promise<boolean>((resolve, reject) => {
        settle = { resolve, reject };
      });
    },
    async stop(): Promise<void> {
      await worker?.terminate();
    },
  };
}

if (!isMainThread && (workerData as { passwords?: boolean } | null)?.passwords === true)
  parentPort?.on("message", ({ password, hash }: Question) => {
    parentPort?.postMessage(compareSync(password, hash));
  });
