import { BroadcastAddress, type Ipv4, UnspecifiedAddress } from "../../net/ipv4.ts";

export interface DestinationInput {
  readonly message: "OFFER" | "ACK" | "NAK";
  /** Of the request. */
  readonly giaddr: Ipv4;
  readonly ciaddr: Ipv4;
  /** 67, or the PXE boot server port, whose clients have an address and wait at the port they sent from. */
  readonly service: "dhcp" | "pxe";
  readonly source: { readonly address: string; readonly port: number };
  /** Where relay agents listen, 67. */
  readonly relayPort: number;
  /** Where clients listen, 68. */
  readonly clientPort: number;
}

/**
 * Where a reply goes (RFC 2131 s.4.1): to the relay agent if there is one, else to the client's address if it has one,
 * else to everybody. Unicast to an address that the client does not answer ARP for yet would need a raw socket; the RFC
 * allows the broadcast. A NAK goes past an address that is wrong to use (s.4.3.2).
 */
export function replyDestination(input: DestinationInput): { address: string; port: number } {
  const { message, giaddr, ciaddr, service, source, relayPort, clientPort } = input;
  if (service === "pxe") {
    return source.address === UnspecifiedAddress
      ? { address: BroadcastAddress, port: source.port }
      : { address: source.address, port: source.port };
  }
  if (giaddr !== UnspecifiedAddress) return { address: giaddr, port: relayPort };
  if (message !== "NAK" && ciaddr !== UnspecifiedAddress) return { address: ciaddr, port: clientPort };
  return { address: BroadcastAddress, port: clientPort };
}
