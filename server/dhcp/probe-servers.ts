import type { Clock, DurationMs, Log, Udp, UdpSocket } from "../domain/capabilities.ts";
import { BroadcastAddress, type Ipv4, UnspecifiedAddress } from "../net/ipv4.ts";
import { type Mac, macToOctets } from "../net/mac.ts";
import { BootReply, BootRequest, BroadcastFlag, decodeMessage, encodeMessage } from "./wire/message.ts";
import { MessageType, OptionCode } from "./wire/option-codes.ts";
import { ipv4Option, octetOption } from "./wire/options.ts";

/** Beside the start. */
const intervalMs: DurationMs = 10 * 60_000;
/** A server answers within this, also one that pings the address first. */
const listenMs: DurationMs = 4000;
/** The DISCOVER is repeated once: it may be lost. */
const repeatMs: DurationMs = 1500;

export interface ServerProbeDeps {
  readonly udp: Udp;
  readonly clock: Clock;
  readonly log: Log;
  readonly device: string;
  /** Locally administered, of our own; the server has to know it, since it hears the probe too. */
  readonly mac: Mac;
  readonly serverAddresses: ReadonlySet<Ipv4>;
  /** 67 and 68. */
  readonly serverPort: number;
  readonly clientPort: number;
  onServer(address: Ipv4): void;
}

/**
 * Looks for another DHCP server on a network that is ours: asks like a client and listens for who offers. The client's port
 * is bound only meanwhile. Where a DHCP client of this host has it, nothing is done: it is not to be disturbed.
 */
export function createServerProbe(deps: ServerProbeDeps) {
  const { udp, clock, log, device, mac, serverAddresses } = deps;
  const to = { address: BroadcastAddress, port: deps.serverPort };
  let cancels: (() => void)[] = [];
  let socket: UdpSocket | undefined;
  let hasEnded = false;
  let round = 0;

  function hear(datagram: Uint8Array, xid: number): void {
    try {
      const message = decodeMessage(datagram);
      if (message.op !== BootReply || message.xid !== xid) return;
      if (octetOption(message.options, OptionCode.MessageType) !== MessageType.Offer) return;
      // A proxy offers no address, and does no harm.
      const server = ipv4Option(message.options, OptionCode.ServerId);
      if (message.yiaddr === UnspecifiedAddress || !server || serverAddresses.has(server)) return;
      deps.onServer(server);
    } catch {
      // No DHCP message.
    }
  }

  async function look(): Promise<void> {
    cancels = [clock.after(intervalMs, () => void look())];
    let opened: UdpSocket;
    try {
      opened = await udp.bind({ device, port: deps.clientPort, broadcast: true });
    } catch (error) {
      log.debug({ device, err: error }, "did not look for other DHCP servers: the client port is taken");
      return;
    }
    if (hasEnded) return opened.close();
    socket = opened;
    const xid = xidOf(mac, ++round);
    opened.onMessage((datagram) => hear(datagram, xid));
    const discover = probeDiscover(mac, xid);
    opened.send(discover, to);
    cancels.push(
      clock.after(repeatMs, () => opened.send(discover, to)),
      clock.after(listenMs, () => void close()),
    );
  }

  async function close(): Promise<void> {
    const closing = socket;
    socket = undefined;
    await closing?.close();
  }

  return {
    start: look,
    async stop(): Promise<void> {
      hasEnded = true;
      for (const cancel of cancels) cancel();
      await close();
    },
  };
}
export type ServerProbe = ReturnType<typeof createServerProbe>;

function xidOf(mac: Mac, round: number): number {
  return (Number.parseInt(mac.slice(9).replaceAll(":", ""), 16) * 256 + (round % 256)) >>> 0;
}

/** It asks for the broadcast of the OFFER, since nobody has the MAC. */
function probeDiscover(mac: Mac, xid: number): Uint8Array {
  const chaddr = new Uint8Array(16);
  chaddr.set(macToOctets(mac));
  return encodeMessage({
    op: BootRequest,
    htype: 1,
    hlen: 6,
    hops: 0,
    xid,
    secs: 0,
    flags: BroadcastFlag,
    ciaddr: UnspecifiedAddress,
    yiaddr: UnspecifiedAddress,
    siaddr: UnspecifiedAddress,
    giaddr: UnspecifiedAddress,
    chaddr,
    sname: "",
    file: "",
    options: new Map([
      [OptionCode.MessageType, Uint8Array.of(MessageType.Discover)],
      [OptionCode.ParameterRequestList, Uint8Array.of(OptionCode.SubnetMask, OptionCode.Router)],
    ]),
  });
}

/** A locally administered unicast MAC; the same for one server address, so that a probe takes no new lease each time. */
export function probeMacOf(address: Ipv4): Mac {
  const octets = address.split(".").map((text) => Number(text).toString(16).padStart(2, "0"));
  return ["02", "52", ...octets].join(":") as Mac;
}
