import type { DurationMs } from "../../domain/capabilities.ts";
import { DiscoveryControl, PxeSubOption, type SubOption } from "../wire/pxe-vendor.ts";
import { textToOctets } from "../wire/options.ts";
import type { BootChoice } from "./choose-bootfile.ts";

/** How a network boot client of one kind is told its boot file. All of it is data: firmware differs, rules do not. */
export interface PxeStrategy {
  readonly name: string;
  /**
   * Option 60 of the reply; UEFI HTTP boot takes no offer without its own word (EDK2 HttpBootDhcp4.c). Undefined for
   * clients that are no PXE.
   */
  readonly vendorClass: "PXEClient" | "HTTPClient" | undefined;
  /** Sub-options of option 43; none: no option 43 at all. */
  readonly vendorOptions: readonly SubOption[];
  /** Options 66 and 67 beside the header's `siaddr` and `file`. */
  readonly hasBootOptions: boolean;
  /** The server's address as text in the header's `sname`, for firmware that looks there. */
  readonly hasServerName: boolean;
  /** Tells iPXE to wait for no proxy offer: 2 seconds less in each boot (iPXE dhcp.c). */
  readonly isOnlyServer: boolean;
  /** An OFFER that comes at once is missed by some ROMs; the config has a say where this is undefined. */
  readonly offerDelayMs?: DurationMs;
}

/** `proxy`: OFFER on port 67; `boot-server`: ACK on port 4011, in either mode. */
export type PxeRole = "proxy" | "authoritative" | "boot-server";
export type PxeClientKind = Extract<BootChoice, { kind: "boot" }>["client"];

/** What is tried in turn with one kind of client: the first one is the rule, the others are for machines it failed with. */
export type PxeAlternatives = readonly [PxeStrategy, ...PxeStrategy[]];

const bootFileAtOnce: SubOption = {
  code: PxeSubOption.DiscoveryControl,
  value: Uint8Array.of(DiscoveryControl.BootFileAtOnce),
};
const noDiscovery: SubOption = {
  code: PxeSubOption.DiscoveryControl,
  value: Uint8Array.of(DiscoveryControl.NoBroadcast | DiscoveryControl.NoMulticast),
};
/** Sub-option 10: the time that the prompt waits, s, and its text (PXE 2.1 s.2.4). */
const prompt: SubOption = {
  code: PxeSubOption.MenuPrompt,
  value: Uint8Array.of(0, ...textToOctets("PXE")),
};

/** Sub-option 9 with one item: its number, the length of its text, its text (PXE 2.1 s.2.4). */
function menu(item: string): SubOption {
  return { code: PxeSubOption.BootMenu, value: Uint8Array.of(0, 0, item.length, ...textToOctets(item)) };
}

const plain = {
  vendorClass: "PXEClient",
  vendorOptions: [],
  hasBootOptions: false,
  hasServerName: false,
  isOnlyServer: false,
} as const satisfies Omit<PxeStrategy, "name">;

const full = { ...plain, hasBootOptions: true, hasServerName: true };
const http = { ...plain, vendorClass: "HTTPClient", hasBootOptions: true } as const;

/**
 * A Raspberry Pi's ROM boots from the server that shows this menu, down to its framing, and asks TFTP for the files that
 * it knows by itself. It reads 66, some not `siaddr`, and none `sname` (firmware-quirks Q9, Q29).
 */
const raspberryPi = {
  ...plain,
  hasBootOptions: true,
  vendorOptions: [noDiscovery, prompt, menu("Raspberry Pi Boot")],
};
/** The ROM of the first Pi 3 compares the text with its padding. */
const paddedRaspberryPi = {
  ...raspberryPi,
  vendorOptions: [noDiscovery, prompt, menu("Raspberry Pi Boot   ")],
};

/** Boots from `file` and `siaddr`, or 66 and 67, and knows nothing of PXE (firmware-quirk Q9). */
const uboot = { ...plain, vendorClass: undefined, hasBootOptions: true };

