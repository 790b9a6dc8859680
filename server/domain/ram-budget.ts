import type { BootedImage } from "./image.ts";
import type { Role } from "./role.ts";

/** What a kernel and the first processes take beside the image: our initramfs asks for as much (rollcall.d/download). */
const systemBytes = 256 * 1024 ** 2;
/** An initrd lies in RAM as it came and unpacked, both at once; most pack to a half or less. */
const initrdFactor = 2;

/** Where the need for so much RAM comes from. */
export interface RamNeed {
  readonly bytes: number;
  readonly because: "role" | "image";
}

/**
 * The least RAM that a machine of this role can boot with: what the role says, or what its image takes at the very least (the root
 * lies in RAM as it was packed). It is a lower bound: whoever has less runs out of memory in the initramfs.
 */
export function ramNeed(
  role: Pick<Role, "minimumRamBytes">,
  image: Pick<BootedImage, "files"> | undefined,
): RamNeed {
  const { rootfs, initrd } = image?.files ?? {};
  const imageBytes =
    (rootfs || initrd) && (rootfs?.sizeBytes ?? 0) + initrdFactor * (initrd?.sizeBytes ?? 0) + systemBytes;
  const roleBytes = role.minimumRamBytes ?? 0;
  return imageBytes !== undefined && imageBytes > roleBytes
    ? { bytes: imageBytes, because: "image" }
    : { bytes: roleBytes, because: "role" };
}

/** A role that could stand in for another one, with the image that it boots now. */
export interface RoleOffer {
  readonly role: Role;
  readonly image: BootedImage | undefined;
}

/** Of the roles that boot an image and come through with this RAM the one that needs most of it: nearest to what was wanted. */
export function smallerRole(offers: readonly RoleOffer[], ramBytes: number): string | undefined {
  return offers
    .filter(({ role, image }) => role.boot === "image" && role.reports && image !== undefined)
    .map(({ role, image }) => ({ name: role.name, bytes: ramNeed(role, image).bytes }))
    .filter(({ bytes }) => bytes <= ramBytes)
    .sort((one, other) => other.bytes - one.bytes || (one.name < other.name ? -1 : 1))[0]?.name;
}

/** What is told as "too little" and is too wild to be RAM of a machine; SMBIOS can be wrong. */
const leastSaneBytes = 16 * 1024 ** 2;
const mostSaneBytes = 64 * 1024 ** 4;
/** DMTF DSP0134 s.7.18 Memory Device (type 17): Size (offset 0Ch) in MiB, in KiB with the top bit set, FFFFh unknown. */
const inKibibytes = 0x8000;
const unknownSize = 0xffff;
/** The size stands in Extended Size (offset 1Ch), in MiB. */
const isExtended = 0x7fff;

/**
 * RAM by the memory devices of SMBIOS, as iPXE sends them: for each slot Size and Extended Size as they lie in memory (`0010` is
 * 4096), like `0010:00000000`, parted by commas. An empty slot has the size 0, one that is not there is an empty text.
 * @returns octets; undefined where a device is of unknown size, or none is told: then nobody can say
 */
export function ramOfMemoryDevices(text: string): number | undefined {
  let bytes = 0;
  for (const device of text.toLowerCase().split(",")) {
    const [, size = "", extended = ""] = /^([0-9a-f]{4})(?::([0-9a-f]{8})?)?$/.exec(device) ?? [];
    if (size === "") {
      if (device.replace(":", "") === "") continue;
      return undefined;
    }
    const word = littleEndian(size);
    if (word === unknownSize) return undefined;
    if (word === isExtended) {
      if (extended === "") return undefined;
      bytes += (littleEndian(extended) & 0x7fffffff) * 1024 ** 2;
    } else bytes += word & inKibibytes ? (word & ~inKibibytes) * 1024 : word * 1024 ** 2;
  }
  return sane(bytes);
}

/** iPXE's `${memsize}`, MiB; only builds with the memory map settings have it. */
export function ramOfMemsize(text: string): number | undefined {
  return /^[0-9]{1,9}$/.test(text) ? sane(Number(text) * 1024 ** 2) : undefined;
}

/**
 * RAM by the `MemTotal` of a Linux, KiB: what is built in less what firmware, kernel and a graphics chip keep for themselves. Memory
 * comes in steps, so the next eighth of a power of two is what there is.
 */
export function ramOfMemTotal(text: string): number | undefined {
  if (!/^[1-9][0-9]{0,14}$/.test(text)) return undefined;
  const bytes = Number(text) * 1024;
  const step = 2 ** Math.ceil(Math.log2(bytes)) / 8;
  return sane(Math.ceil(bytes / step) * step);
}

/** A system that says so much less than firmware did runs with less: memory was taken out, or is kept from it. */
const doubtBelow = 0.75;

/** What to remember of a machine whose system has told its RAM; what firmware says is exact where it says it. */
export function ramAfterReport(known: number | undefined, reported: number): number {
  return known === undefined || reported > known || reported < known * doubtBelow ? reported : known;
}

function sane(bytes: number): number | undefined {
  return bytes >= leastSaneBytes && bytes <= mostSaneBytes ? bytes : undefined;
}

function littleEndian(hex: string): number {
  return Number.parseInt((hex.match(/../g) ?? []).reverse().join(""), 16);
}
