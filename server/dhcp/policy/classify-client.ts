import type { Speaker } from "../../domain/contact.ts";
import { type Firmware, firmwareByCode, firmwares } from "../../domain/firmware.ts";
import { isUnusableMac, type Mac, macFromOctets } from "../../net/mac.ts";
import { type Uuid, uuidFromClientMachineId } from "../../net/uuid.ts";
import type { DhcpMessage } from "../wire/message.ts";
import { OptionCode } from "../wire/option-codes.ts";
import { textFromOctets, textOption, uint16List } from "../wire/options.ts";
import { type FingerprintKind, fingerprintOf } from "./fingerprints.ts";
import { decodeIpxeFeatures, type IpxeFeature } from "../wire/pxe-vendor.ts";

/** Who sent a message, as far as its options tell. */
export interface Client {
  readonly mac: Mac;
  readonly speaker: Speaker;
  /** Option 60 (RFC 2132 s.9.13); hostile input. */
  readonly vendorClass: string;
  /** What it wants to be answered as; undefined for a client that does not boot from the network. */
  readonly netboot: "PXEClient" | "HTTPClient" | undefined;
  /** All of option 93, or the one in the vendor class. */
  readonly architectures: readonly number[];
  /** By the first architecture that we know. */
  readonly firmware: Firmware | undefined;
  /** What it is by vendor class and MAC, where its architecture does not tell or tells wrong. */
  readonly fingerprint: FingerprintKind | undefined;
  /** What its iPXE can do; undefined when it did not say, which iPXE always does. */
  readonly ipxeFeatures: ReadonlySet<IpxeFeature> | undefined;
  /** Option 97, to be echoed; absent or of another form than RFC 4578 s.2.3 in real ROMs. */
  readonly machineId: Uint8Array | undefined;
  readonly uuid: Uuid | undefined;
  /** Option 55, each code once. */
  readonly requested: readonly number[];
}

const ethernet = 1;
const raspberryPiCode = 41;

/**
 * Reads who speaks from options 55, 60, 77, 93, 97 and 175 (RFC 4578, RFC 3004, iPXE).
 *
 * Options 93 and 94 should both come with "PXEClient", but some ROMs leave them out and still expect to boot, so the
 * vendor class alone makes a network boot client.
 *
 * @returns undefined when no Ethernet machine sent it: other hardware, or a MAC that can't be one machine's
 */
export function classifyClient(message: DhcpMessage): Client | undefined {
  if (message.htype !== ethernet || message.hlen !== 6) return undefined;
  const mac = macFromOctets(message.chaddr);
  if (isUnusableMac(mac)) return undefined;
  const vendorClass = textOption(message.options, OptionCode.VendorClass) ?? "";
  const netboot = (["PXEClient", "HTTPClient"] as const).find((name) => vendorClass.startsWith(name));
  const ipxeOption = message.options.get(OptionCode.Ipxe);
  const isIpxe =
    ipxeOption !== undefined || userClasses(message.options.get(OptionCode.UserClass)).includes("iPXE");
  const architectures =
    uint16List(message.options.get(OptionCode.ClientArchitecture)) ?? architectureOf(vendorClass);
  const machineId = message.options.get(OptionCode.ClientMachineId);
  const requested = [...new Set(message.options.get(OptionCode.ParameterRequestList) ?? [])];
  const fingerprint = isIpxe ? undefined : fingerprintOf(mac, architectures, vendorClass, requested);
  return {
    mac,
    speaker: isIpxe ? "ipxe" : netboot || fingerprint ? "firmware" : "os",
    vendorClass,
    // An iPXE behind a relay that rewrites option 60 is a network boot client all the same, and so is U-Boot.
    netboot: netboot ?? (isIpxe || fingerprint ? "PXEClient" : undefined),
    architectures,
    firmware: firmwareOf(architectures, fingerprint),
    fingerprint,
    ipxeFeatures: ipxeOption && decodeIpxeFeatures(ipxeOption),
    machineId: machineId?.length === 17 && machineId[0] === 0 ? machineId : undefined,
    uuid: machineId && uuidFromClientMachineId(machineId),
    requested,
  };
}

/** By the first architecture that we know, and what it is in truth where it is known to say something else. */
function firmwareOf(
  architectures: readonly number[],
  fingerprint: FingerprintKind | undefined,
): Firmware | undefined {
  if (fingerprint === "raspberry-pi") return firmwareByCode(raspberryPiCode);
  const said = architectures.map(firmwareByCode).find((firmware) => firmware !== undefined);
  if (fingerprint !== "uboot-uefi") return said;
  return firmwares.find(({ kind, arch }) => kind === "uboot" && arch === said?.arch) ?? said;
}

/**
 * The user classes of option 77: a list of strings with their lengths before them (RFC 3004 s.4), or, as iPXE and many
 * others send it, one bare string. The list form is taken only when the lengths add up exactly.
 */
export function userClasses(value: Uint8Array | undefined): string[] {
  if (!value || value.length === 0) return [];
  const classes: string[] = [];
  let at = 0;
  while (at < value.length) {
    const length = value[at] ?? 0;
    if (length === 0 || at + 1 + length > value.length) return [textFromOctets(value)];
    classes.push(textFromOctets(value.subarray(at + 1, at + 1 + length)));
    at += 1 + length;
  }
  return classes;
}

/** The architecture in "PXEClient:Arch:00007:UNDI:003016", for ROMs that send no option 93. */
function architectureOf(vendorClass: string): number[] {
  const digits = /^(?:PXE|HTTP)Client:Arch:([0-9]{5})(?:$|:)/.exec(vendorClass)?.[1];
  return digits === undefined ? [] : [Number(digits)];
}
