/**
 * UDP sockets that belong to one network device. Node's own sockets hear the broadcasts of every interface and can't
 * tell which one a datagram came by, so this asks the C library, by koffi, an optional dependency.
 */
import { constants } from "node:os";

export interface DeviceSocketRequest {
  readonly device: string;
  readonly address: string;
  readonly port: number;
  readonly broadcast: boolean;
  readonly receiveBufferBytes: number | undefined;
}

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

export function systemError(call: string, errno: number): SystemCallError {
  const [name = `errno ${errno}`] =
    Object.entries(constants.errno).find(([, value]) => value === errno) ?? [];
  return new SystemCallError(call, name);
}

export interface DeviceSockets {
  /** A bound socket's descriptor, which the caller owns. @throws SystemCallError */
  open(request: DeviceSocketRequest): number;
  close(descriptor: number): void;
  /** The device that a socket is bound to; empty for none. @throws SystemCallError */
  deviceOf(descriptor: number): string;
  /** Lets no second socket have the same port. To be called when libuv, which allows it, has opened the descriptor. */
  forbidPortSharing(descriptor: number): void;
}

// Linux, the same on x86-64 and arm64 (asm-generic/socket.h).
const AfInet = 2;
const SockDgram = 2;
const SockCloexec = 0o2000000;
const SolSocket = 1;
const SoReuseaddr = 2;
const SoBroadcast = 6;
const SoRcvbuf = 8;
const SoBindToDevice = 25;
const SoRcvbufForce = 33;
const sockaddrInOctets = 16;
/** IFNAMSIZ: longest device name with its NUL. */
const deviceNameOctets = 16;

type SystemCall = (...values: (number | Uint8Array)[]) => number;

interface CLibrary {
  readonly socket: SystemCall;
  readonly setsockopt: SystemCall;
  readonly getsockopt: SystemCall;
  readonly bind: SystemCall;
  readonly close: SystemCall;
  errno(): number;
}

/** @returns undefined where koffi is not installed, or not for this machine */
export async function loadDeviceSockets(): Promise<DeviceSockets | undefined> {
  if (process.platform !== "linux") return undefined;
  let library: CLibrary;
  try {
    const { default: koffi } = await import("koffi");
    const c = koffi.load(null);
    library = {
      socket: c.func("int socket(int domain, int type, int protocol)"),
      setsockopt: c.func("int setsockopt(int fd, int level, int name, const void *value, uint32_t length)"),
      getsockopt: c.func("int getsockopt(int fd, int level, int name, void *value, void *length)"),
      bind: c.func("int bind(int fd, const void *address, uint32_t length)"),
      close: c.func("int close(int fd)"),
      errno: () => koffi.errno(),
    };
  } catch {
    return undefined;
  }
  return deviceSockets(library);
}

function deviceSockets(library: CLibrary): DeviceSockets {
  function check(call: string, result: number): number {
    if (result >= 0) return result;
    throw systemError(call, library.errno());
  }
  function setInt(descriptor: number, option: number, value: number): number {
    return library.setsockopt(descriptor, SolSocket, option, int32(value), 4);
  }

  function configure(
    descriptor: number,
    { device, address, port, broadcast, receiveBufferBytes }: DeviceSocketRequest,
  ): void {
    const name = new TextEncoder().encode(`${device}\0`);
    if (name.length > deviceNameOctets) throw new SystemCallError("setsockopt(SO_BINDTODEVICE)", "ENODEV");
    // Before bind(): two sockets may have one port when their devices differ. SO_REUSEADDR stays off, since with it a
    // second server would get the port too, and every packet would go to one of both at random.
    check(
      "setsockopt(SO_BINDTODEVICE)",
      library.setsockopt(descriptor, SolSocket, SoBindToDevice, name, name.length),
    );
    if (broadcast) check("setsockopt(SO_BROADCAST)", setInt(descriptor, SoBroadcast, 1));
    if (receiveBufferBytes !== undefined) {
      // FORCE goes beyond net.core.rmem_max and needs CAP_NET_ADMIN; what was obtained is asked for later.
      const isForced = setInt(descriptor, SoRcvbufForce, receiveBufferBytes) === 0;
      if (!isForced) setInt(descriptor, SoRcvbuf, receiveBufferBytes);
    }
    check("bind", library.bind(descriptor, socketAddress(address, port), sockaddrInOctets));
  }

  return {
    open(request) {
      const descriptor = check("socket", library.socket(AfInet, SockDgram | SockCloexec, 0));
      try {
        configure(descriptor, request);
      } catch (error) {
        library.close(descriptor);
        throw error;
      }
      return descriptor;
    },
    close(descriptor) {
      library.close(descriptor);
    },
    deviceOf(descriptor) {
      const name = new Uint8Array(deviceNameOctets);
      const length = int32(name.length);
      check(
        "getsockopt(SO_BINDTODEVICE)",
        library.getsockopt(descriptor, SolSocket, SoBindToDevice, name, length),
      );
      return new TextDecoder().decode(name.subarray(0, name.indexOf(0)));
    },
    forbidPortSharing(descriptor) {
      setInt(descriptor, SoReuseaddr, 0);
    },
  };
}

/** In the byte order of this machine; x86-64 and arm64 both have the lowest octet first. */
function int32(value: number): Uint8Array {
  return new Uint8Array(Int32Array.of(value).buffer);
}

/** A `struct sockaddr_in`: the family in the machine's byte order, port and address in the network's. */
function socketAddress(address: string, port: number): Uint8Array {
  const octets = new Uint8Array(sockaddrInOctets);
  octets.set([AfInet, 0, port >> 8, port & 255, ...address.split(".").map(Number)]);
  return octets;
}
