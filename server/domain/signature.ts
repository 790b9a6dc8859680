import type { EpochMs } from "./capabilities.ts";

/** One OpenPGP key of a signer, as far as a verdict needs it. */
export interface SignerKey {
  /** Of the primary key: 40 hex digits, lower case. */
  readonly fingerprint: string;
  /** `rsa3072`, `ed25519`, `nistp256`: for people. */
  readonly algorithm: string;
  readonly userIds: readonly string[];
  readonly createdAt: EpochMs;
  /** As the key says of itself. */
  readonly expiresAt: EpochMs | undefined;
  /** It carries its own revocation. */
  readonly isRevoked: boolean;
  /** Binary transferable public key (RFC 4880, section 11.1). */
  readonly octets: Uint8Array;
}

/** Who may sign images, and which. */
export interface Signer {
  /** Also the name of the file that clients get: `<name>.pgp`. */
  readonly name: string;
  /** What it signs for, as policy.json writes it: `registry.local`, `registry.local/p10`, `registry.local/p10/pause:3.9`. */
  readonly scopes: readonly string[];
  readonly keys: readonly SignerKey[];
  readonly addedAt: EpochMs;
  /** From then on its signatures do not count here, whatever its keys say. */
  readonly expiresAt: EpochMs | undefined;
  readonly revokedAt: EpochMs | undefined;
}

/** What a signature says that a key of ours has made: its OpenPGP envelope and its payload. */
export interface SignedStatement {
  /** Of the key that made it. */
  readonly fingerprint: string;
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
  /** From 1, without gaps: clients ask for `signature-1`, `signature-2`, … up to the first that is missing. */
  readonly position: number;
  /** SHA-256 of its octets, hex. */
  readonly id: string;
  readonly addedAt: EpochMs;
  readonly addedBy: string;
}

/** As many as containers/image reads (docker_image_src.go): where there are more, it refuses the image. */
export const mostSignatures = 128;
/** Octets of one signature; one with RSA-4096 has about 900. */
export const largestSignature = 64 * 1024;
