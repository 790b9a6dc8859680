import { execFileSync } from "node:child_process";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { boot } from "../support/boot-command.ts";
import { temporaryDirectory } from "../support/samples.ts";
import { createGpg, type LabImage } from "../support/signing-lab.ts";
import { attachmentOf, makeSigstoreKey, signedLayer, sigstorePayload } from "../support/sigstore-lab.ts";
import { sigstoreRegistry as lab } from "../support/sigstore-registry.ts";

const dayMs = 86_400_000;

t.test(
  "a signature under the tag of an image's signatures makes it signed, and is shown with it",
  async (t) => {
    const { api, addKey, attach, key, signed, state, see, image, pull, events, push } = await lab(t);
    t.match(await addKey("ci", key.publicPem), {
      status: 201,
      json: { keys: [{ format: "sigstore", algorithm: "nistp256", fingerprint: /^[0-9a-f]{64}$/ }] },
    });
    const { manifest } = await image("p10/pause", "3.9");
    const { digest } = manifest;
    t.equal(await see("p10/pause", "3.9"), 404);
    const stranger = signed("p10/pause", digest, makeSigstoreKey());
    const tag = await attach("p10/pause", digest, attachmentOf([stranger]));
    t.equal(await see("p10/pause", "3.9"), 404, "a stranger's");
    const hidden = await pull(`/v2/p10/pause/manifests/${tag}`);
    t.match(hidden, { status: 404, code: "MANIFEST_UNKNOWN" }, "and it is hidden, as if it were not there");
    t.match((await events("signature.refused"))[0], {
      level: "warning",
      data: { repository: "p10/pause", digest, code: "SIGNATURE_UNVERIFIED" },
    });
    t.equal((await push("GET", `/v2/p10/pause/manifests/${tag}`)).status, 200, "not to who may push");

    const both = attachmentOf([stranger, signed("p10/pause", digest)]);
    await attach("p10/pause", digest, both);
    t.same([await see("p10/pause", "3.9"), await see("p10/pause", digest)], [200, 200]);
    const shown = await pull(`/v2/p10/pause/manifests/${tag}`);
    t.match(shown, { status: 200, headers: { warning: undefined } });
    t.equal(shown.text, both.manifest);
    t.match(await state("p10/pause", "3.9"), {
      state: "signed",
      signers: ["ci"],
      signatures: [{ format: "sigstore", accepted: true }],
    });
    t.match((await events("signature.added"))[0], { data: { repository: "p10/pause", digest } });
    t.match((await state("p10/pause", tag)).state, "signed", "the list has it so too");
    const extension = await pull(`/extensions/v2/p10/pause/signatures/${digest}`);
    t.same(extension.json, { signatures: [] }, "it is none of the other form");

    await api("POST", "/keys/ci/revoke", {});
    t.same([await see("p10/pause", "3.9"), await see("p10/pause", tag)], [404, 404]);
    t.equal((await state("p10/pause", "3.9")).state, "revoked");
  },
);

t.test("what is there no more counts no more", async (t) => {
  const { addKey, attach, key, signed, see, image, push, manifest: putManifest } = await lab(t);
  await addKey("ci", key.publicPem);
  const { manifest } = await image("p10/pause", "3.9");
  const good = attachmentOf([signed("p10/pause", manifest.digest)]);
  const tag = await attach("p10/pause", manifest.digest, good);
  t.equal(await see("p10/pause", "3.9"), 200);
  await attach("p10/pause", manifest.digest, attachmentOf([]));
  t.equal(await see("p10/pause", "3.9"), 404, "its place was taken");
  await attach("p10/pause", manifest.digest, good);
  t.equal(await see("p10/pause", "3.9"), 200);
  t.equal((await push("DELETE", `/v2/p10/pause/manifests/${tag}`)).status, 202);
  t.equal(await see("p10/pause", "3.9"), 404, "its tag was removed");
  await attach("p10/pause", manifest.digest, good);
  t.equal((await push("DELETE", `/v2/p10/pause/manifests/${good.digest}`)).status, 202);
  t.equal(await see("p10/pause", "3.9"), 404, "the image with it was removed");
  await attach("p10/pause", manifest.digest, good);
  t.equal((await push("DELETE", `/v2/p10/pause/manifests/${manifest.digest}`)).status, 202);
  t.equal(await see("p10/pause", tag), 404, "nothing is signed by it");
  await putManifest("p10/pause", "3.9", manifest);
  t.same([await see("p10/pause", "3.9"), await see("p10/pause", tag)], [200, 200], "the image came back");
});

