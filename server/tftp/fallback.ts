/**
 * Smaller blocks for clients whose path or firmware loses large ones: tunnels that drop what does not fit and tell nobody,
 * ROMs whose receive ring is shorter than a window (firmware-quirks Q22 and Q23).
 */
import type { Clock, DurationMs, Log } from "../domain/capabilities.ts";
import type { OptionCaps } from "./wire/options.ts";

/**
 * Octets. What is lost at 1468 is lost at iPXE's 1432 behind most tunnels too, and each step costs the machine a failed
 * boot: so the next is one that fits them all, and the last is that of RFC 1350.
 */
const BlockSizes = [1024, 512] as const;
/** A client is taken for what it was for so long after the last time that it needed smaller blocks. */
const RememberedMs: DurationMs = 24 * 60 * 60_000;
/** Clients that are remembered; the oldest go first. */
const Capacity = 4096;
/** So many timeouts in a row at the end of a transfer say that the path was the cause, and not somebody's patience. */
const TimeoutsOfABadPath = 2;

/** How a transfer went, as far as it tells of the path. */
export interface TransferEvidence {
  readonly blockSizeBytes: number;
  readonly windowBlocks: number;
  readonly hasHeardClient: boolean;
  readonly ackedBlock: number;
  readonly timeoutsInRow: number;
  readonly isComplete: boolean;
}

/** What a client gets from now on, as told to people. */
export interface FallbackNotice {
  /** MAC where it is known, else the address. */
  readonly client: string;
  readonly from: OptionCaps;
  readonly to: OptionCaps;
}

export interface Fallbacks {
  /** What may be granted to a client. */
  capsOf(client: string): OptionCaps;
  /** Looks at a transfer that ended, or that its client gave up. */
  learn(client: string, evidence: TransferEvidence): void;
}

export function createFallbacks(
  { clock, log }: { readonly clock: Pick<Clock, "monotonicMs">; readonly log: Pick<Log, "warn"> },
  caps: OptionCaps,
  tell: (notice: FallbackNotice) => void,
): Fallbacks {
  const known = new Map<string, { caps: OptionCaps; untilMs: number }>();

  function capsOf(client: string): OptionCaps {
    const entry = known.get(client);
    if (entry === undefined) return caps;
    if (clock.monotonicMs() < entry.untilMs) return entry.caps;
    known.delete(client);
    return caps;
  }

  function remember(client: string, smaller: OptionCaps): void {
    known.delete(client);
    known.set(client, { caps: smaller, untilMs: clock.monotonicMs() + RememberedMs });
    const [oldest] = known.keys();
    if (known.size > Capacity && oldest !== undefined) known.delete(oldest);
  }

  return {
    capsOf,
    learn(client, evidence) {
      const from = capsOf(client);
      if (evidence.isComplete && from !== caps) remember(client, from);
      if (!diedOfItsPath(evidence)) return;
      const to = smallerThan(from, evidence);
      if (to === undefined) return;
      remember(client, to);
      const notice = { client, from, to };
      log.warn({ ...notice }, "a tftp transfer died on its way: the client gets smaller blocks from now on");
      tell(notice);
    },
  };
}

/**
 * The source is there and took our OACK or part of the file, then nothing came through any more. A client that was never
 * heard may be forged, and must not make us think ill of the address.
 */
function diedOfItsPath({ isComplete, hasHeardClient, timeoutsInRow }: TransferEvidence): boolean {
  return !isComplete && hasHeardClient && timeoutsInRow >= TimeoutsOfABadPath;
}

/** @returns undefined when there is nothing smaller to try */
function smallerThan(from: OptionCaps, evidence: TransferEvidence): OptionCaps | undefined {
  // Blocks of this size did get through: the window is the first to be doubted.
  const isWindowInDoubt = evidence.ackedBlock > 0 && evidence.windowBlocks > 1;
  const maxBlockSizeBytes = isWindowInDoubt
    ? from.maxBlockSizeBytes
    : (BlockSizes.find((size) => size < evidence.blockSizeBytes) ?? from.maxBlockSizeBytes);
  const isSmaller = maxBlockSizeBytes < from.maxBlockSizeBytes || from.maxWindowBlocks > 1;
  return isSmaller ? { maxBlockSizeBytes, maxWindowBlocks: 1 } : undefined;
}
