import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import Sqlite from "better-sqlite3";
import t, { type Test } from "tap";
import { createContentStore } from "../../server/content/content-store.ts";
import { systemClock } from "../../server/platform/clock.ts";
import { silentLog } from "../../server/platform/logger.ts";
import { createRegistryCheck } from "../../server/registry/check.ts";
import { openStore } from "../../server/store/open-store.ts";
import { startFakeUpstream } from "../support/fake-upstream.ts";
import { type Json, startServer } from "../support/http-fixture.ts";
import { type Blob, blobOf, manifestOf, ociManifest } from "../support/oci-image.ts";
import { registryClient } from "../support/registry-client.ts";
import { temporaryDirectory } from "../support/samples.ts";

async function lab(t: Test, settings: Record<string, unknown> = {}) {
  const dataDir = temporaryDirectory(t);
  // What is found in the background would be found twice.
  const server = await startServer(t, {
    dataDir,
    settings: { "registry.scrubBytesPerSecond": 0, ...settings },
  });
  const client = registryClient(`http://127.0.0.1:${server.app.addresses.registryPort}`, server.adminToken);
  t.teardown(() => client.close());
  const config = blobOf("{}");
  const layer = blobOf("a layer");
  const manifest = manifestOf(config, [layer]);
  for (const blob of [config, layer]) await client.push("p10/app", blob);
  await client.putManifest("p10/app", "1.0", manifest);
  const fileOf = ({ digest }: Pick<Blob, "digest">) => {
    const [algorithm = "", hex = ""] = digest.split(":");
    return join(dataDir, "blobs", algorithm, hex.slice(0, 2), hex);
  };
  return {
    server,
    client,
    dataDir,
    config,
    layer,
    manifest,
    fileOf,
    check: async (body: object = {}): Promise<Json> => {
      const answer = await server.ask("/api/v1/registry/check", {
        method: "POST",
        body,
        token: server.adminToken,
      });
      t.equal(answer.status, 200);
      return answer.json;
    },
    alarms: async () =>
      (await server.ask("/api/v1/events?type=registry.damaged", { token: server.adminToken })).items,
  };
}

/** The server after a restart. */
async function startAgain(t: Test, dataDir: string, token: string, scrubBytesPerSecond = 0) {
  const settings = { "registry.scrubBytesPerSecond": scrubBytesPerSecond };
  const server = await startServer(t, { dataDir, settings });
  const client = registryClient(`http://127.0.0.1:${server.app.addresses.registryPort}`, token);
  t.teardown(() => client.close());
  const ask = async (path: string, body?: object) => {
    const method = body ? ("POST" as const) : ("GET" as const);
    return (await server.ask(`/api/v1${path}`, { method, ...(body && { body }), token })).json;
  };
  return { client, ask };
}

/** The events of damage, once there are any: they are written after the reader's answer. */
async function damageToldBy(ask: (path: string) => Promise<Json>): Promise<Json[]> {
  let found: Json[] = [];
  while (found.length === 0)
    found = (await ask("/events?type=registry.damaged"))["items"] as unknown as Json[];
  return found;
}

t.test("what is as it was pushed passes", async (t) => {
  const { check } = await lab(t);
  t.match(await check({ deep: true }), {
    blobs: 3,
    manifests: 1,
    damagedCount: 0,
    wrongManifests: 0,
    strangers: 0,
  });
});

t.test(
  "a blob that was changed on the disk is served to nobody, told as an alarm, and healed by a push",
  async (t) => {
    const { check, client, layer, fileOf, dataDir, alarms } = await lab(t);
    writeFileSync(fileOf(layer), "A layer");
    t.match(await check(), { damagedCount: 0 }, "its length is right");
    t.match(await check({ deep: true }), {
      damagedCount: 1,
      damaged: [{ digest: layer.digest, problem: "digest", repositories: ["p10/app"] }],
    });
    t.notOk(await client.hasBlob("p10/app", layer));
    t.same(readdirSync(join(dataDir, "blobs/quarantine")).length, 1);
    t.match(await alarms(), [{ level: "alarm", data: { digest: layer.digest } }]);
    t.match(
      await check({ deep: true }),
      { damagedCount: 1, damaged: [{ problem: "missing" }] },
      "it is still lost",
    );
    t.equal((await alarms()).length, 1, "told once");
    await client.push("p10/app", layer);
    await client.pull("p10/app", "1.0");
    t.match(await check({ deep: true }), { damagedCount: 0, recovered: 0 });
  },
);

