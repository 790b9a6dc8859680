import { existsSync, readdirSync } from "node:fs";
import { join } from "node:path";
import t, { type Test } from "tap";
import { systemClock } from "../../server/platform/clock.ts";
import { silentLog } from "../../server/platform/logger.ts";
import {
  createGarbageCollection,
  type RegistryCollection,
} from "../../server/registry/garbage-collection.ts";
import { attachmentTag } from "../../server/domain/signature.ts";
import { openStore } from "../../server/store/open-store.ts";
import { plain, type ServerOptions, startServer } from "../support/http-fixture.ts";
import { blobOf, descriptorOf, indexOf, manifestOf, ociIndex, ociManifest } from "../support/oci-image.ts";
import { registryClient } from "../support/registry-client.ts";
import { temporaryDirectory } from "../support/samples.ts";

const hourMs = 60 * 60_000;

/** A server whose clock can be put forward. */
async function lab(t: Test, options: ServerOptions = {}) {
  let aheadMs = 0;
  const dataDir = options.dataDir ?? temporaryDirectory(t);
  const clock = { ...systemClock, now: () => Date.now() + aheadMs };
  const server = await startServer(t, { ...options, clock, dataDir });
  const client = registryClient(`http://127.0.0.1:${server.app.addresses.registryPort}`, server.adminToken);
  t.teardown(() => client.close());
  const post = async (path: string, body: object) => {
    const answer = await server.ask(`/api/v1${path}`, { method: "POST", body, token: server.adminToken });
    t.equal(answer.status, 200, path);
    return answer.json;
  };
  let number = 0;
  return {
    server,
    client,
    /** Whoever has no token. */
    puller: registryClient(client.url, ""),
    dataDir,
    later: (ms: number) => void (aheadMs += ms),
    collect: async (dryRun = false) =>
      (await post("/registry/collect", { dryRun })) as unknown as RegistryCollection,
    isFileThere: ({ digest }: { digest: string }) => {
      const hex = digest.slice("sha256:".length);
      return existsSync(join(dataDir, "blobs/sha256", hex.slice(0, 2), hex));
    },
    async image(repository: string, tag: string | undefined, more: object = {}) {
      number++;
      const config = blobOf(JSON.stringify({ number }));
      const layer = blobOf(`layer ${number}`.padEnd(1000, "."));
      for (const blob of [config, layer]) await client.push(repository, blob);
      const manifest = manifestOf(config, [layer], more);
      await client.putManifest(repository, tag ?? manifest.digest, manifest);
      return { config, layer, manifest };
    },
  };
}

t.test("what a tag leads to stays, and a deleted image gives its octets back after the grace", async (t) => {
  const { client, image, collect, later, isFileThere } = await lab(t);
  const kept = await image("p10/kept", "1.0");
  const gone = await image("p10/gone", "1.0");
  await client.deleteManifest("p10/gone", gone.manifest.digest);
  const early = await collect();
  t.match(early, { blobCount: 0 }, "within the grace");
  const bytes = [gone.config, gone.layer, gone.manifest].reduce(
    (sum, { content }) => sum + content.length,
    0,
  );
  t.match(early.waiting, { blobCount: 3, bytes }, "what waits is told");
  t.ok(Date.parse(plain(early.waiting?.until)) > Date.now() + 0.9 * hourMs, "and until when");
  later(2 * hourMs);
  t.match(
    await collect(true),
    { blobCount: 3, freedBytes: bytes, waiting: { blobCount: 0, bytes: 0, until: null } },
    "the dry run tells it",
  );
  t.ok(isFileThere(gone.layer), "and removes nothing");
  t.match(await collect(), { manifestCount: 0, blobCount: 3, freedBytes: bytes });
  for (const blob of [gone.config, gone.layer, gone.manifest]) t.notOk(isFileThere(blob));
  t.equal(await client.pull("p10/kept", "1.0"), kept.manifest.digest);
  t.match(await collect(), { blobCount: 0 }, "there is nothing more");
  const { bytes: catalog } = await client.must(200, "GET", "/v2/_catalog");
  t.same(JSON.parse(catalog.toString()), { repositories: ["p10/kept"] }, "an empty repository goes too");
});

