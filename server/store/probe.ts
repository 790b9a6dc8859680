import type { Clock } from "../domain/capabilities.ts";
import { StoreFailed } from "../domain/error-catalogue.ts";

/** Whoever asks whether the store can be written gets an answer after this, ms, whatever the disk does. */
const answerMs = 2000;

/**
 * Whether the store can be written, told in bounded time. While one write is under way nothing more is written: where the disk stands
 * still, each question of a monitor would add to what waits.
 *
 * @param write of something, done when it is on stable storage
 */
export function createProbe(write: () => Promise<void>, clock: Clock) {
  let underWay: Promise<void> | undefined;
  /** @throws StoreFailed */
  return async (): Promise<void> => {
    underWay ??= write().finally(() => (underWay = undefined));
    let cancel = (): void => {};
    const late = new Promise<never>((_, reject) => {
      const reason = `the disk has not answered for ${answerMs / 1000} seconds`;
      cancel = clock.after(answerMs, () => reject(StoreFailed({ reason })));
    });
    await Promise.race([underWay, late]).finally(cancel);
  };
}
