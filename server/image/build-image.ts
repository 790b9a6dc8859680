import { createHash } from "node:crypto";
import { constants, createReadStream } from "node:fs";
import {
  access,
  chmod,
  copyFile,
  cp,
  mkdir,
  mkdtemp,
  readFile,
  readdir,
  rename,
  rm,
  stat,
  statfs,
  writeFile,
} from "node:fs/promises";
import { dirname, join } from "node:path";
import { pipeline } from "node:stream/promises";
import { findProgram } from "../platform/find-program.ts";
import type { AptSource } from "./apt-sources.ts";
import {
  armouredKey,
  componentsOf,
  formatSources,
  parseDeb822,
  parseOneLine,
  selectAptOptions,
  selectDebianSources,
} from "./apt-sources.ts";
import { bootstrapCommand, buildEnvironment, squashCommand } from "./build-commands.ts";
import { createProgressReader } from "./build-progress.ts";
import { ImageError } from "./image-error.ts";
import type { ImageFile, ImageManifest } from "./image-manifest.ts";
import { parseRootFacts } from "./image-manifest.ts";
import { addIngredients, type Ingredients } from "./ingredients.ts";
import type { Recipe } from "./recipe.ts";
import { parseRecipe } from "./recipe.ts";
import { readOutput, runPipeline } from "./run-command.ts";

export interface BuildStep {
  readonly step: string;
  /** 0 to 100, never going back. */
  readonly percent: number;
  readonly elapsedMs: number;
}

export interface BuildImageOptions {
  readonly recipeDir: string;
  readonly outputDir: string;
  /** Beside those of the recipe; a program of both is taken from here. */
  readonly ingredients?: Ingredients;
  readonly onProgress?: (step: BuildStep) => void;
  /** Every line that the tools print, for a log file or --verbose. */
  readonly onLog?: (line: string) => void;
  readonly signal?: AbortSignal;
  /** Where the root is put together. /tmp is memory on many machines, so the default is /var/tmp. */
  readonly workDir?: string;
  /** Milliseconds since 1970. */
  readonly now?: () => number;
}

/** Room for the unpacked root and the packages while they are installed, of a desktop as well. */
const WorkBytes = 3 * 1024 ** 3;
const OutputBytes = 500 * 1024 ** 2;
const ShippedRecipes = join(import.meta.dirname, "recipes");
const FinishScript = join(import.meta.dirname, "finish-root.sh");
const DefaultMirror = "http://deb.debian.org/debian";
const DebianKeyring = "/usr/share/keyrings/debian-archive-keyring.gpg";

/**
 * Builds the image of a recipe: outputDir/{vmlinuz,initrd.img,root.squashfs,image.json}. What lay there before is
 * replaced only when everything is made.
 *
 * @throws ImageError with a code and an advice
 */
