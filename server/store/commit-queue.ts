import type { Database, Statement } from "better-sqlite3";
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

/** One commit that is not yet on stable storage. */
interface Committed {
  readonly settled: readonly (() => void)[];
  readonly group: readonly Pending[];
  /** What takes its changes of memory back, in the order of the changes. */
  readonly undos: readonly (() => void)[];
}

/** Brings what was committed to stable storage. */
export interface Durability {
  sync(): Promise<void>;
  /** The same, waited for: at the end. */
  syncNow(): void;
}

/** Work that nobody waits for is on the disk after this at the latest, ms. */
const laterMs = 100;
/** Pieces of work that are not on stable storage yet: where a disk stands still, what more comes is refused (about 1 KiB each). */
const mostUnsettled = 50_000;
/** Commits are this far apart, ms, unless a group is large: each costs some tenths of a millisecond however small it is. */
const spacingMs = 4;
const largeGroup = 16;

/**
 * Group commit: all work that arrives in one turn of the event loop shares one transaction and one fdatasync, and every promise
 * resolves after that. The disk is waited for beside the event loop: what comes meanwhile gathers for the next commit, so the groups
 * grow with the load by themselves and a slow disk holds up nobody who does not write. Order is kept: a commit takes all that came
 * before.
 * A piece of work that throws is rolled back alone (savepoint, or without it and once more); a commit that fails rejects all of its group.
 */
export class CommitQueue {
  readonly #db: Database;
  readonly #durability: Durability | undefined;
  #pending: Pending[] = [];
  /** Work of `runAlone`, which does not take the rest along. */
  #alone: Pending[] = [];
  #committed: Committed[] = [];
  #isSyncing = false;
  #unsettled = 0;
  /** After a sync that failed nobody knows what is on the disk, and later frames of the log hang on earlier ones. */
  #broken: Error | undefined;
  /** Somebody waits for the next commit of all that is pending. */
  #isUrgent = false;
  #lastCommitMs = 0;
  #commits = 0;
  #soon: NodeJS.Immediate | undefined;
  #spaced: NodeJS.Timeout | undefined;
  #later: NodeJS.Timeout | undefined;
  #closed = false;
  // Prepared, since there are two savepoints' statements for each piece of work: SQLite would parse them each time.
  readonly #begin: Statement;
  readonly #commit: Statement;
  readonly #savepoint: Statement;
  readonly #release: Statement;

  /** @param durability undefined where a commit itself is durable, or there is no disk */
  constructor(db: Database, durability?: Durability) {
    this.#db = db;
    this.#durability = durability;
    this.#begin = db.prepare("BEGIN IMMEDIATE");
    this.#commit = db.prepare("COMMIT");
    this.#savepoint = db.prepare("SAVEPOINT work");
    this.#release = db.prepare("RELEASE work");
  }

  /** How often something was committed, or failed to be: what was read is as it is in the database until this grows. */
  get commits(): number {
    return this.#commits;
  }

  /** Runs `work` inside the next commit. @throws StoreFailed when the commit fails, or what `work` throws */
  run<T>(work: (transaction: Transaction) => T): Promise<T> {
    const done = this.#add(this.#pending, work);
    this.#isUrgent = true;
    this.#schedule();
    return done;
  }

  /** The same for rows that need nothing of what came before: other work may stay behind and gather. */
  runAlone<T>(work: (transaction: Transaction) => T): Promise<T> {
    const done = this.#add(this.#alone, work);
    this.#schedule();
    return done;
  }

