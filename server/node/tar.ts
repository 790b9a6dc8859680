/** Archives of files as tar reads them: POSIX ustar (IEEE Std 1003.1, pax, "ustar Interchange Format"), of which regular files alone. */

export interface TarMember {
  /** Relative, without `.`, `..` or a slash at either end; 100 octets of UTF-8 at most. */
  readonly name: string;
  /** Permission bits. */
  readonly mode: number;
  readonly content: Uint8Array | string;
}

const blockBytes = 512;
const longestName = 100;
/** The size's field has eleven octal digits. */
const largestContent = 0o77777777777;

/**
 * All members belong to root, and are of 1970: the same members give the same octets.
 * @throws Error for a name or mode that has no place in it, or a name that is there twice: faults of the code that made it
 */
export function tar(members: readonly TarMember[]): Buffer {
  const chunks: Uint8Array[] = [];
  const taken = new Set<string>();
  for (const { name, mode, content } of members) {
    const data = typeof content === "string" ? Buffer.from(content) : content;
    if (taken.has(name)) throw new Error(`an archive has ${name} twice`);
    taken.add(name);
    chunks.push(headerOf(name, mode, data.length), data, Buffer.alloc(-data.length & (blockBytes - 1)));
  }
  // The end: two blocks of zeros.
  return Buffer.concat([...chunks, Buffer.alloc(2 * blockBytes)]);
}

function headerOf(name: string, mode: number, size: number): Uint8Array {
  if (!/^(?!\.{1,2}(?:\/|$))[^/\0]+(?:\/(?!\.{1,2}(?:\/|$))[^/\0]+)*$/.test(name))
    throw new Error(`a member of an archive has no plain path: ${name}`);
  if (Buffer.byteLength(name) > longestName)
    throw new Error(`a member of an archive has a name of more than ${longestName} octets: ${name}`);
  if (mode !== (mode & 0o7777)) throw new Error(`${name} of an archive has no mode: ${mode}`);
  if (size > largestContent) throw new Error(`${name} of an archive is too large`);
  const header = Buffer.alloc(blockBytes);
  const octal = (value: number, offset: number, digits: number) =>
    header.write(`${value.toString(8).padStart(digits, "0")}\0`, offset, "latin1");
  header.write(name, 0);
  octal(mode, 100, 7);
  for (const owner of [108, 116]) octal(0, owner, 7);
  octal(size, 124, 11);
  // The time of change.
  octal(0, 136, 11);
  // The checksum counts its own field as blanks; then the type (a regular file).
  header.write("        0", 148, "latin1");
  header.write("ustar\x0000root", 257, "latin1");
  header.write("root", 297, "latin1");
  for (const device of [329, 337]) octal(0, device, 7);
  const sum = header.reduce((total, octet) => total + octet, 0);
  header.write(`${sum.toString(8).padStart(6, "0")}\0 `, 148, "latin1");
  return header;
}
