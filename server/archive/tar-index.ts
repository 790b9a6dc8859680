import type { FileHandle } from "node:fs/promises";
import { posix } from "node:path";
import { ArchiveError, damaged } from "./archive-error.ts";

/** Where the content of a file lies in the archive; nothing is ever unpacked. */
export interface TarFile {
  readonly offset: number;
  readonly size: number;
}

const blockBytes = 512;
/** An image set has some thousands of blobs. */
const mostEntries = 100_000;
const longestNameBytes = 4096;
const longestExtensionBytes = 1024 ** 2;

/** The files of a tar archive by name, read from its headers. */
export class TarIndex {
  readonly files = new Map<string, TarFile>();
  readonly #links = new Map<string, string>();

  addLink(name: string, target: string): void {
    this.#links.set(name, target);
  }

  has(name: string): boolean {
    return this.files.has(name) || this.#links.has(name);
  }

  /** Follows links within the archive (older versions of docker save have them in place of equal layers). */
  find(name: string): TarFile | undefined {
    let at = name;
    for (let hops = 0; hops < 8; hops++) {
      const file = this.files.get(at);
      if (file) return file;
      const target = this.#links.get(at);
      if (target === undefined) return undefined;
      at = target;
    }
    return undefined;
  }
}

/**
 * Reads the headers of a tar archive: POSIX ustar and pax (pax(1), "ustar Interchange Format"), and GNU's long names.
 * @throws ArchiveError ARCHIVE_DAMAGED; ARCHIVE_REFUSED for names that lead out of the archive, devices and the like; ARCHIVE_TOO_LARGE
 */
export async function indexTar(file: FileHandle, totalBytes: number, place: string): Promise<TarIndex> {
  const index = new TarIndex();
  const header = Buffer.alloc(blockBytes);
  let at = 0;
  let entries = 0;
  let next: Extension = {};
  while (at + blockBytes <= totalBytes) {
    await readAt(file, header, at, place);
    if (header.every((octet) => octet === 0)) return index;
    if (++entries > mostEntries)
      throw new ArchiveError(
        "ARCHIVE_TOO_LARGE",
        `${place} has more than ${mostEntries} entries`,
        "This is no archive of images; look at where it comes from.",
      );
    if (!hasGoodSum(header)) throw damaged(place, `there is no tar header at octet ${at}`);
    const size = next.size ?? numberAt(header, 124, 12, place);
    const offset = at + blockBytes;
    const type = String.fromCharCode(header[156] ?? 0);
    at = offset + Math.ceil(size / blockBytes) * blockBytes;
    if (offset + size > totalBytes)
      throw damaged(place, `it ends in the middle of an entry, at octet ${totalBytes}`);
    if ("xgLK".includes(type)) {
      if (size > longestExtensionBytes) throw damaged(place, "an extended header has more than 1 MiB");
      const body = Buffer.alloc(size);
      await readAt(file, body, offset, place);
      // A global header holds for all that follows; what matters to us never stands in one.
      if (type !== "g") next = { ...next, ...readExtension(type, body, place) };
      continue;
    }
    const given = next.path ?? nameIn(header);
    const target = next.linkPath ?? textAt(header, 157, 100);
    next = {};
    addEntry(index, { type, name: innerName(given, place), given, target, file: { offset, size } }, place);
  }
  throw damaged(
    place,
    entries === 0 ? "it is no tar archive" : `it ends at octet ${totalBytes}, before its end mark`,
  );
}

interface Extension {
  path?: string;
  linkPath?: string;
  size?: number;
}

interface Entry {
  readonly type: string;
  readonly name: string;
  readonly given: string;
  readonly target: string;
  readonly file: TarFile;
}

function addEntry(index: TarIndex, { type, name, given, target, file }: Entry, place: string): void {
  const isFile = type === "0" || type === "\0" || type === "7";
  if (type === "5" || (isFile && given.endsWith("/"))) return;
  if (index.has(name)) throw damaged(place, `${quoted(name)} is in it twice`);
  if (isFile) index.files.set(name, file);
  else if (type === "1") index.addLink(name, innerName(target, place));
  else if (type === "2") {
    const isAbsolute = target.startsWith("/");
    index.addLink(name, innerName(isAbsolute ? target : posix.join(posix.dirname(name), target), place));
  } else
    throw refused(
      place,
      `${quoted(name)} is neither a file nor a directory nor a link (tar type ${quoted(type)})`,
    );
}