t.test("a blob of another length, and one that is missing, are found without reading", async (t) => {
  const { check, client, config, layer, fileOf } = await lab(t);
  writeFileSync(fileOf(layer), "short");
  rmSync(fileOf(config));
  const found = await check();
  t.equal(found["damagedCount"] as unknown, 2);
  t.same((found["damaged"] as unknown as { problem: string }[]).map(({ problem }) => problem).sort(), [
    "missing",
    "size",
  ]);
  for (const blob of [config, layer]) t.notOk(await client.hasBlob("p10/app", blob));
  writeFileSync(fileOf(config), config.content);
  t.match(await check(), { recovered: 1, damagedCount: 1 }, "a file that was put back is taken");
});

t.test(
  "a manifest that was changed on the disk is unknown, whoever finds it, and healed by a push",
  async (t) => {
    const { manifest, fileOf, server, dataDir } = await lab(t);
    await server.stop();
    const text = manifest.content.toString();
    writeFileSync(fileOf(manifest), text.replace("schemaVersion", "SchemaVersion"));
    const { ask, client } = await startAgain(t, dataDir, server.adminToken);
    t.equal((await client.ask("GET", "/v2/p10/app/manifests/1.0")).status, 404);
    t.match(await damageToldBy(ask), [{ data: { digest: manifest.digest } }]);
    t.notOk(await client.hasManifest("p10/app", "1.0"));
    await client.putManifest("p10/app", "1.0", manifest);
    t.equal(await client.pull("p10/app", "1.0"), manifest.digest);
  },
);

t.test("a push heals what nobody has noticed yet", async (t) => {
  const { client, config, layer, manifest, fileOf, check } = await lab(t);
  for (const damage of [
    () => writeFileSync(fileOf(layer), "short"),
    () => rmSync(fileOf(config)),
    () => writeFileSync(fileOf(manifest), manifest.content.toString().replace("schema", "Schema")),
    () => writeFileSync(fileOf(manifest), "short"),
    () => rmSync(fileOf(manifest)),
  ]) {
    damage();
    for (const blob of [config, layer]) await client.push("p10/app", blob);
    await client.putManifest("p10/app", "1.0", manifest);
    t.equal(await client.pull("p10/app", "1.0"), manifest.digest);
    for (const blob of [config, layer, manifest]) t.same(readFileSync(fileOf(blob)), blob.content);
  }
  writeFileSync(fileOf(layer), "A layer");
  await client.pushWhole("p10/app", layer);
  t.same(readFileSync(fileOf(layer)), layer.content, "of the same length, when it is sent");
  rmSync(fileOf(layer));
  t.notOk(await client.mount("p10/other", layer, "p10/app"), "what is lost is not mounted but sent");
  await client.push("p10/other", layer);
  t.match(await check({ deep: true }), { damagedCount: 0 });
});

t.test("the scrub leaves a new file alone that came while it read the old one", async (t) => {
  const store = openStore(":memory:", systemClock);
  t.teardown(() => store.close());
  const content = createContentStore(temporaryDirectory(t));
  const blob = blobOf("a layer");
  const hex = blob.digest.slice("sha256:".length);
  const bring = () => content.put([blob.content], { expected: hex });
  for (const damage of ["A layer", "short", undefined]) {
    await bring();
    await store.registry.linkBlob("p10/app", { digest: blob.digest, sizeBytes: blob.content.length }, 0);
    const path = content.pathOf(hex) ?? "";
    if (damage === undefined) rmSync(path);
    else writeFileSync(path, damage);
    const check = createRegistryCheck({
      clock: systemClock,
      log: silentLog,
      record: (event) => t.fail(event.message),
      content: {
        ...content,
        async open(sha256) {
          const file = await content.open(sha256);
          await bring();
          return file;
        },
      },
      store: store.registryUpkeep,
      registry: { isArriving: () => false, forget: () => {} },
      graceMs: 0,
      isAsset: () => false,
      scrubBytesPerSecond: 0,
      random: () => 0,
    });
    t.match(await check.check({ isDeep: true }), { damagedCount: 0 }, damage ?? "missing");
    t.same(readFileSync(path), blob.content);
    t.ok(store.registry.findBlob("p10/app", blob.digest));
  }
});

