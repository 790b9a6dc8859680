import type { DurationMs } from "../../domain/capabilities.ts";

/** How often a machine was offered a boot file by the proxy and took nothing, from anybody. Monotonic times. */
export interface IgnoredOffers {
  readonly rounds: number;
  readonly firstMs: number;
  readonly lastMs: number;
  /** People were told of it. */
  readonly isTold: boolean;
}

/** A PXE ROM asks at 0, 4, 12 and 28 s, then it gives up (PXE 2.1 s.2.2.3; firmware-quirk Q1). */
export const ignoredRounds = 4;
/** ... and not in a burst, which says nothing. */
const minimumMs: DurationMs = 20_000;
/** A duplicate, or a second relay agent's copy. */
const sameRoundMs: DurationMs = 1000;
/** After this it was switched off in between. */
const forgetMs: DurationMs = 5 * 60_000;

/** One more OFFER left. Pure. */
export function countIgnored(before: IgnoredOffers | undefined, nowMs: number): IgnoredOffers {
  if (!before) return { rounds: 1, firstMs: nowMs, lastMs: nowMs, isTold: false };
  const sinceMs = nowMs - before.lastMs;
  if (sinceMs < sameRoundMs) return before;
  if (sinceMs > forgetMs) return { ...before, rounds: 1, firstMs: nowMs, lastMs: nowMs };
  return { ...before, rounds: before.rounds + 1, lastMs: nowMs };
}

/** True when its firmware does not put an address and a boot file of two offers together, and nobody was told yet. */
export function looksLikeNoMerge({ rounds, firstMs, lastMs, isTold }: IgnoredOffers): boolean {
  return !isTold && rounds >= ignoredRounds && lastMs - firstMs >= minimumMs;
}
