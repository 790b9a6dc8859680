import type { Clock, DurationMs } from "../domain/capabilities.ts";

/** All waits of all machines: one heap and one timer of the clock, however many machines there are. */
export interface Timeline {
  /** Real milliseconds, monotonic. */
  nowMs(): number;
  /** Calls `fn` after so much of the firmware's time, which `speed` shortens. The function it returns cancels that. */
  after(firmwareMs: DurationMs, fn: () => void): () => void;
  /** The same in real time: what the network does is not made faster. */
  afterReal(realMs: DurationMs, fn: () => void): () => void;
  sleep(firmwareMs: DurationMs): Promise<void>;
}

interface Entry {
  readonly atMs: number;
  /** Entries of the same time are called in the order they came. */
  readonly order: number;
  fn: (() => void) | undefined;
}

/** @param speed how many times faster than real firmware the machines wait, 1 for real */
export function createTimeline(clock: Clock, speed: number): Timeline {
  const heap: Entry[] = [];
  let order = 0;
  let armedForMs = Infinity;
  let disarm = (): void => {};

  function isBefore(left: Entry | undefined, right: Entry | undefined): boolean {
    if (!left || !right) return left !== undefined;
    return left.atMs < right.atMs || (left.atMs === right.atMs && left.order < right.order);
  }

  function push(entry: Entry): void {
    let at = heap.push(entry) - 1;
    while (at > 0) {
      const parent = (at - 1) >> 1;
      const above = heap[parent];
      if (!above || isBefore(above, entry)) break;
      heap[at] = above;
      at = parent;
    }
    heap[at] = entry;
  }

  function pop(): Entry | undefined {
    const first = heap[0];
    const last = heap.pop();
    if (!first || !last || heap.length === 0) return first;
    let at = 0;
    for (;;) {
      let child = 2 * at + 1;
      if (isBefore(heap[child + 1], heap[child])) child++;
      const below = heap[child];
      if (!below || isBefore(last, below)) break;
      heap[at] = below;
      at = child;
    }
    heap[at] = last;
    return first;
  }

  function ring(): void {
    armedForMs = Infinity;
    // Timers of the clock may ring a fraction of a millisecond early.
    const nowMs = clock.monotonicMs() + 0.5;
    while (heap[0] && (heap[0].atMs <= nowMs || !heap[0].fn)) pop()?.fn?.();
    arm();
  }

  function arm(): void {
    const next = heap[0]?.atMs ?? Infinity;
    if (next >= armedForMs) return;
    disarm();
    armedForMs = next;
    disarm = clock.after(Math.max(0, Math.ceil(next - clock.monotonicMs())), ring);
  }

  function afterReal(realMs: DurationMs, fn: () => void): () => void {
    const entry: Entry = { atMs: clock.monotonicMs() + realMs, order: order++, fn };
    push(entry);
    arm();
    // Cancelled entries stay in the heap until their time: taking them out would cost more than they do.
    return () => void (entry.fn = undefined);
  }

  const after = (firmwareMs: DurationMs, fn: () => void) => afterReal(firmwareMs / speed, fn);
  return {
    nowMs: () => clock.monotonicMs(),
    after,
    afterReal,
    sleep: (firmwareMs) => new Promise((resolve) => after(firmwareMs, resolve)),
  };
}
