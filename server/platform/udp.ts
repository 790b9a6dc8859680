import { createSocket, type Socket } from "node:dgram";
import { networkInterfaces } from "node:os";
import type { Clock, Log, Udp, UdpBinding, UdpEndpoint, UdpSocket } from "../domain/capabilities.ts";
import {
  DeviceBindingUnavailable,
  DeviceNotFound,
  PortInUse,
  PortNotPermitted,
} from "../domain/error-catalogue.ts";
import { SystemCallError } from "./c-library.ts";
import { type DeviceSockets, loadDeviceSockets } from "./device-socket.ts";
import { systemdSocketNames, systemdSockets } from "./systemd-sockets.ts";

export interface UdpDeps {
  readonly log: Log;
  readonly clock: Pick<Clock, "monotonicMs">;
  /** Sockets handed over by systemd, by name; those of this process unless told otherwise. */
  readonly handedOver?: ReadonlyMap<string, number>;
  /** How sockets are bound to a device; by koffi, where it is installed, unless told otherwise. */
  readonly loadDeviceSockets?: () => Promise<DeviceSockets | undefined>;
  /** Names of the network devices beside loopback that have an address, each with its IPv4 address if it has one. */
  readonly devices?: () => ReadonlyMap<string, string | undefined>;
}

export interface UdpCounters {
  sendFailures: number;
}

/** A socket that tells what the kernel granted it. */
export interface PlatformUdpSocket extends UdpSocket {
  /** Size of the receive queue in octets, as the kernel reckons it: with its own overhead, twice what was asked for. */
  readonly receiveBufferBytes: number;
}

export interface PlatformUdp extends Udp {
  /** @throws PortInUse, PortNotPermitted, DeviceNotFound, DeviceBindingUnavailable (domain/error-catalogue) */
  bind(binding: UdpBinding): Promise<PlatformUdpSocket>;
  readonly counters: Readonly<UdpCounters>;
}

/** A send that fails again and again is logged this often. */
const failureLogIntervalMs = 10_000;

export function createUdp(deps: UdpDeps): PlatformUdp {
  const { log, handedOver = systemdSockets(process.env, process.pid), devices = devicesInUse } = deps;
  const counters: UdpCounters = { sendFailures: 0 };
  let loading: Promise<DeviceSockets | undefined> | undefined;
  const load = () => (loading ??= (deps.loadDeviceSockets ?? loadDeviceSockets)());

  async function openFor(binding: UdpBinding, device: string, socket: Socket): Promise<void> {
    const sockets = await load();
    const name = systemdSocketNames(device, binding.port).find((candidate) => handedOver.has(candidate));
    const descriptor = name === undefined ? undefined : handedOver.get(name);
    if (name !== undefined && descriptor !== undefined) {
      useHandedOver(socket, descriptor, name, device, sockets);
      log.info({ device, port: binding.port, name }, "using a socket of systemd");
      return;
    }
    if (sockets) return openOnDevice(socket, binding, device, sockets, [...devices().keys()]);
    const known = devices();
    if (!known.has(device)) throw DeviceNotFound({ device, known: [...known.keys()] });
    if (known.size > 1) throw DeviceBindingUnavailable({ device, reason: "koffi is not installed" });
    log.warn(
      { device, port: binding.port },
      "koffi is not installed: listening on all interfaces, of which there is one",
    );
    await openPlain(socket, binding);
  }

  return {
    counters,
    async bind(binding) {
      // Addresses are literals: nothing is to be looked up, nor waited for.
      const socket = createSocket({
        type: "udp4",
        lookup: (host, _options, callback) => callback(null, host, 4),
      });
      try {
        if (binding.device === undefined) await openPlain(socket, binding);
        else await openFor(binding, binding.device, socket);
        // After the bind, as libuv wants it; a descriptor of systemd may lack both.
        if (binding.broadcast) socket.setBroadcast(true);
        const receiveBufferBytes = setReceiveBuffer(socket, binding, log);
        return wrap(socket, receiveBufferBytes, deps, counters);
      } catch (error) {
        socket.close();
        throw error;
      }
    },
  };
}

