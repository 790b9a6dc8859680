import { spansOf, usualTimes } from "../domain/boot-spans.ts";
import type { DurationMs } from "../domain/capabilities.ts";
import type { Reading } from "./evidence.ts";

/** What a part of a boot took, beside the room's other machines. */
export interface PartTime {
  readonly what: string;
  readonly ms: DurationMs;
  /** Undefined: no other machine has such a part on its timeline. */
  readonly medianMs: DurationMs | undefined;
}

/** Where the time of the machine's last boot went, each part with the room's median. */
export function partTimes({ boot, roomBoots }: Pick<Reading, "boot" | "roomBoots">): readonly PartTime[] {
  if (!boot) return [];
  const usual = usualTimes(roomBoots);
  return spansOf(boot).map(({ part, what, milliseconds }) => ({
    what,
    ms: milliseconds,
    medianMs: usual.get(part)?.medianMs,
  }));
}
