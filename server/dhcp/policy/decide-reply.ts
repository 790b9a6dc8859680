import { type Ipv4, UnspecifiedAddress } from "../../net/ipv4.ts";
import { BootRequest, type DhcpMessage } from "../wire/message.ts";
import { MessageType, OptionCode } from "../wire/option-codes.ts";
import { ipv4Option, octetOption } from "../wire/options.ts";
import { decodeSubOptions, PxeSubOption } from "../wire/pxe-vendor.ts";
import { bootChoice, buildReply } from "./build-reply.ts";
import type { Client } from "./classify-client.ts";
import { decideAuthoritative } from "./decide-authoritative.ts";
import { type Decision, type DhcpPolicy, type Facts, silence } from "./decision.ts";
import { isUboot } from "./fingerprints.ts";
import { isRelayTrusted } from "./subnet.ts";

export type ClientMessageType = "DISCOVER" | "REQUEST" | "DECLINE" | "RELEASE" | "INFORM";

const clientMessageTypes: Readonly<Record<number, ClientMessageType | undefined>> = {
  [MessageType.Discover]: "DISCOVER",
  [MessageType.Request]: "REQUEST",
  [MessageType.Decline]: "DECLINE",
  [MessageType.Release]: "RELEASE",
  [MessageType.Inform]: "INFORM",
};

/** A packet that went through more relay agents than this goes in circles (RFC 1542 s.4.1.1). */
const maximumHops = 16;

/**
 * What a client's message is; undefined for one that no client sends: a reply, BOOTP without option 53, too many hops, an INFORM without
 * the address that its answer would go to (RFC 2131 s.4.4.3).
 */
export function clientMessageType(message: DhcpMessage): ClientMessageType | undefined {
  if (message.op !== BootRequest || message.hops > maximumHops) return undefined;
  const type = clientMessageTypes[octetOption(message.options, OptionCode.MessageType) ?? 0];
  return type === "INFORM" && message.ciaddr === UnspecifiedAddress ? undefined : type;
}

/** The reply to a message, or why there is none. Pure: the same packet, facts and policy give the same decision. */
export function decideReply(
  type: ClientMessageType,
  request: DhcpMessage,
  client: Client,
  facts: Facts,
  policy: DhcpPolicy,
): Decision {
  if (policy.mode === "off") return silence("DHCP is off");
  if (!isRelayTrusted(request, facts.source.address, policy.subnets))
    return silence("relay agent is not configured");
  if (facts.service === "pxe") return decideBootServer(type, request, client, facts, policy);
  return policy.mode === "proxy"
    ? decideProxy(type, request, client, facts, policy)
    : decideAuthoritative(type, request, client, facts, policy);
}

/**
 * Beside another DHCP server: boot files only, for network boot clients only. Never an address, a lease time, a mask, a
 * router or a NAK (PXE 2.1 s.2.2).
 */
function decideProxy(
  type: ClientMessageType,
  request: DhcpMessage,
  client: Client,
  facts: Facts,
  policy: DhcpPolicy,
): Decision {
  const server = ipv4Option(request.options, OptionCode.ServerId);
  const requested = ipv4Option(request.options, OptionCode.RequestedAddress);
  if (type === "REQUEST" && server !== undefined && !policy.serverAddresses.has(server)) {
    // Every client broadcasts whom it chose: this is how we learn the address of a machine that we gave none.
    return silence("chose another server", { foreignServer: server, address: requested });
  }
  if (type !== "DISCOVER" && type !== "REQUEST") return silence("leases are another server's");
  if (!client.netboot) return silence("not a network boot client");
  // Without our identifier it is about another server's lease (RFC 2131 s.4.3.2): an ACK would be taken for a renewal.
  const isForUs = server !== undefined || seeksBootServer(request);
  if (type === "REQUEST" && !isForUs) return silence("leases are another server's");
  // It takes the first OFFER that comes, and one without an address would be the end of its boot (U-Boot net/bootp.c).
  if (isUboot(client.fingerprint)) return silence("U-Boot knows no proxyDHCP");
  const boot = bootChoice(client, facts, policy);
  if (boot?.kind !== "boot") return noBoot(boot?.reason, facts);
  return buildReply({
    message: type === "DISCOVER" ? "OFFER" : "ACK",
    request,
    client,
    facts,
    policy,
    boot,
    role: "proxy",
    clientAddress: addressOf(request),
  });
}

/** Port 4011, in either mode: the boot server that UEFI asks after its lease (PXE 2.1 s.2.2, firmware-quirks Q3 and Q4). */
function decideBootServer(
  type: ClientMessageType,
  request: DhcpMessage,
  client: Client,
  facts: Facts,
  policy: DhcpPolicy,
): Decision {
  if (type !== "REQUEST" && type !== "INFORM") return silence("a boot server answers REQUEST only");
  const server = ipv4Option(request.options, OptionCode.ServerId);
  if (server !== undefined && !policy.serverAddresses.has(server)) return silence("asks another boot server");
  if (!client.netboot) return silence("not a network boot client");
  const boot = bootChoice(client, facts, policy);
  if (boot?.kind !== "boot") return noBoot(boot?.reason, facts);
  return buildReply({
    message: "ACK",
    request,
    client,
    facts,
    policy,
    boot,
    role: "boot-server",
    clientAddress: addressOf(request),
  });
}

/** The broadcast search for a boot server, which names the item wanted; a renewal has no such thing (PXE 2.1 s.2.4). */
function seeksBootServer({ ciaddr, options }: DhcpMessage): boolean {
  const vendorOptions = options.get(OptionCode.VendorSpecific);
  return (
    ciaddr !== UnspecifiedAddress &&
    !options.has(OptionCode.RequestedAddress) &&
    vendorOptions !== undefined &&
    decodeSubOptions(vendorOptions).has(PxeSubOption.BootItem)
  );
}

function noBoot(reason: string | undefined, { mayNetboot }: Facts): Decision {
  return silence(reason ?? "not a network boot client", { alarm: mayNetboot ? "no-boot-file" : undefined });
}

function addressOf(request: DhcpMessage): Ipv4 | undefined {
  return request.ciaddr === UnspecifiedAddress ? undefined : request.ciaddr;
}