export async function buildImage(options: BuildImageOptions): Promise<ImageManifest> {
  const now = options.now ?? Date.now;
  const beganAt = now();
  let percentSaid = 0;
  const report = (step: string, percent: number): void => {
    percentSaid = Math.max(percentSaid, percent);
    options.onProgress?.({ step, percent: percentSaid, elapsedMs: now() - beganAt });
  };

  report("checking tools and disk", 0);
  const recipe = await readRecipe(options.recipeDir);
  const mode = process.getuid?.() === 0 ? "root" : "unshare";
  await requireTools(mode);
  const workDir = options.workDir ?? "/var/tmp";
  await requireSpace(workDir, WorkBytes);
  await prepareOutput(options.outputDir);
  await requireSpace(options.outputDir, OutputBytes);

  const stageDir = await mkdtemp(join(workDir, "rollcall-image-"));
  const partDir = await mkdtemp(join(options.outputDir, ".part-"));
  try {
    const sources = selectDebianSources(await readAptSources("/etc/apt"), recipe.suite);
    await addIngredients(join(stageDir, "overlay"), options.recipeDir, recipe);
    if (options.ingredients) await addIngredients(join(stageDir, "overlay"), ".", options.ingredients);
    await fillStage(stageDir, options.recipeDir, recipe, [
      ...sources,
      ...(await readOwnSources(options.recipeDir, recipe)),
    ]);
    const squashFile = join(partDir, "root.squashfs");
    const aptDump = (await readOutput({ program: "apt-config", args: ["dump"] })) ?? "";
    const bootstrap = bootstrapCommand(recipe, {
      mode,
      stageDir,
      // Without Debian's archive mmdebstrap takes its own choice of it, and the file with the rest.
      sourcesFiles: [
        ...(sources.length > 0 ? [] : [recipe.aptSources.length > 0 ? DefaultMirror : undefined]),
        ...(sources.length + recipe.aptSources.length > 0 ? [join(stageDir, "debian.sources")] : []),
      ].filter((file) => file !== undefined),
      components: componentsOf(sources),
      aptOptions: selectAptOptions(aptDump),
    });
    const squash = squashCommand(recipe, squashFile, mode);

    const readProgress = createProgressReader();
    const result = await runPipeline(bootstrap, squash, {
      env: buildEnvironment(recipe, process.env, stageDir),
      signal: options.signal,
      onLine: (line) => {
        options.onLog?.(line);
        const progress = readProgress(line);
        if (progress !== undefined) report(progress.step, progress.percent);
      },
    });
    if (result.isCancelled) throw cancelled();
    if (result.failure !== undefined) {
      throw buildFailed(result.failure.program, result.failure.exitCode, result.failure.tail);
    }

    report("computing digests", 98);
    const facts = parseRootFacts(await readFile(join(stageDir, "facts"), "utf8"));
    if (facts === undefined)
      throw buildFailed("finish-root.sh", 0, ["the facts about the root are incomplete"]);
    // Not rename: the stage may lie on another file system.
    for (const name of ["vmlinuz", "initrd.img"]) await copyFile(join(stageDir, name), join(partDir, name));
    const files = {
      kernel: await describeFile(partDir, "vmlinuz"),
      initrd: await describeFile(partDir, "initrd.img"),
      rootfs: await describeFile(partDir, "root.squashfs"),
    };
    const contentDigest = createHash("sha256")
      .update(`${files.kernel.sha256} ${files.initrd.sha256} ${files.rootfs.sha256}`)
      .digest("hex");
    const manifest: ImageManifest = {
      name: recipe.name,
      version: `${facts.debianVersion}-${contentDigest.slice(0, 12)}`,
      arch: recipe.architecture === "amd64" ? "x86_64" : "arm64",
      kernelRelease: facts.kernelRelease,
      packages: facts.packages,
      files,
      builtAt: new Date(now()).toISOString(),
    };
    await writeFile(join(partDir, "image.json"), `${JSON.stringify(manifest, undefined, 2)}\n`);
    // image.json last: who finds a new one finds the files that it names.
    for (const name of ["vmlinuz", "initrd.img", "root.squashfs", "image.json"]) {
      await chmod(join(partDir, name), 0o644);
      await rename(join(partDir, name), join(options.outputDir, name));
    }
    report("done", 100);
    return manifest;
  } finally {
    await rm(partDir, { recursive: true, force: true });
    await removeStage(stageDir);
  }
}

async function readRecipe(recipeDir: string): Promise<Recipe> {
  const file = join(recipeDir, "recipe.yaml");
  let text: string;
  try {
    text = await readFile(file, "utf8");
  } catch (error) {
    throw new ImageError("IMAGE_RECIPE_INVALID", `failed to read ${file}`, "give the directory of a recipe", {
      cause: error,
    });
  }
  const texts = new Map<string, string>();
  for (const { name } of await readdir(ShippedRecipes, { withFileTypes: true }))
    texts.set(name, await readFile(join(ShippedRecipes, name, "recipe.yaml"), "utf8"));
  return parseRecipe(text, (name) => texts.get(name));
}

async function requireTools(mode: "root" | "unshare"): Promise<void> {
  const packageOfTool = new Map([
    ["mmdebstrap", "mmdebstrap"],
    ["mksquashfs", "squashfs-tools"],
    ["apt-get", "apt"],
    ...(mode === "unshare" ? ([["newuidmap", "uidmap"]] as const) : []),
  ]);
  const missing: string[] = [];
  for (const tool of packageOfTool.keys()) if (findProgram(tool) === undefined) missing.push(tool);
  if (missing.length === 0) return;
  throw new ImageError(
    "IMAGE_TOOL_MISSING",
    `building an image needs ${missing.join(" and ")}, not found on this machine`,
    `install the Debian packages: apt-get install ${missing.map((tool) => packageOfTool.get(tool)).join(" ")}`,
  );
}

async function requireSpace(directory: string, neededBytes: number): Promise<void> {
  const { bavail, bsize } = await statfs(directory);
  const freeBytes = bavail * bsize;
  if (freeBytes >= neededBytes) return;
  const mib = (bytes: number): number => Math.floor(bytes / 1024 ** 2);
  throw new ImageError(
    "IMAGE_DISK_TOO_SMALL",
    `${directory} has ${mib(freeBytes)} MiB free, the build needs ${mib(neededBytes)} MiB`,
    `free space there or name another directory`,
  );
}

async function prepareOutput(outputDir: string): Promise<void> {
  try {
    await mkdir(outputDir, { recursive: true });
    await access(outputDir, constants.W_OK);
  } catch (error) {
    throw new ImageError(
      "IMAGE_OUTPUT_NOT_WRITABLE",
      `failed to write to ${outputDir}`,
      "name a directory that you may write to",
      {
        cause: error,
      },
    );
  }
}