t.test("what was verified while its tag was led elsewhere is not kept", async (t) => {
  const { server, addKey, attach, key, signed, image } = await lab(t);
  await addKey("ci", key.publicPem);
  const { digest } = (await image("p10/pause", "3.9")).manifest;
  const [first, second] = [attachmentOf([signed("p10/pause", digest)]), attachmentOf([])];
  await attach("p10/pause", digest, first);
  const { signatures } = server.store;
  const late = signatures.list("p10/pause", digest).map((one) => ({ ...one, octets: Buffer.from("octets") }));
  t.equal(late.length, 1);
  await attach("p10/pause", digest, second);
  const place = { repository: "p10/pause", digest };
  await signatures.attach({ ...place, manifest: first.digest }, late);
  t.same(signatures.list("p10/pause", digest), []);
  await signatures.attach({ ...place, manifest: second.digest }, late);
  t.match(signatures.list("p10/pause", digest), [{ format: "sigstore", position: 1 }]);
});

t.test("the order of image, signature and key is free", async (t) => {
  const { addKey, attach, key, signed, see, image, state, events } = await lab(t);
  const first = await image("p10/first", "1", "first");
  const copy = (await image("lab/copy", "1", "second")).manifest;
  await attach(
    "p10/first",
    first.manifest.digest,
    attachmentOf([signed("p10/first", first.manifest.digest)]),
  );
  await attach("p10/second", copy.digest, attachmentOf([signed("p10/second", copy.digest)]));
  t.equal(await see("p10/first", "1"), 404);
  await addKey("ci", key.publicPem);
  while ((await events("signature.added")).length === 0);
  t.equal(await see("p10/first", "1"), 200, "the key came after the signature");
  await image("p10/second", "1", "second");
  t.equal(await see("p10/second", "1"), 200, "the image came after its signature");
  t.equal((await state("p10/second", "1")).state, "signed");
});

t.test("a push is not refused for its signatures, and each refusal is told with its reason", async (t) => {
  const { addKey, attach, key, image, events, see } = await lab(t);
  await addKey("ci", key.publicPem, { scopes: ["registry.local/p10"] });
  const { manifest } = await image("p10/pause", "3.9");
  const { digest } = manifest;
  const name = "registry.local/p10/pause";
  const layer = (payload: string) => signedLayer(key, payload);
  const good = layer(sigstorePayload(digest, name));
  const refused: Record<string, LabImage> = {
    SIGNATURE_UNVERIFIED: attachmentOf([{ ...good, content: Buffer.from("changed") }]),
    SIGNATURE_PAYLOAD_INVALID: attachmentOf([layer("hello")]),
    SIGNATURE_OTHER_DIGEST: attachmentOf([layer(sigstorePayload(`sha256:${"0".repeat(64)}`, name))]),
    SIGNATURE_OTHER_REPOSITORY: attachmentOf([layer(sigstorePayload(digest, "registry.local/p10/other"))]),
    SIGNATURES_TOO_MANY: attachmentOf(
      Array.from({ length: 129 }, () => ({ ...good, content: Buffer.from("changed") })),
    ),
    SIGNATURE_MALFORMED: attachmentOf([{ ...good, annotations: {} }]),
  };
  const codes = async () =>
    (await events("signature.refused")).map(({ data }) => (data as unknown as { code: string }).code);
  for (const [code, attachment] of Object.entries(refused)) {
    t.notOk((await codes()).includes(code));
    await attach("p10/pause", digest, attachment);
    t.ok((await codes()).includes(code), code);
    t.equal(await see("p10/pause", "3.9"), 404);
  }
  const other = (await image("other/pause", "3.9")).manifest.digest;
  await attach(
    "other/pause",
    other,
    attachmentOf([layer(sigstorePayload(other, "registry.local/other/pause"))]),
  );
  t.ok((await codes()).includes("SIGNATURE_OUT_OF_SCOPE"));
  await attach("p10/pause", digest, attachmentOf([good, good]));
  t.equal(await see("p10/pause", "3.9"), 200, "the same twice is one");
});

