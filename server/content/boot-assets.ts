import { createHash } from "node:crypto";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { BootAssetDigestMismatch, BootAssetMissing, BootManifestInvalid } from "../domain/error-catalogue.ts";

/** One line of boot-assets/manifest.json. */
export interface BootAssetEntry {
  readonly name: string;
  readonly arch: string;
  readonly version: string;
  readonly sha256: string;
  /** Where it comes from, e.g. `debian:ipxe:/usr/lib/ipxe/snponly.efi`; the forms are in boot-assets/README.md. */
  readonly source: string;
  /** SHA-256 of the package, for a `source` in Debian's pool: checked before anything is unpacked. */
  readonly packageSha256?: string;
  /** Only some machines need it: where it is missing the others are served, and nobody is troubled. */
  readonly optional?: boolean;
}

export interface BootAsset {
  readonly entry: BootAssetEntry;
  readonly content: Uint8Array;
}

/** A name is one path segment: it is asked for by TFTP and HTTP, and joined to the directory here. */
const nameForm = /^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$/;
const digestForm = /^[0-9a-f]{64}$/;

/** Reads the manifest and, if it is there, the one that `--trust` wrote beside it. @throws BootManifestInvalid */
export function readManifest(directory: string): BootAssetEntry[] {
  return [
    ...(readManifestFile(join(directory, "manifest.json")) ?? []),
    ...(readManifestFile(join(directory, "manifest.local.json")) ?? []),
  ];
}

/** One of the two. @returns undefined when there is no such file @throws BootManifestInvalid */
export function readManifestFile(file: string): BootAssetEntry[] | undefined {
  let manifest: unknown;
  try {
    manifest = JSON.parse(readFileSync(file, "utf8"));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw BootManifestInvalid({ file, problem: (error as Error).message });
  }
  const assets = (manifest as { assets?: unknown } | null)?.assets;
  if (!Array.isArray(assets)) throw BootManifestInvalid({ file, problem: "the list `assets` is missing" });
  for (const [index, entry] of (assets as (Partial<Record<string, unknown>> | null)[]).entries()) {
    const field = ["name", "arch", "version", "sha256", "source"].find(
      (field) => typeof entry?.[field] !== "string",
    );
    if (field !== undefined)
      throw BootManifestInvalid({ file, problem: `assets[${index}]: ${field} is missing` });
    if (!nameForm.test(String(entry?.["name"])))
      throw BootManifestInvalid({
        file,
        problem: `assets[${index}]: name ${JSON.stringify(entry?.["name"])} is not the name of a file in the folder`,
      });
    if (!digestForm.test(String(entry?.["sha256"])))
      throw BootManifestInvalid({
        file,
        problem: `assets[${index}]: sha256 is not 64 lower-case hex digits`,
      });
    const packageSha256 = entry?.["packageSha256"];
    if (packageSha256 !== undefined && !(typeof packageSha256 === "string" && digestForm.test(packageSha256)))
      throw BootManifestInvalid({
        file,
        problem: `assets[${index}]: packageSha256 is not 64 lower-case hex digits`,
      });
    const optional = entry?.["optional"];
    if (optional !== undefined && typeof optional !== "boolean")
      throw BootManifestInvalid({ file, problem: `assets[${index}]: optional is neither true nor false` });
  }
  return assets as BootAssetEntry[];
}

/** Names of the files that lie directly in a directory; none when it is not there. */
export function fileNamesIn(directory: string): string[] {
  try {
    return readdirSync(directory, { withFileTypes: true }).flatMap((entry) =>
      entry.isDirectory() ? [] : [entry.name],
    );
  } catch {
    return [];
  }
}

/**
 * Loads the first-stage binaries that are there and match their digest.
 * @returns what can be served, and what is wrong with the rest, which does not stop the start: other architectures go on
 */
export function loadBootAssets(directory: string): {
  assets: ReadonlyMap<string, BootAsset>;
  problems: Error[];
} {
  const assets = new Map<string, BootAsset>();
  const problems: Error[] = [];
  let entries: BootAssetEntry[] = [];
  try {
    entries = readManifest(directory);
    if (entries.length === 0)
      problems.push(
        BootManifestInvalid({
          file: join(directory, "manifest.json"),
          problem: "it is missing or names nothing",
        }),
      );
  } catch (error) {
    if (!BootManifestInvalid.is(error)) throw error;
    problems.push(error);
  }
  for (const name of new Set(entries.map((entry) => entry.name))) {
    let content: Uint8Array;
    try {
      content = readFileSync(join(directory, name));
    } catch {
      if (!entries.some((entry) => entry.name === name && entry.optional))
        problems.push(BootAssetMissing({ name }));
      continue;
    }
    const actual = createHash("sha256").update(content).digest("hex");
    const known = entries.filter((entry) => entry.name === name);
    const entry = known.find((entry) => entry.sha256 === actual);
    if (entry) assets.set(name, { entry, content });
    else
      problems.push(BootAssetDigestMismatch({ name, expected: known.map((entry) => entry.sha256), actual }));
  }
  return { assets, problems };
}
