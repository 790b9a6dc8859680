import { readdirSync, readFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { classifyClient } from "../../server/dhcp/policy/classify-client.ts";
import { clientMessageType, decideReply } from "../../server/dhcp/policy/decide-reply.ts";
import type { DhcpPolicy, Facts } from "../../server/dhcp/policy/decision.ts";
import { MalformedPacket } from "../../server/dhcp/wire/malformed-packet.ts";
import { BootRequest, decodeMessage, encodeMessage } from "../../server/dhcp/wire/message.ts";
import { OptionCode } from "../../server/dhcp/wire/option-codes.ts";
import { parseCidr } from "../../server/net/cidr.ts";
import {
  decodePacket,
  encodePacket,
  MalformedPacket as MalformedTftpPacket,
} from "../../server/tftp/wire/packet.ts";
import { clientOptions, ip, requestMessage } from "./dhcp-messages.ts";
import { readPcap } from "./pcap.ts";

export interface FuzzResult {
  readonly counts: Readonly<Record<"malformed" | "no client" | "silence" | "reply" | "tftp", number>>;
  readonly tookMs: number;
  /** The one packet that took longest, ms. */
  readonly slowestMs: number;
  readonly heapGrownBytes: number;
}

const subnet = parseCidr("10.0.0.0/24");
if (!subnet) throw new Error("bad CIDR");
const authoritative: DhcpPolicy = {
  mode: "authoritative",
  subnets: [
    {
      subnet,
      range: { from: ip("10.0.0.10"), to: ip("10.0.0.250") },
      router: ip("10.0.0.1"),
      dns: [ip("10.0.0.1")],
      domain: "lab.test",
      leaseSeconds: 3600,
    },
  ],
  serverAddresses: new Set([ip("10.0.0.1")]),
  availableNbps: new Set(["undionly.kpxe", "snponly.efi", "boot.scr.uimg", "bootcode.bin"]),
  relayPort: 67,
  clientPort: 68,
};
const proxy: DhcpPolicy = { ...authoritative, mode: "proxy", subnets: [] };
const facts: Facts = {
  now: 0,
  reservation: undefined,
  lease: undefined,
  offered: ip("10.0.0.10"),
  isAvailable: () => true,
  nextFree: () => ip("10.0.0.10"),
  service: "dhcp",
  serverAddress: ip("10.0.0.1"),
  source: { address: "0.0.0.0", port: 68 },
  urls: { script: "http://10.0.0.1/boot.ipxe", nbp: (name) => `http://10.0.0.1/nbp/${name}` },
  mayNetboot: true,
  chainedBefore: false,
  declinedCount: 0,
};

const knownCodes = Object.values(OptionCode).filter(
  (code) => code !== OptionCode.Pad && code !== OptionCode.End,
);
const fixtures = resolve(import.meta.dirname, "../fixtures/captures");

/** What is mutated: messages of all types and clients, and what real firmware sent. */
function seeds(): Uint8Array[] {
  const types = ["Discover", "Request", "Decline", "Release", "Inform"] as const;
  const made = types.flatMap((type) =>
    Object.values(clientOptions).map((options) =>
      encodeMessage(
        requestMessage({
          type,
          options,
          giaddr: type === "Inform" ? "10.0.0.1" : "0.0.0.0",
          requested: "10.0.0.10",
        }),
      ),
    ),
  );
  const captured = readdirSync(fixtures)
    .filter((name) => name.endsWith(".pcap"))
    .flatMap((name) => readPcap(readFileSync(join(fixtures, name))).map(({ payload }) => payload.slice()));
  return [...made, ...captured];
}

/** xorshift: the same packets in each run. */
export function randomFrom(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) % below;
  };
}

