import { ArchiveError } from "./archive-error.ts";
import {
  type Descriptor,
  digestOf,
  isIndexType,
  mediaTypes,
  type Platform,
  platformText,
  readManifest,
} from "./manifest.ts";

/** A manifest that lies behind a tag, and what is known of it. */
export interface Tagged {
  readonly descriptor: Descriptor;
  readonly octets: Buffer;
}

/** An image for one platform. */
export type PlatformImage = Descriptor & { readonly platform: Platform };

/** 64-bit ARM has one variant, which only some configs name. */
const keyOf = ({ os, architecture, variant }: Platform): string =>
  platformText({
    os,
    architecture,
    ...(variant === undefined || architecture === "arm64" ? {} : { variant }),
  });

/**
 * What a tag is to lead to when images of some platforms come to it: the image itself where it is the only one, else an index of them
 * all. What the tag has for other platforms stays.
 * @param present what the tag has now: an index, or an image with its platform
 * @returns undefined: the tag has all of it already
 * @throws ArchiveError ARCHIVE_PLATFORM_TWICE
 */
export function mergePlatforms(
  name: string,
  added: readonly PlatformImage[],
  present: Tagged | undefined,
): Descriptor | Tagged | undefined {
  const byPlatform = new Map<string, PlatformImage>();
  for (const image of added) {
    const key = keyOf(image.platform);
    const other = byPlatform.get(key);
    if (other && other.digest !== image.digest)
      throw new ArchiveError(
        "ARCHIVE_PLATFORM_TWICE",
        `${name} is given twice for ${key}: ${other.digest} and ${image.digest}`,
        "Import one of the two archives, or first the one and then the other: the later one stays.",
      );
    byPlatform.set(key, image);
  }
  const kept = entriesOf(name, present).filter(({ platform, digest }) =>
    platform === undefined
      ? ![...byPlatform.values()].some((image) => image.digest === digest)
      : !byPlatform.has(keyOf(platform)),
  );
  const [first, ...others] = [...byPlatform.values()];
  if (first !== undefined && others.length === 0 && kept.length === 0)
    return first.digest === present?.descriptor.digest ? undefined : first;
  const had = new Set(entriesOf(name, present).map(({ digest }) => digest));
  if (present && [...byPlatform.values()].every(({ digest }) => had.has(digest))) return undefined;
  const manifests = [...kept, ...byPlatform.values()].sort((left, right) =>
    sortKey(left) < sortKey(right) ? -1 : 1,
  );
  const octets = Buffer.from(
    JSON.stringify({ schemaVersion: 2, mediaType: mediaTypes.ociIndex, manifests: manifests.map(asEntry) }),
  );
  return {
    octets,
    descriptor: { mediaType: mediaTypes.ociIndex, digest: digestOf(octets), size: octets.length },
  };
}

function entriesOf(name: string, present: Tagged | undefined): readonly Descriptor[] {
  if (present === undefined) return [];
  const { descriptor, octets } = present;
  if (!isIndexType(descriptor.mediaType)) return [descriptor];
  const manifest = readManifest(octets, descriptor.mediaType, name);
  return manifest.kind === "index" ? manifest.manifests : [];
}

const sortKey = ({ platform, digest }: Descriptor): string =>
  `${platform === undefined ? "~" : platformText(platform)} ${digest}`;

/** The name in an archive's index is no annotation of the image. */
function asEntry({ mediaType, digest, size, platform, annotations }: Descriptor): Descriptor {
  const { "org.opencontainers.image.ref.name": _name, ...kept } = annotations ?? {};
  return {
    mediaType,
    digest,
    size,
    ...(platform === undefined ? {} : { platform }),
    ...(Object.keys(kept).length === 0 ? {} : { annotations: kept }),
  };
}
