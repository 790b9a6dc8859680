import { spawn } from "node:child_process";
import { createReadStream } from "node:fs";
import { type FileHandle, open, rm, statfs } from "node:fs/promises";
import { dirname } from "node:path";
import type { Readable } from "node:stream";
import { createGunzip } from "node:zlib";
import { ArchiveError, damaged } from "./archive-error.ts";

export type Packing = "xz" | "gzip" | "tar";

/** A set of images for one architecture has one or two GB. */
export const longestArchiveBytes = 256 * 1024 ** 3;
/** Never used up: other programs live on this disk too. */
const reserveBytes = 64 * 1024 ** 2;
/** xz -9 needs 65 MiB to unpack; a header may ask for 4 GiB. */
const xzMemory = "512MiB";

const magics: readonly (readonly [Packing, number, string])[] = [
  ["xz", 0, "\u00fd7zXZ\0"],
  ["gzip", 0, "\u001f\u008b"],
  ["tar", 257, "ustar"],
];

/** What kind of archive a file is, by its first octets. @returns undefined: none that we know */
export async function packingOf(path: string): Promise<Packing | undefined> {
  const file = await open(path, "r");
  try {
    const start = Buffer.alloc(512);
    await file.read(start, 0, start.length, 0);
    return magics.find(([, at, magic]) => start.toString("latin1", at, at + magic.length) === magic)?.[0];
  } finally {
    await file.close();
  }
}

/**
 * Unpacks a compressed file into another one, no larger than the disk has room for: a few KiB may unpack to any size.
 * @throws ArchiveError ARCHIVE_DAMAGED, ARCHIVE_TOO_LARGE, ARCHIVE_DISK_TOO_SMALL, ARCHIVE_TOOL_MISSING, TRANSFER_CANCELLED
 */
export async function decompress(
  source: string,
  packing: Exclude<Packing, "tar">,
  target: string,
  options: {
    readonly maximumBytes?: number;
    readonly signal?: AbortSignal | undefined;
    /** @param doneBytes unpacked so far */
    readonly onProgress?: ((doneBytes: number) => void) | undefined;
  } = {},
): Promise<void> {
  const output = await open(target, "wx", 0o600);
  try {
    const unpacked = packing === "xz" ? xzOutput(source) : gunzipped(source);
    await writeBounded(unpacked, output, source, target, options);
  } catch (error) {
    await rm(target, { force: true });
    throw error;
  } finally {
    await output.close();
  }
}

async function writeBounded(
  content: AsyncIterable<Buffer>,
  output: FileHandle,
  source: string,
  target: string,
  {
    maximumBytes = longestArchiveBytes,
    signal,
    onProgress,
  }: {
    readonly maximumBytes?: number;
    readonly signal?: AbortSignal | undefined;
    readonly onProgress?: ((doneBytes: number) => void) | undefined;
  },
): Promise<void> {
  let written = 0;
  let unchecked = Number.POSITIVE_INFINITY;
  for await (const chunk of content) {
    if (signal?.aborted) throw cancelled();
    unchecked += chunk.length;
    if (unchecked > reserveBytes / 8) {
      unchecked = 0;
      await refuseFullDisk(target, source);
    }
    written += chunk.length;
    if (written > maximumBytes)
      throw new ArchiveError(
        "ARCHIVE_TOO_LARGE",
        `${source} unpacks to more than ${maximumBytes} octets`,
        "No set of images has so many; look at where the archive comes from.",
      );
    await output.writeFile(chunk);
    onProgress?.(written);
  }
}

async function refuseFullDisk(target: string, source: string): Promise<void> {
  const directory = dirname(target);
  const { bavail, bsize } = await statfs(directory);
  if (bavail * bsize > reserveBytes) return;
  throw new ArchiveError(
    "ARCHIVE_DISK_TOO_SMALL",
    `the disk under ${directory} is full, and ${source} is not yet unpacked`,
    "Free space there, or name another directory in the environment: TMPDIR=/srv/tmp boot image import ...",
  );
}

export function cancelled(): ArchiveError {
  return new ArchiveError(
    "TRANSFER_CANCELLED",
    "interrupted",
    "What is in the registry stays there; the same command goes on where this one ended.",
  );
}

async function* gunzipped(source: string): AsyncGenerator<Buffer> {
  const input = createReadStream(source);
  const unpacked = createGunzip();
  input.on("error", (error) => unpacked.destroy(error)).pipe(unpacked);
  try {
    for await (const chunk of unpacked) yield chunk as Buffer;
  } catch (error) {
    throw damaged(source, `it can't be unpacked: ${(error as Error).message}`);
  } finally {
    input.destroy();
  }
}

async function* xzOutput(source: string): AsyncGenerator<Buffer> {
  const words = ["--decompress", "--stdout", `--memlimit-decompress=${xzMemory}`, "--", source];
  const child = spawn("xz", words, { stdio: ["ignore", "pipe", "pipe"], env: plainEnvironment() });
  const ended = endOf(child.stderr, child);
  try {
    for await (const chunk of child.stdout) yield chunk as Buffer;
    const { code, complaint } = await ended;
    if (code === 127) throw xzMissing(source);
    if (code !== 0) throw damaged(source, `xz could not unpack it: ${complaint.trim().split("\n")[0] ?? ""}`);
  } finally {
    child.kill();
    await ended;
  }
}

/** Without the user's XZ_OPT and the like, and in English. */
export function plainEnvironment(): NodeJS.ProcessEnv {
  return { PATH: process.env["PATH"], LC_ALL: "C" };
}

export function xzMissing(file: string): ArchiveError {
  return new ArchiveError(
    "ARCHIVE_TOOL_MISSING",
    `${file} needs the program xz, not found on this machine`,
    "Install the Debian package: apt-get install xz-utils. Or use a .tar or .tar.gz in its place.",
  );
}

/** How a program ended, and what it complained of; 127, like a shell says it, when it is not there. */
export function endOf(
  stderr: Readable,
  child: NodeJS.EventEmitter,
): Promise<{ readonly code: number; readonly complaint: string }> {
  let complaint = "";
  stderr.on("data", (chunk: Buffer) => (complaint = (complaint + chunk.toString()).slice(-4000)));
  return new Promise((done) => {
    child.once("error", () => done({ code: 127, complaint }));
    child.once("close", (code: number | null) => done({ code: code ?? 1, complaint }));
  });
}
