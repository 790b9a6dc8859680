/** So much at once; more waits in turn. */
export function createSlots(atOnce: number) {
  let taken = 0;
  const waiting = new Set<() => void>();

  function leave(): void {
    taken -= 1;
    const [next] = waiting;
    if (next) next();
  }

  /** Waits for a slot; a signal ends the wait. @returns what gives it back @throws the signal's reason */
  function take(signal: AbortSignal): Promise<() => void> {
    return new Promise((resolve, reject) => {
      if (signal.aborted) return reject(signal.reason as Error);
      const begin = (): void => {
        waiting.delete(begin);
        signal.removeEventListener("abort", abandon);
        taken += 1;
        resolve(leave);
      };
      const abandon = (): void => {
        waiting.delete(begin);
        reject(signal.reason as Error);
      };
      if (taken < atOnce) return begin();
      waiting.add(begin);
      signal.addEventListener("abort", abandon, { once: true });
    });
  }

  return {
    async run<T>(signal: AbortSignal, work: () => Promise<T>): Promise<T> {
      const release = await take(signal);
      try {
        return await work();
      } finally {
        release();
      }
    },
  };
}
