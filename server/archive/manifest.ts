import { createHash, type Hash } from "node:crypto";
import { parseDigest } from "../registry/digest.ts";
import { isManifestType, longestManifestBytes, mediaTypes as manifestTypes } from "../registry/manifest.ts";
import { ArchiveError, damaged } from "./archive-error.ts";

export { isManifestType, longestManifestBytes };

export const mediaTypes = {
  ...manifestTypes,
  ociConfig: "application/vnd.oci.image.config.v1+json",
  ociLayer: "application/vnd.oci.image.layer.v1.tar",
} as const;
const indexTypes: ReadonlySet<string> = new Set([mediaTypes.ociIndex, mediaTypes.dockerList]);
const imageTypes: ReadonlySet<string> = new Set([mediaTypes.ociManifest, mediaTypes.dockerManifest]);
export const isIndexType = (type: string): boolean => indexTypes.has(type);

const mostDescriptors = 10_000;

export interface Platform {
  readonly os: string;
  readonly architecture: string;
  readonly variant?: string;
}

/** OCI image specification, descriptor.md. What else stands in one is kept. */
export interface Descriptor {
  readonly mediaType: string;
  /** `sha256:<hex>` or `sha512:<hex>` */
  readonly digest: string;
  /** Octets. */
  readonly size: number;
  readonly platform?: Platform;
  readonly annotations?: Readonly<Record<string, string>>;
}

export type Manifest =
  | { readonly kind: "image"; readonly config: Descriptor; readonly layers: readonly Descriptor[] }
  | { readonly kind: "index"; readonly manifests: readonly Descriptor[] };

export const isDigest = (text: string): boolean => parseDigest(text) !== undefined;

/** Of an algorithm that `isDigest` allows. */
export const hashFor = (digest: string): Hash => createHash(digest.slice(0, 6));

export function digestOf(octets: Uint8Array): string {
  return `sha256:${createHash("sha256").update(octets).digest("hex")}`;
}

const configTypes: ReadonlySet<string> = new Set([
  mediaTypes.ociConfig,
  "application/vnd.docker.container.image.v1+json",
]);
/** And no artifact, which has the form of an image and nothing to run. */
export const isContainerImage = (manifest: Manifest): boolean =>
  manifest.kind === "image" && configTypes.has(manifest.config.mediaType);

export const platformText = ({ os, architecture, variant }: Platform): string =>
  `${os}/${architecture}${variant === undefined ? "" : `/${variant}`}`;

type Fields = Readonly<Record<string, unknown>>;
const isObject = (value: unknown): value is Fields =>
  typeof value === "object" && value !== null && !Array.isArray(value);

/** @param place file or image that it is of @throws ArchiveError ARCHIVE_DAMAGED */
export function readJson(octets: Uint8Array, place: string): Fields {
  let value: unknown;
  try {
    value = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(octets));
  } catch {
    throw damaged(place, "it is not JSON in UTF-8");
  }
  if (!isObject(value)) throw damaged(place, "it is not a JSON object");
  return value;
}

/** @throws ArchiveError ARCHIVE_DAMAGED */
export function readDescriptors(value: unknown, place: string): Descriptor[] {
  if (!Array.isArray(value)) throw damaged(place, "it is not a list");
  if (value.length > mostDescriptors) throw damaged(place, `it has more than ${mostDescriptors} entries`);
  return value.map((one, index) => readDescriptor(one, `${place}[${index}]`));
}

function readDescriptor(value: unknown, place: string): Descriptor {
  if (!isObject(value)) throw damaged(place, "it is not a descriptor");
  const { mediaType, digest, size, annotations, platform } = value;
  if (typeof mediaType !== "string" || mediaType.length > 255) throw damaged(place, "mediaType is missing");
  if (typeof digest !== "string" || !isDigest(digest))
    throw damaged(place, "digest is neither sha256 nor sha512");
  if (!Number.isSafeInteger(size) || (size as number) < 0) throw damaged(place, "size is not a length");
  if (
    annotations !== undefined &&
    (!isObject(annotations) || Object.values(annotations).some((text) => typeof text !== "string"))
  )
    throw damaged(place, "annotations is not a mapping of texts");
  if (platform !== undefined && !isPlatform(platform))
    throw damaged(place, "platform has no os and architecture");
  return value as unknown as Descriptor;
}

