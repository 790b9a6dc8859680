/** Who may have a transfer. */
import type { DurationMs, UdpEndpoint } from "../domain/capabilities.ts";
import type { TftpContact } from "../domain/contact.ts";
import type { Fallbacks } from "./fallback.ts";
import { startSession, type Session, type SessionRequest, type SessionSurroundings } from "./session.ts";
import { endpointKey } from "./shared-port.ts";
import type { Sources } from "./sources.ts";
import type { OptionCaps } from "./wire/options.ts";
import type { RequestPacket } from "./wire/packet.ts";

export interface TftpLimits extends OptionCaps {
  /** Transfers at the same time for one client address. */
  readonly transfersPerClient: number;
  /** Transfers at the same time in all; each takes a socket and up to 300 KiB. */
  readonly transfers: number;
  /** Requests that wait for one of them to end. */
  readonly waiting: number;
  /** After this a client has given up waiting or asks again. */
  readonly waitingMs: DurationMs;
  /** Transfers that a source may leave without any answer before it is ignored for the rest of a minute. */
  readonly unansweredPerMinute: number;
}

export const DefaultLimits: TftpLimits = {
  transfersPerClient: 8,
  transfers: 256,
  waiting: 256,
  waitingMs: 1000,
  unansweredPerMinute: 16,
  maxBlockSizeBytes: 1468,
  maxWindowBlocks: 16,
};

export interface AdmissionDeps extends SessionSurroundings {
  readonly limits: TftpLimits;
  readonly sources: Sources;
  readonly fallbacks: Fallbacks;
  /** What a client's fallback is remembered by: an address outlives no lease. */
  readonly clientAt: (address: string) => string;
  readonly tell: (contact: TftpContact) => void;
}

export interface Admission {
  /** Begins a transfer for the request, or lets it wait, or says nothing. */
  admit(request: SessionRequest): void;
  /** Ends all transfers; fulfilled when their sockets are closed. Afterwards it admits again. */
  stop(): Promise<void>;
  transferCount(): number;
}

/**
 * Over the limits a request is never answered by an ERROR: for firmware that is the end of its boot, while after silence
 * every ROM asks again, two to four seconds later. So a client with too many transfers hears nothing (a flood with a forged
 * source gets no echo either), and when all are taken the request waits a little for one to end, which in a boot storm
 * takes milliseconds.
 */
