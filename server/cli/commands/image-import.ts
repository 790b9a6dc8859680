import { existsSync, mkdirSync, rmSync } from "node:fs";
import { homedir } from "node:os";
import { join, resolve } from "node:path";
import { type Command, InvalidArgumentError } from "commander";
import { EnvHttpProxyAgent, fetch } from "undici";
import { imageFileKinds, type ImageFileKind } from "../../domain/image.ts";
import { ImageError } from "../../image/image-error.ts";
import { type CatalogueEntry, readCatalogue, shippedCatalogue } from "../../image/import/catalogue.ts";
import { type KnownDigest, readDigest } from "../../image/import/digest-list.ts";
import { defaultDownload, type Fetch } from "../../image/import/download.ts";
import { lockDirectory } from "../../image/import/directory-lock.ts";
import { entryByHand, fetchImage } from "../../image/import/fetch-image.ts";
import { isContainerArchive, registryOptions } from "../container-archives.ts";
import type { Session } from "../session.ts";
import { type ArchiveOptions, importArchives, refuseMixed } from "./image-archive.ts";
import { addedText, importImage, progressLine, progressText } from "../put-image.ts";

interface ImportOptions extends ArchiveOptions {
  kernel?: string;
  kernelEfi?: string;
  initrd?: string;
  root?: string;
  imageVersion?: string;
  arch: string;
  digest: Readonly<Record<string, KnownDigest>>;
  digests?: string;
  signature?: string;
  keyring?: string;
  unverified?: boolean;
  catalogue: string;
  mirror?: string;
  to?: string;
  use: boolean;
}

const kindByOption: Readonly<Record<string, ImageFileKind>> = {
  kernel: "kernel",
  "kernel-efi": "kernelEfi",
  initrd: "initrd",
  root: "rootfs",
  rootfs: "rootfs",
};

function digestOption(
  text: string,
  before: Readonly<Record<string, KnownDigest>>,
): Record<string, KnownDigest> {
  const [file = "", hex = ""] = text.split("=", 2);
  const kind = kindByOption[file];
  const digest = readDigest(hex);
  if (!kind || !digest)
    throw new InvalidArgumentError(
      `write it as FILE=DIGEST: FILE is one of ${Object.keys(kindByOption).join(", ")}, DIGEST is a SHA-256 or SHA-512 in hex`,
    );
  return { ...before, [kind]: digest };
}

/** Where parts of interrupted imports wait: a directory of this user's own. */
function cacheDirectory(name: string): string {
  const cache = process.env["XDG_CACHE_HOME"] ?? join(homedir(), ".cache");
  return join(cache, "rollcall", "import", name);
}

/** Through the proxy of the environment, where there is one. */
function proxiedFetch(): Fetch {
  const dispatcher = new EnvHttpProxyAgent();
  return (url, init) => fetch(url, { ...init, dispatcher }) as unknown as Promise<Response>;
}

function entryFor(name: string, options: ImportOptions): CatalogueEntry {
  const { kernel, kernelEfi, initrd, root, arch, digests, signature } = options;
  if (kernel !== undefined) {
    const files = Object.fromEntries(
      Object.entries({ kernel, kernelEfi, initrd, rootfs: root }).filter(
        ([, address]) => address !== undefined,
      ),
    );
    return entryByHand({ name, arch, files, digests, signature });
  }
  const catalogue = readCatalogue(options.catalogue);
  const entry = catalogue.get(name);
  if (entry) return entry;
  throw new ImageError(
    "IMAGE_UNKNOWN",
    `${name} is no directory with image.json, and no image that is known; known are ${[...catalogue.keys()].join(", ")}`,
    "name its files, if it is one of yours: boot image import NAME --kernel URL --initrd URL --root URL",
  );
}

async function fetchAndImport(session: Session, name: string, options: ImportOptions): Promise<void> {
  if (!/^[a-z0-9][a-z0-9._-]{0,62}$/.test(name))
    throw new ImageError(
      "IMAGE_UNKNOWN",
      `${name} is no directory with image.json, and no name of an image`,
      "a name is small letters, digits, dots and hyphens, at most 63",
    );
  const entry = entryFor(name, options);
  // Ask before the work of minutes whether there is anybody to give it to.
  if (options.to === undefined) await session.client.get("/images");
  const directory = options.to === undefined ? cacheDirectory(name) : resolve(options.to);
  mkdirSync(directory, { recursive: true, mode: 0o700 });
  // Kept until the files are in the store: the directory goes with them.
  const lock = await lockDirectory(directory);
  try {
    await fetchInto(directory, session, { name, entry, options });
  } finally {
    await lock.release();
  }
}

