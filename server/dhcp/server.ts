import { atMost } from "../domain/at-most.ts";
import type { Clock, Log, Udp, UdpBinding, UdpEndpoint, UdpSocket } from "../domain/capabilities.ts";
import type { Driver } from "../domain/boot-preferences.ts";
import type { BootStrategyRepository } from "../domain/boot-strategy.ts";
import type { DhcpContact, FirstStageProgress } from "../domain/contact.ts";
import type { RecordEvent } from "../domain/event.ts";
import type { LeaseRepository } from "../domain/lease.ts";
import { type Ipv4, UnspecifiedAddress } from "../net/ipv4.ts";
import type { Mac } from "../net/mac.ts";
import type { DhcpMachines } from "./address-table.ts";
import { type DhcpCounters, Exchange } from "./exchange.ts";
import { type Prober, createProbers } from "./probers.ts";
import type { BootUrls } from "./policy/choose-bootfile.ts";
import type { DhcpMode } from "./policy/decision.ts";
import { probeMacOf } from "./probe-servers.ts";
import type { Subnet } from "./policy/subnet.ts";

export { boardFileNames } from "./policy/choose-bootfile.ts";

export type { DhcpCounters } from "./exchange.ts";
export type { DhcpMachines } from "./address-table.ts";
export type { Subnet as DhcpSubnet } from "./policy/subnet.ts";

export interface DhcpInterface {
  /** Network device; undefined only where there is but one network. */
  readonly device?: string | undefined;
  /** Our address there: server identifier, boot server, and what URLs begin with. */
  readonly address: Ipv4;
}

export interface DhcpServerDeps {
  readonly udp: Udp;
  readonly clock: Clock;
  readonly log: Log;
  readonly mode: DhcpMode;
  readonly interfaces: readonly DhcpInterface[];
  /** 67; 0 takes any free port. */
  readonly port: number;
  /** 4011; 0 takes any free port. */
  readonly pxePort: number;
  readonly subnets: readonly Subnet[];
  readonly leases: Pick<LeaseRepository, "findByMac" | "findByAddress" | "all" | "save">;
  readonly machines: DhcpMachines;
  /** First-stage binaries that TFTP and HTTP can hand out; looked at for every packet. */
  readonly nbp: { readonly available: ReadonlySet<string> };
  urls(serverAddress: Ipv4): BootUrls;
  onContact(contact: DhcpContact): void;
  readonly record?: RecordEvent | undefined;
  /** What was chosen for machines that got nowhere with what their kind gets; kept in memory only when left out. */
  readonly strategies?: BootStrategyRepository | undefined;
  /** Raspberry Pis get their OFFER so late, since their ROM misses one that comes at once. */
  readonly raspberryPiDelayMs?: number | undefined;
  /** Of what registered machines leave of a pool, for all others together, 0 to 1; 1 unless told otherwise. */
  readonly unknownShare?: number | undefined;
  /** The kernel's neighbour table; without it no address is probed. */
  neighbours?(): ReadonlyMap<string, Mac>;
  /** Where relay agents listen, 67 unless told otherwise. */
  readonly relayPort?: number;
  /** Where clients listen, 68 unless told otherwise. */
  readonly clientPort?: number;
}

export interface DhcpAddress extends UdpEndpoint {
  readonly service: "dhcp" | "pxe";
  readonly device: string | undefined;
}

export interface DhcpServer {
  /** @throws PortInUse, PortNotPermitted, DeviceNotFound, DeviceBindingUnavailable (domain/error-catalogue) */
  start(): Promise<void>;
  /** Sends the replies whose leases are on the way to the disk, then closes the sockets. */
  stop(): Promise<void>;
  /** The machine loads a file of ours: what it was told its boot file by has worked. */
  machineProgressed(mac: Mac, progress: FirstStageProgress): void;
  /** The driver that a machine gets since it hung in another one. */
  driverFor(mac: Mac): Driver | undefined;
  /** What is bound; empty before `start` and in mode `off`. */
  readonly addresses: readonly DhcpAddress[];
  readonly counters: Readonly<DhcpCounters>;
}

/** The kernel's default holds 166 DHCP messages, and a room that is powered on sends more in one burst. */
const receiveBufferBytes = 4 * 1024 * 1024;
/** A disk that stands still must not keep the process from ending. */
const drainMs = 2000;

/** DHCP (RFC 2131) or proxyDHCP (PXE 2.1) on each interface: port 67, and the PXE boot server on port 4011. */
export function createDhcpServer(deps: DhcpServerDeps): DhcpServer {
  const { udp, clock, mode, interfaces, port, pxePort } = deps;
  const probeMac = probeMacOf(interfaces[0]?.address ?? UnspecifiedAddress);
  let probers: readonly Prober[] = [];
  const exchange: Exchange = new Exchange({
    ...deps,
    probeMac,
    holderOf: (address) =>
      probers.map((prober) => prober.holderOf?.(address)).find((mac) => mac !== undefined),
  });
  let bound: { readonly socket: UdpSocket; readonly address: DhcpAddress }[] = [];

  async function listen(service: "dhcp" | "pxe", { device, address }: DhcpInterface): Promise<void> {
    const socket = await bindTo(
      udp,
      bindingFor(service, device, address, service === "dhcp" ? port : pxePort),
    );
    bound.push({ socket, address: { ...socket.local, service, device } });
    socket.onMessage((datagram, from) => {
      exchange.receive(datagram, from, {
        service,
        device,
        serverAddress: address,
        send: (d, to) => socket.send(d, to),
      });
    });
  }

  async function close(): Promise<void> {
    const closing = bound;
    bound = [];
    await Promise.all(closing.map(({ socket }) => socket.close()));
  }

  return {
    async start() {
      if (mode === "off") return;
      try {
        for (const served of interfaces) {
          await listen("dhcp", served);
          await listen("pxe", served);
        }
        probers = createProbers(deps, exchange, probeMac);
        for (const prober of probers) await prober.start();
      } catch (error) {
        await close();
        throw error;
      }
    },
    async stop() {
      const stopped = Promise.all(probers.map((prober) => prober.stop()));
      await atMost(clock, drainMs, exchange.drain());
      exchange.end();
      await stopped;
      await close();
    },
    machineProgressed: (mac, progress) => exchange.machineProgressed(mac, progress),
    driverFor: (mac) => exchange.driverFor(mac),
    get addresses() {
      return bound.map(({ address }) => address);
    },
    counters: exchange.counters,
  };
}

function bindingFor(
  service: "dhcp" | "pxe",
  device: string | undefined,
  address: Ipv4,
  port: number,
): UdpBinding {
  // Broadcasts are heard at 0.0.0.0 only. Loopback has none, and a server for tests must not hear the real network.
  // The boot server binds its address: UEFI takes no reply from another one, and an interface may have several.
  const isBoundToAddress = service === "pxe" || (device === undefined && address.startsWith("127."));
  return {
    port,
    broadcast: true,
    receiveBufferBytes,
    ...(device === undefined ? {} : { device }),
    ...(isBoundToAddress ? { address } : {}),
  };
}

async function bindTo(udp: Udp, binding: UdpBinding): Promise<UdpSocket> {
  try {
    return await udp.bind(binding);
  } catch (error) {
    // Behind NAT our address as machines see it is on none of our interfaces.
    if (binding.address === undefined || (error as NodeJS.ErrnoException).code !== "EADDRNOTAVAIL")
      throw error;
    const { address: _, ...anyAddress } = binding;
    return udp.bind(anyAddress);
  }
}
