import { closeSync, fdatasync, fdatasyncSync, fsyncSync, openSync } from "node:fs";
import { dirname } from "node:path";
import type { Durability } from "./commit-queue.ts";

/**
 * Syncs SQLite's write-ahead log as `synchronous=FULL` would, but beside the event loop.
 *
 * With NORMAL a COMMIT writes its frames to the log and does not sync; after an fdatasync of that file they are as durable as with FULL,
 * since recovery takes every frame of the log whose checksums hold (SQLite "Write-Ahead Logging", s.2.3 and "WAL-mode File Format").
 * Checkpoints sync by themselves with NORMAL too. SQLite holds its locks on the database and the shared memory, never on the log, so
 * that a second descriptor of the log takes no lock away (POSIX drops a process's locks of a file with any of its descriptors).
 *
 * @param path of the database, in WAL mode and written to already, so that the log exists and stays the same file
 */
export function openWalSync(path: string): Durability & { close(): void } {
  const log = openSync(`${path}-wal`, "r+");
  const directory = openSync(dirname(path), "r");
  try {
    // The log's own name, in case it is new.
    fsyncSync(directory);
  } finally {
    closeSync(directory);
  }
  let running = 0;
  let isClosed = false;
  const closeWhenIdle = () => {
    if (isClosed && running === 0) closeSync(log);
  };
  return {
    async sync() {
      running++;
      try {
        await new Promise<void>((resolve, reject) =>
          fdatasync(log, (error) => (error ? reject(error) : resolve())),
        );
      } finally {
        running--;
        closeWhenIdle();
      }
    },
    syncNow: () => fdatasyncSync(log),
    close() {
      isClosed = true;
      closeWhenIdle();
    },
  };
}