/**
 * BIOS ROMs boot the file of the proxy offer when 43.6 says so. UEFI ignores that and wants option 43 absent, then asks
 * port 4011 (firmware-quirk Q3); without an answer there it asks for ever (Q4), so 4011 is always served.
 *
 * The order within a list is the order in which a machine that gets nowhere is tried with them. Names are kept on disk.
 */
export const pxeStrategies: Readonly<Record<PxeRole, Readonly<Record<PxeClientKind, PxeAlternatives>>>> = {
  proxy: {
    bios: [
      { ...plain, name: "proxy-bios", vendorOptions: [bootFileAtOnce] },
      { ...full, name: "proxy-bios-full", vendorOptions: [bootFileAtOnce, prompt] },
      // Option 60 alone sends a ROM to port 4011 (PXE 2.1 s.2.2.3).
      { ...plain, name: "proxy-bios-4011" },
    ],
    uefi: [
      { ...plain, name: "proxy-uefi" },
      { ...plain, name: "proxy-uefi-prompt", vendorOptions: [bootFileAtOnce, prompt] },
      { ...full, name: "proxy-uefi-full", vendorOptions: [bootFileAtOnce, prompt] },
    ],
    "uefi-http": [{ ...http, name: "proxy-uefi-http" }],
    ipxe: [{ ...plain, name: "proxy-ipxe" }],
    "raspberry-pi": [
      { ...raspberryPi, name: "proxy-raspberry-pi" },
      { ...paddedRaspberryPi, name: "proxy-raspberry-pi-padded" },
      { ...raspberryPi, name: "proxy-raspberry-pi-slow", offerDelayMs: 2000 },
    ],
    // Takes the first OFFER with or without an address in it, so the proxy stays silent: see decide-reply.ts.
    uboot: [{ ...uboot, name: "proxy-uboot" }],
  },
  authoritative: {
    bios: [
      { ...full, name: "full-bios", vendorOptions: [bootFileAtOnce] },
      { ...full, name: "full-bios-prompt", vendorOptions: [bootFileAtOnce, prompt] },
      // Ancient ROMs take what BOOTP had and stumble over the rest.
      { ...plain, name: "full-bios-plain" },
    ],
    uefi: [
      { ...full, name: "full-uefi", vendorOptions: [bootFileAtOnce] },
      { ...full, name: "full-uefi-prompt", vendorOptions: [bootFileAtOnce, prompt] },
      { ...full, name: "full-uefi-4011" },
    ],
    "uefi-http": [{ ...http, name: "full-uefi-http" }],
    ipxe: [{ ...full, name: "full-ipxe", isOnlyServer: true }],
    "raspberry-pi": [
      { ...raspberryPi, name: "full-raspberry-pi" },
      { ...paddedRaspberryPi, name: "full-raspberry-pi-padded" },
      { ...raspberryPi, name: "full-raspberry-pi-slow", offerDelayMs: 2000 },
    ],
    uboot: [{ ...uboot, name: "full-uboot" }],
  },
  "boot-server": {
    bios: [{ ...plain, name: "boot-server-bios", hasServerName: true, vendorOptions: [bootFileAtOnce] }],
    uefi: [{ ...plain, name: "boot-server-uefi", hasServerName: true }],
    "uefi-http": [{ ...http, name: "boot-server-uefi-http" }],
    ipxe: [{ ...plain, name: "boot-server-ipxe" }],
    "raspberry-pi": [{ ...raspberryPi, name: "boot-server-raspberry-pi" }],
    uboot: [{ ...uboot, name: "boot-server-uboot" }],
  },
};

/** The strategy for a client: the one of this name if it is one of its alternatives, else the rule. */
export function pxeStrategy(role: PxeRole, client: PxeClientKind, name?: string): PxeStrategy {
  const alternatives = pxeStrategies[role][client];
  return alternatives.find((strategy) => strategy.name === name) ?? alternatives[0];
}

/** The alternatives that a strategy belongs to; none for a name that is no longer known. */
export function alternativesOf(name: string): readonly PxeStrategy[] {
  for (const kinds of Object.values(pxeStrategies))
    for (const alternatives of Object.values(kinds))
      if (alternatives.some((strategy) => strategy.name === name)) return alternatives;
  return [];
}
