import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { createInterface } from "node:readline";
import type { Test } from "tap";
import { request } from "undici";
import { type Blob, blobOf, manifestOf } from "./oci-image.ts";
import { RefusedPush, type RegistryClient, registryClient } from "./registry-client.ts";
import { temporaryDirectory } from "./samples.ts";

/** One image, as its pusher knows it. */
interface Pushed {
  readonly manifest: string;
  readonly blobs: readonly string[];
}

/** What a pusher was told, and what it was told nothing of because the server ended. */
interface Ledger {
  readonly repository: string;
  /** Digests that were acknowledged by 201. */
  readonly blobs: Set<string>;
  readonly tags: Map<string, Pushed>;
  /** Of the request that nobody answered: the tag may lead there too, or be gone. */
  doubtful: { readonly tag: string; readonly image: Pushed | undefined } | undefined;
}

const pushers = 8;
const tagsEach = 4;
const longestLayerBytes = 96 * 1024;

/** Numbers by chance that a seed repeats (mulberry32). */
export function randomNumbers(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

interface Running {
  readonly child: ChildProcess;
  readonly client: RegistryClient;
  readonly readyMs: number;
  check(): Promise<{ damagedCount: number; wrongManifests: number; blobs: number }>;
  collect(): Promise<void>;
}

/**
 * Kills a server with SIGKILL in the middle of pushes, again and again, and looks each time whether all that it acknowledged is there.
 * @returns numbers of it
 */
export async function crashRegistry(t: Test, rounds: number, seed: number) {
  const random = randomNumbers(seed);
  const directory = temporaryDirectory(t);
  const dataDir = join(directory, "data");
  mkdirSync(join(directory, "tmp"));
  let token = "";
  const program = join(import.meta.dirname, "registry-process.ts");

  async function start(): Promise<Running> {
    const began = performance.now();
    const child = spawn(
      process.execPath,
      [program, dataDir, JSON.stringify({ "registry.graceSeconds": 0, "registry.scrubBytesPerSecond": 0 })],
      { stdio: ["ignore", "pipe", "inherit"], env: { ...process.env, TMPDIR: join(directory, "tmp") } },
    );
    t.teardown(() => void child.kill("SIGKILL"));
    const [line] = (await once(createInterface(child.stdout), "line")) as [string];
    const ports = JSON.parse(line) as { registry: number; http: number; token: string };
    token ||= ports.token;
    const client = registryClient(`http://127.0.0.1:${ports.registry}`, token);
    await client.must(200, "GET", "/v2/");
    const post = async (path: string, body: object) => {
      const answer = await request(`http://127.0.0.1:${ports.http}/api/v1${path}`, {
        method: "POST",
        headers: { authorization: `Bearer ${token}`, "content-type": "application/json" },
        body: JSON.stringify(body),
      });
      return answer.body.json();
    };
    return {
      child,
      client,
      readyMs: performance.now() - began,
      check: async () =>
        (await post("/registry/check", { deep: true })) as Awaited<ReturnType<Running["check"]>>,
      collect: async () => void (await post("/registry/collect", {})),
    };
  }

  const ledgers = Array.from({ length: pushers }, (_, index): Ledger => ({
    repository: `lab/r${index}`,
    blobs: new Set(),
    tags: new Map(),
    doubtful: undefined,
  }));
  const layerOf = () => {
    const content = Buffer.alloc(Math.ceil(random() * longestLayerBytes));
    for (let at = 0; at + 4 <= content.length; at += 4)
      content.writeUInt32LE(Math.floor(random() * 2 ** 32), at);
    return blobOf(content);
  };

  async function pushBlob(client: RegistryClient, ledger: Ledger, blob: Blob): Promise<void> {
    const from = ledgers[Math.floor(random() * pushers)] as Ledger;
    const way = random();
    if (way < 0.3) await client.pushWhole(ledger.repository, blob);
    else if (way < 0.8) await client.pushInPieces(ledger.repository, blob, 1 + Math.floor(random() * 3));
    else if (!(await client.mount(ledger.repository, blob, from.repository)))
      await client.pushWhole(ledger.repository, blob);
    ledger.blobs.add(blob.digest);
  }

  async function pushOnce(client: RegistryClient, ledger: Ledger): Promise<void> {
    const tag = `t${Math.floor(random() * tagsEach)}`;
    const before = ledger.tags.get(tag);
    if (before && random() < 0.15) {
      ledger.doubtful = { tag, image: undefined };
      await client.deleteManifest(ledger.repository, tag);
      ledger.tags.delete(tag);
    } else {
      const config = blobOf(JSON.stringify({ of: ledger.repository, number: random() }));
      const layers = Array.from({ length: 1 + Math.floor(random() * 3) }, layerOf);
      for (const blob of [config, ...layers]) await pushBlob(client, ledger, blob);
      const manifest = manifestOf(config, layers);
      const image = { manifest: manifest.digest, blobs: [config, ...layers].map(({ digest }) => digest) };
      ledger.doubtful = { tag, image };
      await client.putManifest(ledger.repository, tag, manifest);
      ledger.tags.set(tag, image);
      onAcknowledged();
    }
    ledger.doubtful = undefined;
  }

  let onAcknowledged = () => {};
  const counts = { rounds, pushed: 0, blobs: 0, kept: 0, slowestReadyMs: 0 };

  async function pushUntilKilled({ child, client, collect }: Running): Promise<void> {
    let isDead = false;
    const refusals: unknown[] = [];
    const untilDead = async (work: () => Promise<void>) => {
      try {
        while (!isDead) await work();
      } catch (error) {
        // A broken connection is the end of the server; an answer that says no is a fault.
        if (error instanceof RefusedPush) refusals.push(error);
      }
    };
    const work = Promise.all([
      ...ledgers.map((ledger) =>
        untilDead(async () => {
          await pushOnce(client, ledger);
          counts.pushed++;
        }),
      ),
      untilDead(collect),
    ]);
    // The moment of the end is what is by chance here; nothing waits for it.
    await new Promise((resolve) => setTimeout(resolve, 50 + random() * 700));
    // What was acknowledged this moment is what is lost first.
    if (random() < 0.5 && refusals.length === 0)
      await Promise.race([work, new Promise<void>((resolve) => (onAcknowledged = resolve))]);
    child.kill("SIGKILL");
    await once(child, "exit");
    isDead = true;
    await work;
    await client.close();
    t.same(refusals, [], "nothing is refused");
  }

  async function verify(client: RegistryClient, ledger: Ledger): Promise<string[]> {
    const lost: string[] = [];
    const { repository, doubtful } = ledger;
    const tags = await client.tags(repository);
    for (const [tag, image] of ledger.tags)
      if (!tags.includes(tag) && !(doubtful?.tag === tag && !doubtful.image))
        lost.push(`${repository}:${tag} ${image.manifest}`);
    for (const tag of tags) {
      const expected = [ledger.tags.get(tag), ...(doubtful?.tag === tag ? [doubtful.image] : [])];
      const pulled = await client.pull(repository, tag).catch((error: unknown) => String(error));
      const found = expected.find((image) => image?.manifest === pulled);
      if (found) ledger.tags.set(tag, found);
      else lost.push(`${repository}:${tag} gives ${pulled}`);
    }
    for (const tag of ledger.tags.keys()) if (!tags.includes(tag)) ledger.tags.delete(tag);
    // Blobs of this round have a lease, whether a manifest names them or not.
    for (const digest of ledger.blobs)
      await client
        .pullBlob(repository, digest)
        .catch((error: unknown) => lost.push(`${repository} ${String(error)}`));
    counts.blobs += ledger.blobs.size;
    ledger.blobs.clear();
    ledger.doubtful = undefined;
    return lost;
  }

  for (let round = 0; ; round++) {
    const running = await start();
    counts.slowestReadyMs = Math.max(counts.slowestReadyMs, Math.round(running.readyMs));
    const lost = (await Promise.all(ledgers.map((ledger) => verify(running.client, ledger)))).flat();
    const { damagedCount, wrongManifests, blobs } = await running.check();
    t.same(
      { lost, damagedCount, wrongManifests },
      { lost: [], damagedCount: 0, wrongManifests: 0 },
      `seed ${seed}, crash ${round}`,
    );
    counts.kept = blobs;
    if (round === rounds) {
      running.child.kill("SIGKILL");
      await once(running.child, "exit");
      await running.client.close();
      return counts;
    }
    await pushUntilKilled(running);
  }
}