t.test("signatures in an image of their own stay as long as what they sign", async (t) => {
  const { client, image, collect, later } = await lab(t);
  const tagged = await image("p10/app", "1.0");
  const child = await image("p10/app", undefined);
  const index = indexOf([child.manifest]);
  await client.putManifest("p10/app", "both", index, ociIndex);
  const signatures: { tag: string; digest: string }[] = [];
  for (const { manifest } of [tagged, child]) {
    const tag = attachmentTag(manifest.digest);
    signatures.push({ tag, digest: (await image("p10/app", tag)).manifest.digest });
  }
  const there = async () => {
    const found = await Promise.all(signatures.map(({ digest }) => client.hasManifest("p10/app", digest)));
    return found;
  };
  later(2 * hourMs);
  t.match(await collect(), { manifestCount: 0 });
  t.same(await there(), [true, true]);
  await client.deleteManifest("p10/app", tagged.manifest.digest);
  later(2 * hourMs);
  t.match(await collect(), { manifestCount: 1, blobCount: 6 }, "with the image that was deleted");
  t.same(await there(), [false, true]);
  await client.deleteManifest("p10/app", index.digest);
  later(2 * hourMs);
  t.match(await collect(), { manifestCount: 1 }, "what nobody names any more goes");
  later(2 * hourMs);
  t.match(await collect(), { manifestCount: 1 }, "and then its signatures");
  t.same(await there(), [false, false]);
});

t.test(
  "an untagged manifest lives until it is older than the grace, counted from the loss of its tag",
  async (t) => {
    const { client, image, collect, later } = await lab(t);
    const first = await image("p10/app", "latest");
    later(2 * hourMs);
    const second = await image("p10/app", "latest");
    later(hourMs / 2);
    t.match(await collect(), { manifestCount: 0 });
    t.ok(await client.hasManifest("p10/app", first.manifest.digest));
    later(2 * hourMs);
    t.match(await collect(true), { manifests: [{ repository: "p10/app", digest: first.manifest.digest }] });
    t.match(await collect(), { manifestCount: 1, blobCount: 3 });
    t.equal(await client.pull("p10/app", "latest"), second.manifest.digest);
  },
);

t.test("children of a live index live, and go with it", async (t) => {
  const { client, image, collect, later } = await lab(t);
  const child = await image("p10/multi", undefined);
  const index = indexOf([child.manifest]);
  await client.putManifest("p10/multi", "1.0", index, ociIndex);
  later(2 * hourMs);
  t.match(await collect(), { manifestCount: 0, blobCount: 0 });
  await client.deleteManifest("p10/multi", "1.0");
  later(2 * hourMs);
  t.match(await collect(true), { manifestCount: 2, blobCount: 4 });
  t.match(await collect(), { manifestCount: 2, blobCount: 4 });
});

t.test("referrers follow their subject, and one whose subject never came goes after the grace", async (t) => {
  const { client, image, collect, later } = await lab(t);
  const about = (subject: Parameters<typeof descriptorOf>[0]) => ({
    subject: descriptorOf(subject, ociManifest),
  });
  const subject = await image("p10/app", "1.0");
  const referrer = await image("p10/app", undefined, about(subject.manifest));
  await image("p10/app", undefined, about(referrer.manifest));
  await image("p10/app", undefined, about(blobOf("never pushed")));
  later(2 * hourMs);
  t.match(await collect(), { manifestCount: 1, blobCount: 3 });
  t.ok(await client.hasManifest("p10/app", referrer.manifest.digest));
  await client.deleteManifest("p10/app", "1.0");
  later(2 * hourMs);
  t.match(await collect(true), { manifestCount: 3, blobCount: 9 });
  t.match(await collect(), { manifestCount: 3, blobCount: 9 });
});

t.test("a blob that another repository needs stays", async (t) => {
  const { client, image, collect, later } = await lab(t);
  const { config, layer, manifest } = await image("p10/one", "1.0");
  for (const blob of [config, layer]) t.ok(await client.mount("p10/two", blob, "p10/one"));
  await client.putManifest("p10/two", "1.0", manifest);
  await client.deleteManifest("p10/one", manifest.digest);
  later(2 * hourMs);
  t.match(await collect(), { manifestCount: 0, blobCount: 0 });
  t.equal(await client.pull("p10/two", "1.0"), manifest.digest);
});

