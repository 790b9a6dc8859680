import { execFile } from "node:child_process";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { promisify } from "node:util";
import t, { type Test } from "tap";
import { startServer } from "../support/http-fixture.ts";
import { type SampleImage, sampleImage, writeLayout } from "../support/oci-image.ts";
import { temporaryDirectory } from "../support/samples.ts";

const run = promisify(execFile);

/** The programs of Debian beside a server, with storage of their own. */
async function lab(t: Test) {
  const server = await startServer(t);
  const registry = `127.0.0.1:${server.app.addresses.registryPort}`;
  const directory = temporaryDirectory(t);
  const policy = join(directory, "policy.json");
  writeFileSync(policy, JSON.stringify({ default: [{ type: "insecureAcceptAnything" }] }));
  mkdirSync(join(directory, "home"));
  const env = { PATH: process.env["PATH"], HOME: join(directory, "home"), TMPDIR: directory };
  const podmanPlace = ["--root", join(directory, "storage"), "--runroot", join(directory, "run")];
  return {
    server,
    registry,
    directory,
    skopeo: (...words: string[]) => run("skopeo", ["--policy", policy, ...words], { env }),
    podman: (...words: string[]) =>
      run("podman", [...podmanPlace, "--storage-driver", "vfs", "--cgroup-manager", "cgroupfs", ...words], {
        env,
      }),
    pushOptions: ["--dest-tls-verify=false", "--dest-creds", `anybody:${server.adminToken}`],
    layout(images: Readonly<Record<string, SampleImage>>): string {
      const place = join(directory, "layout");
      writeLayout(place, images);
      return place;
    },
  };
}

t.test("skopeo pushes with a token and pulls without one, octet for octet", async (t) => {
  const { skopeo, registry, directory, layout, pushOptions } = await lab(t);
  const image = sampleImage(directory, "hello");
  const place = layout({ "1.0": image });
  await skopeo("copy", ...pushOptions, `oci:${place}:1.0`, `docker://${registry}/p10/hello:1.0`);
  const { stdout } = await skopeo("inspect", "--tls-verify=false", `docker://${registry}/p10/hello:1.0`);
  t.match(JSON.parse(stdout), { Digest: image.manifest.digest, RepoTags: ["1.0"] });
  const copy = join(directory, "copy");
  await skopeo("copy", "--src-tls-verify=false", `docker://${registry}/p10/hello:1.0`, `dir:${copy}`);
  await skopeo("copy", ...pushOptions, `dir:${copy}`, `docker://${registry}/p10/hello:again`);
  const tags = await skopeo("list-tags", "--tls-verify=false", `docker://${registry}/p10/hello`);
  t.same((JSON.parse(tags.stdout) as { Tags: string[] }).Tags, ["1.0", "again"]);
  await skopeo(
    "delete",
    "--tls-verify=false",
    "--creds",
    pushOptions[2] ?? "",
    `docker://${registry}/p10/hello:1.0`,
  );
  await t.rejects(skopeo("inspect", "--tls-verify=false", `docker://${registry}/p10/hello:1.0`), {
    message: /manifest unknown|no such manifest/,
  });
});

t.test("podman pulls an image, and pushes it under another name", async (t) => {
  const { skopeo, podman, registry, directory, layout, pushOptions, server } = await lab(t);
  const place = layout({ "1.0": sampleImage(directory, "hello") });
  await skopeo("copy", ...pushOptions, `oci:${place}:1.0`, `docker://${registry}/p10/hello:1.0`);
  await podman("pull", "--quiet", "--tls-verify=false", `${registry}/p10/hello:1.0`);
  await podman("tag", `${registry}/p10/hello:1.0`, `${registry}/c10f/other/name:2`);
  const push = ["push", "--tls-verify=false", `${registry}/c10f/other/name:2`];
  await t.rejects(
    podman(...push),
    { message: /unauthorized|authentication required|log in/i },
    "without a token",
  );
  await podman(...push, "--creds", `imagemaker:${server.adminToken}`);
  await podman("rmi", "--all", "--force");
  await podman("pull", "--quiet", "--tls-verify=false", `${registry}/c10f/other/name:2`);
  const { stdout } = await podman("images", "--format", "{{.Repository}}:{{.Tag}}");
  t.match(stdout, `${registry}/c10f/other/name:2`);
});
