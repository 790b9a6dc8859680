import type { IncomingMessage, ServerResponse } from "node:http";
import type { AddressInfo, Server, Socket } from "node:net";
import { PortInUse, PortNotPermitted } from "../domain/error-catalogue.ts";

export interface ConnectionLimits {
  readonly total: number;
  readonly perAddress: number;
}
/** A machine has two or three connections. A relay or a NAT may stand for a whole room of them, so this one is generous. */
export const connectionsPerAddress = 256;

/**
 * Connections that wait to be accepted. Node's own 511 are full after a second of a building's power-on, and what is dropped then comes
 * again after 1, 3, 7, 15 seconds (net.core.somaxconn, 4096 since Linux 5.4, cuts it).
 */
export const backlog = 4096;

/** Keeps one client from taking every connection, and all of them from taking the last file descriptor. */
export function limitConnections(server: Server, { total, perAddress }: ConnectionLimits): void {
  server.maxConnections = total;
  const counts = new Map<string, number>();
  server.on("connection", (socket) => {
    const address = socket.remoteAddress ?? "";
    const count = (counts.get(address) ?? 0) + 1;
    if (count > perAddress) return void socket.destroy();
    counts.set(address, count);
    socket.once("close", () => {
      const left = (counts.get(address) ?? 1) - 1;
      if (left > 0) counts.set(address, left);
      else counts.delete(address);
    });
  });
}

/** No client that we know sends another request before it has its answer; some slack for those that nobody knows. */
const requestsPerConnection = 16;

/**
 * Keeps one connection from having thousands of requests under way whose answers it does not take: each may hold a file and a buffer.
 * @returns whether the request may be answered; else its connection is gone
 */
export function createPipelineLimit(): (request: IncomingMessage, response: ServerResponse) => boolean {
  const underWay = new WeakMap<Socket, number>();
  return ({ socket }, response) => {
    const count = (underWay.get(socket) ?? 0) + 1;
    if (count > requestsPerConnection) {
      socket.destroy();
      return false;
    }
    underWay.set(socket, count);
    response.once("close", () => underWay.set(socket, (underWay.get(socket) ?? 1) - 1));
    return true;
  };
}

/** Binds a server to a port that `key` of the config names. @returns its port @throws PortInUse, PortNotPermitted */
export async function listenOn(
  server: Server,
  { host, port, key }: { readonly host: string; readonly port: number; readonly key: string },
): Promise<number> {
  try {
    await new Promise<void>((resolve, reject) => {
      server.once("error", reject);
      server.listen({ port, host, backlog }, () => {
        server.off("error", reject);
        resolve();
      });
    });
  } catch (error) {
    throw listenError(error, port, key);
  }
  return (server.address() as AddressInfo).port;
}

/** @returns the refusal of a port in our words, for @param key of the config; any other error as it is */
export function listenError(error: unknown, port: number, key: string): unknown {
  const { code } = error as NodeJS.ErrnoException;
  if (code === "EADDRINUSE") return PortInUse({ protocol: "tcp", port, address: "0.0.0.0", key });
  if (code === "EACCES") return PortNotPermitted({ protocol: "tcp", port, key });
  return error;
}
