import { stat } from "node:fs/promises";
import { createServer } from "node:net";
import { ImageError } from "../image-error.ts";

/**
 * Takes a directory for this process alone, until `release` or the end of the process: two imports would write into one part file.
 *
 * The lock is an abstract Unix socket (unix(7)), which the kernel drops however the process ends; there is no file that could be left.
 * @throws ImageError IMAGE_IMPORT_BUSY
 */
export async function lockDirectory(directory: string): Promise<{ release(): Promise<void> }> {
  // By device and inode, since one directory may have several names.
  const { dev, ino } = await stat(directory);
  const server = createServer((stranger) => stranger.destroy());
  try {
    await new Promise<void>((resolve, reject) =>
      server.once("error", reject).listen(`\0rollcall-import-${dev}-${ino}`, resolve),
    );
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "EADDRINUSE") throw error;
    throw new ImageError(
      "IMAGE_IMPORT_BUSY",
      `another import is writing into ${directory}`,
      "wait until it has ended, or name another directory with --to DIR",
    );
  }
  return { release: () => new Promise<void>((resolve) => server.close(() => resolve())) };
}
