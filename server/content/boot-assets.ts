import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { BootAssetDigestMismatch, BootAssetMissing } from "../domain/error-catalogue.ts";

/** One line of boot-assets/manifest.json. */
export interface BootAssetEntry {
  readonly name: string;
  readonly arch: string;
  readonly version: string;
  readonly sha256: string;
  /** Where it comes from, e.g. `debian:ipxe:/usr/lib/ipxe/snponly.efi`. */
  readonly source: string;
}

export interface BootAsset {
  readonly entry: BootAssetEntry;
  readonly content: Uint8Array;
}

/** Reads the manifest and, if it is there, the one that `--trust` wrote beside it. */
export function readManifest(directory: string): BootAssetEntry[] {
  return ["manifest.json", "manifest.local.json"].flatMap((name) => {
    try {
      return (JSON.parse(readFileSync(join(directory, name), "utf8")) as { assets: BootAssetEntry[] }).assets;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === "ENOENT") return [];
      throw error;
    }
  });
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
  const entries = readManifest(directory);
  for (const name of new Set(entries.map((entry) => entry.name))) {
    let content: Uint8Array;
    try {
      content = readFileSync(join(directory, name));
    } catch {
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