function isPlatform(value: unknown): value is Platform {
  return (
    isObject(value) &&
    typeof value["os"] === "string" &&
    typeof value["architecture"] === "string" &&
    (value["variant"] === undefined || typeof value["variant"] === "string")
  );
}

/** @param mediaType as the descriptor or the registry says it @throws ArchiveError ARCHIVE_DAMAGED */
export function readManifest(octets: Uint8Array, mediaType: string, place: string): Manifest {
  const fields = readJson(octets, place);
  const own = fields["mediaType"];
  if (own !== undefined && own !== mediaType)
    throw damaged(
      place,
      `it calls itself ${JSON.stringify(own).slice(0, 100)}, and is referred to as ${mediaType}`,
    );
  if (isIndexType(mediaType))
    return { kind: "index", manifests: readDescriptors(fields["manifests"], `${place}: manifests`) };
  if (!imageTypes.has(mediaType))
    throw damaged(
      place,
      `${mediaType.slice(0, 100)} is none of ${[...imageTypes, ...indexTypes].join(", ")}`,
    );
  return {
    kind: "image",
    config: readDescriptor(fields["config"], `${place}: config`),
    layers: readDescriptors(fields["layers"] ?? [], `${place}: layers`),
  };
}

/** What an image's config says it runs on (OCI image specification, config.md). @throws ArchiveError ARCHIVE_DAMAGED */
export function readPlatform(config: Uint8Array, place: string): Platform {
  const fields = readJson(config, place);
  if (!isPlatform(fields)) throw damaged(place, "it does not say os and architecture");
  const { os, architecture, variant } = fields;
  return { os, architecture, ...(variant === undefined || variant === "" ? {} : { variant }) };
}

/** A manifest must not be a program of its own; @throws ArchiveError ARCHIVE_TOO_LARGE */
export function refuseLongManifest({ digest, size }: Descriptor, place: string): void {
  if (size <= longestManifestBytes) return;
  throw new ArchiveError(
    "ARCHIVE_TOO_LARGE",
    `${place}: the manifest or config ${digest} has ${size} octets, more than the ${longestManifestBytes} that registries take`,
    "This is no image; look at where the archive comes from.",
  );
}

/**
 * Hands on what it reads, and its last octets only when all of them have the digest: who sends it on never sends the whole of
 * something else. @throws ArchiveError ARCHIVE_DIGEST_MISMATCH
 */
export async function* checked(
  octets: AsyncIterable<Uint8Array>,
  { digest, size }: Pick<Descriptor, "digest" | "size">,
  place: string,
): AsyncGenerator<Uint8Array> {
  const hash = hashFor(digest);
  let bytes = 0;
  let held: Uint8Array | undefined;
  const mismatch = (problem: string) =>
    new ArchiveError(
      "ARCHIVE_DIGEST_MISMATCH",
      `${place}: ${digest} ${problem}`,
      "It was changed or cut on its way, and nothing of it was taken. Copy or make it again, and compare its sha256sum with the original's.",
    );
  for await (const chunk of octets) {
    bytes += chunk.length;
    if (bytes > size) throw mismatch(`has more than the ${size} octets it should have`);
    hash.update(chunk);
    if (held) yield held;
    held = chunk;
  }
  if (bytes !== size) throw mismatch(`has ${bytes} octets and should have ${size}`);
  const found = `${digest.slice(0, 6)}:${hash.digest("hex")}`;
  if (found !== digest) throw mismatch(`has other content: its digest is ${found}`);
  if (held) yield held;
}

export async function collect(octets: AsyncIterable<Uint8Array>): Promise<Buffer> {
  const chunks: Uint8Array[] = [];
  for await (const chunk of octets) chunks.push(chunk);
  return Buffer.concat(chunks);
}
