/** Options inside options: PXE's in option 43 (PXE 2.1 s.2.4) and iPXE's in option 175. */
import { OptionCode } from "./option-codes.ts";

export interface SubOption {
  readonly code: number;
  readonly value: Uint8Array;
}

/** Sub-options of option 43 as PXE defines them. */
export const PxeSubOption = {
  DiscoveryControl: 6,
  BootServers: 8,
  BootMenu: 9,
  MenuPrompt: 10,
  BootItem: 71,
} as const;

/** Bits of sub-option 6. */
export const DiscoveryControl = {
  NoBroadcast: 1,
  NoMulticast: 2,
  ListedServersOnly: 4,
  /** Load the boot file of this offer at once: no prompt, no menu, no discovery. */
  BootFileAtOnce: 8,
} as const;

/** Sub-option 176 of option 175: wait for no proxy offer (iPXE `no-pxedhcp`). */
export const IpxeNoPxeDhcp = 176;

/** What an iPXE build can do, by the number of its sub-option of option 175 (iPXE `include/ipxe/features.h`). */
const ipxeFeatureCodes = {
  16: "pxe-ext",
  17: "iscsi",
  18: "aoe",
  19: "http",
  20: "https",
  21: "tftp",
  22: "ftp",
  23: "dns",
  24: "bzimage",
  25: "multiboot",
  26: "slam",
  27: "srp",
  32: "nbi",
  33: "pxe",
  34: "elf",
  35: "comboot",
  36: "efi",
  37: "fcoe",
  38: "vlan",
  39: "menu",
  40: "sdi",
  41: "nfs",
} as const;
export type IpxeFeature = (typeof ipxeFeatureCodes)[keyof typeof ipxeFeatureCodes];

/** Writes option 43, which ends with an End of its own (PXE 2.1 s.2.4). */
export function encodePxeOptions(subOptions: readonly SubOption[]): Uint8Array {
  return Uint8Array.from([...encodeSubOptions(subOptions), OptionCode.End]);
}

/** Writes sub-options without an End (option 175). @throws RangeError for a value above 255 octets */
export function encodeSubOptions(subOptions: readonly SubOption[]): Uint8Array {
  return Uint8Array.from(
    subOptions.flatMap(({ code, value }) => {
      if (value.length > 255) throw new RangeError(`sub-option ${code} has ${value.length} octets`);
      return [code, value.length, ...value];
    }),
  );
}

/**
 * Reads sub-options as far as they can be read: old ROMs send garbage here and boot all the same, so this never throws.
 * Of a sub-option that comes twice the first counts.
 */
export function decodeSubOptions(value: Uint8Array): ReadonlyMap<number, Uint8Array> {
  const subOptions = new Map<number, Uint8Array>();
  let at = 0;
  while (at < value.length) {
    const code = value[at++];
    if (code === undefined || code === OptionCode.End) break;
    if (code === OptionCode.Pad) continue;
    const length = value[at++];
    if (length === undefined || at + length > value.length) break;
    if (!subOptions.has(code)) subOptions.set(code, value.subarray(at, at + length));
    at += length;
  }
  return subOptions;
}

/** The features that an iPXE announces in option 175; a feature counts when its value is not zero. */
export function decodeIpxeFeatures(value: Uint8Array): ReadonlySet<IpxeFeature> {
  const features = new Set<IpxeFeature>();
  for (const [code, octets] of decodeSubOptions(value)) {
    const name = (ipxeFeatureCodes as Record<number, IpxeFeature | undefined>)[code];
    if (name && octets.some((octet) => octet !== 0)) features.add(name);
  }
  return features;
}
