import { readFileSync } from "node:fs";
import { join } from "node:path";
import { imageFileKinds, type ImageFileKind } from "../../domain/image.ts";
import { readYaml } from "../../yaml/read-yaml.ts";
import { ImageError } from "../image-error.ts";

/** Where one file comes from; catalogue.yaml describes the keys. */
export interface FileSource {
  readonly url?: string;
  readonly listed?: string;
  readonly path?: string;
  readonly of?: string;
  readonly member?: string;
  readonly package?: string;
  readonly file?: string;
  readonly digests?: string;
  readonly digestsSignature?: string;
  readonly signature?: string;
}

export interface CatalogueEntry {
  readonly name: string;
  readonly description: string;
  readonly arch: string;
  readonly base?: string;
  readonly index?: string;
  readonly version?: {
    readonly url?: string;
    readonly pattern?: string;
    readonly path?: string;
    readonly is?: string;
  };
  readonly archives?: Readonly<Record<string, FileSource>>;
  readonly files: { readonly [kind in ImageFileKind]?: FileSource };
  readonly keyring?: string;
}

export const shippedCatalogue = join(import.meta.dirname, "catalogue.yaml");

const text = (value: unknown) => typeof value === "string" && value !== "" && !/[\r\n\0]/.test(value);
const entryKeys = new Set([
  "description",
  "arch",
  "base",
  "index",
  "version",
  "archives",
  "files",
  "keyring",
]);
const versionKeys = new Set(["url", "pattern", "path", "is"]);
/** A source says in one of these ways where the file is, each with the keys that go with it. */
const ways: readonly (readonly string[])[] = [
  ["url", "digests", "digestsSignature", "signature"],
  ["listed", "digests", "digestsSignature", "signature"],
  ["path"],
  ["member", "of"],
  ["package", "file"],
];

/** @throws ImageError IMAGE_CATALOGUE_INVALID with file, image and key */
export function readCatalogue(file: string = shippedCatalogue): ReadonlyMap<string, CatalogueEntry> {
  const invalid = (problem: string) =>
    new ImageError(
      "IMAGE_CATALOGUE_INVALID",
      `${file}: ${problem}`,
      `see ${shippedCatalogue} for one that works`,
    );
  let source: string;
  try {
    source = readFileSync(file, "utf8");
  } catch (error) {
    throw invalid((error as Error).message);
  }
  const { value, problems } = readYaml(source);
  const [problem] = problems;
  if (problem) throw invalid(`line ${problem.line}: ${problem.message}`);
  const table = (given: unknown, what: string): Record<string, unknown> => {
    if (typeof given !== "object" || given === null || Array.isArray(given))
      throw invalid(`${what} must be a mapping`);
    return given as Record<string, unknown>;
  };
  const texts = (given: unknown, what: string, known: ReadonlySet<string>): Record<string, string> => {
    const found = table(given, what);
    for (const [key, one] of Object.entries(found)) {
      if (!known.has(key)) throw invalid(`${what}: unknown key ${key}; known are ${[...known].join(", ")}`);
      if (!text(one)) throw invalid(`${what}.${key} must be a text`);
    }
    return found as Record<string, string>;
  };
  const fileSource = (given: unknown, what: string): FileSource => {
    const found = texts(given, what, new Set(ways.flat()));
    const way = ways.filter(([first = ""]) => first in found);
    const stray = Object.keys(found).find((key) => !way[0]?.includes(key));
    if (way.length !== 1 || stray !== undefined)
      throw invalid(
        `${what} must have one of ${ways.map(([first]) => first).join(", ")}${stray ? ` and no ${stray}` : ""}`,
      );
    if ("listed" in found && !("digests" in found)) throw invalid(`${what}: listed needs digests`);
    if ("member" in found && !("of" in found)) throw invalid(`${what}: member needs of`);
    if ("package" in found && !("file" in found)) throw invalid(`${what}: package needs file`);
    return found;
  };
  return new Map(
    Object.entries(table(value, "the file")).map(([name, given]) => {
      const entry = table(given, name);
      if (!/^[a-z0-9][a-z0-9._-]{0,62}$/.test(name)) throw invalid(`${name} is no name of an image`);
      const stray = Object.keys(entry).find((key) => !entryKeys.has(key));
      if (stray !== undefined)
        throw invalid(`${name}: unknown key ${stray}; known are ${[...entryKeys].join(", ")}`);
      for (const key of ["description", "arch"])
        if (!text(entry[key])) throw invalid(`${name}.${key} must be a text`);
      for (const key of ["base", "index", "keyring"])
        if (key in entry && !text(entry[key])) throw invalid(`${name}.${key} must be a text`);
      const sources = (given: unknown, what: string) =>
        Object.fromEntries(
          Object.entries(table(given, what)).map(([key, source]) => [
            key,
            fileSource(source, `${what}.${key}`),
          ]),
        );
      const files = sources(entry["files"], `${name}.files`);
      const archives = sources(entry["archives"] ?? {}, `${name}.archives`);
      for (const kind of Object.keys(files))
        if (!imageFileKinds.some((known) => known === kind))
          throw invalid(`${name}.files: unknown key ${kind}; known are ${imageFileKinds.join(", ")}`);
      if (!files["kernel"]) throw invalid(`${name}.files.kernel is missing`);
      for (const { of } of Object.values(files))
        if (of !== undefined && !(of in archives) && (!(of in files) || "member" in (files[of] ?? {})))
          throw invalid(`${name}.files: there is no archive or file ${of} to unpack`);
      if ("version" in entry) texts(entry["version"], `${name}.version`, versionKeys);
      return [name, { ...entry, name, files, archives } as unknown as CatalogueEntry];
    }),
  );
}

/** A place in JSON, like `architectures.x86_64.release`; undefined where there is none. */
export function valueAt(json: unknown, path: string): unknown {
  return path
    .split(".")
    .reduce<unknown>(
      (value, key) =>
        typeof value === "object" && value !== null && Object.hasOwn(value, key)
          ? (value as Record<string, unknown>)[key]
          : undefined,
      json,
    );
}
