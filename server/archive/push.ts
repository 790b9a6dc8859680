import { ArchiveError, damaged } from "./archive-error.ts";
import {
  collect,
  type Descriptor,
  isContainerImage,
  isIndexType,
  isManifestType,
  type Manifest,
  type Platform,
  platformText,
  readManifest,
  readPlatform,
  refuseLongManifest,
} from "./manifest.ts";
import { mergePlatforms, type PlatformImage, type Tagged } from "./merge-platforms.ts";
import type { ArchivedImage } from "./oci-layout.ts";
import { aliasesOf, type TaggedName, textOfName } from "./reference.ts";
import type { RegistryClient } from "./registry-client.ts";

export interface PushOptions {
  /** Only look what would be sent, and check what is in the archives. */
  readonly isDryRun?: boolean;
  /** The tag leads to what the archives have, and to nothing for other platforms. */
  readonly isReplacing?: boolean;
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: (progress: PushProgress) => void;
}

export interface PushProgress {
  readonly name: string;
  /** From 1. */
  readonly number: number;
  readonly count: number;
  readonly doneBytes: number;
  readonly totalBytes: number;
}

export interface PushResult {
  readonly name: string;
  /** What the tag leads to: manifest or index. */
  readonly digest: string | undefined;
  readonly platforms: readonly string[];
  /** Octets of blobs that were (or would be) sent, and that the registry had already. */
  readonly sentBytes: number;
  readonly presentBytes: number;
  readonly error: { readonly code: string; readonly message: string; readonly advice: string } | undefined;
}

/** Failures that the next image would only meet again. */
const finalCodes: ReadonlySet<string> = new Set(["TRANSFER_UNREACHABLE", "TRANSFER_CANCELLED"]);

/**
 * Sends images to a registry, bit for bit. Those of one name for several platforms become one index. What the registry has is not sent
 * again, so that the same call goes on where one ended; an image that fails does not hold up the others.
 */
export async function pushImages(
  images: readonly ArchivedImage[],
  registry: RegistryClient,
  options: PushOptions = {},
): Promise<PushResult[]> {
  const byName = new Map<string, { name: TaggedName; sources: ArchivedImage[] }>();
  for (const image of images)
    for (const name of [image.name, ...aliasesOf(image.name)]) {
      const entry = byName.get(textOfName(name)) ?? { name, sources: [] };
      entry.sources.push(image);
      byName.set(textOfName(name), entry);
    }
  const results: PushResult[] = [];
  /** Where a blob lies in this registry, as far as this run knows. */
  const homes = new Map<string, string>();
  let ended: PushResult["error"];
  for (const { name, sources } of byName.values()) {
    const number = results.length + 1;
    const work = new ImagePush(name, sources, registry, homes, options, (doneBytes, totalBytes) =>
      options.onProgress?.({ name: textOfName(name), number, count: byName.size, doneBytes, totalBytes }),
    );
    if (ended) {
      results.push(work.result(undefined, ended));
      continue;
    }
    try {
      results.push(work.result(await work.run(), undefined));
    } catch (error) {
      if (!(error instanceof ArchiveError)) throw error;
      const { code, message, advice } = error;
      results.push(work.result(undefined, { code, message, advice }));
      if (finalCodes.has(code)) ended = { code, message, advice };
    }
  }
  return results;
}

/** A manifest of an archive with what it is made of. */
interface Node {
  readonly descriptor: Descriptor;
  readonly octets: Buffer;
  readonly manifest: Manifest;
  readonly source: ArchivedImage;
  readonly children: readonly Node[];
}

/** An index of indexes is allowed; deeper ones nobody makes. */
const deepest = 2;

class ImagePush {
  readonly #name: TaggedName;
  readonly #sources: readonly ArchivedImage[];
  readonly #registry: RegistryClient;
  readonly #homes: Map<string, string>;
  readonly #options: PushOptions;
  readonly #onBytes: (doneBytes: number, totalBytes: number) => void;
  readonly #platforms = new Set<string>();
  #sentBytes = 0;
  #presentBytes = 0;
  #doneBytes = 0;
  #totalBytes = 0;

  constructor(
    name: TaggedName,
    sources: readonly ArchivedImage[],
    registry: RegistryClient,
    homes: Map<string, string>,
    options: PushOptions,
    onBytes: (doneBytes: number, totalBytes: number) => void,
  ) {
    this.#name = name;
    this.#sources = sources;
    this.#registry = registry;
    this.#homes = homes;
    this.#options = options;
    this.#onBytes = onBytes;
  }

