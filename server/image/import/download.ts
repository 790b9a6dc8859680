import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { type FileHandle, open, readFile, rm, stat, statfs, writeFile } from "node:fs/promises";
import { dirname } from "node:path";
import { pipeline } from "node:stream/promises";
import { ImageError } from "../image-error.ts";

export type Fetch = (
  url: string,
  init: { headers: Record<string, string>; signal: AbortSignal },
) => Promise<Response>;

export interface DownloadOptions {
  readonly fetch: Fetch;
  /** Silence that ends a connection, ms. */
  readonly stallMs: number;
  /** So many failures in a row without a single new octet end the download. */
  readonly maximumFailures: number;
  /** Before the n-th try in a row. */
  readonly pause: (failure: number) => Promise<void>;
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: (doneBytes: number, totalBytes: number | undefined) => void;
  /** Largest file that is taken, octets. */
  readonly maximumBytes?: number;
}

/** A root file system or an installation medium; what is larger is a mistake or somebody's joke. */
export const largestFileBytes = 16 * 1024 ** 3;
/** Never used up: other programs live on this disk too. */
export const reserveBytes = 64 * 1024 ** 2;

export const defaultDownload: Omit<DownloadOptions, "onProgress" | "signal"> = {
  fetch: (url, init) => globalThis.fetch(url, init),
  stallMs: 30_000,
  maximumFailures: 6,
  pause: (failure) => new Promise((resume) => setTimeout(resume, Math.min(2 ** failure, 30) * 500)),
};

/** What a part that lies on the disk belongs to: another file under the same address must not be joined to it. */
interface PartNote {
  readonly url: string;
  /** A strong ETag, or a Last-Modified (RFC 9110 s.13.1.5). */
  readonly validator: string | undefined;
}

type Attempt =
  | { readonly end: "complete" }
  | {
      readonly end: "failed";
      readonly why: "cut" | "silent" | "unreachable" | "server";
      readonly detail: string;
    };

/**
 * Loads `url` into `file`, and goes on where an earlier call ended, in this process or before it. What arrives is not yet verified.
 * @throws ImageError IMAGE_SOURCE_NOT_FOUND, IMAGE_SOURCE_REFUSED, IMAGE_SOURCE_UNREACHABLE, IMAGE_DOWNLOAD_CUT (the part is kept),
 *   IMAGE_SOURCE_TOO_LARGE, IMAGE_DISK_TOO_SMALL, IMAGE_IMPORT_CANCELLED
 */
export async function download(url: string, file: string, options: DownloadOptions): Promise<void> {
  let failures = 0;
  let before = await sizeOf(file);
  for (;;) {
    const attempt = await tryOnce(url, file, options);
    if (attempt.end === "complete") return;
    const now = await sizeOf(file);
    failures = now > before ? 1 : failures + 1;
    before = now;
    if (failures >= options.maximumFailures) throw gaveUp(url, now, attempt);
    await options.pause(failures);
    if (options.signal?.aborted) throw cancelled();
  }
}

