import type { Udp, UdpEndpoint, UdpSocket } from "../../server/domain/capabilities.ts";

export type Fate = "pass" | "drop" | "duplicate" | "delay";
export type Direction = "sent" | "received";

/** What happens to the n-th datagram (from 1) of one direction, counted over all sockets of one LossyUdp. */
export type FatePlan = (direction: Direction, n: number) => Fate;

export interface FateCounts {
  readonly sent: Record<Fate, number>;
  readonly received: Record<Fate, number>;
}

/** Deterministic numbers from 0 to 1 (mulberry32). */
export function seededRandom(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** Fates by chance, the same for the same seed. */
export function randomFates(
  seed: number,
  rates: { readonly drop?: number; readonly duplicate?: number; readonly delay?: number },
): FatePlan {
  const random = seededRandom(seed);
  const { drop = 0, duplicate = 0, delay = 0 } = rates;
  return () => {
    const chance = random();
    if (chance < drop) return "drop";
    if (chance < drop + duplicate) return "duplicate";
    return chance < drop + duplicate + delay ? "delay" : "pass";
  };
}

/** Named datagrams of one direction meet their fate, all others pass. */
export function fateOf(direction: Direction, fates: Readonly<Record<number, Fate>>): FatePlan {
  return (actual, n) => (actual === direction ? (fates[n] ?? "pass") : "pass");
}

/** A network that loses, doubles and reorders: a delayed datagram comes after the next one of its direction and socket. */
export function lossyUdp(inner: Udp, plan: FatePlan): Udp & { readonly counts: FateCounts } {
  const none = () => ({ pass: 0, drop: 0, duplicate: 0, delay: 0 });
  const counts: FateCounts = { sent: none(), received: none() };
  const passed = { sent: 0, received: 0 };

  function channel(direction: Direction, deliver: (datagram: Uint8Array, peer: UdpEndpoint) => void) {
    let delayed: [Uint8Array, UdpEndpoint] | undefined;
    return (datagram: Uint8Array, peer: UdpEndpoint) => {
      const fate = plan(direction, ++passed[direction]);
      counts[direction][fate]++;
      if (fate === "delay" && delayed === undefined) {
        delayed = [datagram, peer];
        return;
      }
      if (fate !== "drop") deliver(datagram, peer);
      if (fate === "duplicate") deliver(datagram, peer);
      if (delayed !== undefined) {
        const late = delayed;
        delayed = undefined;
        deliver(...late);
      }
    };
  }

  return {
    counts,
    async bind(binding): Promise<UdpSocket> {
      const socket = await inner.bind(binding);
      return {
        local: socket.local,
        send: channel("sent", (datagram, to) => socket.send(datagram, to)),
        onMessage: (handler) => socket.onMessage(channel("received", handler)),
        close: () => socket.close(),
      };
    },
  };
}
