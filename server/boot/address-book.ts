import { LRUCache } from "lru-cache";
import type { Clock, DurationMs } from "../domain/capabilities.ts";
import type { Ipv4 } from "../net/ipv4.ts";
import type { Mac } from "../net/mac.ts";

/** Entries that are kept; a building of 10,000 machines fits, an attacker's flood does not grow it. */
const capacity = 20_000;
/** A boot follows its DHCP within minutes; what was seen longer ago is no witness any more, the address may be another's. */
const witnessLifeMs: DurationMs = 60 * 60_000;

/** Which MAC was last seen to hold an address: by our leases, or overheard from another DHCP server's clients. */
export function createAddressBook(clock: Pick<Clock, "monotonicMs">) {
  const entries = new LRUCache<Ipv4, { mac: Mac; until: number }>({ max: capacity });
  const lastOf = new LRUCache<Mac, Ipv4>({ max: capacity });
  return {
    learn(address: Ipv4, mac: Mac): void {
      entries.set(address, { mac, until: clock.monotonicMs() + witnessLifeMs });
      lastOf.set(mac, address);
    },
    /** The address that a MAC was last seen to hold. */
    addressOf(mac: Mac): Ipv4 | undefined {
      return lastOf.peek(mac);
    },
    macAt(address: Ipv4): Mac | undefined {
      const entry = entries.peek(address);
      return entry && clock.monotonicMs() < entry.until ? entry.mac : undefined;
    },
  };
}
export type AddressBook = ReturnType<typeof createAddressBook>;
