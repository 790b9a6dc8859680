import type { Clock, DurationMs } from "../domain/capabilities.ts";

/** @throws the signal's reason, as soon as it is given */
export function pause(clock: Pick<Clock, "after">, delayMs: DurationMs, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    if (signal.aborted) return reject(signal.reason as Error);
    const stop = (): void => {
      cancel();
      reject(signal.reason as Error);
    };
    const cancel = clock.after(delayMs, () => {
      signal.removeEventListener("abort", stop);
      resolve();
    });
    signal.addEventListener("abort", stop, { once: true });
  });
}

/** The given signal, or a time limit, whichever is first. */
export class TimeIsUp extends Error {}

/** Runs something under the signal and a time limit. @throws TimeIsUp */
export async function within<T>(
  clock: Pick<Clock, "after">,
  limitMs: DurationMs,
  signal: AbortSignal,
  run: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  signal.throwIfAborted();
  const own = new AbortController();
  const pass = (): void => own.abort(signal.reason);
  signal.addEventListener("abort", pass, { once: true });
  const cancel = clock.after(limitMs, () => own.abort(new TimeIsUp(`no end within ${limitMs / 1000} s`)));
  try {
    return await run(own.signal);
  } catch (error) {
    // Whatever an aborted call throws, the reason is what people have to read.
    throw own.signal.aborted ? own.signal.reason : error;
  } finally {
    cancel();
    signal.removeEventListener("abort", pass);
  }
}
