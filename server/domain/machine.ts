import type { Ipv4 } from "../net/ipv4.ts";
import type { Mac } from "../net/mac.ts";
import type { Uuid } from "../net/uuid.ts";
import type { BootPreferences } from "./boot-preferences.ts";
import type { EpochMs } from "./capabilities.ts";
import type { Arch } from "./firmware.ts";

/** One physical or virtual computer. Labels and hardware facts come from people or, hostile, from the machine itself. */
export interface Machine extends BootPreferences {
  readonly id: string;
  /** Lower-case host name label (RFC 1123 s.2.1), unique. */
  readonly name: string;
  /** The first MAC is the one it boots from. */
  readonly macs: readonly Mac[];
  readonly uuid: Uuid | undefined;
  readonly serial: string | undefined;
  readonly manufacturer: string | undefined;
  readonly product: string | undefined;
  readonly arch: Arch | undefined;
  /** Name of the firmware it was last seen with, e.g. `uefi-x86_64`. */
  readonly firmware: string | undefined;
  /** Whether its firmware refuses what nobody signed, by its own word; undefined: it has not said. */
  readonly secureBoot: boolean | undefined;
  readonly group: string | undefined;
  readonly seat: string | undefined;
  readonly labels: Readonly<Record<string, string>>;
  /** Reserved address: authoritative DHCP gives it to this machine only. */
  readonly address: Ipv4 | undefined;
  readonly ramBytes: number | undefined;
  readonly phase: Phase;
  readonly createdAt: EpochMs;
  /** When a person added or accepted it; undefined for one that was only met. */
  readonly acceptedAt: EpochMs | undefined;
  readonly lastSeenAt: EpochMs | undefined;
}

export type Phase =
  | "discovered"
  | "accepted"
  | "assigned"
  | "netbooting"
  | "booting"
  | "configuring"
  | "joining"
  | "ready"
  | "failed"
  | "lost"
  | "retired";

export const phases: readonly Phase[] = [
  "discovered",
  "accepted",
  "assigned",
  "netbooting",
  "booting",
  "configuring",
  "joining",
  "ready",
  "failed",
  "lost",
  "retired",
];

/** True for a name that is one host name label: letters, digits, inner hyphens, at most 63 octets (RFC 1123 s.2.1). */
export function isMachineName(text: string): boolean {
  return /^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/.test(text);
}

/** Sorts names as people count: s2 before s10. */
export function naturalKey(name: string): string {
  return name.replaceAll(/[0-9]+/g, (digits) => digits.padStart(12, "0"));
}

/** The name that a machine has before anybody named it. */
export function nameFromMac(mac: Mac): string {
  return `m-${mac.replaceAll(":", "")}`;
}
