import type { EpochMs } from "./capabilities.ts";

/**
 * `openpgp`: a signed message beside the registry, of gpg keys ("simple signing"). `sigstore`: an image beside the image, of cosign's keys
 * ("attachment").
 */
export type SignatureFormat = "openpgp" | "sigstore";

/** One key of a signer, as far as a verdict needs it. */
export interface SignerKey {
  readonly format: SignatureFormat;
  /** Hex digits, lower case: 40 of an OpenPGP primary key, or 64 of SHA-256 over a public key of cosign's. */
  readonly fingerprint: string;
  /** `rsa3072`, `ed25519`, `nistp256`: for people. */
  readonly algorithm: string;
  readonly userIds: readonly string[];
  /** Undefined: it does not say so. */
  readonly createdAt: EpochMs | undefined;
  /** As the key says of itself. */
  readonly expiresAt: EpochMs | undefined;
  /** It carries its own revocation. */
  readonly isRevoked: boolean;
  /** Binary transferable public key (RFC 4880, section 11.1), or the DER of a SubjectPublicKeyInfo (RFC 5280, section 4.1). */
  readonly octets: Uint8Array;
}

/** Who may sign images, and which. */
export interface Signer {
  /** Also the name of the file that clients get: `<name>.pgp` or `<name>.pub`. */
  readonly name: string;
  /** What it signs for, as policy.json writes it: `registry.local`, `registry.local/p10`, `registry.local/p10/pause:3.9`. */
  readonly scopes: readonly string[];
  readonly keys: readonly SignerKey[];
  readonly addedAt: EpochMs;
  /** From then on its signatures do not count here, whatever its keys say. */
  readonly expiresAt: EpochMs | undefined;
  readonly revokedAt: EpochMs | undefined;
}

/** What a signature says that a key of ours has made: its envelope, if it has one, and its payload. */
export interface SignedStatement {
  readonly format: SignatureFormat;
  /** Of the key that made it. */
  readonly fingerprint: string;
  /** As it says of itself; where it does not, when it came. */
  readonly signedAt: EpochMs;
  readonly expiresAt: EpochMs | undefined;
  /** `critical.image.docker-manifest-digest` */
  readonly digest: string;
  /** `critical.identity.docker-reference` */
  readonly reference: string;
}

/** One signature of an image as it is kept. */
export interface ImageSignature extends SignedStatement {
  readonly repository: string;
  /** From 1, without gaps, in each format: clients ask for `signature-1`, `signature-2`, … up to the first that is missing. */
  readonly position: number;
  /** SHA-256 of its octets, hex. */
  readonly id: string;
  readonly addedAt: EpochMs;
  readonly addedBy: string;
}

/** As many as containers/image reads (docker_image_src.go): where there are more, it refuses the image. */
export const mostSignatures = 128;
/** Octets of one signature, or of the payload of cosign's; one with RSA-4096 has about 900. */
export const largestSignature = 64 * 1024;

const attachmentForm = /^sha256-([0-9a-f]{64})\.sig$/;

/** The tag under which cosign and containers/image keep signatures of a manifest. @param digest `sha256:<hex>` */
export const attachmentTag = (digest: string): string => `${digest.replace(":", "-")}.sig`;

/** @returns digest of the manifest whose signatures lie under this tag; undefined: it is another tag */
export function attachedTo(tag: string): string | undefined {
  const [, hex] = attachmentForm.exec(tag) ?? [];
  return hex === undefined ? undefined : `sha256:${hex}`;
}
