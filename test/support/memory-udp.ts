import type { Udp, UdpEndpoint, UdpSocket } from "../../server/domain/capabilities.ts";

export interface MemoryUdp extends Udp {
  /** Gives a datagram to the socket of this port. */
  deliver(port: number, datagram: Uint8Array, from: UdpEndpoint): void;
  /** Ports that are open now. */
  readonly ports: Iterable<number>;
  /** Datagrams that were sent, and their octets. */
  readonly sent: { datagrams: number; octets: number };
}

/** Sockets without a network: a million datagrams in seconds, and nobody's ports. @param onSent sees each datagram that is sent */
export function createMemoryUdp(
  onSent: (fromPort: number, datagram: Uint8Array, to: UdpEndpoint) => void = () => {},
): MemoryUdp {
  const handlers = new Map<number, (datagram: Uint8Array, from: UdpEndpoint) => void>();
  const sent = { datagrams: 0, octets: 0 };
  let nextPort = 30_000;
  return {
    sent,
    get ports() {
      return handlers.keys();
    },
    deliver: (port, datagram, from) => handlers.get(port)?.(datagram, from),
    async bind({ address = "127.0.0.1", port }): Promise<UdpSocket> {
      const own = port === 0 ? nextPort++ : port;
      handlers.set(own, () => {});
      return {
        local: { address, port: own },
        onMessage: (handler) => void handlers.set(own, handler),
        send(datagram, to) {
          sent.datagrams++;
          sent.octets += datagram.length;
          onSent(own, datagram, to);
        },
        close: async () => void handlers.delete(own),
      };
    },
  };
}
