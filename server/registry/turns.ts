import type { Clock, DurationMs } from "../domain/capabilities.ts";

/** Lets everybody else have a turn in the middle of long work. */
export const breathe = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

/** Pauses that end early when the work is to end. */
export function createPauses(clock: Pick<Clock, "after">) {
  let end: (() => void) | undefined;
  let isStopped = false;
  return {
    get isStopped() {
      return isStopped;
    },
    pause: (delayMs: DurationMs): Promise<void> =>
      new Promise((resolve) => {
        if (isStopped) return resolve();
        const cancel = clock.after(delayMs, resolve);
        end = () => {
          cancel();
          resolve();
        };
      }),
    stop(): void {
      isStopped = true;
      end?.();
    },
  };
}
