import { execFileSync } from "node:child_process";
import { createHash, randomBytes } from "node:crypto";
import { cpSync, mkdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { type ArchiveFiles, openArchive } from "../../server/archive/archive-files.ts";
import { exportImages } from "../../server/archive/export.ts";
import { digestOf } from "../../server/archive/manifest.ts";
import { type ArchivedImage, imagesOf } from "../../server/archive/oci-layout.ts";
import { pushImages, type PushOptions } from "../../server/archive/push.ts";
import { requireName } from "../../server/archive/reference.ts";
import { RegistryClient } from "../../server/archive/registry-client.ts";
import {
  makePodsecArchive,
  skopeo,
  startDockerRegistry,
  startProxy,
  writeSample,
} from "../support/container-registry.ts";
import { temporaryDirectory } from "../support/samples.ts";

interface Test {
  teardown(fn: () => void | Promise<void>): unknown;
}

async function open(t: Test, paths: readonly string[], as?: string): Promise<ArchivedImage[]> {
  const images: ArchivedImage[] = [];
  for (const path of paths) {
    const files: ArchiveFiles = await openArchive(path);
    t.teardown(() => files.close());
    images.push(...(await imagesOf(files, as === undefined ? undefined : requireName(as))));
  }
  return images;
}

function clientOf(t: Test, origin: string, more: { user?: string } = {}): RegistryClient {
  const client = new RegistryClient({
    origin,
    pause: async () => undefined,
    ...(more.user === undefined
      ? {}
      : { credentials: async () => ({ user: more.user ?? "", password: "secret" }) }),
  });
  t.teardown(() => client.close());
  return client;
}

async function importInto(t: Test, origin: string, paths: readonly string[], options: PushOptions = {}) {
  return pushImages(await open(t, paths), clientOf(t, origin), options);
}

const kubernetes = [
  { name: "c10f/kube-apiserver:v1.26.9", content: "an API server" },
  { name: "c10f/pause:3.9", content: "a pause" },
];
const digestsIn = (layout: string): Record<string, string> =>
  Object.fromEntries(
    (
      JSON.parse(readFileSync(join(layout, "index.json"), "utf8")) as {
        manifests: { digest: string; annotations: Record<string, string> }[];
      }
    ).manifests.map(({ digest, annotations }) => [annotations["org.opencontainers.image.ref.name"], digest]),
  );

t.test("a podsec archive comes into a registry bit for bit", async (t) => {
  const registry = await startDockerRegistry(t);
  const { archive, layout } = await makePodsecArchive(t, "amd64", kubernetes);
  const results = await importInto(t, registry.origin, [archive]);
  const made = digestsIn(layout);
  t.same(
    results.map(({ name, digest, platforms, error }) => ({ name, digest, platforms, error })),
    kubernetes.map(({ name }) => ({
      name,
      digest: made[name],
      platforms: ["linux/amd64"],
      error: undefined,
    })),
  );
  for (const { name } of kubernetes) {
    const [repository = "", tag = ""] = name.split(":");
    const raw = await skopeo(["inspect", "--raw", "--tls-verify=false", `docker://${registry.host}/${name}`]);
    t.equal(digestOf(Buffer.from(raw)), made[name], `${name}: the manifest`);
    t.match(await clientOf(t, registry.origin).tags(repository), [tag]);
    const to = join(temporaryDirectory(t), "copy");
    await skopeo([
      "--insecure-policy",
      "copy",
      "--quiet",
      "--src-tls-verify=false",
      `docker://${registry.host}/${name}`,
      `dir:${to}`,
    ]);
    t.ok(readFileSync(join(to, "manifest.json")).equals(Buffer.from(raw)), `${name}: pulled by skopeo`);
  }
});

t.test("archives of several architectures become one index, and a later one joins it", async (t) => {
  const registry = await startDockerRegistry(t);
  const amd64 = await makePodsecArchive(t, "amd64", [
    { name: "c10f/pause:3.9", content: "a pause for amd64" },
  ]);
  const arm64 = await makePodsecArchive(t, "arm64", [
    { name: "c10f/pause:3.9", content: "a pause for arm64" },
  ]);
  const i386 = await makePodsecArchive(t, "386", [{ name: "c10f/pause:3.9", content: "a pause for 386" }]);
  const platformsOf = async () => {
    const raw = await skopeo([
      "inspect",
      "--raw",
      "--tls-verify=false",
      `docker://${registry.host}/c10f/pause:3.9`,
    ]);
    const { manifests } = JSON.parse(raw) as {
      manifests?: { digest: string; platform: { architecture: string } }[];
    };
    return manifests?.map(({ digest, platform }) => [platform.architecture, digest]);
  };
  const [together] = await importInto(t, registry.origin, [amd64.archive, arm64.archive]);
  t.match(together, { platforms: ["linux/amd64", "linux/arm64"], error: undefined });
  const first = await platformsOf();
  t.same(first, [
    ["amd64", digestsIn(amd64.layout)["c10f/pause:3.9"]],
    ["arm64", digestsIn(arm64.layout)["c10f/pause:3.9"]],
  ]);
  const [again] = await importInto(t, registry.origin, [arm64.archive]);
  t.equal(again?.digest, together?.digest, "what is in it already changes nothing");
  await importInto(t, registry.origin, [i386.archive]);
  t.same(await platformsOf(), [["386", digestsIn(i386.layout)["c10f/pause:3.9"]], ...(first ?? [])]);
  await importInto(t, registry.origin, [amd64.archive], { isReplacing: true });
  t.same(await platformsOf(), undefined, "--replace leaves the one image alone");
  const other = await makePodsecArchive(t, "amd64", [{ name: "c10f/pause:3.9", content: "another" }]);
  const [twice] = await importInto(t, registry.origin, [amd64.archive, other.archive]);
  t.match(twice?.error, { code: "ARCHIVE_PLATFORM_TWICE", message: /c10f\/pause:3\.9.*linux\/amd64/ });
});

t.test("images of podsec's old prefix come under both names", async (t) => {
  const registry = await startDockerRegistry(t);
  const { archive } = await makePodsecArchive(t, "amd64", [{ name: "k8s-c10f2/etcd:3.5", content: "etcd" }]);
  const proxy = await startProxy(t, registry.origin);
  const results = await importInto(t, proxy.origin, [archive]);
  t.same(
    results.map(({ name }) => name),
    ["k8s-c10f2/etcd:3.5", "c10f/etcd:3.5"],
  );
  t.equal(results[0]?.digest, results[1]?.digest);
  const mounts = proxy.passed.filter(({ path }) => path.includes("mount="));
  t.ok(
    mounts.length > 0 && mounts.every(({ status }) => status === 201),
    "the second time its blobs are mounted",
  );
});

t.test("what the registry has is not sent again", async (t) => {
  const registry = await startDockerRegistry(t);
  const { archive } = await makePodsecArchive(t, "amd64", kubernetes);
  const dry = await importInto(t, registry.origin, [archive], { isDryRun: true });
  t.ok(dry.every(({ sentBytes, presentBytes }) => sentBytes > 0 && presentBytes === 0));
  const client = clientOf(t, registry.origin);
  t.same(await client.tags("c10f/pause"), [], "a dry run changes nothing");
  await importInto(t, registry.origin, [archive]);
  const proxy = await startProxy(t, registry.origin);
  const results = await importInto(t, proxy.origin, [archive]);
  t.ok(results.every(({ sentBytes, presentBytes }) => sentBytes === 0 && presentBytes > 0));
  t.same(
    proxy.passed.filter(({ method }) => method !== "HEAD" && method !== "GET"),
    [],
  );
});

t.test(
  "a connection that breaks is made anew, and an image that fails does not lose the others",
  async (t) => {
    const registry = await startDockerRegistry(t);
    const { archive } = await makePodsecArchive(t, "amd64", [
      { name: "c10f/big:1", content: randomBytes(1_000_000).toString("hex") },
      { name: "c10f/broken:1", content: "broken" },
      { name: "c10f/last:1", content: "last" },
    ]);
    let cuts = 0;
    const proxy = await startProxy(t, registry.origin, {
      spoil: (incoming, response) => {
        if (incoming.url?.includes("/c10f/broken/manifests/") && incoming.method === "PUT") {
          response.writeHead(400).end('{"errors":[{"code":"MANIFEST_INVALID","message":"no"}]}');
          return true;
        }
        if (incoming.url?.includes("/c10f/big/blobs/uploads/") && incoming.method === "PUT" && cuts++ < 2) {
          incoming.once("data", () => incoming.destroy());
          return true;
        }
        return false;
      },
    });
    const results = await importInto(t, proxy.origin, [archive]);
    t.same(
      results.map(({ error }) => error?.code),
      [undefined, "TRANSFER_REFUSED", undefined],
    );
    t.match(results[1]?.error?.message, /PUT \/v2\/c10f\/broken\/manifests.*400 MANIFEST_INVALID no/);
    t.equal(cuts >= 2, true);
  },
);

t.test("a registry that asks who it is gets the password, and without one says what to do", async (t) => {
  const directory = temporaryDirectory(t);
  const htpasswd = join(directory, "htpasswd");
  writeFileSync(
    htpasswd,
    execFileSync("python3", [
      "-c",
      'import crypt; print("maker:" + crypt.crypt("secret", crypt.mksalt(crypt.METHOD_BLOWFISH, rounds=16)))',
    ]),
  );
  const registry = await startDockerRegistry(t, `auth: { htpasswd: { realm: lab, path: ${htpasswd} } }`);
  const { archive } = await makePodsecArchive(t, "amd64", kubernetes.slice(1));
  const images = await open(t, [archive]);
  const [refused] = await pushImages(images, clientOf(t, registry.origin));
  t.match(refused?.error, { code: "TRANSFER_UNAUTHORIZED", advice: /boot token create/ });
  const [taken] = await pushImages(images, clientOf(t, registry.origin, { user: "maker" }));
  t.equal(taken?.error, undefined);
  const [gone] = await pushImages(images, clientOf(t, "http://127.0.0.1:1"));
  t.match(gone?.error, { code: "TRANSFER_UNREACHABLE", message: /ECONNREFUSED/ });
});

t.test("layouts, tarballs and docker save are read alike", async (t) => {
  const { archive, layout } = await makePodsecArchive(t, "amd64", [
    { name: "p10/tool:1", content: "a tool" },
  ]);
  const directory = temporaryDirectory(t);
  const make = (script: string) =>
    execFileSync("sh", ["-ec", script], { cwd: directory, env: { ...process.env, LAYOUT: layout } });
  make(
    'tar -C "$LAYOUT" -cf plain.tar . && gzip -k plain.tar && tar --format=pax -C "$LAYOUT/.." -cf pax.tar amd64',
  );
  for (const path of [
    archive,
    layout,
    ...["plain.tar", "plain.tar.gz", "pax.tar"].map((name) => join(directory, name)),
  ]) {
    const [image] = await open(t, [path]);
    t.match(
      image,
      { name: { repository: "p10/tool", tag: "1" }, descriptor: { digest: digestsIn(layout)["p10/tool:1"] } },
      path,
    );
  }
  const registry = await startDockerRegistry(t);
  const saved = writeSample(directory, "amd64", {
    name: "registry.altlinux.org/p10/saved:2",
    content: "saved",
  });
  const [result] = await importInto(t, registry.origin, [saved]);
  t.match(result, { name: "p10/saved:2", platforms: ["linux/amd64"], error: undefined });
  const config = await skopeo([
    "inspect",
    "--config",
    "--tls-verify=false",
    `docker://${registry.host}/p10/saved:2`,
  ]);
  t.match(JSON.parse(config), { architecture: "amd64", config: { Entrypoint: ["/content"] } });
  await skopeo([
    "--insecure-policy",
    "copy",
    "--quiet",
    `docker-archive:${saved}`,
    `oci:${directory}/untagged:v7`,
  ]);
  await t.rejects(open(t, [`${directory}/untagged`]), {
    code: "ARCHIVE_NAME_INVALID",
    message: /the tag v7/,
    advice: /--as/,
  });
  t.match(await open(t, [`${directory}/untagged`], "lab/x:v7"), [{ name: { repository: "lab/x" } }]);
});

t.test(
  "export makes podsec's layout again, which skopeo reads and import takes back bit for bit",
  async (t) => {
    const registry = await startDockerRegistry(t);
    const amd64 = await makePodsecArchive(t, "amd64", kubernetes);
    const arm64 = await makePodsecArchive(t, "arm64", kubernetes);
    await importInto(t, registry.origin, [amd64.archive, arm64.archive]);
    const directory = temporaryDirectory(t);
    for (const [arch, { layout }] of [
      ["amd64", amd64],
      ["arm64", arm64],
    ] as const) {
      const target = join(directory, `${arch}.tar.xz`);
      const names = kubernetes.map(({ name }) => requireName(name));
      await exportImages({ registry: clientOf(t, registry.origin), names, arch, target });
      execFileSync("sh", ["-ec", 'xz -d < "$1" | tar xC "$2"', "sh", target, directory]);
      t.same(digestsIn(join(directory, arch)), digestsIn(layout), `${arch}: names and digests`);
      execFileSync("diff", ["-r", join(layout, "blobs"), join(directory, arch, "blobs")]);
      for (const { name } of kubernetes) {
        const copy = join(temporaryDirectory(t), "copy");
        await skopeo([
          "--insecure-policy",
          "--override-arch",
          arch,
          "copy",
          "--quiet",
          `oci:${directory}/${arch}:${name}`,
          `dir:${copy}`,
        ]);
        t.equal(digestOf(readFileSync(join(copy, "manifest.json"))), digestsIn(layout)[name]);
      }
      const other = await startDockerRegistry(t);
      const back = await importInto(t, other.origin, [target]);
      t.same(Object.fromEntries(back.map(({ name, digest }) => [name, digest])), digestsIn(layout));
      const second = join(temporaryDirectory(t), `${arch}.tar`);
      await exportImages({ registry: clientOf(t, other.origin), names, arch, target: second });
      const unpacked = execFileSync("xz", ["-dc", target], { maxBuffer: 1 << 28 });
      t.ok(readFileSync(second).equals(unpacked), `${arch}: the export of the import is the same archive`);
    }
    const all = join(directory, "all.tar.gz");
    const client = clientOf(t, registry.origin);
    await exportImages({
      registry: client,
      names: [requireName("c10f/pause:3.9")],
      arch: "all",
      target: all,
    });
    const other = await startDockerRegistry(t);
    const [back] = await importInto(t, other.origin, [all]);
    t.equal(back?.digest, (await client.manifest("c10f/pause", "3.9"))?.digest, "an index stays as it is");
    const names = ["c10f/pause:3.9", "c10f/gone:1", "c10f/pause:9"].map((name) => requireName(name));
    const target = join(directory, "none.tar");
    await t.rejects(exportImages({ registry: client, names, arch: "amd64", target }), {
      code: "TRANSFER_NOT_FOUND",
      message: /c10f\/gone:1[\s\S]*c10f\/pause:9/,
    });
    await t.rejects(exportImages({ registry: client, names: names.slice(0, 1), arch: "ppc64le", target }), {
      code: "ARCHIVE_PLATFORM_MISSING",
      message: /linux\/amd64, linux\/arm64/,
    });
    t.throws(() => readFileSync(target), { code: "ENOENT" });
  },
);

t.test("an export goes on where the connection broke", async (t) => {
  const registry = await startDockerRegistry(t);
  const content = randomBytes(1_000_000).toString("hex");
  const { archive, layout } = await makePodsecArchive(t, "amd64", [{ name: "p10/big:1", content }]);
  await importInto(t, registry.origin, [archive]);
  const ranges: (string | undefined)[] = [];
  const proxy = await startProxy(t, registry.origin, {
    spoil: (incoming, response) => {
      if (incoming.method !== "GET" || !incoming.url?.includes("/blobs/")) return false;
      ranges.push(incoming.headers.range);
      if (ranges.length > 4) return false;
      response.once("pipe", (source) => source.once("data", () => setImmediate(() => response.destroy())));
      return false;
    },
  });
  const target = join(temporaryDirectory(t), "amd64.tar");
  const names = [requireName("p10/big:1")];
  await exportImages({ registry: clientOf(t, proxy.origin), names, arch: "amd64", target });
  const [image] = await open(t, [target]);
  t.equal(image?.descriptor.digest, digestsIn(layout)["p10/big:1"]);
  t.ok(ranges.length > 4);
});

t.test("hostile and broken archives are refused, each with its reason", async (t) => {
  const { layout } = await makePodsecArchive(t, "amd64", [{ name: "p10/tool:1", content: "a tool" }]);
  const refused = async (path: string, code: string, message: RegExp, what: string) => {
    const ended: unknown = await (async () => {
      const images = await open(t, [path]);
      const [result] = await pushImages(images, clientOf(t, registry.origin), { isDryRun: true });
      return result?.error;
    })().catch((error: unknown) => error);
    t.match(ended, { code, message }, what);
  };
  const registry = await startDockerRegistry(t);
  const inTar = (script: string): string => {
    const directory = temporaryDirectory(t);
    execFileSync("sh", ["-ec", script], { cwd: directory, env: { ...process.env, LAYOUT: layout } });
    return join(directory, "hostile.tar");
  };
  await refused(
    inTar("touch x; tar -cPf hostile.tar --transform 's,^x,/etc/x,' x"),
    "ARCHIVE_REFUSED",
    /leads out/,
    "an absolute name",
  );
  await refused(
    inTar("touch x; tar -cPf hostile.tar --transform 's,^x,a/../../x,' x"),
    "ARCHIVE_REFUSED",
    /leads out/,
    "a name with ..",
  );
  await refused(
    inTar("ln -s ../../etc/passwd index.json; tar -cf hostile.tar index.json"),
    "ARCHIVE_REFUSED",
    /leads out/,
    "a link out",
  );
  await refused(
    inTar("ln -s /etc/passwd index.json; tar -cf hostile.tar index.json"),
    "ARCHIVE_REFUSED",
    /leads out/,
    "an absolute link",
  );
  await refused(
    inTar("mkfifo index.json; tar -cf hostile.tar index.json"),
    "ARCHIVE_REFUSED",
    /neither a file/,
    "a pipe",
  );
  await refused(
    inTar("cp -r $LAYOUT/. .; tar -cf hostile.tar index.json; tar -rf hostile.tar index.json"),
    "ARCHIVE_DAMAGED",
    /in it twice/,
    "a name twice",
  );
  await refused(
    inTar("ln -s b a; ln -s a b; tar -cf hostile.tar a b"),
    "ARCHIVE_UNKNOWN",
    /no images/,
    "links in a circle",
  );
  await refused(
    inTar("tar -C $LAYOUT -cf all.tar .; head -c 3000 all.tar > hostile.tar"),
    "ARCHIVE_DAMAGED",
    /ends/,
    "a tar that is cut",
  );
  await refused(inTar("echo no > hostile.tar"), "ARCHIVE_UNKNOWN", /neither a tar archive/, "no archive");
  await refused(
    inTar(
      "tar -C $LAYOUT -cf all.tar .; xz all.tar; head -c $(($(stat -c %s all.tar.xz) / 2)) all.tar.xz > hostile.tar",
    ),
    "ARCHIVE_DAMAGED",
    /xz could not/,
    "an xz that is cut",
  );
  await refused(join(layout, "nothing"), "ARCHIVE_NOT_READABLE", /not there/, "nothing at all");
  const spoilt = (change: (directory: string) => void): string => {
    const directory = temporaryDirectory(t);
    cpSync(layout, directory, { recursive: true });
    change(directory);
    return directory;
  };
  const manifest = digestsIn(layout)["p10/tool:1"]?.slice(7) ?? "";
  const { config } = JSON.parse(readFileSync(join(layout, "blobs/sha256", manifest), "utf8")) as {
    config: { digest: string };
  };
  const blob = (directory: string, hex = config.digest.slice(7)) => join(directory, "blobs/sha256", hex);
  const other = (path: string) => {
    const octets = readFileSync(path);
    octets[20] = (octets[20] ?? 0) ^ 1;
    writeFileSync(path, octets);
  };
  await refused(
    spoilt((at) => other(blob(at))),
    "ARCHIVE_DIGEST_MISMATCH",
    /other content/,
    "a blob that was changed",
  );
  await refused(
    spoilt((at) => other(blob(at, manifest))),
    "ARCHIVE_DIGEST_MISMATCH",
    /other content/,
    "a manifest that was changed",
  );
  await refused(
    spoilt((at) => rmSync(blob(at))),
    "ARCHIVE_DAMAGED",
    /is not in it/,
    "a blob that is not there",
  );
  await refused(
    spoilt((at) => (rmSync(blob(at)), symlinkSync("/etc/passwd", blob(at)))),
    "ARCHIVE_REFUSED",
    /leads out/,
    "a blob that is a link out",
  );
  await refused(
    spoilt((at) => writeFileSync(join(at, "index.json"), "{")),
    "ARCHIVE_DAMAGED",
    /not JSON/,
    "no JSON",
  );
  await refused(
    spoilt((at) =>
      writeFileSync(
        join(at, "index.json"),
        '{"manifests":[{"mediaType":"x","digest":"sha256:../../x","size":1}]}',
      ),
    ),
    "ARCHIVE_DAMAGED",
    /neither sha256/,
    "a digest that is a path",
  );
  await refused(
    spoilt((at) => writeFileSync(join(at, "oci-layout"), '{"imageLayoutVersion":"9"}')),
    "ARCHIVE_DAMAGED",
    /version 1/,
    "another layout",
  );
  const empty = temporaryDirectory(t);
  mkdirSync(join(empty, "a"));
  await refused(
    empty,
    "ARCHIVE_UNKNOWN",
    /neither index\.json.*nor manifest\.json/,
    "a directory with nothing",
  );
  t.same((await clientOf(t, registry.origin).tags("p10/tool")).length, 0);
});

t.test("a few KiB do not unpack to any size", async (t) => {
  const directory = temporaryDirectory(t);
  const bomb = join(directory, "bomb.tar.xz");
  execFileSync("sh", ["-ec", 'head -c 64M /dev/zero | xz -1 > "$1"', "sh", bomb]);
  await t.rejects(openArchive(bomb, { maximumBytes: 1_000_000 }), {
    code: "ARCHIVE_TOO_LARGE",
    message: /1000000/,
  });
  const path = process.env["PATH"];
  process.env["PATH"] = directory;
  t.teardown(() => (process.env["PATH"] = path));
  await t.rejects(openArchive(bomb), { code: "ARCHIVE_TOOL_MISSING", advice: /xz-utils/ });
  t.equal(createHash("sha256").update(readFileSync(bomb)).digest("hex").length, 64);
});