function wrap(
  socket: Socket,
  receiveBufferBytes: number,
  { log, clock }: UdpDeps,
  counters: UdpCounters,
): PlatformUdpSocket {
  const { address, port } = socket.address();
  let closing: Promise<void> | undefined;
  let lastLoggedMs = Number.NEGATIVE_INFINITY;

  function failed(error: Error, to: UdpEndpoint | undefined): void {
    counters.sendFailures++;
    const nowMs = clock.monotonicMs();
    if (nowMs - lastLoggedMs < failureLogIntervalMs) return;
    lastLoggedMs = nowMs;
    log.warn({ err: error, port, to, sendFailures: counters.sendFailures }, "failed to send a datagram");
  }
  // Errors of sends come by their callback; what comes here is an ICMP answer to one of them.
  socket.on("error", (error) => failed(error, undefined));

  return {
    local: { address, port },
    receiveBufferBytes,
    send(datagram, to) {
      if (closing) return failed(new Error("the socket is closed"), to);
      try {
        socket.send(datagram, to.port, to.address, (error) => {
          if (error) failed(error, to);
        });
      } catch (error) {
        failed(error as Error, to);
      }
    },
    onMessage(handler) {
      socket.on("message", (datagram, from) => handler(datagram, { address: from.address, port: from.port }));
    },
    close() {
      return (closing ??= new Promise((resolve) => socket.close(() => resolve())));
    },
  };
}

function openPlain(socket: Socket, { address = "0.0.0.0", port }: UdpBinding): Promise<void> {
  return new Promise((resolve, reject) => {
    const onError = (error: NodeJS.ErrnoException): void =>
      reject(portError(error.code, address, port) ?? error);
    socket.once("error", onError);
    socket.bind({ address, port, exclusive: true }, () => {
      socket.off("error", onError);
      resolve();
    });
  });
}

function openOnDevice(
  socket: Socket,
  binding: UdpBinding,
  device: string,
  sockets: DeviceSockets,
  known: string[],
): void {
  const { address = "0.0.0.0", port } = binding;
  let descriptor: number;
  try {
    const { broadcast = false, receiveBufferBytes } = binding;
    descriptor = sockets.open({ device, address, port, broadcast, receiveBufferBytes });
  } catch (error) {
    if (!(error instanceof SystemCallError)) throw error;
    if (error.code === "ENODEV") throw DeviceNotFound({ device, known });
    if (error.call !== "bind") throw DeviceBindingUnavailable({ device, reason: error.message });
    throw portError(error.code, address, port) ?? error;
  }
  try {
    socket.bind({ fd: descriptor });
  } catch (error) {
    sockets.close(descriptor);
    throw error;
  }
  sockets.forbidPortSharing(descriptor);
}

function useHandedOver(
  socket: Socket,
  descriptor: number,
  name: string,
  device: string,
  sockets: DeviceSockets | undefined,
): void {
  const actual = sockets?.deviceOf(descriptor);
  if (actual !== undefined && actual !== device) {
    const reason = `the socket ${name} of systemd is bound to ${actual || "no device"}; its unit needs BindToDevice=${device}`;
    throw DeviceBindingUnavailable({ device, reason });
  }
  socket.bind({ fd: descriptor });
}

function setReceiveBuffer(
  socket: Socket,
  { device, port, receiveBufferBytes: wished }: UdpBinding,
  log: Log,
): number {
  const before = socket.getRecvBufferSize();
  if (wished === undefined) return before;
  // The kernel doubles what it is asked for and reports that. A forced size would be cut down by asking again.
  if (before < 2 * wished) socket.setRecvBufferSize(wished);
  const obtained = socket.getRecvBufferSize();
  const fields = { device, port, wishedBytes: wished, obtainedBytes: obtained / 2 };
  if (obtained < 2 * wished)
    log.warn(fields, "receive buffer is smaller than wished: raise net.core.rmem_max");
  else log.debug(fields, "receive buffer");
  return obtained;
}

function portError(code: string | undefined, address: string, port: number): Error | undefined {
  if (code === "EADDRINUSE") return PortInUse({ protocol: "udp", port, address });
  if (code === "EACCES" || code === "EPERM") return PortNotPermitted({ protocol: "udp", port });
  return undefined;
}

function devicesInUse(): ReadonlyMap<string, string | undefined> {
  const devices = new Map<string, string | undefined>();
  for (const [device, addresses] of Object.entries(networkInterfaces())) {
    if (!addresses || addresses.some(({ internal }) => internal)) continue;
    devices.set(device, addresses.find(({ family }) => family === "IPv4")?.address);
  }
  return devices;
}
