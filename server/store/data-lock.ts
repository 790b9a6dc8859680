import { mkdirSync } from "node:fs";
import { dirname } from "node:path";
import Sqlite from "better-sqlite3";
import { DataDirInUse } from "../domain/error-catalogue.ts";

/** Handles that hold a lock: a collected handle would close its file, and the lock with it, while the server still runs. */
const held = new Set<Sqlite.Database>();

/**
 * Takes a lock file for this process alone, until `release` or the end of the process. Each server keeps a snapshot of its database in
 * memory and clears up what its predecessor left, so two on the same data would destroy each other's work.
 *
 * The lock is SQLite's own on an empty database: the kernel holds it (fcntl) and drops it however the process ends, so nothing is
 * left over by `kill -9`, and it holds between containers too, where process ids and Unix sockets tell nothing.
 * @param protects what the lock stands for, to be named in the error
 * @throws DataDirInUse
 */
export function lockData(file: string, protects: string): { release(): void } {
  mkdirSync(dirname(file), { recursive: true, mode: 0o700 });
  const db = new Sqlite(file, { timeout: 0 });
  try {
    db.exec("BEGIN EXCLUSIVE");
  } catch (error) {
    db.close();
    if (error instanceof Error && "code" in error && String(error.code).startsWith("SQLITE_BUSY"))
      throw DataDirInUse({ directory: protects, lock: file });
    throw error;
  }
  held.add(db);
  return {
    release() {
      held.delete(db);
      db.close();
    },
  };
}
