import { execFileSync } from "node:child_process";
import { join } from "node:path";
import t from "tap";
import { policyJson, registriesDirectoryFile } from "../../server/signatures/policy/client-files.ts";
import { trustOf } from "../../server/signatures/policy/trust.ts";
import { boot } from "../support/boot-command.ts";
import { makePodsecArchive, startProxy } from "../support/container-registry.ts";
import { startFakeUpstream } from "../support/fake-upstream.ts";
import { startServer } from "../support/http-fixture.ts";
import { blobOf, manifestOf, ociManifest } from "../support/oci-image.ts";
import { temporaryDirectory } from "../support/samples.ts";
import { makeSigningKey } from "../support/signing-key.ts";
import { createClients } from "../support/signing-lab.ts";

const names = { host: "registry.local", aliases: [] };

t.test("our own registry takes an archive with a token, and gives it back the same", async (t) => {
  // What nobody has signed yet is there for who may push alone: export and sign have to say who they are.
  const server = await startServer(t, {
    settings: { "registry.repositories": [{ pattern: "c10f/pause", mode: "require-signed" }] },
  });
  const own = ["--server", server.url];
  const images = [
    { name: "k8s-c10f2/etcd:3.5", content: "etcd" },
    { name: "c10f/pause:3.9", content: "a pause" },
  ];
  const [amd64, arm64] = await Promise.all([
    makePodsecArchive(t, "amd64", images),
    makePodsecArchive(t, "arm64", images),
  ]);
  t.match(
    await boot([
      "image",
      "import",
      amd64.archive,
      "--registry",
      `127.0.0.1:${server.app.addresses.registryPort}`,
    ]),
    { code: 1, err: /^TRANSFER_UNAUTHORIZED: [\s\S]*boot token create/ },
  );
  const words = [...own, "--token", server.adminToken];
  const imported = await boot([
    ...words,
    "--output",
    "json",
    "image",
    "import",
    amd64.archive,
    arm64.archive,
  ]);
  t.match(imported, { code: 0, err: "" });
  t.match(JSON.parse(imported.out), [
    { name: "k8s-c10f2/etcd:3.5", platforms: ["linux/amd64", "linux/arm64"] },
    { name: "c10f/etcd:3.5", sentBytes: 0 },
    { name: "c10f/pause:3.9", platforms: ["linux/amd64", "linux/arm64"] },
  ]);
  const target = join(temporaryDirectory(t), "amd64.tar");
  const exported = await boot([
    ...words,
    "image",
    "export",
    ...images.map(({ name }) => name),
    "--to",
    target,
  ]);
  t.match(exported, { code: 0, err: "" });
  const unpacked = temporaryDirectory(t);
  execFileSync("tar", ["-xf", target, "-C", unpacked]);
  execFileSync("diff", ["-r", join(amd64.layout, "blobs"), join(unpacked, "amd64/blobs")]);

  const key = makeSigningKey(t, "maker@lab.example", "ed25519");
  const added = await boot([...words, "key", "add", "maker", "--file", key.publicFile]);
  t.match(added, { code: 0 });
  const signed = await boot([...words, "sign", "c10f/pause", "--key", key.file]);
  t.match(
    signed,
    { code: 0, err: "", out: /c10f\/pause:3\.9 +3 +0 +sha256:/ },
    "the server says what it is called",
  );

  // Without the header of the extension clients go to the lookaside server.
  const { registryPort, lookasidePort } = server.app.addresses;
  const behind = `http://127.0.0.1:${registryPort}`;
  const plain = await startProxy(t, behind, { withoutSignatures: true });
  const places = {
    "by the extension": { location: `127.0.0.1:${registryPort}`, lookasidePort: 9 },
    "from the lookaside": { location: plain.host, lookasidePort },
  };
  for (const [way, place] of Object.entries(places)) {
    const clients = createClients(t, {
      policy: policyJson(trustOf(server.store.signers.all(), names, Date.now()), "inline"),
      registriesD: registriesDirectoryFile(`http://127.0.0.1:${place.lookasidePort}/sigstore/`),
      registriesConf: `[[registry]]\nprefix = "registry.local"\nlocation = "${place.location}"\ninsecure = true\n`,
    });
    const pulled = await clients.skopeo("registry.local/c10f/pause:3.9");
    t.ok(pulled.accepted, `a signed image is pulled with its signature ${way}`, { said: pulled.said });
    const refused = await clients.skopeo("registry.local/c10f/etcd:3.5");
    t.match(refused, { accepted: false, said: /no signature exists/ }, `an unsigned one is not, ${way}`);
  }
  t.notOk(plain.passed.some(({ path }) => path.startsWith("/extensions/")));
});