async function tryOnce(url: string, file: string, options: DownloadOptions): Promise<Attempt> {
  const note = await readNote(file);
  const isSame = note?.url === url;
  let have = isSame ? await sizeOf(file) : 0;
  const isResumed = have > 0;
  const silence = silenceAlarm(options.stallMs, options.signal);
  let response: Response;
  try {
    response = await options.fetch(url, {
      headers: {
        // The octets themselves: a digest is of the file, and a part of it must be a part of the same.
        "accept-encoding": "identity",
        ...(isResumed ? { range: `bytes=${have}-` } : {}),
        ...(isResumed && note?.validator ? { "if-range": note.validator } : {}),
      },
      signal: silence.signal,
    });
  } catch (error) {
    silence.stop();
    if (options.signal?.aborted) throw cancelled();
    const why = silence.hasRung ? "silent" : "unreachable";
    return { end: "failed", why, detail: reasonOf(error) };
  }
  let handle: FileHandle | undefined;
  try {
    const total = judge(url, response, isResumed);
    if (total === "retry") {
      return { end: "failed", why: "server", detail: `it answers ${response.status} ${response.statusText}` };
    }
    if (response.status === 416) {
      const whole = /^bytes \*\/(\d+)$/.exec(response.headers.get("content-range") ?? "")?.[1];
      if (Number(whole) === have) return { end: "complete" };
      await rm(file, { force: true });
      return { end: "failed", why: "server", detail: "it has another file than before" };
    }
    if (response.status === 206) {
      const [, from, whole] =
        /^bytes (\d+)-\d+\/(\d+|\*)$/.exec(response.headers.get("content-range") ?? "") ?? [];
      // It was asked to go on at `have`; anything else would be joined in the wrong place.
      if (Number(from) !== have) {
        await rm(file, { force: true });
        return {
          end: "failed",
          why: "server",
          detail: `it answers from octet ${from ?? "?"} instead of ${have}`,
        };
      }
      if (whole !== undefined && whole !== "*") silence.total = Number(whole);
    } else have = 0;
    silence.total ??= total === undefined ? undefined : have + total;
    await refuseTooMuch(url, file, silence.total, have, options.maximumBytes ?? largestFileBytes);
    await writeNote(file, { url, validator: validatorOf(response) });
    handle = await open(file, have === 0 ? "w" : "a", 0o600);
    let unchecked = 0;
    options.onProgress?.(have, silence.total);
    for await (const chunk of response.body ?? []) {
      silence.heard();
      await handle.writeFile(chunk);
      have += chunk.length;
      unchecked += chunk.length;
      options.onProgress?.(have, silence.total);
      if (unchecked < reserveBytes / 2) continue;
      unchecked = 0;
      await refuseTooMuch(url, file, silence.total, have, options.maximumBytes ?? largestFileBytes);
    }
    if (silence.total !== undefined && have < silence.total)
      return {
        end: "failed",
        why: "cut",
        detail: `the connection ended at ${have} of ${silence.total} octets`,
      };
    await handle.datasync();
    return { end: "complete" };
  } catch (error) {
    if (error instanceof ImageError) throw error;
    if (options.signal?.aborted) throw cancelled();
    if ((error as NodeJS.ErrnoException).code === "ENOSPC")
      throw await diskTooSmall(file, silence.total ?? have);
    return { end: "failed", why: silence.hasRung ? "silent" : "cut", detail: reasonOf(error) };
  } finally {
    silence.stop();
    await handle?.close().catch(() => undefined);
    await response.body?.cancel().catch(() => undefined);
  }
}

/** @returns octets of this answer, if it says so; "retry" where a later try may go better. @throws ImageError where none will */
function judge(url: string, response: Response, isResumed: boolean): number | undefined | "retry" {
  const { status } = response;
  if (url.startsWith("https:") && response.url.startsWith("http:"))
    throw new ImageError(
      "IMAGE_SOURCE_REFUSED",
      `${url} leads to ${response.url}, which is not encrypted`,
      "name an address that stays with https",
    );
  if (status === 200 || status === 206 || (status === 416 && isResumed)) {
    const length = Number(response.headers.get("content-length") ?? Number.NaN);
    return Number.isSafeInteger(length) && status !== 416 ? length : undefined;
  }
  if (status === 404 || status === 410)
    throw new ImageError(
      "IMAGE_SOURCE_NOT_FOUND",
      `there is nothing at ${url} (${status})`,
      "look whether there is a newer version; `boot image known` shows where each image is looked for",
    );
  if (status === 408 || status === 429 || status >= 500) return "retry";
  throw new ImageError(
    "IMAGE_SOURCE_REFUSED",
    `${url} answers ${status} ${response.statusText}`,
    "look at the address in a browser; a file that needs a password has to be fetched by hand, then imported from the disk",
  );
}

/** Rings when nothing was heard for too long, or the caller gave up. */
function silenceAlarm(stallMs: number, outer: AbortSignal | undefined) {
  const controller = new AbortController();
  const giveUp = () => controller.abort();
  outer?.addEventListener("abort", giveUp, { once: true });
  if (outer?.aborted) giveUp();
  const alarm = {
    signal: controller.signal,
    hasRung: false,
    /** Size of the file, as far as the server told. */
    total: undefined as number | undefined,
    heard: () => void timer.refresh(),
    stop() {
      clearTimeout(timer);
      outer?.removeEventListener("abort", giveUp);
    },
  };
  const timer = setTimeout(() => {
    alarm.hasRung = true;
    controller.abort();
  }, stallMs);
  return alarm;
}

