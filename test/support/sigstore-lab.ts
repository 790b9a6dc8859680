import { generateKeyPairSync, type KeyObject, sign } from "node:crypto";
import { digestOf, type LabImage } from "./signing-lab.ts";

export interface SigstoreKey {
  readonly privateKey: KeyObject;
  /** As `cosign.pub` has it. */
  readonly publicPem: string;
}

export function makeSigstoreKey(
  type: "P-256" | "P-384" | "ed25519" | "rsa3072" | "rsa1024" = "P-256",
): SigstoreKey {
  const { privateKey, publicKey } =
    type === "ed25519"
      ? generateKeyPairSync("ed25519")
      : type.startsWith("rsa")
        ? generateKeyPairSync("rsa", { modulusLength: Number(type.slice(3)) })
        : generateKeyPairSync("ec", { namedCurve: type });
  return { privateKey, publicPem: publicKey.export({ format: "pem", type: "spki" }) as string };
}

/** A payload as cosign writes it. @param reference of the repository */
export function sigstorePayload(digest: string, reference: string, optional: object | null = null): string {
  return JSON.stringify({
    critical: {
      identity: { "docker-reference": reference },
      image: { "docker-manifest-digest": digest },
      type: "cosign container image signature",
    },
    optional,
  });
}

export interface Layer {
  readonly mediaType: string;
  readonly content: Buffer;
  readonly annotations?: object;
}

const annotation = "dev.cosignproject.cosign/signature";

/** A signature as a layer. @param signature base64; undefined: by the key */
export function signedLayer(
  { privateKey }: SigstoreKey,
  payload: string | Uint8Array,
  signature: string = sign(
    privateKey.asymmetricKeyType === "ed25519" ? null : "sha256",
    Buffer.from(payload),
    privateKey,
  ).toString("base64"),
): Layer {
  return {
    mediaType: "application/vnd.dev.cosign.simplesigning.v1+json",
    content: Buffer.from(payload),
    annotations: { [annotation]: signature },
  };
}

/** The image in which cosign keeps signatures. */
export function attachmentOf(layers: readonly Layer[]): LabImage {
  const mediaType = "application/vnd.oci.image.manifest.v1+json";
  const config = Buffer.from(
    JSON.stringify({
      architecture: "",
      os: "",
      config: {},
      rootfs: { type: "layers", diff_ids: layers.map(({ content }) => digestOf(content)) },
    }),
  );
  const manifest = JSON.stringify({
    schemaVersion: 2,
    mediaType,
    config: {
      mediaType: "application/vnd.oci.image.config.v1+json",
      size: config.length,
      digest: digestOf(config),
    },
    layers: layers.map(({ content, ...layer }) => ({
      ...layer,
      size: content.length,
      digest: digestOf(content),
    })),
  });
  return {
    digest: digestOf(manifest),
    manifest,
    mediaType,
    blobs: new Map([
      [digestOf(config), config],
      ...layers.map(({ content }) => [digestOf(content), content] as const),
    ]),
  };
}
