/** Where one signature lies: `/sigstore/<repository>@<algorithm>=<hex>/signature-<position>`. */
export interface SignaturePlace {
  readonly repository: string;
  /** `sha256:<hex>` */
  readonly digest: string;
  readonly position: number;
}

/** A path as it is meant: escapes read, and double slashes as one. @returns undefined when it is no text */
export function plainPath(path: string): string | undefined {
  let text = path;
  if (text.includes("%"))
    try {
      text = decodeURIComponent(text);
    } catch {
      return undefined;
    }
  return text.includes("//") ? text.replaceAll(/\/{2,}/g, "/") : text;
}

const placeForm =
  /^\/sigstore\/([a-z0-9][a-z0-9._/-]{0,254})@(sha256=[0-9a-f]{64}|sha512=[0-9a-f]{128})\/signature-([1-9][0-9]{0,5})$/;

/** @param path from `plainPath` @returns undefined when no signature can be there */
export function parseSignaturePlace(path: string): SignaturePlace | undefined {
  const [, repository, digest, position] = placeForm.exec(path) ?? [];
  if (repository === undefined || digest === undefined) return undefined;
  return { repository, digest: digest.replace("=", ":"), position: Number(position) };
}
