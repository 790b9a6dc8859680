import { spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { Agent, request } from "undici";
import { startFakeUpstream } from "../support/fake-upstream.ts";
import { blobOf, manifestOf, ociManifest } from "../support/oci-image.ts";
import { registryLab } from "../support/registry-lab.ts";

t.test("metrics", async (t) => {
  const { server, image, pull, push, begin } = await registryLab(t);
  const read = async () => {
    const { text } = await server.ask("/metrics", { token: server.adminToken });
    /** @param name with its labels */
    return (name: string): number => {
      const line = text.split("\n").find((one) => one.startsWith(`rollcall_registry_${name} `));
      return Number(line?.split(" ")[1] ?? 0);
    };
  };

  t.test("are for whoever may look, and over the control socket", async (t) => {
    t.equal((await server.ask("/metrics")).status, 401);
    const { json } = await server.api("POST", "/tokens", { name: "prometheus", scope: "viewer" });
    const answer = await server.ask("/metrics", { token: String(json["token"] as unknown as string) });
    t.match(answer, { status: 200, headers: { "content-type": /^text\/plain; version=0\.0\.4/ } });
    const dispatcher = new Agent({ connect: { socketPath: join(server.dataDir, "control.sock") } });
    t.teardown(() => dispatcher.close());
    t.equal((await request("http://localhost/metrics", { dispatcher })).statusCode, 200);
  });
  t.test("count requests by route and status, and octets", async (t) => {
    const before = await read();
    const large = blobOf(Buffer.alloc(300_000, 1));
    const headers = { "content-length": "300000" };
    t.equal(
      (await push("POST", `/v2/a/blobs/uploads/?digest=${large.digest}`, { body: large.content, headers }))
        .status,
      201,
    );
    for (let number = 0; number < 3; number++) await pull(`/v2/a/blobs/${large.digest}`);
    await pull("/v2/a/manifests/none");
    await pull("/nothing");
    const after = await read();
    const grew = (name: string) => after(name) - before(name);
    t.equal(grew('requests_total{route="blob",status="200"}'), 3);
    t.equal(grew('requests_total{route="manifest",status="404"}'), 1);
    t.equal(grew('requests_total{route="none",status="404"}'), 1);
    t.equal(grew('requests_total{route="uploads",status="201"}'), 1);
    t.ok(grew("sent_bytes_total") > 900_000 && grew("sent_bytes_total") < 910_000);
    t.ok(grew("received_bytes_total") > 300_000 && grew("received_bytes_total") < 310_000);
  });
  t.test("tell what is there, uploads under way, signatures and the collector's runs", async (t) => {
    const { manifest } = await image("p10/a", "1");
    const path = await begin("p10/a");
    await push("PATCH", path, { body: Buffer.alloc(1234) });
    const signature = `/sigstore/p10/a@${manifest.digest.replace(":", "=")}/signature-1`;
    t.equal((await push("PUT", signature, { body: "no signature" })).status, 400);
    await server.api("POST", "/registry/collect", {});
    await server.api("POST", "/registry/collect", { dryRun: true });
    const value = await read();
    t.equal(value("uploads"), 1);
    t.equal(value("upload_bytes"), 1234);
    t.equal(value('signatures_total{result="refused",code="SIGNATURE_MALFORMED"}'), 1);
    t.equal(value("collections_total"), 1);
  });
  // Its package is a server of 96 MB that Debian starts: no test installs it.
  const hasPromtool = existsSync("/usr/bin/promtool");
  t.test("are what promtool takes", { skip: !hasPromtool && "promtool is not installed" }, async (t) => {
    const { text } = await server.ask("/metrics", { token: server.adminToken });
    const { status, stdout, stderr } = spawnSync("promtool", ["check", "metrics"], {
      input: text,
      encoding: "utf8",
    });
    t.same([status, stdout, stderr], [0, "", ""]);
  });
});

t.test("what lies in the store is counted", async (t) => {
  const { server, image } = await registryLab(t);
  const { config, layers, manifest } = await image("p10/a", "1");
  const bytes = [config, ...layers, manifest].reduce((sum, { content }) => sum + content.length, 0);
  const { text } = await server.ask("/metrics", { token: server.adminToken });
  for (const line of ["blobs 3", "manifests 1", "tags 1", "absent_blobs 0", `stored_bytes ${bytes}`])
    t.ok(text.includes(`\nrollcall_registry_${line}\n`), line);
});

t.test("hits and misses of the cache are counted for each upstream", async (t) => {
  const upstream = await startFakeUpstream(t);
  const [config, layer] = [blobOf("{}"), blobOf("a layer")];
  for (const one of [config, layer]) upstream.add(one);
  upstream.add(manifestOf(config, [layer]), { type: ociManifest, tag: "1" });
  const { server, pull } = await registryLab(t, {
    settings: { "registry.upstreams": [{ prefix: "far/", url: upstream.url }] },
  });
  for (const path of ["manifests/1", "manifests/1", `blobs/${layer.digest}`])
    t.equal((await pull(`/v2/far/app/${path}`)).status, 200);
  const { text } = await server.ask("/metrics", { token: server.adminToken });
  const name = "\nrollcall_registry_cache_requests_total";
  t.ok(text.includes(`${name}{upstream="far/",result="miss"} 2\n`));
  t.ok(text.includes(`${name}{upstream="far/",result="hit"} 1\n`));
});
