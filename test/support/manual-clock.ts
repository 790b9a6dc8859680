import type { Clock, DurationMs, EpochMs } from "../../server/domain/capabilities.ts";

interface Timer {
  readonly atMs: number;
  readonly fn: () => void;
}

/** A clock that stands still until it is told to go on; timers ring in the order of their time. */
export class ManualClock implements Clock {
  #elapsedMs = 0;
  #timers = new Set<Timer>();
  readonly #startedAt: EpochMs;

  constructor(startedAt: EpochMs = Date.UTC(2026, 0, 1)) {
    this.#startedAt = startedAt;
  }

  now(): EpochMs {
    return this.#startedAt + this.#elapsedMs;
  }

  monotonicMs(): number {
    return this.#elapsedMs;
  }

  after(delayMs: DurationMs, fn: () => void): () => void {
    const timer = { atMs: this.#elapsedMs + Math.max(0, delayMs), fn };
    this.#timers.add(timer);
    return () => void this.#timers.delete(timer);
  }

  /** Timers that have not rung; a server that is idle should have none. */
  get pendingTimers(): number {
    return this.#timers.size;
  }

  /** Goes on, ringing what falls due on the way, also what is set meanwhile. */
  advanceMs(byMs: DurationMs): void {
    const untilMs = this.#elapsedMs + byMs;
    for (;;) {
      let next: Timer | undefined;
      for (const timer of this.#timers) {
        if (timer.atMs <= untilMs && (next === undefined || timer.atMs < next.atMs)) next = timer;
      }
      if (next === undefined) break;
      this.#timers.delete(next);
      this.#elapsedMs = Math.max(this.#elapsedMs, next.atMs);
      next.fn();
    }
    this.#elapsedMs = untilMs;
  }
}
