/** Sockets in another network namespace, worked by remote from a test: see `createUdpProbe` in udp-probe-client.ts. */
import { readdirSync } from "node:fs";
import { createSocket } from "node:dgram";
import type { UdpBinding, UdpEndpoint } from "../../server/domain/capabilities.ts";
import { RollcallError } from "../../server/domain/errors.ts";
import { systemClock } from "../../server/platform/clock.ts";
import { silentLog } from "../../server/platform/logger.ts";
import { createUdp, type PlatformUdpSocket } from "../../server/platform/udp.ts";

export type ProbeCommand =
  | { op: "bind"; binding: UdpBinding; uid?: number }
  /** A plain socket that would share its port, as other DHCP servers open theirs. */
  | { op: "share"; port: number }
  | { op: "send"; socket: number; base64: string; to: UdpEndpoint }
  | { op: "received"; socket: number }
  | { op: "close"; socket: number }
  | { op: "descriptors" }
  | { op: "sendFailures" };

const udp = createUdp({ log: silentLog, clock: systemClock });
const sockets: { socket: PlatformUdpSocket; received: { base64: string; from: UdpEndpoint }[] }[] = [];

async function bind(binding: UdpBinding, uid: number | undefined): Promise<unknown> {
  if (uid !== undefined) process.seteuid?.(uid);
  try {
    const socket = await udp.bind(binding);
    const received: { base64: string; from: UdpEndpoint }[] = [];
    socket.onMessage((datagram, from) =>
      received.push({ base64: Buffer.from(datagram).toString("base64"), from }),
    );
    sockets.push({ socket, received });
    return { socket: sockets.length - 1, local: socket.local, receiveBufferBytes: socket.receiveBufferBytes };
  } catch (error) {
    return { error: error instanceof RollcallError ? error.code : String(error) };
  } finally {
    if (uid !== undefined) process.seteuid?.(0);
  }
}

function share(port: number): Promise<unknown> {
  return new Promise((resolve) => {
    const socket = createSocket({ type: "udp4", reuseAddr: true });
    socket.once("error", (error: NodeJS.ErrnoException) =>
      socket.close(() => resolve({ error: error.code })),
    );
    socket.bind(port, () => socket.close(() => resolve({})));
  });
}

async function perform(command: ProbeCommand): Promise<unknown> {
  switch (command.op) {
    case "bind":
      return bind(command.binding, command.uid);
    case "share":
      return share(command.port);
    case "send":
      return sockets[command.socket]?.socket.send(Buffer.from(command.base64, "base64"), command.to);
    case "received":
      return sockets[command.socket]?.received.splice(0);
    case "close":
      return sockets[command.socket]?.socket.close();
    case "descriptors":
      return readdirSync("/proc/self/fd").length;
    case "sendFailures":
      return udp.counters.sendFailures;
  }
}

process.on("message", ({ id, command }: { id: number; command: ProbeCommand }) => {
  void perform(command).then((result) => process.send?.({ id, result }));
});
process.on("disconnect", () => process.exit(0));