t.test("an image of an upstream of which a part is here is neither damaged nor wrong", async (t) => {
  const upstream = await startFakeUpstream(t);
  const config = blobOf("{}");
  const layers = [blobOf("asked for"), blobOf("not asked for")];
  const manifest = manifestOf(config, layers);
  for (const blob of [config, ...layers]) upstream.add(blob);
  upstream.add(manifest, { type: ociManifest, tag: "1.0" });
  const { server, check, fileOf, alarms } = await lab(t, {
    "registry.upstreams": [{ prefix: "hub/", url: upstream.url }],
  });
  const puller = registryClient(`http://127.0.0.1:${server.app.addresses.registryPort}`, "");
  t.teardown(() => puller.close());
  const whole = { damagedCount: 0, wrongManifests: 0, manifests: 2 };
  t.ok((await puller.ask("GET", "/v2/hub/app/manifests/1.0")).status === 200);
  t.match(await check({ deep: true }), whole, "the manifest alone");
  await puller.pullBlob("hub/app", layers[0]?.digest ?? "");
  t.match(await check({ deep: true, repair: true }), whole);
  rmSync(fileOf(layers[0] as Blob));
  t.match(await check(), { damagedCount: 1 }, "the disk has lost something");
  t.match(await alarms(), [{ message: /is lost; it is fetched again/ }]);
  t.match(await check(), whole, "and that is not there any more than what nobody asked for");
  t.equal(await puller.pull("hub/app", "1.0"), manifest.digest);
});

t.test("rows of a manifest are made anew from what it says", async (t) => {
  const { server, dataDir, manifest, layer } = await lab(t);
  await server.stop();
  const db = new Sqlite(join(dataDir, "rollcall.db"));
  db.prepare("DELETE FROM registry_reference WHERE parent = ?").run(manifest.digest);
  db.prepare("DELETE FROM registry_link WHERE digest = ?").run(layer.digest);
  db.prepare("DELETE FROM registry_blob WHERE digest = ?").run(layer.digest);
  db.close();
  const { ask, client } = await startAgain(t, dataDir, server.adminToken);
  t.match(await ask("/registry/check", {}), { wrongManifests: 1 });
  t.match(await ask("/registry/check", { repair: true }), { wrongManifests: 1 });
  t.match(await ask("/registry/check", { deep: true }), { wrongManifests: 0, damagedCount: 0, blobs: 3 });
  t.equal(await client.pull("p10/app", "1.0"), manifest.digest);
  t.equal(
    (await client.ask("DELETE", `/v2/p10/app/blobs/${layer.digest}`)).status,
    405,
    "it is needed again",
  );
});

t.test("files that nobody knows are told, and removed by a repair when they are old", async (t) => {
  const { check, fileOf } = await lab(t);
  const old = [blobOf("a stranger"), blobOf("another one", "sha512")];
  const young = blobOf("on its way");
  for (const blob of [...old, young]) {
    mkdirSync(join(fileOf(blob), ".."), { recursive: true });
    writeFileSync(fileOf(blob), blob.content);
  }
  for (const blob of old) utimesSync(fileOf(blob), 0, 0);
  t.match(await check(), { strangers: 2, strangerBytes: 21 });
  for (const blob of old) t.ok(existsSync(fileOf(blob)));
  await check({ repair: true });
  for (const blob of old) t.notOk(existsSync(fileOf(blob)));
  t.ok(statSync(fileOf(young)).isFile());
});

t.test("the scrub in the background finds damage by itself", async (t) => {
  const { server, dataDir, layer, fileOf } = await lab(t);
  await server.stop();
  writeFileSync(fileOf(layer), "A layer");
  const { ask } = await startAgain(t, dataDir, server.adminToken, 8_000_000);
  t.match(await damageToldBy(ask), [{ level: "alarm", data: { digest: layer.digest, problem: "digest" } }]);
});

t.test("beyond the quota nothing is taken, and what was freed can be used again", async (t) => {
  const { client, manifest } = await lab(t, { "registry.quotaBytes": 10_000 });
  const large = blobOf(Buffer.alloc(9000, 1));
  await client.push("p10/app", large);
  const more = blobOf(Buffer.alloc(2000, 2));
  const refused = await client.ask("POST", `/v2/p10/app/blobs/uploads/?digest=${more.digest}`, {
    body: more.content,
  });
  t.equal(refused.status, 403);
  const { errors } = JSON.parse(refused.bytes.toString()) as { errors: { code: string; message: string }[] };
  t.match(errors, [{ code: "DENIED", message: /registry\.quotaBytes.*boot registry collect/ }]);
  const path = await client.begin("p10/app");
  t.equal((await client.ask("PATCH", path, { body: more.content })).status, 403, "in pieces neither");
  t.equal(await client.pull("p10/app", "1.0"), manifest.digest, "all else goes on");
  await client.must(202, "DELETE", `/v2/p10/app/blobs/${large.digest}`);
});
