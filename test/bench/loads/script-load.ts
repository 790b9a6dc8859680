/**
 * Machines that ask for their scripts again and again over connections of their own, each from its own address, as a
 * process of its own. One argument, JSON `ScriptLoad`; prints JSON `ScriptLoadResult`.
 */
import type { Ipv4 } from "../../../server/net/ipv4.ts";
import { createHttpClient } from "../../../server/simulate/http-client.ts";
import { percentilesOf } from "../../../server/simulate/report.ts";

export interface ScriptLoad {
  readonly origin: string;
  readonly machines: readonly { readonly mac: string; readonly address: string }[];
  readonly seconds: number;
}

export interface ScriptLoadResult {
  readonly perSecond: number;
  readonly failed: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
  /** One of the scripts, so that somebody can look what was measured. */
  readonly sample: string;
}

const load = JSON.parse(process.argv[2] ?? "{}") as ScriptLoad;
const took: number[] = [];
let failed = 0;
let sample = "";
const beganMs = performance.now();
const endMs = beganMs + load.seconds * 1000;

async function ask({ mac, address }: ScriptLoad["machines"][number]): Promise<void> {
  const http = createHttpClient(address as Ipv4);
  const url = `${load.origin}/boot/${mac.replaceAll(":", "-")}/boot.ipxe?platform=efi&arch=x86_64`;
  while (performance.now() < endMs) {
    const askedMs = performance.now();
    const answer = await http.send({ method: "GET", url, isKept: true }).catch(() => undefined);
    if (answer?.body.includes("\nkernel ")) took.push(performance.now() - askedMs);
    else failed++;
    sample = answer?.body ?? sample;
  }
  http.close();
}

await Promise.all(load.machines.map(ask));
const { p50Ms, p99Ms } = percentilesOf(took);
const result: ScriptLoadResult = {
  perSecond: took.length / ((performance.now() - beganMs) / 1000),
  failed,
  p50Ms,
  p99Ms,
  sample,
};
process.stdout.write(JSON.stringify(result));
