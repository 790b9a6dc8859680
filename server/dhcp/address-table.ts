import type { DurationMs, EpochMs } from "../domain/capabilities.ts";
import type { LeaseRepository } from "../domain/lease.ts";
import type { Ipv4 } from "../net/ipv4.ts";
import type { Mac } from "../net/mac.ts";
import { createAddressPool, isAssignable, type AddressPool } from "./policy/allocate-address.ts";
import { declinedMs } from "./policy/decide-authoritative.ts";
import type { Subnet } from "./policy/subnet.ts";

/** What the DHCP server asks about machines. */
export interface DhcpMachines {
  /** The address that was reserved for the machine of this MAC. */
  reservationOf(mac: Mac): Ipv4 | undefined;
  /** A MAC of the machine that the address is reserved for. */
  ownerOf(address: Ipv4): Mac | undefined;
  mayNetboot(mac: Mac): boolean;
}

/** An offer that nobody takes is free again after this (RFC 2131 s.3.1). */
const offerMs: DurationMs = 60_000;

interface Until {
  readonly address: Ipv4;
  readonly mac: Mac;
  /** Monotonic. */
  readonly untilMs: number;
}

export interface AddressTableDeps {
  readonly leases: Pick<LeaseRepository, "findByAddress">;
  readonly machines: Pick<DhcpMachines, "reservationOf" | "ownerOf">;
  readonly serverAddresses: ReadonlySet<Ipv4>;
  /** The time that leases are reckoned by. */
  now(): EpochMs;
  monotonicMs(): number;
}

/**
 * Who may have which address, beyond what the leases say: offers that wait to be taken, addresses whose lease is being
 * written, addresses that were declined. In memory only; after a restart clients ask again.
 */
export function createAddressTable({ leases, machines, serverAddresses, now, monotonicMs }: AddressTableDeps) {
  // Entries of one table live equally long, so the order of insertion is the order of expiry.
  const offers = new Map<Mac, Until>();
  const offeredTo = new Map<Ipv4, Mac>();
  const declined = new Map<Ipv4, Until>();
  const declinedBy = new Map<Mac, number>();
  const held = new Map<Ipv4, { readonly mac: Mac; count: number }>();
  const pools = new Map<Subnet, AddressPool>();

  function withdraw(mac: Mac): void {
    const offer = offers.get(mac);
    if (!offer) return;
    offers.delete(mac);
    offeredTo.delete(offer.address);
  }

  function expire(): void {
    const nowMs = monotonicMs();
    for (const [mac, offer] of offers) {
      if (offer.untilMs > nowMs) break;
      withdraw(mac);
    }
    for (const [address, entry] of declined) {
      if (entry.untilMs > nowMs) break;
      declined.delete(address);
      const left = (declinedBy.get(entry.mac) ?? 1) - 1;
      if (left > 0) declinedBy.set(entry.mac, left);
      else declinedBy.delete(entry.mac);
    }
  }

  /** True when nobody but `mac` reserved, holds, is offered or declined the address. */
  function isAvailable(mac: Mac, address: Ipv4): boolean {
    if (serverAddresses.has(address) || declined.has(address)) return false;
    const owner = machines.ownerOf(address);
    // A machine with two network cards has one reservation, and the owner named is only one of them.
    if (owner !== undefined && owner !== mac && machines.reservationOf(mac) !== address) return false;
    if ((offeredTo.get(address) ?? mac) !== mac || (held.get(address)?.mac ?? mac) !== mac) return false;
    const lease = leases.findByAddress(address);
    if (!lease || lease.state === "released" || lease.expiresAt <= now()) return true;
    return lease.state === "bound" && lease.mac === mac;
  }

  return {
    isAvailable(mac: Mac, address: Ipv4): boolean {
      expire();
      return isAvailable(mac, address);
    },
    offered(mac: Mac): Ipv4 | undefined {
      expire();
      return offers.get(mac)?.address;
    },
    offer(mac: Mac, address: Ipv4): void {
      withdraw(mac);
      offers.set(mac, { address, mac, untilMs: monotonicMs() + offerMs });
      offeredTo.set(address, mac);
    },
    withdraw,
    /** Nobody else gets the address until it is let go: its lease is on the way to the disk. */
    hold(mac: Mac, address: Ipv4): void {
      const entry = held.get(address);
      if (entry) entry.count++;
      else held.set(address, { mac, count: 1 });
    },
    letGo(address: Ipv4): void {
      const entry = held.get(address);
      if (entry && --entry.count === 0) held.delete(address);
    },
    decline(mac: Mac, address: Ipv4): void {
      if (declined.has(address)) return;
      declined.set(address, { address, mac, untilMs: monotonicMs() + declinedMs });
      declinedBy.set(mac, (declinedBy.get(mac) ?? 0) + 1);
    },
    declinedCount: (mac: Mac): number => declinedBy.get(mac) ?? 0,
    nextFree(mac: Mac, subnet: Subnet): Ipv4 | undefined {
      if (!subnet.range) return undefined;
      expire();
      let pool = pools.get(subnet);
      if (!pool) pools.set(subnet, (pool = createAddressPool(subnet.range)));
      return pool.next((address) => isAssignable(subnet, address) && isAvailable(mac, address), monotonicMs());
    },
  };
}
export type AddressTable = ReturnType<typeof createAddressTable>;