t.test("on the server's own machine its registry needs no login, by whichever of its names", async (t) => {
  const server = await startServer(t, {
    settings: {
      "registry.aliases": ["hall.lab"],
      "registry.upstreams": [{ prefix: "far/", url: "http://127.0.0.1:1" }],
    },
  });
  const { registryPort } = server.app.addresses;
  const { archive } = await makePodsecArchive(t, "amd64", [{ name: "c10f/pause:3.9", content: "a pause" }]);
  const run = (...words: string[]) => boot(["--data", server.dataDir, "image", "import", archive, ...words]);
  for (const name of ["registry.local", `Hall.lab:${registryPort}`, `http://localhost:${registryPort}/`])
    t.match(await run("--registry", name), { code: 0, err: "" }, name);
  const other = await run("--registry", "127.0.0.1:1");
  t.match(other, { code: 1, err: /^TRANSFER_UNREACHABLE/ }, "another port is another registry");
  t.match(
    await run("--as", "far/x:1"),
    {
      code: 1,
      out: /^IMAGE +PLATFORMS +SENT +WAS THERE +DIGEST +PROBLEM\nfar\/x:1 .* - +TRANSFER_\w+\n$/,
      err: /repositories below far\/ are those of/,
    },
    "a code is no digest, and nobody pushes to an upstream",
  );
  t.match(await run("--as", "docker.io/library/x:1"), {
    code: 1,
    err: /^ARCHIVE_NAME_INVALID: .*names another registry, docker\.io, .* registry\.local\n.*--as library\/x:1/,
  });
  t.match(await run("--as", `127.0.0.1:${registryPort}/mine/x:1`), { code: 0, out: /^mine\/x:1 /m });
});

t.test("images below the prefix of an upstream are signed and exported by their whole names", async (t) => {
  const upstream = await startFakeUpstream(t);
  const [config, layer] = [blobOf('{"os":"linux","architecture":"amd64"}'), blobOf("of alpine")];
  for (const one of [config, layer]) upstream.add(one);
  const manifest = manifestOf(config, [layer]);
  upstream.add(manifest, { type: ociManifest, tag: "3.20" });
  const server = await startServer(t, {
    settings: {
      "registry.aliases": ["hall.lab"],
      "registry.upstreams": [{ prefix: "docker.io/", url: upstream.url }],
    },
  });
  const words = ["--data", server.dataDir];
  const name = "docker.io/library/alpine:3.20";
  const target = join(temporaryDirectory(t), "amd64.tar");
  for (const written of [name, `registry.local/${name}`, `hall.lab/${name}`])
    t.match(await boot([...words, "image", "export", written, "--to", target]), {
      code: 0,
      err: "",
      out: new RegExp(`${name} .*${manifest.digest}`),
    });
  const key = makeSigningKey(t, "maker@lab.example", "ed25519");
  t.match(await boot([...words, "key", "add", "maker", "--file", key.publicFile]), { code: 0 });
  const signed = await boot([...words, "sign", `hall.lab/${name}`, "--key", key.file]);
  t.match(signed, { code: 0, err: "", out: new RegExp(`${name} +1 +0 +${manifest.digest}`) });
  t.match(server.store.signatures.list("docker.io/library/alpine", manifest.digest), [
    { reference: `registry.local/${name}` },
  ]);
  t.match(await boot([...words, "sign", "registry.altlinux.org/p10/pause:3.9", "--key", key.file]), {
    code: 1,
    err: /^TRANSFER_NOT_FOUND: registry\.altlinux\.org\/p10\/pause:3\.9[\s\S]*without registry\.altlinux\.org in front, name it so: p10\/pause/,
  });
});

t.test("the server says where its registry is", async (t) => {
  const server = await startServer(t);
  const { registryPort, registryTlsPort } = server.app.addresses;
  const { status, json } = await server.api("GET", "/registry");
  t.equal(status, 200);
  t.match(json, {
    url: `http://127.0.0.1:${registryPort}`,
    tlsUrl: `https://127.0.0.1:${registryTlsPort}`,
    host: "registry.local",
    authority: /^-----BEGIN CERTIFICATE-----\n/,
  });
  t.equal((await server.ask("/api/v1/registry")).status, 401);
});

t.test("a registry that is switched off is told so", async (t) => {
  const server = await startServer(t, { settings: { "registry.enabled": false } });
  t.match(await server.api("GET", "/registry"), { status: 404, json: { code: "REGISTRY_OFF" } });
  const signed = await boot([
    "--server",
    server.url,
    "--token",
    server.adminToken,
    "sign",
    "p10/a:1",
    "--gpg",
    "x",
  ]);
  t.match(signed, { code: 1, err: /REGISTRY_OFF|switched off[\s\S]*registry\.enabled/ });
});
