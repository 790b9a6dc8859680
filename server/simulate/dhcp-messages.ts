import { type Ipv4, ipv4ToOctets, parseIpv4, UnspecifiedAddress } from "../net/ipv4.ts";
import { type Mac, macToOctets } from "../net/mac.ts";
import { BootRequest, type DhcpMessage } from "../dhcp/wire/message.ts";
import { MessageType, OptionCode } from "../dhcp/wire/option-codes.ts";
import { ipv4Option, octetOption, textOption, textToOctets } from "../dhcp/wire/options.ts";
import { DiscoveryControl, decodeSubOptions, IpxeNoPxeDhcp, PxeSubOption } from "../dhcp/wire/pxe-vendor.ts";
import type { PlannedMachine } from "./plan.ts";
import type { DhcpHabits } from "./profiles.ts";

export interface RequestFields {
  readonly type: "Discover" | "Request";
  readonly xid: number;
  readonly secs: number;
  readonly giaddr?: Ipv4;
  readonly hops?: number;
  readonly flags?: number;
  readonly ciaddr?: Ipv4;
  /** Option 50. */
  readonly requested?: Ipv4;
  /** Option 54. */
  readonly server?: Ipv4;
}

/** What a client of these habits sends. */
export function clientMessage(
  { mac, uuid }: PlannedMachine,
  habits: DhcpHabits,
  fields: RequestFields,
): DhcpMessage {
  const chaddr = new Uint8Array(16);
  chaddr.set(macToOctets(mac));
  return {
    op: BootRequest,
    htype: 1,
    hlen: 6,
    hops: fields.hops ?? 0,
    xid: fields.xid,
    secs: Math.min(fields.secs, 0xffff),
    flags: fields.flags ?? 0,
    ciaddr: fields.ciaddr ?? UnspecifiedAddress,
    yiaddr: UnspecifiedAddress,
    siaddr: UnspecifiedAddress,
    giaddr: fields.giaddr ?? UnspecifiedAddress,
    chaddr,
    sname: "",
    file: "",
    options: clientOptions(mac, habits.machineId === "shared" ? sharedUuid : uuid, habits, fields),
  };
}

/** All ones: no board of its own has that (SMBIOS 2.6 s.7.2.1). */
export const sharedUuid = new Uint8Array(16).fill(0xff);

function clientOptions(
  mac: Mac,
  uuid: Uint8Array,
  habits: DhcpHabits,
  { type, requested, server }: RequestFields,
): Map<number, Uint8Array> {
  const options = new Map<number, Uint8Array>();
  const add = (code: number, value: readonly number[] | string | undefined) => {
    if (value !== undefined)
      options.set(code, typeof value === "string" ? textToOctets(value) : Uint8Array.from(value));
  };
  add(OptionCode.MessageType, [MessageType[type]]);
  if (requested !== undefined) options.set(OptionCode.RequestedAddress, ipv4ToOctets(requested));
  if (server !== undefined) options.set(OptionCode.ServerId, ipv4ToOctets(server));
  const { maximumMessageOctets: most, architecture } = habits;
  add(OptionCode.MaximumMessageSize, most === undefined ? undefined : [most >> 8, most & 255]);
  add(OptionCode.ParameterRequestList, habits.requested);
  add(OptionCode.VendorClass, habits.vendorClass);
  add(OptionCode.UserClass, habits.userClass);
  // Without option 94 the ROM says its architecture in its vendor class only.
  if (habits.undi)
    add(OptionCode.ClientArchitecture, architecture === undefined ? undefined : [0, architecture]);
  add(OptionCode.ClientNdi, habits.undi);
  if (habits.machineId !== "none") add(OptionCode.ClientMachineId, [0, ...uuid]);
  if (habits.clientId === "uuid") add(OptionCode.ClientId, [0, ...uuid]);
  if (habits.clientId === "mac") add(OptionCode.ClientId, [1, ...macToOctets(mac)]);
  add(
    OptionCode.Ipxe,
    habits.ipxeFeatures?.flatMap((feature) => [feature, 1, 1]),
  );
  return options;
}

export type ReplyType = "OFFER" | "ACK" | "NAK";

export function replyType({ op, options }: DhcpMessage): ReplyType | undefined {
  if (op === BootRequest) return undefined;
  const type = octetOption(options, OptionCode.MessageType);
  if (type === MessageType.Offer) return "OFFER";
  if (type === MessageType.Ack) return "ACK";
  return type === MessageType.Nak ? "NAK" : undefined;
}

/** A network boot program: a TFTP name or a URL, and where TFTP is asked. */
export interface BootFile {
  readonly name: string;
  readonly server: Ipv4;
}

/** Option 67 up to its first NUL, else the header's `file`; the server is siaddr, else option 66, else the sender. */
export function bootFileOf(
  { options, file, siaddr }: DhcpMessage,
  { readsBootFrom }: Pick<DhcpHabits, "readsBootFrom">,
): BootFile | undefined {
  if (readsBootFrom === "header") return file === "" ? undefined : { name: file, server: siaddr };
  const option = textOption(options, OptionCode.BootfileName)?.replace(/\0.*$/s, "");
  const name = option === undefined || option === "" ? file : option;
  if (name === "") return undefined;
  const named = parseIpv4(textOption(options, OptionCode.TftpServerName) ?? "");
  const server = siaddr === UnspecifiedAddress ? (named ?? ipv4Option(options, OptionCode.ServerId)) : siaddr;
  return { name, server: server ?? UnspecifiedAddress };
}

/** True for an offer that a client of this vendor class takes boot information from (PXE 2.1 s.2.2, EDK2 HttpBootDhcp4.c). */
export function isForNetboot({ options }: DhcpMessage, vendorClass: string): boolean {
  const kind = vendorClass.startsWith("HTTPClient") ? "HTTPClient" : "PXEClient";
  return textOption(options, OptionCode.VendorClass)?.startsWith(kind) ?? false;
}

/** Option 43.6 says: load the boot file of this offer at once. */
export function isBootFileAtOnce({ options }: DhcpMessage): boolean {
  const vendor = options.get(OptionCode.VendorSpecific);
  const control = vendor && decodeSubOptions(vendor).get(PxeSubOption.DiscoveryControl)?.[0];
  return ((control ?? 0) & DiscoveryControl.BootFileAtOnce) !== 0;
}

/** Option 175.176: iPXE need not wait for a proxy offer. */
export function forbidsProxyWait({ options }: DhcpMessage): boolean {
  const ipxe = options.get(OptionCode.Ipxe);
  return ipxe !== undefined && decodeSubOptions(ipxe).has(IpxeNoPxeDhcp);
}