t.test("a foreign layer that was pushed all the same stays while a manifest names it", async (t) => {
  const { client, collect, later, isFileThere } = await lab(t);
  const [config, own, foreign] = [blobOf("{}"), blobOf("own"), blobOf("foreign")];
  const descriptor = {
    ...descriptorOf(foreign, "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"),
    urls: ["https://layers.example.org/foreign"],
  };
  const manifest = manifestOf(config, [own], {
    layers: [descriptorOf(own, "application/vnd.oci.image.layer.v1.tar"), descriptor],
  });
  for (const blob of [config, own]) await client.push("p10/app", blob);
  await client.putManifest("p10/app", "1.0", manifest);
  t.notOk(await client.hasBlob("p10/app", foreign), "it need not be there");
  await client.push("p10/app", foreign);
  later(2 * hourMs);
  t.match(await collect(), { blobCount: 0 });
  t.ok(isFileThere(foreign));
  t.equal((await client.ask("DELETE", `/v2/p10/app/blobs/${foreign.digest}`)).status, 405);
  await client.deleteManifest("p10/app", manifest.digest);
  later(2 * hourMs);
  t.match(await collect(), { blobCount: 4 });
});

t.test("a foreign layer that names another repository's content keeps nothing of it", async (t) => {
  const { client, collect, later, isFileThere } = await lab(t);
  const [config, theirs] = [blobOf("{}"), blobOf("theirs")];
  await client.push("p10/app", theirs);
  await client.push("p10/other", config);
  const layer = {
    ...descriptorOf(theirs, "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"),
    urls: ["https://layers.example.org/foreign"],
  };
  await client.putManifest("p10/other", "1.0", manifestOf(config, [], { layers: [layer] }));
  t.equal((await client.ask("DELETE", `/v2/p10/app/blobs/${theirs.digest}`)).status, 202);
  later(2 * hourMs);
  t.match(await collect(), { blobCount: 1 });
  t.notOk(isFileThere(theirs));
});

t.test("who only pulls keeps nothing that was deleted", async (t) => {
  const { client, puller, image, collect, later } = await lab(t);
  const { config, layer, manifest } = await image("p10/app", "1.0");
  await client.deleteManifest("p10/app", "1.0");
  for (let time = 0; time < 3; time++) {
    later((40 * hourMs) / 60);
    t.equal(await puller.pull("p10/app", manifest.digest), manifest.digest);
  }
  t.match(await collect(), { manifestCount: 1 }, "two hours after the loss of its tag");
  for (let time = 0; time < 3; time++) {
    later((40 * hourMs) / 60);
    for (const blob of [config, layer]) await puller.hasBlob("p10/app", blob);
  }
  await collect();
  for (const blob of [config, layer]) t.notOk(await client.hasBlob("p10/app", blob));
});

t.test("a pull that began before its tag was moved may go on for a while", async (t) => {
  const { puller, image, collect, later } = await lab(t, { settings: { "registry.graceSeconds": 0 } });
  const { manifest } = await image("p10/app", "1.0");
  later(hourMs);
  t.ok(await puller.hasManifest("p10/app", "1.0"));
  await image("p10/app", "1.0");
  await collect();
  t.equal(await puller.pull("p10/app", manifest.digest), manifest.digest);
  later(hourMs);
  t.match(await collect(), { manifestCount: 1 });
});

t.test("HEAD of a blob by who may push, mount and upload renew its lease", async (t) => {
  const { client, collect, later } = await lab(t);
  const [asked, mounted, pushed, forgotten] = ["asked", "mounted", "pushed", "forgotten"].map((text) =>
    blobOf(text),
  ) as [
    ReturnType<typeof blobOf>,
    ReturnType<typeof blobOf>,
    ReturnType<typeof blobOf>,
    ReturnType<typeof blobOf>,
  ];
  for (const blob of [asked, mounted, pushed, forgotten]) await client.push("p10/app", blob);
  later(2 * hourMs);
  t.ok(await client.hasBlob("p10/app", asked));
  t.ok(await client.mount("p10/other", mounted, "p10/app"));
  await client.pushWhole("p10/app", pushed);
  t.match(await collect(), { blobCount: 1 });
  t.notOk(await client.hasBlob("p10/app", forgotten));
  for (const blob of [asked, mounted, pushed]) t.ok(await client.hasBlob("p10/app", blob));
  later(2 * hourMs);
  t.match(await collect(), { blobCount: 3 }, "leases end");
});

