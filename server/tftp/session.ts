/** One request from its admission to its end: opens the file, has an engine play the transfer, and tells how it ended. */
import type { Clock, DurationMs, Log, UdpEndpoint } from "../domain/capabilities.ts";
import type { TftpContact } from "../domain/contact.ts";
import type { Ipv4 } from "../net/ipv4.ts";
import { bufferFile, NotMine, openFirst, type FileRoute, type TftpFile } from "./file-routes.ts";
import type { OpenSocket, RunningTransfer, TransferEnd, TransferEngine, TransferProgress } from "./player.ts";
import type { TransferTimings } from "./timings.ts";
import { encodeNetascii } from "./wire/netascii.ts";
import { negotiateOptions, type NegotiatedOptions, type OptionCaps } from "./wire/options.ts";
import { encodeError, ErrorCode, type RequestPacket } from "./wire/packet.ts";

/** Netascii is converted as a whole, since its size has to be known first; it is for texts, and texts are short. */
const MaxNetasciiBytes = 4 * 1024 * 1024;

/** A client that acknowledged, then was silent for this long, and then asks the same again has started anew. */
const RestartedAfterMs: DurationMs = 1000;

/** How a listening port carries what it admits. */
export interface Carriage {
  readonly engine: TransferEngine;
  /** For an ERROR that is all there is to say. */
  readonly openSocket: OpenSocket;
}

export interface SessionSurroundings {
  readonly clock: Clock;
  readonly log: Log;
  readonly routes: readonly FileRoute[];
  readonly timings: TransferTimings;
}

export interface SessionRequest {
  readonly packet: RequestPacket;
  /** Octets of the datagram. */
  readonly requestBytes: number;
  readonly client: UdpEndpoint;
  /** Where the request came in: the transfer leaves by the same device, from the same address. */
  readonly device: string | undefined;
  readonly serverAddress: Ipv4;
  readonly arrivedAtMs: number;
  readonly carriage: Carriage;
}

export interface Session {
  readonly request: SessionRequest;
  /** What was granted, and how far it is; undefined before the file is open. */
  readonly transfer: { readonly options: NegotiatedOptions; readonly progress: TransferProgress } | undefined;
  /** Fulfilled, never rejected, when socket and file are closed. */
  readonly closed: Promise<void>;
  /** The client was heard, then fell silent: the same request again is a new beginning. */
  isAbandoned(nowMs: number): boolean;
  stop(reason: string, tellClient: boolean): void;
}

/** @param onEnd called once, as soon as the outcome is known, which is before socket and file are closed */
export function startSession(
  surroundings: SessionSurroundings,
  request: SessionRequest,
  caps: OptionCaps,
  onEnd: (contact: TftpContact) => void,
): Session {
  const { clock, log, timings } = surroundings;
  let transfer: (RunningTransfer & { options: NegotiatedOptions; sizeBytes: number }) | undefined;
  let stopped: TransferEnd | undefined;
  let serverMs: DurationMs = 0;

  function tellEnd(end: TransferEnd): void {
    onEnd(reportEnd(surroundings, request, transfer, end, serverMs));
  }

  async function play(file: TftpFile): Promise<void> {
    const { client, device, serverAddress, requestBytes, packet } = request;
    const { sizeBytes } = file;
    const options = negotiateOptions(packet.options, sizeBytes, caps);
    const job = { client, device, serverAddress, options, timings, file, requestBytes };
    const running = await request.carriage.engine.play(job).catch((error: unknown) => {
      log.error({ error: String(error) }, "failed to open a socket for a tftp transfer");
      return undefined;
    });
    serverMs = clock.monotonicMs() - request.arrivedAtMs;
    if (running === undefined) return tellEnd(stopped ?? { outcome: "refused", reason: "no socket" });
    transfer = { ...running, options, sizeBytes };
    if (stopped !== undefined) running.stop(stopped.reason, true);
    tellEnd(await running.ended);
    await running.closed;
  }

  async function run(): Promise<void> {
    const opened = await openFile(surroundings, request);
    if (opened.file === undefined) {
      if (stopped === undefined) await refuse(request, opened);
      serverMs = clock.monotonicMs() - request.arrivedAtMs;
      const outcome = opened.code === ErrorCode.fileNotFound ? "not-found" : "refused";
      return tellEnd(stopped ?? { outcome, reason: opened.message });
    }
    try {
      if (stopped === undefined) await play(opened.file);
      else tellEnd(stopped);
    } finally {
      await opened.file.close();
    }
  }

  return {
    request,
    get transfer() {
      return transfer;
    },
    closed: run().catch((error: unknown) => log.error({ error: String(error) }, "tftp transfer failed")),
    isAbandoned(nowMs) {
      const { hasHeardClient, lastHeardAtMs } = transfer?.progress ?? {
        hasHeardClient: false,
        lastHeardAtMs: 0,
      };
      return hasHeardClient && nowMs - lastHeardAtMs > RestartedAfterMs;
    },
    stop(reason, tellClient) {
      stopped = { outcome: "cancelled", reason };
      transfer?.stop(reason, tellClient);
    },
  };
}

