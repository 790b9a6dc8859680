/** So much work at once over all, and so much for each operation: what does not fit waits in its turn. */
export function createSlots(limits: { readonly atOnce: number; readonly perOperation: number }) {
  const held = new Map<string, number>();
  const waiting = new Set<{ readonly operation: string; readonly begin: () => void }>();
  let taken = 0;

  const fits = (operation: string) =>
    taken < limits.atOnce && (held.get(operation) ?? 0) < limits.perOperation;

  function hold(operation: string): () => void {
    taken += 1;
    held.set(operation, (held.get(operation) ?? 0) + 1);
    let isHeld = true;
    return () => {
      if (!isHeld) return;
      isHeld = false;
      taken -= 1;
      const left = (held.get(operation) ?? 1) - 1;
      if (left > 0) held.set(operation, left);
      else held.delete(operation);
      for (const one of waiting) if (fits(one.operation)) one.begin();
    };
  }

  return {
    /** @returns gives the slot back; undefined when the signal came first */
    async take(operation: string, signal: AbortSignal): Promise<(() => void) | undefined> {
      if (signal.aborted) return undefined;
      if (fits(operation)) return hold(operation);
      return new Promise((resolve) => {
        const settle = (slot: (() => void) | undefined) => {
          waiting.delete(place);
          signal.removeEventListener("abort", giveUp);
          resolve(slot);
        };
        const giveUp = () => settle(undefined);
        const place = { operation, begin: () => settle(hold(operation)) };
        waiting.add(place);
        signal.addEventListener("abort", giveUp, { once: true });
      });
    },
  };
}
export type Slots = ReturnType<typeof createSlots>;
