import type { DurationMs } from "../domain/capabilities.ts";

/** How one implementation of DHCP behaves: a firmware's, iPXE's, an operating system's. */
export interface DhcpHabits {
  /** Option 93 (RFC 4578 s.2.1); undefined: not a network boot client. */
  readonly architecture: number | undefined;
  /** Option 60. */
  readonly vendorClass: string;
  /** Option 94: type, major, minor. */
  readonly undi: readonly number[] | undefined;
  /** Option 97; `shared`: what whole production runs of boards say (firmware-quirk Q34). */
  readonly machineId: "own" | "shared" | "none";
  /** Option 61: ROM, iPXE and operating system of one machine each send another one (firmware-quirk Q33). */
  readonly clientId: "uuid" | "mac" | "none";
  /** Where it looks for its boot file: the header alone, or option 67 before it (firmware-quirk Q9). */
  readonly readsBootFrom: "header" | "options";
  /** Option 55. */
  readonly requested: readonly number[];
  /** Option 57. */
  readonly maximumMessageOctets: number | undefined;
  /** Option 77. */
  readonly userClass: string | undefined;
  /** Option 175: iPXE's features by their numbers (include/ipxe/features.h). */
  readonly ipxeFeatures: readonly number[] | undefined;
  /** Wait after the first, second, ... DISCOVER. */
  readonly discoverMs: readonly DurationMs[];
  readonly requestMs: readonly DurationMs[];
  /** REQUESTs to port 4011. */
  readonly bootServerMs: readonly DurationMs[];
  /**
   * `complete`: goes on with the first offers that say all; `timeout`: listens until the current wait is over; a number:
   * goes on without a boot file this long after its first DISCOVER.
   */
  readonly choosesOffer: "complete" | "timeout" | DurationMs;
  /** False: address and boot file must come in one offer (firmware-quirk Q1). */
  readonly mergesOffers: boolean;
  /** `always`: asks port 4011 even if it was told a boot file. */
  readonly asksBootServer: "when-needed" | "always" | "never";
}

export interface TftpHabits {
  /** blksize (RFC 2348); undefined: no options at all, 512 octets. */
  readonly blockSizeBytes: number | undefined;
  /** windowsize (RFC 7440); 1 is not asked for. */
  readonly windowBlocks: number;
  /** Asks for the size first and cancels that transfer with ERROR 8 (EDK2, firmware-quirk Q19). */
  readonly probesSize: boolean;
  /** Appended to every name; old ROMs read option 67 beyond its end (firmware-quirk Q8). */
  readonly nameSuffix: string;
  /** Loads nothing whose size it is not told (firmware-quirk Q21). */
  readonly needsSize: boolean;
  readonly repeatMs: DurationMs;
  readonly repeats: number;
}

export interface IpxeBuild {
  readonly dhcp: DhcpHabits;
  readonly loadsAutoexec: boolean;
  /** Commands that it does not know (firmware-quirk Q43). */
  readonly lacks: readonly string[];
}

export interface Profile {
  readonly summary: string;
  readonly dhcp: DhcpHabits;
  /** How it loads its first stage; undefined: it is iPXE already, or boots nothing. */
  readonly firstStage:
    { readonly by: "tftp"; readonly tftp: TftpHabits } | { readonly by: "http" } | undefined;
  /** The iPXE that runs then; undefined: only an operating system. */
  readonly ipxe: IpxeBuild | undefined;
  /** The switch port forwards nothing for so long after power-on. */
  readonly linkBlockedMs: DurationMs;
  /** Not in the mix that is taken when no profile is named. */
  readonly isSpecial?: true;
}

const seconds = (...values: readonly number[]): readonly DurationMs[] => values.map((value) => value * 1000);

/** PXE 2.1 s.2.2.3: DISCOVER four times. */
const pxeDiscoverMs = seconds(4, 8, 16, 32);
/** PXE 2.1 s.2.2.5. */
const pxeRequestMs = seconds(1, 2, 3, 4);

const bios: DhcpHabits = {
  architecture: 0,
  vendorClass: "PXEClient:Arch:00000:UNDI:002001",
  undi: [1, 2, 1],
  machineId: "own",
  clientId: "uuid",
  readsBootFrom: "options",
  requested: [
    1, 2, 3, 5, 6, 11, 12, 13, 15, 16, 17, 18, 43, 54, 60, 67, 128, 129, 130, 131, 132, 133, 134, 135,
  ],
  maximumMessageOctets: 1260,
  userClass: undefined,
  ipxeFeatures: undefined,
  discoverMs: pxeDiscoverMs,
  requestMs: pxeRequestMs,
  bootServerMs: pxeRequestMs,
  choosesOffer: "complete",
  mergesOffers: true,
  asksBootServer: "when-needed",
};