const quoted = (name: string) => JSON.stringify(name.slice(0, 200));

function refused(place: string, problem: string): ArchiveError {
  return new ArchiveError(
    "ARCHIVE_REFUSED",
    `${place}: ${problem}`,
    "Nobody's tool for images makes such archives: look at where it comes from. Nothing of it was taken.",
  );
}

/** @throws ArchiveError ARCHIVE_REFUSED for what leads out of the archive */
function innerName(given: string, place: string): string {
  const parts = given.split("/").filter((part) => part !== "" && part !== ".");
  if (given.startsWith("/") || parts.includes("..") || given.includes("\0"))
    throw refused(place, `the name ${quoted(given)} leads out of the archive`);
  if (Buffer.byteLength(given) > longestNameBytes)
    throw refused(place, `a name has more than ${longestNameBytes} octets`);
  return parts.join("/");
}

function nameIn(header: Buffer): string {
  const name = textAt(header, 0, 100);
  // GNU's own format ("ustar  ") has other fields where POSIX has the prefix.
  const isPosix = header.toString("latin1", 257, 263) === "ustar\0";
  const prefix = isPosix ? textAt(header, 345, 155) : "";
  return prefix === "" ? name : `${prefix}/${name}`;
}

function readExtension(type: string, body: Buffer, place: string): Extension {
  if (type === "L") return { path: textAt(body, 0, body.length) };
  if (type === "K") return { linkPath: textAt(body, 0, body.length) };
  const found: Extension = {};
  for (let at = 0; at < body.length;) {
    // `27 path=...\n`: the length of the whole record in decimal, with itself.
    const blank = body.indexOf(0x20, at);
    const length = blank < 0 ? Number.NaN : Number(body.toString("latin1", at, blank));
    if (!Number.isSafeInteger(length) || length < 5 || at + length > body.length)
      throw damaged(place, "an extended header can't be read");
    const record = body.toString("utf8", blank + 1, at + length - 1);
    const equals = record.indexOf("=");
    const [key, value] = [record.slice(0, equals), record.slice(equals + 1)];
    if (key === "path") found.path = value;
    if (key === "linkpath") found.linkPath = value;
    if (key === "size") {
      if (!/^\d{1,15}$/.test(value)) throw damaged(place, "an extended header has no good size");
      found.size = Number(value);
    }
    if (key.startsWith("GNU.sparse."))
      throw refused(place, "it has a file with holes; make it without --sparse");
    at += length;
  }
  return found;
}

function textAt(buffer: Buffer, offset: number, length: number): string {
  const field = buffer.subarray(offset, offset + length);
  const end = field.indexOf(0);
  return field.toString("utf8", 0, end < 0 ? field.length : end);
}

/** Octal digits, or GNU's base 256 for what does not fit. */
function numberAt(header: Buffer, offset: number, length: number, place: string): number {
  const field = header.subarray(offset, offset + length);
  const isBinary = ((field[0] ?? 0) & 0x80) !== 0;
  const digits = field.toString("latin1").replaceAll(/[\0 ]+$|^ +/g, "");
  const value = isBinary
    ? Number(BigInt(`0x${field.toString("hex")}`) & ((1n << BigInt(length * 8 - 1)) - 1n))
    : /^[0-7]*$/.test(digits)
      ? Number.parseInt(digits || "0", 8)
      : Number.NaN;
  if (!Number.isSafeInteger(value)) throw damaged(place, "an entry has no good size");
  return value;
}

/** The sum over the header with its own field taken as blanks. */
function hasGoodSum(header: Buffer): boolean {
  let sum = 0;
  header.forEach((octet, index) => (sum += index >= 148 && index < 156 ? 0x20 : octet));
  return Number.parseInt(textAt(header, 148, 8).trim(), 8) === sum;
}

async function readAt(file: FileHandle, buffer: Buffer, position: number, place: string): Promise<void> {
  for (let done = 0; done < buffer.length;) {
    const { bytesRead } = await file.read(buffer, done, buffer.length - done, position + done);
    if (bytesRead === 0) throw damaged(place, `it ends at octet ${position + done}`);
    done += bytesRead;
  }
}
