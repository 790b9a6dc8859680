import type { UdpEndpoint, UdpSocket } from "../../server/domain/capabilities.ts";
import {
  decodePacket,
  encodePacket,
  type RequestPacket,
  type TftpPacket,
  type WireOption,
} from "../../server/tftp/wire/packet.ts";
import { loopbackUdp } from "./loopback-udp.ts";

/** A socket that keeps what it hears, for talking TFTP by hand. */
export interface TftpTalker {
  readonly socket: UdpSocket;
  /** Everything heard and not yet taken. */
  readonly heard: { packet: TftpPacket; from: UdpEndpoint; bytes: number }[];
  say(packet: TftpPacket | Uint8Array, to: UdpEndpoint): void;
  /** The next packet, within `withinMs` (default 2000). */
  hear(withinMs?: number): Promise<{ packet: TftpPacket; from: UdpEndpoint; bytes: number }>;
  /** True when nothing comes for so long. */
  isSilent(forMs: number): Promise<boolean>;
  close(): Promise<void>;
}

export async function createTalker(): Promise<TftpTalker> {
  const socket = await loopbackUdp.bind({ port: 0 });
  const heard: TftpTalker["heard"] = [];
  let wake: (() => void) | undefined;
  socket.onMessage((datagram, from) => {
    heard.push({ packet: decodePacket(datagram), from, bytes: datagram.length });
    wake?.();
  });
  async function waitForOne(ms: number): Promise<boolean> {
    if (heard.length > 0) return true;
    return new Promise((resolve) => {
      const timer = setTimeout(() => resolve(false), ms);
      wake = () => {
        clearTimeout(timer);
        wake = undefined;
        resolve(true);
      };
    });
  }
  return {
    socket,
    heard,
    say: (packet, to) => socket.send(packet instanceof Uint8Array ? packet : encodePacket(packet), to),
    async hear(withinMs = 2000) {
      await waitForOne(withinMs);
      const next = heard.shift();
      if (next === undefined) throw new Error(`nothing heard in ${withinMs} ms`);
      return next;
    },
    isSilent: async (forMs) => !(await waitForOne(forMs)),
    close: () => socket.close(),
  };
}

export function readRequest(
  file: string,
  options: readonly WireOption[] = [],
  mode = "octet",
): RequestPacket {
  return { kind: "rrq", file, mode, options };
}

export interface Fetched {
  readonly content: Buffer;
  /** Options of the OACK; undefined when there was none. */
  readonly granted: Record<string, string> | undefined;
  /** DATA packets that came, repeated ones too. */
  readonly dataPackets: number;
}

/**
 * Reads one file the way good firmware does: acknowledges each full window, and the last block in order when one is missing.
 * It does not repeat itself for `repeatMs`, so that the server's timer does the work.
 * @throws Error with code and text of an ERROR packet
 */
export async function fetchFile(
  server: UdpEndpoint,
  file: string,
  options: readonly WireOption[] = [],
  { mode = "octet", repeatMs = 3000 } = {},
): Promise<Fetched> {
  const socket = await loopbackUdp.bind({ port: 0 });
  const blocks: Uint8Array[] = [];
  let granted: Record<string, string> | undefined;
  let peer = server;
  let dataPackets = 0;
  let lastAcked = 0;
  let gapAckedAt = -1;
  let last: Uint8Array = encodePacket(readRequest(file, options, mode));
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  const say = (octets: Uint8Array) => {
    last = octets;
    socket.send(octets, peer);
    timer.refresh();
  };
  const ack = (block: number) => say(encodePacket({ kind: "ack", block: block % 65_536 }));
  const timer = setInterval(() => socket.send(last, peer), repeatMs);
  socket.onMessage((datagram, from) => {
    const packet = decodePacket(datagram);
    peer = from;
    if (packet.kind === "error") reject(new Error(`ERROR ${packet.code} ${packet.message}`));
    else if (packet.kind === "oack") {
      granted = Object.fromEntries(packet.options);
      if (blocks.length === 0) ack(0);
    } else if (packet.kind === "data") {
      dataPackets++;
      const windowBlocks = Number(granted?.["windowsize"] ?? 1);
      if (packet.block !== (blocks.length + 1) % 65_536) {
        // One report for each gap, as RFC 7440 section 4 shows it; a block that came before is acknowledged again.
        if (windowBlocks > 1 && gapAckedAt === blocks.length) return;
        gapAckedAt = lastAcked = blocks.length;
        ack(blocks.length);
        return;
      }
      blocks.push(packet.payload);
      const isLast = packet.payload.length < Number(granted?.["blksize"] ?? 512);
      if (isLast || blocks.length - lastAcked >= windowBlocks) {
        lastAcked = blocks.length;
        ack(blocks.length);
      }
      if (isLast) resolve();
    }
  });
  socket.send(last, server);
  try {
    await promise;
    return { content: Buffer.concat(blocks), granted, dataPackets };
  } finally {
    clearInterval(timer);
    await socket.close();
  }
}
