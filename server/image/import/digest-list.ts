/** A digest by which a file is known. */
export interface KnownDigest {
  readonly algorithm: "sha256" | "sha512";
  /** Lower-case hex. */
  readonly hex: string;
}

export interface DigestLine {
  /** As the list has it, without `./` and `*` in front. */
  readonly name: string;
  readonly digest: KnownDigest;
}

/** @returns undefined for anything that is not a SHA-256 or SHA-512 in hex */
export function readDigest(text: string): KnownDigest | undefined {
  const hex = text.trim().toLowerCase();
  if (!/^[0-9a-f]+$/.test(hex)) return undefined;
  if (hex.length === 64) return { algorithm: "sha256", hex };
  return hex.length === 128 ? { algorithm: "sha512", hex } : undefined;
}

/**
 * Reads a list of digests in the forms that publishers use: `sha256sum`'s (`HEX  name`, `HEX *name`), BSD's (`SHA256 (name) = HEX`),
 * the same with headings between (`# SHA512 HASH`), clear-signed by OpenPGP, and a single digest without a name (then the name is
 * empty). Weaker digests (MD5, SHA-1) are passed over.
 */
export function readDigestList(text: string): readonly DigestLine[] {
  // Under a heading of its own another algorithm may write as many digits (Whirlpool and BLAKE2b have 128).
  let isOurs = true;
  return text.split(/\r?\n/).flatMap((line) => {
    const heading = /^# *([A-Za-z0-9-]+) HASH\s*$/.exec(line)?.[1];
    if (heading !== undefined) isOurs = /^SHA-?(256|512)$/i.test(heading);
    const [, first = "", plainName] = /^([0-9A-Fa-f]{64,128})(?:\s+\*?(.+))?$/.exec(line.trim()) ?? [];
    const [, bsdName, bsdHex = ""] = /^SHA(?:256|512) \((.+)\) = ([0-9A-Fa-f]+)$/.exec(line.trim()) ?? [];
    const digest = readDigest(first === "" ? bsdHex : first);
    return digest && isOurs
      ? [{ name: (plainName ?? bsdName ?? "").replace(/^(\.\/)+/, "").trim(), digest }]
      : [];
  });
}

/**
 * The digest of a file: by its whole name in the list, or by its last part, or the only one of a list without names. SHA-512 goes
 * before SHA-256. @returns undefined where the list has none, or several that contradict each other
 */
export function findDigest(lines: readonly DigestLine[], name: string): KnownDigest | undefined {
  const base = (path: string) => path.split("/").at(-1);
  const exact = lines.filter((line) => line.name === name);
  const byBase = lines.filter((line) => base(line.name) === base(name));
  const nameless = lines.filter((line) => line.name === "");
  const found = [exact, byBase, nameless].find((some) => some.length > 0) ?? [];
  for (const algorithm of ["sha512", "sha256"] as const) {
    const digests = new Set(
      found.filter(({ digest }) => digest.algorithm === algorithm).map(({ digest }) => digest.hex),
    );
    const [hex] = digests;
    if (digests.size > 1) return undefined;
    if (hex !== undefined) return { algorithm, hex };
  }
  return undefined;
}