async function readAptSources(aptDir: string): Promise<readonly AptSource[]> {
  const listDir = join(aptDir, "sources.list.d");
  const names = (await readdir(listDir).catch(() => [])).sort().map((name) => join(listDir, name));
  const sources: AptSource[] = [];
  for (const file of [join(aptDir, "sources.list"), ...names]) {
    const parseFile = file.endsWith(".sources")
      ? parseDeb822
      : file.endsWith(".list")
        ? parseOneLine
        : undefined;
    if (parseFile === undefined) continue;
    sources.push(...parseFile(await readFile(file, "utf8").catch(() => "")));
  }
  return sources;
}

/** Everything that the programs read, in one place that they can read whatever the rights of the checkout are. */
async function fillStage(
  stageDir: string,
  recipeDir: string,
  recipe: Recipe,
  sources: readonly AptSource[],
): Promise<void> {
  await chmod(stageDir, 0o755);
  await mkdir(join(stageDir, "tmp"));
  // In unshare mode another user id works in here.
  await chmod(join(stageDir, "tmp"), 0o1777);
  for (const part of ["overlay", "initramfs"]) {
    await mkdir(join(stageDir, part), { recursive: true });
    for (const from of recipe.extends === undefined
      ? [recipeDir]
      : [join(ShippedRecipes, recipe.extends), recipeDir])
      await cp(join(from, part), join(stageDir, part), { recursive: true, verbatimSymlinks: true }).catch(
        (error: unknown) => {
          if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw error;
        },
      );
    if (part === "overlay") await writeOwnFiles(join(stageDir, part), recipe);
    await openRights(join(stageDir, part));
  }
  await copyFile(FinishScript, join(stageDir, "finish-root.sh"));
  await chmod(join(stageDir, "finish-root.sh"), 0o755);
  await writeFile(join(stageDir, "debian.sources"), formatSources(sources, DebianKeyring), { mode: 0o644 });
  for (const list of ["enable", "mask", "maskGenerators"] as const) {
    await writeFile(join(stageDir, `units.${list}`), recipe.units[list].map((unit) => `${unit}\n`).join(""), {
      mode: 0o644,
    });
  }
}

/** The archives that the recipe itself names, each held to its own key. */
async function readOwnSources(recipeDir: string, recipe: Recipe): Promise<readonly AptSource[]> {
  return Promise.all(
    recipe.aptSources.map(async ({ uri, suite, components, key }) => ({
      uris: [uri],
      suites: [suite],
      components,
      signedBy: armouredKey(key, await readFile(join(recipeDir, key), "utf8").catch(() => "")),
    })),
  );
}

async function writeOwnFiles(overlay: string, recipe: Recipe): Promise<void> {
  for (const { path, content, isExecutable } of recipe.files) {
    const target = join(overlay, path);
    await mkdir(dirname(target), { recursive: true });
    await writeFile(target, content, { mode: isExecutable ? 0o755 : 0o644 });
  }
}

/** A checkout made with a strict umask must not give an image whose files nobody can read. */
async function openRights(directory: string): Promise<void> {
  await chmod(directory, 0o755);
  for (const entry of await readdir(directory, { withFileTypes: true })) {
    const path = join(directory, entry.name);
    if (entry.isDirectory()) await openRights(path);
    else if (entry.isFile()) await chmod(path, ((await stat(path)).mode & 0o100) === 0 ? 0o644 : 0o755);
  }
}

async function describeFile(directory: string, name: string): Promise<ImageFile> {
  const hash = createHash("sha256");
  await pipeline(createReadStream(join(directory, name)), hash);
  return { name, sha256: hash.digest("hex"), sizeBytes: (await stat(join(directory, name))).size };
}

async function removeStage(stageDir: string): Promise<void> {
  // A build that was killed can leave /dev or /proc mounted in its root: then removing files would remove the host's.
  const mounts = await readFile("/proc/self/mountinfo", "utf8").catch(() => "");
  if (mounts.includes(` ${stageDir}/`)) return;
  // In unshare mode a killed build leaves files of other user ids; what can't be removed stays in the temporary directory.
  await rm(stageDir, { recursive: true, force: true }).catch(() => undefined);
}

function cancelled(): ImageError {
  return new ImageError(
    "IMAGE_BUILD_CANCELLED",
    "the build was cancelled",
    "nothing was changed; start it again when you like",
  );
}

function buildFailed(program: string, exitCode: number | null, tail: readonly string[]): ImageError {
  const ended = exitCode === null ? "was ended by a signal" : `ended with exit code ${exitCode}`;
  return new ImageError(
    "IMAGE_BUILD_FAILED",
    `${program} ${ended}; the last lines it printed:\n${tail.map((line) => `  ${line}`).join("\n")}`,
    "read the lines above: most often the mirror is out of reach, a package has another name, or the disk is full",
  );
}
