import { LRUCache } from "lru-cache";
import type { Clock, DurationMs, EpochMs } from "../domain/capabilities.ts";
import type { Machine } from "../domain/machine.ts";
import type { Power, PowerOutcome } from "../domain/power.ts";

/** What was found stands for so long: each look is a login at a board or a machine, and whoever may look may look again and again, ms. */
export const knownForMs: DurationMs = 10_000;
/** One machine is asked within this, ms. */
export const statusLimitMs: DurationMs = 60_000;
const capacity = 5000;

export interface KnownOutcome extends PowerOutcome {
  /** When it was found. */
  readonly askedAt: EpochMs;
}

interface Look {
  readonly answer: Promise<KnownOutcome>;
  /** What its settings were then: with others another board answers. */
  readonly settings: string;
  /** Undefined while it is asked. */
  untilMs: DurationMs | undefined;
}

export interface KnownStatusDeps {
  readonly clock: Pick<Clock, "now" | "monotonicMs">;
  readonly power: Power;
  /** How a machine is switched, as a text. */
  readonly settingsOf: (machine: Machine) => string;
}

/** Machines' power as it was seen of late: many who look ask a machine once, and an order makes it asked anew. */
export function createKnownStatus({ clock, power, settingsOf }: KnownStatusDeps) {
  const looks = new LRUCache<string, Look>({ max: capacity });

  /** The same power; what is known of a machine ends with an order to it. */
  const orders: Power = {
    ...power,
    async act(machine, action, signal, wishes) {
      try {
        return await power.act(machine, action, signal, wishes);
      } finally {
        looks.delete(machine.id);
      }
    },
  };

  return {
    /** @throws what `Power.status` throws, and that is known for a while too */
    of(machine: Machine): Promise<KnownOutcome> {
      const settings = settingsOf(machine);
      const before = looks.get(machine.id);
      const isKnown =
        before?.settings === settings &&
        (before.untilMs === undefined || clock.monotonicMs() < before.untilMs);
      if (isKnown) return before.answer;
      const answer = power
        .status(machine, AbortSignal.timeout(statusLimitMs))
        .then((outcome) => ({ ...outcome, askedAt: clock.now() }));
      const look: Look = { answer, settings, untilMs: undefined };
      const settle = () => void (look.untilMs = clock.monotonicMs() + knownForMs);
      answer.then(settle, settle);
      looks.set(machine.id, look);
      return answer;
    },

    orders,
  };
}
export type KnownStatus = ReturnType<typeof createKnownStatus>;
