import type { Ipv4 } from "../net/ipv4.ts";
import type { Mac } from "../net/mac.ts";

/** Entries that are kept; a building of 10,000 machines fits, an attacker's flood does not grow it. */
const capacity = 20_000;

/** Which MAC was last seen to hold an address: by our leases, or overheard from another DHCP server's clients. */
export function createAddressBook() {
  const macs = new Map<Ipv4, Mac>();
  return {
    learn(address: Ipv4, mac: Mac): void {
      macs.delete(address);
      macs.set(address, mac);
      if (macs.size > capacity) {
        const oldest = macs.keys().next().value;
        if (oldest !== undefined) macs.delete(oldest);
      }
    },
    macAt: (address: Ipv4): Mac | undefined => macs.get(address),
  };
}
export type AddressBook = ReturnType<typeof createAddressBook>;
