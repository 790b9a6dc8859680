import { spawn } from "node:child_process";
import { copyFile, type FileHandle, mkdtemp, open, readdir, rm, stat } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, normalize } from "node:path";
import { ImageError } from "../image-error.ts";
import { largestFileBytes, refuseTooMuch, reserveBytes } from "./download.ts";

/** Far below the reserve: the disk is not full when it is looked at next. */
const checkedEveryBytes = reserveBytes / 8;

/**
 * Unpacks one file out of an archive: a tarball by tar, an ISO image by bsdtar, which reads both. Only its content is taken, so that
 * nothing in the archive can be written anywhere else, and only so much of it as the disk has room for: a few KiB may unpack to any size.
 * @throws ImageError IMAGE_TOOL_MISSING, IMAGE_ARCHIVE_INVALID, IMAGE_SOURCE_TOO_LARGE, IMAGE_DISK_TOO_SMALL
 */
export async function unpackMember(
  archive: string,
  member: string,
  target: string,
  maximumBytes = largestFileBytes,
): Promise<void> {
  const isIso = await hasIsoMark(archive);
  const program = isIso ? "bsdtar" : "tar";
  const names = isIso ? [member] : [member, `./${member}`];
  let complaint = "";
  for (const name of names) {
    const output = await open(target, "w", 0o600);
    try {
      const result = await run(program, ["-xOf", archive, name], (content) =>
        writeBounded(content, output, `${member} of ${archive}`, target, maximumBytes),
      );
      if (result.code === 127)
        throw new ImageError(
          "IMAGE_TOOL_MISSING",
          `unpacking ${archive} needs ${program}, not found on this machine`,
          `install the Debian package: apt-get install ${isIso ? "libarchive-tools" : "tar"}`,
        );
      if (result.code === 0 && (await stat(target)).size > 0) return;
      complaint ||= result.complaint;
    } catch (error) {
      await rm(target, { force: true });
      throw error;
    } finally {
      await output.close();
    }
  }
  await rm(target, { force: true });
  throw new ImageError(
    "IMAGE_ARCHIVE_INVALID",
    `${archive} has no file ${member}: ${complaint.trim().split("\n")[0] ?? ""}`,
    "the publisher changed it; unpack it by hand, and give the files: --kernel, --initrd, --root",
  );
}

/** @throws ImageError IMAGE_SOURCE_TOO_LARGE, IMAGE_DISK_TOO_SMALL */
async function writeBounded(
  content: AsyncIterable<Buffer>,
  output: FileHandle,
  what: string,
  target: string,
  maximumBytes: number,
): Promise<void> {
  let writtenBytes = 0;
  let uncheckedBytes = 0;
  for await (const chunk of content) {
    await output.writeFile(chunk);
    writtenBytes += chunk.length;
    uncheckedBytes += chunk.length;
    if (uncheckedBytes < checkedEveryBytes) continue;
    uncheckedBytes = 0;
    await refuseTooMuch(what, target, undefined, writtenBytes, maximumBytes);
  }
  await refuseTooMuch(what, target, undefined, writtenBytes, maximumBytes);
}

/** ECMA-119 s.8.1: the standard identifier of the first volume descriptor. */
async function hasIsoMark(file: string): Promise<boolean> {
  const handle = await open(file, "r");
  try {
    const { bytesRead, buffer } = await handle.read(Buffer.alloc(5), 0, 5, 32_769);
    return bytesRead === 5 && buffer.toString("latin1") === "CD001";
  } finally {
    await handle.close();
  }
}

/** One file of a Debian package, fetched by this host's apt, which checks it by the archive's signature. @throws ImageError */
export async function unpackPackage(name: string, file: string, target: string): Promise<void> {
  const work = await mkdtemp(join(tmpdir(), "rollcall-package-"));
  try {
    const fetched = await run("apt-get", ["download", name], undefined, work);
    const archive = (await readdir(work)).find((found) => found.endsWith(".deb"));
    if (fetched.code !== 0 || archive === undefined)
      throw new ImageError(
        fetched.code === 127 ? "IMAGE_TOOL_MISSING" : "IMAGE_SOURCE_UNREACHABLE",
        `apt-get could not fetch the Debian package ${name}: ${fetched.complaint.trim().split("\n").at(-1) ?? ""}`,
        "this takes a Debian host that reaches its mirror: `apt-get update`, then the same command",
      );
    const { code, complaint } = await run("dpkg-deb", ["-x", archive, "tree"], undefined, work);
    const inside = join(work, "tree", normalize(join("/", file)));
    if (code !== 0 || !(await stat(inside).catch(() => undefined))?.isFile())
      throw new ImageError(
        "IMAGE_ARCHIVE_INVALID",
        `the package ${name} has no file ${file}${complaint ? `: ${complaint.trim()}` : ""}`,
        "it has another name in this release of Debian: give it by hand with --kernel",
      );
    await copyFile(inside, target);
  } finally {
    await rm(work, { recursive: true, force: true });
  }
}

/**
 * Runs a program to its end. @param take its output; none: nobody reads it
 * @throws what `take` throws, after the program was ended
 */
async function run(
  program: string,
  words: readonly string[],
  take?: (output: AsyncIterable<Buffer>) => Promise<void>,
  cwd?: string,
): Promise<{ code: number; complaint: string }> {
  const child = spawn(program, words, {
    stdio: ["ignore", take ? "pipe" : "ignore", "pipe"],
    ...(cwd === undefined ? {} : { cwd }),
  });
  let complaint = "";
  child.stderr?.on("data", (chunk: Buffer) => (complaint = (complaint + chunk.toString()).slice(-4000)));
  const ended = new Promise<number>((done) => {
    child.once("error", () => done(127));
    child.once("close", (code) => done(code ?? 1));
  });
  try {
    if (take && child.stdout) await take(child.stdout);
  } catch (error) {
    child.kill();
    // Of a program that was never there nobody reads anything either.
    if ((await ended) === 127) return { code: 127, complaint };
    throw error;
  }
  return { code: await ended, complaint };
}
