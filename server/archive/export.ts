import { spawn } from "node:child_process";
import { open, rename, rm } from "node:fs/promises";
import { basename } from "node:path";
import { pipeline } from "node:stream/promises";
import { createGzip } from "node:zlib";
import { ArchiveError } from "./archive-error.ts";
import { cancelled, endOf, plainEnvironment, xzMissing } from "./decompress.ts";
import {
  collect,
  type Descriptor,
  type Manifest,
  platformText,
  readManifest,
  readPlatform,
  refuseLongManifest,
} from "./manifest.ts";
import { adviceOnMissing, type TaggedName, textOfName } from "./reference.ts";
import type { RegistryClient } from "./registry-client.ts";
import { type TarEntry, writeTar } from "./tar-writer.ts";

export interface ExportOptions {
  readonly registry: RegistryClient;
  readonly names: readonly TaggedName[];
  /** As in an image's config: amd64, arm64, arm, ppc64le, 386; `all`: indexes as they are. */
  readonly arch: string;
  /** Ends in .tar, .tar.gz or .tar.xz. */
  readonly target: string;
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: (name: string, doneBytes: number, totalBytes: number) => void;
}

export interface ExportResult {
  readonly file: string;
  readonly arch: string;
  readonly images: readonly { readonly name: string; readonly digest: string; readonly bytes: number }[];
  /** Octets of all blobs together, each once. */
  readonly bytes: number;
}

/** A manifest or blob, and whence it comes. */
interface Part {
  readonly descriptor: Descriptor;
  readonly repository: string;
  /** Of a manifest, which was read already. */
  readonly octets?: Buffer;
  readonly name: string;
}

const packers = [".tar.xz", ".tar.gz", ".tar"] as const;
const architectures: ReadonlySet<string> = new Set(["amd64", "arm64", "arm", "ppc64le", "386", "all"]);

/** `arm64` of `/srv/arm64.tar.xz`; undefined: the name says nothing of it. */
export function archOfFile(file: string): string | undefined {
  const word = basename(file).split(".")[0] ?? "";
  return architectures.has(word) ? word : undefined;
}

/**
 * Writes images of a registry into an archive as podsec-save-oci makes it: one directory, named by the architecture, that is an OCI image
 * layout, where each image has its name in the annotation org.opencontainers.image.ref.name. Manifests and layers are as they are in the
 * registry. All or nothing: an archive that lacks an image would be found out far away.
 * @throws ArchiveError
 */
export async function exportImages(options: ExportOptions): Promise<ExportResult> {
  const { registry, names, arch, target } = options;
  const packer = packers.find((ending) => target.endsWith(ending));
  if (packer === undefined)
    throw notWritable(
      target,
      "its name does not end in .tar.xz, .tar.gz or .tar",
      "Name it like amd64.tar.xz.",
    );
  const parts = new Map<string, Part>();
  const images: { name: string; descriptor: Descriptor; bytes: number }[] = [];
  const failed: ArchiveError[] = [];
  for (const name of names) {
    try {
      const found = await resolveImage(registry, name, arch);
      for (const part of found) parts.set(part.descriptor.digest, part);
      const bytes = found.reduce((sum, { descriptor }) => sum + descriptor.size, 0);
      if (found[0]) images.push({ name: textOfName(name), descriptor: found[0].descriptor, bytes });
    } catch (error) {
      if (!(error instanceof ArchiveError) || error.code === "TRANSFER_UNREACHABLE") throw error;
      failed.push(error);
    }
  }
  const [first] = failed;
  if (first)
    throw new ArchiveError(
      first.code,
      failed.map(({ message }) => message).join("\n"),
      `${first.advice} Nothing was written.`,
    );
  const totalBytes = [...parts.values()].reduce((sum, { descriptor }) => sum + descriptor.size, 0);
  const index = {
    schemaVersion: 2,
    manifests: images.map(({ name, descriptor }) => indexEntry(name, descriptor)),
  };
  await writeArchive(writeTar(layout(index, parts, totalBytes, options)), packer, options);
  return {
    file: target,
    arch,
    images: images.map(({ name, descriptor, bytes }) => ({ name, digest: descriptor.digest, bytes })),
    bytes: totalBytes,
  };
}

function indexEntry(name: string, { mediaType, digest, size }: Descriptor) {
  return { mediaType, digest, size, annotations: { "org.opencontainers.image.ref.name": name } };
}

/** The image's manifest first, then all that it consists of. */
async function resolveImage(registry: RegistryClient, name: TaggedName, arch: string): Promise<Part[]> {
  const { repository, tag } = name;
  const place = `${registry.origin}: ${textOfName(name)}`;
  const top = await read(registry, name, tag, place);
  if (arch === "all") return withContent(registry, name, top, place);
  if (top.manifest.kind === "index") {
    const platforms = top.manifest.manifests.flatMap(({ platform }) =>
      platform ? [platformText(platform)] : [],
    );
    // Of several variants the newest one: v7 before v6.
    const child = top.manifest.manifests
      .filter(({ platform }) => platform?.architecture === arch && platform.os === "linux")
      .sort((left, right) => ((left.platform?.variant ?? "") > (right.platform?.variant ?? "") ? -1 : 1))[0];
    if (!child) throw platformMissing(place, arch, platforms);
    return withContent(registry, name, await read(registry, name, child.digest, place), place);
  }
  refuseLongManifest(top.manifest.config, place);
  const config = await collect(registry.readBlob(repository, top.manifest.config));
  const platform = readPlatform(config, place);
  if (platform.architecture !== arch) throw platformMissing(place, arch, [platformText(platform)]);
  return withContent(registry, name, top, place);
}