t.test(
  "a boot asset that the registry has too keeps its file, and a file of the registry is no orphan",
  async (t) => {
    const { server, client, collect, later, isFileThere } = await lab(t);
    const content = Buffer.from("a kernel");
    const blob = blobOf(content);
    await client.push("p10/kernels", blob);
    later(2 * hourMs);
    t.match(await server.ask("/api/v1/assets/gc", { method: "POST", body: {}, token: server.adminToken }), {
      status: 200,
      json: { contents: [] },
    });
    const hex = blob.digest.slice("sha256:".length);
    const put = await server.ask(`/api/v1/contents/${hex}`, {
      method: "PUT",
      body: content,
      token: server.adminToken,
    });
    t.equal(put.status, 200, "it is there already");
    t.match(await collect(true), { blobCount: 1, freedBytes: 0 });
    t.match(await collect(), { blobCount: 1, freedBytes: 0 });
    t.notOk(await client.hasBlob("p10/kernels", blob));
    t.ok(isFileThere(blob), "somebody is about to name it in an image");
  },
);

t.test("what is pushed while it is being removed is there afterwards", async (t) => {
  const { client, collect, later, image } = await lab(t);
  const { config, layer, manifest } = await image("p10/app", "1.0");
  for (let round = 0; round < 20; round++) {
    await client.deleteManifest("p10/app", manifest.digest);
    later(2 * hourMs);
    const collecting = collect();
    await Promise.all([config, layer].map((blob) => client.pushWhole("p10/app", blob)));
    await client.putManifest("p10/app", "1.0", manifest);
    await collecting;
    t.equal(await client.pull("p10/app", "1.0"), manifest.digest);
  }
});

t.test("content that comes back between its last look and its removal is not removed", async (t) => {
  const store = openStore(":memory:", systemClock);
  t.teardown(() => store.close());
  const { digest } = blobOf("a layer");
  const old = Date.now() - hourMs;
  await store.registry.linkBlob("p10/app", { digest, sizeBytes: 7 }, old);
  const asked: boolean[] = [];
  const collection = createGarbageCollection({
    onRun: () => undefined,
    clock: systemClock,
    log: silentLog,
    record: () => {},
    store: store.registryUpkeep,
    registry: { isArriving: () => false },
    graceMs: 0,
    pins: () => new Set(),
    isAsset: () => false,
    random: () => 0,
    content: {
      remove: async (_hex, isWanted) => {
        if (!isWanted) throw new Error("it has to ask once more");
        asked.push(isWanted());
        t.equal(store.registry.findBlob("p10/app", digest), undefined, "hidden before its file goes");
        await store.registry.linkBlob("p10/app", { digest, sizeBytes: 7 }, Date.now());
        asked.push(isWanted());
        return !isWanted();
      },
    },
  });
  t.match(await collection.collect(), { blobCount: 0 });
  t.same(asked, [false, true]);
  t.match(store.registry.findBlob("p10/app", digest), { digest });
});

t.test("what roles use is pinned, with all that it needs", async (t) => {
  const store = openStore(":memory:", systemClock);
  t.teardown(() => store.close());
  const old = Date.now() - hourMs;
  const layer = blobOf("a layer").digest;
  const manifest = blobOf("a manifest").digest;
  await store.registry.linkBlob("p10/app", { digest: layer, sizeBytes: 7 }, old);
  const facts = {
    mediaType: ociManifest,
    artifactType: undefined,
    configMediaType: undefined,
    subject: undefined,
  };
  await store.registry.saveManifest({
    repository: "p10/app",
    manifest: { ...facts, digest: manifest, sizeBytes: 10, annotations: {} },
    references: [{ digest: layer, kind: "layer" }],
    tags: [],
    by: "test",
    now: old,
  });
  const pinned = new Set([manifest]);
  const collection = createGarbageCollection({
    onRun: () => undefined,
    clock: systemClock,
    log: silentLog,
    record: () => {},
    store: store.registryUpkeep,
    registry: { isArriving: () => false },
    graceMs: 0,
    pins: () => pinned,
    isAsset: () => false,
    random: () => 0,
    content: { remove: async () => true },
  });
  t.match(await collection.collect(), { manifestCount: 0, blobCount: 0 });
  pinned.clear();
  t.match(await collection.collect(), { manifestCount: 1, blobCount: 2 });
});

t.test("uploads that nobody went on with are gone after the next start", async (t) => {
  const dataDir = temporaryDirectory(t);
  const first = await lab(t, { dataDir });
  const path = await first.client.begin("p10/app");
  await first.client.must(202, "PATCH", path, { body: Buffer.from("half of it") });
  t.equal(readdirSync(join(dataDir, "blobs/sessions")).length, 1);
  await first.server.stop();
  const clock = { ...systemClock, now: () => Date.now() + 25 * hourMs };
  await startServer(t, { dataDir, clock });
  t.same(readdirSync(join(dataDir, "blobs/sessions")), []);
});
