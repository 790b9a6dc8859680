import type { FastifyRequest } from "fastify";
import type { BootStep, BootStepName } from "../domain/boot.ts";
import type { Ipv4 } from "../net/ipv4.ts";

declare module "fastify" {
  interface FastifyRequest {
    /** The step of a machine's boot that this request is; its time is taken when the first octet of the answer leaves. */
    bootStep?: { machineId: string; step: BootStepName; detail: BootStep["detail"] } | undefined;
    /** When it arrived, on the monotonic clock, ms. */
    arrivedAt: number;
  }
}

/** Address of the asking machine: of the connection itself, never from a header. */
export function clientAddress(request: FastifyRequest): Ipv4 {
  return plain(request.socket.remoteAddress);
}

/**
 * How this client reaches us: the address and port that its connection came in on, so that a machine on any served interface gets
 * URLs that it can load. @param configured `address` of the config, which wins
 */
export function serverUrl(request: FastifyRequest, configured: string | undefined): string {
  const { localAddress, localPort } = request.socket;
  return `http://${configured ?? plain(localAddress)}:${localPort ?? 0}`;
}

/** The same for a preview, which may be asked for over the control socket: then it is where machines reach this server. */
export function previewUrl(
  request: FastifyRequest,
  { address, publicUrl }: { address: string | undefined; publicUrl: () => string },
): string {
  return request.socket.localPort === undefined ? publicUrl() : serverUrl(request, address);
}

function plain(address: string | undefined): Ipv4 {
  return (address ?? "0.0.0.0").replace(/^::ffff:/, "") as Ipv4;
}
