import type { Ipv4 } from "../net/ipv4.ts";
import {
  decodePacket,
  encodeError,
  encodePacket,
  ErrorCode,
  MalformedPacket,
  type TftpPacket,
  type WireOption,
} from "../tftp/wire/packet.ts";
import type { TftpHabits } from "./profiles.ts";
import { bindOwn, type Phase, type Station, Stopped } from "./station.ts";

export interface TftpTarget {
  /** The machine's own address. */
  readonly address: Ipv4;
  readonly server: Ipv4;
  readonly file: string;
  /** False: the octets are counted and thrown away. */
  readonly isKept: boolean;
}

export interface TftpFile {
  readonly sizeBytes: number;
  readonly content: Uint8Array;
}

/** RFC 1350. */
const defaultBlockSizeBytes = 512;

/** Loads one file as this firmware does. @throws Stopped */
export async function fetchByTftp(
  station: Station,
  phase: Phase,
  habits: TftpHabits,
  target: TftpTarget,
): Promise<TftpFile> {
  if (habits.probesSize) await transfer(station, phase, habits, target, true);
  return transfer(station, phase, habits, target, false);
}

function optionsOf({ blockSizeBytes, windowBlocks, probesSize }: TftpHabits, isProbe: boolean): WireOption[] {
  if (blockSizeBytes === undefined) return [];
  return [
    // EDK2 asks for the size in its first request and not in its second; others ask once.
    ...(isProbe || !probesSize ? [["tsize", "0"] as const] : []),
    ["blksize", String(blockSizeBytes)] as const,
    ...(windowBlocks > 1 ? [["windowsize", String(windowBlocks)] as const] : []),
  ];
}

/** What firmware takes no OACK with: an option that it did not ask for, or more than it asked for (RFC 2347, firmware-quirk Q20). */
function problemOf(granted: readonly WireOption[], asked: readonly WireOption[]): string | undefined {
  for (const [name, text] of granted) {
    const wanted = asked.find(([other]) => other === name);
    if (!wanted) return `${name} was not asked for`;
    if (name !== "tsize" && Number(text) > Number(wanted[1]))
      return `${name} ${text} is more than ${wanted[1]}`;
  }
  return undefined;
}

/** The state of one transfer on the client's side. */
interface Progress {
  serverPort: number | undefined;
  blockSizeBytes: number;
  windowBlocks: number;
  sizeBytes: number | undefined;
  /** Blocks got in order, counted without wrapping. */
  blocks: number;
  octets: number;
  ackedBlocks: number;
  /** The gap after this block was told already (RFC 7440 s.4: once for each). */
  toldGapAt: number;
}

async function transfer(
  station: Station,
  phase: Phase,
  habits: TftpHabits,
  { address, server, file, isKept }: TftpTarget,
  isProbe: boolean,
): Promise<TftpFile> {
  const { timeline, line, record, plan } = station;
  const socket = await bindOwn(station, phase, address, 0);
  const kept: Uint8Array[] = [];
  const progress: Progress = {
    serverPort: undefined,
    blockSizeBytes: defaultBlockSizeBytes,
    windowBlocks: 1,
    sizeBytes: undefined,
    blocks: 0,
    octets: 0,
    ackedBlocks: 0,
    toldGapAt: -1,
  };
  const asked = optionsOf(habits, isProbe);
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  let repeats = 0;
  let isOver = false;
  let cancel = (): void => {};
  let last: Uint8Array = encodePacket({
    kind: "rrq",
    file: `${file}${habits.nameSuffix}`,
    mode: "octet",
    options: asked,
  });

  function send(datagram: Uint8Array): void {
    const to = { address: server, port: progress.serverPort ?? plan.ports.tftp };
    line.carry(() => socket.send(datagram, to));
  }

  /** Sends, and sends again when nothing new comes. */
  function say(datagram: Uint8Array): void {
    last = datagram;
    send(datagram);
    arm();
  }

  function arm(): void {
    cancel();
    cancel = timeline.after(habits.repeatMs, () => {
      if (repeats++ === habits.repeats)
        return reject(
          new Stopped(
            phase,
            progress.blocks === 0
              ? `TFTP: no answer for ${file}`
              : `TFTP: ${file} broke off at block ${progress.blocks}`,
          ),
        );
      record.repeated(phase);
      send(last);
      arm();
    });
  }

  function acknowledge(): void {
    progress.ackedBlocks = progress.blocks;
    say(encodePacket({ kind: "ack", block: progress.blocks % 65_536 }));
  }

  function takeOptions(options: readonly WireOption[]): void {
    if (progress.blocks > 0) return;
    const problem = problemOf(options, asked);
    if (problem !== undefined) {
      send(encodeError(ErrorCode.optionRefused, problem));
      return reject(new Stopped(phase, `TFTP: ${file}: ${problem}`));
    }
    for (const [name, text] of options) {
      if (name === "blksize") progress.blockSizeBytes = Number(text);
      else if (name === "windowsize") progress.windowBlocks = Number(text);
      else if (name === "tsize") progress.sizeBytes = Number(text);
    }
    if (!isProbe) return acknowledge();
    // The size is known: this is how EDK2 ends the transfer that it does not want.
    send(encodeError(ErrorCode.optionRefused, "User aborted the transfer"));
    resolve();
  }

  function takeData(block: number, payload: Uint8Array): void {
    if (block !== (progress.blocks + 1) % 65_536) {
      const isBehind = progress.windowBlocks === 1 || progress.toldGapAt === progress.blocks;
      if (isBehind) return;
      progress.toldGapAt = progress.blocks;
      return acknowledge();
    }
    repeats = 0;
    progress.blocks++;
    progress.octets += payload.length;
    if (isKept) kept.push(payload.slice());
    const isLast = payload.length < progress.blockSizeBytes;
    if (isLast || progress.blocks - progress.ackedBlocks >= progress.windowBlocks) acknowledge();
    else arm();
    if (isLast) resolve();
  }

  function hear(packet: TftpPacket, port: number): void {
    if (isOver) return;
    progress.serverPort ??= port;
    if (port !== progress.serverPort) return;
    if (packet.kind === "error")
      reject(new Stopped(phase, `TFTP: ERROR ${packet.code} for ${file}: ${packet.message}`));
    else if (packet.kind === "oack") takeOptions(packet.options);
    else if (packet.kind === "data") takeData(packet.block, packet.payload);
  }

  socket.onMessage((datagram, from) => {
    // A block on its way into the machine may be delivered later than this call, so its octets must be its own.
    const packet = readPacket(datagram);
    if (packet && from.address === server) line.carry(() => hear(packet, from.port));
  });
  try {
    say(last);
    await promise;
    if (habits.needsSize && progress.sizeBytes === undefined)
      throw new Stopped(phase, `TFTP: the size of ${file} was not told`);
    if (!isProbe && progress.sizeBytes !== undefined && progress.sizeBytes !== progress.octets)
      throw new Stopped(
        phase,
        `TFTP: ${file} has ${progress.octets} octets, tsize said ${progress.sizeBytes}`,
      );
    return { sizeBytes: progress.octets, content: Buffer.concat(kept) };
  } finally {
    isOver = true;
    cancel();
    await socket.close();
  }
}

function readPacket(datagram: Uint8Array): TftpPacket | undefined {
  try {
    return decodePacket(datagram);
  } catch (error) {
    if (error instanceof MalformedPacket) return undefined;
    throw error;
  }
}
