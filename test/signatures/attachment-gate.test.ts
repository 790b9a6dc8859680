import { join } from "node:path";
import Sqlite from "better-sqlite3";
import t from "tap";
import { attachmentTag } from "../../server/domain/signature.ts";
import { systemClock } from "../../server/platform/clock.ts";
import { sigstoreAnnotation } from "../../server/signatures/sigstore.ts";
import { createAttachments } from "../../server/signatures/attachments.ts";
import { attachmentOf, type Layer, makeSigstoreKey, signedLayer } from "../support/sigstore-lab.ts";
import { sigstoreRegistry } from "../support/sigstore-registry.ts";

t.test("nothing unsigned is shown under the tag of an image's signatures", async (t) => {
  const { addKey, attach, key, signed, see, image, events } = await sigstoreRegistry(t);
  await addKey("ci", key.publicPem);
  const { digest } = (await image("p10/pause", "3.9")).manifest;
  const good = signed("p10/pause", digest);
  const tar = Buffer.from("a layer that nobody signed");
  const rows: readonly (readonly [what: string, code: string, layers: readonly Layer[]])[] = [
    [
      "a layer of a file system",
      "SIGNATURE_MALFORMED",
      [good, { mediaType: "application/vnd.oci.image.layer.v1.tar", content: tar }],
    ],
    [
      "the same, before the signature",
      "SIGNATURE_MALFORMED",
      [{ mediaType: "application/vnd.oci.image.layer.v1.tar", content: tar }, good],
    ],
    [
      "a payload without a signature",
      "SIGNATURE_MALFORMED",
      [good, { mediaType: good.mediaType, content: tar }],
    ],
    [
      "anything under the type of a payload, with an annotation that somebody made up",
      "SIGNATURE_UNVERIFIED",
      [good, { ...good, content: tar }],
    ],
    [
      "the same, before the signature, with an annotation that is no base64",
      "SIGNATURE_MALFORMED",
      [{ ...good, content: tar, annotations: { [sigstoreAnnotation]: "?" } }, good],
    ],
    ["the same, by a stranger's key", "SIGNATURE_UNVERIFIED", [good, signedLayer(makeSigstoreKey(), tar)]],
    [
      "a payload that is too long",
      "SIGNATURE_MALFORMED",
      [good, { ...good, content: Buffer.alloc(64 * 1024 + 1) }],
    ],
    [
      "more than clients look at",
      "SIGNATURES_TOO_MANY",
      [good, ...Array.from({ length: 128 }, () => ({ ...good, content: tar }))],
    ],
  ];
  for (const [what, code, layers] of rows) {
    const tag = await attach("p10/pause", digest, attachmentOf([good]));
    t.same([await see("p10/pause", "3.9"), await see("p10/pause", tag)], [200, 200]);
    const mixed = attachmentOf(layers);
    await attach("p10/pause", digest, mixed);
    t.same(
      [await see("p10/pause", tag), await see("p10/pause", mixed.digest), await see("p10/pause", "3.9")],
      [404, 404, 404],
      what,
    );
    const codes = (await events("signature.refused")).map(({ data }) => data as unknown);
    t.match(
      codes.find((data) => (data as { code: string }).code === code),
      { digest },
      code,
    );
  }
});

t.test("a client that looks up a tag of signatures and fetches by its digest gets them", async (t) => {
  const { addKey, api, attach, key, signed, see, image, push, manifest } = await sigstoreRegistry(t);
  await addKey("ci", key.publicPem);
  const { digest } = (await image("p10/pause", "3.9")).manifest;
  const attachment = attachmentOf([signed("p10/pause", digest)]);
  const stranger = attachmentOf([signed("p10/pause", digest, makeSigstoreKey())]);
  await attach("p10/pause", digest, stranger);
  t.equal(await see("p10/pause", stranger.digest), 404, "none of them counts");
  const tag = await attach("p10/pause", digest, attachment);
  t.equal(await see("p10/pause", attachment.digest), 200);
  t.equal(await see("p10/pause", stranger.digest), 404, "no tag of signatures leads to it now");
  const other = { digest: attachment.digest, content: Buffer.from(attachment.manifest) };
  t.equal((await manifest("p10/pause", "latest", other)).status, 201);
  t.equal(await see("p10/pause", "latest"), 404, "by another tag it is an image like any");
  await api("POST", "/keys/ci/revoke", {});
  t.equal(await see("p10/pause", attachment.digest), 404, "its key was revoked");
  await api("DELETE", "/keys/ci");
  await addKey("ci", key.publicPem);
  t.equal(await see("p10/pause", attachment.digest), 200);
  t.equal((await push("DELETE", `/v2/p10/pause/manifests/${tag}`)).status, 202);
  t.equal(await see("p10/pause", attachment.digest), 404, "its tag was removed");
});

