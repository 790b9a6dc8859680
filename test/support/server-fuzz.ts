/** Random and mutated packets at the DHCP and the TFTP server as a whole, over sockets in memory and with a clock of the test's. */
import { createDhcpServer } from "../../server/dhcp/server.ts";
import { decodeMessage } from "../../server/dhcp/wire/message.ts";
import type { UdpEndpoint } from "../../server/domain/capabilities.ts";
import { parseCidr } from "../../server/net/cidr.ts";
import { createTftpServer } from "../../server/tftp/server.ts";
import { encodePacket, type WireOption } from "../../server/tftp/wire/packet.ts";
import { createPacketSource, randomFrom } from "./dhcp-fuzz.ts";
import { recordingLog } from "./dhcp-lab.ts";
import { ip } from "./dhcp-messages.ts";
import { ManualClock } from "./manual-clock.ts";
import { createMemoryLeases } from "./memory-leases.ts";
import { createMemoryUdp } from "./memory-udp.ts";
import { filesRoute, fillPattern } from "./tftp-lab.ts";

export interface ServerFuzzResult {
  readonly replies: number;
  /** The longest time for which one packet held the event loop, ms. */
  readonly slowestMs: number;
  readonly heapGrownBytes: number;
  /** What the server's log says that no packet may cause. */
  readonly errors: readonly string[];
  /** Timers and sockets that are left when all is quiet. */
  readonly timersLeft: number;
  readonly socketsLeft: number;
}

/** Other turns of the event loop, and time, after so many packets. */
const packetsPerTurn = 100;
const turnMs = 40;

/** Throws the packets in turns. @returns the slowest packet, and what the heap has grown since a tenth of them */
async function throwPackets(
  packets: number,
  clock: ManualClock,
  throwOne: () => void,
  afterTurn: () => void,
): Promise<{ slowestMs: number; heapGrownBytes: number }> {
  let slowestMs = 0;
  let heapBefore = 0;
  for (let n = 1; n <= packets; n++) {
    const beganMs = performance.now();
    throwOne();
    slowestMs = Math.max(slowestMs, performance.now() - beganMs);
    if (n % packetsPerTurn === 0) {
      clock.advanceMs(turnMs);
      await new Promise(setImmediate);
      afterTurn();
    }
    if (n === Math.ceil(packets / 10)) {
      global.gc?.();
      heapBefore = process.memoryUsage().heapUsed;
    }
  }
  global.gc?.();
  return { slowestMs, heapGrownBytes: process.memoryUsage().heapUsed - heapBefore };
}

export async function fuzzDhcpServer(
  mode: "authoritative" | "proxy",
  packets: number,
  seed: number,
): Promise<ServerFuzzResult> {
  const random = randomFrom(seed);
  const next = createPacketSource(random);
  const clock = new ManualClock();
  const log = recordingLog();
  const leases = createMemoryLeases();
  const udp = createMemoryUdp((_port, datagram) => void decodeMessage(datagram));
  const subnet = parseCidr("10.0.0.0/24");
  if (!subnet) throw new Error("bad CIDR");
  const range = { from: ip("10.0.0.10"), to: ip("10.0.0.250") };
  const server = createDhcpServer({
    udp,
    clock,
    log,
    leases,
    mode,
    interfaces: [{ address: ip("10.0.0.1") }],
    port: 67,
    pxePort: 4011,
    subnets: [{ subnet, range, leaseSeconds: 3600 }],
    machines: { reservationOf: () => undefined, ownerOf: () => undefined, mayNetboot: () => true },
    nbp: { available: new Set(["undionly.kpxe", "snponly.efi", "boot.scr.uimg", "bootcode.bin"]) },
    urls: (address) => ({
      script: `http://${address}/boot.ipxe`,
      nbp: (name) => `http://${address}/nbp/${name}`,
    }),
    raspberryPiDelayMs: 1000,
    onContact: () => {},
  });
  await server.start();
  const measured = await throwPackets(
    packets,
    clock,
    () => {
      const octets = next();
      // Most machines of the world have a MAC of their own.
      if (octets.length > 34 && random(3) > 0)
        octets.set([0x52, 0x54, random(256), random(256), random(256), random(256)], 28);
      udp.deliver(random(6) === 0 ? 4011 : 67, octets, { address: "10.0.0.1", port: 68 });
    },
    () => (leases.saved.length = 0),
  );
  clock.advanceMs(60_000);
  await server.stop();
  return {
    ...measured,
    replies: udp.sent.datagrams,
    errors: log.entries.filter(({ level }) => level === "error").map(({ message }) => message),
    timersLeft: clock.pendingTimers,
    socketsLeft: [...udp.ports].length,
  };
}

