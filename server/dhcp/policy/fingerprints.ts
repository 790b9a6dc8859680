import type { Mac } from "../../net/mac.ts";

/** What firmware is by more than its architecture: it says 0 and is no PC, say. */
export type FingerprintKind = "raspberry-pi" | "uboot";

export interface Fingerprint {
  readonly kind: FingerprintKind;
  /** First three octets of its MACs (IEEE registry); undefined: any. */
  readonly ouis?: readonly string[];
  /** Option 93; undefined: any, and none. */
  readonly architectures?: readonly number[];
  /** How option 60 begins; undefined: any. */
  readonly vendorClass?: string;
}

const raspberryPiOuis = ["28:cd:c1", "2c:cf:67", "88:a2:9e", "b8:27:eb", "d8:3a:dd", "dc:a6:32", "e4:5f:01"];

/** All that is given must fit; the first row that fits counts. A UEFI on a Pi says 11 and is a UEFI like any other. */
export const fingerprints: readonly Fingerprint[] = [
  // Its ROM says 0, a PC with a BIOS (raspberrypi/documentation#1686).
  { kind: "raspberry-pi", ouis: raspberryPiOuis, architectures: [0], vendorClass: "PXEClient" },
  { kind: "raspberry-pi", architectures: [41] },
  { kind: "uboot", vendorClass: "U-Boot" },
  { kind: "uboot", architectures: [21, 22] },
];

export function fingerprintOf(
  mac: Mac,
  architectures: readonly number[],
  vendorClass: string,
): FingerprintKind | undefined {
  const oui = mac.slice(0, 8);
  const found = fingerprints.find(
    (row) =>
      (row.ouis?.includes(oui) ?? true) &&
      (row.architectures === undefined || architectures.some((code) => row.architectures?.includes(code))) &&
      vendorClass.startsWith(row.vendorClass ?? ""),
  );
  return found?.kind;
}
