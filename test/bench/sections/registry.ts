import { mkdirSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { createGpg, digestOf, payloadFor } from "../../support/signing-lab.ts";
import { type BenchLab, type Running, serverAddress } from "../bench-lab.ts";
import type { Bench, Section } from "../main.ts";
import { startNginx } from "../peers.ts";
import { atLeastTimes, atMost, type Measure, type Results } from "../results.ts";
import {
  dockerRegistry,
  getRate,
  headRate,
  manifestType,
  type MeasuredRegistry,
  pushBlobs,
  pushImage,
  put,
  repository,
  type WebRate,
  withEachRegistry,
} from "./registry-server.ts";

const mebibyte = 1024 * 1024;
const connections = 32;
const seconds = 3;
const layerBytes = 200 * mebibyte;
const pullers = [1, 8, 32];
const pushers = 8;
const pushedBytes = 50 * mebibyte;
const smallBytes = 1024;
const smallPushers = [1, 16];
const lookasidePeer = "nginx";

/** At least 8,000 a second or 0.3 of nginx, whichever is more. */
const lookasideBar: NonNullable<Measure["bar"]> = {
  text: "8,000 per s and 0.3 x nginx",
  isMet: (value, peers) => value >= Math.max(8000, 0.3 * (peers.get(lookasidePeer) ?? 0)),
};

function declareRate(results: Results, id: string, what: string, bar: Measure["bar"]): void {
  results.declare({ id, what, unit: "per s", better: "more", ...(bar && { bar }) });
  results.declare({ id: `${id} p50`, what: "the same: p50", unit: "ms", better: "less" });
  results.declare({
    id: `${id} p99`,
    what: "the same: p99",
    unit: "ms",
    better: "less",
    bar: atMost(50, "ms")!,
  });
}

function addRate(results: Results, id: string, who: string, { perSecond, p50Ms, p99Ms }: WebRate): void {
  results.add(id, who, perSecond);
  results.add(`${id} p50`, who, p50Ms);
  results.add(`${id} p99`, who, p99Ms);
}

function declare(results: Results): void {
  for (const method of ["GET", "HEAD"])
    declareRate(
      results,
      method,
      `manifest ${method} by tag, ${connections} connections`,
      atLeastTimes(8, dockerRegistry),
    );
  for (const kind of ["hit", "miss"])
    declareRate(results, kind, `lookaside, ${kind}, ${connections} connections`, lookasideBar);
  for (const clients of pullers)
    results.declare({
      id: `pull ${clients}`,
      what: `pull of a 200 MiB blob, ${clients} at once`,
      unit: "MiB/s",
      better: "more",
      bar: atLeastTimes(0.95, dockerRegistry)!,
    });
  results.declare({
    id: "pull cpu",
    what: "the pulls: CPU time of the server",
    unit: "s/GiB",
    better: "less",
    bar: atMost(1.1, "s/GiB")!,
  });
  results.declare({
    id: "pull memory",
    what: "the pulls: server's most memory",
    unit: "MiB",
    better: "less",
    bar: atMost(150, "MiB")!,
  });
  results.declare({
    id: "push",
    what: `push of ${pushers} blobs of 50 MiB at once`,
    unit: "MiB/s",
    better: "more",
    bar: atLeastTimes(0.9, dockerRegistry)!,
  });
  for (const clients of smallPushers)
    results.declare({
      id: `small ${clients}`,
      what: `push of durable 1 KiB blobs, ${clients} client${clients > 1 ? "s" : ""}`,
      unit: "per s",
      better: "more",
      bar: atLeastTimes(3, dockerRegistry)!,
    });
}

type Gpg = ReturnType<typeof createGpg>;

/** Ours signs the image that was pushed. @returns the signature and its path */
async function signImage(
  lab: BenchLab,
  registry: MeasuredRegistry,
  gpg: Gpg,
  manifest: string,
): Promise<{ path: string; octets: Buffer }> {
  const publicKey = (await gpg.gpg("--export", "--armor", "bench")).stdout.toString();
  await registry.rollcall?.client.post("/keys", { name: "bench", publicKey });
  const digest = digestOf(manifest);
  const octets = await gpg.sign("bench", payloadFor(digest, `registry.local/${repository}:latest`));
  const path = `/sigstore/${repository}@${digest.replace(":", "=")}/signature-1`;
  await put(lab, registry, path, octets, "application/octet-stream");
  return { path, octets };
}

async function measureManifests({ lab, results, profile }: Bench, gpg: Gpg): Promise<void> {
  const path = `/v2/${repository}/manifests/latest`;
  let signature: Awaited<ReturnType<typeof signImage>> | undefined;
  await withEachRegistry(lab, profile, async (registry) => {
    const { who, origin } = registry;
    const manifest = await pushImage(lab, registry);
    const load = { accept: manifestType, connections, seconds };
    // Once, so that neither is measured while it warms up.
    await getRate(lab, `${origin}${path}`, { ...load, seconds: 1 });
    addRate(results, "GET", who, await getRate(lab, `${origin}${path}`, load));
    addRate(results, "HEAD", who, await headRate(lab, registry, { ...load, path }));
    if (!registry.rollcall) return;
    signature = await signImage(lab, registry, gpg, manifest);
    await measureLookaside(lab, results, who, `http://${serverAddress}:81${signature.path}`);
  });
  if (!signature) throw new Error("nothing was signed");
  const root = lab.scratch("sigstore");
  const file = join(root, signature.path);
  mkdirSync(dirname(file), { recursive: true });
  writeFileSync(file, signature.octets);
  const nginx = await startNginx(lab, root);
  try {
    await measureLookaside(lab, results, lookasidePeer, `http://${serverAddress}:8080${signature.path}`);
  } finally {
    await nginx.stop();
  }
}

async function measureLookaside(lab: BenchLab, results: Results, who: string, hit: string): Promise<void> {
  const miss = hit.replace(/1$/, "2");
  await getRate(lab, hit, { connections, seconds: 1 });
  addRate(results, "hit", who, await getRate(lab, hit, { connections, seconds }));
  addRate(results, "miss", who, await getRate(lab, miss, { connections, seconds, isMissing: true }));
}

/** MiB/s of so many downloads at once, by one curl. @throws when one of them is not whole */
async function pull(lab: BenchLab, url: string, clients: number): Promise<number> {
  const outputs = Array.from({ length: clients }, () => ["-o", "/dev/null", url]).flat();
  const parallel = ["--parallel", "--parallel-immediate", "--parallel-max", String(clients)];
  const beganMs = performance.now();
  const words = ["curl", "-sS", "--fail", ...parallel, "-w", "%{size_download}\\n", ...outputs];
  const sizes = (await lab.client(words)).trim().split("\n").map(Number);
  const tookSeconds = (performance.now() - beganMs) / 1000;
  if (sizes.length !== clients || sizes.some((size) => size !== layerBytes))
    throw new Error(`${url} came as ${sizes.join(", ")} octets`);
  return (clients * layerBytes) / mebibyte / tookSeconds;
}

async function measurePulls({ lab, results, profile }: Bench): Promise<void> {
  await withEachRegistry(lab, profile, async (registry) => {
    const { who, server, origin } = registry;
    const { digests } = await pushBlobs(lab, registry, { clients: 1, sizeBytes: layerBytes });
    const url = `${origin}/v2/${repository}/blobs/${digests[0]}`;
    await pull(lab, url, 1);
    server.forgetPeakMemory();
    const before = server.cpuSeconds();
    for (const clients of pullers) results.add(`pull ${clients}`, who, await pull(lab, url, clients));
    const octets = pullers.reduce((sum, clients) => sum + clients * layerBytes, 0);
    results.add("pull cpu", who, (server.cpuSeconds() - before) / (octets / 1024 ** 3));
    results.add("pull memory", who, peakMiB(server));
  });
}

const peakMiB = (server: Running): number => server.peakMemoryBytes() / mebibyte;

async function measurePushes({ lab, results, profile }: Bench): Promise<void> {
  await withEachRegistry(lab, profile, async (registry) => {
    for (const clients of smallPushers) {
      const pushed = await pushBlobs(lab, registry, { clients, sizeBytes: smallBytes, seconds });
      results.add(`small ${clients}`, registry.who, pushed.blobs / pushed.seconds);
    }
    const pushed = await pushBlobs(lab, registry, { clients: pushers, sizeBytes: pushedBytes });
    results.add("push", registry.who, (pushed.blobs * pushedBytes) / mebibyte / pushed.seconds);
  });
}

export const registry: Section = {
  name: "registry",
  table: "registry",
  summary: "container images and their signatures, against docker-registry and nginx",
  async run(bench) {
    const { results, rounds, turn } = bench;
    declare(results);
    const ends: (() => void | Promise<void>)[] = [];
    const gpg = createGpg({ teardown: (end) => ends.push(end) });
    try {
      await gpg.makeKey("bench", "rsa3072");
      for (let round = 1; round <= rounds; round++) {
        process.stdout.write(`  round ${round} of ${rounds}\n`);
        await turn(() => measureManifests(bench, gpg));
        await turn(() => measurePulls(bench));
        await turn(() => measurePushes(bench));
      }
    } finally {
      for (const end of ends.reverse()) await end();
    }
  },
};
