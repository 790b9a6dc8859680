import { createReadStream } from "node:fs";
import { type FileHandle, mkdtemp, open, readdir, realpath, rm, stat } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, sep } from "node:path";
import { ArchiveError, damaged } from "./archive-error.ts";
import { decompress, packingOf } from "./decompress.ts";
import { collect, longestManifestBytes } from "./manifest.ts";
import { indexTar } from "./tar-index.ts";

/** The files of an archive, wherever they lie. Names have slashes and never begin with one. */
export interface ArchiveFiles {
  /** For messages: the file or directory as it was named. */
  readonly place: string;
  /** Octets of a file; undefined: there is none of that name. */
  sizeOf(name: string): Promise<number | undefined>;
  /** Of a file that is there. */
  read(name: string): AsyncIterable<Uint8Array>;
  /** Names of what lies at the top, in their order. */
  top(): Promise<readonly string[]>;
  close(): Promise<void>;
}

export interface OpenOptions {
  readonly signal?: AbortSignal | undefined;
  readonly onUnpacking?: ((doneBytes: number) => void) | undefined;
  readonly maximumBytes?: number;
}

const readBytes = 1024 ** 2;

/**
 * Opens a directory, or a tar archive, also one packed by xz or gzip: that is unpacked into one temporary file, as tar, and never further.
 * @throws ArchiveError ARCHIVE_NOT_READABLE, ARCHIVE_UNKNOWN, and those of `decompress` and `indexTar`
 */
export async function openArchive(path: string, options: OpenOptions = {}): Promise<ArchiveFiles> {
  try {
    if ((await stat(path)).isDirectory()) return await openDirectory(path);
    const packing = await packingOf(path);
    if (packing === undefined)
      throw new ArchiveError(
        "ARCHIVE_UNKNOWN",
        `${path} is neither a tar archive nor one packed by xz or gzip`,
        "An archive of images is what podsec-save-oci, `docker save`, `podman save` or `skopeo copy ... oci-archive:FILE` make.",
      );
    if (packing === "tar") return await openTar(path, path, undefined);
    const work = await mkdtemp(join(tmpdirFor(), "rollcall-archive-"));
    try {
      const tar = join(work, "archive.tar");
      await decompress(path, packing, tar, { ...options, onProgress: options.onUnpacking });
      return await openTar(path, tar, work);
    } catch (error) {
      await rm(work, { recursive: true, force: true });
      throw error;
    }
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    if (error instanceof ArchiveError || code === undefined) throw error;
    throw new ArchiveError(
      "ARCHIVE_NOT_READABLE",
      `${path} can't be read: ${code === "ENOENT" ? "it is not there" : code === "EACCES" ? "permission denied" : message}`,
      "Look at the path and at who may read it.",
    );
  }
}

/** Not /tmp where nobody says otherwise: that may be memory, and an archive has gigabytes. */
export function tmpdirFor(): string {
  return process.env["TMPDIR"] === undefined ? "/var/tmp" : tmpdir();
}

async function openTar(place: string, tar: string, work: string | undefined): Promise<ArchiveFiles> {
  const file: FileHandle = await open(tar, "r");
  const close = async () => {
    await file.close();
    if (work !== undefined) await rm(work, { recursive: true, force: true });
  };
  try {
    const index = await indexTar(file, (await file.stat()).size, place);
    return {
      place,
      close,
      sizeOf: async (name) => index.find(name)?.size,
      top: async () => [...new Set([...index.files.keys()].map((name) => name.split("/")[0] ?? ""))].sort(),
      async *read(name) {
        const { offset = 0, size = 0 } = index.find(name) ?? {};
        for (let done = 0; done < size;) {
          const chunk = Buffer.allocUnsafe(Math.min(readBytes, size - done));
          const { bytesRead } = await file.read(chunk, 0, chunk.length, offset + done);
          // Cut by somebody while it is read: its digest will tell.
          if (bytesRead === 0) return;
          done += bytesRead;
          yield chunk.subarray(0, bytesRead);
        }
      },
    };
  } catch (error) {
    await close();
    throw error;
  }
}

async function openDirectory(place: string): Promise<ArchiveFiles> {
  const root = await realpath(place);
  /** @returns undefined: no file, @throws ArchiveError for a link that leads out */
  const inside = async (name: string): Promise<string | undefined> => {
    const path = await realpath(join(root, name)).catch((error: NodeJS.ErrnoException) => {
      if (error.code === "ENOENT" || error.code === "ENOTDIR") return undefined;
      throw error;
    });
    if (path === undefined) return undefined;
    if (!path.startsWith(root === sep ? sep : `${root}${sep}`))
      throw new ArchiveError(
        "ARCHIVE_REFUSED",
        `${join(place, name)} leads out of the directory, to ${path}`,
        "Copy the file itself in the link's place, if it belongs to the images.",
      );
    return (await stat(path)).isFile() ? path : undefined;
  };
  return {
    place,
    async sizeOf(name) {
      const path = await inside(name);
      return path === undefined ? undefined : (await stat(path)).size;
    },
    top: async () => (await readdir(root)).sort(),
    async *read(name) {
      const path = await inside(name);
      if (path !== undefined) yield* createReadStream(path, { highWaterMark: readBytes });
    },
    close: async () => undefined,
  };
}

/** The index of a set has a descriptor for each image. */
const longestIndexBytes = longestManifestBytes * 4;

/** A file that is read as a whole. @throws ArchiveError ARCHIVE_DAMAGED, ARCHIVE_TOO_LARGE */
export async function readSmall(files: ArchiveFiles, name: string): Promise<Buffer> {
  const size = await files.sizeOf(name);
  if (size === undefined) throw damaged(files.place, `${name.slice(0, 300)} is not in it`);
  if (size <= longestIndexBytes) return collect(files.read(name));
  throw new ArchiveError(
    "ARCHIVE_TOO_LARGE",
    `${files.place}: ${name.slice(0, 300)} has ${size} octets, more than ${longestIndexBytes}`,
    "This is no archive of images; look at where it comes from.",
  );
}
