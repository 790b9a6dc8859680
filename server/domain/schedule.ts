/** Assignments at a time of day: which moments a schedule means, whatever the clocks of the time zone do. */
import type { AssignedTarget, AssignmentMode } from "./assignment.ts";
import type { DurationMs, EpochMs } from "./capabilities.ts";

export const weekdays = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"] as const;
export type Weekday = (typeof weekdays)[number];

/** What becomes of the machines' power: waking switches on what is off, cycling restarts what is on too. */
export const schedulePowers = ["none", "wake", "cycle"] as const;
export type SchedulePower = (typeof schedulePowers)[number];

/** One of a schedule's times. A wrong clock comes to it twice; it is one all the same, by what clocks show on that day. */
export interface Occurrence {
  /** `2026-03-02T12:00` on the clock of the time zone */
  readonly local: string;
  /** The moment that was taken for it. */
  readonly at: EpochMs;
}

export interface Schedule {
  readonly name: string;
  /** Host set, resolved anew each time. */
  readonly machines: string;
  readonly target: AssignedTarget;
  readonly mode: AssignmentMode;
  readonly power: SchedulePower;
  /** Minute of the day, 0 to 1439, on the clock of the configured time zone. */
  readonly atMinute: number;
  readonly days: readonly Weekday[];
  /** Groups that it stays within, whatever the host set comes to mean: those of the token that added it; undefined: all machines. */
  readonly rooms: readonly string[] | undefined;
  readonly createdAt: EpochMs;
  readonly createdBy: string;
  /** Times up to this one have been seen to. */
  readonly seenUntil: EpochMs;
  /** The newest that were seen to, whatever the clock showed later. */
  readonly settled: readonly Occurrence[];
}
/** As many are kept: each of two months. */
export const keptOccurrences = 60;

/** Milliseconds that the clocks of a time zone are ahead of UTC at a moment. */
export type OffsetAt = (at: EpochMs) => DurationMs;

const dayMs = 86_400_000;
const minuteMs = 60_000;
/** What was missed while the server was off is done at its start unless it is older, ms. */
export const catchUpMs = 3_600_000;

/** Does the time zone database of the runtime know it? */
export function isTimeZone(name: string): boolean {
  try {
    return new Intl.DateTimeFormat("en-US", { timeZone: name }).resolvedOptions().timeZone !== "";
  } catch {
    return false;
  }
}

/** By the time zone database of the runtime. @param timeZone e.g. Europe/Moscow @throws RangeError */
export function offsetsOf(timeZone: string): OffsetAt {
  const format = new Intl.DateTimeFormat("en-US", {
    timeZone,
    hourCycle: "h23",
    year: "numeric",
    month: "numeric",
    day: "numeric",
    hour: "numeric",
    minute: "numeric",
    second: "numeric",
  });
  return (at) => {
    const parts = new Map(format.formatToParts(at).map(({ type, value }) => [type, Number(value)]));
    const part = (type: Intl.DateTimeFormatPartTypes) => parts.get(type) ?? 0;
    const local = Date.UTC(
      part("year"),
      part("month") - 1,
      part("day"),
      part("hour"),
      part("minute"),
      part("second"),
    );
    return local - Math.floor(at / 1000) * 1000;
  };
}

/**
 * The moment when clocks show this: of two the first; where they jump over it, the first moment after the jump.
 * @param local what they show, as if it were UTC
 */
export function momentOf(local: number, offsetAt: OffsetAt): EpochMs {
  const [before, after] = [offsetAt(local - dayMs), offsetAt(local + dayMs)];
  const shown = [local - before, local - after].filter((at) => at + offsetAt(at) === local);
  if (shown.length > 0) return Math.min(...shown);
  let [low, high] = [local - Math.max(before, after), local - Math.min(before, after)];
  // Clocks show less than wanted at `low` and more at `high`.
  while (high - low > 1) {
    const middle = Math.floor((low + high) / 2);
    if (middle + offsetAt(middle) < local) low = middle;
    else high = middle;
  }
  return high;
}

type Times = Pick<Schedule, "atMinute" | "days">;

/** Moments of the days around `at`, `from` to `to` days away, in their order. */
function momentsAround(
  { atMinute, days }: Times,
  at: EpochMs,
  from: number,
  to: number,
  offsetAt: OffsetAt,
): Occurrence[] {
  const today = Math.floor((at + offsetAt(at)) / dayMs) * dayMs;
  const moments: Occurrence[] = [];
  for (let day = from; day <= to; day++) {
    const midnight = today + day * dayMs;
    // 1970-01-01 was a Thursday.
    const weekday = weekdays[(midnight / dayMs + 3) % 7];
    if (weekday === undefined || !days.includes(weekday)) continue;
    const shown = midnight + atMinute * minuteMs;
    moments.push({ local: new Date(shown).toISOString().slice(0, 16), at: momentOf(shown, offsetAt) });
  }
  return moments;
}

/** The next moments after `after`, at most one a day. */
export function nextTimes(times: Times, after: EpochMs, count: number, offsetAt: OffsetAt): EpochMs[] {
  const moments = momentsAround(times, after, -1, 7 * count + 1, offsetAt).map(({ at }) => at);
  return [...new Set(moments.filter((at) => at > after))].slice(0, count);
}

export interface Due extends Occurrence {
  readonly kind: "fire" | "missed";
}

/** What a schedule wants done now: the latest of its moments that nobody has seen to; undefined: nothing. */
export function dueNow(schedule: Schedule, now: EpochMs, offsetAt: OffsetAt): Due | undefined {
  const latest = momentsAround(schedule, now, -8, 1, offsetAt).findLast(
    ({ at }) => at > schedule.seenUntil && at <= now,
  );
  return latest && { ...latest, kind: now - latest.at <= catchUpMs ? "fire" : "missed" };
}

/** A clock that ran ahead and was put back must not silence a schedule for as long as it was wrong. */
export function seenTooFar(schedule: Schedule, now: EpochMs): boolean {
  return schedule.seenUntil > now + catchUpMs;
}
