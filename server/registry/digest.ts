/** How content is named: OCI image specification, descriptor.md, "Digests". */
export const digestAlgorithms = ["sha256", "sha512"] as const;
export type DigestAlgorithm = (typeof digestAlgorithms)[number];

const hexLength: Readonly<Record<DigestAlgorithm, number>> = { sha256: 64, sha512: 128 };

export interface Digest {
  readonly algorithm: DigestAlgorithm;
  /** Lower case. */
  readonly hex: string;
  /** `sha256:<hex>` */
  readonly text: string;
}

/** @returns undefined for anything but `sha256:` and `sha512:` with as many lower-case hex digits as they have */
export function parseDigest(text: string): Digest | undefined {
  const colon = text.indexOf(":");
  const algorithm = text.slice(0, colon);
  const hex = text.slice(colon + 1);
  if (!isDigestAlgorithm(algorithm) || hex.length !== hexLength[algorithm] || !/^[0-9a-f]+$/.test(hex))
    return undefined;
  return { algorithm, hex, text };
}

export function isDigestAlgorithm(text: string): text is DigestAlgorithm {
  return (digestAlgorithms as readonly string[]).includes(text);
}

/** The hex digits, which are the name in the content store. */
export const hexOf = (digest: string): string => digest.slice(digest.indexOf(":") + 1);
