import { createHash, randomBytes } from "node:crypto";
import { mkdirSync, type Stats, statfsSync } from "node:fs";
import { type FileHandle, mkdir, open, readdir, rename, rm, stat } from "node:fs/promises";
import { join } from "node:path";
import type { KeptContent } from "../domain/asset-retention.ts";
import type { EpochMs } from "../domain/capabilities.ts";
import { ContentUnavailable, DiskFull, UploadRejected } from "../domain/error-catalogue.ts";

export interface StoredContent {
  readonly sha256: string;
  readonly sizeBytes: number;
}

/** Free space that is never used up, in octets: the database must be able to go on writing. */
const reserveBytes = 64 * 1024 * 1024;
/** While an upload goes on, free space is looked at once in so many octets: its length may be unknown or a lie. */
const spaceCheckBytes = 8 * 1024 * 1024;
const digestForm = /^(?:[0-9a-f]{64}|[0-9a-f]{128})$/;

/** What tells one file from another under the same name. */
export type FileIdentity = Pick<Stats, "dev" | "ino" | "mtimeMs">;

export type ContentAlgorithm = "sha256" | "sha512";
/** The length of a digest tells which it is. */
const algorithmOf = (hex: string): ContentAlgorithm => (hex.length === 64 ? "sha256" : "sha512");

/**
 * Only a missing file is absent content. Any other fault (no file descriptor left, a broken disk) passes, and a machine that is told
 * "not found" gives up, where one that is told "later" comes again.
 */
function absence(error: unknown, sha256: string): undefined {
  const { code, message } = error as NodeJS.ErrnoException;
  if (code === "ENOENT" || code === "ENOTDIR") return undefined;
  throw ContentUnavailable({ sha256, reason: code ?? message });
}

/**
 * Content by its digest under `<root>/sha256/<first two digits>/<digest>`, or `sha512`: boot assets and the registry's blobs.
 * Order of writes: temporary file, hash, fdatasync, rename, fsync of the directory; so a file under its digest is always whole.
 */
