import type { ServerResponse } from "node:http";
import type { Socket } from "node:net";
import { ServerBusy } from "../domain/error-catalogue.ts";
import { giveBack } from "../domain/give-back.ts";

/** As much of a file as those who send it need. */
export interface ReadableFile {
  /** @returns 0 octets behind its end */
  read(
    buffer: Buffer,
    offset: number,
    length: number,
    position: number,
  ): Promise<{ readonly bytesRead: number; readonly buffer: Buffer }>;
  close(): Promise<void>;
}

/** What clients that read slowly or not at all may hold: each large stream has a socket, a file and two chunks of memory. */
export interface StreamLimits {
  /** The socket took nothing for so long (looked at once in this time, so up to twice as long), ms. Whoever lives resumes. */
  readonly stallMs: number;
  /** Large streams to one address at once. A machine has one or two; some of them may be behind one address. */
  readonly perAddress: number;
  /** Large streams in all; 512 of them hold at most 288 MiB. */
  readonly total: number;
}
/** What is not longer than this is not counted: the kernel takes most of it at once. */
export const smallBytes = 64 * 1024;
/** Measured best of 64 KiB to 4 MiB: one read ahead of the socket keeps pace with nginx's sendfile. */
const chunkBytes = 1024 * 1024;
/** Where many share the line, larger chunks bring nothing but the use of memory. */
const crowdedChunkBytes = 256 * 1024;
/** So many large streams get large chunks. */
const uncrowdedStreams = 16;

/** Counts the large streams under way. */
export class StreamCount {
  readonly #limits: StreamLimits;
  readonly #byAddress = new Map<string, number>();
  #total = 0;

  constructor(limits: StreamLimits) {
    this.#limits = limits;
  }

  /** @returns size of its chunks in octets, and what gives its place back @throws ServerBusy */
  enter(address: string): { readonly chunk: number; readonly leave: () => void } {
    const { perAddress, total } = this.#limits;
    const own = this.#byAddress.get(address) ?? 0;
    if (own >= perAddress) throw ServerBusy({ what: "downloads to this address", limit: perAddress });
    if (this.#total >= total) throw ServerBusy({ what: "downloads under way", limit: total });
    this.#byAddress.set(address, own + 1);
    this.#total += 1;
    const leave = () => {
      this.#total -= 1;
      const left = (this.#byAddress.get(address) ?? 1) - 1;
      if (left > 0) this.#byAddress.set(address, left);
      else this.#byAddress.delete(address);
    };
    return { chunk: this.#total > uncrowdedStreams ? crowdedChunkBytes : chunkBytes, leave };
  }
}

/**
 * Writes a part of a file. Reads one chunk ahead of the socket: while one buffer is written, the other is filled.
 * @returns false when the client is gone, or the file is shorter than it was; then nothing more can be said on this connection
 */
export async function stream(
  file: ReadableFile,
  response: ServerResponse,
  socket: Socket,
  { from, to, chunk }: { readonly from: number; readonly to: number; readonly chunk: number },
): Promise<boolean> {
  const buffers: Buffer[] = [];
  let turn = 0;
  let at = from;
  const readNext = () => {
    // What was read before the chunk under way is written by now, so its buffer is free.
    const buffer = (buffers[turn++ % 2] ??= Buffer.allocUnsafe(chunk));
    const reading = file.read(buffer, 0, Math.min(chunk, to + 1 - at), at);
    // It may fail while the chunk before it is still on its way; that is found when it is waited for.
    reading.catch(() => undefined);
    return reading;
  };
  let next = at <= to ? readNext() : undefined;
  while (next) {
    const { bytesRead, buffer } = await next;
    // The file is shorter than its length said: never a short 200 (RFC 9110 s.8.6), the connection breaks instead.
    if (bytesRead === 0) {
      response.destroy();
      return false;
    }
    at += bytesRead;
    next = at <= to ? readNext() : undefined;
    const isSent = await write(response, socket, buffer.subarray(0, bytesRead));
    if (!isSent) {
      await next?.catch(() => undefined);
      return false;
    }
  }
  // After a broken connection the kernel or Node may still hold one, and it goes with them.
  buffers.forEach(giveBack);
  return true;
}

/** Resolves when the chunk is handed to the kernel, so that its buffer may be filled again; false when the client is gone. */
export function write(response: ServerResponse, socket: Socket, chunk: Uint8Array): Promise<boolean> {
  return new Promise((resolve) => {
    if (response.destroyed || socket.destroyed) return resolve(false);
    // A response that waits behind another one on its connection (pipelining) is not told that the connection is gone; the socket is.
    const gone = () => resolve(false);
    socket.once("close", gone);
    response.write(chunk, (error) => {
      socket.off("close", gone);
      resolve(!error);
    });
  });
}
