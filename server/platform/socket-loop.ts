/**
 * UDP sockets for a thread that does nothing else: it waits in the kernel (epoll), and a datagram costs two system calls and
 * no objects of Node. A burst to one peer goes out by one call (UDP_SEGMENT, udp(7)).
 */
import type { UdpEndpoint } from "../domain/capabilities.ts";
import { type CLibrary, int32, loadCLibrary, sockaddrInOctets, socketAddress } from "./c-library.ts";
import { deviceSockets } from "./device-socket.ts";

/** A socket that speaks to one peer, and hears others too. */
export interface PeerSocket {
  /** Sends one datagram to the peer; a failure is a loss. */
  send(datagram: Uint8Array): void;
  /**
   * Sends a burst: `data` is cut into datagrams of `segmentBytes`, the last may be shorter. The same size in every call.
   */
  sendSegments(data: Uint8Array, segmentBytes: number): void;
  close(): void;
}

export interface PeerHandlers {
  /** A datagram of the peer; it is overwritten when the handler returns. */
  onMessage(datagram: Uint8Array): void;
  /** Of anybody else; what is returned is sent back to it. */
  onStranger(datagram: Uint8Array): Uint8Array | undefined;
}

export interface SocketLoop {
  /** @throws SystemCallError */
  open(
    local: { readonly device: string | undefined; readonly address: string },
    peer: UdpEndpoint,
    handlers: PeerHandlers,
  ): PeerSocket;
  /**
   * Waits until something arrives, the time is over or another thread wakes it, and hands out what has arrived.
   * @returns whether it was woken
   */
  turn(timeoutMs: number): boolean;
  /** For the other threads: writing 8 octets here ends a turn. */
  readonly wakeDescriptor: number;
}

const MsgDontWait = 0x40;
const SolUdp = 17;
const UdpSegment = 103;
const EpollCtlAdd = 1;
const EpollIn = 1;
const CloseOnExec = 0o2000000;
const EfdNonBlock = 0o4000;
/** Datagrams of one call: what UDP_MAX_SEGMENTS and the length field of UDP allow on every kernel. */
const MaxSegments = 64;
const MaxBurstBytes = 65_000;
/** Taken from one socket before the next one's turn. */
const MostPerTurn = 16;
/** struct epoll_event is packed on x86-64 only. */
const eventWords = process.arch === "x64" ? 3 : 4;
const MaxEvents = 256;

/** @returns undefined where koffi is not installed */
export async function openSocketLoop(): Promise<SocketLoop | undefined> {
  const c = await loadCLibrary();
  return c && socketLoop(c);
}

function socketLoop(c: CLibrary): SocketLoop {
  const epoll = c.check("epoll_create1", c.epoll_create1(CloseOnExec));
  const wakeDescriptor = c.check("eventfd", c.eventfd(0, CloseOnExec | EfdNonBlock));
  const events = new Int32Array(MaxEvents * eventWords);
  const eventOctets = new Uint8Array(events.buffer);
  const incoming = new Uint8Array(65_536);
  const from = new Uint8Array(sockaddrInOctets);
  const fromLength = int32(sockaddrInOctets);
  const readers = new Map<number, () => unknown>();

  function watch(descriptor: number, reader: () => unknown): void {
    const event = new Int32Array(eventWords);
    event[0] = EpollIn;
    event[eventWords - 2] = descriptor;
    c.check("epoll_ctl", c.epoll_ctl(epoll, EpollCtlAdd, descriptor, new Uint8Array(event.buffer)));
    readers.set(descriptor, reader);
  }
  let isWoken = false;
  watch(wakeDescriptor, () => (isWoken = c.read(wakeDescriptor, new Uint8Array(8), 8) > 0));

  return {
    wakeDescriptor,
    open(local, peer, handlers) {
      const descriptor = openSocket(c, local);
      const address = socketAddress(peer.address, peer.port);
      watch(descriptor, () => {
        for (let taken = 0; taken < MostPerTurn && readers.has(descriptor); taken++) {
          const length = c.recvfrom(descriptor, incoming, incoming.length, MsgDontWait, from, fromLength);
          if (length < 0) return;
          const datagram = incoming.subarray(0, length);
          if (isSameAddress(from, address)) {
            handlers.onMessage(datagram);
            // Another turn costs less than asking in vain.
            return;
          }
          const reply = handlers.onStranger(datagram);
          if (reply) c.sendto(descriptor, reply, reply.length, MsgDontWait, from, sockaddrInOctets);
        }
      });
      return peerSocket(c, descriptor, address, () => readers.delete(descriptor));
    },
    turn(timeoutMs) {
      isWoken = false;
      const count = c.epoll_wait(epoll, eventOctets, MaxEvents, timeoutMs);
      for (let n = 0; n < count; n++) readers.get(events[n * eventWords + eventWords - 2] ?? -1)?.();
      return isWoken;
    },
  };
}

function openSocket(c: CLibrary, local: { device: string | undefined; address: string }): number {
  return deviceSockets(c).open({ ...local, port: 0, broadcast: false, receiveBufferBytes: undefined });
}

function peerSocket(c: CLibrary, descriptor: number, address: Uint8Array, forget: () => void): PeerSocket {
  let segmentBytes = 0;
  /** Until the kernel says that this path can't: a segment that exceeds the MTU, a device without checksums. */
  let canSegment = true;

  function send(datagram: Uint8Array): number {
    return c.sendto(descriptor, datagram, datagram.length, MsgDontWait, address, sockaddrInOctets);
  }

  function sendEach(data: Uint8Array, bytes: number): void {
    for (let at = 0; at < data.length; at += bytes) send(data.subarray(at, at + bytes));
  }

  function setSegment(bytes: number): void {
    segmentBytes = bytes;
    canSegment = c.setsockopt(descriptor, SolUdp, UdpSegment, int32(bytes), 4) === 0;
  }

  return {
    send,
    sendSegments(data, bytes) {
      if (canSegment && segmentBytes !== bytes) setSegment(bytes);
      const burst = Math.max(1, Math.min(MaxSegments, Math.floor(MaxBurstBytes / bytes))) * bytes;
      for (let at = 0; at < data.length; at += burst) {
        const part = data.subarray(at, at + burst);
        if (canSegment && send(part) >= 0) continue;
        if (canSegment && c.errorCode() === "EAGAIN") continue;
        if (canSegment) {
          setSegment(0);
          canSegment = false;
        }
        sendEach(part, bytes);
      }
    },
    close() {
      forget();
      c.close(descriptor);
    },
  };
}

/** Port and address; the octets before them are the family, those behind are unused. */
function isSameAddress(left: Uint8Array, right: Uint8Array): boolean {
  for (let at = 2; at < 8; at++) if (left[at] !== right[at]) return false;
  return true;
}
