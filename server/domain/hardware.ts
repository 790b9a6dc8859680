import type { Mac } from "../net/mac.ts";
import type { EpochMs } from "./capabilities.ts";

/** What a machine's own system found in it: hostile input, cut to length, for display and naming only. */
export interface Hardware {
  readonly cpu: { readonly model: string | undefined; readonly cores: number | undefined };
  readonly memoryBytes: number | undefined;
  readonly vendor: string | undefined;
  readonly product: string | undefined;
  readonly serial: string | undefined;
  /** As the board says it, usable or not. */
  readonly uuid: string | undefined;
  readonly disks: readonly Disk[];
  readonly nics: readonly Nic[];
}

export interface Disk {
  readonly name: string;
  readonly sizeBytes: number;
  readonly model: string | undefined;
  readonly serial: string | undefined;
  readonly isRotating: boolean | undefined;
}

export interface Nic {
  readonly name: string;
  readonly mac: Mac;
  readonly driver: string | undefined;
  readonly hasLink: boolean | undefined;
  readonly speedMbit: number | undefined;
  /** What the switch said of itself by LLDP; undefined: nothing was heard. */
  readonly neighbour: LldpNeighbour | undefined;
}

/** IEEE 802.1AB: who is at the other end of the cable. */
export interface LldpNeighbour {
  /** Of the switch, mostly its MAC. */
  readonly chassisId: string;
  readonly portId: string;
  readonly portDescription: string | undefined;
  readonly systemName: string | undefined;
}

export interface ReportedHardware extends Hardware {
  readonly reportedAt: EpochMs;
}

/** No DIMM is that small. What a kernel and a firmware keep for themselves differs by a few MiB from version to version. */
const ramToleranceBytes = 128 * 1024 * 1024;

function isOtherRam(before: number | undefined, after: number | undefined): boolean {
  if (before === undefined || after === undefined) return before !== after;
  return Math.abs(before - after) >= ramToleranceBytes;
}

/** What differs between two reports, as names: a DIMM that was stolen, a disk that died. Links and neighbours come and go. */
export function hardwareChanges(before: Hardware, after: Hardware): string[] {
  const lasting = (hardware: Hardware) => ({
    CPU: hardware.cpu,
    RAM: isOtherRam(before.memoryBytes, hardware.memoryBytes),
    board: [hardware.vendor, hardware.product, hardware.serial, hardware.uuid],
    // Two controllers come up in either order, and sda was sdb.
    disks: hardware.disks.map((disk) => JSON.stringify([disk.sizeBytes, disk.model, disk.serial])).sort(),
    NICs: hardware.nics.map(({ mac }) => mac).sort(),
  });
  const former = lasting(before);
  return Object.entries(lasting(after)).flatMap(([name, value]) =>
    JSON.stringify(value) === JSON.stringify(former[name as keyof typeof former]) ? [] : [name],
  );
}
