/**
 * One read transfer as a reducer: an input comes, the state changes, and effects say what the shell has to do.
 * RFC 1350 (lockstep, errors), 2347 (OACK), 7440 (windows), 1123 section 4.2.3.1 (Sorcerer's Apprentice), 6298 (timer).
 * Deterministic and without I/O. The state object is changed in place: this runs once for every packet.
 */
import type { DurationMs } from "../domain/capabilities.ts";
import type { TftpContact } from "../domain/contact.ts";
import { DefaultTimings, type TransferTimings } from "./timings.ts";
import type { NegotiatedOptions } from "./wire/options.ts";
import { DataHeaderBytes, encodeError, encodePacket, ErrorCode, writeData } from "./wire/packet.ts";

/** A source that never answers gets so many times the octets of its request, where two packets are not more than that. */
const UnansweredFactor = 10;
/** So often a window is sent again in quick succession; then the client gets time to speak. */
const WindowRepeats = 3;
/** One loss must not end a transfer. */
const LeastFirstPackets = 2;

export type TransferOutcome = Exclude<TftpContact["outcome"], "not-found">;

export type TransferInput =
  | { readonly kind: "start" }
  /** ACK from the client, block number as on the wire. */
  | { readonly kind: "ack"; readonly block: number }
  /** ERROR from the client. */
  | { readonly kind: "error"; readonly code: number; readonly message: string }
  /** The armed time has come. */
  | { readonly kind: "timeout" }
  /** What the read effect asked for; fewer octets mean that the file became shorter. */
  | { readonly kind: "chunk"; readonly bytes: Uint8Array }
  | { readonly kind: "read-failed" }
  /** The server ends, or the client began anew. */
  | { readonly kind: "stop"; readonly reason: string; readonly tellClient: boolean };

export type TransferEffect =
  | { readonly kind: "send"; readonly datagram: Uint8Array }
  /** Read these octets and answer by a `chunk` or `read-failed`; one read at a time. */
  | { readonly kind: "read"; readonly offset: number; readonly length: number }
  /** Give `timeout` at this time (same clock as `nowMs`); replaces the time armed before. */
  | { readonly kind: "arm"; readonly atMs: number }
  | { readonly kind: "finish"; readonly outcome: TransferOutcome; readonly reason: string };

interface Chunk {
  readonly offset: number;
  readonly bytes: Uint8Array;
}

export interface Transfer {
  readonly options: NegotiatedOptions;
  readonly timings: TransferTimings;
  readonly sizeBytes: number;
  /** DATA packets in all: a file that fills its last block is ended by an empty one (RFC 1350 section 6). */
  readonly blockCount: number;
  /** Octets of one read: whole blocks, so that no block stands in two chunks, and at least a window. */
  readonly chunkBytes: number;
  phase: "negotiating" | "sending" | "ended";
  /** Blocks are counted from 1 without wrapping; the wire number is made when they are sent. */
  ackedBlock: number;
  /** Last block sent in this window; goes back when the client reports a gap. */
  sentBlock: number;
  /** Last block ever sent: an ACK beyond it is a lie. */
  highestBlock: number;
  /** Blocks up to here were sent twice, so that their ACK measures no round trip (Karn). */
  resentUpToBlock: number;
  /** At most two: the one being sent and the next. */
  chunks: Chunk[];
  readOffset: number;
  isReading: boolean;
  hasHeardClient: boolean;
  firstPacketsSent: number;
  /** How often the first packet may be sent; known when it is. */
  firstPacketSends: number;
  readonly requestBytes: number;
  /** Timeouts since the last new ACK: 2 and more say that something in the path is wrong. */
  timeoutsInRow: number;
  lastSentAtMs: number;
  lastHeardAtMs: number;
  smoothedRttMs: number | undefined;
  rttVarianceMs: number;
  retransmitAfterMs: DurationMs;
  /** Octets of content sent at least once. */
  sentBytes: number;
  /** Datagrams sent again. */
  retransmissions: number;
  packetRoom: Uint8Array;
  packetRoomUsed: number;
}

/** Small enough that 256 large transfers, with two chunks each, stay within 64 MiB. */
const ChunkTargetBytes = 128 * 1024;
/** Packets are cut from one allocation of this many. */
const PacketsPerRoom = 32;

