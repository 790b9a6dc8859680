import { damaged } from "./archive-error.ts";
import { readJson } from "./manifest.ts";

/** What a signature speaks of: containers-signature(5), "The signed content". */
export interface Claim {
  /** `registry.local/p10/pause:3.9` */
  readonly reference: string;
  /** Of the manifest. */
  readonly digest: string;
}

/** The message that is signed. @param seconds of the epoch */
export function signedMessage({ reference, digest }: Claim, creator: string, seconds: number): Buffer {
  return Buffer.from(
    JSON.stringify({
      critical: {
        type: "atomic container signature",
        image: { "docker-manifest-digest": digest },
        identity: { "docker-reference": reference },
      },
      optional: { creator, timestamp: Math.floor(seconds) },
    }),
  );
}

/** What such a message claims; only for one whose signature was checked. @throws ArchiveError ARCHIVE_DAMAGED */
export function claimOf(message: Uint8Array): Claim {
  const place = "a signature";
  const { critical } = readJson(message, place) as {
    critical?: {
      image?: { "docker-manifest-digest"?: unknown };
      identity?: { "docker-reference"?: unknown };
    };
  };
  const digest = critical?.image?.["docker-manifest-digest"];
  const reference = critical?.identity?.["docker-reference"];
  if (typeof digest !== "string" || typeof reference !== "string")
    throw damaged(place, "it names no manifest and reference");
  return { digest, reference };
}
