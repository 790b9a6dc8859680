import { readFile } from "node:fs/promises";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { ImageError } from "../image-error.ts";
import { download, type DownloadOptions } from "./download.ts";

/** Lists of digests and indexes are small; what is larger is no such thing. */
const largestTextBytes = 16 * 1024 ** 2;

/** A small text: a list of digests, an index, a signature. @throws ImageError as {@link download} */
export async function fetchBytes(url: string, options: DownloadOptions): Promise<Buffer> {
  if (!/^https?:/.test(url)) {
    const path = url.startsWith("file:") ? fileURLToPath(url) : url;
    try {
      return await readFile(path);
    } catch (error) {
      throw new ImageError(
        "IMAGE_SOURCE_NOT_FOUND",
        `${path} can't be read: ${(error as Error).message}`,
        "name a file that is there",
      );
    }
  }
  const directory = await mkdtemp(join(tmpdir(), "rollcall-text-"));
  try {
    const file = join(directory, "text");
    const { onProgress: _, ...quiet } = options;
    await download(url, file, { ...quiet, maximumBytes: largestTextBytes });
    return await readFile(file);
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}

export async function fetchText(url: string, options: DownloadOptions): Promise<string> {
  return (await fetchBytes(url, options)).toString("utf8");
}
