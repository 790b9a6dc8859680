import { mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { openArchive } from "../../server/archive/archive-files.ts";
import { fileSigner, keyringSigner } from "../../server/archive/gpg.ts";
import { imagesOf } from "../../server/archive/oci-layout.ts";
import { pushImages } from "../../server/archive/push.ts";
import { requireName } from "../../server/archive/reference.ts";
import { RegistryClient } from "../../server/archive/registry-client.ts";
import { requireSignatures, signImages, type SignOptions } from "../../server/archive/sign.ts";
import { claimOf, signedMessage } from "../../server/archive/simple-signing.ts";
import { makePodsecArchive, skopeo, startDockerRegistry, startProxy } from "../support/container-registry.ts";
import { temporaryDirectory } from "../support/samples.ts";
import { makeSigningKey } from "../support/signing-key.ts";

interface Test {
  teardown(fn: () => void | Promise<void>): unknown;
}

/** A registry with one image for two architectures and one for one, and what takes signatures before it. */
async function makeLab(t: Test) {
  const registry = await startDockerRegistry(t);
  const proxy = await startProxy(t, registry.origin, { signatures: true });
  const client = new RegistryClient({ origin: proxy.origin });
  t.teardown(() => client.close());
  const amd64 = await makePodsecArchive(t, "amd64", [
    { name: "c10f/pause:3.9", content: "a pause for amd64" },
    { name: "c10f/etcd:3.5", content: "etcd" },
  ]);
  const arm64 = await makePodsecArchive(t, "arm64", [
    { name: "c10f/pause:3.9", content: "a pause for arm64" },
  ]);
  const files = await Promise.all([amd64, arm64].map(({ archive }) => openArchive(archive)));
  const images = (await Promise.all(files.map((one) => imagesOf(one, undefined)))).flat();
  await pushImages(images, client);
  for (const one of files) await one.close();
  return { registry, proxy, client };
}

const names = ["c10f/pause:3.9", "c10f/etcd:3.5"].map((name) => requireName(name));
const signing = { identityHost: "registry.local", creator: "rollcall test", now: () => 1_795_205_327 };

t.test("a set is signed by a key file, and skopeo finds each signature good", async (t) => {
  const { proxy, client } = await makeLab(t);
  const key = makeSigningKey(t, "maker@lab.example", "rsa3072");
  const signer = await fileSigner(key.file, {});
  t.teardown(() => signer.close());
  t.equal(signer.fingerprint, key.fingerprint);
  const progress: string[] = [];
  const options: SignOptions = {
    ...signing,
    registry: client,
    signer,
    onProgress: (name, number, count) => progress.push(`${number}/${count} ${name}`),
  };
  await requireSignatures(client);
  const results = await signImages(names, options);
  t.match(results, [
    { name: "c10f/pause:3.9", signed: 3, present: 0, error: undefined },
    { name: "c10f/etcd:3.5", signed: 1, present: 0, error: undefined },
  ]);
  t.same(progress, ["1/2 c10f/pause:3.9", "2/2 c10f/etcd:3.5"]);
  t.equal(proxy.signatures.size, 4, "the index, both of its images, and the other image");
  const work = temporaryDirectory(t);
  for (const [path, kept] of proxy.signatures) {
    const [, repository = "", digest = ""] = /^\/extensions\/v2\/(.*)\/signatures\/(.*)$/.exec(path) ?? [];
    t.equal(kept.length, 1);
    t.match(kept[0], { schemaVersion: 2, type: "atomic", name: new RegExp(`^${digest}@[0-9a-f]{32}$`) });
    const manifest = await client.manifest(repository, digest);
    writeFileSync(join(work, "manifest"), manifest?.octets ?? "");
    writeFileSync(join(work, "signature"), Buffer.from(String(kept[0]?.["content"]), "base64"));
    const tag = repository.endsWith("pause") ? "3.9" : "3.5";
    const said = await skopeo(
      [
        "standalone-verify",
        join(work, "manifest"),
        `registry.local/${repository}:${tag}`,
        key.fingerprint,
        join(work, "signature"),
      ],
      { GNUPGHOME: key.home },
    );
    t.match(said, `Signature verified, digest ${digest}`);
  }
  t.match(
    await signImages(names, options),
    [
      { signed: 0, present: 3 },
      { signed: 0, present: 1 },
    ],
    "what this key has signed is left as it is",
  );
  const other = makeSigningKey(t, "second@lab.example", "ed25519", "a word");
  const second = await fileSigner(other.file, { passphrase: "a word" });
  t.teardown(() => second.close());
  t.match(
    await signImages(names, { ...options, signer: second }),
    [{ signed: 3 }, { signed: 1 }],
    "another key signs beside it",
  );
  const gone = await signImages([requireName("c10f/gone:1"), ...names], options);
  t.match(gone, [
    { error: { code: "TRANSFER_NOT_FOUND" } },
    { present: 3, error: undefined },
    { present: 1 },
  ]);
});

t.test(
  "a node that rejects all that is not signed pulls what was signed, for each architecture",
  async (t) => {
    const { proxy, client } = await makeLab(t);
    const key = makeSigningKey(t, "maker@lab.example", "ed25519");
    const policy = join(temporaryDirectory(t), "policy.json");
    const rule = {
      type: "signedBy",
      keyType: "GPGKeys",
      keyPath: key.publicFile,
      signedIdentity: { type: "matchRepoDigestOrExact" },
    };
    writeFileSync(
      policy,
      JSON.stringify({ default: [{ type: "reject" }], transports: { docker: { [proxy.host]: [rule] } } }),
    );
    const pull = (arch: string) => {
      const target = join(temporaryDirectory(t), "copy");
      const source = `docker://${proxy.host}/c10f/pause:3.9`;
      return skopeo(
        [
          "--policy",
          policy,
          "--override-arch",
          arch,
          "copy",
          "--quiet",
          "--src-tls-verify=false",
          source,
          `dir:${target}`,
        ],
        { HOME: temporaryDirectory(t) },
      );
    };
    await t.rejects(pull("amd64"), { message: /no signature exists/ });
    const signer = await keyringSignerAt(t, key.home, "maker@lab.example");
    // Here the nodes know the registry by the proxy's address.
    await signImages(names, { ...signing, identityHost: proxy.host, registry: client, signer });
    await pull("amd64");
    await pull("arm64");
  },
);

t.test("signatures for a lookaside server are files that clients look for", async (t) => {
  const { client, registry } = await makeLab(t);
  const key = makeSigningKey(t, "maker@lab.example", "ed25519");
  const signer = await fileSigner(key.file);
  t.teardown(() => signer.close());
  const directory = temporaryDirectory(t);
  await signImages([requireName("c10f/etcd:3.5")], { ...signing, registry: client, signer, directory });
  const digest = (await client.manifest("c10f/etcd", "3.5"))?.digest ?? "";
  const folder = join(directory, `c10f/etcd@${digest.replace(":", "=")}`);
  t.same(readdirSync(folder), ["signature-1"]);
  const message = await signer.open(readFileSync(join(folder, "signature-1")));
  t.same(claimOf(message ?? Buffer.alloc(0)), { reference: "registry.local/c10f/etcd:3.5", digest });
  const plain = new RegistryClient({ origin: registry.origin });
  t.teardown(() => plain.close());
  await t.rejects(requireSignatures(plain), { code: "SIGN_UNSUPPORTED", advice: /--to DIR/ });
});

t.test("a key that can't sign is told as such", async (t) => {
  const key = makeSigningKey(t, "maker@lab.example", "ed25519", "a word");
  const directory = temporaryDirectory(t);
  const none = join(directory, "none.asc");
  writeFileSync(none, "no key\n");
  await t.rejects(fileSigner(none), { code: "SIGN_KEY_INVALID", message: /none\.asc/ });
  await t.rejects(fileSigner(key.publicFile), { code: "SIGN_KEY_INVALID", message: /only public/ });
  const locked = await fileSigner(key.file, { passphrase: "another word" });
  t.teardown(() => locked.close());
  await t.rejects(locked.sign(Buffer.from("x")), {
    code: "SIGN_KEY_INVALID",
    message: /could not be unlocked/,
  });
  const unlocked = await fileSigner(key.file, { passphrase: "a word" });
  t.teardown(() => unlocked.close());
  t.same(await unlocked.open(await unlocked.sign(Buffer.from("x"))), Buffer.from("x"));
  const two = join(directory, "two.asc");
  writeFileSync(
    two,
    readFileSync(key.file, "utf8") +
      readFileSync(makeSigningKey(t, "other@lab.example", "ed25519").file, "utf8"),
  );
  await t.rejects(fileSigner(two), { code: "SIGN_KEY_INVALID", message: /2 private keys/ });
  mkdirSync(join(directory, "home"), { mode: 0o700 });
  await t.rejects(keyringSignerAt(t, join(directory, "home"), "nobody@lab.example"), {
    code: "SIGN_KEY_INVALID",
    message: /nobody@lab\.example/,
  });
});

t.test("the message has the members of containers-signature(5) and no others", (t) => {
  const digest = `sha256:${"a".repeat(64)}`;
  const message = signedMessage({ reference: "registry.local/p10/x:1", digest }, "rollcall 1", 5.9);
  t.same(JSON.parse(message.toString()), {
    critical: {
      type: "atomic container signature",
      image: { "docker-manifest-digest": digest },
      identity: { "docker-reference": "registry.local/p10/x:1" },
    },
    optional: { creator: "rollcall 1", timestamp: 5 },
  });
  t.throws(() => claimOf(Buffer.from("{}")), { code: "ARCHIVE_DAMAGED" });
  t.end();
});

async function keyringSignerAt(t: Test, home: string, user: string) {
  const before = process.env["GNUPGHOME"];
  process.env["GNUPGHOME"] = home;
  t.teardown(() => {
    if (before === undefined) delete process.env["GNUPGHOME"];
    else process.env["GNUPGHOME"] = before;
  });
  const signer = await keyringSigner(user);
  t.teardown(() => signer.close());
  return signer;
}
