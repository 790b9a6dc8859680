/** Plays one transfer on the network: opens the file and a socket of its own, then carries inputs and effects of transfer.ts. */
import type { Clock, DurationMs, Log, Udp, UdpEndpoint, UdpSocket } from "../domain/capabilities.ts";
import type { TftpContact } from "../domain/contact.ts";
import type { Ipv4 } from "../net/ipv4.ts";
import { bufferFile, NotMine, openFirst, type FileRoute, type TftpFile } from "./file-routes.ts";
import {
  createTransfer,
  step,
  type Transfer,
  type TransferEffect,
  type TransferInput,
  type TransferTimings,
} from "./transfer.ts";
import { encodeNetascii } from "./wire/netascii.ts";
import { negotiateOptions, type OptionCaps } from "./wire/options.ts";
import {
  decodePacket,
  encodeError,
  ErrorCode,
  MalformedPacket,
  type RequestPacket,
  type TftpPacket,
} from "./wire/packet.ts";

/** Netascii is converted as a whole, since its size has to be known first; it is for texts, and texts are short. */
const MaxNetasciiBytes = 4 * 1024 * 1024;

/** A client that acknowledged, then was silent for this long, and then asks the same again has started anew. */
const RestartedAfterMs: DurationMs = 1000;

export interface SessionSurroundings {
  readonly udp: Udp;
  readonly clock: Clock;
  readonly log: Log;
  readonly routes: readonly FileRoute[];
  readonly caps: OptionCaps;
  readonly timings: TransferTimings;
}

export interface SessionRequest {
  readonly packet: RequestPacket;
  readonly client: UdpEndpoint;
  /** Where the request came in: the transfer leaves by the same device, from the same address. */
  readonly device: string | undefined;
  readonly serverAddress: Ipv4;
  readonly arrivedAtMs: number;
}

export interface Session {
  readonly request: SessionRequest;
  /** Fulfilled, never rejected, when socket and file are closed. */
  readonly closed: Promise<void>;
  /** The client was heard, then fell silent: the same request again is a new beginning. */
  isAbandoned(nowMs: number): boolean;
  stop(reason: string, tellClient: boolean): void;
}

type Outcome = TftpContact["outcome"];

/** @param onEnd called once, as soon as the outcome is known, which is before socket and file are closed */
export function startSession(
  surroundings: SessionSurroundings,
  request: SessionRequest,
  onEnd: (contact: TftpContact) => void,
): Session {
  const { clock, log, caps, timings } = surroundings;
  let transfer: Transfer | undefined;
  let feed: ((input: TransferInput) => void) | undefined;
  let stopped: { outcome: Outcome; reason: string } | undefined;

  async function play(opened: Opened): Promise<{ outcome: Outcome; reason: string }> {
    if (stopped !== undefined) return stopped;
    if (opened.socket === undefined) return { outcome: "refused", reason: "no socket" };
    if (opened.file === undefined) {
      opened.socket.send(encodeError(opened.code, opened.message), request.client);
      const outcome = opened.code === ErrorCode.fileNotFound ? "not-found" : "refused";
      return { outcome, reason: opened.message };
    }
    const { sizeBytes } = opened.file;
    const options = negotiateOptions(request.packet.options, sizeBytes, caps);
    transfer = createTransfer(sizeBytes, options, clock.monotonicMs(), timings);
    const player = playTransfer(surroundings, request.client, transfer, opened.file, opened.socket);
    feed = player.feed;
    player.feed({ kind: "start" });
    return player.finished;
  }

  async function run(): Promise<void> {
    const opened = await openBoth(surroundings, request);
    const serverMs = clock.monotonicMs() - request.arrivedAtMs;
    try {
      const { outcome, reason } = await play(opened);
      onEnd(reportEnd(surroundings, request, transfer, { outcome, reason, serverMs }));
    } finally {
      await Promise.all([opened.file?.close(), opened.socket?.close()]);
    }
  }

  return {
    request,
    closed: run().catch((error: unknown) => log.error({ error: String(error) }, "tftp transfer failed")),
    isAbandoned: (nowMs) =>
      transfer !== undefined && transfer.hasHeardClient && nowMs - transfer.lastHeardAtMs > RestartedAfterMs,
    stop(reason, tellClient) {
      stopped = { outcome: "cancelled", reason };
      feed?.({ kind: "stop", reason, tellClient });
    },
  };
}

function reportEnd(
  { clock, log }: SessionSurroundings,
  { packet, client, arrivedAtMs }: SessionRequest,
  transfer: Transfer | undefined,
  end: { outcome: Outcome; reason: string; serverMs: DurationMs },
): TftpContact {
  const contact: TftpContact = {
    at: clock.now(),
    clientAddress: client.address as Ipv4,
    file: printable(packet.file),
    outcome: end.outcome,
    sizeBytes: transfer?.sizeBytes ?? 0,
    sentBytes: transfer?.sentBytes ?? 0,
    retransmissions: transfer?.retransmissions ?? 0,
    durationMs: round(clock.monotonicMs() - arrivedAtMs),
    serverMs: round(end.serverMs),
  };
  // Firmware probes for names, and asks for a size only to cancel: both are daily bread, not news.
  const level = end.outcome === "not-found" || end.outcome === "cancelled" ? "debug" : "info";
  log[level]({ ...contact, clientPort: client.port, reason: end.reason }, "tftp transfer ended");
  return contact;
}

type Opened = { readonly socket: UdpSocket | undefined } & (
  | { readonly file: TftpFile }
  | { readonly file?: undefined; readonly code: ErrorCode; readonly message: string }
);

