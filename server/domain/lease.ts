import type { Ipv4 } from "../net/ipv4.ts";
import type { Mac } from "../net/mac.ts";
import type { EpochMs } from "./capabilities.ts";

/**
 * A granted address. The key is the MAC and not option 61: ROM, iPXE, initramfs and operating system of one machine send
 * different client identifiers and must get the same address (firmware-quirk Q33).
 */
export interface Lease {
  readonly mac: Mac;
  readonly address: Ipv4;
  readonly grantedAt: EpochMs;
  readonly expiresAt: EpochMs;
  /** `declined`: another host uses the address (RFC 2131 s.4.3.3); nobody gets it before `expiresAt`. */
  readonly state: "bound" | "released" | "declined";
  /** Host name that the client sent (option 12); hostile input, for display only. */
  readonly hostname?: string;
}

/** Reads come from a snapshot in memory; writes resolve when they are on stable storage. */
export interface LeaseRepository {
  findByMac(mac: Mac): Lease | undefined;
  findByAddress(address: Ipv4): Lease | undefined;
  all(): Iterable<Lease>;
  /** Puts the lease in place of the MAC's former one and of any former one of the same address. */
  save(lease: Lease): Promise<void>;
}
