import type { Database } from "better-sqlite3";
import { StoreFailed } from "../domain/error-catalogue.ts";

/** What a piece of work gets: a way to take back what it changed in memory if the commit fails. */
export interface Transaction {
  onRollback(undo: () => void): void;
}

interface Pending {
  readonly work: (transaction: Transaction) => unknown;
  readonly resolve: (value: unknown) => void;
  readonly reject: (error: unknown) => void;
}

/**
 * Group commit: all work that arrives in one turn of the event loop shares one transaction and one fdatasync, and every promise
 * resolves after it. While a commit runs the next requests pile up, so the groups grow with the load by themselves.
 * A piece of work that throws is rolled back alone (savepoint); a commit that fails rejects all of its group.
 */
export class CommitQueue {
  readonly #db: Database;
  #pending: Pending[] = [];
  #scheduled: NodeJS.Immediate | undefined;
  #closed = false;

  constructor(db: Database) {
    this.#db = db;
  }

  /** Runs `work` inside the next commit. @throws StoreFailed when the commit fails, or what `work` throws */
  run<T>(work: (transaction: Transaction) => T): Promise<T> {
    if (this.#closed) return Promise.reject(StoreFailed({ reason: "the store is closed" }));
    return new Promise<T>((resolve, reject) => {
      this.#pending.push({ work, resolve: resolve as (value: unknown) => void, reject });
      this.#scheduled ??= setImmediate(() => this.flush());
    });
  }

  /** Commits now what is pending. */
  flush(): void {
    if (this.#scheduled) clearImmediate(this.#scheduled);
    this.#scheduled = undefined;
    const group = this.#pending;
    this.#pending = [];
    if (group.length === 0) return;
    const settled: (() => void)[] = [];
    const undos: (() => void)[] = [];
    try {
      this.#db.exec("BEGIN IMMEDIATE");
      for (const pending of group) settled.push(this.#runOne(pending, undos));
      this.#db.exec("COMMIT");
    } catch (error) {
      if (this.#db.inTransaction) this.#db.exec("ROLLBACK");
      for (const undo of undos.reverse()) undo();
      const failure = StoreFailed({ reason: error instanceof Error ? error.message : String(error) });
      for (const pending of group) pending.reject(failure);
      return;
    }
    for (const settle of settled) settle();
  }

  #runOne(pending: Pending, undos: (() => void)[]): () => void {
    const own: (() => void)[] = [];
    this.#db.exec("SAVEPOINT work");
    try {
      const value = pending.work({ onRollback: (undo) => own.push(undo) });
      this.#db.exec("RELEASE work");
      undos.push(...own);
      return () => pending.resolve(value);
    } catch (error) {
      // SQLite ends the whole transaction by itself on a full disk or an I/O error: then there is no savepoint to go back to.
      if (!this.#db.inTransaction) {
        undos.push(...own);
        throw error;
      }
      this.#db.exec("ROLLBACK TO work");
      this.#db.exec("RELEASE work");
      for (const undo of own.reverse()) undo();
      const isStorage =
        error instanceof Error && "code" in error && /^SQLITE_(FULL|IOERR)/.test(String(error.code));
      return () => pending.reject(isStorage ? StoreFailed({ reason: error.message }) : error);
    }
  }

  close(): void {
    this.flush();
    this.#closed = true;
  }
}
