import t from "tap";
import { boot } from "../support/boot-command.ts";
import { startFakeUpstream } from "../support/fake-upstream.ts";
import { plain, startServer } from "../support/http-fixture.ts";
import { blobOf, descriptorOf, manifestOf, ociIndex, ociManifest } from "../support/oci-image.ts";

t.test("a prewarmed image is here with all that it needs when its upstream is gone", async (t) => {
  const upstream = await startFakeUpstream(t);
  const image = (text: string) => {
    const [config, layer] = [blobOf(`{"of":"${text}"}`), blobOf(`layer of ${text}`)];
    const manifest = manifestOf(config, [layer]);
    for (const one of [config, layer]) upstream.add(one);
    upstream.add(manifest, { type: ociManifest });
    return { config, layer, manifest };
  };
  const [amd64, arm64] = [image("amd64"), image("arm64")];
  const child = ({ manifest }: typeof amd64, architecture: string) => ({
    ...descriptorOf(manifest, ociManifest),
    platform: { os: "linux", architecture },
  });
  const index = blobOf(
    JSON.stringify({
      schemaVersion: 2,
      mediaType: ociIndex,
      manifests: [child(amd64, "amd64"), child(arm64, "arm64")],
    }),
  );
  upstream.add(index, { type: ociIndex, tag: "1" });
  const server = await startServer(t, {
    settings: {
      "registry.host": "images.lab:5000",
      "registry.aliases": ["hall.lab"],
      "registry.upstreams": [{ prefix: "far/", url: upstream.url }],
    },
  });
  const prewarm = async (references: string[], platform?: string) => {
    const begun = await server.api("POST", "/registry/prewarm", { references, platform });
    t.equal(begun.status, 202, begun.text);
    for (;;) {
      const { json } = await server.api("GET", `/registry/prewarm/${plain(begun.json["id"])}`);
      if (plain(json["state"]) !== "running") return json;
    }
  };
  const has = (one: { digest: string }) => server.app.store.registry.keeps(one.digest);

  t.match(await prewarm(["images.lab:5000/far/app:1", "docker://hall.lab/far/app:1"], "linux/amd64"), {
    state: "done",
    images: [{ reference: "images.lab:5000/far/app:1", state: "done" }, { state: "done" }],
  });
  t.match(
    await prewarm(["registry.local/far/app:1"]),
    {
      images: [{ problem: /no prefix in registry\.upstreams is that/ }],
    },
    "a name that is not this registry's",
  );
  t.same([has(amd64.layer), has(arm64.layer)], [true, false], "one platform alone");
  t.match(await prewarm(["far/app:1"]), { state: "done" });
  t.ok(has(arm64.layer), "all platforms");

  t.match(await prewarm(["far/app:2", "ours/app:1"]), {
    state: "failed",
    images: [
      { problem: /has no such manifest/ },
      { problem: "no prefix in registry.upstreams is that of this image: write far/ in front of it" },
    ],
  });
  t.match(await prewarm(["far/app:1"], "linux/riscv64"), {
    images: [{ problem: "there is no such image for linux/riscv64, only for linux/amd64, linux/arm64" }],
  });
  const told = await boot(["--data", server.dataDir, "image", "prewarm", "far/app:1", "far/app:2"]);
  t.match(told, {
    code: 1,
    out: /^IMAGE +STATE +SIZE +PROBLEM\nfar\/app:1 +here +\d+ B +-\nfar\/app:2 +failed +- +the upstream registry .* has no such manifest\n$/,
    err: /^PREWARM_FAILED: 1 of 2 images could not be fetched\n/,
  });
  t.equal((await server.api("POST", "/registry/prewarm", { references: ["Not An Image"] })).status, 400);
  t.equal((await server.api("GET", "/registry/prewarm/op_none")).status, 404);

  await upstream.stop();
  const gone = await prewarm(["far/gone:1"]);
  t.match(gone, { images: [{ problem: /^http:\/\/127\.0\.0\.1:\d+ can't be reached \(ECONNREFUSED\)$/ }] });
  const registry = `http://127.0.0.1:${server.app.addresses.registryPort}/v2/far/app`;
  for (const path of [
    "manifests/1",
    `manifests/${arm64.manifest.digest}`,
    `blobs/${arm64.layer.digest}`,
    `blobs/${amd64.config.digest}`,
  ])
    t.equal((await fetch(`${registry}/${path}`)).status, 200, path);
});
