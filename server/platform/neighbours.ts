import { readFileSync } from "node:fs";
import type { Log } from "../domain/capabilities.ts";

const table = "/proc/self/net/arp";

/**
 * Reads the kernel's IPv4 neighbour table as text, of the network namespace of this process. It is empty where it can't be read, which
 * is told once: without it a machine that asks for another's script is not found out by its MAC.
 */
export function createNeighbourReader(log: Pick<Log, "warn">, file = table): () => string {
  let isTold = false;
  return () => {
    try {
      return readFileSync(file, "utf8");
    } catch (error) {
      if (!isTold)
        log.warn({ err: error }, "the neighbour table can't be read, so nobody's MAC can be checked by it");
      isTold = true;
      return "";
    }
  };
}