/** Packets to throw at a DHCP server: noise, what firmware sends, the same damaged, and well-formed senseless ones. */
export function createPacketSource(random: (below: number) => number): () => Uint8Array {
  const from = seeds();
  const oneOf = <T>(all: readonly T[]): T => all[random(all.length)] as T;

  const messages = from.map((octets) => decodeMessage(octets)).filter(({ op }) => op === BootRequest);
  const addresses = ["0.0.0.0", "10.0.0.1", "10.0.0.10", "10.9.9.9", "255.255.255.255"].map(ip);

  const noise = Uint8Array.from({ length: 65_536 }, () => random(256));
  const noiseOf = (length: number) => noise.subarray(random(noise.length - length)).subarray(0, length);

  /** A message that is well formed and says anything. */
  function made(): Uint8Array {
    const message = oneOf(messages);
    const options = new Map(message.options);
    for (let change = random(6); change > 0; change--) {
      const code = random(3) === 0 ? 1 + random(254) : oneOf(knownCodes);
      const length = oneOf([0, 1, 2, 4, 17, 255, 256, random(400)]);
      options.set(code, noiseOf(length));
      if (random(4) === 0) options.delete(code);
    }
    const ciaddr = oneOf(addresses);
    const giaddr = random(3) === 0 ? oneOf(addresses) : ip("0.0.0.0");
    return encodeMessage({ ...message, options, ciaddr, giaddr, flags: random(65_536), hops: random(20) });
  }

  function mutate(): Uint8Array {
    if (random(2)) return made();
    if (random(8) === 0) return noiseOf(random(700)).slice();
    const octets = oneOf(from).slice(0, random(6) === 0 ? random(700) : undefined);
    for (let change = random(10); change > 0; change--) {
      // Most of them where the options are.
      const at = random(4) === 0 ? random(octets.length + 1) : 236 + random(Math.max(1, octets.length - 236));
      if (at < octets.length) octets[at] = random(256);
    }
    if (random(10) > 0) return octets;
    // A piece of one put into another: long and repeated options, overload.
    const piece = oneOf(from).subarray(240);
    const joined = new Uint8Array(octets.length + piece.length);
    joined.set(octets);
    joined.set(piece, Math.max(0, octets.length - 1 - random(20)));
    return joined;
  }

  return mutate;
}

/**
 * Random and mutated packets through both codecs and through the decision in both modes. What may be thrown is
 * MalformedPacket and nothing else; every reply can be written, is no longer than a frame, and can be read again.
 */
export function fuzz(packets: number, seed = 4711): FuzzResult {
  const random = randomFrom(seed);
  const mutate = createPacketSource(random);
  const counts = { malformed: 0, "no client": 0, silence: 0, reply: 0, tftp: 0 };
  function dhcp(octets: Uint8Array): void {
    const request = decodeMessage(octets);
    const type = clientMessageType(request);
    const client = type && classifyClient(request);
    if (!type || !client) {
      counts["no client"]++;
      return;
    }
    const service = random(5) === 0 ? "pxe" : "dhcp";
    const decision = decideReply(
      type,
      request,
      client,
      { ...facts, service },
      random(2) ? proxy : authoritative,
    );
    counts[decision.kind]++;
    if (decision.kind === "silence") return;
    const written = encodeMessage(decision.packet);
    if (written.length < 300 || written.length > 1472) throw new Error(`a reply of ${written.length} octets`);
    const read = decodeMessage(written);
    if (read.xid !== request.xid) throw new Error("a reply to another request");
    if (
      [...decision.packet.options.keys()].indexOf(82) > -1 &&
      [...decision.packet.options.keys()].at(-1) !== 82
    )
      throw new Error("option 82 is not the last one");
  }

  function tftp(octets: Uint8Array): void {
    const packet = decodePacket(octets);
    counts.tftp++;
    decodePacket(encodePacket(packet));
  }

  const begunMs = performance.now();
  let slowestMs = 0;
  let heapBefore = 0;
  for (let n = 0; n < packets; n++) {
    if (n === Math.floor(packets / 10)) {
      global.gc?.();
      heapBefore = process.memoryUsage().heapUsed;
    }
    const octets = mutate();
    const askedMs = performance.now();
    try {
      dhcp(octets);
    } catch (error) {
      if (!(error instanceof MalformedPacket)) throw saying(error, octets);
      counts.malformed++;
    }
    try {
      tftp(withOpcode(octets, random(7)));
    } catch (error) {
      if (!(error instanceof MalformedTftpPacket)) throw saying(error, octets);
    }
    slowestMs = Math.max(slowestMs, performance.now() - askedMs);
  }
  global.gc?.();
  return {
    counts,
    tookMs: performance.now() - begunMs,
    slowestMs,
    heapGrownBytes: process.memoryUsage().heapUsed - heapBefore,
  };
}

/** The same octets as a TFTP packet. */
function withOpcode(octets: Uint8Array, opcode: number): Uint8Array {
  if (octets.length < 2) return octets;
  octets.set([0, opcode]);
  return octets;
}

function saying(error: unknown, octets: Uint8Array): Error {
  return new Error(`${String(error)} for ${Buffer.from(octets).toString("hex")}`, { cause: error });
}
