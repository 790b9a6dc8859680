import type { EpochMs } from "../domain/capabilities.ts";
import type { LeaseRepository } from "../domain/lease.ts";
import type { Ipv4 } from "../net/ipv4.ts";
import type { Mac } from "../net/mac.ts";
import { isBound, isInRange } from "./policy/allocate-address.ts";
import type { Subnet } from "./policy/subnet.ts";

/** Leases are counted at most this often; what is given in between is added. */
const recountMs = 1000;
/** ... and of many leases no more often than a millisecond for so many: a count of 100,000 takes 20 ms. */
const leasesPerRecountMs = 5;

export interface UnknownShareDeps {
  readonly leases: Pick<LeaseRepository, "all">;
  isRegistered(mac: Mac): boolean;
  /** Of what registered machines leave of a pool, 0 to 1. */
  readonly share: number;
  now(): EpochMs;
  monotonicMs(): number;
}

interface Count {
  /** Monotonic. */
  readonly untilMs: number;
  unknown: number;
  registered: number;
}

/**
 * Machines that nobody added or accepted may hold no more than a part of a pool, by leases, offers and declined
 * addresses together. Else anybody who sends DISCOVERs from random MACs would leave none for those that belong here.
 */
export class UnknownShare {
  readonly #deps: UnknownShareDeps;
  readonly #counts = new Map<Subnet, Count>();

  constructor(deps: UnknownShareDeps) {
    this.#deps = deps;
  }

  /** @param others addresses that are held without a lease: offered or declined, with the MAC that caused it */
  hasRoom(mac: Mac, subnet: Subnet, poolSize: number, others: () => Iterable<readonly [Ipv4, Mac]>): boolean {
    if (this.#deps.share >= 1 || this.#deps.isRegistered(mac)) return true;
    const { unknown, registered } = this.#count(subnet, others);
    return unknown < Math.floor((poolSize - registered) * this.#deps.share);
  }

  /** An address of the subnet that nobody had was given to this client. */
  note(mac: Mac, subnet: Subnet): void {
    const count = this.#counts.get(subnet);
    if (!count) return;
    if (this.#deps.isRegistered(mac)) count.registered++;
    else count.unknown++;
  }

  #count(subnet: Subnet, others: () => Iterable<readonly [Ipv4, Mac]>): Count {
    const atMs = this.#deps.monotonicMs();
    const known = this.#counts.get(subnet);
    if (known && atMs < known.untilMs) return known;
    const holders = new Map<Ipv4, Mac>(others());
    const now = this.#deps.now();
    for (const lease of this.#deps.leases.all())
      if (isBound(lease, now)) holders.set(lease.address, lease.mac);
    const untilMs = atMs + Math.max(recountMs, holders.size / leasesPerRecountMs);
    const count: Count = { untilMs, unknown: 0, registered: 0 };
    for (const [address, mac] of holders) {
      if (!isInRange(subnet, address)) continue;
      if (this.#deps.isRegistered(mac)) count.registered++;
      else count.unknown++;
    }
    this.#counts.set(subnet, count);
    return count;
  }
}
