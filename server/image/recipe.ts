import { basename } from "node:path";
import { readYaml } from "../yaml/read-yaml.ts";
import { ImageError } from "./image-error.ts";

/** What goes into an image: recipe.yaml as values. The files beside it (overlay/, initramfs/) are found by name. */
export interface Recipe {
  readonly name: string;
  /** The recipe of ours that this one adds to. */
  readonly extends: string | undefined;
  /** Code name of the Debian release. */
  readonly suite: string;
  /** Debian's word for the architecture. */
  readonly architecture: "amd64" | "arm64";
  /** Seconds since 1970; no file in the image is newer. */
  readonly sourceDateEpoch: number;
  readonly packages: readonly string[];
  /** Archive component → packages that are added when the apt sources offer that component. */
  readonly packagesOfComponent: Readonly<Record<string, readonly string[]>>;
  /** Archives beside Debian's own, each with the key that signs it. */
  readonly aptSources: readonly RecipeSource[];
  /** Files of the root, after those of overlay/. */
  readonly files: readonly RecipeFile[];
  /** Programs that no archive of Debian's has, for /usr/bin. */
  readonly programs: RecipePrograms | undefined;
  /** Archives of container images (docker's or OCI's form), for {@link imagesDirectory}. */
  readonly containerImages: readonly RecipeImageArchive[];
  /** dpkg path-exclude patterns. */
  readonly dropPaths: readonly string[];
  /** Folders below /lib/modules/<release>/kernel. */
  readonly dropModules: readonly string[];
  readonly units: {
    readonly enable: readonly string[];
    readonly mask: readonly string[];
    /** Programs of systemd's that make units at every start. */
    readonly maskGenerators: readonly string[];
  };
  readonly squashfs: {
    readonly compression: "zstd" | "xz" | "lz4";
    readonly level: number;
    readonly blockKiB: number;
  };
}

/** What a recipe may put into /usr/bin. */
export const programNames = ["kubeadm", "kubelet", "kubectl", "crictl"] as const;
export type ProgramName = (typeof programNames)[number];

/** In the root: a node's containerd imports what lies there before kubelet starts. */
export const imagesDirectory = "/usr/share/rollcall/images";

export interface RecipePrograms {
  /** Relative to recipe.yaml's. */
  readonly directory: string;
  /** In hex, of each program that is taken. */
  readonly sha256: Readonly<Partial<Record<ProgramName, string>>>;
}

export interface RecipeImageArchive {
  /** Relative to recipe.yaml's directory. */
  readonly file: string;
  readonly sha256: string;
}

export interface RecipeSource {
  readonly uri: string;
  readonly suite: string;
  readonly components: readonly string[];
  /** ASCII-armoured OpenPGP key, a file beside recipe.yaml. */
  readonly key: string;
}

export interface RecipeFile {
  /** In the root. */
  readonly path: string;
  readonly content: string;
  readonly isExecutable: boolean;
}

// Each of these ends up in an argument list or a line-based file; a blank or a newline in it would become something else.
const Shapes = {
  name: /^[a-z0-9][a-z0-9.-]*$/,
  packageName: /^[a-z0-9][a-z0-9+.-]+$/,
  component: /^[a-z][a-z-]*$/,
  path: /^\/[A-Za-z0-9_.*/+-]+$/,
  filePath: /^(\/[A-Za-z0-9_@+-][A-Za-z0-9_.@+-]*|\/\.[A-Za-z0-9_@+-][A-Za-z0-9_.@+-]*)+$/,
  uri: /^(https?|file):\/\/[A-Za-z0-9._~:/@%+-]+$/,
  aptSuite: /^[A-Za-z0-9][A-Za-z0-9._/-]*$/,
  keyFile: /^[A-Za-z0-9][A-Za-z0-9._-]*\.asc$/,
  localPath: /^[A-Za-z0-9_./@+-]+$/,
  archiveFile: /^(?:[A-Za-z0-9_./@+-]*\/)?[A-Za-z0-9][A-Za-z0-9_.@+-]*\.tar$/,
  sha256: /^[0-9a-f]{64}$/,
  moduleFolder: /^[a-z0-9][A-Za-z0-9_/-]*$/,
  unit: /^[A-Za-z0-9@_.-]+\.(service|socket|timer|target|mount|automount|path)$/,
  generator: /^[a-z0-9-]+-generator$/,
} as const;

/**
 * Reads the text of a recipe.yaml.
 *
 * @param shipped the text of one of our recipes, by its name: what `extends` may say
 * @throws ImageError IMAGE_RECIPE_INVALID, naming the key and what is allowed there
 */
