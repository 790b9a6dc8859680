import t, { type Test } from "tap";
import { systemClock } from "../../server/platform/clock.ts";
import { createImageGate } from "../../server/registry/image-gate.ts";
import { createUpstreamMap } from "../../server/upstream/upstream.ts";
import { createGpg, payloadFor } from "../support/signing-lab.ts";
import { imagesIn } from "../../server/signatures/image-state.ts";
import { blobOf, descriptorOf, indexOf, ociIndex } from "../support/oci-image.ts";
import { type RegistryLab, registryLab } from "../support/registry-lab.ts";

const dayMs = 86_400_000;

/** A registry of which p10/* is shown signed only, with Anna, who signs. */
async function lab(t: Test, more: { expiresInSeconds?: number } = {}) {
  const gpg = createGpg(t);
  await gpg.makeKey("anna", "ed25519");
  let shiftMs = 0;
  const clock = { ...systemClock, now: () => systemClock.now() + shiftMs };
  const registry = await registryLab(t, {
    clock,
    settings: {
      "registry.repositories": [
        { pattern: "p10/free", mode: "open" },
        { pattern: "p10/*", mode: "require-signed" },
        { pattern: "lab/*", mode: "warn" },
      ],
    },
  });
  const publicKey = (await gpg.exportKey("anna")).toString("base64");
  const added = await registry.server.api("POST", "/keys", { name: "anna", publicKey, ...more });
  t.equal(added.status, 201, added.text);
  const signWith = async (repository: string, tag: string, digest: string) => {
    const octets = await gpg.sign("anna", payloadFor(digest, `registry.local/${repository}:${tag}`));
    const path = `/sigstore/${repository}@${digest.replace(":", "=")}/signature-1`;
    const { status, text } = await registry.push("PUT", path, { body: octets });
    t.equal(status, 201, text);
  };
  const events = async () =>
    (await registry.server.api("GET", "/events?limit=1000")).items.filter(
      ({ type }) => (type as unknown) === "image.unsigned-pull",
    );
  return { ...registry, signWith, events, advance: (ms: number) => (shiftMs += ms) };
}

const see = async ({ pull }: Pick<RegistryLab, "pull">, repository: string, reference: string) =>
  (await pull(`/v2/${repository}/manifests/${reference}`)).status;

