import t, { type Test } from "tap";
import { startFakeUpstream } from "../support/fake-upstream.ts";
import { type Blob, blobOf, manifestOf, ociManifest } from "../support/oci-image.ts";
import { registryLab } from "../support/registry-lab.ts";

async function lab(t: Test) {
  const upstream = await startFakeUpstream(t);
  const [config, layer] = [blobOf("{}"), blobOf("a layer")];
  const manifest = manifestOf(config, [layer]);
  for (const one of [config, layer]) upstream.add(one);
  upstream.add(manifest, { type: ociManifest, tag: "1" });
  upstream.add(manifest, { type: ociManifest, tag: "2" });
  return { upstream, all: [config, layer, manifest], config, layer, manifest };
}

const upstreamsOf = (url: string) => ({ "registry.upstreams": [{ prefix: "far/", url }] });

t.test(
  "what was pushed is never part of the cache, though an upstream's tag leads to the same",
  async (t) => {
    const { upstream, config, layer, manifest } = await lab(t);
    const before = await registryLab(t);
    for (const one of [config, layer]) await before.blob("far/app", one);
    t.equal((await before.manifest("far/app", "1", manifest)).status, 201);
    await before.server.stop();

    const { server, pull } = await registryLab(t, {
      dataDir: before.server.dataDir,
      settings: upstreamsOf(upstream.url),
    });
    t.equal((await pull("/v2/far/app/manifests/1")).status, 200, "pushed");
    t.equal((await pull("/v2/far/app/manifests/2")).status, 200, "of the upstream");
    for (const { digest } of [config, layer])
      t.equal((await pull(`/v2/far/app/blobs/${digest}`)).status, 200);
    const { registry, upstreams } = server.app.store;
    t.same(upstreams.oldest(10), [], "nothing may go");
    t.match(upstreams.findTag("far/app", "1"), { isCached: false });
    t.match(upstreams.findTag("far/app", "2"), { isCached: true }, "the upstream's tag goes on following it");
    t.equal(registry.findTag("far/app", "1"), manifest.digest);
  },
);

t.test("what is pushed over the cache is no part of it any more, with all that it needs", async (t) => {
  const { upstream, all, manifest } = await lab(t);
  const before = await registryLab(t, { settings: upstreamsOf(upstream.url) });
  for (const path of ["manifests/1", ...all.slice(0, 2).map(({ digest }) => `blobs/${digest}`)])
    t.equal((await before.pull(`/v2/far/app/${path}`)).status, 200);
  t.equal(before.server.app.store.upstreams.oldest(10).length, 3);
  await before.server.stop();
  const after = await registryLab(t, { dataDir: before.server.dataDir });
  const pushed = await after.pull("/v2/far/app/manifests/mine", {
    method: "PUT",
    token: before.server.adminToken,
    headers: { "content-type": ociManifest },
    body: manifest.content,
  });
  t.equal(pushed.status, 201);
  t.same(after.server.app.store.upstreams.oldest(10), []);
});

t.test("what only the cache has does not count towards registry.quotaBytes", async (t) => {
  const { upstream } = await lab(t);
  const large: Blob = blobOf(Buffer.alloc(100_000, 1));
  upstream.add(large);
  const { server, pull, push, blob } = await registryLab(t, {
    settings: { ...upstreamsOf(upstream.url), "registry.quotaBytes": 120_000 },
  });
  t.equal((await pull(`/v2/far/app/blobs/${large.digest}`)).status, 200);
  t.equal(server.app.store.registryUpkeep.pushedBytes(), 0);
  await blob("ours/app", blobOf(Buffer.alloc(90_000, 2)));
  const more = blobOf(Buffer.alloc(90_000, 3));
  const path = `/v2/ours/app/blobs/uploads/?digest=${more.digest}`;
  const headers = { "content-length": "90000" };
  t.match(await push("POST", path, { body: more.content, headers }), { status: 403 }, "what is pushed does");
  t.equal(server.app.store.registryUpkeep.pushedBytes(), 90_000);
  t.equal((await pull(`/v2/far/app/blobs/${large.digest}`)).status, 200);
});
