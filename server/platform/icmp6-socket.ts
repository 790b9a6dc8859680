import { int32, loadCLibrary, SystemCallError } from "./c-library.ts";

// Linux, the same on x86-64 and arm64 (asm-generic/socket.h, linux/in6.h).
const AfInet6 = 10;
const SockRaw = 3;
const SockCloexec = 0o2000000;
const SockNonblock = 0o4000;
const IpprotoIcmpv6 = 58;
const IpprotoIpv6 = 41;
const Ipv6UnicastHops = 16;
const SolSocket = 1;
const SoBindToDevice = 25;
const sockaddrIn6Octets = 28;
/** Neighbour discovery is taken from the same link only: a router on the way would have lowered it (RFC 4861 s.6.1.2). */
const linkHopLimit = 255;

/** Sends ICMPv6 by one device. Needs CAP_NET_RAW. @returns undefined where koffi is not there @throws SystemCallError */
export async function openIcmp6(device: string) {
  const c = await loadCLibrary();
  if (c === undefined) return undefined;
  const name = new TextEncoder().encode(`${device}\0`);
  if (name.length > 16) throw new SystemCallError("setsockopt(SO_BINDTODEVICE)", "ENODEV");
  const type = SockRaw | SockCloexec | SockNonblock;
  const descriptor = c.check("socket(ICMPv6)", c.socket(AfInet6, type, IpprotoIcmpv6));
  try {
    const hops = int32(linkHopLimit);
    c.check(
      "setsockopt(SO_BINDTODEVICE)",
      c.setsockopt(descriptor, SolSocket, SoBindToDevice, name, name.length),
    );
    c.check(
      "setsockopt(IPV6_UNICAST_HOPS)",
      c.setsockopt(descriptor, IpprotoIpv6, Ipv6UnicastHops, hops, hops.length),
    );
  } catch (error) {
    c.close(descriptor);
    throw error;
  }
  return {
    send(message: Uint8Array, address: Uint8Array): void {
      const to = new Uint8Array(sockaddrIn6Octets);
      to[0] = AfInet6;
      to.set(address, 8);
      c.check("sendto", c.sendto(descriptor, message, message.length, 0, to, to.length));
    },
    close(): void {
      c.close(descriptor);
    },
  };
}
