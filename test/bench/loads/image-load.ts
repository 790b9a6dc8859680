/**
 * Clients that push and pull images at once, and compare every octet. One argument, JSON `ImageLoad`; prints JSON `ImageLoadResult`.
 * Fails where anything is missing or not as it was pushed.
 */
import { randomBytes } from "node:crypto";
import { blobOf, manifestOf } from "../../support/oci-image.ts";
import { registryClient } from "../../support/registry-client.ts";

export interface ImageLoad {
  readonly origin: string;
  readonly token: string;
  readonly pushers: number;
  readonly pullers: number;
  /** Images that are pulled; pushed before the time counts where `isFirst`. */
  readonly images: number;
  readonly isFirst: boolean;
  readonly layerBytes: number;
  readonly seconds: number;
}

export interface ImageLoadResult {
  readonly pushes: number;
  readonly pulls: number;
  /** Of each request of a pull, from the question to the last octet. */
  readonly tookMs: readonly number[];
}

const load = JSON.parse(process.argv[2] ?? "{}") as ImageLoad;
const pushing = registryClient(load.origin, load.token);
const pulling = registryClient(load.origin, "");
const kept = "p10/kept";
const tagsEach = 3;

async function push(repository: string, tag: string): Promise<string> {
  const config = blobOf(JSON.stringify({ number: randomBytes(8).toString("hex") }));
  const layers = [randomBytes(load.layerBytes), randomBytes(load.layerBytes)].map((octets) => blobOf(octets));
  for (const blob of [config, ...layers]) await pushing.push(repository, blob);
  const manifest = manifestOf(config, layers);
  await pushing.putManifest(repository, tag, manifest);
  return manifest.digest;
}

if (load.isFirst) for (let number = 0; number < load.images; number++) await push(kept, `t${number}`);

const took: number[] = [];
let pushes = 0;
let pulls = 0;
const endMs = performance.now() + load.seconds * 1000;

async function timed<T>(work: () => Promise<T>): Promise<T> {
  const beganMs = performance.now();
  const result = await work();
  took.push(performance.now() - beganMs);
  return result;
}

async function pushAll(repository: string): Promise<void> {
  for (let number = 0; performance.now() < endMs; number++) {
    const digest = await push(repository, `t${number % tagsEach}`);
    // Some are deleted, the others lose their tag to the next ones.
    if (number % 2 === 1) await pushing.deleteManifest(repository, digest);
    pushes++;
  }
}

async function pullAll(): Promise<void> {
  while (performance.now() < endMs) {
    const tag = `t${Math.floor(Math.random() * load.images)}`;
    const path = `/v2/${kept}/manifests/${tag}`;
    const { bytes } = await timed(() => pulling.must(200, "GET", path));
    const { config, layers } = JSON.parse(bytes.toString()) as {
      config: { digest: string };
      layers: { digest: string }[];
    };
    for (const { digest } of [config, ...layers]) await timed(() => pulling.pullBlob(kept, digest));
    pulls++;
  }
}

await Promise.all([
  ...Array.from({ length: load.pushers }, (_, number) => pushAll(`p10/pushed${number}`)),
  ...Array.from({ length: load.pullers }, pullAll),
]);
const tookMs = took.map((one) => Math.round(one * 100) / 100);
process.stdout.write(JSON.stringify({ pushes, pulls, tookMs } satisfies ImageLoadResult));
await Promise.all([pushing.close(), pulling.close()]);
