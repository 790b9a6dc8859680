import { type Digest, parseDigest } from "./digest.ts";
import { OciError } from "./oci-error.ts";

export const mediaTypes = {
  ociManifest: "application/vnd.oci.image.manifest.v1+json",
  ociIndex: "application/vnd.oci.image.index.v1+json",
  dockerManifest: "application/vnd.docker.distribution.manifest.v2+json",
  dockerList: "application/vnd.docker.distribution.manifest.list.v2+json",
} as const;
const manifestTypes: ReadonlySet<string> = new Set([mediaTypes.ociManifest, mediaTypes.dockerManifest]);
const indexTypes: ReadonlySet<string> = new Set([mediaTypes.ociIndex, mediaTypes.dockerList]);

export const isManifestType = (type: string): boolean => manifestTypes.has(type) || indexTypes.has(type);

/** The specification asks for at least 4 MiB. */
export const longestManifestBytes = 4 * 1024 * 1024;
/** Descriptors of one manifest; images have some dozens of layers, indexes a platform each. */
const mostReferences = 10_000;

export type ReferenceKind = "config" | "layer" | "manifest" | "blob";

export interface Reference {
  readonly kind: ReferenceKind;
  readonly digest: string;
  /** Clients fetch it elsewhere; it may be here all the same, and is kept then. */
  readonly isForeign?: true;
}

/** What the registry must know of a manifest; the octets themselves are kept as they came. */
export interface ManifestFacts {
  readonly mediaType: string;
  /** Of an artifact: its own field, or the media type of its config (spec.md, "Listing Referrers"). */
  readonly artifactType: string | undefined;
  readonly configMediaType: string | undefined;
  readonly subject: string | undefined;
  readonly annotations: Readonly<Record<string, string>>;
  /** What must be there before the manifest is taken, but for what is foreign. The subject is not among them. */
  readonly references: readonly Reference[];
}

type Fields = Readonly<Record<string, unknown>>;

const isObject = (value: unknown): value is Fields =>
  typeof value === "object" && value !== null && !Array.isArray(value);

function invalid(problem: string): OciError {
  return new OciError("MANIFEST_INVALID", `the manifest was refused: ${problem}`);
}

/**
 * Reads what a manifest or index references.
 * @param contentType of the request; undefined: what the manifest says of itself @throws OciError MANIFEST_INVALID
 */
export function readManifest(octets: Uint8Array, contentType: string | undefined): ManifestFacts {
  let fields: unknown;
  try {
    fields = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(octets));
  } catch {
    throw invalid("it is not JSON in UTF-8");
  }
  if (!isObject(fields)) throw invalid("it is not a JSON object");
  const mediaType = typeOf(fields, contentType);
  if (fields["schemaVersion"] !== 2) throw invalid("schemaVersion must be 2");
  const isIndex = indexTypes.has(mediaType);
  const references = isIndex ? readIndex(fields) : readImage(fields);
  if (references.length > mostReferences) throw invalid(`it has more than ${mostReferences} descriptors`);
  const config = isIndex ? undefined : (fields["config"] as Fields);
  const configMediaType = textOf(config, "mediaType");
  return {
    mediaType,
    artifactType: textOf(fields, "artifactType") ?? configMediaType,
    configMediaType,
    subject: fields["subject"] === undefined ? undefined : digestOf(fields["subject"], "subject").text,
    annotations: readAnnotations(fields["annotations"]),
    references,
  };
}

function typeOf(fields: Fields, contentType: string | undefined): string {
  const own = textOf(fields, "mediaType");
  const said = contentType?.split(";")[0]?.trim().toLowerCase() || undefined;
  if (own !== undefined && said !== undefined && own !== said)
    throw invalid(`the request calls it ${said.slice(0, 100)}, and it calls itself ${own.slice(0, 100)}`);
  const type =
    own ?? said ?? (Array.isArray(fields["manifests"]) ? mediaTypes.ociIndex : mediaTypes.ociManifest);
  if (!isManifestType(type))
    throw invalid(`its type ${type.slice(0, 100)} is none of ${Object.values(mediaTypes).join(", ")}`);
  // What is both would be an image to one client and an index to another (CVE-2021-41190).
  const stranger = indexTypes.has(type) ? ["config", "layers"] : ["manifests"];
  if (stranger.some((name) => fields[name] !== undefined))
    throw invalid(`a ${type} has no ${stranger.join(" and no ")}`);
  return type;
}

function readImage(fields: Fields): Reference[] {
  const { config, layers } = fields;
  if (!isObject(config)) throw invalid("config is missing");
  if (layers !== undefined && !Array.isArray(layers)) throw invalid("layers is not a list");
  return [
    { kind: "config", digest: digestOf(config, "config").text },
    ...((layers ?? []) as unknown[]).map((layer, index): Reference => {
      const digest = digestOf(layer, `layers[${index}]`).text;
      return { kind: "layer", digest, ...(isForeign(layer as Fields) && { isForeign: true }) };
    }),
  ];
}

/** Layers that may not be passed on are fetched from their own addresses (image specification, layer.md). */
function isForeign(layer: Fields): boolean {
  const type = textOf(layer, "mediaType") ?? "";
  return type.includes(".nondistributable.") || type.includes(".foreign.");
}

function readIndex(fields: Fields): Reference[] {
  const { manifests } = fields;
  if (!Array.isArray(manifests)) throw invalid("manifests is missing");
  return manifests.map((child: unknown, index): Reference => {
    const digest = digestOf(child, `manifests[${index}]`).text;
    const kind = isManifestType(textOf(child as Fields, "mediaType") ?? "") ? "manifest" : "blob";
    return { kind, digest };
  });
}

function digestOf(descriptor: unknown, place: string): Digest {
  if (!isObject(descriptor)) throw invalid(`${place} is not a descriptor`);
  const digest = parseDigest(textOf(descriptor, "digest") ?? "");
  if (!digest) throw invalid(`${place}.digest is neither sha256 nor sha512`);
  const { size } = descriptor;
  if (!Number.isSafeInteger(size) || (size as number) < 0) throw invalid(`${place}.size is not a length`);
  return digest;
}

function textOf(fields: Fields | undefined, name: string): string | undefined {
  const value = fields?.[name];
  return typeof value === "string" && value !== "" ? value : undefined;
}

function readAnnotations(value: unknown): Record<string, string> {
  if (value === undefined || value === null) return {};
  if (!isObject(value) || Object.values(value).some((text) => typeof text !== "string"))
    throw invalid("annotations is not a mapping of texts");
  return value as Record<string, string>;
}
