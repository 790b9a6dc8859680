import type { Clock, DurationMs } from "../domain/capabilities.ts";
import type { Ipv4 } from "../net/ipv4.ts";
import type { Mac } from "../net/mac.ts";

/** Entries that are kept; a building of 10,000 machines fits, an attacker's flood does not grow it. */
const capacity = 20_000;
/** A boot follows its DHCP within minutes; what was seen longer ago is no witness any more, the address may be another's. */
const witnessLifeMs: DurationMs = 60 * 60_000;

/** Which MAC was last seen to hold an address: by our leases, or overheard from another DHCP server's clients. */
export function createAddressBook(clock: Pick<Clock, "monotonicMs">) {
  const entries = new Map<Ipv4, { mac: Mac; until: number }>();
  const lastOf = new Map<Mac, Ipv4>();
  return {
    learn(address: Ipv4, mac: Mac): void {
      entries.delete(address);
      entries.set(address, { mac, until: clock.monotonicMs() + witnessLifeMs });
      lastOf.delete(mac);
      lastOf.set(mac, address);
      dropOldest(entries);
      dropOldest(lastOf);
    },
    /** The address that a MAC was last seen to hold. */
    addressOf(mac: Mac): Ipv4 | undefined {
      return lastOf.get(mac);
    },
    macAt(address: Ipv4): Mac | undefined {
      const entry = entries.get(address);
      return entry && clock.monotonicMs() < entry.until ? entry.mac : undefined;
    },
  };
}
/** A Map keeps the order of insertion, so the first key is the oldest. */
function dropOldest<K>(map: Map<K, unknown>): void {
  const oldest = map.size > capacity ? map.keys().next().value : undefined;
  if (oldest !== undefined) map.delete(oldest);
}
export type AddressBook = ReturnType<typeof createAddressBook>;
