import { LRUCache } from "lru-cache";
import type { Lease } from "../domain/lease.ts";

export type CommitOutcome =
  | { readonly kind: "saved" }
  | { readonly kind: "failed"; readonly error: unknown }
  /** Pushed out by younger ones; its client asks again. */
  | { readonly kind: "dropped" };

interface Waiting {
  readonly lease: Lease;
  readonly done: (outcome: CommitOutcome) => void;
}

export interface CommitQueueOptions {
  save(lease: Lease): Promise<void>;
  /** Saves under way at a time: enough for one group commit of the repository. */
  readonly inFlightLimit?: number;
  /** Saves that wait for their turn. When the disk stands still the oldest go: their clients have given up by then. */
  readonly waitingLimit?: number;
}

/** Brings leases to the repository in the order they came, with a bound on what waits when the disk is slow. */
export function createCommitQueue({ save, inFlightLimit = 512, waitingLimit = 2048 }: CommitQueueOptions) {
  const waiting = new LRUCache<Waiting, Waiting>({ max: waitingLimit + 1 });
  let inFlight = 0;
  let onIdle: (() => void)[] = [];

  async function run({ lease, done }: Waiting): Promise<void> {
    inFlight++;
    let outcome: CommitOutcome = { kind: "saved" };
    try {
      await save(lease);
    } catch (error) {
      outcome = { kind: "failed", error };
    }
    inFlight--;
    done(outcome);
    next();
  }

  function next(): void {
    while (inFlight < inFlightLimit) {
      const task = waiting.pop();
      if (!task) break;
      void run(task);
    }
    if (inFlight > 0) return;
    const idle = onIdle;
    onIdle = [];
    for (const resolve of idle) resolve();
  }

  return {
    /** `done` must not throw. */
    submit(lease: Lease, done: (outcome: CommitOutcome) => void): void {
      const task = { lease, done };
      waiting.set(task, task);
      if (waiting.size > waitingLimit) waiting.pop()?.done({ kind: "dropped" });
      next();
    },
    /** Resolves when nothing waits and nothing is under way. */
    idle(): Promise<void> {
      if (inFlight === 0 && waiting.size === 0) return Promise.resolve();
      return new Promise((resolve) => onIdle.push(resolve));
    },
  };
}
export type CommitQueue = ReturnType<typeof createCommitQueue>;
