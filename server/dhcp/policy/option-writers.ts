import { type Ipv4, ipv4FromNumber, ipv4ToOctets } from "../../net/ipv4.ts";
import { netmask } from "../../net/cidr.ts";
import { type DhcpMessage, MaximumFileLength } from "../wire/message.ts";
import { MessageType, OptionCode } from "../wire/option-codes.ts";
import { ipv4ListToOctets, textToOctets, uint32ToOctets } from "../wire/options.ts";
import {
  decodeSubOptions,
  encodePxeOptions,
  encodeSubOptions,
  IpxeNoPxeDhcp,
  PxeSubOption,
} from "../wire/pxe-vendor.ts";
import type { Client } from "./classify-client.ts";
import type { PxeStrategy } from "./pxe-strategies.ts";
import type { Subnet } from "./subnet.ts";

/** All that a reply's options are made of. */
export interface ReplyContext {
  readonly message: "OFFER" | "ACK" | "NAK";
  readonly request: DhcpMessage;
  readonly client: Client;
  readonly serverAddress: Ipv4;
  /** Network parameters go out only with a subnet: never in proxy mode. */
  readonly subnet: Subnet | undefined;
  /** Undefined where no address is given: INFORM, proxy, NAK. */
  readonly leaseSeconds: number | undefined;
  readonly boot: { readonly bootfile: string; readonly strategy: PxeStrategy } | undefined;
  /** Option 56 of a NAK. */
  readonly refusal: string | undefined;
}

interface OptionWriter {
  readonly code: number;
  /** The value; undefined leaves the option out. */
  write(context: ReplyContext): Uint8Array | undefined;
}

/** A lease time that means "for ever" (RFC 2131 s.3.3). */
const infiniteSeconds = 0xffffffff;

const messageTypes = { OFFER: MessageType.Offer, ACK: MessageType.Ack, NAK: MessageType.Nak } as const;

/** What goes into every reply, a NAK too (RFC 2131 table 3, RFC 6842 s.3, RFC 3046 s.2.2). */
const always: readonly OptionWriter[] = [
  { code: OptionCode.MessageType, write: ({ message }) => Uint8Array.of(messageTypes[message]) },
  { code: OptionCode.ServerId, write: ({ serverAddress }) => ipv4ToOctets(serverAddress) },
  {
    code: OptionCode.Message,
    write: ({ refusal }) => (refusal === undefined ? undefined : textToOctets(refusal)),
  },
  { code: OptionCode.ClientId, write: ({ request }) => request.options.get(OptionCode.ClientId) },
  {
    code: OptionCode.RelayAgentInformation,
    write: ({ request }) => request.options.get(OptionCode.RelayAgentInformation),
  },
];

/** What goes into OFFER and ACK. */
const granting: readonly OptionWriter[] = [
  {
    code: OptionCode.LeaseTime,
    write: ({ leaseSeconds }) => (leaseSeconds === undefined ? undefined : uint32ToOctets(leaseSeconds)),
  },
  { code: OptionCode.RenewalTime, write: (context) => timer(context, OptionCode.RenewalTime, 0.5) },
  { code: OptionCode.RebindingTime, write: (context) => timer(context, OptionCode.RebindingTime, 0.875) },
  // Without its mask a client guesses by address class, so it goes out unasked.
  {
    code: OptionCode.SubnetMask,
    write: ({ subnet }) => subnet && ipv4ToOctets(netmask(subnet.subnet.prefixLength)),
  },
  {
    code: OptionCode.BroadcastAddress,
    write: wanted(OptionCode.BroadcastAddress, (s) => ipv4ToOctets(ipv4FromNumber(s.subnet.last))),
  },
  {
    code: OptionCode.Router,
    write: wanted(OptionCode.Router, ({ router }) => router && ipv4ToOctets(router)),
  },
  {
    code: OptionCode.DnsServers,
    write: wanted(OptionCode.DnsServers, ({ dns }) => (dns?.length ? ipv4ListToOctets(dns) : undefined)),
  },
  {
    code: OptionCode.DomainName,
    write: wanted(OptionCode.DomainName, ({ domain }) => (domain ? textToOctets(domain) : undefined)),
  },
];