export function parseRecipe(
  text: string,
  shipped: (name: string) => string | undefined = () => undefined,
): Recipe {
  const own = readTable(text);
  const parentName = own["extends"] === undefined ? undefined : word(own["extends"], "extends", Shapes.name);
  const parentText = parentName === undefined ? undefined : shipped(parentName);
  if (parentName !== undefined && parentText === undefined)
    throw invalid(`extends names ${parentName}, and we ship no such recipe`, "see server/image/recipes/");
  const parent = parentText === undefined ? undefined : readTable(parentText);
  if (parent?.["extends"] !== undefined)
    throw invalid(`extends names ${parentName}, which extends another recipe itself`, "extend that one");
  const recipe = parent === undefined ? own : inherit(parent, own);
  refuseUnknown(recipe, "", [
    "name",
    "extends",
    "keepModules",
    "suite",
    "architecture",
    "sourceDateEpoch",
    "packages",
    "packagesOfComponent",
    "aptSources",
    "files",
    "programs",
    "containerImages",
    "dropPaths",
    "dropModules",
    "units",
    "squashfs",
  ]);
  const units = table(recipe["units"] ?? {}, "units");
  refuseUnknown(units, "units.", ["enable", "mask", "maskGenerators"]);
  const squashfs = table(recipe["squashfs"] ?? {}, "squashfs");
  refuseUnknown(squashfs, "squashfs.", ["compression", "level", "blockKiB"]);
  const compression = oneOf(squashfs["compression"] ?? "zstd", "squashfs.compression", [
    "zstd",
    "xz",
    "lz4",
  ] as const);
  const keptModules = words(recipe["keepModules"] ?? [], "keepModules", Shapes.moduleFolder);
  const dropModules = words(recipe["dropModules"] ?? [], "dropModules", Shapes.moduleFolder);
  const needless = keptModules.find((folder) => !dropModules.includes(folder));
  if (needless !== undefined)
    throw invalid(`keepModules names ${needless}, which is not dropped`, "take it away, or correct its name");
  return {
    name: word(recipe["name"], "name", Shapes.name),
    extends: parentName,
    suite: word(recipe["suite"], "suite", Shapes.name),
    architecture: oneOf(recipe["architecture"] ?? "amd64", "architecture", ["amd64", "arm64"] as const),
    sourceDateEpoch: integer(recipe["sourceDateEpoch"], "sourceDateEpoch", 0, 4_294_967_295),
    packages: words(recipe["packages"], "packages", Shapes.packageName),
    packagesOfComponent: Object.fromEntries(
      Object.entries(table(recipe["packagesOfComponent"] ?? {}, "packagesOfComponent")).map(
        ([component, names]) => [
          word(component, "packagesOfComponent", Shapes.component),
          words(names, `packagesOfComponent.${component}`, Shapes.packageName),
        ],
      ),
    ),
    aptSources: list(recipe["aptSources"] ?? [], "aptSources").map((item, index) =>
      aptSource(item, `aptSources[${index}]`),
    ),
    files: list(recipe["files"] ?? [], "files").map((item, index) => rootFile(item, `files[${index}]`)),
    programs: recipe["programs"] === undefined ? undefined : programs(recipe["programs"]),
    containerImages: imageArchives(recipe["containerImages"] ?? []),
    dropPaths: words(recipe["dropPaths"] ?? [], "dropPaths", Shapes.path),
    dropModules: dropModules.filter((folder) => !keptModules.includes(folder)),
    units: {
      enable: words(units["enable"] ?? [], "units.enable", Shapes.unit),
      mask: words(units["mask"] ?? [], "units.mask", Shapes.unit),
      maskGenerators: words(units["maskGenerators"] ?? [], "units.maskGenerators", Shapes.generator),
    },
    squashfs: {
      compression,
      level: integer(squashfs["level"] ?? 15, "squashfs.level", 1, 22),
      blockKiB: powerOfTwo(squashfs["blockKiB"] ?? 128, "squashfs.blockKiB"),
    },
  };
}

function readTable(text: string): Record<string, unknown> {
  const { value: document, problems } = readYaml(text);
  const [problem] = problems;
  if (problem !== undefined) {
    throw invalid(`the recipe is not YAML: line ${problem.line}: ${problem.message}`, "correct that line");
  }
  return table(document, "the recipe");
}

/** Lists are those of the parent and what is added, tables are merged key by key, and a value of one's own takes the place of the parent's. */
function inherit(parent: Record<string, unknown>, own: Record<string, unknown>): Record<string, unknown> {
  const isTable = (value: unknown): value is Record<string, unknown> =>
    typeof value === "object" && value !== null && !Array.isArray(value);
  const merged = { ...parent };
  for (const [key, value] of Object.entries(own)) {
    const theirs = parent[key];
    if (Array.isArray(theirs) && Array.isArray(value))
      merged[key] = [...(theirs as unknown[]), ...(value as unknown[])];
    else if (isTable(theirs) && isTable(value)) merged[key] = inherit(theirs, value);
    else merged[key] = value;
  }
  return merged;
}

