import { LRUCache } from "lru-cache";
import type { Clock, DurationMs } from "../domain/capabilities.ts";
import { TooManyFailures } from "../domain/error-catalogue.ts";
import type { RecordEvent } from "../domain/event.ts";

/** Wrong tokens and passwords that an address may show before it has to wait: a room behind one router has some old scripts. */
const freeFailures = 20;
/** After so long without a failure an address is as good as new, ms. */
const forgetAfterMs: DurationMs = 10 * 60_000;
const firstWaitMs: DurationMs = 1000;
const longestWaitMs: DurationMs = 60_000;
/** Addresses that are remembered; a flood of them pushes out the oldest. */
const capacity = 5000;

interface Failures {
  readonly count: number;
  readonly atMs: number;
  readonly blockedUntilMs: number;
}

export interface LoginFailuresDeps {
  readonly clock: Pick<Clock, "monotonicMs">;
  readonly record: RecordEvent;
}

/** Wrong tokens and passwords, of the API and the registry, by source address: after some the address waits, each time twice as long. Other addresses never notice. */
export function createLoginFailures({ clock, record }: LoginFailuresDeps) {
  const byAddress = new LRUCache<string, Failures>({ max: capacity });

  return {
    /** Before a token is looked at. @throws TooManyFailures */
    refuse(address: string): void {
      const waitMs = (byAddress.get(address)?.blockedUntilMs ?? 0) - clock.monotonicMs();
      if (waitMs > 0) throw TooManyFailures({ address, retryAfterSeconds: Math.ceil(waitMs / 1000) });
    },

    /** A token was wrong. */
    note(address: string): void {
      const now = clock.monotonicMs();
      const before = byAddress.get(address);
      const count = before && now - before.atMs < forgetAfterMs ? before.count + 1 : 1;
      const beyond = count - freeFailures;
      const waitMs = beyond < 0 ? 0 : Math.min(firstWaitMs * 2 ** beyond, longestWaitMs);
      byAddress.set(address, { count, atMs: now, blockedUntilMs: now + waitMs });
      if (beyond >= 0)
        record({
          type: "token.failures",
          level: "warning",
          message: `${address} showed ${count} wrong tokens or passwords; it has to wait ${waitMs / 1000} s`,
          data: { address, failures: count },
        });
    },
  };
}
export type LoginFailures = ReturnType<typeof createLoginFailures>;