t.test("at its start the server looks at all of them anew", async (t) => {
  const before = await sigstoreRegistry(t);
  const { key } = before;
  await before.addKey("ci", key.publicPem);
  const digests: Record<string, string> = {};
  for (const name of ["kept", "lost", "mixed"]) {
    const repository = `p10/${name}`;
    const { digest } = (await before.image(repository, "1", name)).manifest;
    digests[name] = digest;
    const good = before.signed(repository, digest);
    const more: Layer = { mediaType: "application/octet-stream", content: Buffer.from(name) };
    await before.attach(repository, digest, attachmentOf(name === "mixed" ? [good, more] : [good]));
  }
  const rowsOf = (store: typeof before.server.store, name: string) =>
    store.signatures.list(`p10/${name}`, digests[name] ?? "");
  const kept = rowsOf(before.server.store, "kept");
  t.equal(kept.length, 1);
  await before.server.stop();

  const db = new Sqlite(join(before.server.dataDir, "rollcall.db"));
  // An older version would have taken it.
  db.prepare(
    `INSERT INTO image_signatures SELECT 'p10/mixed', ?, format, position, id, fingerprint, 'registry.local/p10/mixed', signed_at_ms,
       expires_at_ms, added_at_ms, added_by, octets FROM image_signatures WHERE repository = 'p10/kept'`,
  ).run(digests["mixed"]);
  // The server ended between the tag's commit and the look at what it leads to.
  db.prepare("DELETE FROM image_signatures WHERE repository = 'p10/lost'").run();
  db.close();

  const after = await sigstoreRegistry(t, { dataDir: before.server.dataDir });
  while (rowsOf(after.server.store, "mixed").length > 0 || rowsOf(after.server.store, "lost").length === 0)
    await after.see("p10/kept", "1");
  t.same(
    [await after.see("p10/kept", "1"), await after.see("p10/lost", "1"), await after.see("p10/mixed", "1")],
    [200, 200, 404],
  );
  t.same(rowsOf(after.server.store, "kept"), kept, "what was right is as it came");
});

t.test("what was remembered of signatures is forgotten though the new ones can't be read", async (t) => {
  let changes = 0;
  let failing = new Error("the disk");
  const found = { digest: "sha256:a", mediaType: "x", sizeBytes: 1, createdAt: 0 };
  const attachments = createAttachments({
    clock: systemClock,
    record: () => undefined,
    store: {
      list: () => [],
      attachments: ({ tag }: { tag: string }) =>
        tag === ""
          ? [{ repository: "a", tag: attachmentTag(`sha256:${"1".repeat(64)}`), manifest: "x" }]
          : [],
    } as unknown as Parameters<typeof createAttachments>[0]["store"],
    registry: {
      findTag: () => found.digest,
      findManifest: () => found,
      findBlob: () => undefined,
    } as unknown as Parameters<typeof createAttachments>[0]["registry"],
    read: () => Promise.reject(failing),
    signers: { all: () => [] },
    signatures: { check: () => undefined, changed: () => void changes++ },
  });
  const tags = [attachmentTag(`sha256:${"1".repeat(64)}`)];
  await t.rejects(attachments.pushed({ repository: "a", digest: "sha256:a", tags, by: "x" }), failing);
  t.ok(changes > 0);
  failing = new Error("the disk again");
  await t.rejects(attachments.examineAll("x"), failing);
});

t.test("a payload by itself is verified whatever stands beside it", async (t) => {
  const { addKey, attach, key, signed, see, image } = await sigstoreRegistry(t);
  await addKey("ci", key.publicPem);
  const { digest } = (await image("p10/pause", "3.9")).manifest;
  const broken = signedLayer(key, "no JSON");
  await attach("p10/pause", digest, attachmentOf([broken, signed("p10/pause", digest), broken]));
  t.equal(await see("p10/pause", "3.9"), 200);
  const stranger = signed("p10/pause", digest, makeSigstoreKey());
  await attach("p10/pause", digest, attachmentOf([stranger, signed("p10/pause", digest), stranger]));
  t.equal(await see("p10/pause", "3.9"), 200, "a stranger's signature is one all the same");
});
