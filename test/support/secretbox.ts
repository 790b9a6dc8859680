/** NaCl's secretbox, XSalsa20-Poly1305, which Node lacks: cosign's private keys are in it. Written for tests, not for secrets. */

const sigma = new Uint32Array(new Uint8Array(Buffer.from("expand 32-byte k")).buffer);
const words = (octets: Uint8Array): Uint32Array => {
  const view = new DataView(octets.buffer, octets.byteOffset, octets.byteLength);
  return Uint32Array.from({ length: octets.length / 4 }, (_, index) => view.getUint32(index * 4, true));
};
const octetsOf = (list: ArrayLike<number>): Buffer => {
  const octets = Buffer.alloc(list.length * 4);
  for (let index = 0; index < list.length; index++) octets.writeUInt32LE((list[index] ?? 0) >>> 0, index * 4);
  return octets;
};

/** Where the parts of a block stand (Salsa20 specification, section 8). */
function block(key: Uint32Array, input: Uint32Array): Uint32Array {
  const at = (list: Uint32Array, index: number) => list[index] ?? 0;
  return Uint32Array.of(
    at(sigma, 0),
    at(key, 0),
    at(key, 1),
    at(key, 2),
    at(key, 3),
    at(sigma, 1),
    at(input, 0),
    at(input, 1),
    at(input, 2),
    at(input, 3),
    at(sigma, 2),
    at(key, 4),
    at(key, 5),
    at(key, 6),
    at(key, 7),
    at(sigma, 3),
  );
}

const quarters = [
  [0, 4, 8, 12],
  [5, 9, 13, 1],
  [10, 14, 2, 6],
  [15, 3, 7, 11],
  [0, 1, 2, 3],
  [5, 6, 7, 4],
  [10, 11, 8, 9],
  [15, 12, 13, 14],
] as const;

function rounds(start: Uint32Array): Uint32Array {
  const x = Uint32Array.from(start);
  const mix = (to: number, one: number, other: number, by: number) => {
    const sum = ((x[one] ?? 0) + (x[other] ?? 0)) >>> 0;
    x[to] = (x[to] ?? 0) ^ ((sum << by) | (sum >>> (32 - by)));
  };
  for (let round = 0; round < 10; round++)
    for (const [a, b, c, d] of quarters) {
      mix(b, a, d, 7);
      mix(c, b, a, 9);
      mix(d, c, b, 13);
      mix(a, d, c, 18);
    }
  return x;
}

/** @param nonce 24 octets @returns so many octets of XSalsa20's stream */
function stream(key: Uint8Array, nonce: Uint8Array, length: number): Buffer {
  const mixed = rounds(block(words(key), words(nonce.subarray(0, 16))));
  const subkey = Uint32Array.from([0, 5, 10, 15, 6, 7, 8, 9], (index) => mixed[index] ?? 0);
  const [low = 0, high = 0] = words(nonce.subarray(16));
  const blocks: Buffer[] = [];
  for (let number = 0; number * 64 < length; number++) {
    const start = block(subkey, Uint32Array.of(low, high, number, 0));
    blocks.push(octetsOf(rounds(start).map((word, index) => word + (start[index] ?? 0))));
  }
  return Buffer.concat(blocks).subarray(0, length);
}

/** RFC 8439, section 2.5. */
function poly1305(key: Uint8Array, message: Uint8Array): Buffer {
  const number = (octets: Uint8Array) => BigInt(`0x${Buffer.from(octets).reverse().toString("hex") || "0"}`);
  const r = number(key.subarray(0, 16)) & 0x0ffffffc0ffffffc0ffffffc0fffffffn;
  let sum = 0n;
  for (let at = 0; at < message.length; at += 16)
    sum =
      ((sum + number(Buffer.concat([message.subarray(at, at + 16), Buffer.of(1)]))) * r) %
      ((1n << 130n) - 5n);
  const tag = (sum + number(key.subarray(16))) & ((1n << 128n) - 1n);
  return Buffer.from(tag.toString(16).padStart(32, "0"), "hex").reverse();
}

/** @param nonce 24 octets @returns tag and ciphertext */
export function sealSecretbox(message: Uint8Array, nonce: Uint8Array, key: Uint8Array): Buffer {
  const pad = stream(key, nonce, 32 + message.length);
  const sealed = Buffer.from(message.map((octet, index) => octet ^ (pad[32 + index] ?? 0)));
  return Buffer.concat([poly1305(pad.subarray(0, 32), sealed), sealed]);
}