/** Opens the file and the socket at the same time. Never throws: what failed is in the answer and in the log. */
async function openBoth(surroundings: SessionSurroundings, request: SessionRequest): Promise<Opened> {
  const { udp, log } = surroundings;
  const { device, serverAddress } = request;
  const [socket, answer] = await Promise.all([
    udp
      .bind({ ...(device !== undefined && { device }), address: serverAddress, port: 0 })
      .catch((error: unknown) => {
        log.error({ error: String(error) }, "failed to open a socket for a tftp transfer");
        return undefined;
      }),
    openFile(surroundings, request).catch((error: unknown) => {
      // The reason may hold a path of this machine, so it stays in our log.
      log.warn({ file: printable(request.packet.file), error: String(error) }, "failed to open a tftp file");
      return { code: ErrorCode.undefined, message: "file can't be read" } as const;
    }),
  ]);
  return { socket, ...answer };
}

async function openFile(
  { routes }: SessionSurroundings,
  { packet, client, serverAddress }: SessionRequest,
): Promise<{ file: TftpFile } | { code: ErrorCode; message: string }> {
  const clientAddress = client.address as Ipv4;
  const found = await openFirst(routes, { file: packet.file, clientAddress, serverAddress });
  if (found === NotMine) return { code: ErrorCode.fileNotFound, message: "file not found" };
  const { file } = found;
  if (packet.mode !== "netascii") return { file };
  try {
    if (file.sizeBytes > MaxNetasciiBytes) {
      return { code: ErrorCode.undefined, message: "too large for netascii, ask in octet mode" };
    }
    const text = await file.read(0, file.sizeBytes);
    if (text.length !== file.sizeBytes) throw new Error("file became shorter while it was read");
    return { file: bufferFile(encodeNetascii(text)) };
  } finally {
    await file.close();
  }
}

interface Player {
  feed(input: TransferInput): void;
  readonly finished: Promise<{ outcome: Outcome; reason: string }>;
}

function playTransfer(
  { clock, log }: SessionSurroundings,
  client: UdpEndpoint,
  transfer: Transfer,
  file: TftpFile,
  socket: UdpSocket,
): Player {
  const { promise: finished, resolve } = Promise.withResolvers<{ outcome: Outcome; reason: string }>();
  const timer = createDeadline(clock, () => feed({ kind: "timeout" }));

  function feed(input: TransferInput): void {
    for (const effect of step(transfer, input, clock.monotonicMs())) perform(effect);
  }

  function perform(effect: TransferEffect): void {
    switch (effect.kind) {
      case "send":
        socket.send(effect.datagram, client);
        break;
      case "read":
        read(effect.offset, effect.length);
        break;
      case "arm":
        timer.set(effect.atMs);
        break;
      case "finish":
        timer.clear();
        resolve(effect);
        break;
    }
  }

  function read(offset: number, length: number): void {
    const fail = (error: unknown) => {
      log.warn({ error: String(error) }, "failed to read a tftp file");
      feed({ kind: "read-failed" });
    };
    try {
      const bytes = file.read(offset, length);
      if (bytes instanceof Uint8Array) feed({ kind: "chunk", bytes });
      else bytes.then((content) => feed({ kind: "chunk", bytes: content }), fail);
    } catch (error) {
      fail(error);
    }
  }

  socket.onMessage((datagram, from) => {
    const packet = decodeOrNothing(datagram);
    if (from.port !== client.port || from.address !== client.address) {
      // A stranger is told off and the transfer goes on (RFC 1350 section 4); an ERROR is never answered by an ERROR.
      if (packet !== undefined && packet.kind !== "error") {
        socket.send(encodeError(ErrorCode.unknownTransferId, "unknown transfer id"), from);
      }
    } else if (packet?.kind === "ack" || packet?.kind === "error") feed(packet);
  });
  return { feed, finished };
}

/**
 * A time that moves with every packet: the clock's timer is left alone when the time moves away, and looks again when it
 * rings, so a fast transfer sets a few timers a second and not one for each block.
 */
function createDeadline(clock: Clock, onPassed: () => void) {
  let deadlineMs = Infinity;
  let wakeAtMs = Infinity;
  let cancel: (() => void) | undefined;

  function wake(): void {
    wakeAtMs = Infinity;
    const passed = clock.monotonicMs() >= deadlineMs;
    if (passed) onPassed();
    else set(deadlineMs);
  }

  function set(atMs: number): void {
    deadlineMs = atMs;
    if (wakeAtMs <= atMs) return;
    cancel?.();
    wakeAtMs = atMs;
    // Whole milliseconds, rounded up: a timer that rings a little early would only have to be set again.
    cancel = clock.after(Math.max(0, Math.ceil(atMs - clock.monotonicMs())), wake);
  }

  function clear(): void {
    deadlineMs = Infinity;
    wakeAtMs = -Infinity;
    cancel?.();
  }

  return { set, clear };
}

function decodeOrNothing(datagram: Uint8Array): TftpPacket | undefined {
  try {
    return decodePacket(datagram);
  } catch (error) {
    if (error instanceof MalformedPacket) return undefined;
    throw error;
  }
}

/** A name that came from the network, fit for a log line and a table. */
export function printable(name: string): string {
  return name.slice(0, 128).replace(/[^\x20-\x7e]/g, "?");
}

function round(ms: DurationMs): DurationMs {
  return Math.round(ms * 1000) / 1000;
}
