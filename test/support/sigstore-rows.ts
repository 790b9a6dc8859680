import type { Signer } from "../../server/domain/signature.ts";
import { readSigstoreKey } from "../../server/signatures/sigstore.ts";
import { type LabImage, makeIndex } from "./signing-lab.ts";
import { attachmentOf, makeSigstoreKey, signedLayer, sigstorePayload } from "./sigstore-lab.ts";
import type { Row } from "./truth-table-rows.ts";

export interface SigstoreImages {
  readonly host: string;
  readonly alias: string;
  readonly one: LabImage;
  readonly two: LabImage;
  readonly both: LabImage;
  /** An OpenPGP signature by somebody who may sign elsewhere, for a name. */
  readonly signGpg: (reference: string) => Promise<Buffer>;
}

const annotation = "dev.cosignproject.cosign/signature";

/** Every kind of signature that cosign could attach to an image. Each key has a namespace of its own. */
export async function sigstoreRows({ host, alias, one, two, both, signGpg }: SigstoreImages) {
  const keys = {
    cora: makeSigstoreKey("P-256"),
    paul: makeSigstoreKey("P-384"),
    edna: makeSigstoreKey("ed25519"),
    rosa: makeSigstoreKey("rsa3072"),
    gone: makeSigstoreKey(),
    tess: makeSigstoreKey(),
    stranger: makeSigstoreKey(),
  };
  const signer = (name: keyof typeof keys, scope: string, more: Partial<Signer> = {}): Signer => ({
    name,
    scopes: [`${host}/${scope}`],
    keys: [readSigstoreKey(keys[name].publicPem)],
    addedAt: 0,
    expiresAt: undefined,
    revokedAt: undefined,
    ...more,
  });
  const signers = [
    signer("cora", "sig"),
    signer("paul", "sig-p384"),
    signer("edna", "sig-ed25519"),
    signer("rosa", "sig-rsa"),
    signer("gone", "sig-closed", { revokedAt: 1 }),
    signer("tess", "sig-tag/image:1.0"),
  ];
  const repository = "sig/image";
  const name = `${host}/${repository}`;
  const plain = sigstorePayload(one.digest, name);
  const critical = JSON.stringify((JSON.parse(plain) as { critical: object }).critical);
  const layer = (payload: string, who: keyof typeof keys = "cora") => signedLayer(keys[who], payload);
  const good = layer(plain);
  const row = (
    what: string,
    accepted: boolean,
    layers: Parameters<typeof attachmentOf>[0],
    more: Partial<Row> = {},
  ) => ({
    name: `cosign: ${what}`,
    repository,
    signatures: [],
    attachment: attachmentOf(layers),
    accepted,
    ...more,
  });
  const payloads = (cases: Readonly<Record<string, string>>, accepted: boolean) =>
    Object.entries(cases).map(([what, payload]) => row(what, accepted, [layer(payload)]));
  const withAnnotations = (annotations: object) => ({ ...good, annotations });
  const changed = Buffer.from(good.content);
  changed[changed.indexOf("image")] = 0x49;
  const signature = (good.annotations as Record<string, string>)[annotation] ?? "";
  const otherKey = (who: keyof typeof keys, scope: string, accepted: boolean) =>
    row(`by ${who}`, accepted, [layer(sigstorePayload(one.digest, `${host}/${scope}/image`), who)], {
      repository: `${scope}/image`,
    });

  const rows: Row[] = [
    row("a good signature, ECDSA P-256", true, [good]),
    row("pulled by digest", true, [good], { tag: false }),
    otherKey("paul", "sig-p384", true),
    otherKey("edna", "sig-ed25519", true),
    otherKey("rosa", "sig-rsa", true),
    otherKey("gone", "sig-closed", false),
    row("no signature", false, []),
    { name: "cosign: no attachment", repository, signatures: [], accepted: false },
    row("by a stranger", false, [layer(plain, "stranger")]),
    row("by a signer outside its scope", false, [layer(plain, "paul")]),
    row("a changed payload", false, [{ ...good, content: changed }]),
    row("a changed signature", false, [signedLayer(keys.cora, plain, signature.replace(/^(.{20})./, "$1A"))]),
    row("no annotation", false, [withAnnotations({})]),
    row("no annotations at all", false, [{ mediaType: good.mediaType, content: good.content }]),
    row("an annotation that is no base64", false, [withAnnotations({ [annotation]: `*${signature}` })]),
    row("an annotation without its padding", false, [
      withAnnotations({ [annotation]: signature.replace(/=+$/, "").slice(0, -1) }),
    ]),
    row("an empty annotation", false, [withAnnotations({ [annotation]: "" })]),
    row("an annotation that is no signature", false, [withAnnotations({ [annotation]: "AAAA" })]),
    row("an annotation with line ends", true, [
      withAnnotations({ [annotation]: `${signature.slice(0, 20)}\r\n${signature.slice(20)}\n` }),
    ]),
    row("an annotation with spaces", false, [
      withAnnotations({ [annotation]: `${signature.slice(0, 20)} ${signature.slice(20)}` }),
    ]),
    row("annotations that are no texts", false, [good, withAnnotations({ more: 1 })]),
    row("a layer of another type", false, [{ ...good, mediaType: "application/vnd.in-toto+json" }]),
    // Clients pass it over; here it would be shown with the signature where only signed images are.
    row(
      "a layer of another type beside it",
      true,
      [{ ...layer("{}"), mediaType: "application/vnd.in-toto+json" }, good],
      { server: false },
    ),
    // The same, under the type of a payload: nobody of ours has signed it, and it is none.
    row("a made-up annotation beside it", true, [{ ...good, content: Buffer.from("a layer") }, good], {
      server: false,
    }),
    row("a layer beside it that no client reads", false, [
      good,
      { mediaType: "application/octet-stream", content: Buffer.alloc(4 * 1024 * 1024 + 1) },
    ]),
    row("two signatures, the second counts", true, [layer(plain, "stranger"), good]),
    row("an index where an image should be", false, [], {
      attachment: makeIndex([{ ...attachmentOf([good]), architecture: "amd64" }]),
    }),
    ...payloads(
      {
        "as skopeo signs": sigstorePayload(one.digest, `${name}:1.0`, {
          creator: "lab",
          timestamp: 1_795_205_327,
        }),
        "of another tag": sigstorePayload(one.digest, `${name}:2.0`),
        "of the digest": sigstorePayload(one.digest, `${name}@${one.digest}`),
        "another member in optional": sigstorePayload(one.digest, name, { more: [{ a: 1 }] }),
        "a timestamp far away": sigstorePayload(one.digest, name, { timestamp: 1e18 }),
        "spaces around the payload": `\n ${plain}\n`,
      },
      true,
    ),
    ...payloads(
      {
        "of another digest": sigstorePayload(two.digest, name),
        "of another repository": sigstorePayload(one.digest, `${host}/sig/other`),
        "of another registry": sigstorePayload(one.digest, "registry.example/sig/image"),
        "of no reference": sigstorePayload(one.digest, "UPPER CASE"),
        "no JSON": "hello",
        "an empty payload": "",
        "something behind the payload": `${plain}{}`,
        "a member twice": plain.replace("{", `{"critical":${critical},`),
        "a member twice in critical": plain.replace(
          '"type"',
          '"type":"cosign container image signature","type"',
        ),
        "another member in critical": plain.replace('"type"', '"more":1,"type"'),
        "another member beside critical": plain.replace("{", '{"more":1,'),
        "without optional": `{"critical":${critical}}`,
        "optional that is a text": plain.replace("null}", '"null"}'),
        "of the type of OpenPGP": plain.replace("cosign container image", "atomic container"),
        "a broken timestamp": sigstorePayload(one.digest, name, { timestamp: 1.5 }),
        "a creator that is a number": sigstorePayload(one.digest, name, { creator: 1 }),
      },
      false,
    ),
    {
      ...row("a payload of 64 KiB and more", true, [
        layer(sigstorePayload(one.digest, name, { more: "x".repeat(64 * 1024) })),
      ]),
      server: false,
    },
    row("an OpenPGP signature in a scope of cosign's", false, [], {
      signatures: [await signGpg(`${name}:1.0`)],
    }),
    row(
      "a signature of cosign's in a scope of OpenPGP",
      false,
      [layer(sigstorePayload(one.digest, `${host}/lab/image`))],
      {
        repository: "lab/image",
      },
    ),
    row(
      "a scope of one tag, of that tag",
      true,
      [layer(sigstorePayload(one.digest, `${host}/sig-tag/image`), "tess")],
      { repository: "sig-tag/image" },
    ),
    row(
      "a scope of one tag, of another",
      false,
      [layer(sigstorePayload(one.digest, `${host}/sig-tag/image`), "tess")],
      { repository: "sig-tag/image", tag: "2.0" },
    ),
    row(
      "pulled by another name, signed with a tag",
      true,
      [layer(sigstorePayload(one.digest, `${name}:1.0`))],
      {
        viaAlias: true,
      },
    ),
    row("pulled by another name, signed without a tag", false, [good], { viaAlias: true }),
    row("signed by another name", false, [layer(sigstorePayload(one.digest, `${alias}/${repository}:1.0`))], {
      viaAlias: true,
    }),
    row("an index whose image is signed", true, [good], { image: "both", tag: "both" }),
    row("an index that is signed, and its image is not", false, [layer(sigstorePayload(both.digest, name))], {
      image: "both",
      tag: "both",
      isOfIndex: true,
    }),
  ];
  return { rows, signers };
}
