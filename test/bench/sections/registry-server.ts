import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { type BenchLab, type Running, serverAddress } from "../bench-lab.ts";
import type { HeadLoad, HeadLoadResult } from "../loads/head-load.ts";
import type { PushLoad, PushLoadResult } from "../loads/push-load.ts";
import { dockerRegistryPort, startDockerRegistry } from "../peers.ts";
import { ours } from "../results.ts";
import { node, type Rollcall, startRollcall } from "../rollcall.ts";

export const dockerRegistry = "docker-registry";
export const manifestType = "application/vnd.oci.image.manifest.v1+json";
export const repository = "p10/bench";
const layers = 7;

/** A registry that is being measured. */
export interface MeasuredRegistry {
  readonly who: string;
  readonly port: number;
  readonly origin: string;
  readonly authorization: string | undefined;
  readonly server: Running;
  readonly rollcall: Rollcall | undefined;
}

/** Starts ours and its peer one after the other, and does the same with each. */
export async function withEachRegistry(
  lab: BenchLab,
  profile: string | undefined,
  work: (registry: MeasuredRegistry) => Promise<void>,
): Promise<void> {
  const rollcall = await startRollcall(lab, { profile });
  try {
    const { token } = await rollcall.client.post<{ token: string }>("/tokens", {
      name: "bench",
      scope: "imagemaker",
    });
    const authorization = `Basic ${Buffer.from(`bench:${token}`).toString("base64")}`;
    const origin = `http://${serverAddress}:80`;
    await work({ who: ours, port: 80, origin, authorization, server: rollcall, rollcall });
  } finally {
    await rollcall.stop();
  }
  const peer = await startDockerRegistry(lab);
  try {
    const origin = `http://${serverAddress}:${dockerRegistryPort}`;
    await work({
      who: dockerRegistry,
      port: dockerRegistryPort,
      origin,
      authorization: undefined,
      server: peer,
      rollcall: undefined,
    });
  } finally {
    await peer.stop();
  }
}

export async function runLoad<T>(lab: BenchLab, name: string, load: object): Promise<T> {
  const program = join(import.meta.dirname, `../loads/${name}.ts`);
  return JSON.parse(await lab.client([...node, program, JSON.stringify(load)])) as T;
}

export function pushBlobs(
  lab: BenchLab,
  { origin, authorization }: MeasuredRegistry,
  load: Pick<PushLoad, "clients" | "sizeBytes" | "seconds">,
): Promise<PushLoadResult> {
  return runLoad(lab, "push-load", { origin, authorization, repository, ...load } satisfies PushLoad);
}

export interface WebRate {
  readonly perSecond: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
}

/** HEAD, which wrk can't. */
export function headRate(
  lab: BenchLab,
  { port }: MeasuredRegistry,
  load: Pick<HeadLoad, "path" | "accept" | "connections" | "seconds">,
): Promise<WebRate> {
  return runLoad<HeadLoadResult>(lab, "head-load", { host: serverAddress, port, ...load } satisfies HeadLoad);
}

const unitMs: Readonly<Record<string, number>> = { us: 0.001, ms: 1, s: 1000, m: 60_000 };

/** GET, by wrk. @param isMissing: every answer must be an error, else none. @throws when not */
export async function getRate(
  lab: BenchLab,
  url: string,
  { connections, seconds, accept = "*/*", isMissing = false }: GetLoad,
): Promise<WebRate> {
  const text = await lab.client([
    "wrk",
    "-t1",
    `-c${connections}`,
    `-d${seconds}s`,
    "--latency",
    "-H",
    `Accept: ${accept}`,
    url,
  ]);
  const requests = Number(/([0-9]+) requests in/.exec(text)?.[1] ?? 0);
  const errors = Number(/Non-2xx or 3xx responses: ([0-9]+)/.exec(text)?.[1] ?? 0);
  if (requests === 0 || errors !== (isMissing ? requests : 0) || text.includes("Socket errors"))
    throw new Error(`wrk got other answers than it should for ${url}:\n${text}`);
  const latency = (share: string) => {
    const [, value = "NaN", unit = ""] =
      new RegExp(`^ +${share}% +([0-9.]+)(us|ms|s|m)$`, "m").exec(text) ?? [];
    return Number(value) * (unitMs[unit] ?? NaN);
  };
  const perSecond = Number(/Requests\/sec:\s+([0-9.]+)/.exec(text)?.[1]);
  return { perSecond, p50Ms: latency("50"), p99Ms: latency("99") };
}

interface GetLoad {
  readonly connections: number;
  readonly seconds: number;
  readonly accept?: string;
  readonly isMissing?: boolean;
}

/** Sends a file. @throws when it is not taken */
export async function put(
  lab: BenchLab,
  { origin, authorization }: MeasuredRegistry,
  path: string,
  content: string | Uint8Array,
  type: string,
): Promise<void> {
  const file = join(lab.scratch("put"), "content");
  writeFileSync(file, content);
  const headers = [`content-type: ${type}`, ...(authorization ? [`authorization: ${authorization}`] : [])];
  const words = ["curl", "-sS", "--fail-with-body", "-X", "PUT", "--data-binary", `@${file}`];
  await lab.client([...words, ...headers.flatMap((header) => ["-H", header]), `${origin}${path}`]);
}

/** An image with small layers, under the tag `latest`. @returns its manifest */
export async function pushImage(lab: BenchLab, registry: MeasuredRegistry): Promise<string> {
  const sizeBytes = 1024;
  const { digests } = await pushBlobs(lab, registry, { clients: layers + 1, sizeBytes });
  const [config, ...others] = digests.map((digest) => ({
    mediaType: "application/vnd.oci.image.layer.v1.tar+gzip",
    digest,
    size: sizeBytes,
  }));
  const manifest = JSON.stringify({
    schemaVersion: 2,
    mediaType: manifestType,
    config: { ...config, mediaType: "application/vnd.oci.image.config.v1+json" },
    layers: others,
  });
  await put(lab, registry, `/v2/${repository}/manifests/latest`, manifest, manifestType);
  return manifest;
}
