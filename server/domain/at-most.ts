import type { Clock, DurationMs } from "./capabilities.ts";

/** Waits for work to end, but not longer than that: for a stop that may not hang. @throws as the work, when it fails in time */
export function atMost(
  clock: Pick<Clock, "after">,
  limitMs: DurationMs,
  work: Promise<unknown> | undefined,
): Promise<void> {
  let cancel = (): void => {};
  const late = new Promise<void>((resolve) => (cancel = clock.after(limitMs, resolve)));
  return Promise.race([work, late]).then(
    () => cancel(),
    (error: unknown) => {
      cancel();
      throw error;
    },
  );
}
