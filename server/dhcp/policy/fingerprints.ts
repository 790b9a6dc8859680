import { OptionCode } from "../wire/option-codes.ts";
import type { Mac } from "../../net/mac.ts";

/** What firmware is by more than its architecture: it says 0 and is no PC, say. */
export type FingerprintKind = "raspberry-pi" | "uboot" | "uboot-uefi";

/** U-Boot reads one OFFER and nothing of PXE, also where its UEFI speaks PXE's words. */
export function isUboot(fingerprint: FingerprintKind | undefined): boolean {
  return fingerprint === "uboot" || fingerprint === "uboot-uefi";
}

export interface Fingerprint {
  readonly kind: FingerprintKind;
  /** First three octets of its MACs (IEEE registry); undefined: any. */
  readonly ouis?: readonly string[];
  /** Option 93; undefined: any, and none. */
  readonly architectures?: readonly number[];
  /** How option 60 begins; undefined: any. */
  readonly vendorClass?: string;
  /** An option that it does not ask for in its option 55; who sends none is not meant. */
  readonly asksNotFor?: number;
}

const raspberryPiOuis = ["28:cd:c1", "2c:cf:67", "88:a2:9e", "b8:27:eb", "d8:3a:dd", "dc:a6:32", "e4:5f:01"];

/** All that is given must fit; the first row that fits counts. A UEFI on a Pi says 11 and is a UEFI like any other. */
export const fingerprints: readonly Fingerprint[] = [
  // Its ROM says 0, a PC with a BIOS (raspberrypi/documentation#1686).
  { kind: "raspberry-pi", ouis: raspberryPiOuis, architectures: [0], vendorClass: "PXEClient" },
  { kind: "raspberry-pi", architectures: [41] },
  { kind: "uboot", vendorClass: "U-Boot" },
  { kind: "uboot", architectures: [21, 22] },
  // Its UEFI says word for word what EDK2 says, and is none; but no PXE ROM leaves out option 43, and U-Boot knows it not
  // (U-Boot net/bootp.c, and its distro boot that sets bootp_vci).
  {
    kind: "uboot-uefi",
    architectures: [10, 11, 27],
    vendorClass: "PXEClient",
    asksNotFor: OptionCode.VendorSpecific,
  },
];

export function fingerprintOf(
  mac: Mac,
  architectures: readonly number[],
  vendorClass: string,
  requested: readonly number[],
): FingerprintKind | undefined {
  const oui = mac.slice(0, 8);
  const found = fingerprints.find(
    (row) =>
      (row.ouis?.includes(oui) ?? true) &&
      (row.architectures === undefined || architectures.some((code) => row.architectures?.includes(code))) &&
      vendorClass.startsWith(row.vendorClass ?? "") &&
      (row.asksNotFor === undefined || (requested.length > 0 && !requested.includes(row.asksNotFor))),
  );
  return found?.kind;
}
