import type { ServerResponse } from "node:http";
import type { Socket } from "node:net";
import type { DirectWay, FileSender } from "../domain/capabilities.ts";
import { ServerBusy } from "../domain/error-catalogue.ts";
import { giveBack } from "../domain/give-back.ts";

/** As much of a file as those who send it need. */
export interface ReadableFile {
  /** Its descriptor, where all of it is there to be sent; undefined: it is to be read. */
  readonly fd?: number;
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

/** How far a stream is: its next octet that the kernel has not taken yet, kept up to date while it goes on. */
export interface StreamPlace {
  at: number;
}

/** A part of a file, first and last octet, and in what pieces it is read, octets. */
interface Part {
  readonly from: number;
  readonly to: number;
  readonly chunk: number;
  /** For whoever wants to know how far it is. */
  readonly place?: StreamPlace;
}

/**
 * Writes a part of a file, by the kernel alone where that can be.
 * @returns false when the client is gone, or the file is shorter than it was; then nothing more can be said on this connection
 */
export async function stream(
  file: ReadableFile,
  response: ServerResponse,
  socket: Socket,
  { sender, ...part }: Part & { readonly sender: FileSender | undefined },
): Promise<boolean> {
  const { fd } = file;
  const way = fd !== undefined && part.to - part.from >= smallBytes ? sender?.open(socket) : undefined;
  if (fd === undefined || !way) return readAndWrite(file, response, socket, part);
  try {
    return await handOver(file, response, socket, { ...part, fd, way });
  } finally {
    way.close();
  }
}

/** As much as the kernel is asked for at once: a call is over in a millisecond, and a file that is not in memory is read in a thread. */
const handedOverBytes = 1024 * 1024;
/** After so many octets Node writes some itself: its limit of silence knows only of what it wrote. */
const unseenBytes = 16 * 1024 * 1024;

/**
 * Node writes what begins a part, with the header before it, and what comes after the socket was full: it is told when there is room again.
 * All else goes from the file to the socket in the kernel. What the kernel can't do, and why, shows in Node's own reading and writing.
 */
async function handOver(
  file: ReadableFile,
  response: ServerResponse,
  socket: Socket,
  {
    from,
    to,
    fd,
    way,
    place = { at: from },
  }: Omit<Part, "chunk"> & { readonly fd: number; readonly way: DirectWay },
): Promise<boolean> {
  const buffer = Buffer.allocUnsafe(smallBytes);
  for (let at = from; at <= to;) {
    const { bytesRead } = await file.read(buffer, 0, Math.min(smallBytes, to + 1 - at), at);
    // Never a short 200, as below.
    if (bytesRead === 0) {
      response.destroy();
      return false;
    }
    at += bytesRead;
    if (!(await write(response, socket, buffer.subarray(0, bytesRead)))) return false;
    place.at = at;
    for (const until = Math.min(to + 1, at + unseenBytes); at < until && !socket.destroyed;) {
      const wanted = Math.min(handedOverBytes, until - at);
      const sent = await way.send(fd, at, wanted);
      at += sent;
      place.at = at;
      if (sent < wanted) break;
    }
    if (socket.destroyed) return false;
  }
  giveBack(buffer);
  return true;
}

/** Reads one chunk ahead of the socket: while one buffer is written, the other is filled. */
async function readAndWrite(
  file: ReadableFile,
  response: ServerResponse,
  socket: Socket,
  { from, to, chunk, place = { at: from } }: Part,
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
    place.at += bytesRead;
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
