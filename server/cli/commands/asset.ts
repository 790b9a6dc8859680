import { createHash } from "node:crypto";
import { copyFileSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import type { Command } from "commander";
import {
  type BootAssetEntry,
  loadBootAssets,
  readManifest,
  readManifestFile,
} from "../../content/boot-assets.ts";
import { BootAssetDigestMismatch } from "../../domain/error-catalogue.ts";
import { root } from "../../platform/checkout.ts";
import { formatBytes } from "../output.ts";
import type { Session } from "../session.ts";
import { createDebianPackages, parseDebianSource } from "../debian-packages.ts";

export interface FillOptions {
  readonly from?: string;
  readonly trust?: boolean;
  /** Say nothing, and fetch nothing, when all that must be there is there. */
  readonly quiet?: boolean;
  /** Default: boot-assets/ of this checkout. */
  readonly directory?: string;
}

const ourDirectory = join(root, "boot-assets");
const digestOf = (path: string) => createHash("sha256").update(readFileSync(path)).digest("hex");

/** Fills boot-assets/ with what the manifest names; a file whose digest nobody knows is refused. */
export async function fillBootAssets(options: FillOptions): Promise<void> {
  const { from, trust = false, quiet = false, directory = ourDirectory } = options;
  const missing = () => {
    const { assets } = loadBootAssets(directory);
    return readManifest(directory).filter(({ name }) => !assets.has(name));
  };
  const isFilled = () =>
    loadBootAssets(directory).problems.length === 0 && missing().every(({ optional }) => quiet && optional);
  if (from === undefined && isFilled()) {
    if (!quiet)
      process.stdout.write("boot-assets/: everything in the manifest is there and has its digest\n");
    return;
  }
  const work = mkdtempSync(join(tmpdir(), "rollcall-assets-"));
  const refused: Error[] = [];
  try {
    const debian = createDebianPackages(work, (what) =>
      process.stdout.write(`fetching ${what} from Debian\n`),
    );
    const places = (entry: BootAssetEntry): Iterable<string> => {
      if (from !== undefined) return [resolve(from, entry.name)];
      const source = parseDebianSource(entry.source);
      return source ? debian.find(source, entry.packageSha256) : [];
    };
    const wanted = from === undefined ? missing() : readManifest(directory);
    for (const entry of new Map(wanted.map((entry) => [entry.name, entry])).values()) {
      const problem = take(directory, entry.name, places(entry), trust);
      if (problem && !entry.optional) refused.push(problem);
    }
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
  const { assets, problems } = loadBootAssets(directory);
  for (const { entry } of assets.values())
    process.stdout.write(`boot-assets/${entry.name}: ${entry.arch}, ${entry.version}\n`);
  for (const { name, arch } of missing().filter(({ optional }) => optional))
    process.stdout.write(`boot-assets/${name}: not there; machines with ${arch} firmware are not served\n`);
  const problem = refused[0] ?? problems[0];
  if (problem) throw problem;
}

/**
 * Copies the first of the files whose digest the manifest knows; with `trust` else the first of all, and records its digest.
 * @returns why a file that is there was not taken
 */
function take(directory: string, name: string, paths: Iterable<string>, trust: boolean): Error | undefined {
  const known = readManifest(directory).filter((entry) => entry.name === name);
  let stranger: { path: string; sha256: string } | undefined;
  for (const path of paths) {
    if (!existsSync(path)) continue;
    const sha256 = digestOf(path);
    if (known.some((entry) => entry.sha256 === sha256)) {
      copyFileSync(path, join(directory, name));
      return undefined;
    }
    stranger ??= { path, sha256 };
  }
  if (!stranger) return undefined;
  const { path, sha256 } = stranger;
  if (!trust)
    return BootAssetDigestMismatch({ name, expected: known.map((entry) => entry.sha256), actual: sha256 });
  copyFileSync(path, join(directory, name));
  recordTrust(directory, {
    name,
    arch: known[0]?.arch ?? "unknown",
    version: "trusted by the administrator",
    sha256,
    source: path,
  });
  return undefined;
}

function recordTrust(directory: string, entry: BootAssetEntry): void {
  const file = join(directory, "manifest.local.json");
  const others = (readManifestFile(file) ?? []).filter(({ name }) => name !== entry.name);
  writeFileSync(file, `${JSON.stringify({ assets: [...others, entry] }, null, 2)}\n`);
}

interface Collection {
  versions: { image: string; version: string }[];
  contents: string[];
  freedBytes: number;
  keptBytes: number;
  maxBytes: number;
  overBytes: number;
}

function collectionText(found: Collection, isDry: boolean): string {
  const { versions, contents, freedBytes, keptBytes, maxBytes, overBytes } = found;
  const verb = isDry ? "Would remove" : "Removed";
  return [
    ...versions.map(({ image, version }) => `${verb} ${image} ${version}.\n`),
    contents.length === 0
      ? "Nothing to remove.\n"
      : `${verb} ${contents.length} files, ${formatBytes(freedBytes)}.\n`,
    `The assets take ${formatBytes(keptBytes)} of ${formatBytes(maxBytes)} (assets.maxBytes).\n`,
    ...(overBytes > 0 ? [`They are ${formatBytes(overBytes)} over it, and all of them are needed.\n`] : []),
  ].join("");
}

export function assetCommands(program: Command, open: () => Session): void {
  const assets = program
    .command("assets")
    .alias("asset")
    .description("first-stage binaries (boot-assets/), and the room that images take");
  assets
    .command("gc")
    .description("remove content that no image names, and old versions while the assets are over their limit")
    .option("--dry-run", "only tell what would go")
    .addHelpText("after", "\nExamples:\n  boot assets gc --dry-run\n  boot assets gc")
    .action(async (options: { dryRun?: boolean }) => {
      const session = open();
      const isDry = options.dryRun ?? false;
      const found = await session.client.post<Collection>("/assets/gc", { dryRun: isDry });
      session.show(found, () => collectionText(found, isDry));
    });
  assets
    .command("fill")
    .description(
      "fill boot-assets/ from Debian's packages (installed or downloaded) or from a directory, and check every sha256",
    )
    .option("--from <dir>", "take the files from this directory")
    .option(
      "--trust",
      "accept files whose digest the manifest does not know, and record it in manifest.local.json",
    )
    .addHelpText("after", "\nExample:\n  npm run boot-assets -- --from ./my-ipxe-build --trust")
    .action((options: FillOptions) => fillBootAssets(options));
  assets
    .command("list")
    .description("what is there")
    .addHelpText("after", "\nExample:\n  boot assets list")
    .action(() => {
      const { assets, problems } = loadBootAssets(ourDirectory);
      for (const { entry } of assets.values())
        process.stdout.write(`${entry.name}  ${entry.arch}  ${entry.version}  ${entry.sha256}\n`);
      for (const problem of problems) process.stdout.write(`${problem.message}\n`);
      if (problems.length > 0) process.exitCode = 1;
    });
}
