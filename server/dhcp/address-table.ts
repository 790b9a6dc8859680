import type { DriverChoice } from "../domain/boot-preferences.ts";
import type { DurationMs, EpochMs } from "../domain/capabilities.ts";
import type { LeaseRepository } from "../domain/lease.ts";
import type { Ipv4 } from "../net/ipv4.ts";
import type { Mac } from "../net/mac.ts";
import { createAddressPool, isAssignable, isInRange, type AddressPool } from "./policy/allocate-address.ts";
import { declinedMs } from "./policy/decide-authoritative.ts";
import type { Subnet } from "./policy/subnet.ts";
import { UnknownShare } from "./unknown-share.ts";

/** What the DHCP server asks about machines. */
export interface DhcpMachines {
  /** The address that was reserved for the machine of this MAC. */
  reservationOf(mac: Mac): Ipv4 | undefined;
  /** A MAC of the machine that the address is reserved for. */
  ownerOf(address: Ipv4): Mac | undefined;
  mayNetboot(mac: Mac): boolean;
  /** What people chose for the machine's first-stage program; `auto` where this is left out. */
  driverOf?(mac: Mac): DriverChoice;
  /** False for a MAC that nobody added or accepted: it has to share a part of the pool with all of its kind. */
  isRegistered?(mac: Mac): boolean;
  /** The machine of a MAC, if it is known. */
  identify?(
    mac: Mac,
  ): { readonly id: string; readonly name: string; readonly secureBoot?: boolean | undefined } | undefined;
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
  readonly leases: Pick<LeaseRepository, "findByAddress" | "all">;
  readonly machines: Pick<DhcpMachines, "reservationOf" | "ownerOf" | "isRegistered">;
  readonly subnets: readonly Subnet[];
  /** Of what registered machines leave of a pool, for all others together, 0 to 1. */
  readonly unknownShare: number;
  /** The host that answered when the address was probed. */
  holderOf(address: Ipv4): Mac | undefined;
  readonly serverAddresses: ReadonlySet<Ipv4>;
  /** The time that leases are reckoned by. */
  now(): EpochMs;
  monotonicMs(): number;
}

/**
 * Who may have which address, beyond what the leases say: offers that wait to be taken, addresses whose lease is being
 * written, addresses that were declined. In memory only; after a restart clients ask again.
 */
export class AddressTable {
  // Entries of one table live equally long, so the order of insertion is the order of expiry.
  readonly #offers = new Map<Mac, Until>();
  readonly #offeredTo = new Map<Ipv4, Mac>();
  readonly #declined = new Map<Ipv4, Until>();
  readonly #declinedBy = new Map<Mac, number>();
  readonly #held = new Map<Ipv4, { readonly mac: Mac; count: number }>();
  readonly #pools = new Map<Subnet, AddressPool>();
  readonly #deps: AddressTableDeps;
  readonly #share: UnknownShare;

