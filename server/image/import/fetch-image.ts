import { copyFile, mkdir, rename, rm, stat, writeFile } from "node:fs/promises";
import { basename, isAbsolute, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { createHash } from "node:crypto";
import { imageFileKinds, type ImageFile, type ImageFileKind } from "../../domain/image.ts";
import { ImageError } from "../image-error.ts";
import { type CatalogueEntry, type FileSource, valueAt } from "./catalogue.ts";
import { findDigest, type KnownDigest, readDigest, readDigestList } from "./digest-list.ts";
import { discard, digestsOf, download, type DownloadOptions } from "./download.ts";
import { fetchText } from "./fetch-text.ts";
import { checkSignature } from "./signature.ts";
import { unpackMember, unpackPackage } from "./unpack.ts";

export interface FetchImageOptions {
  readonly entry: CatalogueEntry;
  /** Takes the parts while they come, and in the end the files and image.json. */
  readonly directory: string;
  readonly name: string;
  /** In place of what the entry says. */
  readonly version?: string | undefined;
  /** In place of the entry's base. */
  readonly mirror?: string | undefined;
  /** Digests that the caller knows. */
  readonly digests?: { readonly [kind in ImageFileKind]?: KnownDigest };
  /** Signatures must be good by this keyring. */
  readonly keyring?: string | undefined;
  /** Files without any digest are taken. */
  readonly isUnverifiedAllowed?: boolean;
  readonly download: DownloadOptions;
  readonly onProgress: (
    what: string,
    name: string,
    doneBytes: number,
    totalBytes: number | undefined,
  ) => void;
  /** What was checked, and what could not be. */
  readonly onNote: (text: string) => void;
}

/** A source whose address and digest are known. */
interface Located {
  readonly url: string;
  readonly name: string;
  readonly digest: KnownDigest | undefined;
  readonly signature: string | undefined;
}

const versionForm = /^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$/;

/**
 * Fetches and verifies the files of an image and describes them in image.json. What an earlier call left in the directory is gone on
 * with. @throws ImageError
 */
export async function fetchImage(options: FetchImageOptions): Promise<{ readonly version: string }> {
  const { entry, directory, onProgress } = options;
  await mkdir(directory, { recursive: true, mode: 0o700 });
  const find = await createFinder(options);
  const version = await find.version();

  /** What each file is called by its publisher, once it is there. */
  const loaded = new Map<string, { readonly path: string; readonly name: string }>();
  async function load(key: string, source: FileSource): Promise<{ path: string; name: string }> {
    const known = loaded.get(key);
    if (known !== undefined) return known;
    const { package: packageName, member, of } = source;
    const target = join(directory, `${key}.part`);
    let name = basename(member ?? source.file ?? "");
    if (packageName !== undefined) {
      onProgress("fetching the package", packageName, 0, undefined);
      await unpackPackage(packageName, source.file ?? "", target);
    } else if (member !== undefined && of !== undefined) {
      const outer = entry.archives?.[of] ?? entry.files[of as ImageFileKind];
      if (!outer) throw new Error(`catalogue: no archive ${of}`);
      const { path: archive } = await load(of, outer);
      onProgress("unpacking", basename(member), 0, undefined);
      await unpackMember(archive, member, target, options.download.maximumBytes);
    } else {
      const located = await find.locate(key, source, version);
      name = located.name;
      await fetchVerified(located, target, options);
    }
    const made = { path: target, name };
    loaded.set(key, made);
    return made;
  }

  const files: { [kind in ImageFileKind]?: ImageFile } = {};
  const moves: [from: string, to: string][] = [];
  for (const kind of imageFileKinds) {
    const source = entry.files[kind];
    if (!source) continue;
    const { path, name: from } = await load(kind, source);
    const { sha256 } = await digestsOf(path);
    const name = nameFor(kind, from);
    files[kind] = { name, sha256, sizeBytes: (await stat(path)).size };
    moves.push([path, join(directory, name)]);
  }
  for (const [from, to] of moves) await rename(from, to);
  for (const key of loaded.keys()) await discard(join(directory, `${key}.part`));
  const content = Object.values(files).map((file) => file.sha256);
  const named = version ?? createHash("sha256").update(content.join(" ")).digest("hex").slice(0, 12);
  const image = { name: options.name, version: named, arch: entry.arch, files };
  await writeFile(join(directory, "image.json"), `${JSON.stringify(image, undefined, 2)}\n`);
  return { version: named };
}

/** The name under which machines load it; no two kinds have the same. */
function nameFor(kind: ImageFileKind, from: string): string {
  const plain = from.replaceAll(/[^A-Za-z0-9._-]+/g, "-").slice(0, 80);
  return `${kind}-${plain === "" ? "file" : plain}`;
}

async function fetchVerified(located: Located, target: string, options: FetchImageOptions): Promise<void> {
  const { url, name, digest } = located;
  const isRemote = /^https?:/.test(url);
  if (isRemote && !digest && !options.isUnverifiedAllowed)
    throw new ImageError(
      "IMAGE_UNVERIFIED",
      `nothing tells what ${name} must be: no digest of it is known`,
      "give it with --digest FILE=SHA256 or a list of them with --digests URL; --unverified takes the file as it comes",
    );
  for (let isSecond = false; ; isSecond = true) {
    if (isRemote) {
      const onProgress = (done: number, total: number | undefined) =>
        options.onProgress("loading", name, done, total);
      await download(url, target, { ...options.download, onProgress });
    } else await takeFile(url, target);
    const actual = await digestsOf(target);
    if (!digest || actual[digest.algorithm] === digest.hex) break;
    await discard(target);
    // A part of an earlier call may have been another file's: once more from the beginning.
    if (isRemote && !isSecond) continue;
    throw new ImageError(
      "IMAGE_DIGEST_MISMATCH",
      `${name} has the ${digest.algorithm} ${actual[digest.algorithm]}, and it must have ${digest.hex}`,
      "nothing of it was kept. Try again later or from another mirror: the file and its list of digests may be of different releases, or somebody changed the file",
    );
  }
  if (located.signature !== undefined)
    await checkSignature(
      { file: target, name, signature: located.signature, keyring: options.keyring ?? options.entry.keyring },
      options,
    );
}

async function takeFile(url: string, target: string): Promise<void> {
  const path = url.startsWith("file:") ? fileURLToPath(url) : resolve(url);
  try {
    await copyFile(path, target);
  } catch (error) {
    await rm(target, { force: true });
    const { code, message } = error as NodeJS.ErrnoException;
    if (code === "ENOSPC")
      throw new ImageError(
        "IMAGE_DISK_TOO_SMALL",
        `there is no room for ${path}`,
        "free space, or name another directory with --to DIR",
      );
    throw new ImageError(
      "IMAGE_SOURCE_NOT_FOUND",
      `${path} can't be read: ${code === "ENOENT" ? "it is not there" : message}`,
      "name a file of this machine, or an address that begins with http:// or https://",
    );
  }
}

/** Finds versions, addresses and digests by what the entry says. */
async function createFinder(options: FetchImageOptions) {
  const { entry } = options;
  const base = options.mirror === undefined ? entry.base : options.mirror.replace(/\/*$/, "/");
  const texts = new Map<string, Promise<string>>();
  const textOf = (url: string) => {
    const known = texts.get(url) ?? fetchText(url, options.download);
    texts.set(url, known);
    return known;
  };
  /** Relative to the base; what is whole and lies below the entry's base follows the mirror too. */
  const whole = (address: string): string => {
    const moved =
      entry.base !== undefined && base !== undefined && address.startsWith(entry.base)
        ? address.slice(entry.base.length)
        : address;
    if (/^(https?|file):/.test(moved) || isAbsolute(moved) || base === undefined) return moved;
    return new URL(moved, base).href;
  };
  const index = async (): Promise<unknown> => {
    const url = whole(entry.index ?? "");
    try {
      return JSON.parse(await textOf(url)) as unknown;
    } catch (error) {
      if (error instanceof ImageError) throw error;
      throw new ImageError(
        "IMAGE_INDEX_INVALID",
        `${url} is no JSON`,
        "the publisher changed it; give the files by hand: --kernel, --initrd, --root",
      );
    }
  };
  const missing = (what: string, where: string) =>
    new ImageError(
      "IMAGE_INDEX_INVALID",
      `${where} does not tell ${what}`,
      "the publisher changed it; give the files by hand: --kernel, --initrd, --root, with --digest",
    );
  let listedVersion: string | undefined;

  async function digestList(address: string, url: string, signature: string | undefined): Promise<string> {
    const list = whole(address.replaceAll("{url}", url));
    const text = await textOf(list);
    if (signature !== undefined) {
      const file = join(options.directory, "digests.part");
      await writeFile(file, text);
      const keyring = options.keyring ?? entry.keyring;
      await checkSignature({ file, name: basename(list), signature: whole(signature), keyring }, options);
      await rm(file, { force: true });
    }
    return text;
  }

  async function locate(key: string, source: FileSource, version: string | undefined): Promise<Located> {
    const given = options.digests?.[key as ImageFileKind];
    if (source.path !== undefined) {
      const found = valueAt(await index(), source.path) as Partial<Record<string, unknown>> | undefined;
      const { location, sha256, signature } = found ?? {};
      const digest = typeof sha256 === "string" ? readDigest(sha256) : undefined;
      if (typeof location !== "string" || !digest) throw missing(source.path, entry.index ?? "");
      return {
        url: whole(location),
        name: basename(location),
        digest: given ?? digest,
        signature: typeof signature === "string" ? whole(signature) : undefined,
      };
    }
    if (source.listed !== undefined) {
      const list = source.digests ?? "";
      const pattern = new RegExp(source.listed);
      const lines = readDigestList(await digestList(list, "", source.digestsSignature));
      const names = [...new Set(lines.map((line) => line.name).filter((name) => pattern.test(name)))].sort(
        byVersion,
      );
      const name = names.at(-1);
      if (name === undefined) throw missing(`a file like ${source.listed}`, whole(list));
      return {
        url: new URL(name, whole(list)).href,
        name: basename(name),
        digest: given ?? findDigest(lines, name),
        signature: source.signature && whole(source.signature),
      };
    }
    const url = whole((source.url ?? "").replaceAll("{version}", version ?? ""));
    const name = basename(url.split(/[?#]/)[0] ?? url);
    let digest = given;
    if (!digest && source.digests !== undefined) {
      const lines = readDigestList(await digestList(source.digests, url, source.digestsSignature));
      digest = findDigest(lines, source.url ?? name) ?? findDigest(lines, name);
      if (!digest)
        throw new ImageError(
          "IMAGE_DIGESTS_INVALID",
          `the list of digests ${whole(source.digests.replaceAll("{url}", url))} has no SHA-256 or SHA-512 of ${name}`,
          "look whether it is the list of this release; a digest from elsewhere can be given with --digest",
        );
    }
    return {
      url,
      name,
      digest,
      signature: source.signature && whole(source.signature.replaceAll("{url}", url)),
    };
  }

  return {
    locate,
    /** What is given, else what the entry says of it; undefined: it is made of the content. */
    async version(): Promise<string | undefined> {
      const { version: how } = entry;
      const found =
        options.version ??
        how?.is ??
        (how?.url !== undefined
          ? new RegExp(how.pattern ?? "(\\S+)", "m").exec(await textOf(whole(how.url)))?.[1]
          : how?.path !== undefined
            ? valueAt(await index(), how.path)
            : await versionOfList());
      if (found === undefined && how === undefined) return undefined;
      if (typeof found !== "string" || !versionForm.test(found))
        throw missing("its version", entry.base ?? entry.name);
      return found;
    },
  };

  async function versionOfList(): Promise<string | undefined> {
    for (const source of Object.values(entry.files)) {
      if (source.listed === undefined) continue;
      const { name } = await locate("", source, undefined);
      listedVersion ??= new RegExp(source.listed).exec(name)?.[1];
    }
    return listedVersion;
  }
}

/** 24.04.2 before 24.04.10. */
function byVersion(one: string, other: string): number {
  const key = (name: string) => name.replaceAll(/\d+/g, (digits) => digits.padStart(8, "0"));
  return key(one) < key(other) ? -1 : 1;
}

/** Files and addresses given by hand, as an entry of the catalogue. */
export function entryByHand(given: {
  readonly name: string;
  readonly arch: string;
  readonly files: { readonly [kind in ImageFileKind]?: string };
  readonly digests?: string | undefined;
  readonly signature?: string | undefined;
}): CatalogueEntry {
  const { name, arch, digests, signature } = given;
  const source = (url: string): FileSource => ({
    url: /^[a-z]+:/.test(url) ? url : resolve(url),
    ...(digests === undefined ? {} : { digests: /^[a-z]+:/.test(digests) ? digests : resolve(digests) }),
    ...(signature === undefined
      ? {}
      : { digestsSignature: /^[a-z]+:/.test(signature) ? signature : resolve(signature) }),
  });
  const files = Object.fromEntries(Object.entries(given.files).map(([kind, url]) => [kind, source(url)]));
  return { name, description: "", arch, files };
}
