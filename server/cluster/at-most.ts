import type { Clock, DurationMs } from "../domain/capabilities.ts";

/** Waits for work to end, but not longer than that: for a stop that may not hang. @throws as the work, when it fails in time */
export async function atMost(
  clock: Clock,
  limitMs: DurationMs,
  work: Promise<unknown> | undefined,
): Promise<void> {
  let cancel = (): void => {};
  const late = new Promise<void>((resolve) => (cancel = clock.after(limitMs, resolve)));
  await Promise.race([work, late]).finally(cancel);
}
