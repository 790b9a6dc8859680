import { type Cidr, cidrContains, isReservedIn } from "../../net/cidr.ts";
import { type Ipv4, ipv4FromOctets, isUnicast, UnspecifiedAddress } from "../../net/ipv4.ts";
import type { DhcpMessage } from "../wire/message.ts";
import { LinkSelectionSubOption, OptionCode } from "../wire/option-codes.ts";
import { decodeSubOptions } from "../wire/pxe-vendor.ts";

/** Both ends belong to it. */
export interface AddressRange {
  readonly from: Ipv4;
  readonly to: Ipv4;
}

/** A subnet that we give addresses in. */
export interface Subnet {
  readonly subnet: Cidr;
  /** Undefined: reserved addresses only. */
  readonly range: AddressRange | undefined;
  readonly router?: Ipv4 | undefined;
  readonly dns?: readonly Ipv4[] | undefined;
  readonly domain?: string | undefined;
  readonly leaseSeconds: number;
  /** Relay agents of this subnet. When given, a relayed packet of any other agent is not answered. */
  readonly relay?: readonly Ipv4[] | undefined;
}

/**
 * The subnet of the client that sent this (RFC 2131 s.4.3.1): by the relay agent, else by the client's own address (a
 * renewal that was routed to us), else by our address on the interface. A link selection (RFC 3527) counts only from a
 * relay agent that is listed, since any host can forge option 82 (RFC 3046 s.5).
 */
export function subnetOf(
  message: DhcpMessage,
  serverAddress: Ipv4,
  subnets: readonly Subnet[],
): Subnet | undefined {
  const { giaddr, ciaddr } = message;
  if (giaddr !== UnspecifiedAddress) {
    const listed = subnets.find((subnet) => subnet.relay?.includes(giaddr));
    if (listed) return byAddress(subnets, linkSelection(message)) ?? listed;
    return subnets.find((subnet) => !subnet.relay && cidrContains(subnet.subnet, giaddr));
  }
  return (
    (ciaddr === UnspecifiedAddress ? undefined : byAddress(subnets, ciaddr)) ??
    byAddress(subnets, serverAddress)
  );
}

/**
 * True when a reply can go where the message says that its relay agent and its client are: it is sent there as unicast, and one packet
 * of a hostile machine must not become one for a whole network.
 */
export function hasAnswerableAddresses({ giaddr, ciaddr }: DhcpMessage, subnets: readonly Subnet[]): boolean {
  return [giaddr, ciaddr].every(
    (address) =>
      address === UnspecifiedAddress ||
      (isUnicast(address) && !subnets.some(({ subnet }) => isReservedIn(subnet, address))),
  );
}

/** True when we answer what this relay agent brings; a packet that no relay agent touched is always fine. */
export function isRelayTrusted(
  message: DhcpMessage,
  sourceAddress: string,
  subnets: readonly Subnet[],
): boolean {
  const { giaddr } = message;
  if (giaddr === UnspecifiedAddress) return true;
  if (subnets.some(({ relay }) => relay?.includes(giaddr))) return true;
  const subnet = byAddress(subnets, giaddr);
  // The reply goes to giaddr: when the datagram came from there, we can't be made to send to a third party.
  return subnet ? subnet.relay === undefined : sourceAddress === giaddr;
}

function byAddress(subnets: readonly Subnet[], address: Ipv4 | undefined): Subnet | undefined {
  return address === undefined ? undefined : subnets.find((subnet) => cidrContains(subnet.subnet, address));
}

function linkSelection(message: DhcpMessage): Ipv4 | undefined {
  const information = message.options.get(OptionCode.RelayAgentInformation);
  const value = information && decodeSubOptions(information).get(LinkSelectionSubOption);
  return value?.length === 4 ? ipv4FromOctets(value) : undefined;
}