function reportEnd(
  { clock, log }: SessionSurroundings,
  { packet, client, arrivedAtMs }: SessionRequest,
  transfer:
    | {
        readonly sizeBytes: number;
        readonly progress: TransferProgress;
        readonly options: NegotiatedOptions;
      }
    | undefined,
  end: TransferEnd,
  serverMs: DurationMs,
): TftpContact {
  const contact: TftpContact = {
    at: clock.now(),
    clientAddress: client.address as Ipv4,
    file: printable(packet.file),
    outcome: end.outcome,
    sizeBytes: transfer?.sizeBytes ?? 0,
    sentBytes: transfer?.progress.sentBytes ?? 0,
    isHeard: transfer?.progress.hasHeardClient,
    blockBytes: transfer?.options.blockSizeBytes,
    retransmissions: transfer?.progress.retransmissions ?? 0,
    durationMs: round(clock.monotonicMs() - arrivedAtMs),
    serverMs: round(serverMs),
  };
  // Firmware probes for names, and asks for a size only to cancel: both are daily bread, not news.
  const level = end.outcome === "not-found" || end.outcome === "cancelled" ? "debug" : "info";
  log[level]({ ...contact, clientPort: client.port, reason: end.reason }, "tftp transfer ended");
  return contact;
}

type Opened =
  | { readonly file: TftpFile }
  | { readonly file?: undefined; readonly code: ErrorCode; readonly message: string };

async function refuse(
  { carriage, client, device, serverAddress }: SessionRequest,
  { code, message }: { code: ErrorCode; message: string },
): Promise<void> {
  const socket = await carriage.openSocket({ client, device, serverAddress });
  socket.send(encodeError(code, message), client);
  await socket.close();
}

/** Never throws: what failed is in the answer and in the log. */
async function openFile({ routes, log }: SessionSurroundings, request: SessionRequest): Promise<Opened> {
  const { packet, client, serverAddress } = request;
  try {
    const clientAddress = client.address as Ipv4;
    const found = await openFirst(routes, { file: packet.file, clientAddress, serverAddress });
    if (found === NotMine) return { code: ErrorCode.fileNotFound, message: "file not found" };
    return packet.mode === "netascii" ? await convert(found.file) : found;
  } catch (error) {
    // The reason may hold a path of this machine, so it stays in our log.
    log.warn({ file: printable(packet.file), error: String(error) }, "failed to open a tftp file");
    return { code: ErrorCode.undefined, message: "file can't be read" };
  }
}

async function convert(file: TftpFile): Promise<Opened> {
  try {
    if (file.sizeBytes > MaxNetasciiBytes)
      return { code: ErrorCode.undefined, message: "too large for netascii, ask in octet mode" };
    const text = await file.read(0, file.sizeBytes);
    if (text.length !== file.sizeBytes) throw new Error("file became shorter while it was read");
    return { file: bufferFile(encodeNetascii(text)) };
  } finally {
    await file.close();
  }
}

/** A name that came from the network, fit for a log line and a table. */
export function printable(name: string): string {
  return name.slice(0, 128).replace(/[^\x20-\x7e]/g, "?");
}

function round(ms: DurationMs): DurationMs {
  return Math.round(ms * 1000) / 1000;
}
