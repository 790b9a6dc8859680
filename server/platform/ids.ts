import { randomBytes } from "node:crypto";
import type { Ids } from "../domain/capabilities.ts";

/** RFC 4648 base32 in lower case: readable aloud, safe in paths, YAML, iPXE and shell alike. */
const alphabet = "abcdefghijklmnopqrstuvwxyz234567";

function base32(octets: Uint8Array): string {
  let bits = 0;
  let value = 0;
  let text = "";
  for (const octet of octets) {
    value = (value << 8) | octet;
    bits += 8;
    while (bits >= 5) {
      text += alphabet[(value >>> (bits - 5)) & 31];
      bits -= 5;
    }
    value &= (1 << bits) - 1;
  }
  return bits > 0 ? text + alphabet[(value << (5 - bits)) & 31] : text;
}

/** Random octets are asked of the kernel for many ids at once: each call costs more than the id. */
const poolOctets = 4096;
let pool = randomBytes(0);

function takeRandom(octets: number): Uint8Array {
  if (pool.length < octets) pool = randomBytes(poolOctets);
  const taken = pool.subarray(0, octets);
  pool = pool.subarray(octets);
  return taken;
}

export const systemIds: Ids = {
  secret: () => base32(takeRandom(16)),
  id: (prefix) => `${prefix}_${Date.now().toString(36)}${base32(takeRandom(3))}`,
};
