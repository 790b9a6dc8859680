import type { Database } from "better-sqlite3";
import type { Lease, LeaseRepository } from "../domain/lease.ts";
import type { Ipv4 } from "../net/ipv4.ts";
import type { Mac } from "../net/mac.ts";
import type { CommitQueue } from "./commit-queue.ts";

interface Row {
  mac: Mac;
  address: Ipv4;
  granted_at_ms: number;
  expires_at_ms: number;
  state: Lease["state"];
  hostname: string | null;
}

export function createLeaseRepository(db: Database, queue: CommitQueue): LeaseRepository {
  const byMac = new Map<Mac, Lease>();
  const byAddress = new Map<Ipv4, Lease>();
  for (const row of db.prepare("SELECT * FROM leases").all() as Row[]) {
    index({
      mac: row.mac,
      address: row.address,
      grantedAt: row.granted_at_ms,
      expiresAt: row.expires_at_ms,
      state: row.state,
      ...(row.hostname === null ? {} : { hostname: row.hostname }),
    });
  }
  // Takes out what has the same MAC or the same address.
  const insert = db.prepare(
    "INSERT OR REPLACE INTO leases (mac, address, granted_at_ms, expires_at_ms, state, hostname) VALUES (?, ?, ?, ?, ?, ?)",
  );

  function index(lease: Lease): void {
    byMac.set(lease.mac, lease);
    byAddress.set(lease.address, lease);
  }
  function unindex(lease: Lease): void {
    if (byMac.get(lease.mac) === lease) byMac.delete(lease.mac);
    if (byAddress.get(lease.address) === lease) byAddress.delete(lease.address);
  }

  return {
    findByMac: (mac) => byMac.get(mac),
    findByAddress: (address) => byAddress.get(address),
    all: () => byMac.values(),
    save: (lease) =>
      queue.runAlone(({ onRollback }) => {
        const replaced = [byMac.get(lease.mac), byAddress.get(lease.address)].filter(
          (old) => old !== undefined,
        );
        insert.run(
          lease.mac,
          lease.address,
          lease.grantedAt,
          lease.expiresAt,
          lease.state,
          lease.hostname ?? null,
        );
        for (const old of replaced) unindex(old);
        index(lease);
        onRollback(() => {
          unindex(lease);
          for (const old of replaced) index(old);
        });
      }),
  };
}
