import type { Clock, DurationMs, Log } from "./capabilities.ts";

/** Warnings that anybody's packets can cause: one per kind and interval, with the number of those left out. */
export function createRateLimitedLog(log: Log, clock: Pick<Clock, "monotonicMs">, intervalMs: DurationMs) {
  const kinds = new Map<string, { lastMs: number; suppressed: number }>();
  return {
    /** @param message static, so that there are few kinds @returns false when it was left out */
    warn(fields: Record<string, unknown>, message: string): boolean {
      const nowMs = clock.monotonicMs();
      const kind = kinds.get(message);
      if (kind && nowMs - kind.lastMs < intervalMs) {
        kind.suppressed++;
        return false;
      }
      log.warn({ ...fields, suppressed: kind?.suppressed ?? 0 }, message);
      kinds.set(message, { lastMs: nowMs, suppressed: 0 });
      return true;
    },
  };
}
export type RateLimitedLog = ReturnType<typeof createRateLimitedLog>;