/** @param requestBytes octets of the read request: an answer to nobody is not to be much larger */
export function createTransfer(
  sizeBytes: number,
  options: NegotiatedOptions,
  nowMs: number,
  timings: TransferTimings = DefaultTimings,
  requestBytes = Infinity,
): Transfer {
  const { blockSizeBytes, windowBlocks } = options;
  return {
    options,
    timings,
    sizeBytes,
    blockCount: Math.floor(sizeBytes / blockSizeBytes) + 1,
    chunkBytes: blockSizeBytes * Math.max(windowBlocks, Math.floor(ChunkTargetBytes / blockSizeBytes), 1),
    phase: options.acknowledged.length > 0 ? "negotiating" : "sending",
    ackedBlock: 0,
    sentBlock: 0,
    highestBlock: 0,
    resentUpToBlock: 0,
    chunks: [],
    readOffset: 0,
    isReading: false,
    hasHeardClient: false,
    firstPacketsSent: 0,
    firstPacketSends: timings.firstPacketSends,
    requestBytes,
    timeoutsInRow: 0,
    lastSentAtMs: nowMs,
    lastHeardAtMs: nowMs,
    smoothedRttMs: undefined,
    rttVarianceMs: 0,
    retransmitAfterMs: Math.min(timings.firstRetransmitMs, options.retransmitWithinMs ?? Infinity),
    sentBytes: 0,
    retransmissions: 0,
    packetRoom: new Uint8Array(0),
    packetRoomUsed: 0,
  };
}

/**
 * Takes one input.
 * @param nowMs time of a clock that never goes back
 * @returns what to do, in this order; nothing after a `finish`
 */
export function step(transfer: Transfer, input: TransferInput, nowMs: number): readonly TransferEffect[] {
  if (transfer.phase === "ended") return [];
  const effects: TransferEffect[] = [];
  switch (input.kind) {
    case "start":
      if (transfer.phase === "negotiating") sendOptionAck(transfer, nowMs, effects);
      else sendWindow(transfer, nowMs, effects);
      readAhead(transfer, effects);
      break;
    case "ack":
      takeAck(transfer, input.block, nowMs, effects);
      break;
    case "error":
      heard(transfer, nowMs);
      // After an OACK this is how EDK2 ends its question for the size (code 8): an answer would be a nuisance.
      finish(transfer, "cancelled", `client error ${input.code}`, effects);
      break;
    case "timeout":
      takeTimeout(transfer, nowMs, effects);
      break;
    case "chunk":
      takeChunk(transfer, input.bytes, nowMs, effects);
      break;
    case "read-failed":
      failReading(transfer, effects);
      break;
    case "stop":
      if (input.tellClient) sendError(input.reason, effects);
      finish(transfer, "cancelled", input.reason, effects);
      break;
  }
  return effects;
}

function takeAck(transfer: Transfer, wireBlock: number, nowMs: number, effects: TransferEffect[]): void {
  if (transfer.phase === "negotiating") {
    if (wireBlock !== 0) return;
    transfer.phase = "sending";
    measureRoundTrip(transfer, transfer.firstPacketsSent === 1, nowMs);
    heard(transfer, nowMs);
    sendWindow(transfer, nowMs, effects);
    readAhead(transfer, effects);
    return;
  }
  const block = transfer.ackedBlock + wireDistance(transfer, wireBlock);
  // A second ACK of the same block never makes DATA be sent again, or each loss would double every packet that follows
  // (RFC 1123 section 4.2.3.1). An ACK of what was never sent is noise.
  if (block === transfer.ackedBlock || block > transfer.highestBlock) return;
  measureRoundTrip(transfer, block > transfer.resentUpToBlock && block === transfer.sentBlock, nowMs);
  heard(transfer, nowMs);
  transfer.ackedBlock = block;
  if (block === transfer.blockCount) {
    finish(transfer, "complete", "", effects);
    return;
  }
  if (block !== transfer.sentBlock) {
    // Inside the window: the client misses block + 1, and the next window begins there (RFC 7440 section 4).
    transfer.sentBlock = block;
    transfer.resentUpToBlock = transfer.highestBlock;
  }
  dropChunksBefore(transfer, block * transfer.options.blockSizeBytes);
  sendWindow(transfer, nowMs, effects);
  readAhead(transfer, effects);
}

