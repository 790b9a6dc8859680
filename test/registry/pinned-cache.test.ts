import { randomBytes } from "node:crypto";
import t from "tap";
import { createUpstreamMap } from "../../server/upstream/upstream.ts";
import { heldContent } from "../../server/upstream/held-content.ts";
import { startFakeUpstream } from "../support/fake-upstream.ts";
import { blobOf, indexOf, manifestOf, ociIndex, ociManifest } from "../support/oci-image.ts";
import { registryLab } from "../support/registry-lab.ts";

t.test("a full cache gives up what is not pinned, though that was used later", async (t) => {
  const upstream = await startFakeUpstream(t);
  const make = (tag: string) => {
    const [config, layer] = [blobOf(JSON.stringify({ tag })), blobOf(randomBytes(300_000))];
    const manifest = manifestOf(config, [layer]);
    const index = indexOf([manifest]);
    for (const one of [config, layer]) upstream.add(one);
    upstream.add(manifest, { type: ociManifest });
    upstream.add(index, { type: ociIndex, tag });
    return { tag, all: [index, manifest, config, layer] };
  };
  const [byTag, byRole, byDigest, ...others] = ["1", "2", "3", "4", "5", "6"].map(make);
  if (!byTag || !byRole || !byDigest) throw new Error("there are six");
  const { server, pull } = await registryLab(t, {
    roles: {
      "kiosk/role.yaml": "description: a kiosk\nboot: script\ntemplates:\n  ipxe: kiosk.ipxe\n",
      "kiosk/kiosk.ipxe": "#!ipxe\n# runs registry.local/far/app:2\nexit\n",
    },
    settings: {
      "registry.upstreams": [{ prefix: "far/", url: upstream.url }],
      "registry.cacheBytes": 1_000_000,
      "registry.pins": ["far/app:1", `far/app@${byDigest.all[0]?.digest}`],
    },
  });
  const get = async (path: string) => t.equal((await pull(`/v2/far/app/${path}`)).status, 200);
  const isKept = (image: typeof byTag) =>
    image.all.map(({ digest }) => server.app.store.registry.keeps(digest));
  for (const { tag, all } of [byTag, byRole, byDigest, ...others]) {
    const [index, manifest, ...blobs] = all.map(({ digest }) => digest);
    await get(`manifests/${tag}`);
    for (const digest of [index, manifest]) await get(`manifests/${digest}`);
    for (const digest of blobs) await get(`blobs/${digest}`);
  }
  for (const image of [byTag, byRole, byDigest]) t.same(isKept(image), [true, true, true, true], image.tag);
  const [fourth] = others;
  t.notOk(fourth && isKept(fourth).every(Boolean), "what nobody pins goes");
});

t.test("a pin of one name of Docker's images is for the other too", (t) => {
  const { namesOf } = createUpstreamMap([{ prefix: "docker.io", url: "https://registry-1.docker.io" }]);
  const manifest = (repository: string, tag: string | null, holdsSignatures: 0 | 1 = 0) => ({
    repository,
    digest: `sha256:${repository}:${tag}`,
    tag,
    holdsSignatures,
  });
  const held = heldContent({
    namesOf,
    isPinned: (repository, reference) => repository === "docker.io/alpine" && reference === "3",
    store: {
      manifests: () => [
        manifest("docker.io/library/alpine", "3"),
        manifest("docker.io/alpine", "3"),
        manifest("docker.io/alpine", "2"),
        manifest("docker.io/alpine", null),
        manifest("docker.io/signed", "sha256-x.sig", 1),
      ],
      partsOf: (_, digest) => [digest, `${digest} layer`],
    },
  });
  t.same(
    [...held],
    ["docker.io/library/alpine:3", "docker.io/alpine:3", "docker.io/signed:sha256-x.sig"].flatMap((name) => [
      `sha256:${name}`,
      `sha256:${name} layer`,
    ]),
  );
  t.end();
});
