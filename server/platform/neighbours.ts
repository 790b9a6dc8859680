import { readFileSync } from "node:fs";

/** The kernel's IPv4 neighbour table as text, of the network namespace of this process; empty where there is none. */
export function readNeighbourTable(): string {
  try {
    return readFileSync("/proc/self/net/arp", "utf8");
  } catch {
    return "";
  }
}