  result(digest: string | undefined, error: PushResult["error"]): PushResult {
    return {
      name: textOfName(this.#name),
      digest,
      platforms: [...this.#platforms].sort(),
      sentBytes: this.#sentBytes,
      presentBytes: this.#presentBytes,
      error,
    };
  }

  /** @returns the digest that the tag leads to */
  async run(): Promise<string> {
    const roots: Node[] = [];
    for (const source of this.#sources) roots.push(await this.#load(source, source.descriptor, 0));
    const all = roots.flatMap((root) => flatten(root));
    const blobs = new Map(
      all.flatMap(({ manifest, source }) =>
        manifest.kind === "index"
          ? []
          : [manifest.config, ...manifest.layers].map((blob) => [blob.digest, { blob, source }] as const),
      ),
    );
    for (const { blob } of blobs.values()) this.#totalBytes += blob.size;
    for (const { blob, source } of blobs.values()) await this.#sendBlob(blob, source);
    // Children first: a registry takes no index before its manifests.
    for (const node of all.toReversed()) await this.#putByDigest(node);
    return this.#tag(roots);
  }

  async #load(source: ArchivedImage, descriptor: Descriptor, depth: number): Promise<Node> {
    const { place } = source;
    refuseLongManifest(descriptor, place);
    if (depth > deepest) throw damaged(place, "it has an index in an index in an index");
    const octets = await collect(source.read(descriptor));
    const manifest = readManifest(octets, descriptor.mediaType, `${place}: ${descriptor.digest}`);
    const children: Node[] = [];
    if (manifest.kind === "index")
      for (const child of manifest.manifests) children.push(await this.#load(source, child, depth + 1));
    return { descriptor, octets, manifest, source, children };
  }

  async #sendBlob(blob: Descriptor, source: ArchivedImage): Promise<void> {
    const { repository } = this.#name;
    const begun = this.#doneBytes;
    const progress = (bytes: number) => {
      this.#doneBytes = begun + bytes;
      this.#onBytes(this.#doneBytes, this.#totalBytes);
    };
    const isThere = (await this.#registry.hasBlob(repository, blob.digest)) || (await this.#mount(blob));
    if (isThere) this.#presentBytes += blob.size;
    else this.#sentBytes += blob.size;
    if (this.#options.isDryRun) for await (const _chunk of source.read(blob)) continue;
    else if (!isThere)
      await this.#registry.pushBlob(repository, blob, () => counted(source.read(blob), progress));
    this.#homes.set(blob.digest, repository);
    progress(blob.size);
  }

  async #mount({ digest }: Descriptor): Promise<boolean> {
    const home = this.#homes.get(digest);
    if (home === undefined || home === this.#name.repository) return false;
    return (
      this.#options.isDryRun === true || (await this.#registry.mountBlob(this.#name.repository, digest, home))
    );
  }

  async #putByDigest({ descriptor, octets }: Node): Promise<void> {
    const { repository } = this.#name;
    const { digest, mediaType } = descriptor;
    if (this.#options.isDryRun || (await this.#registry.hasManifest(repository, digest, digest))) return;
    await this.#registry.putManifest(repository, digest, { octets, mediaType });
  }

  async #tag(roots: readonly Node[]): Promise<string> {
    const { repository, tag } = this.#name;
    const target = await this.#target(roots);
    const { descriptor, octets } = target;
    const { digest, mediaType } = descriptor;
    if (!this.#options.isDryRun && !(await this.#registry.hasManifest(repository, tag, digest)))
      await this.#registry.putManifest(repository, tag, { octets, mediaType });
    return digest;
  }

  /** What the tag is to lead to. */
  async #target(roots: readonly Node[]): Promise<Tagged> {
    const [first, ...others] = roots;
    // An index that came as one stays as it is, and so does what runs nowhere (an artifact).
    if (
      first &&
      others.length === 0 &&
      (first.manifest.kind === "index" || !isContainerImage(first.manifest))
    ) {
      for (const node of flatten(first)) if (isContainerImage(node.manifest)) await this.#platformOf(node);
      return first;
    }
    const leaves = roots.flatMap((root) => flatten(root)).filter(({ manifest }) => manifest.kind === "image");
    const added: PlatformImage[] = [];
    for (const leaf of leaves) added.push({ ...leaf.descriptor, platform: await this.#platformOf(leaf) });
    const present = this.#options.isReplacing ? undefined : await this.#present();
    const merged = mergePlatforms(textOfName(this.#name), added, present);
    if (merged === undefined && present) return present;
    if (merged && "octets" in merged) return merged;
    const leaf = leaves.find(({ descriptor }) => descriptor.digest === merged?.digest);
    if (!leaf) throw new Error("the image that the tag leads to is none of those that came");
    return leaf;
  }

  async #platformOf({ manifest, source }: Node): Promise<Platform> {
    if (manifest.kind === "index") throw new Error("an index has no platform");
    // The config is what runs; the descriptor only says so. skopeo writes its own platform there.
    const place = `${source.place}: ${manifest.config.digest}`;
    refuseLongManifest(manifest.config, source.place);
    const platform = readPlatform(await collect(source.read(manifest.config)), place);
    this.#platforms.add(platformText(platform));
    return platform;
  }

  async #present(): Promise<Tagged | undefined> {
    const { repository, tag } = this.#name;
    const found = await this.#registry.manifest(repository, tag);
    // What is of no kind that can be merged gives way.
    if (!found || !isManifestType(found.mediaType)) return undefined;
    const { digest, mediaType, octets } = found;
    const descriptor: Descriptor = { digest, mediaType, size: octets.length };
    if (isIndexType(mediaType)) return { descriptor, octets };
    const place = `${this.#registry.origin}: ${textOfName(this.#name)}`;
    const manifest = readManifest(octets, mediaType, place);
    if (manifest.kind === "index" || !isContainerImage(manifest)) return undefined;
    refuseLongManifest(manifest.config, place);
    const config = await collect(this.#registry.readBlob(repository, manifest.config));
    return { descriptor: { ...descriptor, platform: readPlatform(config, place) }, octets };
  }
}

const flatten = (node: Node): Node[] => [node, ...node.children.flatMap((child) => flatten(child))];

async function* counted(
  octets: AsyncIterable<Uint8Array>,
  onBytes: (bytes: number) => void,
): AsyncGenerator<Uint8Array> {
  let bytes = 0;
  for await (const chunk of octets) {
    bytes += chunk.length;
    onBytes(bytes);
    yield chunk;
  }
}
