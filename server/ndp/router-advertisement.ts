import type { Mac } from "../net/mac.ts";

const RouterAdvertisement = 134;

/**
 * A router advertisement that offers nothing (RFC 4861 s.4.2): router lifetime 0, "this is no default router", no prefix, no
 * DHCPv6 (M and O clear), hop limit and timers unspecified. The kernel fills the checksum in (RFC 3542 s.3.1).
 */
export function encodeEmptyAdvertisement(): Uint8Array {
  const message = new Uint8Array(16);
  message[0] = RouterAdvertisement;
  return message;
}

/** The link-local address of an interface, from its MAC (RFC 4291 s.2.5.6 and appendix A): 16 octets. */
export function linkLocalOf(mac: Mac): Uint8Array {
  const octets = mac.split(":").map((part) => Number.parseInt(part, 16));
  const [first = 0, second = 0, third = 0, ...last] = octets;
  // The universal/local bit is inverted, FF:FE goes into the middle.
  const identifier = [first ^ 0x02, second, third, 0xff, 0xfe, ...last];
  return Uint8Array.of(0xfe, 0x80, 0, 0, 0, 0, 0, 0, ...identifier);
}