/** EDK2 UefiPxeBcDxe/PxeBcDhcp4.c, PxeBcDhcp4.h: it listens through the whole wait, and asks 4011 four times a second apart. */
const edk2: DhcpHabits = {
  ...bios,
  architecture: 7,
  vendorClass: "PXEClient:Arch:00007:UNDI:003016",
  undi: [1, 3, 16],
  requested: [
    1, 2, 3, 4, 5, 6, 12, 13, 15, 17, 18, 22, 23, 28, 40, 41, 42, 43, 50, 51, 54, 58, 59, 60, 66, 67, 97, 128,
    129, 130, 131, 132, 133, 134, 135,
  ],
  maximumMessageOctets: 1476,
  requestMs: pxeDiscoverMs,
  bootServerMs: seconds(1, 1, 1, 1),
  choosesOffer: "timeout",
};

/** iPXE src/config/dhcp.h: 1, 2, 4, 8 s for DISCOVER, from 0.25 s for REQUEST, 2 s for a proxy offer. */
const ipxeOnBios: DhcpHabits = {
  ...bios,
  requested: [
    1, 3, 6, 7, 12, 15, 17, 26, 43, 60, 66, 67, 119, 128, 129, 130, 131, 132, 133, 134, 135, 175, 203,
  ],
  maximumMessageOctets: 1472,
  userClass: "iPXE",
  clientId: "mac",
  ipxeFeatures: [16, 17, 19, 21, 23, 39],
  discoverMs: seconds(1, 2, 4, 8),
  requestMs: seconds(0.25, 0.5, 1, 2, 4, 8),
  bootServerMs: seconds(0.25, 0.5, 1, 2),
  choosesOffer: 2000,
};
const ipxeOnUefi: DhcpHabits = {
  ...ipxeOnBios,
  architecture: 7,
  vendorClass: "PXEClient:Arch:00007:UNDI:003016",
  undi: [1, 3, 16],
  ipxeFeatures: [17, 19, 21, 23, 36, 39],
};

/** udhcpc of an initramfs (-t 4 -T 3), as our image runs it. */
export const operatingSystem: DhcpHabits = {
  ...bios,
  architecture: undefined,
  vendorClass: "udhcp 1.35.0",
  undi: undefined,
  machineId: "none",
  clientId: "mac",
  requested: [1, 3, 6, 12, 15, 28, 42, 121],
  maximumMessageOctets: 576,
  discoverMs: seconds(3, 3, 3, 3),
  requestMs: seconds(3, 3, 3),
  asksBootServer: "never",
};

const romTftp: TftpHabits = {
  blockSizeBytes: 1456,
  windowBlocks: 1,
  probesSize: false,
  nameSuffix: "",
  needsSize: false,
  repeatMs: 4000,
  repeats: 6,
};
/** EDK2: PXEBC_MTFTP_TIMEOUT 4 s, 6 retries, a window of 4 blocks. */
const edk2Tftp: TftpHabits = { ...romTftp, blockSizeBytes: 1468, windowBlocks: 4, probesSize: true };
/** What iPXE loads by TFTP, e.g. autoexec.ipxe: src/net/udp/tftp.c. */
export const ipxeTftp: TftpHabits = { ...romTftp, blockSizeBytes: 1432, repeatMs: 1000 };

const onBios: IpxeBuild = { dhcp: ipxeOnBios, loadsAutoexec: false, lacks: [] };
const onUefi: IpxeBuild = { ...onBios, dhcp: ipxeOnUefi };

const biosPxe: Profile = {
  summary: "BIOS, PXE 2.1 ROM of a network card, then undionly.kpxe",
  dhcp: bios,
  firstStage: { by: "tftp", tftp: romTftp },
  ipxe: onBios,
  linkBlockedMs: 0,
};
const uefiPxe: Profile = {
  summary: "UEFI (EDK2), PXE over IPv4, then an iPXE for UEFI",
  dhcp: edk2,
  firstStage: { by: "tftp", tftp: edk2Tftp },
  ipxe: onUefi,
  linkBlockedMs: 0,
};

