import type { BootStepName } from "../domain/boot.ts";
import { type BootPart, medianOf, spansOf } from "../domain/boot-spans.ts";
import type { DurationMs } from "../domain/capabilities.ts";
import { firstPacketMs } from "../domain/power.ts";
import type { Seen } from "./diagnosis.ts";
import type { Reading } from "./evidence.ts";
import { plural, span } from "./wording.ts";

/** So many other machines of the room have to have come through, before their times say more than a default. */
const leastBoots = 3;
/** A machine that takes so many times the room's median may still be on its way. */
const margin = 4;

/** How long a silence is waited out before it is judged. */
interface Wait {
  /** Where the room says nothing. */
  readonly defaultMs: DurationMs;
  /** However quick the room is: one machine has an older disk, another one more memory to test. */
  readonly leastMs: DurationMs;
  /** What the machine does meanwhile. */
  readonly parts: readonly BootPart[];
}

const minuteMs: DurationMs = 60_000;
/** Firmware loads a kernel and an initrd of some hundred MB over a slow line in less, and a kernel speaks soon. */
const loaded: Wait = { defaultMs: 5 * minuteMs, leastMs: 2 * minuteMs, parts: ["kernel", "initramfs"] };

/** By the station that nothing comes after. Those of firmware and DHCP are no estimates: their rules have them from the specifications. */
const waits: Readonly<Partial<Record<BootStepName, Wait>>> = {
  // A first-stage program that starts speaks within seconds.
  nbp: { defaultMs: minuteMs, leastMs: minuteMs, parts: ["script"] },
  script: { defaultMs: minuteMs, leastMs: minuteMs, parts: ["kernel"] },
  kernel: loaded,
  node: loaded,
  initrd: loaded,
  // A system starts, mounts and looks for its config in less, on old disks' hardware too.
  "switch-root": { defaultMs: 5 * minuteMs, leastMs: 2 * minuteMs, parts: ["system"] },
  // cloud-init installs packages meanwhile.
  config: { defaultMs: 15 * minuteMs, leastMs: 2 * minuteMs, parts: ["config"] },
};

interface Patience {
  readonly ms: DurationMs;
  /** Where it comes from. */
  readonly why: string;
}

const defaultOf = (ms: DurationMs): Patience => ({
  ms,
  why: `fewer than ${leastBoots} other machines of its room show how long it takes`,
});

/** @param times of the room's other machines */
function learned(times: readonly DurationMs[], { defaultMs, leastMs }: Omit<Wait, "parts">): Patience {
  const middle = medianOf(times);
  if (middle === undefined || times.length < leastBoots) return defaultOf(defaultMs);
  return {
    ms: Math.max(leastMs, margin * middle),
    why: `${plural(times.length, "other machine")} of its room took ${span(middle)} (median)`,
  };
}

/** Only boots into the same role do the same. */
function patienceOf({ boot, roomBoots }: Reading, wait: Wait): Patience {
  const alike = roomBoots.filter(({ target }) => boot?.target === undefined || target === boot.target);
  const times = alike.flatMap((one) => {
    const parts = spansOf(one).filter(({ part }) => wait.parts.includes(part));
    const isWhole = parts.length === wait.parts.length;
    return isWhole ? [parts.reduce((sum, { milliseconds }) => sum + milliseconds, 0)] : [];
  });
  return learned(times, wait);
}

/** How long after this station a machine may be silent: by what the room's other machines take from there, else a default. */
export function patienceAt(reading: Reading, step: BootStepName): DurationMs {
  const wait = waits[step];
  return wait === undefined ? 0 : patienceOf(reading, wait).ms;
}

/** That the time was over, how long it is, and by what. */
export function seenPatience(reading: Reading, step: BootStepName): readonly Seen[] {
  const wait = waits[step];
  // A boot that has ended was not waited for.
  if (wait === undefined || reading.boot?.outcome !== "running") return [];
  const { ms, why } = patienceOf(reading, wait);
  return [{ at: reading.now, what: `nothing came within ${span(ms)}: ${why}` }];
}

/** How long after an order to switch on the firmware's first packet may take. */
export function wakePatience({ roomWakes }: Pick<Reading, "roomWakes">): Patience {
  return learned(roomWakes, { defaultMs: firstPacketMs, leastMs: 2 * minuteMs });
}