export function createContentStore(root: string) {
  const uploads = join(root, "uploads");
  const quarantine = join(root, "quarantine");
  mkdirSync(uploads, { recursive: true, mode: 0o700 });

  /** Content on its way out: whoever asks for it meanwhile waits until it is gone. */
  const leaving = new Map<string, Promise<void>>();

  function pathOf(sha256: string): string | undefined {
    return digestForm.test(sha256) ? join(root, algorithmOf(sha256), sha256.slice(0, 2), sha256) : undefined;
  }

  async function place(temporary: string, sha256: string): Promise<void> {
    const base = join(root, algorithmOf(sha256));
    const directory = join(base, sha256.slice(0, 2));
    await leaving.get(sha256);
    const made = await mkdir(directory, { recursive: true, mode: 0o700 });
    await rename(temporary, join(directory, sha256));
    // A new directory is lost with its parent's entry after a power cut. At once, for one commit of the file system's journal does all.
    const changed = made === undefined ? [directory] : [directory, base, root];
    await Promise.all(changed.map(syncDirectory));
  }

  async function syncDirectory(directory: string): Promise<void> {
    const handle = await open(directory, "r");
    try {
      await handle.sync();
    } finally {
      await handle.close();
    }
  }

  return {
    /** Path of the content, or undefined for anything that is not a SHA-256 or SHA-512 in lower case. */
    pathOf,

    /** @throws ContentUnavailable when nobody can tell */
    async find(sha256: string): Promise<StoredContent | undefined> {
      const path = pathOf(sha256);
      if (!path) return undefined;
      await leaving.get(sha256);
      try {
        return { sha256, sizeBytes: (await stat(path)).size };
      } catch (error) {
        return absence(error, sha256);
      }
    },

    /** @returns an open file, or undefined when there is no such content @throws ContentUnavailable when it can't be opened now */
    async open(sha256: string): Promise<FileHandle | undefined> {
      const path = pathOf(sha256);
      if (!path) return undefined;
      if (leaving.has(sha256)) await leaving.get(sha256);
      try {
        return await open(path, "r");
      } catch (error) {
        return absence(error, sha256);
      }
    },

    /**
     * Stores a stream. @param expected refuse anything else @param sizeBytes announced size, for the check of free space
     * @throws DiskFull before anything is written, or when the disk fills up; UploadRejected on another digest
     */
    async put(
      source: AsyncIterable<Uint8Array> | Iterable<Uint8Array>,
      {
        expected,
        sizeBytes = 0,
        algorithm = "sha256",
      }: { expected?: string; sizeBytes?: number; algorithm?: ContentAlgorithm } = {},
    ): Promise<StoredContent> {
      refuseWhenFull(sizeBytes);
      const temporary = join(uploads, randomBytes(12).toString("hex"));
      const hash = createHash(algorithm);
      let written = 0;
      let unchecked = 0;
      let handle: FileHandle | undefined;
      try {
        handle = await open(temporary, "wx", 0o600);
        for await (const chunk of source) {
          hash.update(chunk);
          await handle.writeFile(chunk);
          written += chunk.length;
          unchecked += chunk.length;
          if (unchecked < spaceCheckBytes) continue;
          unchecked = 0;
          refuseWhenFull(Math.max(0, sizeBytes - written));
        }
        await handle.datasync();
        await handle.close();
        const sha256 = hash.digest("hex");
        if (expected !== undefined && expected !== sha256)
          throw UploadRejected({ problem: `its ${algorithm} is ${sha256}, and ${expected} was announced` });
        await place(temporary, sha256);
        return { sha256, sizeBytes: written };
      } catch (error) {
        await handle?.close().catch(() => undefined);
        await rm(temporary, { force: true });
        if ((error as NodeJS.ErrnoException).code === "ENOSPC")
          throw DiskFull({ neededBytes: Math.max(sizeBytes, written), freeBytes: freeBytes(), path: root });
        throw error;
      }
    },

    /**
     * Takes over a finished file of the same file system, whose digest was checked and whose octets are on the disk (fdatasync): it is
     * moved, and there after a power cut.
     */
    adopt: (file: string, digest: string): Promise<void> => place(file, digest),

    /** @throws DiskFull when so many octets more would use up the free space */
    refuseWhenFull,

    /**
     * Removes content. Who has it open reads on to its end.
     * @param isWanted is asked in the moment of the removal @returns false when it is wanted, and stays
     */
    async remove(sha256: string, isWanted: () => boolean = () => false): Promise<boolean> {
      const path = pathOf(sha256);
      if (!path) return false;
      await leaving.get(sha256);
      if (isWanted()) return false;
      const gone = rm(path, { force: true }).finally(() => leaving.delete(sha256));
      leaving.set(
        sha256,
        gone.catch(() => undefined),
      );
      await gone;
      return true;
    },

    /**
     * Puts damaged content aside, under `<root>/quarantine`: nobody gets it any more, and it can be looked at.
     * @param seen the file that is damaged: one that came in its place stays
     * @param isWanted is asked in the moment of the removal @returns false when it stays, or is not there
     */
    async setAside(sha256: string, seen: FileIdentity, isWanted: () => boolean): Promise<boolean> {
      const path = pathOf(sha256);
      if (!path) return false;
      await mkdir(quarantine, { recursive: true, mode: 0o700 });
      await leaving.get(sha256);
      if (isWanted()) return false;
      const move = async (): Promise<boolean> => {
        // Whoever brings another file from now on waits until this is over.
        const { dev, ino, mtimeMs } = await stat(path);
        if (dev !== seen.dev || ino !== seen.ino || mtimeMs !== seen.mtimeMs) return false;
        await rename(path, join(quarantine, sha256));
        return true;
      };
      const moving = move().finally(() => leaving.delete(sha256));
      leaving.set(
        sha256,
        moving.then(
          () => undefined,
          () => undefined,
        ),
      );
      return moving.catch((error: unknown) => absence(error, sha256) ?? false);
    },

    /** Removes what was put aside before this. */
    async sweepQuarantine(before: EpochMs): Promise<void> {
      for (const name of await readdir(quarantine).catch(() => [])) {
        const file = join(quarantine, name);
        // A rename changes this time, and not that of the content.
        const found = await stat(file).catch(() => undefined);
        if (found && found.ctimeMs < before) await rm(file, { force: true });
      }
    },

    /** All content of an algorithm. */
    async list(algorithm: ContentAlgorithm = "sha256"): Promise<KeptContent[]> {
      const contents: KeptContent[] = [];
      const base = join(root, algorithm);
      for (const prefix of await readdir(base).catch(() => []))
        for (const sha256 of await readdir(join(base, prefix)).catch(() => [])) {
          const found = digestForm.test(sha256)
            ? await stat(join(base, prefix, sha256)).catch(() => undefined)
            : undefined;
          if (found) contents.push({ sha256, sizeBytes: found.size, changedAt: found.mtimeMs });
        }
      return contents;
    },

    /** Removes what interrupted uploads left behind; called at the start, when nobody uploads. */
    async sweepUploads(): Promise<void> {
      for (const name of await readdir(uploads))
        await rm(join(uploads, name), { recursive: true, force: true });
    },
  };

  function freeBytes(): number {
    const { bavail, bsize } = statfsSync(root);
    return bavail * bsize;
  }
  function refuseWhenFull(sizeBytes: number): void {
    const free = freeBytes();
    if (free < sizeBytes + reserveBytes)
      throw DiskFull({ neededBytes: sizeBytes + reserveBytes, freeBytes: free, path: root });
  }
}
export type ContentStore = ReturnType<typeof createContentStore>;
