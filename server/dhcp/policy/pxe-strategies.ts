import { DiscoveryControl, PxeSubOption, type SubOption } from "../wire/pxe-vendor.ts";
import type { BootChoice } from "./choose-bootfile.ts";

/** How a network boot client of one kind is told its boot file. All of it is data: firmware differs, rules do not. */
export interface PxeStrategy {
  readonly name: string;
  /** Option 60 of the reply; UEFI HTTP boot takes no offer without its own word (EDK2 HttpBootDhcp4.c). */
  readonly vendorClass: "PXEClient" | "HTTPClient";
  /** Sub-options of option 43; none: no option 43 at all. */
  readonly vendorOptions: readonly SubOption[];
  /** Options 66 and 67 beside the header's `siaddr` and `file`. */
  readonly hasBootOptions: boolean;
  /** The server's address as text in the header's `sname`, for firmware that looks there. */
  readonly hasServerName: boolean;
  /** Tells iPXE to wait for no proxy offer: 2 seconds less in each boot (iPXE dhcp.c). */
  readonly isOnlyServer: boolean;
}

/** `proxy`: OFFER on port 67; `boot-server`: ACK on port 4011, in either mode. */
export type PxeRole = "proxy" | "authoritative" | "boot-server";
export type PxeClientKind = Extract<BootChoice, { kind: "boot" }>["client"];

const bootFileAtOnce: SubOption = {
  code: PxeSubOption.DiscoveryControl,
  value: Uint8Array.of(DiscoveryControl.BootFileAtOnce),
};

const plain = {
  vendorClass: "PXEClient",
  vendorOptions: [],
  hasBootOptions: false,
  hasServerName: false,
  isOnlyServer: false,
} as const satisfies Omit<PxeStrategy, "name">;

const full = { ...plain, hasBootOptions: true, hasServerName: true };

/**
 * BIOS ROMs boot the file of the proxy offer when 43.6 says so. UEFI ignores that and wants option 43 absent, then asks
 * port 4011 (firmware-quirk Q3); without an answer there it asks for ever (Q4), so 4011 is always served.
 */
export const pxeStrategies: Readonly<Record<PxeRole, Readonly<Record<PxeClientKind, PxeStrategy>>>> = {
  proxy: {
    bios: { ...plain, name: "proxy-bios", vendorOptions: [bootFileAtOnce] },
    uefi: { ...plain, name: "proxy-uefi" },
    "uefi-http": { ...plain, name: "proxy-uefi-http", vendorClass: "HTTPClient", hasBootOptions: true },
    ipxe: { ...plain, name: "proxy-ipxe" },
  },
  authoritative: {
    bios: { ...full, name: "full-bios", vendorOptions: [bootFileAtOnce] },
    uefi: { ...full, name: "full-uefi", vendorOptions: [bootFileAtOnce] },
    "uefi-http": { ...plain, name: "full-uefi-http", vendorClass: "HTTPClient", hasBootOptions: true },
    ipxe: { ...full, name: "full-ipxe", isOnlyServer: true },
  },
  "boot-server": {
    bios: { ...plain, name: "boot-server-bios", hasServerName: true, vendorOptions: [bootFileAtOnce] },
    uefi: { ...plain, name: "boot-server-uefi", hasServerName: true },
    "uefi-http": { ...plain, name: "boot-server-uefi-http", vendorClass: "HTTPClient", hasBootOptions: true },
    ipxe: { ...plain, name: "boot-server-ipxe" },
  },
};

/** The strategy for a client; `override` is what this machine's MAC was given instead of the rule, if anything. */
export function pxeStrategy(role: PxeRole, client: PxeClientKind, override?: PxeStrategy): PxeStrategy {
  return override ?? pxeStrategies[role][client];
}
