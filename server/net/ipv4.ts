/** An IPv4 address in dotted decimal form without leading zeros. */
export type Ipv4 = string & { readonly __ipv4: true };

export const UnspecifiedAddress = "0.0.0.0" as Ipv4;
export const BroadcastAddress = "255.255.255.255" as Ipv4;

export function parseIpv4(text: string): Ipv4 | undefined {
  const parts = text.split(".");
  if (parts.length !== 4) return undefined;
  for (const part of parts) {
    if (!/^(0|[1-9][0-9]{0,2})$/.test(part) || Number(part) > 255) return undefined;
  }
  return text as Ipv4;
}

/** The address as an unsigned 32-bit number, network byte order. */
export function ipv4ToNumber(address: Ipv4): number {
  return address.split(".").reduce((sum, part) => sum * 256 + Number(part), 0);
}

export function ipv4FromNumber(value: number): Ipv4 {
  return [24, 16, 8, 0].map((shift) => Math.floor(value / 2 ** shift) % 256).join(".") as Ipv4;
}

export function ipv4FromOctets(octets: Uint8Array, at = 0): Ipv4 {
  return `${octets[at]}.${octets[at + 1]}.${octets[at + 2]}.${octets[at + 3]}` as Ipv4;
}

export function ipv4ToOctets(address: Ipv4): Uint8Array {
  return Uint8Array.from(address.split("."), Number);
}
