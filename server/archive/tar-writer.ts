import { posix } from "node:path";

export interface TarEntry {
  /** A directory's ends in a slash. */
  readonly name: string;
  /** Octets. */
  readonly size: number;
  readonly content?: AsyncIterable<Uint8Array> | Uint8Array;
}

const blockBytes = 512;
/** What eleven octal digits hold. */
const largestOctal = 8 * 1024 ** 3 - 1;

/** A tar archive (POSIX ustar, with pax headers where they are needed) that is the same for the same entries: no times, no owners. */
export async function* writeTar(
  entries: Iterable<TarEntry> | AsyncIterable<TarEntry>,
): AsyncGenerator<Uint8Array> {
  for await (const { name, size, content } of entries) {
    const isLong = Buffer.byteLength(name) > 100;
    if (isLong || size > largestOctal) {
      const records = Buffer.concat([
        ...(isLong ? [paxRecord("path", name)] : []),
        ...(size > largestOctal ? [paxRecord("size", String(size))] : []),
      ]);
      yield header(`PaxHeaders/${posix.basename(name).slice(0, 80)}`, records.length, "x");
      yield padded(records);
    }
    yield header(name, size, name.endsWith("/") ? "5" : "0");
    if (content instanceof Uint8Array) yield content;
    else if (content) yield* content;
    yield padding(size);
  }
  yield Buffer.alloc(2 * blockBytes);
}

const padding = (size: number): Buffer => Buffer.alloc((blockBytes - (size % blockBytes)) % blockBytes);
const padded = (octets: Buffer): Buffer => Buffer.concat([octets, padding(octets.length)]);

/** `27 path=...\n`, where 27 counts its own digits too. */
function paxRecord(key: string, value: string): Buffer {
  const rest = ` ${key}=${value}\n`;
  const restBytes = Buffer.byteLength(rest);
  let length = restBytes + 1;
  while (String(length).length + restBytes !== length) length = String(length).length + restBytes;
  return Buffer.from(`${length}${rest}`);
}

function header(name: string, size: number, type: "0" | "5" | "x"): Buffer {
  const block = Buffer.alloc(blockBytes);
  const octal = (value: number, at: number, digits: number) =>
    block.write(`${Math.min(value, largestOctal).toString(8).padStart(digits, "0")}\0`, at, "latin1");
  block.write(name.slice(0, 100), 0, "utf8");
  octal(type === "5" ? 0o755 : 0o644, 100, 7);
  octal(0, 108, 7);
  octal(0, 116, 7);
  octal(size, 124, 11);
  octal(0, 136, 11);
  block.write(" ".repeat(8), 148, "latin1");
  block.write(type, 156, "latin1");
  block.write("ustar\x0000", 257, "latin1");
  const sum = block.reduce((before, octet) => before + octet, 0);
  block.write(`${sum.toString(8).padStart(6, "0")}\0 `, 148, "latin1");
  return block;
}