function platformMissing(place: string, arch: string, platforms: readonly string[]): ArchiveError {
  return new ArchiveError(
    "ARCHIVE_PLATFORM_MISSING",
    `${place} is not there for ${arch}, only for ${platforms.join(", ") || "nothing that it names"}`,
    "Name another one with --arch, or import the archive of that architecture first.",
  );
}

interface Found {
  readonly descriptor: Descriptor;
  readonly octets: Buffer;
  readonly manifest: Manifest;
}

async function read(
  registry: RegistryClient,
  name: TaggedName,
  reference: string,
  place: string,
): Promise<Found> {
  const found = await registry.manifest(name.repository, reference);
  if (!found)
    throw new ArchiveError("TRANSFER_NOT_FOUND", `${place} is not there`, adviceOnMissing(name.repository));
  const { octets, mediaType, digest } = found;
  return {
    descriptor: { mediaType, digest, size: octets.length },
    octets,
    manifest: readManifest(octets, mediaType, place),
  };
}

async function withContent(
  registry: RegistryClient,
  name: TaggedName,
  found: Found,
  place: string,
): Promise<Part[]> {
  const { repository } = name;
  const part = { repository, name: textOfName(name) };
  const parts: Part[] = [{ ...part, descriptor: found.descriptor, octets: found.octets }];
  if (found.manifest.kind === "index")
    for (const { digest } of found.manifest.manifests)
      parts.push(...(await withContent(registry, name, await read(registry, name, digest, place), place)));
  else
    parts.push(
      ...[found.manifest.config, ...found.manifest.layers].map((descriptor) => ({ ...part, descriptor })),
    );
  return parts;
}

async function* layout(
  index: unknown,
  parts: ReadonlyMap<string, Part>,
  totalBytes: number,
  { arch, registry, signal, onProgress }: ExportOptions,
): AsyncGenerator<TarEntry> {
  const file = (name: string, content: Uint8Array): TarEntry => ({
    name: `${arch}/${name}`,
    size: content.length,
    content,
  });
  const sorted = [...parts.values()].sort((left, right) =>
    left.descriptor.digest < right.descriptor.digest ? -1 : 1,
  );
  const algorithms = [...new Set(sorted.map(({ descriptor }) => descriptor.digest.split(":")[0] ?? ""))];
  for (const name of ["", "blobs/", ...algorithms.map((algorithm) => `blobs/${algorithm}/`)])
    yield { name: `${arch}/${name}`, size: 0 };
  yield file("oci-layout", Buffer.from('{"imageLayoutVersion":"1.0.0"}'));
  yield file("index.json", Buffer.from(JSON.stringify(index)));
  let done = 0;
  for (const { descriptor, repository, octets, name } of sorted) {
    if (signal?.aborted) throw cancelled();
    const path = `blobs/${descriptor.digest.replace(":", "/")}`;
    if (octets) yield file(path, octets);
    else
      yield {
        name: `${arch}/${path}`,
        size: descriptor.size,
        content: registry.readBlob(repository, descriptor),
      };
    onProgress?.(name, (done += descriptor.size), totalBytes);
  }
}

function notWritable(file: string, problem: string, advice: string): ArchiveError {
  return new ArchiveError("ARCHIVE_NOT_WRITABLE", `${file}: ${problem}`, advice);
}

/** Under its name only when it is whole and on the disk. */
async function writeArchive(
  content: AsyncIterable<Uint8Array>,
  packer: (typeof packers)[number],
  { target, signal }: ExportOptions,
): Promise<void> {
  const part = `${target}.part`;
  try {
    const output = await open(part, "w");
    try {
      const packed =
        packer === ".tar.xz"
          ? xzPacked(content, target, signal)
          : packer === ".tar.gz"
            ? gzipPacked(content)
            : content;
      for await (const chunk of packed) await output.writeFile(chunk);
      await output.datasync();
    } finally {
      await output.close();
    }
    await rename(part, target);
  } catch (error) {
    await rm(part, { force: true }).catch(() => undefined);
    if (signal?.aborted) throw cancelled();
    const { code, message } = error as NodeJS.ErrnoException;
    if (error instanceof ArchiveError || code === undefined) throw error;
    throw notWritable(
      target,
      code === "ENOSPC" ? "the disk is full" : message,
      "Name another file with --to FILE.",
    );
  }
}

async function* gzipPacked(content: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  const gzip = createGzip();
  const filled = pipeline(content, gzip);
  filled.catch(() => undefined);
  yield* gzip as AsyncIterable<Buffer>;
  await filled;
}

/** As podsec packs (-9); as many threads as there are processors and half of the memory allow. */
async function* xzPacked(
  content: AsyncIterable<Uint8Array>,
  target: string,
  signal: AbortSignal | undefined,
): AsyncGenerator<Uint8Array> {
  const child = spawn("xz", ["-9", "--threads=0", "--memlimit-compress=50%", "--stdout"], {
    stdio: ["pipe", "pipe", "pipe"],
    env: plainEnvironment(),
  });
  const ended = endOf(child.stderr, child);
  const filled = pipeline(content, child.stdin, signal === undefined ? {} : { signal });
  // Looked at below: a source that fails ends xz, which must not be taken for the cause.
  filled.catch(() => child.kill());
  try {
    for await (const chunk of child.stdout) yield chunk as Buffer;
    const { code, complaint } = await ended;
    if (code === 127) throw xzMissing(target);
    await filled;
    if (code !== 0)
      throw notWritable(
        target,
        `xz failed: ${complaint.trim().slice(-300)}`,
        "Free memory, or write a .tar.gz.",
      );
  } finally {
    child.kill();
  }
}
