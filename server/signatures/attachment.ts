import { sigstoreAnnotation, sigstorePayloadType } from "./sigstore.ts";

/** One layer of an image that holds signatures: the payload of one. */
export interface AttachedLayer {
  readonly digest: string;
  /** As the annotation has it. */
  readonly signature: string;
}

const manifestType = "application/vnd.oci.image.manifest.v1+json";

type Fields = Readonly<Record<string, unknown>>;

/**
 * The layers of an image with the tag `sha256-<hex>.sig`. What clients can't read makes them give up the image that it is about. They pass
 * over layers of another kind; here the whole does not count then, for such an image is shown where only signed ones are, and nothing
 * unsigned may come along.
 *
 * @param octets of a manifest that the registry has taken @returns the layers, or what is wrong with it
 */
export function readAttachment(
  octets: Uint8Array,
  mediaType: string,
): readonly AttachedLayer[] | { readonly problem: string } {
  if (mediaType !== manifestType) return { problem: `it is a ${mediaType} and not an OCI image` };
  const { layers } = JSON.parse(new TextDecoder().decode(octets)) as { layers?: Fields[] | null };
  const read: AttachedLayer[] = [];
  for (const { mediaType: type, digest, annotations, urls } of layers ?? []) {
    if (urls !== undefined && urls !== null) return { problem: "a layer of it lies elsewhere" };
    const texts = annotations ?? {};
    if (!isText(type) || !isText(digest) || !areTexts(texts))
      return { problem: "a layer of it has no type, or annotations that are no texts" };
    if (type !== sigstorePayloadType)
      return { problem: `a layer of it is no signature: its type is not ${sigstorePayloadType}` };
    const signature = texts[sigstoreAnnotation];
    if (signature === undefined) return { problem: `a layer of it has no annotation ${sigstoreAnnotation}` };
    read.push({ digest, signature });
  }
  return read;
}

const isText = (value: unknown): value is string => typeof value === "string";

function areTexts(value: unknown): value is Readonly<Record<string, string>> {
  return (
    typeof value === "object" && value !== null && !Array.isArray(value) && Object.values(value).every(isText)
  );
}
