import { execFile } from "node:child_process";
import { mkdirSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { promisify } from "node:util";
import t, { type Test } from "tap";
import { startDockerRegistry } from "../support/docker-registry.ts";
import { startServer } from "../support/http-fixture.ts";
import { sampleImage, writeLayout } from "../support/oci-image.ts";
import { temporaryDirectory } from "../support/samples.ts";

const run = promisify(execFile);

/** The programs of Debian beside a server whose `hub/` is Debian's docker-registry. */
async function lab(t: Test) {
  const directory = temporaryDirectory(t);
  const upstream = await startDockerRegistry(t, join(directory, "upstream"));
  const server = await startServer(t, {
    settings: { "registry.upstreams": [{ prefix: "hub/", url: `http://${upstream.address}` }] },
  });
  const registry = `127.0.0.1:${server.app.addresses.registryPort}`;
  const policy = join(directory, "policy.json");
  writeFileSync(policy, JSON.stringify({ default: [{ type: "insecureAcceptAnything" }] }));
  mkdirSync(join(directory, "home"));
  const env = { PATH: process.env["PATH"], HOME: join(directory, "home"), TMPDIR: directory };
  const place = ["--root", join(directory, "storage"), "--runroot", join(directory, "run")];
  const skopeo = (...words: string[]) => run("skopeo", ["--policy", policy, ...words], { env });
  const push = async (name: string, text: string) => {
    const image = sampleImage(directory, text);
    const layout = join(directory, `layout-${text}`);
    writeLayout(layout, { it: image });
    await skopeo(
      "copy",
      "--dest-tls-verify=false",
      `oci:${layout}:it`,
      `docker://${upstream.address}/${name}`,
    );
    return image;
  };
  return {
    directory,
    upstream,
    server,
    registry,
    skopeo,
    push,
    podman: (...words: string[]) =>
      run("podman", [...place, "--storage-driver", "vfs", "--cgroup-manager", "cgroupfs", ...words], { env }),
  };
}

t.test("skopeo and podman pull what a Debian docker-registry has, through us", async (t) => {
  const { push, skopeo, podman, registry, directory, server } = await lab(t);
  const image = await push("p10/hello:1.0", "hello");
  const name = `${registry}/hub/p10/hello`;
  const { stdout } = await skopeo("inspect", "--tls-verify=false", `docker://${name}:1.0`);
  t.match(JSON.parse(stdout), { Digest: image.manifest.digest, RepoTags: ["1.0"] });
  await skopeo("copy", "--src-tls-verify=false", `docker://${name}:1.0`, `dir:${join(directory, "copy")}`);
  await podman("pull", "--quiet", "--tls-verify=false", `${name}:1.0`);
  t.match((await podman("images", "--format", "{{.Repository}}:{{.Tag}}")).stdout, `${name}:1.0`);
  t.same(readdirSync(join(server.blobs, "downloads")), [], "no download is left");
  await t.rejects(skopeo("inspect", "--tls-verify=false", `docker://${name}:2.0`), {
    message: /manifest unknown|no such manifest/,
  });
});

t.test("an upstream that is gone: its tags and images are served as they were, with a warning", async (t) => {
  const { push, skopeo, registry, upstream, directory, server } = await lab(t);
  await push("p10/hello:1.0", "hello");
  const name = `${registry}/hub/p10/hello:1.0`;
  await skopeo("copy", "--src-tls-verify=false", `docker://${name}`, `dir:${join(directory, "one")}`);
  await upstream.stop();
  await server.stop();
  const again = await startServer(t, {
    dataDir: server.dataDir,
    settings: { "registry.upstreams": [{ prefix: "hub/", url: `http://${upstream.address}` }] },
  });
  const address = `127.0.0.1:${again.app.addresses.registryPort}`;
  await skopeo(
    "copy",
    "--src-tls-verify=false",
    `docker://${address}/hub/p10/hello:1.0`,
    `dir:${join(directory, "two")}`,
  );
  const answer = await fetch(`http://${address}/v2/hub/p10/hello/manifests/1.0`);
  t.match(answer.headers.get("warning"), /^299 - "http:\/\/127\.0\.0\.1:\d+ can't be reached/);
  const absent = await fetch(`http://${address}/v2/hub/p10/other/manifests/1.0`);
  t.equal(absent.status, 502);
  t.match(await absent.json(), {
    errors: [{ code: "UNAVAILABLE", message: /can't be reached \(ECONNREFUSED\)/ }],
  });
});

t.test(
  "a push below the prefix of an upstream that is gone is refused as such, by its clients too",
  async (t) => {
    const { upstream, registry, server, skopeo, directory } = await lab(t);
    await upstream.stop();
    const layout = join(directory, "layout-mine");
    writeLayout(layout, { it: sampleImage(directory, "mine") });
    await t.rejects(
      skopeo(
        "copy",
        "--dest-tls-verify=false",
        "--dest-creds",
        `maker:${server.adminToken}`,
        `oci:${layout}:it`,
        `docker://${registry}/hub/p10/mine:1`,
      ),
      { message: /repositories below hub\/ are those of http/ },
    );
    const digest = `sha256:${"a".repeat(64)}`;
    const head = async (headers: Record<string, string>) =>
      (await fetch(`http://${registry}/v2/hub/p10/mine/blobs/${digest}`, { method: "HEAD", headers })).status;
    t.equal(await head({ authorization: `Bearer ${server.adminToken}` }), 404, "nobody is asked");
    t.equal(await head({}), 502, "who pulls is told that the upstream is gone");
  },
);

t.test("a push below an upstream's prefix is refused, and says where to push", async (t) => {
  const { registry, server } = await lab(t);
  const answer = await fetch(`http://${registry}/v2/hub/p10/hello/blobs/uploads/`, {
    method: "POST",
    headers: { authorization: `Bearer ${server.adminToken}` },
  });
  t.equal(answer.status, 403);
  t.match(await answer.json(), { errors: [{ code: "DENIED", message: /below hub\// }] });
});
