import type { Clock } from "./capabilities.ts";

/**
 * Time since 1970 as it was at the start, plus what has passed since: a step of the wall clock (the first NTP answer on a server
 * without a battery) neither ages nor renews what is reckoned by it. For lives and limits, not for what people read.
 */
export function steadyClock(clock: Clock): Clock {
  const epochAtZeroMs = clock.now() - clock.monotonicMs();
  return {
    now: () => Math.round(epochAtZeroMs + clock.monotonicMs()),
    monotonicMs: () => clock.monotonicMs(),
    after: (delayMs, fn) => clock.after(delayMs, fn),
  };
}
