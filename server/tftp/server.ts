/** The TFTP server: one listening socket for each served interface; transfers have a port of their own or share that one. */
import type { Clock, Log, Udp, UdpEndpoint, UdpSocket } from "../domain/capabilities.ts";
import type { TftpContact } from "../domain/contact.ts";
import type { Cidr } from "../net/cidr.ts";
import type { Ipv4 } from "../net/ipv4.ts";
import type { FileRoute } from "./file-routes.ts";
import { createAdmission, DefaultLimits, type Admission, type TftpLimits } from "./admission.ts";
import { createFallbacks, type FallbackNotice } from "./fallback.ts";
import { createPlayer, ownPorts, type TransferEngine } from "./player.ts";
import { type Carriage, printable } from "./session.ts";
import { type SharedPort, sharePort } from "./shared-port.ts";
import { createSources } from "./sources.ts";
import { DefaultTimings, type TransferTimings } from "./timings.ts";
import {
  decodePacket,
  encodeError,
  ErrorCode,
  looksLikeRequest,
  MalformedPacket,
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

export interface TftpServerOptions {
  readonly udp: Udp;
  readonly clock: Clock;
  readonly log: Log;
  readonly bindings: readonly TftpBinding[];
  /** Asked in this order. */
  readonly routes: readonly FileRoute[];
  /** Told once for each transfer, when it ends (`at` is that moment). */
  readonly onContact?: (contact: TftpContact) => void;
  /** Told when a client gets smaller blocks from now on. */
  readonly onFallback?: (notice: FallbackNotice) => void;
  /** What tells clients apart for longer than a lease; their address unless told otherwise. */
  readonly clientAt?: (address: string) => string;
  /** Requests from elsewhere are not answered, not even by an ERROR; undefined: all are. */
  readonly clients?: readonly Cidr[] | undefined;
  /** Plays transfers that have a port of their own; this thread's sockets do unless told otherwise. */
  readonly engine?: TransferEngine | undefined;
  /** Transfers are answered from the listening port. */
  readonly singlePort?: boolean;
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
  const limits = { ...DefaultLimits, ...options.limits };
  const timings = { ...DefaultTimings, ...options.timings };
  const { clock, log, udp } = options;
  const safely =
    <T>(what: string, tell: ((value: T) => void) | undefined) =>
    (value: T) => {
      try {
        tell?.(value);
      } catch (error) {
        log.error({ error: String(error) }, `failed to record a tftp ${what}`);
      }
    };
  const sources = createSources(clock, options.clients, limits.unansweredPerMinute);
  const admission = createAdmission({
    ...options,
    limits,
    timings,
    sources,
    fallbacks: createFallbacks(options, limits, safely("fallback", options.onFallback)),
    clientAt: options.clientAt ?? ((address) => address),
    tell: safely("contact", options.onContact),
  });
  const openOwnPort = ownPorts(udp);
  const onOwnPorts: Carriage = {
    openSocket: openOwnPort,
    engine: options.engine ?? createPlayer(clock, log, openOwnPort),
  };
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
          const shared = options.singlePort === true ? sharePort(listener) : undefined;
          const carriage = shared
            ? { openSocket: shared.open, engine: createPlayer(clock, log, shared.open) }
            : onOwnPorts;
          const port: ListeningPort = { binding, listener, shared, carriage };
          listener.onMessage((datagram, from) => {
            if (sources.isServed(from.address)) receive(options, admission, { ...port, datagram, from });
          });
        }
      } catch (error) {
        await closeListeners();
        throw error;
      }
    },
    async stop() {
      // In single-port mode the clients hear of it by the listening sockets.
      await admission.stop();
      await closeListeners();
    },
    get addresses() {
      return listeners.map((listener) => listener.local);
    },
    get transferCount() {
      return admission.transferCount();
    },
  };
}

interface ListeningPort {
  readonly binding: TftpBinding;
  readonly listener: UdpSocket;
  readonly shared: SharedPort | undefined;
  readonly carriage: Carriage;
}

interface Arrival extends ListeningPort {
  readonly datagram: Uint8Array;
  readonly from: UdpEndpoint;
}

/**
 * Answers what is no read request at once from the listening socket, so that it costs nothing to hold, and never answers
 * what is no request at all: two servers could keep each other busy for ever.
 */
function receive({ clock, log }: TftpServerOptions, admission: Admission, arrival: Arrival): void {
  const { binding, listener, shared, carriage, datagram, from } = arrival;
  if (shared !== undefined && !looksLikeRequest(datagram)) {
    shared.deliver(datagram, from);
    return;
  }
  const refuse = (code: ErrorCode, message: string, file: string) => {
    listener.send(encodeError(code, message), from);
    log.debug(
      { client: `${from.address}:${from.port}`, file: printable(file), message },
      "refused a tftp request",
    );
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
    admission.admit({
      packet,
      requestBytes: datagram.length,
      carriage,
      client: from,
      device: binding.device,
      serverAddress: binding.address,
      arrivedAtMs: clock.monotonicMs(),
    });
  }
}
