import { type Command, Option } from "commander";
import { ArchiveError } from "../../archive/archive-error.ts";
import { type ArchiveFiles, openArchive } from "../../archive/archive-files.ts";
import { archOfFile, exportImages } from "../../archive/export.ts";
import { type ArchivedImage, imagesOf } from "../../archive/oci-layout.ts";
import { pushImages } from "../../archive/push.ts";
import { requireNameFor, requireNameThere } from "../../archive/reference.ts";
import {
  interruptible,
  openRegistry,
  partText,
  type RegistryChoice,
  registryOptions,
  problemColumn,
  tellFailures,
  transferProgress,
} from "../container-archives.ts";
import { formatBytes } from "../output.ts";
import type { Session } from "../session.ts";

export interface ArchiveOptions extends RegistryChoice {
  readonly as?: string;
  readonly dryRun?: boolean;
  readonly replace?: boolean;
}

/** Sends the container images of archives to a registry. */
export async function importArchives(
  session: Session,
  sources: readonly string[],
  options: ArchiveOptions,
): Promise<void> {
  const progress = transferProgress();
  const opened: ArchiveFiles[] = [];
  const results = await interruptible(async (signal) => {
    const { registry, names } = await openRegistry(session, options, signal);
    try {
      const nameFor = options.as === undefined ? undefined : requireNameFor(options.as, names);
      // Ask before the work of minutes whether there is anybody to give it to.
      await registry.ping();
      const images: ArchivedImage[] = [];
      for (const source of sources) {
        const files = await openArchive(source, {
          signal,
          onUnpacking: (bytes) => progress.show(`unpacking ${source}: ${formatBytes(bytes)}`),
        });
        opened.push(files);
        images.push(...(await imagesOf(files, nameFor)));
      }
      return await pushImages(images, registry, {
        signal,
        isDryRun: options.dryRun ?? false,
        isReplacing: options.replace ?? false,
        onProgress: ({ name, number, count, doneBytes, totalBytes }) =>
          progress.show(`[${number}/${count}] ${name}: ${partText(doneBytes, totalBytes)}`),
      });
    } finally {
      progress.end();
      for (const files of opened) await files.close();
      await registry.close();
    }
  });
  session.show(results, () => ({
    columns: [
      "image",
      "platforms",
      options.dryRun ? "to send" : "sent",
      "was there",
      "digest",
      ...problemColumn(results),
    ],
    rows: results.map(({ name, platforms, sentBytes, presentBytes, digest, error }) => [
      name,
      platforms.join(", "),
      formatBytes(sentBytes),
      formatBytes(presentBytes),
      digest,
      ...(error ? [error.code] : []),
    ]),
    empty: "",
  }));
  tellFailures(session, results);
}

export function exportCommand(image: Command, open: () => Session): void {
  const command = image
    .command("export <images...>")
    .description("write container images of the registry into an archive, as podsec-save-oci makes it")
    .requiredOption("--to <file>", "archive to write: NAME.tar.xz, .tar.gz or .tar")
    .addOption(
      new Option(
        "--arch <arch>",
        "architecture to take; all: each image with all it has; default: as the file is named, else amd64",
      ).choices(["amd64", "arm64", "arm", "ppc64le", "386", "all"]),
    );
  for (const [flags, description] of registryOptions) command.option(flags, description);
  command
    .addHelpText(
      "after",
      "\nExamples:\n  boot image export p10/kube-apiserver:v1.26.9 p10/pause:3.9 --to amd64.tar.xz\n  boot image export p10/pause:3.9 --arch arm64 --to /srv/pause.tar --registry registry.local\nLayers and manifests are as the registry has them; `boot image import` gives the same digests.",
    )
    .action(async (words: string[], options: RegistryChoice & { to: string; arch?: string }) => {
      const session = open();
      const arch = options.arch ?? archOfFile(options.to) ?? "amd64";
      const progress = transferProgress();
      const result = await interruptible(async (signal) => {
        const { registry, names: hosts } = await openRegistry(session, options, signal);
        try {
          return await exportImages({
            registry,
            names: words.map((word) => requireNameThere(word, hosts)),
            arch,
            target: options.to,
            signal,
            onProgress: (name, done, total) => progress.show(`${name}: ${partText(done, total)}`),
          });
        } finally {
          progress.end();
          await registry.close();
        }
      });
      session.show(result, () => ({
        columns: ["image", "size", "digest"],
        rows: result.images.map(({ name, bytes, digest }) => [name, formatBytes(bytes), digest]),
        empty: "",
      }));
      session.say(`In ${result.file}, for ${arch}.`);
    });
}

/** What is neither images for containers nor one that machines boot. */
export function refuseMixed(sources: readonly string[]): never {
  throw new ArchiveError(
    "ARCHIVE_UNKNOWN",
    `${sources.join(", ")}: several sources are archives of container images, all of them, or one image that machines boot`,
    "Import what machines boot one by one: boot image import DIR; archives of containers together: boot image import amd64.tar.xz arm64.tar.xz",
  );
}
