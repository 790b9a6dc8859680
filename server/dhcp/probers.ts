import type { Ipv4 } from "../net/ipv4.ts";
import type { Mac } from "../net/mac.ts";
import { cidrContains } from "../net/cidr.ts";
import type { Exchange } from "./exchange.ts";
import { createAddressProber } from "./probe-addresses.ts";
import { createServerProbe } from "./probe-servers.ts";
import type { DhcpServerDeps } from "./server.ts";

/** Something that asks the network by itself. */
export interface Prober {
  start(): Promise<void>;
  stop(): Promise<void>;
  holderOf?(address: Ipv4): Mac | undefined;
}

/**
 * What an authoritative server asks of its networks: whether a pool's next addresses are free, and who else gives addresses.
 * Only where a socket belongs to one device, and for subnets on the wire: behind a relay agent nobody hears an ARP of ours.
 */
export function createProbers(deps: DhcpServerDeps, exchange: Exchange, probeMac: Mac): Prober[] {
  const { udp, clock, log, mode, interfaces, subnets, leases, neighbours } = deps;
  if (mode !== "authoritative") return [];
  const serverAddresses = new Set(interfaces.map(({ address }) => address));
  const probers: Prober[] = [];
  for (const { device, address } of interfaces) {
    if (device === undefined) continue;
    probers.push(
      createServerProbe({
        udp,
        clock,
        log,
        device,
        mac: probeMac,
        serverAddresses,
        serverPort: deps.port,
        clientPort: deps.clientPort ?? 68,
        onServer: (server) => exchange.notices.otherServer(server, device, "answered a probe"),
      }),
    );
    const subnet = subnets.find((candidate) => cidrContains(candidate.subnet, address));
    if (!neighbours || !subnet?.range) continue;
    probers.push(
      createAddressProber({
        udp,
        clock,
        log,
        device,
        neighbours,
        upcoming: (count) => exchange.upcoming(subnet, count),
        formerHolder: (former) => leases.findByAddress(former)?.mac,
        onTaken: (taken, holder) => exchange.notices.addressTaken(taken, holder),
        onProxyArp: (holder) =>
          log.warn({ device, holder }, "a host answers for many addresses: probes say nothing where it does"),
      }),
    );
  }
  return probers;
}
