import { createSocket } from "node:dgram";
import type { Udp } from "../../server/domain/capabilities.ts";
import { PortInUse } from "../../server/domain/error-catalogue.ts";

/** Plain sockets without devices or privileges, for servers on 127.0.0.1. Addresses are literals, so nothing is looked up. */
export const loopbackUdp: Udp = {
  async bind({ address = "127.0.0.1", port }) {
    const socket = createSocket({
      type: "udp4",
      lookup: (host, _options, callback) => callback(null, host, 4),
    });
    await new Promise<void>((resolve, reject) => {
      socket.once("error", (error: NodeJS.ErrnoException) => {
        socket.close();
        reject(error.code === "EADDRINUSE" ? PortInUse({ protocol: "udp", port, address }) : error);
      });
      socket.bind(port, address, resolve);
    });
    socket.removeAllListeners("error");
    socket.on("error", () => undefined);
    let isClosed = false;
    const local = socket.address();
    return {
      local: { address: local.address, port: local.port },
      send(datagram, to) {
        if (!isClosed) socket.send(datagram, to.port, to.address);
      },
      onMessage(handler) {
        socket.on("message", handler);
      },
      async close() {
        if (isClosed) return;
        isClosed = true;
        await new Promise<void>((resolve) => socket.close(resolve));
      },
    };
  },
};