export function createAdmission(deps: AdmissionDeps): Admission {
  const { clock, log, limits, timings, sources, fallbacks, clientAt } = deps;
  const register = createRegister();
  const waiting = new Map<string, SessionRequest>();
  const learned = new WeakSet<Session>();
  /** When those began that have not been told to give way. */
  const begunAtMs = new WeakMap<Session, number>();
  let isStopping = false;
  const hasRoom = () => register.live.size < limits.transfers;
  const hasRoomFor = ({ client }: SessionRequest) => register.of(client).size < limits.transfersPerClient;

  function begin(request: SessionRequest): void {
    const { address } = request.client;
    const session = startSession(deps, request, fallbacks.capsOf(clientAt(address)), (contact) => {
      register.releaseEndpoint(session);
      learn(session, contact.outcome === "complete");
      if (session.transfer !== undefined) sources.noteEnd(address, session.transfer.progress.hasHeardClient);
      deps.tell(contact);
    });
    register.add(session);
    begunAtMs.set(session, clock.monotonicMs());
    void session.closed.then(() => {
      register.remove(session);
      serveWaiting();
    });
  }

  function learn(session: Session, isComplete: boolean): void {
    const { transfer, request } = session;
    if (transfer === undefined || learned.has(session)) return;
    learned.add(session);
    const { options, progress } = transfer;
    const { blockSizeBytes, windowBlocks } = options;
    const { hasHeardClient, ackedBlock, timeoutsInRow } = progress;
    fallbacks.learn(clientAt(request.client.address), {
      blockSizeBytes,
      windowBlocks,
      hasHeardClient,
      ackedBlock,
      timeoutsInRow,
      isComplete,
    });
  }

  /** Firmware that hears nothing any more asks anew long before we give up: what it asked before tells of its path. */
  function learnFromStalled({ client, packet }: SessionRequest): void {
    for (const session of register.of(client)) {
      const isSameFile = session.request.packet.file === packet.file;
      if (isSameFile && session.isAbandoned(clock.monotonicMs())) learn(session, false);
    }
  }

  function serveWaiting(): void {
    const oldestMs = clock.monotonicMs() - limits.waitingMs;
    for (const [endpoint, request] of waiting) {
      if (!hasRoom() || isStopping) return;
      waiting.delete(endpoint);
      if (request.arrivedAtMs >= oldestMs && hasRoomFor(request)) begin(request);
    }
  }

  /**
   * A source that is forged never answers, and some hundred of them a second would hold every place: the oldest that was not heard
   * gives way. A client that is there answers in a round trip, long before that.
   */
  function endOldestUnheard(): void {
    const lateMs = clock.monotonicMs() - timings.firstRetransmitMs;
    for (const session of register.live) {
      const sinceMs = begunAtMs.get(session);
      if (sinceMs === undefined || session.transfer?.progress.hasHeardClient !== false) continue;
      // They stand in the order in which they began.
      if (sinceMs > lateMs) return;
      begunAtMs.delete(session);
      session.stop("never heard, gave way to another", false);
      return;
    }
  }

  function admit(request: SessionRequest): void {
    if (isStopping) return;
    const running = register.find(request.client);
    if (running !== undefined) {
      if (isRepetition(request, running)) return;
      // Old ROMs always use the same port: they asked something else by now, or were switched off and on.
      register.releaseEndpoint(running);
      running.stop("client began anew", false);
    }
    learnFromStalled(request);
    const endpoint = endpointKey(request.client);
    if (!sources.mayBegin(request.client.address)) {
      log.debug({ client: endpoint }, "ignored a tftp request: the source never answers");
    } else if (!hasRoomFor(request)) {
      log.debug({ client: endpoint }, "ignored a tftp request: the client has too many transfers");
    } else if (hasRoom()) begin(request);
    else {
      endOldestUnheard();
      if (waiting.has(endpoint) || waiting.size < limits.waiting) waiting.set(endpoint, request);
    }
  }

  async function stop(): Promise<void> {
    isStopping = true;
    waiting.clear();
    for (const session of register.live) session.stop("server is stopping, try again", true);
    await Promise.all(Array.from(register.live, (session) => session.closed));
    isStopping = false;
  }

  return { admit, stop, transferCount: () => register.live.size };
}

/** The same request again: our first packet is lost or late, and the transfer's own timer sends it again. */
function isRepetition(request: SessionRequest, running: Session): boolean {
  const isSame = requestKey(running.request.packet) === requestKey(request.packet);
  return isSame && !running.isAbandoned(request.arrivedAtMs);
}

/** Sessions until they are closed, and which of them a source endpoint is talking to. */
function createRegister() {
  const live = new Set<Session>();
  const byEndpoint = new Map<string, Session>();
  const byAddress = new Map<string, Set<Session>>();
  const none: ReadonlySet<Session> = new Set();
  const of = ({ address }: UdpEndpoint) => byAddress.get(address) ?? none;

  function releaseEndpoint(session: Session): void {
    const endpoint = endpointKey(session.request.client);
    if (byEndpoint.get(endpoint) === session) byEndpoint.delete(endpoint);
  }

  return {
    live: live as ReadonlySet<Session>,
    find: (client: UdpEndpoint) => byEndpoint.get(endpointKey(client)),
    /** Sessions of a client's address, whatever its port. */
    of,
    /** The endpoint may begin another session; this one is still live. */
    releaseEndpoint,
    add(session: Session): void {
      const { client } = session.request;
      live.add(session);
      byEndpoint.set(endpointKey(client), session);
      byAddress.set(client.address, new Set(of(client)).add(session));
    },
    remove(session: Session): void {
      const { client } = session.request;
      live.delete(session);
      releaseEndpoint(session);
      const left = new Set(of(client));
      left.delete(session);
      if (left.size > 0) byAddress.set(client.address, left);
      else byAddress.delete(client.address);
    },
  };
}

/** Equal for equal requests: NUL stands in none of the texts. */
function requestKey({ file, mode, options }: RequestPacket): string {
  return [file, mode, ...options.flat()].join("\0");
}
