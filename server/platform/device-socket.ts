/**
 * UDP sockets that belong to one network device. Node's own sockets hear the broadcasts of every interface and can't
 * tell which one a datagram came by, so this asks the C library, by koffi, an optional dependency.
 */
import {
  AfInet,
  type CLibrary,
  int32,
  loadCLibrary,
  sockaddrInOctets,
  socketAddress,
  SystemCallError,
} from "./c-library.ts";

export interface DeviceSocketRequest {
  /** Undefined: any. */
  readonly device: string | undefined;
  readonly address: string;
  readonly port: number;
  readonly broadcast: boolean;
  readonly receiveBufferBytes: number | undefined;
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
const SockDgram = 2;
const SockCloexec = 0o2000000;
const SolSocket = 1;
const SoReuseaddr = 2;
const SoBroadcast = 6;
const SoRcvbuf = 8;
const SoBindToDevice = 25;
const SoRcvbufForce = 33;
/** IFNAMSIZ: longest device name with its NUL. */
const deviceNameOctets = 16;

/** @returns undefined where koffi is not installed, or not for this machine */
export async function loadDeviceSockets(): Promise<DeviceSockets | undefined> {
  const library = await loadCLibrary();
  return library && deviceSockets(library);
}

export function deviceSockets(library: CLibrary): DeviceSockets {
  const { check } = library;
  function setInt(descriptor: number, option: number, value: number): number {
    return library.setsockopt(descriptor, SolSocket, option, int32(value), 4);
  }

  function bindToDevice(descriptor: number, device: string): void {
    const name = new TextEncoder().encode(`${device}\0`);
    if (name.length > deviceNameOctets) throw new SystemCallError("setsockopt(SO_BINDTODEVICE)", "ENODEV");
    // Before bind(): two sockets may have one port when their devices differ. SO_REUSEADDR stays off, since with it a
    // second server would get the port too, and every packet would go to one of both at random.
    check(
      "setsockopt(SO_BINDTODEVICE)",
      library.setsockopt(descriptor, SolSocket, SoBindToDevice, name, name.length),
    );
  }

  function configure(
    descriptor: number,
    { device, address, port, broadcast, receiveBufferBytes }: DeviceSocketRequest,
  ): void {
    if (device !== undefined) bindToDevice(descriptor, device);
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
