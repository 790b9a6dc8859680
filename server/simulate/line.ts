import type { DurationMs } from "../domain/capabilities.ts";
import type { Random } from "./random.ts";
import type { Timeline } from "./timeline.ts";

/** What a bad network does to datagrams, each as a probability from 0 to 1, and for each direction alike. */
export interface Impairments {
  readonly loss: number;
  readonly duplicate: number;
  readonly reorder: number;
}

export interface LineCounts {
  passed: number;
  /** By chance, as asked for (`--loss`). */
  lost: number;
  /** Sent while the switch port forwarded nothing yet: profiles behind spanning tree, whatever `--loss` is. */
  blocked: number;
  duplicated: number;
  delayed: number;
}

/** The cable of one machine. */
export interface Line {
  /** Calls `deliver` not at all, once or twice, at once or a little later. */
  carry(deliver: () => void): void;
  /** Nothing passes for so long: a switch port that spanning tree still blocks (firmware-quirk Q31). */
  block(firmwareMs: DurationMs): void;
}

/** A delayed datagram is overtaken by what is sent within this time. */
const longestDelayMs = 30;

export function createLine(
  { loss, duplicate, reorder }: Impairments,
  random: Random,
  timeline: Timeline,
  counts: LineCounts,
): Line {
  let isBlocked = false;
  const isClean = loss === 0 && duplicate === 0 && reorder === 0;

  function deliverOne(deliver: () => void): void {
    if (random() < reorder) {
      counts.delayed++;
      timeline.afterReal(1 + random() * (longestDelayMs - 1), deliver);
    } else deliver();
  }

  return {
    carry(deliver) {
      if (isBlocked) return void counts.blocked++;
      if (isClean) {
        counts.passed++;
        return deliver();
      }
      if (random() < loss) return void counts.lost++;
      counts.passed++;
      deliverOne(deliver);
      if (random() < duplicate) {
        counts.duplicated++;
        deliverOne(deliver);
      }
    },
    block(firmwareMs) {
      isBlocked = true;
      timeline.after(firmwareMs, () => (isBlocked = false));
    },
  };
}
