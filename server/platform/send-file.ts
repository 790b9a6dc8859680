/** Files that the kernel sends by itself (sendfile(2)), by koffi: Node reads them into memory and writes them out again. */
import { Socket } from "node:net";
import { TLSSocket } from "node:tls";
import type { DirectWay, FileSender } from "../domain/capabilities.ts";
import { type CLibrary, loadCLibrary } from "./c-library.ts";

/** fcntl(2): a descriptor of our own, which programs that are started do not get. */
const DuplicateCloseOnExec = 1030;

/** @returns undefined where koffi is not installed */
export async function openFileSender(): Promise<FileSender | undefined> {
  const c = await loadCLibrary();
  if (!c) return undefined;
  const counts = new WeakMap<object, number>();
  const sentOver = (socket: object) => counts.get(socket) ?? 0;
  const onSent = (socket: Socket, octets: number) => void counts.set(socket, sentOver(socket) + octets);
  return { open: (socket) => openWay(c, socket, onSent), sentOver };
}

function openWay(
  c: CLibrary,
  socket: unknown,
  onSent: (socket: Socket, octets: number) => void,
): DirectWay | undefined {
  if (!(socket instanceof Socket) || socket instanceof TLSSocket || socket.destroyed) return undefined;
  const given = descriptorOf(socket);
  if (given === undefined) return undefined;
  // Node closes its own when the client goes, and the number may be another connection's before a call in a thread has begun.
  const descriptor = c.fcntl(given, DuplicateCloseOnExec, 0);
  if (descriptor < 0) return undefined;
  return {
    send(file, from, length) {
      const offset = new Uint8Array(BigInt64Array.of(BigInt(from)).buffer);
      return new Promise((resolve, reject) => {
        c.sendfile.async(descriptor, file, offset, length, (error, sent) => {
          // The callback holds it until the kernel has written to it.
          void offset;
          if (error) return reject(error);
          const octets = Math.max(0, sent);
          onSent(socket, octets);
          resolve(octets);
        });
      });
    },
    close: () => void c.close(descriptor),
  };
}

/** Node has no public name for it. */
function descriptorOf(socket: Socket): number | undefined {
  const { _handle: handle } = socket as unknown as { readonly _handle?: { readonly fd?: unknown } | null };
  const fd = handle?.fd;
  return typeof fd === "number" && fd >= 0 ? fd : undefined;
}