  /**
   * The same for what nobody waits for, such as an event or a step of a boot: with the next commit of all, or within 100 ms. A building
   * that boots makes ten of these for each lease, and a disk does a few hundred commits a second.
   */
  runLater<T>(work: (transaction: Transaction) => T): Promise<T> {
    const done = this.#add(this.#pending, work);
    this.#later ??= setTimeout(() => {
      this.#isUrgent = true;
      this.#schedule();
    }, laterMs);
    return done;
  }

  #add<T>(list: Pending[], work: (transaction: Transaction) => T): Promise<T> {
    if (this.#closed) return Promise.reject(StoreFailed({ reason: "the store is closed" }));
    if (this.#broken) return Promise.reject(this.#broken);
    if (this.#unsettled >= mostUnsettled)
      return Promise.reject(StoreFailed({ reason: "the disk stands still, and too much waits for it" }));
    this.#unsettled++;
    return new Promise<T>((resolve, reject) => {
      list.push({
        work,
        resolve: (value) => {
          this.#unsettled--;
          resolve(value as T);
        },
        reject: (error) => {
          this.#unsettled--;
          reject(error);
        },
      });
    });
  }

  #schedule(): void {
    if (this.#isSyncing || this.#closed || this.#soon) return;
    const count = this.#alone.length + (this.#isUrgent ? this.#pending.length : 0);
    const waitMs = this.#lastCommitMs + spacingMs - performance.now();
    if (count >= largeGroup || waitMs <= 0) this.#soon = setImmediate(() => this.#commitWanted());
    else this.#spaced ??= setTimeout(() => this.#commitWanted(), waitMs);
  }

  #commitWanted(): void {
    if (this.#isUrgent) return this.flush();
    this.#unschedule();
    this.#commitGroup(this.#takeAlone(), true);
  }

  #unschedule(): void {
    if (this.#soon) clearImmediate(this.#soon);
    this.#soon = undefined;
    clearTimeout(this.#spaced);
    this.#spaced = undefined;
  }

  #takeAlone(): Pending[] {
    const taken = this.#alone;
    this.#alone = [];
    return taken;
  }

  /** Commits now what is pending; its promises resolve when it is on stable storage. */
  flush(): void {
    this.#unschedule();
    clearTimeout(this.#later);
    this.#later = undefined;
    this.#isUrgent = false;
    const group = this.#pending;
    this.#pending = [];
    group.push(...this.#takeAlone());
    this.#commitGroup(group);
  }

  #commitGroup(group: readonly Pending[], isAlone = false): void {
    if (group.length === 0) return;
    this.#lastCommitMs = performance.now();
    const settled: (() => void)[] = [];
    const undos: (() => void)[] = [];
    try {
      this.#begin.run();
      if (!isAlone || !this.#runTogether(group, undos, settled))
        for (const pending of group) settled.push(this.#runOne(pending, undos));
      this.#commit.run();
    } catch (error) {
      this.#commits++;
      if (this.#db.inTransaction) this.#db.exec("ROLLBACK");
      for (const undo of undos.reverse()) undo();
      const failure = StoreFailed({ reason: error instanceof Error ? error.message : String(error) });
      for (const pending of group) pending.reject(failure);
      return;
    }
    this.#commits++;
    this.#committed.push({ settled, group, undos });
    if (this.#durability) this.#startSync();
    else this.#tell(this.#take());
  }

  /** The same with what that work itself wrote. */
  settle(): void {
    for (let round = 0; round < 3; round++) this.flush();
  }

  #take(): Committed[] {
    const taken = this.#committed;
    this.#committed = [];
    return taken;
  }

  #tell(committed: readonly Committed[]): void {
    for (const { settled } of committed) for (const settle of settled) settle();
  }

  #startSync(): void {
    if (!this.#durability || this.#isSyncing || this.#closed || this.#committed.length === 0) return;
    const group = this.#take();
    this.#isSyncing = true;
    this.#durability.sync().then(
      () => {
        this.#isSyncing = false;
        this.#tell(group);
        this.#startSync();
        if (this.#isUrgent || this.#alone.length > 0) this.#schedule();
      },
      (error: unknown) => {
        this.#isSyncing = false;
        this.#break(error, [...group, ...this.#take()]);
      },
    );
  }

  #break(error: unknown, committed: readonly Committed[]): void {
    const reason = error instanceof Error ? error.message : String(error);
    this.#broken = StoreFailed({
      reason: `the disk failed, and nothing is written until the restart: ${reason}`,
    });
    // Memory must not tell of leases that may not be there after the restart.
    for (const { undos } of [...committed].reverse()) for (const undo of [...undos].reverse()) undo();
    for (const { group } of committed) for (const { reject } of group) reject(this.#broken);
    for (const { reject } of [...this.#pending, ...this.#takeAlone()]) reject(this.#broken);
    this.#pending = [];
  }

  /**
   * Without savepoints, which cost as much as the rows of leases and claims themselves; those hardly ever throw.
   * @returns false when one threw: all is as it was before, in a new transaction
   */
  #runTogether(group: readonly Pending[], undos: (() => void)[], settled: (() => void)[]): boolean {
    const transaction: Transaction = { onRollback: (undo) => void undos.push(undo) };
    try {
      for (const { work, resolve } of group) {
        const value = work(transaction);
        settled.push(() => resolve(value));
      }
      return true;
    } catch (error) {
      if (!this.#db.inTransaction) throw error;
      this.#db.exec("ROLLBACK");
      for (const undo of undos.splice(0).reverse()) undo();
      settled.length = 0;
      this.#begin.run();
      return false;
    }
  }

  #runOne(pending: Pending, undos: (() => void)[]): () => void {
    const own: (() => void)[] = [];
    this.#savepoint.run();
    try {
      const value = pending.work({ onRollback: (undo) => own.push(undo) });
      this.#release.run();
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

  /** Commits and syncs what is pending. What is under way at the disk resolves when the disk is done. */
  close(): void {
    this.#closed = true;
    this.flush();
    const last = this.#take();
    if (last.length === 0) return;
    try {
      this.#durability?.syncNow();
      this.#tell(last);
    } catch (error) {
      this.#break(error, last);
    }
  }
}