function takeTimeout(transfer: Transfer, nowMs: number, effects: TransferEffect[]): void {
  const silentMs = nowMs - transfer.lastHeardAtMs;
  const isUnanswered = !transfer.hasHeardClient && transfer.firstPacketsSent >= transfer.firstPacketSends;
  if (isUnanswered || silentMs >= transfer.timings.giveUpAfterMs) {
    finish(transfer, "timed-out", `silent for ${Math.round(silentMs / 1000)} s`, effects);
    return;
  }
  transfer.timeoutsInRow++;
  // atftp, whose ACK of a window was lost, ignores the window when it comes again, and each of its blocks sets its timer
  // anew: it repeats the ACK only when we are silent for once.
  const isDeaf = transfer.options.windowBlocks > 1 && transfer.timeoutsInRow >= WindowRepeats;
  transfer.retransmitAfterMs = clampWait(transfer, isDeaf ? Infinity : transfer.retransmitAfterMs * 2);
  if (transfer.phase === "negotiating") {
    sendOptionAck(transfer, nowMs, effects);
    return;
  }
  transfer.sentBlock = transfer.ackedBlock;
  transfer.resentUpToBlock = transfer.highestBlock;
  sendWindow(transfer, nowMs, effects);
}

function takeChunk(transfer: Transfer, bytes: Uint8Array, nowMs: number, effects: TransferEffect[]): void {
  transfer.isReading = false;
  const wanted = Math.min(transfer.chunkBytes, transfer.sizeBytes - transfer.readOffset);
  if (bytes.length !== wanted) {
    failReading(transfer, effects);
    return;
  }
  const isStarved = transfer.phase === "sending" && transfer.sentBlock < windowEnd(transfer);
  transfer.chunks.push({ offset: transfer.readOffset, bytes });
  transfer.readOffset += bytes.length;
  if (isStarved) sendWindow(transfer, nowMs, effects);
  readAhead(transfer, effects);
}

/** The client has part of the file by now; an ERROR keeps it from taking that for the whole. */
function failReading(transfer: Transfer, effects: TransferEffect[]): void {
  sendError("file changed or can't be read", effects);
  finish(transfer, "refused", "file changed or can't be read", effects);
}

/** Sends every block that the window allows and that has been read, then sets the timer. */
function sendWindow(transfer: Transfer, nowMs: number, effects: TransferEffect[]): void {
  const { blockSizeBytes } = transfer.options;
  const end = windowEnd(transfer);
  while (transfer.sentBlock < end) {
    const block = transfer.sentBlock + 1;
    const offset = (block - 1) * blockSizeBytes;
    const payload = findContent(transfer, offset, Math.min(blockSizeBytes, transfer.sizeBytes - offset));
    if (payload === undefined) break;
    const datagram = takePacketRoom(transfer, DataHeaderBytes + payload.length);
    writeData(datagram, wireNumber(transfer, block), payload);
    effects.push({ kind: "send", datagram });
    transfer.sentBlock = block;
    transfer.lastSentAtMs = nowMs;
    if (block > transfer.highestBlock) {
      transfer.highestBlock = block;
      transfer.sentBytes += payload.length;
    } else transfer.retransmissions++;
    if (!transfer.hasHeardClient) countFirstPacket(transfer, datagram.length);
  }
  const isWaitingForAck = transfer.sentBlock > transfer.ackedBlock;
  arm(transfer, isWaitingForAck ? transfer.retransmitAfterMs : Infinity, nowMs, effects);
}

function sendOptionAck(transfer: Transfer, nowMs: number, effects: TransferEffect[]): void {
  const datagram = encodePacket({ kind: "oack", options: transfer.options.acknowledged });
  effects.push({ kind: "send", datagram });
  if (transfer.firstPacketsSent > 0) transfer.retransmissions++;
  countFirstPacket(transfer, datagram.length);
  transfer.lastSentAtMs = nowMs;
  arm(transfer, transfer.retransmitAfterMs, nowMs, effects);
}

function countFirstPacket(transfer: Transfer, packetBytes: number): void {
  transfer.firstPacketsSent++;
  const affordable = Math.floor((UnansweredFactor * transfer.requestBytes) / packetBytes);
  transfer.firstPacketSends = Math.min(
    Math.max(affordable, LeastFirstPackets),
    transfer.timings.firstPacketSends,
  );
}

function sendError(message: string, effects: TransferEffect[]): void {
  effects.push({ kind: "send", datagram: encodeError(ErrorCode.undefined, message) });
}

function finish(
  transfer: Transfer,
  outcome: TransferOutcome,
  reason: string,
  effects: TransferEffect[],
): void {
  transfer.phase = "ended";
  transfer.chunks = [];
  transfer.packetRoom = new Uint8Array(0);
  effects.push({ kind: "finish", outcome, reason });
}

