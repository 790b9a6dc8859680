import type { ChildProcess } from "node:child_process";
import { resolve } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import type { UdpBinding, UdpEndpoint } from "../../server/domain/capabilities.ts";
import type { Lan } from "./namespaces.ts";
import type { ProbeCommand } from "./udp-probe.ts";

export const probeScript = resolve(import.meta.dirname, "udp-probe.ts");

interface Bound {
  readonly socket: number;
  readonly local: UdpEndpoint;
  readonly receiveBufferBytes: number;
}
interface Received {
  readonly datagram: Buffer;
  readonly from: UdpEndpoint;
}

/** Datagrams cross a bridge in well under this. */
const settleMs = 60;
/** A machine that is busy otherwise. */
const limitMs = 5000;

export class UdpProbe {
  readonly #child: ChildProcess;
  readonly #waiting = new Map<number, (result: unknown) => void>();
  #id = 0;

  constructor(child: ChildProcess) {
    this.#child = child;
    child.on("message", ({ id, result }: { id: number; result: unknown }) => this.#waiting.get(id)?.(result));
  }

  do(command: ProbeCommand): Promise<unknown> {
    const id = this.#id++;
    return new Promise((done) => {
      this.#waiting.set(id, done);
      this.#child.send({ id, command });
    });
  }

  /** @returns the error's code when it fails */
  async tryBind(binding: UdpBinding, uid?: number): Promise<Bound | { error: string }> {
    return (await this.do({ op: "bind", binding, ...(uid === undefined ? {} : { uid }) })) as
      Bound | { error: string };
  }

  async bind(binding: UdpBinding): Promise<Bound> {
    const bound = await this.tryBind(binding);
    if ("error" in bound) throw new Error(bound.error);
    return bound;
  }

  send(socket: number, datagram: Uint8Array | string, to: UdpEndpoint): Promise<unknown> {
    return this.do({ op: "send", socket, base64: Buffer.from(datagram).toString("base64"), to });
  }

  /**
   * What came since the last time, after what is under way has arrived.
   * @param atLeast so many are waited for, though not for ever
   */
  async received(socket: number, atLeast = 0): Promise<Received[]> {
    const all: Received[] = [];
    const endMs = performance.now() + limitMs;
    do {
      await sleep(settleMs);
      const list = (await this.do({ op: "received", socket })) as { base64: string; from: UdpEndpoint }[];
      all.push(...list.map(({ base64, from }) => ({ datagram: Buffer.from(base64, "base64"), from })));
    } while (all.length < atLeast && performance.now() < endMs);
    return all;
  }

  async texts(socket: number, atLeast = 0): Promise<string[]> {
    return (await this.received(socket, atLeast)).map(({ datagram }) => datagram.toString("latin1"));
  }
}

/** A probe in a host's namespace. */
export function createUdpProbe(lan: Lan, host: string): UdpProbe {
  return new UdpProbe(
    lan.start(host, [process.execPath, probeScript], ["ignore", "inherit", "inherit", "ipc"]),
  );
}