async function fetchInto(
  directory: string,
  session: Session,
  { name, entry, options }: { name: string; entry: CatalogueEntry; options: ImportOptions },
): Promise<void> {
  const progress = progressLine(process.stderr.isTTY === true);
  const abort = new AbortController();
  process.once("SIGINT", () => abort.abort());
  let version: string;
  try {
    ({ version } = await fetchImage({
      entry,
      directory,
      name,
      version: options.imageVersion,
      mirror: options.mirror,
      digests: options.digest,
      keyring: options.keyring === undefined ? undefined : resolve(options.keyring),
      isUnverifiedAllowed: options.unverified ?? false,
      download: { ...defaultDownload, fetch: proxiedFetch(), signal: abort.signal },
      onProgress: (what, file, done, total) =>
        progress.show(
          total === undefined || total === 0 ? `${what} ${file}` : progressText(what, file, done, total),
        ),
      onNote: (text) => progress.note(text),
    }));
  } finally {
    progress.end();
  }
  if (options.to !== undefined)
    return session.say(
      `${name} ${version} is in ${directory}. To put it into the store: boot image import ${directory}`,
    );
  const added = await importImage(session.client, directory, process.stderr.isTTY === true, {
    isCurrent: options.use,
  });
  rmSync(directory, { recursive: true, force: true });
  session.show(added, () => addedText(added));
}

export function importCommands(image: Command, open: () => Session): void {
  const command = image
    .command("import <sources...>")
    .description(
      "put an image into the store: a known one by its name, one by the addresses of its files, or a directory with image.json; or container images of archives (podsec-save-oci, OCI, docker save) into the registry",
    )
    .option("--kernel <url>", "address or file of the kernel; then the source is the image's name")
    .option("--kernel-efi <url>", "another kernel for UEFI")
    .option("--initrd <url>", "address or file of the initrd")
    .option("--root <url>", "address or file of the root file system")
    .option(
      "--image-version <version>",
      "its version; default: what the publisher says, or made of the content",
    )
    .option("--arch <arch>", "architecture, with --kernel", "x86_64")
    .option(
      "--digest <file=hex>",
      "SHA-256 or SHA-512 of a file: kernel=..., initrd=..., root=...",
      digestOption,
      {},
    )
    .option("--digests <url>", "list of digests, like SHA256SUMS, with --kernel")
    .option("--signature <url>", "detached OpenPGP signature of that list")
    .option("--keyring <file>", "signatures must be good by this keyring (gpgv)")
    .option("--unverified", "take files that nothing tells the digest of")
    .option("--mirror <url>", "look for a known image below this address")
    .option("--catalogue <file>", "another catalogue of known images", shippedCatalogue)
    .option("--to <dir>", "only write the image into this directory")
    .option("--no-use", "machines go on with the version that they boot now")
    .option("--as <name:tag>", "name of the one container image of an archive that does not name it")
    .option("--dry-run", "container images: only check the archives, and tell what would be sent")
    .option("--replace", "container images: drop what a tag has for other architectures");
  for (const [flags, description] of registryOptions) command.option(flags, description);
  command
    .addHelpText(
      "after",
      "\nExamples:\n  boot image import flatcar\n  boot image import memtest\n  boot image import kiosk --kernel http://10.0.0.9/vmlinuz --initrd ./initrd.img --digests http://10.0.0.9/SHA256SUMS\n  boot image import /srv/kiosk\n  boot image import amd64.tar.xz arm64.tar.xz\n  boot image import saved.tar --registry 10.0.0.1:5000\nAn import that was cut goes on where it ended when the same command is given again.",
    )
    .action(async ([source = "", ...others]: string[], options: ImportOptions) => {
      const session = open();
      const sources = [source, ...others];
      const archives = await Promise.all(sources.map((one) => isContainerArchive(one)));
      if (options.kernel === undefined && archives.every(Boolean))
        return importArchives(session, sources, options);
      if (others.length > 0) refuseMixed(sources);
      const directory = resolve(source);
      const isDirectory = source.includes("/") || existsSync(join(directory, "image.json"));
      if (options.kernel !== undefined || !isDirectory) return fetchAndImport(session, source, options);
      const added = await importImage(session.client, directory, process.stderr.isTTY === true, {
        isCurrent: options.use,
      });
      session.show(added, () => addedText(added));
    });
  image
    .command("known")
    .description("images of other publishers that can be imported by their names")
    .option("--catalogue <file>", "another catalogue of known images", shippedCatalogue)
    .addHelpText("after", "\nExample:\n  boot image known")
    .action((options: { catalogue: string }) => {
      const entries = [...readCatalogue(options.catalogue).values()];
      open().show(entries, () => ({
        columns: ["image", "arch", "files", "from", "what"],
        rows: entries.map(({ name, arch, files, base, description }) => [
          name,
          arch,
          imageFileKinds.filter((kind) => files[kind]).join(", "),
          base ?? "Debian packages",
          description,
        ]),
        empty: "The catalogue is empty.",
      }));
    });
}
