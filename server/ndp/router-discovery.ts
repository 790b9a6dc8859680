import type { Log } from "../domain/capabilities.ts";
import type { Mac } from "../net/mac.ts";
import { encodeEmptyAdvertisement, linkLocalOf } from "./router-advertisement.ts";

/** Sends ICMPv6 messages by one device. */
export interface Icmp6Sender {
  /** @param address 16 octets, link-local @throws Error with a `code` of the system */
  send(message: Uint8Array, address: Uint8Array): void;
  close(): void;
}

/** @returns undefined where the system has no way to do it @throws Error with a `code` of the system, e.g. EPERM */
export type OpenIcmp6 = (device: string) => Promise<Icmp6Sender | undefined>;

/**
 * Ends the wait for an IPv6 router of each iPXE that begins on one of these devices. It is a courtesy: where it can't be done, that is
 * said once and machines boot as they would, 16 seconds later.
 */
export async function createRouterDiscovery(
  devices: readonly string[],
  {
    open,
    log,
    isRouter = () => false,
  }: {
    readonly open: OpenIcmp6;
    readonly log: Pick<Log, "info" | "debug">;
    /** Whether this host routes for the device's network: "no router" would take away the route that machines have by it. */
    readonly isRouter?: (device: string) => boolean;
  },
) {
  const advertisement = encodeEmptyAdvertisement();
  const senders = new Map<string, Icmp6Sender>();
  for (const device of devices) {
    const sender = await open(device).catch((error: unknown) => {
      log.info(
        { device, error: String(error) },
        "can't tell iPXE that there is no IPv6 router (it takes CAP_NET_RAW): machines wait 16 s for one at each boot",
      );
      return undefined;
    });
    if (sender) senders.set(device, sender);
  }
  return {
    /** To be called when iPXE's DHCPDISCOVER came: it solicits a router in the same moment. */
    end(device: string, mac: Mac): void {
      // Anybody can send a DISCOVER in the name of a machine whose system runs.
      if (isRouter(device)) return;
      try {
        senders.get(device)?.send(advertisement, linkLocalOf(mac));
      } catch (error) {
        // No IPv6 on this device, or it is down.
        log.debug({ device, mac, error: String(error) }, "failed to send a router advertisement");
      }
    },
    close(): void {
      for (const sender of senders.values()) sender.close();
      senders.clear();
    },
  };
}
export type RouterDiscovery = Awaited<ReturnType<typeof createRouterDiscovery>>;
