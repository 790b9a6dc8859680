import type { Clock, Udp, UdpEndpoint } from "../../server/domain/capabilities.ts";
import type { TftpContact } from "../../server/domain/contact.ts";
import type { Ipv4 } from "../../server/net/ipv4.ts";
import { systemClock } from "../../server/platform/clock.ts";
import { silentLog } from "../../server/platform/logger.ts";
import { bufferRoute, NotMine, type FileRoute, type TftpFile } from "../../server/tftp/file-routes.ts";
import { createTftpServer, type TftpServer, type TftpServerOptions } from "../../server/tftp/server.ts";
import { loopbackUdp } from "./loopback-udp.ts";

export interface TftpLab {
  readonly server: TftpServer;
  readonly address: UdpEndpoint;
  readonly contacts: TftpContact[];
}

type Overrides = Partial<TftpServerOptions> & { readonly udp?: Udp; readonly clock?: Clock };

/** A TFTP server on loopback that is stopped when the test ends. */
export async function startTftpLab(
  t: { teardown(fn: () => Promise<void>): unknown },
  routes: readonly FileRoute[],
  overrides: Overrides = {},
): Promise<TftpLab> {
  const contacts: TftpContact[] = [];
  const server = createTftpServer({
    udp: loopbackUdp,
    clock: systemClock,
    log: silentLog,
    bindings: [{ address: "127.0.0.1" as Ipv4, port: 0 }],
    routes,
    onContact: (contact) => contacts.push(contact),
    ...overrides,
  });
  await server.start();
  t.teardown(() => server.stop());
  const [address] = server.addresses;
  if (address === undefined) throw new Error("not listening");
  return { server, address, contacts };
}

export function filesRoute(files: Readonly<Record<string, Uint8Array>>): FileRoute {
  return bufferRoute("files", (name) => (Object.hasOwn(files, name) ? files[name] : undefined));
}

/** Octets that tell their place, so that none can stand for another; period 16 MiB. */
export function fillPattern(target: Uint8Array, offset: number): Uint8Array {
  const view = new DataView(target.buffer, target.byteOffset, target.byteLength);
  let at = 0;
  for (; at + 4 <= target.length && offset % 4 === 0; at += 4)
    view.setUint32(at, Math.imul(offset + at, 0x9e3779b1));
  for (; at < target.length; at++)
    target[at] = Math.imul((offset + at) & ~3, 0x9e3779b1) >>> (24 - 8 * ((offset + at) & 3));
  return target;
}

/** A file of any size that lies nowhere, read asynchronously. */
export function patternRoute(name: string, sizeBytes: number): FileRoute {
  const file: TftpFile = {
    sizeBytes,
    read: async (offset, length) => fillPattern(new Uint8Array(Math.min(length, sizeBytes - offset)), offset),
    close() {},
  };
  return { name, open: async (request) => (request.file === name ? file : NotMine) };
}

/** Waits for what happens soon on real sockets. */
export async function eventually(isTrue: () => boolean, withinMs = 2000): Promise<void> {
  const until = performance.now() + withinMs;
  while (!isTrue()) {
    if (performance.now() > until) throw new Error("never happened");
    await new Promise((resolve) => setTimeout(resolve, 2));
  }
}
