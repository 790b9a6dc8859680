import t from "tap";
import { systemClock } from "../../server/platform/clock.ts";
import { startServer } from "../support/http-fixture.ts";
import { type Blob, blobOf, manifestOf } from "../support/oci-image.ts";
import { registryClient } from "../support/registry-client.ts";
import { randomNumbers } from "../support/registry-crashes.ts";

/** Each with a repository of its own, and the same layers among them. */
const pushers = 16;
const pullers = 16;
const tagsEach = 3;
const imagesEach = 9;
const sharedLayers = 100;
/** Time of the server runs so much faster, and its shortest lease (5 minutes) lasts 10 seconds. */
const speed = 30;
/** Who takes longer than that, on a machine that has no time for this test, was promised nothing. */
const leaseMs = (5 * 60_000) / speed;

t.test(
  "garbage collection without grace, all the time: 16 push and 16 pull, and nothing is lost",
  async (t) => {
    const began = Date.now();
    const clock = { ...systemClock, now: () => began + (Date.now() - began) * speed };
    const server = await startServer(t, {
      clock,
      settings: { "registry.graceSeconds": 0, "registry.scrubBytesPerSecond": 0 },
    });
    const client = registryClient(`http://127.0.0.1:${server.app.addresses.registryPort}`, server.adminToken);
    // Nobody in particular, whose reads keep nothing for ever.
    const puller = registryClient(client.url, "");
    t.teardown(() => Promise.all([client.close(), puller.close()]).then(() => undefined));
    const random = randomNumbers(Number(process.env["LOAD_SEED"] ?? 1));
    const layers = Array.from({ length: sharedLayers }, (_, number) =>
      blobOf(Buffer.alloc(8192, `layer ${number} `)),
    );
    const anyLayer = () => layers[Math.floor(random() * sharedLayers)] as Blob;
    const expected = new Map<string, string>();
    const counts = {
      pushed: 0,
      deleted: 0,
      pulled: 0,
      collections: 0,
      blobs: 0,
      freedBytes: 0,
      longestPushMs: 0,
      pushedAgain: 0,
    };
    let pushing = pushers;

    async function push(repository: string, tag: string, blobs: readonly Blob[], manifest: Blob) {
      const began = Date.now();
      try {
        for (const blob of blobs) await client.push(repository, blob);
        await client.putManifest(repository, tag, manifest);
        counts.longestPushMs = Math.max(counts.longestPushMs, Date.now() - began);
      } catch (error) {
        if (Date.now() - began < leaseMs) throw error;
        counts.pushedAgain++;
        await push(repository, tag, blobs, manifest);
      }
    }

    async function pushAll(repository: string): Promise<void> {
      for (let number = 0; number < imagesEach; number++) {
        const tag = `t${number % tagsEach}`;
        const config = blobOf(JSON.stringify({ repository, number }));
        const chosen = [anyLayer(), anyLayer()];
        const manifest = manifestOf(config, chosen);
        await push(repository, tag, [config, ...chosen], manifest);
        counts.pushed++;
        expected.set(`${repository}:${tag}`, manifest.digest);
        if (random() < 0.3) {
          expected.delete(`${repository}:${tag}`);
          await client.deleteManifest(repository, manifest.digest);
          counts.deleted++;
        }
        // Leases end while others push.
        await new Promise((resolve) => setTimeout(resolve, random() * 2500));
      }
      pushing--;
    }

    async function pullAll(): Promise<void> {
      while (pushing > 0) {
        const names = [...expected.keys()];
        const [repository = "", tag = ""] = (names[Math.floor(random() * names.length)] ?? "").split(":");
        const before = expected.get(`${repository}:${tag}`);
        if (before !== undefined && (await puller.hasManifest(repository, tag))) {
          const pullBegan = Date.now();
          try {
            await puller.pull(repository, tag);
            counts.pulled++;
          } catch (error) {
            // Deleted on purpose while it was pulled.
            const isExpected = expected.get(`${repository}:${tag}`) === before;
            if (isExpected && Date.now() - pullBegan < leaseMs) throw error;
          }
        }
        await new Promise((resolve) => setTimeout(resolve, 50));
      }
    }

    async function collectAll(): Promise<void> {
      while (pushing > 0) {
        const { json } = await server.ask("/api/v1/registry/collect", {
          method: "POST",
          body: {},
          token: server.adminToken,
        });
        counts.collections++;
        counts.blobs += Number(json["blobCount"]);
        counts.freedBytes += Number(json["freedBytes"]);
      }
    }

    await Promise.all([
      ...Array.from({ length: pushers }, (_, index) => pushAll(`lab/p${index}`)),
      ...Array.from({ length: pullers }, pullAll),
      collectAll(),
    ]);
    for (const [name, digest] of expected) {
      const [repository = "", tag = ""] = name.split(":");
      t.equal(await puller.pull(repository, tag), digest, name);
    }
    const { json } = await server.ask("/api/v1/registry/check", {
      method: "POST",
      body: { deep: true },
      token: server.adminToken,
    });
    t.match(json, { damagedCount: 0, wrongManifests: 0 });
    t.ok(counts.blobs > 0, "something was collected meanwhile");
    t.comment(JSON.stringify(counts));
  },
);
