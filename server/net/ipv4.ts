/** An IPv4 address in dotted decimal form without leading zeros. */
export type Ipv4 = string & { readonly __ipv4: true };

export const UnspecifiedAddress = "0.0.0.0" as Ipv4;
export const BroadcastAddress = "255.255.255.255" as Ipv4;

const dot = 0x2e;
const zero = 0x30;

export function parseIpv4(text: string): Ipv4 | undefined {
  const parts = text.split(".");
  if (parts.length !== 4) return undefined;
  for (const part of parts) {
    if (!/^(0|[1-9][0-9]{0,2})$/.test(part) || Number(part) > 255) return undefined;
  }
  return text as Ipv4;
}

/** True for an address of one host, as far as it tells by itself: not of 0.0.0.0/8, multicast, reserved or the broadcast. */
export function isUnicast(address: Ipv4): boolean {
  const firstOctet = Number.parseInt(address, 10);
  return firstOctet > 0 && firstOctet < 224;
}

/** The address as an unsigned 32-bit number, network byte order. */
export function ipv4ToNumber(address: Ipv4): number {
  // Digit by digit: each DHCP packet compares a dozen addresses, and splitting the text was a tenth of its cost.
  let value = 0;
  let part = 0;
  for (let at = 0; at < address.length; at++) {
    const code = address.charCodeAt(at);
    if (code === dot) {
      value = value * 256 + part;
      part = 0;
    } else part = part * 10 + code - zero;
  }
  return value * 256 + part;
}

export function ipv4FromNumber(value: number): Ipv4 {
  return `${(value >>> 24) & 255}.${(value >>> 16) & 255}.${(value >>> 8) & 255}.${value & 255}` as Ipv4;
}

export function ipv4FromOctets(octets: Uint8Array, at = 0): Ipv4 {
  return `${octets[at]}.${octets[at + 1]}.${octets[at + 2]}.${octets[at + 3]}` as Ipv4;
}

export function ipv4ToOctets(address: Ipv4): Uint8Array {
  const value = ipv4ToNumber(address);
  return Uint8Array.of((value >>> 24) & 255, (value >>> 16) & 255, (value >>> 8) & 255, value & 255);
}
