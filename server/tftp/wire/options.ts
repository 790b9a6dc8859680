/** Which of the asked options are granted, and how: RFC 2347, 2348 (blksize), 2349 (tsize, timeout), 7440 (windowsize). Pure. */
import type { WireOption } from "./packet.ts";

/** RFC 1350: what holds when nothing was asked. */
export const DefaultBlockSizeBytes = 512;

export interface OptionCaps {
  /**
   * Largest payload of a DATA packet, 8 to 65464. 1468 fits an Ethernet frame of 1500 octets:
   * 1500 - 20 (IP) - 8 (UDP) - 4 (TFTP); a larger block is fragmented, and firmware often can't put it together.
   */
  readonly maxBlockSizeBytes: number;
  /** Most blocks on the wire before an ACK is awaited, 1 to 65535: more than a ROM's receive ring holds is lost. */
  readonly maxWindowBlocks: number;
}

export interface NegotiatedOptions {
  readonly blockSizeBytes: number;
  /** 1 is lockstep (RFC 1350). */
  readonly windowBlocks: number;
  /** Longest wait before a packet is sent again, as the client asked; undefined when it did not ask. */
  readonly retransmitWithinMs: number | undefined;
  /** Block number that follows 65535. */
  readonly rolloverTo: 0 | 1;
  /** What stands in the OACK, in the order asked, spelled as asked; empty: no OACK, DATA 1 comes first (RFC 2347). */
  readonly acknowledged: readonly WireOption[];
}

/**
 * Grants options. One that is unknown or senseless is left out, as if it had not been asked (RFC 2347);
 * nothing that was not asked is ever in the answer, since EFI refuses such an OACK.
 *
 * @param sizeBytes octets that will be transferred, after netascii conversion
 */
export function negotiateOptions(
  asked: readonly WireOption[],
  sizeBytes: number,
  caps: OptionCaps,
): NegotiatedOptions {
  let blockSizeBytes = DefaultBlockSizeBytes;
  let windowBlocks = 1;
  let retransmitWithinMs: number | undefined;
  let rolloverTo: 0 | 1 = 0;
  const acknowledged: WireOption[] = [];
  const seen = new Set<string>();
  for (const [name, text] of asked) {
    const key = name.toLowerCase();
    const value = parseDecimal(text);
    // An option may be given only once (RFC 2347): of two, the first counts.
    if (value === undefined || seen.has(key)) continue;
    seen.add(key);
    if (key === "blksize" && value >= 8) {
      blockSizeBytes = Math.min(value, caps.maxBlockSizeBytes);
      acknowledged.push([name, String(blockSizeBytes)]);
    } else if (key === "windowsize" && value >= 1 && value <= 65_535) {
      windowBlocks = Math.min(value, caps.maxWindowBlocks);
      acknowledged.push([name, String(windowBlocks)]);
    } else if (key === "timeout" && value >= 1 && value <= 255) {
      retransmitWithinMs = value * 1000;
      acknowledged.push([name, String(value)]);
    } else if (key === "tsize") {
      // The client sends 0, but a size that it guessed does no harm.
      acknowledged.push([name, String(sizeBytes)]);
    } else if (key === "rollover" && (value === 0 || value === 1)) {
      rolloverTo = value;
      acknowledged.push([name, String(value)]);
    }
  }
  return { blockSizeBytes, windowBlocks, retransmitWithinMs, rolloverTo, acknowledged };
}

/** Decimal digits only: no sign, no blank, no exponent. */
function parseDecimal(text: string): number | undefined {
  return /^[0-9]{1,15}$/.test(text) ? Number(text) : undefined;
}
