import type { Boot } from "../domain/boot.ts";
import { bootSpans } from "../domain/boot-spans.ts";
import type { DurationMs } from "../domain/capabilities.ts";
import type { Reading } from "./evidence.ts";

/** What a part of a boot took, beside the room's other machines. */
export interface PartTime {
  readonly what: string;
  readonly ms: DurationMs;
  /** Undefined: no other machine has such a part on its timeline. */
  readonly medianMs: DurationMs | undefined;
}

export function partsOf({ startedAt, steps }: Boot): { what: string; milliseconds: number }[] {
  const timed = {
    startedAt: new Date(startedAt).toISOString(),
    steps: steps.map(({ step, at, detail }) => ({ step, detail, afterMs: at - startedAt })),
  };
  // What comes before the first packet nobody has seen.
  return bootSpans(startedAt, timed).slice(1);
}

export function median(values: readonly number[]): number | undefined {
  const sorted = values.toSorted((left, right) => left - right);
  const middle = Math.floor(sorted.length / 2);
  const upper = sorted[middle];
  const lower = sorted.length % 2 === 0 ? sorted[middle - 1] : upper;
  return upper === undefined || lower === undefined ? undefined : Math.round((upper + lower) / 2);
}

/** Where the time of the machine's last boot went, each part with the room's median. */
export function partTimes({ boot, roomBoots }: Pick<Reading, "boot" | "roomBoots">): readonly PartTime[] {
  if (!boot) return [];
  const room = roomBoots.map(partsOf);
  return partsOf(boot).map(({ what, milliseconds }) => ({
    what,
    ms: milliseconds,
    medianMs: median(room.flatMap((parts) => parts.find((part) => part.what === what)?.milliseconds ?? [])),
  }));
}
