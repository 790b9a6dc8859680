import type { Mac } from "../net/mac.ts";

/** The payload that wakes a network card: six octets FF, then its MAC sixteen times (AMD, Magic Packet Technology, 1995). */
export function magicPacket(mac: Mac): Uint8Array {
  const octets = mac.split(":").map((octet) => Number.parseInt(octet, 16));
  return Uint8Array.from([...Array<number>(6).fill(0xff), ...Array<number[]>(16).fill(octets).flat()]);
}