t.test("a signer with a key of cosign's has it alone, and its scopes too", async (t) => {
  const { addKey, key, api, advance } = await lab(t);
  const gpg = createGpg(t);
  await gpg.makeKey("anna", "ed25519");
  const anna = (await gpg.exportKey("anna")).toString("base64");
  const code = async (...of: Parameters<typeof addKey>) => (await addKey(...of)).json["code"] as unknown;
  const scopes = ["registry.local/p10"];
  t.equal((await addKey("ci", key.publicPem, { scopes, expiresInSeconds: 86_400 })).status, 201);
  const compressed = execFileSync("openssl", ["ec", "-pubin", "-conv_form", "compressed"], {
    input: key.publicPem,
    stdio: ["pipe", "pipe", "ignore"],
  }).toString();
  t.not(compressed, key.publicPem);
  t.equal((await addKey("ci", compressed)).status, 201, "the same again, in the other form");
  t.equal(await code("ci", makeSigstoreKey().publicPem), "KEYS_MIXED", "another one of cosign's");
  t.equal(await code("ci", anna), "KEYS_MIXED", "one of OpenPGP");
  t.equal(await code("bert", makeSigstoreKey().publicPem, { scopes }), "SCOPE_TAKEN");
  t.equal(await code("anna", anna, { scopes }), "SCOPE_TAKEN");
  t.equal(await code("bert", key.publicPem, { scopes: ["registry.local/p11"] }), "KEY_TAKEN");
  t.equal(
    (await addKey("anna", anna, { scopes: ["registry.local"] })).status,
    201,
    "the scope above is another",
  );
  t.equal(await code("anna", anna, { scopes }), "SCOPE_TAKEN", "nor later");
  advance(2 * dayMs);
  t.equal((await addKey("bert", makeSigstoreKey().publicPem, { scopes })).status, 201, "its time is over");
  t.equal(await code("ci", key.publicPem, { expiresInSeconds: 86_400 }), "SCOPE_TAKEN", "and stays so");
  await api("POST", "/keys/bert/revoke", {});
  t.equal((await addKey("ci", key.publicPem, { expiresInSeconds: 86_400 })).status, 201);
  for (const type of ["P-384", "ed25519", "rsa3072"] as const)
    t.equal(
      (
        await addKey(type.toLowerCase(), makeSigstoreKey(type).publicPem, {
          scopes: [`registry.local/${type.toLowerCase()}`],
        })
      ).status,
      201,
      type,
    );
  const secret = key.privateKey.export({ format: "pem", type: "pkcs8" }) as string;
  for (const [what, text] of Object.entries({
    "a private key": secret,
    "an encrypted one": secret.replaceAll("PRIVATE KEY", "ENCRYPTED SIGSTORE PRIVATE KEY"),
    "two keys": key.publicPem + makeSigstoreKey().publicPem,
    "RSA with 1024 bits": makeSigstoreKey("rsa1024").publicPem,
    "a certificate": key.publicPem.replaceAll("PUBLIC KEY", "CERTIFICATE"),
    garbage: key.publicPem.replace("M", "!"),
  }))
    t.equal(await code("x", text, { scopes: ["registry.local/x"] }), "KEY_INVALID", what);
});

t.test("boot key shows keys of cosign's beside the others", async (t) => {
  const { server, key } = await lab(t);
  const { url } = server;
  const address = ["--server", url, "--token", server.adminToken];
  const file = join(temporaryDirectory(t), "cosign.pub");
  writeFileSync(file, key.publicPem);
  const added = await boot([...address, "key", "add", "ci", "--file", file, "--scope", "registry.local/p10"]);
  t.match(added, { code: 0, out: /ci may sign registry\.local\/p10/ });
  const listed = await boot([...address, "key", "list"]);
  t.match(listed, { code: 0, out: /ci +registry\.local\/p10 +cosign nistp256 [0-9a-f]{64} +valid/ });
  t.match(await boot([...address, "key", "revoke", "ci"]), { code: 0 });
  t.match(await boot([...address, "key", "list"]), { out: /revoked/ });
  t.match(await boot([...address, "key", "remove", "ci"]), { code: 0 });
});

t.test("clients of podsec find the key under /keys/, and where it is in policy.json", async (t) => {
  const { server, addKey, key } = await lab(t);
  await addKey("ci", key.publicPem, { scopes: ["registry.local/p10"] });
  const url = `http://127.0.0.1:${server.app.addresses.lookasidePort}/keys/`;
  const get = async (name: string) => (await fetch(url + name)).text();
  t.match(await get(""), /"name":"ci\.pub"/);
  t.equal(await get("ci.pub"), key.publicPem);
  const policy = JSON.parse(await get("policy.json")) as { transports: { docker: Record<string, unknown> } };
  t.same(policy.transports.docker["registry.local/p10"], [
    {
      type: "sigstoreSigned",
      keyPath: "/var/sigstore/keys/ci.pub",
      signedIdentity: { type: "matchRepository" },
    },
  ]);
});
