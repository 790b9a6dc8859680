/** An engine that has its transfers played by another thread (thread-loop.ts); files are read here. */
import type { Log } from "../domain/capabilities.ts";
import type { TftpFile } from "./file-routes.ts";
import type { RunningTransfer, TransferEnd, TransferEngine, TransferJob } from "./player.ts";
import { createSharedProgress, type FromThread, type ToThread, viewProgress } from "./thread-messages.ts";

/** The way to the thread and back. */
export interface ThreadLine {
  send(message: ToThread, transfer?: readonly ArrayBuffer[]): void;
  onMessage(handler: (message: FromThread) => void): void;
  /** The thread is gone; nothing will come any more. */
  onEnd(handler: () => void): void;
}

interface Job {
  readonly file: TftpFile;
  readonly began: PromiseWithResolvers<void>;
  readonly ended: PromiseWithResolvers<TransferEnd>;
}

/** @param instead plays what begins after the thread has ended */
export function createThreadEngine(line: ThreadLine, log: Log, instead: TransferEngine): TransferEngine {
  const jobs = new Map<number, Job>();
  let lastId = 0;
  let isGone = false;

  function finish(id: number, end: TransferEnd): void {
    jobs.get(id)?.ended.resolve(end);
    jobs.delete(id);
  }

  async function read(id: number, file: TftpFile, offset: number, length: number): Promise<void> {
    try {
      // A copy: the file may be kept for others, and what is sent is gone from here.
      const bytes = new Uint8Array(await file.read(offset, length));
      if (jobs.has(id)) line.send({ kind: "chunk", id, bytes }, [bytes.buffer]);
    } catch (error) {
      log.warn({ error: String(error) }, "failed to read a tftp file");
      if (jobs.has(id)) line.send({ kind: "read-failed", id });
    }
  }

  line.onMessage((message) => {
    const job = jobs.get(message.id);
    if (job === undefined) return;
    switch (message.kind) {
      case "began":
        job.began.resolve();
        break;
      case "failed":
        jobs.delete(message.id);
        job.began.reject(new Error(message.error));
        break;
      case "read":
        void read(message.id, job.file, message.offset, message.length);
        break;
      case "ended":
        finish(message.id, { outcome: message.outcome, reason: message.reason });
        break;
    }
  });
  line.onEnd(() => {
    isGone = true;
    log.error({ transfers: jobs.size }, "the thread of the tftp transfers ended; this thread takes over");
    for (const [id, { began }] of jobs) {
      began.resolve();
      finish(id, { outcome: "timed-out", reason: "the thread of the transfers ended" });
    }
  });

  return {
    async play(job: TransferJob): Promise<RunningTransfer> {
      if (isGone) return instead.play(job);
      const id = ++lastId;
      const { client, device, serverAddress, options, timings, requestBytes, file } = job;
      const began = Promise.withResolvers<void>();
      const ended = Promise.withResolvers<TransferEnd>();
      const progress = createSharedProgress();
      jobs.set(id, { file, began, ended });
      const { sizeBytes } = file;
      const what = { id, client, device, serverAddress, options, timings, sizeBytes, requestBytes, progress };
      line.send({ kind: "begin", ...what });
      await began.promise;
      return {
        progress: viewProgress(progress),
        stop: (reason, tellClient) => line.send({ kind: "stop", id, reason, tellClient }),
        ended: ended.promise,
        closed: ended.promise,
      };
    },
  };
}