const names = ["small", "big", "../small", "/small", "small\xff", "none", "", "a".repeat(300)];
const optionNames = ["blksize", "tsize", "timeout", "windowsize", "rollover", "BLKSIZE", "multicast", ""];

export async function fuzzTftpServer(packets: number, seed: number): Promise<ServerFuzzResult> {
  const random = randomFrom(seed);
  const oneOf = <T>(all: readonly T[]): T => all[random(all.length)] as T;
  const clock = new ManualClock();
  const log = recordingLog();
  /** Who was sent something from where, lately: what a client answers goes there. */
  const talks: { port: number; client: UdpEndpoint }[] = [];
  const udp = createMemoryUdp((port, _datagram, client) => {
    talks[random(64)] = { port, client };
  });
  const server = createTftpServer({
    udp,
    clock,
    log: { ...log, child: () => log },
    bindings: [{ address: ip("10.0.0.1"), port: 69 }],
    routes: [
      filesRoute({
        small: fillPattern(new Uint8Array(700), 0),
        big: fillPattern(new Uint8Array(200_000), 0),
      }),
    ],
  });
  await server.start();
  const number = () => oneOf(["0", "1", "8", "512", "1468", "65464", "99999999999999999", "-1", "x", "\xff"]);
  const client = (): UdpEndpoint => ({ address: `10.0.${random(4)}.${random(250)}`, port: 1024 + random(4) });

  function request(): Uint8Array {
    const options = Array.from({ length: random(4) }, (): WireOption => [oneOf(optionNames), number()]);
    const mode = oneOf(["octet", "octet", "OCTET", "netascii", "mail", ""]);
    return encodePacket({ kind: random(20) ? "rrq" : "wrq", file: oneOf(names), mode, options });
  }

  function damaged(octets: Uint8Array): Uint8Array {
    const copy = octets.slice(0, random(8) ? undefined : random(octets.length + 1));
    for (let change = random(4) ? 0 : random(8); change > 0 && copy.length > 0; change--)
      copy[random(copy.length)] = random(256);
    return copy;
  }

  function throwOne(): void {
    const talk = random(3) === 0 ? undefined : talks[random(64)];
    if (!talk) return udp.deliver(69, damaged(request()), client());
    const packet = oneOf([
      () => encodePacket({ kind: "ack", block: random(3) ? random(6) : random(65_536) }),
      () => encodePacket({ kind: "error", code: random(10), message: "x" }),
      () => encodePacket({ kind: "data", block: random(4), payload: new Uint8Array(random(20)) }),
      () => Uint8Array.from({ length: random(40) }, () => random(256)),
    ])();
    udp.deliver(talk.port, damaged(packet), random(10) ? talk.client : client());
  }

  const measured = await throwPackets(packets, clock, throwOne, () => {});
  for (let second = 0; second < 60; second++) {
    clock.advanceMs(1000);
    await new Promise(setImmediate);
  }
  const timersLeft = clock.pendingTimers;
  const socketsLeft = [...udp.ports].length - 1;
  await server.stop();
  return {
    ...measured,
    replies: udp.sent.datagrams,
    errors: log.entries.filter(({ level }) => level === "error").map(({ message }) => message),
    timersLeft,
    socketsLeft,
  };
}
