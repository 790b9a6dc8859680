import { mediaTypes } from "./manifest.ts";

/** A manifest whose subject is another one. */
export interface Referrer {
  readonly digest: string;
  readonly mediaType: string;
  readonly sizeBytes: number;
  readonly artifactType: string | undefined;
  readonly annotations: Readonly<Record<string, string>>;
}

/** A page of referrers is at most so long, octets, but for one that is longer alone: clients take manifests of this length. */
const longestPageBytes = 4 * 1024 * 1024;

export interface ReferrerPage {
  /** The index as JSON (spec.md, "Listing Referrers"). */
  readonly body: string;
  /** Digest of the last one in it, where there are more. */
  readonly last: string | undefined;
}

/** Hidden ones that are passed over for one page: each is judged, and everybody else waits meanwhile. */
const mostHidden = 500;

/** @param referrers in an order that stays @param isShown may the one who asks know of it? */
export function formatReferrers<R extends Referrer>(
  referrers: Iterable<R>,
  isShown: (referrer: R) => boolean = () => true,
): ReferrerPage {
  const descriptors: string[] = [];
  let length = 0;
  let last: string | undefined;
  let hidden = 0;
  for (const referrer of referrers) {
    const { digest, mediaType, sizeBytes, artifactType, annotations } = referrer;
    if (!isShown(referrer)) {
      last = digest;
      hidden += 1;
      if (hidden === mostHidden) return { body: indexOf(descriptors), last };
      continue;
    }
    const descriptor = JSON.stringify({
      mediaType,
      digest,
      size: sizeBytes,
      ...(artifactType !== undefined && { artifactType }),
      ...(Object.keys(annotations).length > 0 && { annotations }),
    });
    if (descriptors.length > 0 && length + descriptor.length > longestPageBytes)
      return { body: indexOf(descriptors), last };
    descriptors.push(descriptor);
    length += descriptor.length;
    last = digest;
  }
  return { body: indexOf(descriptors), last: undefined };
}

const indexOf = (descriptors: readonly string[]) =>
  `{"schemaVersion":2,"mediaType":"${mediaTypes.ociIndex}","manifests":[${descriptors.join(",")}]}`;
