import type { Clock, Udp, UdpEndpoint, UdpSocket } from "../domain/capabilities.ts";
import type { Machine } from "../domain/machine.ts";
import { type Cidr, cidrContains } from "../net/cidr.ts";
import { type Ipv4, ipv4FromNumber } from "../net/ipv4.ts";
import { magicPacket } from "./magic-packet.ts";
import { pause } from "./pause.ts";

export interface WakeOnLanDeps {
  readonly clock: Clock;
  readonly udp: Udp;
  /** Served interfaces. */
  readonly interfaces: readonly { readonly device?: string }[];
  /** Networks behind relays: reached by their broadcast address, where the router passes it on. */
  readonly relayed: readonly Cidr[];
  /** Where the packets go on the served interfaces; tests take another port and address. */
  readonly to?: UdpEndpoint;
}

/** The discard port: nobody listens there, the card sees the packet before any program. */
const discard: UdpEndpoint = { address: "255.255.255.255", port: 9 };
/** Nobody answers a magic packet, and a switch may still learn where the card is: it is sent so often. */
const repeats = 3;
const betweenMs = 200;

/** Wakes machines; whether one woke only its boot will tell. */
export function createWakeOnLan({ clock, udp, interfaces, relayed, to = discard }: WakeOnLanDeps) {
  /** @throws what the sockets say, or the signal's reason */
  return async (
    machine: Pick<Machine, "macs">,
    address: Ipv4 | undefined,
    signal: AbortSignal,
  ): Promise<void> => {
    signal.throwIfAborted();
    const sockets: UdpSocket[] = [];
    const places = [
      to,
      ...relayed
        .filter((network) => address === undefined || cidrContains(network, address))
        .map((network) => ({ address: ipv4FromNumber(network.last), port: to.port })),
    ];
    try {
      for (const { device } of interfaces)
        sockets.push(
          await udp.bind({ ...(device === undefined ? {} : { device }), port: 0, broadcast: true }),
        );
      for (let round = 0; round < repeats; round++) {
        if (round > 0) await pause(clock, betweenMs, signal);
        for (const mac of machine.macs)
          for (const socket of sockets) for (const place of places) socket.send(magicPacket(mac), place);
      }
    } finally {
      await Promise.all(sockets.map((socket) => socket.close()));
    }
  };
}
export type WakeOnLan = ReturnType<typeof createWakeOnLan>;
