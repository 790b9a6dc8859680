import { createHash } from "node:crypto";
import { createReadStream, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { ImageInvalid } from "../domain/error-catalogue.ts";
import { type ImageFile, type ImageFileKind, imageFileKinds } from "../domain/image.ts";

/** What an import takes from image.json; a build writes more into it. */
export interface ImageJson {
  readonly name: string;
  readonly version: string;
  readonly arch: string;
  readonly files: { readonly kernel: ImageFile } & { readonly [kind in ImageFileKind]?: ImageFile };
}

/** How far the check of a file is. */
export type OnChecked = (file: ImageFile, doneBytes: number) => void;

const text = (shape: RegExp) => (value: unknown) => typeof value === "string" && shape.test(value);

interface Rule {
  readonly fits: (value: unknown) => boolean;
  readonly allowed: string;
}

/** The same shapes as the body of POST /images/import has. */
const imageRules: Readonly<Record<string, Rule>> = {
  name: {
    fits: text(/^[a-z0-9][a-z0-9._-]{0,62}$/),
    allowed: "small letters, digits, dots and hyphens, at most 63",
  },
  version: {
    fits: text(/^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$/),
    allowed: "a text of letters, digits, dots and hyphens, at most 63",
  },
  arch: {
    fits: text(/^(x86_64|arm64|riscv64|x86|arm)$/),
    allowed: "one of x86_64, arm64, riscv64, x86, arm",
  },
};
const fileRules: Readonly<Record<string, Rule>> = {
  name: {
    fits: text(/^[A-Za-z0-9][A-Za-z0-9._-]{0,100}$/),
    allowed: "the name of a file beside image.json",
  },
  sha256: { fits: text(/^[0-9a-f]{64}$/), allowed: "64 hexadecimal digits (sha256sum prints them)" },
  sizeBytes: {
    fits: (value) => Number.isSafeInteger(value) && (value as number) > 0,
    allowed: "a whole number of octets, at least 1",
  },
};

/** Reads image.json. @throws ImageInvalid with the file, the key and what is allowed there */
export function readImageJson(directory: string): ImageJson {
  const file = join(directory, "image.json");
  const invalid = (problem: string) => ImageInvalid({ file, problem });
  let source: string;
  try {
    source = readFileSync(file, "utf8");
  } catch (error) {
    throw invalid(reasonOf(error));
  }
  let value: unknown;
  try {
    value = JSON.parse(source);
  } catch (error) {
    throw invalid(`it is not JSON: ${(error as Error).message.slice(0, 200)}`);
  }
  const image = mapping(value, "the file");
  check(image, imageRules, "");
  const files = mapping(image["files"], "files");
  if (!("kernel" in files)) throw invalid("files.kernel is missing");
  for (const [key, entry] of Object.entries(files)) {
    if (!imageFileKinds.some((kind) => kind === key))
      throw invalid(`unknown key files.${key.slice(0, 60)}; known are ${imageFileKinds.join(", ")}`);
    check(mapping(entry, `files.${key}`), fileRules, `files.${key}.`, true);
  }
  return value as ImageJson;

  function mapping(given: unknown, what: string): Record<string, unknown> {
    if (given === undefined) throw invalid(`${what} is missing`);
    if (typeof given !== "object" || given === null || Array.isArray(given))
      throw invalid(`${what} must be a mapping: {"key": ...}`);
    return given as Record<string, unknown>;
  }
  function check(
    given: Record<string, unknown>,
    rules: Readonly<Record<string, Rule>>,
    prefix: string,
    isClosed = false,
  ): void {
    for (const [key, { fits, allowed }] of Object.entries(rules)) {
      if (given[key] === undefined) throw invalid(`${prefix}${key} is missing; it must be ${allowed}`);
      if (!fits(given[key]))
        throw invalid(`${prefix}${key} is ${JSON.stringify(given[key]).slice(0, 80)}; it must be ${allowed}`);
    }
    const unknown = Object.keys(given).find((key) => isClosed && !(key in rules));
    if (unknown !== undefined)
      throw invalid(
        `unknown key ${prefix}${unknown.slice(0, 60)}; known are ${Object.keys(rules).join(", ")}`,
      );
  }
}

/** Compares a file with what image.json says of it. @returns what is wrong with it; undefined: nothing */
export async function faultOf(
  directory: string,
  file: ImageFile,
  onChecked: OnChecked,
): Promise<string | undefined> {
  const path = join(directory, file.name);
  try {
    const { size } = statSync(path);
    if (size !== file.sizeBytes) return `it has ${size} octets, image.json says ${file.sizeBytes}`;
    const hash = createHash("sha256");
    let done = 0;
    for await (const chunk of createReadStream(path)) {
      hash.update(chunk as Uint8Array);
      onChecked(file, (done += (chunk as Uint8Array).length));
    }
    const actual = hash.digest("hex");
    return actual === file.sha256 ? undefined : `its sha256 is ${actual}, image.json says ${file.sha256}`;
  } catch (error) {
    return reasonOf(error);
  }
}

/** @throws ImageInvalid with the first file that is not what image.json says */
export async function verifyImage(
  directory: string,
  { files }: ImageJson,
  onChecked: OnChecked,
): Promise<void> {
  for (const file of Object.values(files)) {
    const problem = await faultOf(directory, file, onChecked);
    if (problem !== undefined) throw ImageInvalid({ file: join(directory, file.name), problem });
  }
}

/** What a failed look at a file or directory means, in words. */
export function reasonOf(error: unknown): string {
  const { code, message } = error as NodeJS.ErrnoException;
  const words: Readonly<Record<string, string>> = {
    ENOENT: "it is not there",
    ENOTDIR: "a part of its path is no directory",
    EISDIR: "it is a directory",
    EACCES: "permission denied",
  };
  return words[code ?? ""] ?? message;
}
