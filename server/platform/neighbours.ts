import { openSync, readSync } from "node:fs";
import type { Log } from "../domain/capabilities.ts";

const table = "/proc/self/net/arp";

/**
 * Reads the kernel's IPv4 neighbour table as text, of the network namespace of this process. It is empty where it can't be read, which
 * is told once: without it a machine that asks for another's script is not found out by its MAC.
 */
export function createNeighbourReader(log: Pick<Log, "warn">, file = table): () => string {
  let isTold = false;
  /** Kept open, since it is read for each script; what it says is made anew at each read. */
  let descriptor: number | undefined;
  let buffer = Buffer.allocUnsafe(16 * 1024);
  function read(): string {
    descriptor ??= openSync(file, "r");
    let length = 0;
    for (;;) {
      const octets = readSync(descriptor, buffer, length, buffer.length - length, length);
      if (octets === 0) return buffer.toString("utf8", 0, length);
      length += octets;
      if (length === buffer.length) buffer = Buffer.concat([buffer, Buffer.allocUnsafe(buffer.length)]);
    }
  }
  return () => {
    try {
      return read();
    } catch (error) {
      if (!isTold)
        log.warn({ err: error }, "the neighbour table can't be read, so nobody's MAC can be checked by it");
      isTold = true;
      return "";
    }
  };
}
