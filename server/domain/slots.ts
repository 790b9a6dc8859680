export interface SlotLimits {
  readonly atOnce: number;
  /** Of those for each owner; as many as there are unless told otherwise. */
  readonly perOwner?: number;
}

/** So much work at once over all, and so much for each owner: what does not fit waits in its turn. A queue of promises, without a clock. */
export function createSlots({ atOnce, perOwner = atOnce }: SlotLimits) {
  const held = new Map<string, number>();
  const waiting = new Set<{ readonly owner: string; readonly begin: () => void }>();
  let taken = 0;

  const fits = (owner: string) => taken < atOnce && (held.get(owner) ?? 0) < perOwner;

  function hold(owner: string): () => void {
    taken += 1;
    held.set(owner, (held.get(owner) ?? 0) + 1);
    let isHeld = true;
    return () => {
      if (!isHeld) return;
      isHeld = false;
      taken -= 1;
      const left = (held.get(owner) ?? 1) - 1;
      if (left > 0) held.set(owner, left);
      else held.delete(owner);
      for (const one of waiting) if (fits(one.owner)) one.begin();
    };
  }

  /** Waits for a slot; a signal ends the wait. @returns what gives it back, once @throws the signal's reason */
  function take(signal: AbortSignal, owner = ""): Promise<() => void> {
    return new Promise((resolve, reject) => {
      if (signal.aborted) return reject(signal.reason as Error);
      if (fits(owner)) return resolve(hold(owner));
      const end = () => {
        waiting.delete(place);
        signal.removeEventListener("abort", abandon);
      };
      const abandon = () => {
        end();
        reject(signal.reason as Error);
      };
      const place = {
        owner,
        begin: () => {
          end();
          resolve(hold(owner));
        },
      };
      waiting.add(place);
      signal.addEventListener("abort", abandon, { once: true });
    });
  }

  return {
    take,
    /** Does the work in a slot. @throws as the work, or the signal's reason while it waits */
    run: <T>(signal: AbortSignal, work: () => Promise<T>): Promise<T> =>
      take(signal).then((leave) => work().finally(leave)),
  };
}