function aptSource(value: unknown, key: string): RecipeSource {
  const source = table(value, key);
  refuseUnknown(source, `${key}.`, ["uri", "suite", "components", "key"]);
  return {
    uri: word(source["uri"], `${key}.uri`, Shapes.uri),
    suite: word(source["suite"], `${key}.suite`, Shapes.aptSuite),
    components: words(source["components"], `${key}.components`, Shapes.component),
    key: word(source["key"], `${key}.key`, Shapes.keyFile),
  };
}

function rootFile(value: unknown, key: string): RecipeFile {
  const file = table(value, key);
  refuseUnknown(file, `${key}.`, ["path", "content", "executable"]);
  const { content, executable = false } = file;
  if (typeof content !== "string")
    throw invalid(`${key}.content must be a text`, "write it behind `content: |`");
  if (typeof executable !== "boolean")
    throw invalid(`${key}.executable must be true or false`, "leave it away for a plain file");
  return { path: word(file["path"], `${key}.path`, Shapes.filePath), content, isExecutable: executable };
}

function programs(value: unknown): RecipePrograms {
  const read = table(value, "programs");
  refuseUnknown(read, "programs.", ["directory", "sha256"]);
  const digests = table(read["sha256"], "programs.sha256");
  refuseUnknown(digests, "programs.sha256.", programNames);
  return {
    directory: word(read["directory"], "programs.directory", Shapes.localPath),
    sha256: Object.fromEntries(
      Object.entries(digests).map(([name, digest]) => [
        name,
        word(digest, `programs.sha256.${name}`, Shapes.sha256),
      ]),
    ),
  };
}

function imageArchives(value: unknown): readonly RecipeImageArchive[] {
  const archives = list(value, "containerImages").map((item, index) => {
    const key = `containerImages[${index}]`;
    const archive = table(item, key);
    refuseUnknown(archive, `${key}.`, ["file", "sha256"]);
    return {
      file: word(archive["file"], `${key}.file`, Shapes.archiveFile),
      sha256: word(archive["sha256"], `${key}.sha256`, Shapes.sha256),
    };
  });
  const names = archives.map(({ file }) => basename(file));
  const twice = names.find((name, index) => names.indexOf(name) < index);
  if (twice !== undefined)
    throw invalid(`containerImages names two files ${twice}`, "give one of them another name");
  return archives;
}

/** The recipe's packages, with those that the offered archive components make possible. */
export function packagesFor(recipe: Recipe, components: ReadonlySet<string>): readonly string[] {
  const extra = Object.entries(recipe.packagesOfComponent).flatMap(([component, names]) =>
    components.has(component) ? names : [],
  );
  return [...recipe.packages, ...extra];
}

function table(value: unknown, key: string): Record<string, unknown> {
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    throw invalid(
      `${key} must be a table of keys and values`,
      "see server/image/recipes/ for a recipe that works",
    );
  }
  return value as Record<string, unknown>;
}

function refuseUnknown(value: Record<string, unknown>, prefix: string, known: readonly string[]): void {
  const unknown = Object.keys(value).find((key) => !known.includes(key));
  if (unknown !== undefined)
    throw invalid(`unknown key ${prefix}${unknown}`, `allowed here: ${known.join(", ")}`);
}

function word(value: unknown, key: string, shape: RegExp): string {
  if (typeof value !== "string" || !shape.test(value)) {
    throw invalid(
      `${key} has the value ${JSON.stringify(value) ?? "(none)"}`,
      `write text that matches ${String(shape)}`,
    );
  }
  return value;
}

function list(value: unknown, key: string): readonly unknown[] {
  if (!Array.isArray(value))
    throw invalid(`${key} must be a list`, "write one item per line, each after a dash");
  return value;
}

function words(value: unknown, key: string, shape: RegExp): readonly string[] {
  return list(value, key).map((item: unknown, index) => word(item, `${key}[${index}]`, shape));
}

function integer(value: unknown, key: string, least: number, most: number): number {
  if (typeof value !== "number" || !Number.isInteger(value) || value < least || value > most) {
    throw invalid(
      `${key} has the value ${JSON.stringify(value) ?? "(none)"}`,
      `write a whole number from ${least} to ${most}`,
    );
  }
  return value;
}

function powerOfTwo(value: unknown, key: string): number {
  const number = integer(value, key, 4, 1024);
  if ((number & (number - 1)) !== 0)
    throw invalid(`${key} has the value ${number}`, "write a power of two from 4 to 1024");
  return number;
}

function oneOf<T extends string>(value: unknown, key: string, allowed: readonly T[]): T {
  const found = allowed.find((item) => item === value);
  if (found === undefined)
    throw invalid(`${key} has the value ${JSON.stringify(value)}`, `allowed: ${allowed.join(", ")}`);
  return found;
}

function invalid(message: string, advice: string): ImageError {
  return new ImageError("IMAGE_RECIPE_INVALID", message, advice);
}
