import { type Ipv4, ipv4FromNumber, ipv4ToNumber, parseIpv4 } from "./ipv4.ts";

/** An IPv4 network, e.g. 10.0.0.0/24. `first` and `last` are the network and the broadcast address as numbers. */
export interface Cidr {
  readonly network: Ipv4;
  readonly prefixLength: number;
  readonly first: number;
  readonly last: number;
}

/** Reads `10.0.0.0/24`. Host bits must be zero, since a typing error there is otherwise never noticed. */
export function parseCidr(text: string): Cidr | undefined {
  const [addressText = "", lengthText = "", ...rest] = text.split("/");
  const address = parseIpv4(addressText);
  if (!address || rest.length > 0 || !/^([0-9]|[12][0-9]|3[0-2])$/.test(lengthText)) return undefined;
  const prefixLength = Number(lengthText);
  const size = 2 ** (32 - prefixLength);
  const first = ipv4ToNumber(address);
  if (first % size !== 0) return undefined;
  return { network: address, prefixLength, first, last: first + size - 1 };
}

/** The network of a host's address with its prefix length, e.g. of `10.0.0.5/24`. */
export function networkOf(text: string): Cidr | undefined {
  const [addressText = "", length = ""] = text.split("/");
  const address = parseIpv4(addressText);
  if (!address || !/^([0-9]|[12][0-9]|3[0-2])$/.test(length)) return undefined;
  const size = 2 ** (32 - Number(length));
  const value = ipv4ToNumber(address);
  return parseCidr(`${ipv4FromNumber(value - (value % size))}/${length}`);
}

export function cidrContains(cidr: Cidr, address: Ipv4): boolean {
  const value = ipv4ToNumber(address);
  return value >= cidr.first && value <= cidr.last;
}

/** True for the network's own and its broadcast address, which no host has; a /31 or /32 has neither (RFC 3021). */
export function isReservedIn(cidr: Cidr, address: Ipv4): boolean {
  const value = ipv4ToNumber(address);
  return cidr.prefixLength < 31 && (value === cidr.first || value === cidr.last);
}

export function netmask(prefixLength: number): Ipv4 {
  return ipv4FromNumber(prefixLength === 0 ? 0 : 2 ** 32 - 2 ** (32 - prefixLength));
}

export function formatCidr(cidr: Cidr): string {
  return `${cidr.network}/${cidr.prefixLength}`;
}
