import { createHash, randomUUID } from "node:crypto";
import { createReadStream } from "node:fs";
import { open, rename, rm } from "node:fs/promises";
import { dirname } from "node:path";
import { EtcdSnapshotBroken } from "../domain/error-catalogue.ts";
import { syncDirectory } from "../pki/write-once.ts";

/** A snapshot is etcd's database (whole blocks of 512 octets) and the SHA-256 of it behind. */
const digestBytes = 32;
const blockBytes = 512;
/** More than etcd sends at once (32 KiB) as base64; a line is held in memory. */
const maximumLineBytes = 4 * 1024 * 1024;
/** The largest quota that etcd advises, octets, and some: a member of a master must not fill the server's disk. */
const maximumSnapshotBytes = 9 * 1024 ** 3;

export interface SnapshotFile {
  readonly file: string;
  readonly bytes: number;
}

/** Digests a snapshot as it goes by, and knows at its end whether it is whole. */
class SnapshotCheck {
  readonly #hash = createHash("sha256");
  #tail: Buffer = Buffer.alloc(0);
  bytes = 0;

  add(octets: Buffer): void {
    this.bytes += octets.length;
    const all = Buffer.concat([this.#tail, octets]);
    const cut = Math.max(all.length - digestBytes, 0);
    this.#hash.update(all.subarray(0, cut));
    this.#tail = Buffer.from(all.subarray(cut));
  }

  /** What is wrong with it; undefined when it is whole. */
  problem(): string | undefined {
    const databaseBytes = this.bytes - digestBytes;
    if (databaseBytes <= 0 || databaseBytes % blockBytes !== 0)
      return `it ends in the middle (${this.bytes} octets)`;
    return this.#hash.digest().equals(this.#tail) ? undefined : "its SHA-256 is not the one that it carries";
  }
}

/**
 * Saves the answer of etcd's gateway to a call for a snapshot: lines of JSON with pieces as base64.
 * The file is there when it is whole and on the disk, and not before.
 * @throws EtcdSnapshotBroken
 */
export async function saveSnapshot(answer: AsyncIterable<Buffer>, file: string): Promise<SnapshotFile> {
  const unfinished = `${file}.${randomUUID()}.part`;
  const check = new SnapshotCheck();
  try {
    const handle = await open(unfinished, "wx", 0o600);
    try {
      for await (const octets of pieces(answer)) {
        check.add(octets);
        if (check.bytes > maximumSnapshotBytes) throw new Error(`it is larger than ${maximumSnapshotBytes}`);
        await handle.writeFile(octets);
      }
      const problem = check.problem();
      if (problem !== undefined) throw new Error(problem);
      await handle.datasync();
    } finally {
      await handle.close();
    }
    await rename(unfinished, file);
    await syncDirectory(dirname(file));
  } catch (error) {
    await rm(unfinished, { force: true });
    throw EtcdSnapshotBroken({ file, problem: (error as Error).message });
  }
  return { file, bytes: check.bytes };
}

async function* pieces(answer: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
  for await (const line of lines(answer)) {
    const { result, error } = JSON.parse(line) as {
      result?: { blob?: string };
      error?: { message?: string };
    };
    if (error) throw new Error(`etcd broke off: ${(error.message ?? "").slice(0, 200)}`);
    if (result?.blob) yield Buffer.from(result.blob, "base64");
  }
}

async function* lines(answer: AsyncIterable<Buffer>): AsyncGenerator<string> {
  let parts: Buffer[] = [];
  let length = 0;
  for await (const chunk of answer) {
    let from = 0;
    for (let end = chunk.indexOf(0x0a); end !== -1; end = chunk.indexOf(0x0a, from)) {
      yield Buffer.concat([...parts, chunk.subarray(from, end)]).toString();
      parts = [];
      length = 0;
      from = end + 1;
    }
    parts.push(chunk.subarray(from));
    length += chunk.length - from;
    if (length > maximumLineBytes) throw new Error("a line of it has no end");
  }
  if (length > 0) yield Buffer.concat(parts).toString();
}

/** What is wrong with a snapshot on the disk; undefined when it is whole. */
export async function snapshotProblem(file: string): Promise<string | undefined> {
  const check = new SnapshotCheck();
  try {
    for await (const octets of createReadStream(file) as AsyncIterable<Buffer>) check.add(octets);
  } catch (error) {
    return (error as Error).message;
  }
  return check.problem();
}