t.test(
  "an unsigned image of a repository that requires signatures is not there for anonymous pulls",
  async (t) => {
    const registry = await lab(t);
    const { manifest } = await registry.image("p10/pause", "3.9");
    for (const reference of ["3.9", manifest.digest]) {
      const refused = await registry.pull(`/v2/p10/pause/manifests/${reference}`);
      t.match(refused, { status: 404, code: "MANIFEST_UNKNOWN" });
      t.match(refused.text, /is not signed[\s\S]*boot sign p10\/pause:/, "it says why, and what to do");
      const head = await registry.pull(`/v2/p10/pause/manifests/${reference}`, { method: "HEAD" });
      t.equal(head.status, 404);
      const etag = { "if-none-match": `"${manifest.digest}"` };
      t.match(await registry.pull(`/v2/p10/pause/manifests/${reference}`, { headers: etag }), {
        status: 404,
      });
    }
    t.same((await registry.pull("/v2/p10/pause/tags/list")).json["tags"], ["3.9"], "its tags are told");

    const seen = await registry.push("GET", "/v2/p10/pause/manifests/3.9");
    t.match(seen, { status: 200, headers: { warning: /^299 - "p10\/pause:3\.9 is not signed/ } });
    const { json } = await registry.server.api("POST", "/tokens", { name: "eye", scope: "viewer" });
    const viewer = { token: json["token"] as unknown as string };
    t.equal(
      (await registry.pull("/v2/p10/pause/manifests/3.9", viewer)).status,
      404,
      "a token that may not push",
    );

    await registry.signWith("p10/pause", "3.9", manifest.digest);
    for (const reference of ["3.9", manifest.digest]) {
      const found = await registry.pull(`/v2/p10/pause/manifests/${reference}`);
      t.match(found, { status: 200, headers: { "cache-control": "no-cache", warning: undefined } });
      t.same(found.bytes, manifest.content);
    }
    await registry.manifest("p10/pause", "latest", manifest);
    t.equal(await see(registry, "p10/pause", "latest"), 404, "another tag needs a signature of its own");

    const events = await registry.events();
    t.match(events[0], {
      level: "warning",
      data: { address: "127.0.0.1", state: "unsigned", mode: "require-signed" },
    });
    t.ok(events.length <= 4, "the same from the same address is told once a minute");
  },
);

t.test("modes: open shows everything, warn shows it with a warning", async (t) => {
  const registry = await lab(t);
  const free = await registry.image("p10/free", "1");
  const open = await registry.pull(`/v2/p10/free/manifests/${free.manifest.digest}`);
  t.match(open, { status: 200, headers: { warning: undefined, "cache-control": /immutable/ } });
  const { manifest } = await registry.image("lab/tool", "1");
  const warned = await registry.pull("/v2/lab/tool/manifests/1");
  t.match(warned, {
    status: 200,
    headers: { warning: /^299 - "lab\/tool:1 is not signed, and nodes may refuse it/ },
  });
  t.same(warned.bytes, manifest.content);
  await registry.signWith("lab/tool", "1", manifest.digest);
  t.match(await registry.pull("/v2/lab/tool/manifests/1"), { status: 200, headers: { warning: undefined } });
});

t.test("an index is there when each of its images is signed", async (t) => {
  const registry = await lab(t);
  const images = [
    await registry.image("p10/both", "amd64", "amd64"),
    await registry.image("p10/both", "arm64", "arm64"),
  ];
  const index = indexOf(images.map((image) => image.manifest));
  t.equal((await registry.manifest("p10/both", "1", index, ociIndex)).status, 201);
  for (const { manifest } of images) {
    t.equal(await see(registry, "p10/both", "1"), 404);
    await registry.signWith("p10/both", "1", manifest.digest);
  }
  t.equal(await see(registry, "p10/both", "1"), 200);
  t.equal(await see(registry, "p10/both", index.digest), 200);
});

t.test(
  "an index in an index is there when each image in it is signed, and not for a signature of its own",
  async (t) => {
    const registry = await lab(t);
    const images = [
      await registry.image("p10/deep", "amd64", "amd64"),
      await registry.image("p10/deep", "arm64", "arm64"),
    ];
    const inner = indexOf(images.map(({ manifest }) => manifest));
    t.equal((await registry.manifest("p10/deep", "inner", inner, ociIndex)).status, 201);
    const outer = indexOf([])
      .content.toString()
      .replace("[]", JSON.stringify([descriptorOf(inner, ociIndex)]));
    t.equal((await registry.manifest("p10/deep", "1", blobOf(outer), ociIndex)).status, 201);
    for (const { digest } of [inner, blobOf(outer)]) await registry.signWith("p10/deep", "1", digest);
    for (const { manifest } of images) {
      t.equal(await see(registry, "p10/deep", "1"), 404);
      await registry.signWith("p10/deep", "1", manifest.digest);
    }
    t.equal(await see(registry, "p10/deep", "1"), 200);
  },
);

t.test("images in indexes are found once each, and beyond the limit an index stands for itself", (t) => {
  const of = (tree: Record<string, string[]>) => imagesIn("top", (digest) => tree[digest]);
  t.same(of({ top: [] }), [], "an image");
  t.same(of({ top: ["a", "b"], b: ["a", "c"], c: ["d"] }), ["a", "d"]);
  t.same(of({ top: ["a", "b"], a: [], b: ["top", "b"] }), ["a"], "no circle is followed");
  const chain = Object.fromEntries(Array.from({ length: 20_000 }, (_, at) => [`${at}`, [`${at + 1}`]]));
  t.same(of({ top: ["0"], ...chain }), ["10000"]);
  // Indexes that share their manifests.
  const shared = Array.from({ length: 10_000 }, (_, at) => `m${at}`);
  const indexes = Array.from({ length: 500 }, (_, at) => `i${at}`);
  let asked = 0;
  imagesIn("top", (digest) => {
    if (digest === "top") return indexes;
    if (!digest.startsWith("i")) return undefined;
    asked++;
    return shared;
  });
  t.equal(asked, 1, "where there are more manifests than are looked at, no index is read any more");
  t.end();
});

t.test(
  "who may not push learns nothing of what is about a hidden image, nor of what is hidden itself",
  async (t) => {
    const registry = await lab(t);
    const { manifest } = await registry.image("p10/pause", "3.9");
    const referrers = [
      await registry.referrer("p10/pause", manifest, "application/sbom"),
      await registry.referrer("p10/pause", manifest, "application/report"),
    ];
    const path = `/v2/p10/pause/referrers/${manifest.digest}`;
    const listed = ({ json }: { json: Record<string, unknown> }) =>
      (json["manifests"] as { digest: string }[]).map(({ digest }) => digest);
    t.equal(listed(await registry.push("GET", path)).length, 2);
    const hidden = await registry.pull(path);
    t.match([hidden.status, listed(hidden)], [200, []]);
    await registry.signWith("p10/pause", "3.9", manifest.digest);
    t.same(listed(await registry.pull(path)), [], "they are not signed");
    const [signed] = referrers;
    await registry.signWith("p10/pause", "sbom", signed?.digest ?? "");
    t.same(listed(await registry.pull(path)), [signed?.digest]);
  },
);

t.test("a revoked signer, and one whose time is over, hide what they signed at once", async (t) => {
  for (const end of ["revoke", "expire", "remove"] as const) {
    const registry = await lab(t, { expiresInSeconds: 86_400 });
    const { manifest } = await registry.image("p10/pause", "3.9");
    await registry.signWith("p10/pause", "3.9", manifest.digest);
    t.equal(await see(registry, "p10/pause", "3.9"), 200);
    if (end === "revoke") await registry.server.api("POST", "/keys/anna/revoke", {});
    else if (end === "remove") await registry.server.api("DELETE", "/keys/anna");
    else registry.advance(dayMs + 1000);
    const state = { revoke: "revoked", expire: "expired", remove: "refused" }[end];
    const refused = await registry.pull("/v2/p10/pause/manifests/3.9");
    t.match(refused.json, { errors: [{ code: "MANIFEST_UNKNOWN", detail: { state } }] });
  }
});

t.test("an image that was deleted and pushed again is unsigned", async (t) => {
  const registry = await lab(t);
  const { manifest } = await registry.image("p10/pause", "3.9");
  await registry.signWith("p10/pause", "3.9", manifest.digest);
  t.equal(await see(registry, "p10/pause", "3.9"), 200);
  t.equal((await registry.push("DELETE", `/v2/p10/pause/manifests/${manifest.digest}`)).status, 202);
  await registry.image("p10/pause", "3.9");
  t.equal(await see(registry, "p10/pause", "3.9"), 404);
});

t.test("docker.io/X and docker.io/library/X are one repository for a rule", async (t) => {
  const upstreams = createUpstreamMap([
    { prefix: "docker.io", url: "https://registry-1.docker.io" },
    { prefix: "quay.io", url: "https://quay.io" },
  ]);
  const gateOf = (pattern: string) =>
    createImageGate({
      clock: systemClock,
      record: () => undefined,
      rules: [{ pattern, mode: "require-signed" }],
      namesOf: upstreams.namesOf,
      signatures: { revision: () => upstreams, verdictOf: () => undefined },
    });
  const rows: readonly (readonly [string, string, boolean])[] = [
    ["docker.io/library/*", "docker.io/alpine", true],
    ["docker.io/library/*", "docker.io/library/alpine", true],
    ["docker.io/alpine", "docker.io/library/alpine", true],
    ["docker.io/alpine", "docker.io/alpine", true],
    ["docker.io/library/*", "docker.io/grafana/alpine", false],
    ["docker.io/alpine", "docker.io/library/alpine/more", false],
    ["quay.io/library/*", "quay.io/alpine", false],
    ["library/*", "alpine", false],
  ];
  for (const [pattern, repository, isHeld] of rows) {
    const asked = { repository, reference: "3", digest: "sha256:x", createdAt: 0 };
    t.equal(gateOf(pattern).check(asked) !== undefined, isHeld, `${pattern} for ${repository}`);
  }
});
