/**
 * Single-port mode: transfers that are answered from the listening port, for clients behind a NAT or firewall that lets only
 * the answers of the asked port back (firmware-quirk Q25). RFC 1350 section 4 wants a port for each transfer, but no client
 * looks at it: it takes the port that the first answer came from.
 */
import type { UdpEndpoint, UdpSocket } from "../domain/capabilities.ts";
import type { OpenSocket } from "./player.ts";

export interface SharedPort {
  readonly open: OpenSocket;
  /** Gives a datagram that is no request to the transfer of its source, if there is one. */
  deliver(datagram: Uint8Array, from: UdpEndpoint): void;
}

export function sharePort(listener: UdpSocket): SharedPort {
  const handlers = new Map<string, (datagram: Uint8Array, from: UdpEndpoint) => void>();
  return {
    async open({ client }) {
      const key = endpointKey(client);
      let own: ((datagram: Uint8Array, from: UdpEndpoint) => void) | undefined;
      return {
        local: listener.local,
        send: (datagram, to) => listener.send(datagram, to),
        onMessage(handler) {
          own = handler;
          handlers.set(key, handler);
        },
        async close() {
          // A later transfer of the same client may have taken the place already.
          if (handlers.get(key) === own) handlers.delete(key);
        },
      };
    },
    deliver(datagram, from) {
      handlers.get(endpointKey(from))?.(datagram, from);
    },
  };
}

export function endpointKey({ address, port }: UdpEndpoint): string {
  return `${address}:${port}`;
}
