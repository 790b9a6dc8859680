import { createReadStream } from "node:fs";
import { join } from "node:path";
import { Transform } from "node:stream";
import type { Client } from "./client.ts";
import { type ImageJson, readImageJson, verifyImage } from "./image-directory.ts";
import { formatBytes } from "./output.ts";

export interface ImageView extends ImageJson {
  current: boolean;
  addedAt: string;
  sizeBytes: number;
}

/** Said when an image is in the store. */
export function addedText(added: ImageView): string {
  const use = added.current
    ? "machines boot it from now on"
    : `machines go on with the version they boot; to switch: boot image use ${added.name} ${added.version}`;
  return `Image ${added.name} ${added.version} (${formatBytes(added.sizeBytes)}) is in the store; ${use}.\n`;
}

/** Progress on standard error: a line that is rewritten on a terminal, a line per step elsewhere. */
export function progressLine(isTerminal: boolean): {
  show(text: string): void;
  /** A line that stays. */
  note(text: string): void;
  end(): void;
} {
  let last = "";
  let lastStep = "";
  const stepOf = (line: string) => line.replace(/: \d+ % of .*$/, "").replace(/^\d+ %, \d+ s: /, "");
  return {
    show(text) {
      if (text === last) return;
      last = text;
      if (isTerminal) return void process.stderr.write(`\r\u001b[K${text}`);
      // One line a step: `checking root.squashfs`, `52 s: packages`.
      const step = stepOf(text);
      if (step !== lastStep) process.stderr.write(`${step}\n`);
      lastStep = step;
    },
    note: (text) => void process.stderr.write(isTerminal ? `\r\u001b[K${text}\n` : `${text}\n`),
    end() {
      if (isTerminal && last !== "") process.stderr.write("\n");
    },
  };
}

/** `checking root.squashfs: 40 % of 210 MB`, in steps of ten. */
export function progressText(what: string, name: string, doneBytes: number, sizeBytes: number): string {
  return `${what} ${name}: ${Math.floor((doneBytes / sizeBytes) * 10) * 10} % of ${formatBytes(sizeBytes)}`;
}

/**
 * Checks the directory, uploads its files, then registers the image.
 * @throws ImageInvalid before anything is sent, when a file is not what image.json says
 */
export async function importImage(
  client: Client,
  directory: string,
  isTerminal: boolean,
  { isCurrent = true }: { readonly isCurrent?: boolean } = {},
): Promise<ImageView> {
  const image = readImageJson(directory);
  const { name, version, arch, files } = image;
  const progress = progressLine(isTerminal);
  try {
    await verifyImage(directory, image, (file, done) =>
      progress.show(progressText("checking", file.name, done, file.sizeBytes)),
    );
  } catch (error) {
    progress.end();
    throw error;
  }
  for (const file of Object.values(files)) {
    let sent = 0;
    const meter = new Transform({
      transform(chunk: Uint8Array, _encoding, done) {
        sent += chunk.length;
        progress.show(progressText("sending", file.name, sent, file.sizeBytes));
        done(null, chunk);
      },
    });
    const source = createReadStream(join(directory, file.name))
      .on("error", (error) => meter.destroy(error))
      .pipe(meter);
    await client.put(`/contents/${file.sha256}`, source, {
      "content-type": "application/octet-stream",
      "content-length": String(file.sizeBytes),
    });
  }
  progress.end();
  return client.post<ImageView>("/images/import", {
    name,
    version,
    arch,
    files,
    ...(isCurrent ? {} : { current: false }),
  });
}