function validatorOf(response: Response): string | undefined {
  const etag = response.headers.get("etag");
  // A weak one says that two files mean the same, not that they are the same octets.
  if (etag !== null && !etag.startsWith("W/")) return etag;
  return response.headers.get("last-modified") ?? undefined;
}

const noteOf = (file: string) => `${file}.source`;

async function readNote(file: string): Promise<PartNote | undefined> {
  try {
    return JSON.parse(await readFile(noteOf(file), "utf8")) as PartNote;
  } catch {
    return undefined;
  }
}
async function writeNote(file: string, note: PartNote): Promise<void> {
  await writeFile(noteOf(file), JSON.stringify(note), { mode: 0o600 });
}

/** Takes a part away: it is not what it should be, or it has served. */
export async function discard(file: string): Promise<void> {
  await rm(file, { force: true });
  await rm(noteOf(file), { force: true });
}

export async function sizeOf(file: string): Promise<number> {
  return (await stat(file).catch(() => undefined))?.size ?? 0;
}

/** @throws ImageError IMAGE_SOURCE_TOO_LARGE, IMAGE_DISK_TOO_SMALL */
export async function refuseTooMuch(
  what: string,
  file: string,
  total: number | undefined,
  have: number,
  maximumBytes: number,
): Promise<void> {
  if ((total ?? have) > maximumBytes) {
    await discard(file);
    throw new ImageError(
      "IMAGE_SOURCE_TOO_LARGE",
      `${what} has ${mebibytes(total ?? have)} or more, and no file of an image may have over ${mebibytes(maximumBytes)}`,
      "look whether the address is that of the right file",
    );
  }
  const { bavail, bsize } = await statfs(dirname(file));
  if (bavail * bsize < Math.max(0, (total ?? have) - have) + reserveBytes)
    throw await diskTooSmall(file, total ?? have);
}

async function diskTooSmall(file: string, neededBytes: number): Promise<ImageError> {
  const { bavail, bsize } = await statfs(dirname(file));
  return new ImageError(
    "IMAGE_DISK_TOO_SMALL",
    `${dirname(file)} has ${mebibytes(bavail * bsize)} free, and the file has ${mebibytes(neededBytes)}`,
    "free space there, or name another directory with --to DIR; what was loaded is kept",
  );
}

function gaveUp(
  url: string,
  have: number,
  { why, detail }: Exclude<Attempt, { end: "complete" }>,
): ImageError {
  if (why === "unreachable")
    return new ImageError(
      "IMAGE_SOURCE_UNREACHABLE",
      `${url} can't be reached: ${detail}`,
      "look whether this machine may go out to the network; behind a proxy set https_proxy",
    );
  return new ImageError(
    "IMAGE_DOWNLOAD_CUT",
    `${url} breaks off again and again: ${why === "silent" ? "it went silent" : detail}; ${mebibytes(have)} are here`,
    "give the same command again: it goes on where it ended",
  );
}

export function cancelled(): ImageError {
  return new ImageError(
    "IMAGE_IMPORT_CANCELLED",
    "the import was cancelled",
    "what was loaded is kept: the same command goes on where it ended",
  );
}

function reasonOf(error: unknown): string {
  const { cause, message } = error as Error;
  const { code } = (cause ?? {}) as { code?: string };
  return code ?? (cause instanceof Error ? cause.message : message);
}

const mebibytes = (bytes: number) => `${Math.ceil(bytes / 1024 ** 2)} MiB`;

/** @returns digests of a file, lower-case hex */
export async function digestsOf(file: string): Promise<{ readonly sha256: string; readonly sha512: string }> {
  const sha256 = createHash("sha256");
  const sha512 = createHash("sha512");
  await pipeline(createReadStream(file), async (chunks: AsyncIterable<Uint8Array>) => {
    for await (const chunk of chunks) {
      sha256.update(chunk);
      sha512.update(chunk);
    }
  });
  return { sha256: sha256.digest("hex"), sha512: sha512.digest("hex") };
}
