/** Plays transfers in a thread of their own: nothing else runs there, so it may wait in the kernel. */
import type { UdpEndpoint } from "../domain/capabilities.ts";
import { type FromThread, type ToThread, writeProgress } from "./thread-messages.ts";
import { createTransfer, step, type Transfer, type TransferInput } from "./transfer.ts";
import { answerToStranger, decodeOrNothing } from "./wire/packet.ts";

/** A socket for one client; see platform/socket-loop.ts. */
interface PeerSocket {
  send(datagram: Uint8Array): void;
  sendSegments(data: Uint8Array, segmentBytes: number): void;
  close(): void;
}

export interface ThreadSurroundings {
  readonly sockets: {
    open(
      local: { readonly device: string | undefined; readonly address: string },
      peer: UdpEndpoint,
      handlers: {
        onMessage(datagram: Uint8Array): void;
        onStranger(datagram: Uint8Array): Uint8Array | undefined;
      },
    ): PeerSocket;
    /** @returns whether it was woken, since there is a message */
    turn(timeoutMs: number): boolean;
  };
  monotonicMs(): number;
  tell(message: FromThread): void;
  /** The next message, if one is there. */
  take(): ToThread | undefined;
}

/** A thread that hears nothing looks about so often, ms: it must be able to end. */
const LongestTurnMs = 250;

interface Played {
  readonly id: number;
  readonly transfer: Transfer;
  readonly socket: PeerSocket;
  readonly progress: Float64Array;
  deadlineMs: number;
}

/** Plays what is begun, and returns when nothing is left to play. */
export function createThreadLoop(surroundings: ThreadSurroundings): { run(first: ToThread): void } {
  const { sockets, monotonicMs, tell, take } = surroundings;
  const running = new Map<number, Played>();
  /** No deadline is before this; one that moved away is found out when it rings. */
  let nextDeadlineMs = Infinity;

  function feed(played: Played, input: TransferInput): void {
    const { transfer, socket, id } = played;
    let burst: Uint8Array | undefined;
    let segmentBytes = 0;
    const flush = () => {
      if (burst === undefined) return;
      if (burst.length > segmentBytes) socket.sendSegments(burst, segmentBytes);
      else socket.send(burst);
      burst = undefined;
    };
    for (const effect of step(transfer, input, monotonicMs())) {
      if (effect.kind === "send") {
        const { datagram } = effect;
        const joined = burst && joinSegments(burst, datagram, segmentBytes);
        if (joined) burst = joined;
        else {
          flush();
          burst = datagram;
          segmentBytes = datagram.length;
        }
        continue;
      }
      flush();
      if (effect.kind === "arm") arm(played, effect.atMs);
      else if (effect.kind === "read")
        tell({ kind: "read", id, offset: effect.offset, length: effect.length });
      else {
        running.delete(id);
        socket.close();
        writeProgress(played.progress, transfer);
        tell({ kind: "ended", id, outcome: effect.outcome, reason: effect.reason });
      }
    }
    flush();
    writeProgress(played.progress, transfer);
  }

  function arm(played: Played, atMs: number): void {
    played.deadlineMs = atMs;
    nextDeadlineMs = Math.min(nextDeadlineMs, atMs);
  }

  function ring(nowMs: number): void {
    nextDeadlineMs = Infinity;
    for (const played of running.values()) {
      if (played.deadlineMs <= nowMs) {
        played.deadlineMs = Infinity;
        feed(played, { kind: "timeout" });
      }
      nextDeadlineMs = Math.min(nextDeadlineMs, played.deadlineMs);
    }
  }

  function begin(message: Extract<ToThread, { kind: "begin" }>): void {
    const { id, client, device, serverAddress, sizeBytes, options, timings, requestBytes } = message;
    const transfer = createTransfer(sizeBytes, options, monotonicMs(), timings, requestBytes);
    let socket: PeerSocket;
    try {
      socket = sockets.open({ device, address: serverAddress }, client, {
        onMessage(datagram) {
          const packet = decodeOrNothing(datagram);
          if (packet?.kind === "ack" || packet?.kind === "error") feed(played, packet);
        },
        onStranger: answerToStranger,
      });
    } catch (error) {
      tell({ kind: "failed", id, error: String(error) });
      return;
    }
    const progress = new Float64Array(message.progress);
    const played: Played = { id, transfer, socket, progress, deadlineMs: Infinity };
    running.set(id, played);
    tell({ kind: "began", id });
    feed(played, { kind: "start" });
  }

  function obey(message: ToThread): void {
    if (message.kind === "begin") return begin(message);
    const played = running.get(message.id);
    if (played !== undefined) feed(played, message);
  }

  return {
    run(first) {
      obey(first);
      while (running.size > 0) {
        const nowMs = monotonicMs();
        if (nowMs >= nextDeadlineMs) ring(nowMs);
        const waitMs = Math.min(Math.max(Math.ceil(nextDeadlineMs - nowMs), 0), LongestTurnMs);
        const isWoken = running.size > 0 && sockets.turn(waitMs);
        for (let message = isWoken ? take() : undefined; message !== undefined; message = take())
          obey(message);
      }
    },
  };
}

/** Two neighbours in one piece of memory become one burst, as long as all but the last are of one size. */
function joinSegments(burst: Uint8Array, next: Uint8Array, segmentBytes: number): Uint8Array | undefined {
  const isNeighbour = burst.buffer === next.buffer && burst.byteOffset + burst.length === next.byteOffset;
  const isWhole = burst.length % segmentBytes === 0 && next.length <= segmentBytes;
  if (!isNeighbour || !isWhole) return undefined;
  return new Uint8Array(burst.buffer, burst.byteOffset, burst.length + next.length);
}
