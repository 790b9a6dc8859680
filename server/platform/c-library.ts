/** The C library's calls for sockets, by koffi, an optional dependency: what Node's own sockets can't do, or do slowly. */
import { constants } from "node:os";

/** A call of the C library that failed. */
export class SystemCallError extends Error {
  readonly call: string;
  /** As in `os.constants.errno`, e.g. `EADDRINUSE`. */
  readonly code: string;
  constructor(call: string, code: string) {
    super(`${call}: ${code}`);
    this.name = "SystemCallError";
    this.call = call;
    this.code = code;
  }
}

type Value = number | Uint8Array;
interface SystemCall {
  (...values: Value[]): number;
  /** The same in a thread of the pool; what is passed has to stay as it is until then. */
  async(...values: [...Value[], (error: Error | null, result: number) => void]): void;
}

const declarations = {
  socket: "int socket(int domain, int type, int protocol)",
  setsockopt: "int setsockopt(int fd, int level, int name, const void *value, uint32_t length)",
  getsockopt: "int getsockopt(int fd, int level, int name, void *value, void *length)",
  getsockname: "int getsockname(int fd, void *address, void *length)",
  bind: "int bind(int fd, const void *address, uint32_t length)",
  close: "int close(int fd)",
  sendto:
    "int sendto(int fd, const void *data, size_t length, int flags, const void *address, uint32_t addressLength)",
  recvfrom: "int recvfrom(int fd, void *data, size_t length, int flags, void *address, void *addressLength)",
  epoll_create1: "int epoll_create1(int flags)",
  epoll_ctl: "int epoll_ctl(int epoll, int operation, int fd, const void *event)",
  epoll_wait: "int epoll_wait(int epoll, void *events, int maximum, int timeoutMs)",
  eventfd: "int eventfd(uint32_t value, int flags)",
  read: "int read(int fd, void *data, size_t length)",
  write: "int write(int fd, const void *data, size_t length)",
  fcntl: "int fcntl(int fd, int command, int value)",
  sendfile: "int64_t sendfile(int to, int from, void *offset, size_t length)",
} as const;

export type CLibrary = Readonly<Record<keyof typeof declarations, SystemCall>> & {
  /** The result of a call. @throws SystemCallError when it is negative */
  check(call: string, result: number): number;
  /** Name of the error of the last call, e.g. `EAGAIN`. */
  errorCode(): string;
};

/** @returns undefined where koffi is not installed, or not for this machine */
export async function loadCLibrary(): Promise<CLibrary | undefined> {
  if (process.platform !== "linux") return undefined;
  try {
    const { default: koffi } = await import("koffi");
    const c = koffi.load(null);
    const calls = Object.fromEntries(
      Object.entries(declarations).map(([name, declaration]) => [name, c.func(declaration) as SystemCall]),
    ) as Record<keyof typeof declarations, SystemCall>;
    const errorCode = (): string => {
      const errno = koffi.errno();
      return Object.entries(constants.errno).find(([, value]) => value === errno)?.[0] ?? `errno ${errno}`;
    };
    return {
      ...calls,
      errorCode,
      check(call, result) {
        if (result >= 0) return result;
        throw new SystemCallError(call, errorCode());
      },
    };
  } catch {
    return undefined;
  }
}

// Linux, the same on x86-64 and arm64 (asm-generic/socket.h, linux/in.h, linux/udp.h).
export const AfInet = 2;
export const sockaddrInOctets = 16;

/** In the byte order of this machine; x86-64 and arm64 both have the lowest octet first. */
export function int32(value: number): Uint8Array {
  return new Uint8Array(Int32Array.of(value).buffer);
}

/** A `struct sockaddr_in`: the family in the machine's byte order, port and address in the network's. */
export function socketAddress(address: string, port: number): Uint8Array {
  const octets = new Uint8Array(sockaddrInOctets);
  octets.set([AfInet, 0, port >> 8, port & 255, ...address.split(".").map(Number)]);
  return octets;
}
