/** The TFTP server: one listening socket for each served interface, and a session with a socket of its own for each transfer. */
import type { Clock, DurationMs, Log, Udp, UdpEndpoint, UdpSocket } from "../domain/capabilities.ts";
import type { TftpContact } from "../domain/contact.ts";
import type { Ipv4 } from "../net/ipv4.ts";
import type { FileRoute } from "./file-routes.ts";
import { printable, startSession, type Session, type SessionRequest } from "./session.ts";
import { DefaultTimings, type TransferTimings } from "./transfer.ts";
import type { OptionCaps } from "./wire/options.ts";
import {
  decodePacket,
  encodeError,
  ErrorCode,
  looksLikeRequest,
  MalformedPacket,
  type RequestPacket,
  type TftpPacket,
} from "./wire/packet.ts";

export interface TftpBinding {
  readonly device?: string;
  /**
   * The address that clients ask, and that answers. Not 0.0.0.0: a socket on one address never hears a request that was
   * broadcast, which RFC 1123 section 4.2.3.5 wants ignored.
   */
  readonly address: Ipv4;
  /** 0 takes any free port. */
  readonly port: number;
}

export interface TftpLimits extends OptionCaps {
  /** Transfers at the same time for one client address. */
  readonly transfersPerClient: number;
  /** Transfers at the same time in all; each takes a socket and up to 300 KiB. */
  readonly transfers: number;
  /** Requests that wait for one of them to end. */
  readonly waiting: number;
  /** After this a client has given up waiting or asks again. */
  readonly waitingMs: DurationMs;
}

export const DefaultLimits: TftpLimits = {
  transfersPerClient: 8,
  transfers: 256,
  waiting: 256,
  waitingMs: 1000,
  maxBlockSizeBytes: 1468,
  maxWindowBlocks: 16,
};

export interface TftpServerOptions {
  readonly udp: Udp;
  readonly clock: Clock;
  readonly log: Log;
  readonly bindings: readonly TftpBinding[];
  /** Asked in this order. */
  readonly routes: readonly FileRoute[];
  /** Told once for each transfer, when it ends (`at` is that moment). */
  readonly onContact?: (contact: TftpContact) => void;
  readonly limits?: Partial<TftpLimits>;
  readonly timings?: Partial<TransferTimings>;
}

export interface TftpServer {
  /** @throws what Udp.bind throws; nothing stays open then */
  start(): Promise<void>;
  /** Ends the transfers with an ERROR to their clients and closes every socket. */
  stop(): Promise<void>;
  /** Where it listens, in the order of the bindings; empty before start and after stop. */
  readonly addresses: readonly UdpEndpoint[];
  /** Transfers that are running. */
  readonly transferCount: number;
}

export function createTftpServer(options: TftpServerOptions): TftpServer {
  const sessions = createSessions(options);
  let listeners: UdpSocket[] = [];

  async function closeListeners(): Promise<void> {
    const closing = listeners;
    listeners = [];
    await Promise.all(closing.map((listener) => listener.close()));
  }

  return {
    async start() {
      try {
        for (const binding of options.bindings) {
          const listener = await options.udp.bind({ ...binding, receiveBufferBytes: 1024 * 1024 });
          listeners.push(listener);
          listener.onMessage((datagram, from) => {
            receive(options, sessions, { binding, listener, datagram, from });
          });
        }
      } catch (error) {
        await closeListeners();
        throw error;
      }
    },
    async stop() {
      await closeListeners();
      await sessions.stop();
    },
    get addresses() {
      return listeners.map((listener) => listener.local);
    },
    get transferCount() {
      return sessions.count();
    },
  };
}

interface Arrival {
  readonly binding: TftpBinding;
  readonly listener: UdpSocket;
  readonly datagram: Uint8Array;
  readonly from: UdpEndpoint;
}

/**
 * Answers what is no read request at once from the listening socket, so that it costs nothing to hold, and never answers
 * what is no request at all: two servers could keep each other busy for ever.
 */
