import type { EpochMs } from "../../domain/capabilities.ts";
import type { Lease } from "../../domain/lease.ts";
import { cidrContains, isReservedIn } from "../../net/cidr.ts";
import { type Ipv4, ipv4FromNumber, ipv4ToNumber } from "../../net/ipv4.ts";
import type { AddressRange, Subnet } from "./subnet.ts";

/** What is known of a client's addresses when one is chosen. */
export interface AddressFacts {
  readonly now: EpochMs;
  readonly reservation: Ipv4 | undefined;
  /** The MAC's last lease, whatever became of it. */
  readonly lease: Lease | undefined;
  /** The address that this MAC was offered and has not taken yet. */
  readonly offered: Ipv4 | undefined;
  /** True when nobody but this client reserved, holds, is offered or declined the address. */
  isAvailable(address: Ipv4): boolean;
  /** An available address of the subnet's range; the same one until it is given away. */
  nextFree(subnet: Subnet): Ipv4 | undefined;
}

/**
 * The address for a client (RFC 2131 s.4.3.1): its reservation, else its lease, else what it was offered already, else
 * its former lease if that is free, else what it asks for if that is free, else the next of the pool.
 */
export function chooseAddress(
  facts: AddressFacts,
  subnet: Subnet,
  requested: Ipv4 | undefined,
): Ipv4 | undefined {
  const { reservation, lease, offered } = facts;
  if (reservation !== undefined && isAssignable(subnet, reservation) && facts.isAvailable(reservation))
    return reservation;
  const bound = isBound(lease, facts.now) ? lease.address : undefined;
  const former = lease?.state === "declined" ? undefined : lease?.address;
  for (const address of [bound, offered, former, requested]) {
    if (address !== undefined && isInRange(subnet, address) && facts.isAvailable(address)) return address;
  }
  return facts.nextFree(subnet);
}

/** True while the client may use the address. */
export function isBound(lease: Lease | undefined, now: EpochMs): lease is Lease {
  return lease?.state === "bound" && lease.expiresAt > now;
}

/** True for an address that a host of this subnet can have: not the network's, the broadcast, the router or a resolver. */
export function isAssignable(subnet: Subnet, address: Ipv4): boolean {
  if (!cidrContains(subnet.subnet, address) || address === subnet.router || subnet.dns?.includes(address))
    return false;
  return !isReservedIn(subnet.subnet, address);
}

/** True for an address that any client of this subnet may be given. */
export function isInRange(subnet: Subnet, address: Ipv4): boolean {
  if (!subnet.range || !isAssignable(subnet, address)) return false;
  const value = ipv4ToNumber(address);
  return value >= ipv4ToNumber(subnet.range.from) && value <= ipv4ToNumber(subnet.range.to);
}

/** Looking ahead in a pool that is nearly full stops after so many for each address that is wanted. */
const peekLooksPerAddress = 8;
/** A walk over an empty-handed pool is repeated no sooner than this. */
const minimumWalkIntervalMs = 1000;
/** ... and for a big pool no sooner than one millisecond for every so many addresses. */
const addressesPerWalkMs = 10;

/**
 * Walks a range for free addresses. Each address is looked at once in a walk, and a new walk begins at most once a
 * second, so a packet costs O(1) on average however big and full the pool is.
 */
export function createAddressPool(range: AddressRange) {
  const from = ipv4ToNumber(range.from);
  const to = ipv4ToNumber(range.to);
  const intervalMs = Math.max(minimumWalkIntervalMs, (to - from) / addressesPerWalkMs);
  let cursor = from;
  let walkBegunMs = Number.NEGATIVE_INFINITY;
  return {
    size: to - from + 1,
    /** The first free addresses from where the walk stands, within a bounded look; the walk does not move. */
    peek(isFree: (address: Ipv4) => boolean, count: number): Ipv4[] {
      const found: Ipv4[] = [];
      const looks = Math.min(to - from + 1, count * peekLooksPerAddress);
      for (let look = 0; look < looks && found.length < count; look++) {
        const value = cursor + look;
        const address = ipv4FromNumber(value > to ? from + ((value - from) % (to - from + 1)) : value);
        if (isFree(address)) found.push(address);
      }
      return found;
    },
    /** @param nowMs monotonic */
    next(isFree: (address: Ipv4) => boolean, nowMs: number): Ipv4 | undefined {
      for (let round = 0; round < 2; round++) {
        for (; cursor <= to; cursor++) {
          const address = ipv4FromNumber(cursor);
          if (isFree(address)) return address;
        }
        if (nowMs - walkBegunMs < intervalMs) return undefined;
        walkBegunMs = nowMs;
        cursor = from;
      }
      return undefined;
    },
  };
}
export type AddressPool = ReturnType<typeof createAddressPool>;
