import { createHash, randomBytes } from "node:crypto";
import { open, rm } from "node:fs/promises";
import { join } from "node:path";
import type { Clock, DurationMs } from "../domain/capabilities.ts";
import { RollcallError } from "../domain/errors.ts";
import type { Digest } from "../registry/digest.ts";
import type { OciError } from "../registry/oci-error.ts";
import { GrowingFile, type ReadableFile } from "./growing-file.ts";
import { NoSlot } from "./slots.ts";
import type { Upstream } from "./upstream.ts";
import { faultOf, UpstreamFault } from "./upstream-fault.ts";

/** Content from one octet on to its end. */
export interface DownloadPart {
  /** The octet that its body begins with: not later than asked for, but maybe earlier. */
  readonly from: number;
  /** Of the whole; undefined: the upstream does not say. */
  readonly sizeBytes: number | undefined;
  readonly body: AsyncIterable<Uint8Array>;
  release(): void;
}

export interface DownloadDeps {
  readonly upstream: Upstream;
  readonly digest: Digest;
  readonly clock: Pick<Clock, "after">;
  /** Aborted when it is given up. */
  readonly signal: AbortSignal;
  /** Of the content store's file system. */
  readonly directory: string;
  /** Asks the upstream. */
  readonly fetchPart: (from: number) => Promise<DownloadPart>;
  /** Its length is known. @throws DiskFull when so many octets have no room */
  readonly makeRoom: (sizeBytes: number) => Promise<void>;
  /** @throws DiskFull when so many octets more would use up the free space */
  readonly refuseWhenFull: (sizeBytes: number) => void;
  /** Where the upstream does not say how long it is. */
  readonly mostBytes: number;
  /** Takes the finished file over: its digest is right, and its octets are on the disk. */
  readonly keep: (file: string, sizeBytes: number) => Promise<void>;
  readonly received?: (bytes: number) => void;
}

export interface Download {
  /** Its length, as soon as that is known. */
  readonly sized: Promise<number>;
  /** It is in the content store, or why it is not. */
  readonly done: Promise<number>;
  /** Octets that came and are in the file. */
  readonly receivedBytes: number;
  /** From the first octet on, while it grows. @returns undefined when it has ended */
  open(): ReadableFile | undefined;
}

/** An interrupted download goes on after 250 ms, 500 ms and so on up to 15 s: 46 s in all. */
const firstPauseMs: DurationMs = 250;
const longestPauseMs: DurationMs = 15_000;
const mostFailures = 8;
/** Where nothing has come yet somebody waits for an answer. */
const mostFailuresAtFirst = 2;
/** So much more, and the upstream is taken for one that works again. */
const progressBytes = 1024 * 1024;
/** In all; an upstream that gives a little at a time is no upstream. */
const mostAttempts = 1000;
/** Octets that wait for the disk; then the upstream waits. */
const mostGathered = 4 * 1024 * 1024;
/** Free space is looked at once in so many octets: others write too. */
const spaceCheckBytes = 8 * 1024 * 1024;

