import { randomUUID } from "node:crypto";
import { link, open, rm } from "node:fs/promises";
import { dirname } from "node:path";

/**
 * Writes a file that never changes again, mode 0600: all of it or nothing, on the disk as the promise resolves, and never over one that
 * is there. Who comes second reads what the first one made.
 */
export async function writeOnce(file: string, text: string): Promise<void> {
  const unfinished = `${file}.${randomUUID()}.new`;
  const handle = await open(unfinished, "wx", 0o600);
  try {
    await handle.writeFile(text);
    await handle.sync();
  } finally {
    await handle.close();
  }
  await link(unfinished, file).catch((error: NodeJS.ErrnoException) => {
    if (error.code !== "EEXIST") throw error;
  });
  await rm(unfinished);
  const directory = await open(dirname(file), "r");
  await directory.sync();
  await directory.close();
}
