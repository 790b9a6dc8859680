import type { Ipv4 } from "../net/ipv4.ts";
import type { Mac } from "../net/mac.ts";

export interface AskerFacts {
  /** All MACs of the machine whose script is asked for. */
  readonly macs: readonly Mac[];
  /** MAC that the kernel's neighbour table has for the asking address, when it is on a network of ours. */
  readonly neighbour: Mac | undefined;
  /** MAC that holds the asking address by a lease of ours, or was seen to take it from another DHCP server. */
  readonly holder: Mac | undefined;
}

export type AskerVerdict =
  /** The address is this machine's. */
  | "verified"
  /** Nothing is known of the address, e.g. behind a relay in proxy mode. */
  | "unverified"
  /** The address is another machine's. */
  | "contradicted";

/**
 * Is it this machine that asks? The neighbour table is the better witness: it is what the packets really carried. It does not stop
 * somebody who takes another's MAC (docs/security.md says so).
 */
export function judgeAsker({ macs, neighbour, holder }: AskerFacts): AskerVerdict {
  if (neighbour) return macs.includes(neighbour) ? "verified" : "contradicted";
  if (holder) return macs.includes(holder) ? "verified" : "contradicted";
  return "unverified";
}

/** What {@link parseNeighbours} finds of one address, for a table that is asked at each script. */
export function neighbourAt(text: string, address: Ipv4): Mac | undefined {
  const at = text.indexOf(`\n${address} `);
  if (at < 0) return undefined;
  const end = text.indexOf("\n", at + 1);
  return parseNeighbours(text.slice(at, end < 0 ? undefined : end)).get(address);
}

/** Reads `/proc/net/arp`: complete entries (flag 0x2) only. */
export function parseNeighbours(text: string): Map<Ipv4, Mac> {
  const neighbours = new Map<Ipv4, Mac>();
  for (const line of text.split("\n").slice(1)) {
    const [address, , flags, mac] = line.split(/\s+/);
    if (address && mac && (Number(flags) & 2) !== 0 && mac !== "00:00:00:00:00:00")
      neighbours.set(address as Ipv4, mac as Mac);
  }
  return neighbours;
}
