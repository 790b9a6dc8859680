import type { Lease, LeaseRepository } from "../../server/domain/lease.ts";
import type { Ipv4 } from "../../server/net/ipv4.ts";
import type { Mac } from "../../server/net/mac.ts";

export interface MemoryLeases extends LeaseRepository {
  /** Leases in the order in which they were saved. */
  readonly saved: Lease[];
  /** From now on saves wait until `release` lets them through, or `fail` makes them reject. */
  block(): void;
  release(): void;
  fail(error: Error | undefined): void;
}

/** Leases in memory, with a disk that can be made slow or full. */
export function createMemoryLeases(): MemoryLeases {
  const byMac = new Map<Mac, Lease>();
  const byAddress = new Map<Ipv4, Lease>();
  const saved: Lease[] = [];
  let gate: { promise: Promise<void>; open: () => void } | undefined;
  let failure: Error | undefined;
  return {
    saved,
    findByMac: (mac) => byMac.get(mac),
    findByAddress: (address) => byAddress.get(address),
    all: () => byMac.values(),
    async save(lease) {
      await gate?.promise;
      if (failure) throw failure;
      const former = byMac.get(lease.mac);
      if (former) byAddress.delete(former.address);
      const holder = byAddress.get(lease.address);
      if (holder) byMac.delete(holder.mac);
      byMac.set(lease.mac, lease);
      byAddress.set(lease.address, lease);
      saved.push(lease);
    },
    block() {
      let open = (): void => {};
      gate = { promise: new Promise((resolve) => (open = resolve)), open: () => open() };
    },
    release() {
      gate?.open();
      gate = undefined;
    },
    fail(error) {
      failure = error;
    },
  };
}