function receive({ clock, log }: TftpServerOptions, sessions: Sessions, arrival: Arrival): void {
  const { binding, listener, datagram, from } = arrival;
  const refuse = (code: ErrorCode, message: string, file: string) => {
    listener.send(encodeError(code, message), from);
    log.debug({ client: `${from.address}:${from.port}`, file: printable(file), message }, "refused a tftp request");
  };
  let packet: TftpPacket;
  try {
    packet = decodePacket(datagram);
  } catch (error) {
    if (!(error instanceof MalformedPacket)) throw error;
    if (looksLikeRequest(datagram)) refuse(ErrorCode.illegalOperation, "malformed request", "");
    return;
  }
  if (packet.kind === "wrq") refuse(ErrorCode.accessViolation, "this server is read-only", packet.file);
  else if (packet.kind === "rrq") {
    if (packet.mode !== "octet" && packet.mode !== "netascii") {
      refuse(ErrorCode.illegalOperation, "mode is neither octet nor netascii", packet.file);
      return;
    }
    sessions.admit({
      packet,
      client: from,
      device: binding.device,
      serverAddress: binding.address,
      arrivedAtMs: clock.monotonicMs(),
    });
  }
}

interface Sessions {
  admit(request: SessionRequest): void;
  stop(): Promise<void>;
  count(): number;
}

/**
 * Who may have a transfer. Over the limits a request is never answered by an ERROR: for firmware that is the end of its
 * boot, while after silence every ROM asks again, two to four seconds later. So a client with too many transfers hears
 * nothing (a flood with a forged source gets no echo either), and when all are taken the request waits a little for one
 * to end, which in a boot storm takes milliseconds.
 */
function createSessions(options: TftpServerOptions): Sessions {
  const { clock, log } = options;
  const limits: TftpLimits = { ...DefaultLimits, ...options.limits };
  const surroundings = { ...options, caps: limits, timings: { ...DefaultTimings, ...options.timings } };
  const live = new Set<Session>();
  const byEndpoint = new Map<string, Session>();
  const perClient = new Map<string, number>();
  const waiting = new Map<string, SessionRequest>();
  let isStopping = false;

  function tell(contact: TftpContact): void {
    try {
      options.onContact?.(contact);
    } catch (error) {
      log.error({ error: String(error) }, "failed to record a tftp contact");
    }
  }

  function begin(request: SessionRequest): void {
    const endpoint = endpointKey(request.client);
    const { address } = request.client;
    const session = startSession(surroundings, request, (contact) => {
      if (byEndpoint.get(endpoint) === session) byEndpoint.delete(endpoint);
      tell(contact);
    });
    live.add(session);
    byEndpoint.set(endpoint, session);
    perClient.set(address, (perClient.get(address) ?? 0) + 1);
    void session.closed.then(() => {
      live.delete(session);
      if (byEndpoint.get(endpoint) === session) byEndpoint.delete(endpoint);
      const left = (perClient.get(address) ?? 1) - 1;
      if (left === 0) perClient.delete(address);
      else perClient.set(address, left);
      serveWaiting();
    });
  }

  function serveWaiting(): void {
    const oldestMs = clock.monotonicMs() - limits.waitingMs;
    for (const [endpoint, request] of waiting) {
      if (live.size >= limits.transfers || isStopping) return;
      waiting.delete(endpoint);
      if (request.arrivedAtMs >= oldestMs && hasClientRoom(request)) begin(request);
    }
  }

  const hasClientRoom = (request: SessionRequest) =>
    (perClient.get(request.client.address) ?? 0) < limits.transfersPerClient;

  function admit(request: SessionRequest): void {
    if (isStopping) return;
    const endpoint = endpointKey(request.client);
    const running = byEndpoint.get(endpoint);
    if (running !== undefined) {
      // The same request again: our first packet is lost or late, and the transfer's own timer sends it again.
      const isRepeated = requestKey(running.request.packet) === requestKey(request.packet);
      if (isRepeated && !running.isAbandoned(request.arrivedAtMs)) return;
      // Old ROMs always use the same port: they asked something else by now, or were switched off and on.
      byEndpoint.delete(endpoint);
      running.stop("client began anew", false);
    }
    if (!hasClientRoom(request)) {
      log.debug({ client: endpoint }, "ignored a tftp request: the client has too many transfers");
    } else if (live.size < limits.transfers) begin(request);
    else if (waiting.has(endpoint) || waiting.size < limits.waiting) waiting.set(endpoint, request);
  }

  return {
    admit,
    count: () => live.size,
    async stop() {
      isStopping = true;
      waiting.clear();
      for (const session of live) session.stop("server is stopping, try again", true);
      await Promise.all(Array.from(live, (session) => session.closed));
      isStopping = false;
    },
  };
}

function endpointKey({ address, port }: UdpEndpoint): string {
  return `${address}:${port}`;
}

/** Equal for equal requests: NUL stands in none of the texts. */
function requestKey({ file, mode, options }: RequestPacket): string {
  return [file, mode, ...options.flat()].join("\0");
}
