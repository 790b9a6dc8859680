import t from "tap";
import { RollcallError } from "../../server/domain/errors.ts";
import { mostSignatures } from "../../server/domain/signature.ts";
import { openStore } from "../../server/store/open-store.ts";
import { ManualClock } from "../support/manual-clock.ts";
import { createGpg, digestOf, payloadFor } from "../support/signing-lab.ts";
import { openSignatureStore } from "../support/signature-store.ts";

const codeOf = (error: unknown) => (error instanceof RollcallError ? error.code : String(error));

t.test("signers and signatures", async (t) => {
  const gpg = createGpg(t);
  const anna = await gpg.makeKey("anna", "ed25519");
  const nora = await gpg.makeKey("nora", "ed25519");
  await gpg.makeKey("stranger", "ed25519");
  await gpg.gpg("--quick-add-key", nora, "ed25519", "sign", "never");
  const keyOf = (name: string) => gpg.exportKey(name);
  const [one, two, index] = [digestOf("one"), digestOf("two"), digestOf("index")];
  const reference = "registry.local/p10/pause:3.9";
  const good = await gpg.sign(anna, payloadFor(one, reference));
  const clock = new ManualClock(Date.now() + 60_000);

  const opened = openSignatureStore(t, clock);
  const { signers, signatures, events } = opened;
  const add = (octets: Uint8Array, position?: number, digest = one, repository = "p10/pause") =>
    signatures.add({ repository, digest, octets, position }, "anna-token");
  const refusalOf = (
    octets: Uint8Array,
    ...more: [position?: number, digest?: string, repository?: string]
  ) =>
    add(octets, ...more).then(
      () => "accepted",
      (error: unknown) => codeOf(error),
    );

  t.test("what comes in is verified first, and a refusal has a stable code", async (t) => {
    t.equal(await refusalOf(good), "SIGNED_IMAGE_NOT_FOUND", "no such image");
    opened.addManifest("p10/pause", one);
    t.equal(await refusalOf(good), "SIGNATURE_KEY_UNKNOWN");
    await signers.add(
      { name: "anna", keys: await keyOf("anna"), scopes: ["registry.local/p10"], expiresInMs: undefined },
      "admin",
    );
    await signers.add(
      { name: "nora", keys: await keyOf("nora"), scopes: ["registry.local/p11"], expiresInMs: undefined },
      "admin",
    );
    const by = (who: string, payload: string, ...more: string[]) => gpg.sign(who, payload, ...more);
    const payload = payloadFor(one, reference);
    const refused: Record<string, Buffer> = {
      SIGNATURE_KEY_UNKNOWN: await by("stranger", payload),
      SIGNATURE_MALFORMED: await by(anna, payload, "--clear-sign"),
      SIGNATURE_BAD: Buffer.concat([good.subarray(0, -3), Buffer.from([1, 2, 3])]),
      SIGNATURE_BY_SUBKEY: await by(nora, payload),
      SIGNATURE_OUT_OF_SCOPE: await by(`${nora}!`, payload),
      SIGNATURE_PAYLOAD_INVALID: await by(anna, payload.replace("{", '{"more":1,')),
      SIGNATURE_OTHER_DIGEST: await by(anna, payloadFor(two, reference)),
      SIGNATURE_OTHER_REPOSITORY: await by(anna, payloadFor(one, "registry.local/p10/other:3.9")),
      SIGNATURE_WEAK_HASH: await by(anna, payload, "--digest-algo", "MD5", "--allow-weak-digest-algos"),
    };
    const uncompressed = await by(anna, payload, "--compress-algo", "none");
    uncompressed[uncompressed.length - 3] = (uncompressed.at(-3) ?? 0) ^ 1;
    refused["SIGNATURE_BAD"] = uncompressed;
    for (const [code, octets] of Object.entries(refused)) t.equal(await refusalOf(octets), code);
    t.equal(
      await refusalOf(await by(anna, payloadFor(one, "10.0.0.1/p10/pause:3.9"))),
      "SIGNATURE_OTHER_REPOSITORY",
      "an alias is no name to sign by",
    );
    t.equal(await refusalOf(Buffer.alloc(64 * 1024 + 1, 0xa3)), "SIGNATURE_MALFORMED", "too large");
    t.equal(await refusalOf(good, undefined, `sha512:${"0".repeat(128)}`), "SIGNED_IMAGE_NOT_FOUND");
    t.equal(signatures.list("p10/pause", one).length, 0, "nothing of it is kept");
    t.ok(events.some(({ type, data }) => type === "signature.refused" && data?.["code"] === "SIGNATURE_BAD"));
  });

  t.test("a bomb is not unpacked", async (t) => {
    const bomb = await gpg.sign(anna, Buffer.alloc(16 * 1024 * 1024), "--compress-algo", "zlib");
    t.ok(bomb.length < 64 * 1024, `${bomb.length} octets`);
    t.equal(await refusalOf(bomb), "SIGNATURE_MALFORMED");
  });

  t.test("positions count from 1 without gaps, and one that is there stays where it is", async (t) => {
    t.equal((await add(good)).position, 1);
    t.equal((await add(good)).position, 1, "the same again");
    const others = await Promise.all(
      ["3.10", "3.11", "3.12"].map((tag) =>
        gpg.sign(anna, payloadFor(one, `registry.local/p10/pause:${tag}`)),
      ),
    );
    for (const octets of others) await add(octets);
    const tags = () =>
      signatures
        .list("p10/pause", one)
        .map(({ position, reference: name }) => [position, name.split(":")[1]]);
    t.same(tags(), [
      [1, "3.9"],
      [2, "3.10"],
      [3, "3.11"],
      [4, "3.12"],
    ]);
    await signatures.remove("p10/pause", one, 2, "admin");
    t.same(
      tags(),
      [
        [1, "3.9"],
        [2, "3.11"],
        [3, "3.12"],
      ],
      "those behind it move up",
    );
    t.same(signatures.octets("p10/pause", one, 2), others[1]);
    await t.rejects(signatures.remove("p10/pause", one, 4, "admin"), { code: "SIGNATURE_NOT_FOUND" });
    t.equal(await refusalOf(others[0] ?? good, 6), "SIGNATURE_POSITION_INVALID", "a gap");
    t.equal((await add(others[0] ?? good, 2)).position, 2, "in the place of another");
    t.same(tags(), [
      [1, "3.9"],
      [2, "3.10"],
      [3, "3.12"],
    ]);
    const again = openStore(opened.path, clock);
    t.same(again.signatures.list("p10/pause", one), signatures.list("p10/pause", one), "it is on the disk");
    t.same(
      again.signers.all().map(({ name }) => name),
      ["anna", "nora"],
    );
    again.close();
  });

  t.test("an image has at most 128", async (t) => {
    opened.addManifest("p10/many", one);
    const statement = {
      fingerprint: anna.toLowerCase(),
      signedAt: 0,
      expiresAt: undefined,
      reference,
      addedAt: 0,
      addedBy: "x",
    };
    for (let id = 1; id <= mostSignatures; id++)
      await opened.store.signatures.add(
        { ...statement, repository: "p10/many", digest: one, id: String(id) },
        Buffer.from("octets"),
      );
    const many = await gpg.sign(anna, payloadFor(one, "registry.local/p10/many:1"));
    t.equal(await refusalOf(many, undefined, one, "p10/many"), "SIGNATURES_TOO_MANY");
    t.equal((await add(many, 128, one, "p10/many")).position, 128, "one of them may be replaced");
  });

  t.test("what clients think of an image", async (t) => {
    const state = (digest = one, tag?: string) => signatures.stateOf("p10/pause", digest, tag)?.state;
    t.same([state(), state(one, "3.9"), state(one, "9.9")], ["signed", "signed", "refused"]);
    t.same(signatures.stateOf("p10/pause", one)?.signers, ["anna"]);
    t.equal(signatures.stateOf("p10/pause", two), undefined, "there is none");
    opened.addManifest("p10/pause", two);
    opened.addManifest("p10/pause", index, [one, two]);
    t.equal(state(two), "unsigned");
    t.match(
      signatures.stateOf("p10/pause", index),
      { state: "unsigned", missing: [two] },
      "one child is missing",
    );
    await add(await gpg.sign(anna, payloadFor(index, reference)), undefined, index);
    t.equal(state(index), "unsigned", "its own signature does not help");
    await add(await gpg.sign(anna, payloadFor(two, reference)), undefined, two);
    t.equal(state(index), "signed", "every child is");

    await t.rejects(
      signers.add(
        { name: "eve", keys: await keyOf("anna"), scopes: undefined, expiresInMs: undefined },
        "admin",
      ),
      { code: "KEY_TAKEN" },
    );
    await signers.add(
      { name: "anna", keys: await keyOf("anna"), scopes: undefined, expiresInMs: 60_000 },
      "admin",
    );
    t.equal(state(), "signed");
    clock.advanceMs(60_000);
    t.equal(state(), "expired", "the signer's time is over");
    await signers.add(
      { name: "anna", keys: await keyOf("anna"), scopes: undefined, expiresInMs: 600_000 },
      "admin",
    );
    t.equal(state(), "signed");
    await signers.revoke("anna", "admin");
    t.equal(state(), "revoked");
    t.equal(await refusalOf(good), "SIGNATURE_KEY_REVOKED");
    await t.rejects(
      signers.add(
        { name: "anna", keys: await keyOf("anna"), scopes: undefined, expiresInMs: undefined },
        "admin",
      ),
      { code: "SIGNER_REVOKED" },
    );
    await signers.remove("anna", "admin");
    t.equal(state(), "refused", "nobody may sign it any more");
    await t.rejects(signers.remove("anna", "admin"), { code: "SIGNER_NOT_FOUND" });
    await t.rejects(signers.revoke("anna", "admin"), { code: "SIGNER_NOT_FOUND" });
  });

  t.test("a key that comes again brings its revocation, and does not lose it", async (t) => {
    const before = await keyOf("stranger");
    const again = (keys: Uint8Array) =>
      signers.add({ name: "stan", keys, scopes: undefined, expiresInMs: undefined }, "admin");
    t.same((await again(before)).scopes, ["registry.local"], "the whole registry");
    t.equal((await again(before)).keys[0]?.isRevoked, false);
    const { stdout } = await gpg.gpg("--with-colons", "--list-keys", "stranger");
    await gpg.revoke(/^fpr:+([0-9A-F]{40}):/m.exec(stdout.toString())?.[1] ?? "");
    t.equal((await again(await keyOf("stranger"))).keys[0]?.isRevoked, true);
    t.equal((await again(before)).keys[0]?.isRevoked, true, "by an older copy");
  });

  t.test("keys and scopes that clients can't use are refused", async (t) => {
    const refusal = (keys: Uint8Array | string, scopes?: string[], name = "x") =>
      signers
        .add({ name, keys: Buffer.from(keys), scopes, expiresInMs: undefined }, "admin")
        .then(() => "accepted", codeOf);
    const key = await keyOf("nora");
    t.equal(await refusal("hello"), "KEY_INVALID");
    t.equal(await refusal(""), "KEY_INVALID");
    t.equal(
      await refusal((await gpg.gpg("--export-secret-keys", "nora")).stdout),
      "KEY_INVALID",
      "a private key",
    );
    t.equal(await refusal(Buffer.alloc(600_000)), "KEY_INVALID", "too large");
    await gpg.makeKey("certifier", "ed25519", { usage: "cert" });
    t.equal(await refusal(await keyOf("certifier")), "KEY_INVALID", "it may not sign");
    await gpg.makeKey("small", "rsa1024");
    t.equal(await refusal(await keyOf("small")), "KEY_INVALID", "RSA-1024");
    for (const scope of [
      "",
      "registry.local/",
      "registry.local/P10",
      "a b",
      "registry.local/p10:",
      "10.0.0.1/p10",
    ])
      t.equal(await refusal(key, [scope]), "SCOPE_INVALID", JSON.stringify(scope));
    t.equal(await refusal(key, undefined, "Anna"), "INVALID_REQUEST");
    t.equal(await refusal(key, undefined, "../x"), "INVALID_REQUEST");
    const armored = await keyOf("nora").then(
      async () => (await gpg.gpg("--export", "--armor", "nora")).stdout,
    );
    t.equal(
      (await signers.add({ name: "nora", keys: armored, scopes: undefined, expiresInMs: undefined }, "admin"))
        .keys.length,
      1,
    );
  });

  t.test("signatures go with their image", async (t) => {
    t.ok(signatures.list("p10/pause", one).length > 0);
    opened.removeManifest("p10/pause", one);
    t.same(signatures.list("p10/pause", one), []);
  });
});