/** Fetches content once for all who want it. */
export async function startDownload(deps: DownloadDeps): Promise<Download> {
  const { upstream, digest, clock, directory, signal } = deps;
  const path = join(directory, randomBytes(12).toString("hex"));
  const handle = await open(path, "wx+", 0o600);
  const file = new GrowingFile(handle);
  const hash = createHash(digest.algorithm);
  const sized = Promise.withResolvers<number>();
  let sizeBytes: number | undefined;
  /** What is under way just now is not waited for. */
  let interrupt = () => {};
  signal.addEventListener("abort", () => interrupt());

  function setSize(told: number | undefined): void {
    if (told === undefined) return;
    if (sizeBytes !== undefined && sizeBytes !== told)
      throw broken(`says that ${digest.text} has ${sizeBytes} octets, and then ${told}`);
    sizeBytes = told;
  }
  const broken = (problem: string) => new UpstreamFault(upstream, problem, { isFinal: true });

  async function take(part: DownloadPart): Promise<void> {
    let gathered: Uint8Array[] = [];
    let length = 0;
    let writing: Promise<void> | undefined;
    let fault: unknown;
    const flush = (): void => {
      if (writing !== undefined || length === 0) return;
      const [chunks, bytes] = [gathered, length];
      [gathered, length] = [[], 0];
      writing = file
        .append(chunks, bytes)
        .catch((error: unknown) => void (fault ??= error))
        .finally(() => {
          writing = undefined;
          if (fault === undefined) flush();
        });
    };
    // Counts what is on its way to the disk too.
    let at = file.writtenBytes;
    let looked = at;
    let skip = at - part.from;
    try {
      for await (const chunk of part.body) {
        deps.received?.(chunk.length);
        const octets = skip > 0 ? chunk.subarray(skip) : chunk;
        skip = Math.max(0, skip - chunk.length);
        if (octets.length === 0) continue;
        at += octets.length;
        if (at > (sizeBytes ?? deps.mostBytes))
          throw broken(`sends more than the ${sizeBytes ?? deps.mostBytes} octets of ${digest.text}`);
        hash.update(octets);
        gathered.push(octets);
        length += octets.length;
        flush();
        if (at - looked >= spaceCheckBytes) {
          looked = at;
          deps.refuseWhenFull(length);
        }
        while (length >= mostGathered && writing !== undefined) await writing;
        if (fault !== undefined) break;
      }
    } finally {
      // What came before a fault stays, and the next part goes on behind it.
      while (writing !== undefined) await writing;
    }
    if (fault !== undefined) throw fault as Error;
  }

  // Who has come so far waits for a slot again.
  const isWorthAnother = (error: OciError) =>
    error instanceof UpstreamFault ? !error.isFinal : error instanceof NoSlot && file.writtenBytes > 0;

  /** @throws OciError, DiskFull */
  async function fetchAll(): Promise<void> {
    let failures = 0;
    for (let attempt = 1; ; attempt += 1) {
      const before = file.writtenBytes;
      let problem: unknown;
      try {
        const part = await deps.fetchPart(before);
        interrupt = part.release;
        try {
          signal.throwIfAborted();
          const isFirst = sizeBytes === undefined;
          setSize(part.sizeBytes);
          if (isFirst && sizeBytes !== undefined) {
            await deps.makeRoom(sizeBytes);
            sized.resolve(sizeBytes);
          }
          await take(part);
        } finally {
          part.release();
        }
        if (sizeBytes === undefined || file.writtenBytes === sizeBytes) return;
        problem = new UpstreamFault(upstream, `ended after ${file.writtenBytes} of ${sizeBytes} octets`);
      } catch (error) {
        problem = error;
      }
      signal.throwIfAborted();
      if (problem instanceof RollcallError || isOfTheDisk(problem)) throw problem;
      const fault = faultOf(upstream, problem);
      // Without a length nobody can tell a short body from a whole one, but by its digest at the end.
      const isOver = attempt >= mostAttempts || !isWorthAnother(fault);
      if (file.writtenBytes - before >= progressBytes) failures = 0;
      failures += 1;
      if (isOver || failures > (file.writtenBytes === 0 ? mostFailuresAtFirst : mostFailures)) throw fault;
      const pause = Math.min(longestPauseMs, firstPauseMs * 2 ** (failures - 1));
      await new Promise<void>((resolve) => {
        const cancel = clock.after(pause, resolve);
        interrupt = () => {
          cancel();
          resolve();
        };
      });
    }
  }

  async function run(): Promise<number> {
    try {
      await fetchAll();
      const hex = hash.digest("hex");
      if (hex !== digest.hex)
        throw broken(`gave other content (${digest.algorithm}:${hex}) for ${digest.text}; it was dropped`);
      await file.sync();
      const size = file.writtenBytes;
      await deps.keep(path, size);
      sized.resolve(size);
      await file.end("whole");
      return size;
    } catch (error) {
      await file.end("failed");
      await rm(path, { force: true });
      sized.reject(error as Error);
      throw error;
    }
  }

  const done = run();
  // Those who wait are told; that nobody does is no fault.
  done.catch(() => undefined);
  sized.promise.catch(() => undefined);
  return {
    sized: sized.promise,
    done,
    get receivedBytes() {
      return file.writtenBytes;
    },
    open: () => file.open(),
  };
}

function isOfTheDisk(error: unknown): boolean {
  const { syscall } = error as NodeJS.ErrnoException;
  return syscall === "write" || syscall === "fdatasync" || syscall === "open";
}
