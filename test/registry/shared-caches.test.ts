import t from "tap";
import { registryLab } from "../support/registry-lab.ts";

t.test("what needs a login is kept by no cache that several share", async (t) => {
  for (const anonymousPull of [true, false]) {
    const { image, push, pull } = await registryLab(t, {
      settings: { "registry.anonymousPull": anonymousPull },
    });
    const { manifest, layers } = await image("p10/pause", "3.9");
    const caching = async (path: string) => (await push("GET", path)).headers["cache-control"];
    const audience = anonymousPull ? "public" : "private";
    const blob = `/v2/p10/pause/blobs/${layers[0]?.digest}`;
    for (const path of [blob, `/v2/p10/pause/manifests/${manifest.digest}`])
      t.equal(await caching(path), `${audience}, max-age=31536000, immutable`, path);
    const etag = { "if-none-match": `"${layers[0]?.digest}"` };
    t.match(await push("GET", blob, { headers: etag }), {
      status: 304,
      headers: { "cache-control": new RegExp(`^${audience},`) },
    });
    const changing = anonymousPull ? "no-cache" : "private, no-cache";
    for (const path of [
      "/v2/",
      "/v2/_catalog",
      "/v2/p10/pause/tags/list",
      "/v2/p10/pause/manifests/3.9",
      "/v2/p10/pause/manifests/none",
      `/v2/p10/pause/referrers/${manifest.digest}`,
      `/extensions/v2/p10/pause/signatures/${manifest.digest}`,
    ])
      t.equal(await caching(path), changing, path);
    const { status, headers } = await pull("/v2/p10/pause/manifests/3.9");
    t.same([status, headers["cache-control"]], [anonymousPull ? 200 : 401, changing]);
  }
});

t.test("nor what only those see who may push", async (t) => {
  const { image, push } = await registryLab(t, {
    settings: { "registry.repositories": [{ pattern: "p10/*", mode: "require-signed" }] },
  });
  const { manifest } = await image("p10/pause", "3.9");
  for (const reference of ["3.9", manifest.digest]) {
    const seen = await push("GET", `/v2/p10/pause/manifests/${reference}`);
    t.match(seen, { status: 200, headers: { "cache-control": "private, no-cache" } });
  }
});
