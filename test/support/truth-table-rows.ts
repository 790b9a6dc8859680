import type { Signer, SignerKey } from "../../server/domain/signature.ts";
import { readPublicKeys } from "../../server/signatures/openpgp.ts";
import { sigstoreRows } from "./sigstore-rows.ts";
import {
  createGpg,
  type LabImage,
  makeImage,
  makeIndex,
  packetsOf,
  payloadFor,
  serveImages,
} from "./signing-lab.ts";

/** One row: what lies beside an image, and whether clients take it. */
export interface Row {
  readonly name: string;
  readonly repository?: string;
  /** Pulled by digest: `false`. */
  readonly tag?: string | false;
  /** Which image it is, `one` unless told otherwise. */
  readonly image?: "one" | "both";
  readonly signatures: readonly Buffer[];
  /** An image with signatures of cosign's, under the tag for those of the image. */
  readonly attachment?: LabImage;
  /** It is under the tag for those of the index. */
  readonly isOfIndex?: true;
  /** Of the children of an index. */
  readonly childSignatures?: readonly Buffer[];
  readonly viaAlias?: boolean;
  /** By clients. */
  readonly accepted: boolean;
  /** By the server, where it is stricter: what it refuses to take no client sees. */
  readonly server?: false;
}

/** Every kind of signature that there is, over a registry that has the images. */
export async function makeTruthTable(t: { teardown(fn: () => void | Promise<void>): unknown }) {
  const gpg = createGpg(t);
  const inThePast = ["--faked-system-time", "20250101T000000"];
  const fingerprints = {
    anna: await gpg.makeKey("anna", "rsa3072"),
    large: await gpg.makeKey("large", "rsa4096"),
    edward: await gpg.makeKey("edward", "ed25519"),
    eva: await gpg.makeKey("eva", "nistp256"),
    nora: await gpg.makeKey("nora", "ed25519"),
    old: await gpg.makeKey("old", "ed25519", { expires: "1m", more: inThePast }),
    lost: await gpg.makeKey("lost", "ed25519"),
    former: await gpg.makeKey("former", "ed25519"),
    branch: await gpg.makeKey("branch", "ed25519"),
    stranger: await gpg.makeKey("stranger", "ed25519"),
    early: await gpg.makeKey("early", "ed25519", { more: inThePast }),
  };
  await gpg.gpg("--quick-add-key", fingerprints.branch, "ed25519", "sign", "never");

  const one = makeImage("one");
  const two = makeImage("two");
  const arm = makeImage("arm", "arm64");
  const both = makeIndex([
    { ...one, architecture: "amd64" },
    { ...arm, architecture: "arm64" },
  ]);
  const tags: Record<string, LabImage> = { "1.0": one, "2.0": one, both };
  const { port } = await serveImages(t, tags, [two, arm]);
  const names = { host: `127.0.0.1:${port}`, aliases: [`localhost:${port}`] };
  const image = `${names.host}/lab/image`;
  const plainPayload = payloadFor(one.digest, `${image}:1.0`);
  const sign = (
    who: keyof typeof fingerprints,
    payload: string | Uint8Array = plainPayload,
    ...more: string[]
  ) => gpg.sign(fingerprints[who], payload, ...more);

  const lost = await sign("lost");
  await gpg.revoke(fingerprints.lost);
  const old = await sign("old", plainPayload, ...inThePast);
  const signer = async (name: keyof typeof fingerprints, more: Partial<Signer> = {}): Promise<Signer> => ({
    name,
    scopes: [names.host],
    keys: await readPublicKeys(await gpg.exportKey(fingerprints[name])),
    addedAt: 0,
    expiresAt: undefined,
    revokedAt: undefined,
    ...more,
  });
  const signers = await Promise.all([
    signer("anna"),
    signer("large"),
    signer("edward"),
    signer("eva"),
    signer("nora", { scopes: [`${names.host}/narrow`, `${names.host}/pair`] }),
    signer("old"),
    signer("lost"),
    signer("former", { scopes: [names.host, `${names.host}/closed`], revokedAt: 1 }),
    signer("branch"),
    signer("early"),
  ]);
  const keys: SignerKey[] = signers.flatMap((one) => one.keys);

  const good = await sign("anna");
  const uncompressed = await sign("anna", plainPayload, "--compress-algo", "none");
  const flipped = (octets: Buffer, at: number) => {
    const copy = Buffer.from(octets);
    copy[at] = (copy[at] ?? 0) ^ 1;
    return copy;
  };
  const critical = JSON.stringify((JSON.parse(plainPayload) as { critical: object }).critical);
  const withCritical = (text: string) => `{"critical":${text},"optional":{}}`;
  const signed = (repository: string, tag = "1.0") =>
    payloadFor(one.digest, `${names.host}/${repository}:${tag}`);
  const [onePass, ...rest] = packetsOf(uncompressed);

  const rows: Row[] = [
    { name: "signed with RSA-3072", signatures: [good], accepted: true },
    { name: "signed with RSA-4096", signatures: [await sign("large")], accepted: true },
    { name: "signed with Ed25519", signatures: [await sign("edward")], accepted: true },
    { name: "signed with ECDSA P-256", signatures: [await sign("eva")], accepted: true },
    { name: "unsigned", signatures: [], accepted: false },
    { name: "signed by a stranger", signatures: [await sign("stranger")], accepted: false },
    { name: "signed by a revoked key", signatures: [lost], accepted: false },
    { name: "signed by a key that has expired since", signatures: [old], accepted: false },
    { name: "signed by a signer who was revoked", signatures: [await sign("former")], accepted: false },
    {
      name: "expired",
      signatures: [
        await sign(
          "early",
          plainPayload,
          "--faked-system-time",
          "20260101T000000",
          "--default-sig-expire",
          "1d",
        ),
      ],
      accepted: false,
    },
    {
      name: "not expired yet",
      signatures: [await sign("anna", plainPayload, "--default-sig-expire", "1d")],
      accepted: true,
    },
    {
      name: "of tomorrow",
      signatures: [await sign("anna", plainPayload, "--faked-system-time", "20270101T000000")],
      accepted: true,
    },
    {
      name: "older than its key",
      signatures: [
        await sign(
          "edward",
          plainPayload,
          "--faked-system-time",
          "20250101T000000",
          "--ignore-time-conflict",
        ),
      ],
      accepted: false,
    },
    {
      name: "with a changed payload",
      signatures: [flipped(uncompressed, uncompressed.indexOf("lab/image"))],
      accepted: false,
    },
    {
      name: "with a changed signature",
      signatures: [flipped(uncompressed, uncompressed.length - 3)],
      accepted: false,
    },
    { name: "cut off", signatures: [uncompressed.subarray(0, -20)], accepted: false },
    { name: "uncompressed", signatures: [uncompressed], accepted: true },
    {
      name: "compressed with zlib",
      signatures: [await sign("anna", plainPayload, "--compress-algo", "zlib")],
      accepted: true,
    },
    {
      name: "compressed with bzip2",
      signatures: [await sign("anna", plainPayload, "--compress-algo", "bzip2")],
      accepted: true,
    },
    { name: "as text", signatures: [await sign("anna", plainPayload, "--textmode")], accepted: true },
    {
      name: "over SHA-1",
      signatures: [await sign("anna", plainPayload, "--digest-algo", "SHA1")],
      accepted: true,
    },
    {
      name: "over SHA-512",
      signatures: [await sign("anna", plainPayload, "--digest-algo", "SHA512")],
      accepted: true,
    },
    {
      name: "over MD5",
      signatures: [await sign("anna", plainPayload, "--digest-algo", "MD5", "--allow-weak-digest-algos")],
      accepted: false,
    },
    { name: "armored", signatures: [await sign("anna", plainPayload, "--armor")], accepted: false },
    { name: "clearsigned", signatures: [await sign("anna", plainPayload, "--clear-sign")], accepted: false },
    { name: "detached", signatures: [await sign("anna", plainPayload, "--detach-sign")], accepted: false },
    {
      name: "by two keys at once",
      signatures: [await sign("anna", plainPayload, "--local-user", fingerprints.edward)],
      accepted: false,
    },
    {
      name: "with its signature before the content",
      signatures: [Buffer.concat([rest[1] ?? Buffer.alloc(0), rest[0] ?? Buffer.alloc(0)])],
      accepted: true,
    },
    { name: "without its one-pass packet", signatures: [Buffer.concat(rest)], accepted: false },
    {
      name: "with a packet behind it that belongs to nothing (RFC 4880, section 11.3)",
      signatures: [Buffer.concat([uncompressed, onePass ?? Buffer.alloc(0)])],
      accepted: true,
      server: false,
    },
    {
      name: "two messages in one",
      signatures: [Buffer.concat([uncompressed, uncompressed])],
      accepted: false,
    },
    { name: "by a subkey", signatures: [await sign("branch")], accepted: false },
    {
      name: "by a primary key that has a subkey",
      signatures: [await gpg.sign(`${fingerprints.branch}!`, plainPayload)],
      accepted: true,
    },
    { name: "of another repository", signatures: [await sign("anna", signed("lab/other"))], accepted: false },
    {
      name: "of another registry",
      signatures: [await sign("anna", payloadFor(one.digest, "registry.example/lab/image:1.0"))],
      accepted: false,
    },
    { name: "of another tag", signatures: [await sign("anna", signed("lab/image", "2.0"))], accepted: false },
    {
      name: "of another tag, pulled by digest",
      tag: false,
      signatures: [await sign("anna", signed("lab/image", "2.0"))],
      accepted: true,
    },
    {
      name: "of another digest",
      signatures: [await sign("anna", payloadFor(two.digest, `${image}:1.0`))],
      accepted: false,
    },
    {
      name: "of the digest, pulled by tag",
      signatures: [await sign("anna", payloadFor(one.digest, `${image}@${one.digest}`))],
      accepted: false,
    },
    {
      name: "of the digest, pulled by digest",
      tag: false,
      signatures: [await sign("anna", payloadFor(one.digest, `${image}@${one.digest}`))],
      accepted: true,
    },
    {
      name: "of the name alone",
      tag: false,
      signatures: [await sign("anna", payloadFor(one.digest, image))],
      accepted: false,
    },
    {
      name: "of no reference",
      signatures: [await sign("anna", payloadFor(one.digest, "UPPER CASE"))],
      accepted: false,
    },
    {
      name: "a member twice in the payload",
      signatures: [await sign("anna", `{"critical":${critical},"critical":${critical},"optional":{}}`)],
      accepted: false,
    },
    {
      name: "a member twice in critical",
      signatures: [
        await sign("anna", withCritical(critical.replace(/}$/, ',"type":"atomic container signature"}'))),
      ],
      accepted: false,
    },
    {
      name: "a member twice in the image",
      signatures: [
        await sign(
          "anna",
          withCritical(
            critical.replace(
              '"docker-manifest-digest"',
              `"docker-manifest-digest":"${one.digest}","docker-manifest-digest"`,
            ),
          ),
        ),
      ],
      accepted: false,
    },
    {
      name: "another member in critical",
      signatures: [await sign("anna", withCritical(critical.replace("{", '{"more":1,')))],
      accepted: false,
    },
    {
      name: "another member beside critical",
      signatures: [await sign("anna", plainPayload.replace("{", '{"more":1,'))],
      accepted: false,
    },
    {
      name: "another member in optional",
      signatures: [await sign("anna", payloadFor(one.digest, `${image}:1.0`, { more: [{ a: 1 }] }))],
      accepted: true,
    },
    {
      name: "without optional",
      signatures: [await sign("anna", `{"critical":${critical}}`)],
      accepted: false,
    },
    {
      name: "of another type",
      signatures: [await sign("anna", plainPayload.replace("atomic container", "other container"))],
      accepted: false,
    },
    {
      name: "with a broken timestamp",
      signatures: [await sign("anna", payloadFor(one.digest, `${image}:1.0`, { timestamp: 1.5 }))],
      accepted: false,
    },
    {
      name: "with a timestamp that is text",
      signatures: [await sign("anna", payloadFor(one.digest, `${image}:1.0`, { timestamp: "1" }))],
      accepted: false,
    },
    {
      name: "with a timestamp of null",
      signatures: [await sign("anna", payloadFor(one.digest, `${image}:1.0`, { timestamp: null }))],
      accepted: true,
    },
    {
      name: "with something behind the payload",
      signatures: [await sign("anna", `${plainPayload}{}`)],
      accepted: false,
    },
    {
      name: "with spaces around the payload",
      signatures: [await sign("anna", `\n ${plainPayload}\n`)],
      accepted: true,
    },
    { name: "no JSON", signatures: [await sign("anna", "hello")], accepted: false },
    { name: "two signers, the second counts", signatures: [await sign("stranger"), good], accepted: true },
    { name: "two signers, both count", signatures: [await sign("edward"), good], accepted: true },
    {
      name: "128 signatures, the last counts",
      signatures: [...Array.from({ length: 127 }, () => lost), good],
      accepted: true,
    },
    {
      name: "by the signer of a narrower scope",
      repository: "narrow/image",
      signatures: [await sign("nora", signed("narrow/image"))],
      accepted: true,
    },
    {
      name: "by the signer of the registry, where a narrower scope has another",
      repository: "narrow/image",
      signatures: [await sign("anna", signed("narrow/image"))],
      accepted: false,
    },
    { name: "by a signer outside its scope", signatures: [await sign("nora")], accepted: false },
    {
      name: "in a scope whose signers are all revoked",
      repository: "closed/image",
      signatures: [await sign("anna", signed("closed/image"))],
      accepted: false,
    },
    { name: "pulled by another name of the registry", viaAlias: true, signatures: [good], accepted: true },
    {
      name: "signed by another name of the registry",
      viaAlias: true,
      signatures: [await sign("anna", payloadFor(one.digest, `${names.aliases[0]}/lab/image:1.0`))],
      accepted: false,
    },
    {
      name: "an index whose image is signed",
      image: "both",
      tag: "both",
      signatures: [],
      childSignatures: [await sign("anna", signed("lab/image", "both"))],
      accepted: true,
    },
    {
      name: "an index that is signed, and its image is not",
      image: "both",
      tag: "both",
      signatures: [await sign("anna", payloadFor(both.digest, `${image}:both`))],
      accepted: false,
    },
  ];

  const cosign = await sigstoreRows({
    host: names.host,
    alias: names.aliases[0] ?? "",
    one,
    two,
    both,
    signGpg: (reference) => sign("anna", payloadFor(one.digest, reference)),
  });
  return {
    rows: [...rows, ...cosign.rows],
    names,
    signers: [...signers, ...cosign.signers],
    keys,
    one,
    both,
    tags,
  };
}
