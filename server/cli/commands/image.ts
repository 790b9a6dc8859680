import { createReadStream, mkdtempSync, rmSync } from "node:fs";
import { join, resolve } from "node:path";
import { Transform } from "node:stream";
import type { Command } from "commander";
import { buildImage } from "../../image/build-image.ts";
import { root } from "../../platform/checkout.ts";
import type { Client } from "../client.ts";
import { faultOf, type ImageJson, readImageJson, verifyImage } from "../image-directory.ts";
import { formatBytes } from "../output.ts";
import type { Session } from "../session.ts";

interface ImageView extends ImageJson {
  current: boolean;
  addedAt: string;
  sizeBytes: number;
}

/** Progress on standard error: a line that is rewritten on a terminal, a line per step elsewhere. */
function progressLine(isTerminal: boolean): { show(text: string): void; end(): void } {
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
    end() {
      if (isTerminal && last !== "") process.stderr.write("\n");
    },
  };
}

/** `checking root.squashfs: 40 % of 210 MB`, in steps of ten. */
function progressText(what: string, name: string, doneBytes: number, sizeBytes: number): string {
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
  return client.post<ImageView>("/images/import", { name, version, arch, files });
}

export function imageCommands(program: Command, open: () => Session): void {
  const image = program.command("image").description("what machines load: kernel, initrd, root file system");
  image
    .command("list")
    .description("all images")
    .addHelpText("after", "\nExample:\n  boot image list")
    .action(async () => {
      const session = open();
      const images = await session.client.list<ImageView>("/images");
      session.show(images, () => ({
        columns: ["image", "version", "arch", "size", "boots", "added"],
        rows: images.map((one) => [
          one.name,
          one.version,
          one.arch,
          formatBytes(one.sizeBytes),
          one.current ? "yes" : "no",
          one.addedAt,
        ]),
        empty: "There is no image yet. Build ours: boot image build",
      }));
    });
  image
    .command("build [recipe]")
    .description(
      "build a diskless Debian image from a recipe (debian-node is ours) and put it into the store",
    )
    .option("--to <dir>", "write it to this directory and leave the store alone")
    .addHelpText(
      "after",
      "\nExamples:\n  boot image build\n  boot image build ./recipes/kiosk --to /srv/kiosk\nIt takes a few minutes, Debian's packages mmdebstrap and squashfs-tools, and about 3 GB of free disk while it runs.",
    )
    .action(async (recipe: string | undefined, options: { to?: string }) => {
      const session = open();
      // Ask before the work of minutes whether there is anybody to give it to.
      if (options.to === undefined) await session.client.get("/images");
      const named = recipe ?? "debian-node";
      const recipeDir = named.includes("/") ? resolve(named) : join(root, "server/image/recipes", named);
      const outputDir =
        options.to === undefined ? mkdtempSync("/var/tmp/rollcall-image-") : resolve(options.to);
      const progress = progressLine(process.stderr.isTTY === true);
      const abort = new AbortController();
      process.once("SIGINT", () => abort.abort());
      try {
        await buildImage({
          recipeDir,
          outputDir,
          signal: abort.signal,
          onProgress: ({ step, percent, elapsedMs }) =>
            progress.show(`${percent} %, ${Math.round(elapsedMs / 1000)} s: ${step}`),
        });
        progress.end();
        if (options.to !== undefined)
          return session.say(
            `Built in ${outputDir}. To put it into the store: boot image import ${outputDir}`,
          );
        const added = await importImage(session.client, outputDir, process.stderr.isTTY === true);
        session.show(
          added,
          () =>
            `Image ${added.name} ${added.version} (${formatBytes(added.sizeBytes)}) is in the store; machines boot it from now on.\n`,
        );
      } finally {
        progress.end();
        if (options.to === undefined) rmSync(outputDir, { recursive: true, force: true });
      }
    });
  image
    .command("import <directory>")
    .description("put an image that was built elsewhere into the store")
    .addHelpText("after", "\nExample:\n  boot image import /srv/kiosk")
    .action(async (directory: string) => {
      const session = open();
      const added = await importImage(session.client, resolve(directory), process.stderr.isTTY === true);
      session.show(
        added,
        () =>
          `Image ${added.name} ${added.version} (${formatBytes(added.sizeBytes)}) is in the store; machines boot it from now on.\n`,
      );
    });
  image
    .command("verify <directory>")
    .description("check the files of an image directory against image.json")
    .addHelpText("after", "\nExample:\n  boot image verify /srv/kiosk")
    .action(async (directory: string) => {
      const path = resolve(directory);
      const progress = progressLine(process.stderr.isTTY === true);
      let isWhole = true;
      const lines: string[] = [];
      for (const file of Object.values(readImageJson(path).files)) {
        const fault = await faultOf(path, file, (_file, done) =>
          progress.show(progressText("checking", file.name, done, file.sizeBytes)),
        );
        if (fault !== undefined) isWhole = false;
        lines.push(`${file.name}: ${fault ?? "fine"}\n`);
      }
      progress.end();
      process.stdout.write(lines.join(""));
      if (!isWhole) process.exitCode = 1;
    });
  image
    .command("remove <image> [version]")
    .description("remove an image that no machine is booting; with a version only that one")
    .addHelpText("after", "\nExamples:\n  boot image remove kiosk\n  boot image remove debian-node 20261101")
    .action(async (name: string, version: string | undefined) => {
      const session = open();
      await session.client.delete(
        `/images/${encodeURIComponent(name)}${version === undefined ? "" : `?version=${encodeURIComponent(version)}`}`,
      );
      session.done(`Removed ${name}${version === undefined ? "" : ` ${version}`}.`, {
        removed: name,
        ...(version !== undefined && { version }),
      });
    });
}
