/** What the API tells of images, signatures and keys: times in ISO 8601, absent facts null. */

export interface ContainerImage {
  readonly repository: string;
  readonly tag: string;
  readonly digest: string;
  readonly sizeBytes: number | null;
  /** As `boot image list` says it: signed, unsigned, ... */
  readonly state: string;
  readonly signers: readonly string[];
  readonly updatedAt: string | null;
}

export interface SignaturesAnswer {
  readonly items: readonly {
    readonly tag: string | null;
    readonly state: string;
    readonly signatures: readonly {
      readonly format: string;
      readonly signer: string | null;
      readonly fingerprint: string;
      readonly signedAt: string | null;
      readonly expiresAt: string | null;
      readonly accepted: boolean;
      readonly refusal: string | null;
    }[];
  }[];
}

export interface MachineImage {
  readonly name: string;
  readonly version: string;
  readonly arch: string;
  readonly current: boolean;
  readonly addedAt: string;
  readonly sizeBytes: number;
}

export interface ImageRole {
  readonly name: string;
  readonly image: string | null;
}

export interface SignerKey {
  readonly name: string;
  readonly scopes: readonly string[];
  readonly expiresAt: string | null;
  readonly revokedAt: string | null;
  readonly keys: readonly { readonly fingerprint: string; readonly algorithm: string }[];
}

export interface PolicyAnswer {
  readonly others: "refused" | "taken";
  readonly scopes: readonly {
    readonly scope: string;
    readonly needsSignature: boolean;
    readonly signers: readonly string[];
  }[];
  readonly files: readonly { readonly path: string; readonly text: string }[];
}
