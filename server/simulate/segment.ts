import type { Udp, UdpEndpoint } from "../domain/capabilities.ts";
import { BroadcastAddress, type Ipv4, UnspecifiedAddress } from "../net/ipv4.ts";
import { BroadcastFlag, decodeMessage, type DhcpMessage, encodeMessage } from "../dhcp/wire/message.ts";
import { MalformedPacket } from "../dhcp/wire/malformed-packet.ts";
import type { Plan } from "./plan.ts";

/** One DHCP exchange of one machine: what it hears, and how it speaks. */
export interface DhcpChannel {
  send(message: DhcpMessage): void;
  close(): void;
}

/** The network that all machines are plugged into, as far as DHCP is concerned: one socket for all of them. */
export interface Segment {
  /** Header fields that a message has on this way. */
  readonly giaddr: Ipv4;
  readonly hops: number;
  readonly flags: number;
  /** @param hear gets each reply with this xid, undecoded, so that a lost one costs nothing */
  open(xid: number, hear: (reply: Reply) => void): DhcpChannel;
  close(): Promise<void>;
}

export interface Reply {
  readonly from: UdpEndpoint;
  /** @returns undefined when it can't be read */
  decode(): DhcpMessage | undefined;
}

/** Ten thousand machines' replies come in bursts. */
const receiveBufferBytes = 4 * 1024 * 1024;
const clientPort = 68;
const relayPort = 67;
/** Relay agents drop what is shorter than a BOOTP message (firmware-quirk Q28). */
const minimumOctets = 300;

export async function openSegment(udp: Udp, { way, servers, ports }: Plan): Promise<Segment> {
  const isRelay = way.kind === "relay";
  const socket = await udp.bind(
    isRelay
      ? { address: way.address, port: relayPort, receiveBufferBytes }
      : { device: way.device, port: clientPort, broadcast: true, receiveBufferBytes },
  );
  const destinations = (isRelay ? servers : [BroadcastAddress]).map((address) => ({
    address,
    port: ports.dhcp,
  }));
  const listeners = new Map<number, (reply: Reply) => void>();
  socket.onMessage((datagram, from) => {
    if (isRelay && datagram.length < minimumOctets) return;
    const xid =
      (((datagram[4] ?? 0) << 24) |
        ((datagram[5] ?? 0) << 16) |
        ((datagram[6] ?? 0) << 8) |
        (datagram[7] ?? 0)) >>>
      0;
    listeners.get(xid)?.({ from, decode: () => decodeReply(datagram) });
  });
  return {
    giaddr: isRelay ? way.address : UnspecifiedAddress,
    hops: isRelay ? 1 : 0,
    // A host that listens by an ordinary socket hears no unicast to an address that it does not have.
    flags: isRelay ? 0 : BroadcastFlag,
    open(xid, hear) {
      listeners.set(xid, hear);
      return {
        send(message) {
          const datagram = encodeMessage(message);
          for (const to of destinations) socket.send(datagram, to);
        },
        close: () => void listeners.delete(xid),
      };
    },
    close: () => socket.close(),
  };
}

export function decodeReply(datagram: Uint8Array): DhcpMessage | undefined {
  try {
    return decodeMessage(datagram);
  } catch (error) {
    if (error instanceof MalformedPacket) return undefined;
    throw error;
  }
}
