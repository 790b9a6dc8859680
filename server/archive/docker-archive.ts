import { createHash } from "node:crypto";
import { damaged } from "./archive-error.ts";
import { type ArchiveFiles, readSmall } from "./archive-files.ts";
import { checked, type Descriptor, digestOf, mediaTypes, readJson } from "./manifest.ts";
import type { ArchivedImage } from "./oci-layout.ts";
import { requireName, type TaggedName } from "./reference.ts";

interface DockerEntry {
  readonly Config: string;
  readonly RepoTags: readonly string[] | null;
  readonly Layers: readonly string[];
}

/**
 * The images of what `docker save` and `podman save` make (moby/docker-image-spec, v1.2, "Combined Image JSON + Filesystem Changeset
 * Format"). It has no manifests: ours are OCI's, of the config and the layers as they are, so that each import makes the same ones.
 * @throws ArchiveError
 */
export async function dockerImages(
  files: ArchiveFiles,
  nameFor: TaggedName | undefined,
): Promise<ArchivedImage[]> {
  const entries = readEntries(await readSmall(files, "manifest.json"), `${files.place}: manifest.json`);
  const found: ArchivedImage[] = [];
  for (const [index, entry] of entries.entries()) {
    const place = `${files.place}: image ${index + 1}`;
    const tags =
      nameFor && entries.length === 1 ? [nameFor] : (entry.RepoTags ?? []).map((tag) => requireName(tag));
    if (tags.length === 0)
      requireName(`${entry.Config} (without a name: boot image import FILE --as NAME:TAG)`);
    const image = await readEntry(files, entry, place);
    found.push(...tags.map((name) => ({ name, place, ...image })));
  }
  return found;
}

function readEntries(octets: Buffer, place: string): DockerEntry[] {
  let value: unknown;
  try {
    value = JSON.parse(octets.toString("utf8"));
  } catch {
    throw damaged(place, "it is not JSON");
  }
  const texts = (list: unknown) => Array.isArray(list) && list.every((text) => typeof text === "string");
  if (!Array.isArray(value)) throw damaged(place, "it is not a list of images");
  for (const entry of value as Partial<DockerEntry>[])
    if (
      typeof entry?.Config !== "string" ||
      !texts(entry.Layers) ||
      !(entry.RepoTags == null || texts(entry.RepoTags))
    )
      throw damaged(place, "an image has no Config, Layers and RepoTags");
  return value as DockerEntry[];
}

async function readEntry(
  files: ArchiveFiles,
  { Config, Layers }: DockerEntry,
  place: string,
): Promise<Pick<ArchivedImage, "descriptor" | "read">> {
  const config = await readSmall(files, Config);
  const rootfs = readJson(config, `${place}: ${Config}`)["rootfs"] as { diff_ids?: unknown } | undefined;
  const diffs = Array.isArray(rootfs?.diff_ids) ? (rootfs.diff_ids as unknown[]) : [];
  if (diffs.length !== Layers.length)
    throw damaged(place, `it has ${Layers.length} layers, and its config names ${diffs.length}`);
  const names = new Map<string, string>();
  const layers: Descriptor[] = [];
  for (const [index, name] of Layers.entries()) {
    const layer = await describe(files, name, place);
    // The config vouches for what is not packed; what is packed has another digest than its content.
    if (layer.mediaType === mediaTypes.ociLayer && layer.digest !== diffs[index])
      throw damaged(place, `the layer ${name.slice(0, 200)} is not the one that its config names`);
    layers.push(layer);
    names.set(layer.digest, name);
  }
  const configDescriptor = { mediaType: mediaTypes.ociConfig, digest: digestOf(config), size: config.length };
  const manifest = Buffer.from(
    JSON.stringify({ schemaVersion: 2, mediaType: mediaTypes.ociManifest, config: configDescriptor, layers }),
  );
  const made = new Map([
    [configDescriptor.digest, config],
    [digestOf(manifest), manifest],
  ]);
  return {
    descriptor: { mediaType: mediaTypes.ociManifest, digest: digestOf(manifest), size: manifest.length },
    async *read(wanted) {
      const octets = made.get(wanted.digest);
      const name = names.get(wanted.digest);
      if (octets) yield octets;
      else if (name !== undefined) yield* checked(files.read(name), wanted, place);
      else throw damaged(place, `${wanted.digest} is not in it`);
    },
  };
}

async function describe(files: ArchiveFiles, name: string, place: string): Promise<Descriptor> {
  const size = await files.sizeOf(name);
  if (size === undefined) throw damaged(place, `the layer ${name.slice(0, 200)} is not in it`);
  const hash = createHash("sha256");
  let isPacked: boolean | undefined;
  for await (const chunk of files.read(name)) {
    isPacked ??= chunk[0] === 0x1f && chunk[1] === 0x8b;
    hash.update(chunk);
  }
  const mediaType = isPacked ? `${mediaTypes.ociLayer}+gzip` : mediaTypes.ociLayer;
  return { mediaType, digest: `sha256:${hash.digest("hex")}`, size };
}
