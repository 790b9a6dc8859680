import type { Clock, DurationMs } from "../domain/capabilities.ts";
import type { NewEvent, RecordEvent } from "../domain/event.ts";

/** Alarms of one kind from one address are one row within this time. */
const windowMs: DurationMs = 60_000;
/** Kinds told apart at a time; what comes beyond shares one row per type, so that many addresses fill neither memory nor disk. */
const capacity = 200;

interface Kind {
  readonly sinceMs: number;
  /** The last one that was left out, and how many there were. */
  last: NewEvent | undefined;
  leftOut: number;
}

/**
 * What strangers can cause without a login, written once a minute: warnings and alarms that name an address are told apart by type,
 * address, reason and machine. The first of a kind is recorded at once; those in the minute after it are counted, and the next row
 * carries the count (`data.repeated`). Everything else passes as it is.
 */
export function createRepeatedAlarms(clock: Pick<Clock, "monotonicMs">, record: RecordEvent) {
  const kinds = new Map<string, Kind>();

  function keyOf({ type, machineId, data = {} }: NewEvent): string {
    const key = JSON.stringify([type, data["address"], data["reason"] ?? data["code"], machineId]);
    return kinds.has(key) || kinds.size < capacity ? key : type;
  }

  function recordCounted(event: NewEvent, leftOut: number): void {
    if (leftOut === 0) return record(event);
    record({
      ...event,
      message: `${event.message} (and ${leftOut} more times before)`,
      data: { ...event.data, repeated: leftOut },
    });
  }

  return {
    record(event: NewEvent): void {
      if ((event.level ?? "info") === "info" || event.data?.["address"] === undefined) return record(event);
      const nowMs = clock.monotonicMs();
      const key = keyOf(event);
      const kind = kinds.get(key);
      if (kind && nowMs - kind.sinceMs < windowMs) {
        kind.last = event;
        kind.leftOut++;
        return;
      }
      kinds.set(key, { sinceMs: nowMs, last: undefined, leftOut: 0 });
      recordCounted(event, kind?.leftOut ?? 0);
    },

    /** Records what was counted in minutes that are over and forgets them; called from time to time, and at the end with `all`. */
    sweep({ all = false } = {}): void {
      const nowMs = clock.monotonicMs();
      for (const [key, { sinceMs, last, leftOut }] of kinds) {
        if (!all && nowMs - sinceMs < windowMs) continue;
        kinds.delete(key);
        if (last) recordCounted(last, leftOut - 1);
      }
    },
  };
}
