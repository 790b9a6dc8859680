import { SystemCallError, systemError } from "./device-socket.ts";

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
  if (process.platform !== "linux") return undefined;
  const koffi = await import("koffi").then(
    (module) => module.default,
    () => undefined,
  );
  if (koffi === undefined) return undefined;
  const c = koffi.load(null);
  const socket = c.func("int socket(int domain, int type, int protocol)");
  const setsockopt = c.func(
    "int setsockopt(int fd, int level, int name, const void *value, uint32_t length)",
  );
  const sendto = c.func(
    "int64_t sendto(int fd, const void *data, size_t length, int flags, const void *address, uint32_t addressLength)",
  );
  const close = c.func("int close(int fd)");
  const check = (call: string, result: number): number => {
    if (result < 0) throw systemError(call, koffi.errno());
    return result;
  };

  const name = new TextEncoder().encode(`${device}\0`);
  if (name.length > 16) throw new SystemCallError("setsockopt(SO_BINDTODEVICE)", "ENODEV");
  const descriptor = check(
    "socket(ICMPv6)",
    socket(AfInet6, SockRaw | SockCloexec | SockNonblock, IpprotoIcmpv6) as number,
  );
  try {
    const hops = new Uint8Array(Int32Array.of(linkHopLimit).buffer);
    check(
      "setsockopt(SO_BINDTODEVICE)",
      setsockopt(descriptor, SolSocket, SoBindToDevice, name, name.length) as number,
    );
    check(
      "setsockopt(IPV6_UNICAST_HOPS)",
      setsockopt(descriptor, IpprotoIpv6, Ipv6UnicastHops, hops, hops.length) as number,
    );
  } catch (error) {
    close(descriptor);
    throw error;
  }
  return {
    send(message: Uint8Array, address: Uint8Array): void {
      const to = new Uint8Array(sockaddrIn6Octets);
      to[0] = AfInet6;
      to.set(address, 8);
      check("sendto", Number(sendto(descriptor, message, message.length, 0, to, to.length)));
    },
    close(): void {
      close(descriptor);
    },
  };
}