  constructor(deps: AddressTableDeps) {
    this.#deps = deps;
    this.#share = new UnknownShare({
      ...deps,
      share: deps.unknownShare,
      isRegistered: (mac) => deps.machines.isRegistered?.(mac) ?? true,
    });
  }

  /** True when nobody but `mac` reserved, holds, is offered or declined the address. */
  isAvailable(mac: Mac, address: Ipv4): boolean {
    this.#expire();
    const { serverAddresses, machines, leases, now } = this.#deps;
    if (serverAddresses.has(address) || this.#declined.has(address)) return false;
    const owner = machines.ownerOf(address);
    // A machine with two network cards has one reservation, and the owner named is only one of them.
    if (owner !== undefined && owner !== mac && machines.reservationOf(mac) !== address) return false;
    if ((this.#offeredTo.get(address) ?? mac) !== mac || (this.#held.get(address)?.mac ?? mac) !== mac)
      return false;
    const lease = leases.findByAddress(address);
    if (lease && lease.state !== "released" && lease.expiresAt > now())
      return lease.state === "bound" && lease.mac === mac;
    if ((this.#deps.holderOf(address) ?? mac) !== mac) return false;
    if (owner !== undefined || this.#offeredTo.has(address)) return true;
    const subnet = this.#subnetOfPool(address);
    return subnet === undefined || this.#hasRoom(mac, subnet);
  }

  /** Addresses of the subnet's range that will be given next, as far as is known; nothing is given by it. */
  upcoming(subnet: Subnet, count: number): Ipv4[] {
    this.#expire();
    return this.#poolOf(subnet)?.peek((address) => this.#isUnheld(subnet, address), count) ?? [];
  }

  /** The address that waits for this client to take it. */
  offered(mac: Mac): Ipv4 | undefined {
    this.#expire();
    return this.#offers.get(mac)?.address;
  }

  offer(mac: Mac, address: Ipv4): void {
    if (this.#offeredTo.get(address) !== mac) this.#noteGiven(mac, address);
    this.withdraw(mac);
    this.#offers.set(mac, { address, mac, untilMs: this.#deps.monotonicMs() + offerMs });
    this.#offeredTo.set(address, mac);
  }

  withdraw(mac: Mac): void {
    const offer = this.#offers.get(mac);
    if (!offer) return;
    this.#offers.delete(mac);
    this.#offeredTo.delete(offer.address);
  }

  /** Nobody else gets the address until it is let go as often: its lease is on the way to the disk. */
  hold(mac: Mac, address: Ipv4): void {
    const entry = this.#held.get(address);
    if (entry) entry.count++;
    else {
      if (this.#offeredTo.get(address) !== mac) this.#noteGiven(mac, address);
      this.#held.set(address, { mac, count: 1 });
    }
  }

  /** True while a lease of the address is on the way to the disk. */
  isHeld(address: Ipv4): boolean {
    return this.#held.has(address);
  }

  letGo(address: Ipv4): void {
    const entry = this.#held.get(address);
    if (entry && --entry.count === 0) this.#held.delete(address);
  }

  decline(mac: Mac, address: Ipv4): void {
    if (this.#declined.has(address)) return;
    this.#declined.set(address, { address, mac, untilMs: this.#deps.monotonicMs() + declinedMs });
    this.#declinedBy.set(mac, this.declinedCount(mac) + 1);
  }

  /** How many addresses this client has set aside. */
  declinedCount(mac: Mac): number {
    return this.#declinedBy.get(mac) ?? 0;
  }

  /** An available address of the subnet's range; the same one until it is given away. */
  nextFree(mac: Mac, subnet: Subnet): Ipv4 | undefined {
    const pool = this.#poolOf(subnet);
    // Asked before the walk: it would go past every free address for a client that may have none.
    if (!pool || !this.#hasRoom(mac, subnet)) return undefined;
    const isFree = (address: Ipv4): boolean =>
      isAssignable(subnet, address) && this.isAvailable(mac, address);
    return pool.next(isFree, this.#deps.monotonicMs());
  }

  #poolOf(subnet: Subnet): AddressPool | undefined {
    if (!subnet.range) return undefined;
    let pool = this.#pools.get(subnet);
    if (!pool) this.#pools.set(subnet, (pool = createAddressPool(subnet.range)));
    return pool;
  }

  #subnetOfPool(address: Ipv4): Subnet | undefined {
    return this.#deps.subnets.find((subnet) => isInRange(subnet, address));
  }

  #hasRoom(mac: Mac, subnet: Subnet): boolean {
    const pool = this.#poolOf(subnet);
    return !pool || this.#share.hasRoom(mac, subnet, pool.size, () => this.#heldWithoutLease());
  }

  *#heldWithoutLease(): Iterable<readonly [Ipv4, Mac]> {
    yield* this.#offeredTo;
    for (const { address, mac } of this.#declined.values()) yield [address, mac];
  }

  /** For the share of unregistered machines: an address that nobody had is somebody's now. */
  #noteGiven(mac: Mac, address: Ipv4): void {
    const lease = this.#deps.leases.findByAddress(address);
    const isRenewal = lease?.state === "bound" && lease.mac === mac && lease.expiresAt > this.#deps.now();
    const subnet = isRenewal ? undefined : this.#subnetOfPool(address);
    if (subnet) this.#share.note(mac, subnet);
  }

  /** True for an address that any client might be given. */
  #isUnheld(subnet: Subnet, address: Ipv4): boolean {
    const { serverAddresses, machines, leases, now } = this.#deps;
    if (!isAssignable(subnet, address) || serverAddresses.has(address) || this.#declined.has(address))
      return false;
    if (this.#offeredTo.has(address) || this.#held.has(address) || machines.ownerOf(address) !== undefined)
      return false;
    const lease = leases.findByAddress(address);
    return !lease || lease.state === "released" || lease.expiresAt <= now();
  }

  #expire(): void {
    const nowMs = this.#deps.monotonicMs();
    for (const [mac, offer] of this.#offers) {
      if (offer.untilMs > nowMs) break;
      this.withdraw(mac);
    }
    for (const [address, { mac, untilMs }] of this.#declined) {
      if (untilMs > nowMs) break;
      this.#declined.delete(address);
      const left = this.declinedCount(mac) - 1;
      if (left > 0) this.#declinedBy.set(mac, left);
      else this.#declinedBy.delete(mac);
    }
  }
}