/** What goes into the OFFER and ACK of a network boot client (PXE 2.1 s.2.2, RFC 4578), asked for or not. */
const booting: readonly OptionWriter[] = [
  {
    code: OptionCode.VendorClass,
    write: ({ boot }) => boot?.strategy.vendorClass && textToOctets(boot.strategy.vendorClass),
  },
  { code: OptionCode.ClientMachineId, write: ({ boot, client }) => boot && client.machineId },
  { code: OptionCode.VendorSpecific, write: pxeOptions },
  {
    code: OptionCode.TftpServerName,
    write: ({ boot, serverAddress }) =>
      boot?.strategy.hasBootOptions && !isUrl(boot.bootfile) ? textToOctets(serverAddress) : undefined,
  },
  // Old ROMs read it as a C string and ask for "name\xff" when no NUL ends it (firmware-quirk Q8).
  {
    code: OptionCode.BootfileName,
    write: ({ boot }) =>
      boot && (boot.strategy.hasBootOptions || !fitsFile(boot.bootfile))
        ? textToOctets(`${boot.bootfile}\0`)
        : undefined,
  },
  {
    code: OptionCode.Ipxe,
    write: ({ boot }) =>
      boot?.strategy.isOnlyServer
        ? encodeSubOptions([{ code: IpxeNoPxeDhcp, value: Uint8Array.of(1) }])
        : undefined,
  },
];

const forLease: readonly OptionWriter[] = [...always, ...granting];
const forBoot: readonly OptionWriter[] = [...forLease, ...booting];

/** All options of a reply, in no order that matters yet. */
export function writeOptions(context: ReplyContext): Map<number, Uint8Array> {
  const options = new Map<number, Uint8Array>();
  const writers = context.message === "NAK" ? always : context.boot ? forBoot : forLease;
  for (const { code, write } of writers) {
    const value = write(context);
    if (value !== undefined) options.set(code, value);
  }
  return options;
}

/** True when the header's `file` can hold the name and the NUL after it. */
export function fitsFile(bootfile: string): boolean {
  return bootfile.length <= MaximumFileLength;
}

export function isUrl(bootfile: string): boolean {
  return bootfile.includes("://");
}

/** True when the client asked for the option, or asked for none at all and takes what there is (RFC 2131 s.4.3.1). */
function isWanted({ client }: ReplyContext, code: number): boolean {
  return client.requested.length === 0 || client.requested.includes(code);
}

function wanted(code: number, value: (subnet: Subnet) => Uint8Array | undefined): OptionWriter["write"] {
  return (context) => (context.subnet && isWanted(context, code) ? value(context.subnet) : undefined);
}

/** T1 and T2 (RFC 2131 s.4.4.5); a lease without end has neither. */
function timer(context: ReplyContext, code: number, fraction: number): Uint8Array | undefined {
  const { leaseSeconds } = context;
  if (leaseSeconds === undefined || leaseSeconds === infiniteSeconds || !isWanted(context, code))
    return undefined;
  return uint32ToOctets(Math.floor(leaseSeconds * fraction));
}

function pxeOptions({ boot, request }: ReplyContext): Uint8Array | undefined {
  if (!boot) return undefined;
  const asked = request.options.get(OptionCode.VendorSpecific);
  // A boot server repeats the item of the menu that the client chose (PXE 2.1 s.2.4).
  const item = asked && decodeSubOptions(asked).get(PxeSubOption.BootItem);
  const subOptions = [
    ...boot.strategy.vendorOptions,
    ...(item ? [{ code: PxeSubOption.BootItem, value: item }] : []),
  ];
  return subOptions.length > 0 ? encodePxeOptions(subOptions) : undefined;
}
