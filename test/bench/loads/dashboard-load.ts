/**
 * A room of machines that report the progress of what they load once a second each, and dashboards that watch them, as a process of
 * its own. One argument, JSON `DashboardLoad`; prints JSON `DashboardLoadResult`.
 */
import { setTimeout as pause } from "node:timers/promises";
import { request } from "node:http";
import type { LiveMessages } from "../../../server/http/api/live-messages.ts";
import type { Ipv4 } from "../../../server/net/ipv4.ts";
import { createHttpClient } from "../../../server/simulate/http-client.ts";

export interface DashboardLoad {
  readonly origin: string;
  readonly token: string;
  readonly machines: readonly { readonly mac: string; readonly address: string; readonly claim?: string }[];
  readonly watchers: number;
  /** 0: only the claims are fetched. */
  readonly seconds: number;
}

export interface DashboardLoadResult {
  /** In the order of the machines. */
  readonly claims: readonly string[];
  readonly reports: number;
  readonly failed: number;
  /** Over all watchers. */
  readonly messages: number;
  readonly machinesTold: number;
  readonly bytes: number;
}

const load = JSON.parse(process.argv[2] ?? "{}") as DashboardLoad;
const totalBytes = 1_000_000_000;
const told = { messages: 0, machinesTold: 0, bytes: 0 };
let reports = 0;
let failed = 0;

/** @returns what ends it */
function watch(): () => void {
  const asked = request(
    `${load.origin}/api/v1/live`,
    { headers: { accept: "text/event-stream", authorization: `Bearer ${load.token}` } },
    (response) => {
      let pending = "";
      response.setEncoding("utf8").on("data", (chunk: string) => {
        told.bytes += chunk.length;
        const parts = (pending + chunk).split("\n\n");
        pending = parts.pop() ?? "";
        for (const part of parts) {
          const [, data] = /^event: machines\ndata: (.*)$/m.exec(part) ?? [];
          if (data === undefined) continue;
          told.messages++;
          told.machinesTold += (JSON.parse(data) as LiveMessages["machines"]).changed.length;
        }
      });
      response.on("error", () => {});
    },
  );
  asked.on("error", () => {}).end();
  return () => void asked.destroy();
}

async function boot(
  { mac, address, claim }: DashboardLoad["machines"][number],
  place: number,
): Promise<string> {
  const http = createHttpClient(address as Ipv4);
  try {
    if (claim === undefined) {
      const url = `${load.origin}/boot/${mac.replaceAll(":", "-")}/boot.ipxe?platform=efi&arch=x86_64`;
      const { body } = await http.send({ method: "GET", url, isKept: true });
      return /\/callback\/([a-z0-9]+)/.exec(body)?.[1] ?? "";
    }
    // Spread over the second, as machines are.
    await pause((1000 * place) / load.machines.length);
    for (let second = 1; second <= load.seconds; second++) {
      const nextMs = performance.now() + 1000;
      const form = `step=rootfs&done=${second * 1_000_000 + place}&total=${totalBytes}`;
      const url = `${load.origin}/callback/${claim}/phase`;
      const { status } = await http.send({ method: "POST", url, form, isKept: false });
      if (status === 204) reports++;
      else failed++;
      await pause(Math.max(0, nextMs - performance.now()));
    }
    return claim;
  } finally {
    http.close();
  }
}

const watching = Array.from({ length: load.watchers }, watch);
const claims = await Promise.all(load.machines.map(boot));
for (const stop of watching) stop();
process.stdout.write(JSON.stringify({ claims, reports, failed, ...told } satisfies DashboardLoadResult));
