/** Archives of the kernel's initramfs: cpio, "new ASCII" (cpio(5); Documentation/driver-api/early-userspace/buffer-format.rst). */

const typeBits = { directory: 0o040000, file: 0o100000, link: 0o120000 } as const;

export interface CpioMember {
  readonly type: keyof typeof typeBits;
  /** Without a slash in front. */
  readonly name: string;
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  /** A file's octets, a link's target. */
  readonly data: Uint8Array;
}

/** Header and name, and the data, each begin at a multiple of 4. */
const alignment = 4;
/** Archives one after another may be parted by zeros; loaders of firmware like whole sectors. */
const blockBytes = 512;

/** @param mtime seconds since 1970, of all members; the same spec gives the same octets */
export function cpio(members: readonly CpioMember[], mtime = 0): Uint8Array {
  const chunks: Uint8Array[] = [];
  let length = 0;
  const add = (bytes: Uint8Array, multiple: number) => {
    const rest = (length + bytes.length) % multiple;
    const padding = new Uint8Array(rest === 0 ? 0 : multiple - rest);
    chunks.push(bytes, padding);
    length += bytes.length + padding.length;
  };
  const member = (name: string, fields: readonly number[], data: Uint8Array) => {
    const header = fields.map((field) => field.toString(16).toUpperCase().padStart(8, "0")).join("");
    add(new TextEncoder().encode(`070701${header}${name}\0`), alignment);
    add(data, alignment);
  };
  for (const [index, { type, name, mode, uid, gid, data }] of members.entries()) {
    const links = type === "directory" ? 2 : 1;
    // inode, mode, uid, gid, links, mtime, size, device (2), device of a node (2), octets of the name with its zero, checksum
    const fields = [index + 1, typeBits[type] | mode, uid, gid, links, mtime, data.length, 0, 0, 0, 0];
    member(name, [...fields, new TextEncoder().encode(name).length + 1, 0], data);
  }
  const trailer = "TRAILER!!!";
  member(trailer, [0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, trailer.length + 1, 0], new Uint8Array());
  add(new Uint8Array(), blockBytes);
  return Buffer.concat(chunks);
}
