import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import {
  copyFileSync,
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import type { Command } from "commander";
import { type BootAssetEntry, loadBootAssets, readManifest } from "../../content/boot-assets.ts";
import { BootAssetDigestMismatch } from "../../domain/error-catalogue.ts";
import { root } from "../../platform/checkout.ts";

const directory = join(root, "boot-assets");
/** Where Debian's package puts them. */
const installed = "/usr/lib/ipxe";

export interface FillOptions {
  readonly from?: string;
  readonly trust?: boolean;
  /** Say nothing when all is there. */
  readonly quiet?: boolean;
}

const digestOf = (path: string) => createHash("sha256").update(readFileSync(path)).digest("hex");

/** Fetches Debian's ipxe package without installing it. @returns the directory of its files, or undefined */
function unpackDebianPackage(work: string): string | undefined {
  const run = (command: string, words: string[]) =>
    spawnSync(command, words, { cwd: work, stdio: "ignore" }).status === 0;
  if (!run("apt-get", ["download", "ipxe"])) {
    // A fresh machine has no package lists yet; only root may fetch them.
    if (process.getuid?.() !== 0 || !run("apt-get", ["update"]) || !run("apt-get", ["download", "ipxe"]))
      return undefined;
  }
  const archive = readdirSync(work).find((name) => name.endsWith(".deb"));
  if (!archive || !run("dpkg-deb", ["-x", archive, "tree"])) return undefined;
  // The package's links are absolute (/usr/lib/ipxe/ipxe.efi -> /boot/ipxe.efi).
  const boot = join(work, "tree/boot");
  const files = join(work, "tree", installed);
  for (const name of existsSync(boot) ? readdirSync(boot) : []) {
    rmSync(join(files, name), { force: true });
    copyFileSync(join(boot, name), join(files, name));
  }
  return files;
}

/** Fills boot-assets/ with what the manifest names; a file whose digest nobody knows is refused. */
export async function fillBootAssets({ from, trust, quiet }: FillOptions): Promise<void> {
  const isFilled = () => loadBootAssets(directory).problems.length === 0;
  if (from === undefined && isFilled()) {
    if (!quiet)
      process.stdout.write("boot-assets/: everything in the manifest is there and has its digest\n");
    return;
  }
  const work = mkdtempSync(join(tmpdir(), "rollcall-assets-"));
  try {
    const sources =
      from === undefined ? [() => installed, () => unpackDebianPackage(work)] : [() => resolve(from)];
    for (const source of sources) {
      const files = source();
      if (files && existsSync(files)) copyFrom(files, trust ?? false);
      if (isFilled()) break;
    }
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
  const { assets, problems } = loadBootAssets(directory);
  for (const { entry } of assets.values())
    process.stdout.write(`boot-assets/${entry.name}: ${entry.arch}, ${entry.version}\n`);
  const [problem] = problems;
  if (problem) throw problem;
}

function copyFrom(files: string, trust: boolean): void {
  const entries = readManifest(directory);
  const trusted: BootAssetEntry[] = [];
  for (const name of new Set(entries.map((entry) => entry.name))) {
    const path = join(files, name);
    if (!existsSync(path)) continue;
    const actual = digestOf(path);
    const known = entries.filter((entry) => entry.name === name);
    if (!known.some((entry) => entry.sha256 === actual)) {
      if (!trust)
        throw BootAssetDigestMismatch({ name, expected: known.map((entry) => entry.sha256), actual });
      trusted.push({
        name,
        arch: known[0]?.arch ?? "unknown",
        version: "trusted by the administrator",
        sha256: actual,
        source: path,
      });
    }
    copyFileSync(path, join(directory, name));
  }
  if (trusted.length > 0)
    writeFileSync(
      join(directory, "manifest.local.json"),
      `${JSON.stringify({ assets: trusted }, null, 2)}\n`,
    );
}

export function assetCommands(program: Command): void {
  const assets = program.command("assets").description("first-stage binaries (boot-assets/)");
  assets
    .command("fill")
    .description(
      "fill boot-assets/ from Debian's ipxe package (installed or downloaded) or from a directory, and check every sha256",
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
      const { assets, problems } = loadBootAssets(directory);
      for (const { entry } of assets.values())
        process.stdout.write(`${entry.name}  ${entry.arch}  ${entry.version}  ${entry.sha256}\n`);
      for (const problem of problems) process.stdout.write(`${problem.message}\n`);
      if (problems.length > 0) process.exitCode = 1;
    });
}
