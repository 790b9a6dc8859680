import { resolve } from "node:path";
import { createInterface } from "node:readline";
import { setTimeout as sleep } from "node:timers/promises";
import type { DhcpContact } from "../../server/domain/contact.ts";
import type { NewEvent } from "../../server/domain/event.ts";
import type { DhcpProcessOptions } from "./dhcp-server-process.ts";
import type { Lan } from "./namespaces.ts";

export interface DhcpProcess {
  /** Resolves with the first event, past or future, that fits. @throws when none comes in time */
  event(fits: (event: NewEvent) => boolean, what: string): Promise<NewEvent>;
  contact(fits: (contact: DhcpContact) => boolean, what: string): Promise<DhcpContact>;
}

/** Our server in the namespace of the host `server`; it ends with the network. */
export async function startDhcpProcess(lan: Lan, options: DhcpProcessOptions): Promise<DhcpProcess> {
  const script = resolve(import.meta.dirname, "dhcp-server-process.ts");
  const child = lan.start("server", [process.execPath, script, JSON.stringify(options)]);
  const said: { ready?: unknown; contact?: DhcpContact; event?: NewEvent }[] = [];
  if (!child.stdout) throw new Error("no standard output");
  createInterface(child.stdout).on("line", (line) => said.push(JSON.parse(line) as (typeof said)[number]));
  async function until<T>(find: () => T | undefined, what: string): Promise<T> {
    for (let turn = 0; turn < 1000; turn++) {
      const found = find();
      if (found !== undefined) return found;
      await sleep(20);
    }
    throw new Error(`waited in vain for ${what}`);
  }
  await until(() => said.find(({ ready }) => ready), "the server");
  return {
    event: (fits, what) => until(() => said.find(({ event }) => event && fits(event))?.event, what),
    contact: (fits, what) => until(() => said.find(({ contact }) => contact && fits(contact))?.contact, what),
  };
}