/** Every kind of machine that `boot simulate` can play. */
export const profiles = {
  bios: biosPxe,
  uefi: uefiPxe,
  "uefi-4011": {
    ...uefiPxe,
    summary: "UEFI that asks the boot server on port 4011 after its lease, whatever it was told",
    dhcp: { ...edk2, asksBootServer: "always" },
  },
  "uefi-http": {
    ...uefiPxe,
    summary: "UEFI HTTP boot (EDK2 HttpBootDxe): HEAD, then GET",
    dhcp: {
      ...edk2,
      architecture: 16,
      vendorClass: "HTTPClient:Arch:00016:UNDI:003016",
      asksBootServer: "never",
    },
    firstStage: { by: "http" },
  },
  ipxe: {
    ...biosPxe,
    summary: "iPXE in the card's ROM, as in QEMU",
    dhcp: ipxeOnBios,
    firstStage: undefined,
  },
  "ipxe-autoexec": {
    ...uefiPxe,
    summary: "UEFI, then an iPXE that loads autoexec.ipxe before anything else (firmware-quirk Q16)",
    ipxe: { ...onUefi, loadsAutoexec: true },
  },
  "ipxe-no-http": {
    ...biosPxe,
    summary: "an old iPXE ROM without HTTP: it is to be sent to a better one, once (firmware-quirk Q14)",
    dhcp: { ...ipxeOnBios, ipxeFeatures: [16, 21] },
    firstStage: undefined,
  },
  "bios-no-uuid": {
    ...biosPxe,
    summary: "BIOS ROM without options 93, 94 and 97 (firmware-quirks Q6, Q7)",
    dhcp: { ...bios, machineId: "none", clientId: "none", undi: undefined },
  },
  "bios-shared-uuid": {
    ...biosPxe,
    summary: "BIOS whose board has the UUID of all its sisters (firmware-quirk Q34)",
    dhcp: { ...bios, machineId: "shared" },
  },
  "bios-header-only": {
    ...biosPxe,
    summary: "BIOS ROM that reads file and siaddr of the header and no option of them (firmware-quirk Q9)",
    dhcp: { ...bios, readsBootFrom: "header" },
  },
  "bios-needs-size": {
    ...biosPxe,
    summary: "BIOS ROM that loads no file whose size TFTP does not tell (firmware-quirk Q21)",
    firstStage: { by: "tftp", tftp: { ...romTftp, needsSize: true } },
  },
  "bios-0xff": {
    ...biosPxe,
    summary: "BIOS ROM that asks TFTP for the name with 0xFF behind it (firmware-quirk Q8)",
    firstStage: { by: "tftp", tftp: { ...romTftp, nameSuffix: "\xff" } },
  },
  "bios-plain-tftp": {
    ...biosPxe,
    summary: "BIOS ROM whose TFTP knows no options: blocks of 512 octets",
    firstStage: { by: "tftp", tftp: { ...romTftp, blockSizeBytes: undefined } },
  },
  "bios-slow-link": {
    ...biosPxe,
    summary: "BIOS behind a switch port that spanning tree blocks for 30 s (firmware-quirk Q31)",
    linkBlockedMs: 30_000,
  },
  "uefi-small-blocks": {
    ...uefiPxe,
    summary: "UEFI behind a tunnel: TFTP in blocks of 1024 octets, one at a time (firmware-quirk Q22)",
    firstStage: { by: "tftp", tftp: { ...edk2Tftp, blockSizeBytes: 1024, windowBlocks: 1 } },
  },
  "uefi-wide-window": {
    ...uefiPxe,
    summary: "UEFI that asks for windows of 64 blocks, more than is granted (firmware-quirk Q23)",
    firstStage: { by: "tftp", tftp: { ...edk2Tftp, windowBlocks: 64 } },
  },
  "ipxe-old-commands": {
    ...biosPxe,
    summary: "iPXE of 2015 in the card's ROM, without newer and optional commands (firmware-quirk Q43)",
    dhcp: ipxeOnBios,
    firstStage: undefined,
    ipxe: {
      ...onBios,
      lacks: ["iflinkwait", "ifconf", "param", "params", "console", "imgverify", "imgtrust", "ntp", "nstat"],
    },
  },
  "uefi-one-offer": {
    ...uefiPxe,
    summary: "UEFI that never merges two offers: address and boot file from one server (firmware-quirk Q1)",
    dhcp: { ...edk2, mergesOffers: false },
  },
  os: {
    ...biosPxe,
    summary: "no firmware, an operating system that takes a lease and no more",
    dhcp: operatingSystem,
    firstStage: undefined,
    ipxe: undefined,
    isSpecial: true,
  },
} as const satisfies Record<string, Profile>;

export type ProfileName = keyof typeof profiles;
export const profileNames = Object.keys(profiles) as ProfileName[];

export function profileOf(name: ProfileName): Profile {
  return profiles[name];
}