function readAhead(transfer: Transfer, effects: TransferEffect[]): void {
  if (transfer.isReading || transfer.chunks.length >= 2 || transfer.readOffset >= transfer.sizeBytes) return;
  transfer.isReading = true;
  const length = Math.min(transfer.chunkBytes, transfer.sizeBytes - transfer.readOffset);
  effects.push({ kind: "read", offset: transfer.readOffset, length });
}

function dropChunksBefore(transfer: Transfer, offset: number): void {
  const first = transfer.chunks[0];
  if (first !== undefined && first.offset + first.bytes.length <= offset) transfer.chunks.shift();
}

function findContent(transfer: Transfer, offset: number, length: number): Uint8Array | undefined {
  for (const chunk of transfer.chunks) {
    const at = offset - chunk.offset;
    if (at >= 0 && at < chunk.bytes.length) return chunk.bytes.subarray(at, at + length);
  }
  return length === 0 ? new Uint8Array(0) : undefined;
}

/**
 * Room for one packet that is written once and never reused: the socket may still hold a packet that was sent long ago.
 */
function takePacketRoom(transfer: Transfer, length: number): Uint8Array {
  if (transfer.packetRoomUsed + length > transfer.packetRoom.length) {
    const packets = Math.min(PacketsPerRoom, transfer.blockCount - transfer.ackedBlock);
    transfer.packetRoom = new Uint8Array(packets * (DataHeaderBytes + transfer.options.blockSizeBytes));
    transfer.packetRoomUsed = 0;
  }
  const from = transfer.packetRoomUsed;
  transfer.packetRoomUsed += length;
  return transfer.packetRoom.subarray(from, from + length);
}

function arm(transfer: Transfer, afterMs: DurationMs, nowMs: number, effects: TransferEffect[]): void {
  const { giveUpAfterMs, unansweredAfterMs } = transfer.timings;
  // The answer to the last first packet may be on a long way.
  const isLastChance = !transfer.hasHeardClient && transfer.firstPacketsSent >= transfer.firstPacketSends;
  const wishedMs = isLastChance ? transfer.lastHeardAtMs + unansweredAfterMs : nowMs + afterMs;
  const giveUpAtMs = transfer.lastHeardAtMs + giveUpAfterMs;
  effects.push({ kind: "arm", atMs: Math.min(Math.max(wishedMs, nowMs + afterMs), giveUpAtMs) });
}

function heard(transfer: Transfer, nowMs: number): void {
  transfer.hasHeardClient = true;
  transfer.timeoutsInRow = 0;
  transfer.lastHeardAtMs = nowMs;
}

/** RFC 6298 section 2. A packet that was sent twice tells nothing, and leaves the wait as back-off made it. */
function measureRoundTrip(transfer: Transfer, isClean: boolean, nowMs: number): void {
  if (!isClean) return;
  const rttMs = nowMs - transfer.lastSentAtMs;
  if (transfer.smoothedRttMs === undefined) {
    transfer.smoothedRttMs = rttMs;
    transfer.rttVarianceMs = rttMs / 2;
  } else {
    transfer.rttVarianceMs += (Math.abs(transfer.smoothedRttMs - rttMs) - transfer.rttVarianceMs) / 4;
    transfer.smoothedRttMs += (rttMs - transfer.smoothedRttMs) / 8;
  }
  transfer.retransmitAfterMs = clampWait(transfer, transfer.smoothedRttMs + 4 * transfer.rttVarianceMs);
}

function clampWait(transfer: Transfer, waitMs: DurationMs): DurationMs {
  const { minRetransmitMs, maxRetransmitMs } = transfer.timings;
  const asked = transfer.options.retransmitWithinMs ?? Infinity;
  return Math.min(Math.max(waitMs, minRetransmitMs), maxRetransmitMs, asked);
}

function windowEnd(transfer: Transfer): number {
  return Math.min(transfer.ackedBlock + transfer.options.windowBlocks, transfer.blockCount);
}

/** After block 65535 comes 0, as every client but the very old counts; or 1 where the `rollover` option said so. */
function wireNumber(transfer: Transfer, block: number): number {
  if (transfer.options.rolloverTo === 0) return block % 65_536;
  return block === 0 ? 0 : ((block - 1) % 65_535) + 1;
}

/** How many blocks the wire number lies ahead of the last acknowledged one; huge when it lies behind. */
function wireDistance(transfer: Transfer, wireBlock: number): number {
  const modulus = transfer.options.rolloverTo === 0 ? 65_536 : 65_535;
  return (wireBlock - wireNumber(transfer, transfer.ackedBlock) + modulus) % modulus;
}
