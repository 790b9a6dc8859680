import { LRUCache } from "lru-cache";
import type { Clock, DurationMs } from "../domain/capabilities.ts";
import { parseDigest } from "../registry/digest.ts";
import { SingleFlight } from "./slots.ts";
import type { Place, UpstreamMap } from "./upstream.ts";
import { readAll, type UpstreamClient } from "./upstream-client.ts";
import { UpstreamFault } from "./upstream-fault.ts";

export interface UpstreamSignaturesDeps {
  readonly clock: Clock;
  readonly upstreams: UpstreamMap;
  readonly clientOf: (place: Place) => UpstreamClient;
}

/** Clients look at so many, and no longer ones (containers/image). */
const mostSignatures = 128;
const longestSignatureBytes = 4 * 1024 * 1024;
const longestListBytes = 16 * 1024 * 1024;
const rememberedBytes = 32 * 1024 * 1024;
/** So long what was found is given without asking; after that it stays for an upstream that can't be reached. */
const lifeMs: DurationMs = 10 * 60_000;
const bigEnough = 1024;

/** Signatures that upstreams have of their images, as they are there. */
export function createUpstreamSignatures({ clock, upstreams, clientOf }: UpstreamSignaturesDeps) {
  const kept = new LRUCache<string, { readonly signatures: readonly Buffer[]; readonly until: DurationMs }>({
    maxSize: rememberedBytes,
    sizeCalculation: ({ signatures }) => signatures.reduce((sum, { length }) => sum + length, bigEnough),
  });
  const flights = new SingleFlight<readonly Buffer[]>();

  /** `signature-1` and so on, to the first that is not there (containers/image, docs/signature-protocols.md). */
  async function fetchLookaside(place: Place, lookaside: string, digest: string): Promise<Buffer[]> {
    const signatures: Buffer[] = [];
    while (signatures.length < mostSignatures) {
      const path = `${place.name}@${digest.replace(":", "=")}/signature-${signatures.length + 1}`;
      const signature = await clientOf(place).fetchBeside(
        new URL(`${lookaside}/${path}`),
        longestSignatureBytes,
      );
      if (!signature) break;
      signatures.push(signature);
    }
    return signatures;
  }

  /** The extension that OpenShift's registry and this one have (the same document). */
  async function fetchExtension(place: Place, digest: string): Promise<Buffer[]> {
    const { upstream } = place;
    const answer = await clientOf(place).request(place, {
      method: "GET",
      path: `/signatures/${digest}`,
      kind: "small",
      api: "/extensions/v2",
    });
    try {
      if (answer.status !== 200) return [];
      const octets = await readAll(upstream, answer.body, longestListBytes);
      return parseSignatures(octets).slice(0, mostSignatures);
    } finally {
      answer.release();
    }
  }

  return {
    /**
     * The raw signatures of a manifest, verified by nobody yet. What is there is remembered; that nothing is there is not.
     * @returns nothing for a repository of our own @throws UpstreamFault when the upstream can't be reached and nothing is remembered
     */
    async upstreamSignatures(repository: string, digest: string): Promise<readonly Buffer[]> {
      const place = upstreams.find(repository);
      if (!place || !parseDigest(digest)) return [];
      const key = `${repository}@${digest}`;
      const known = kept.get(key);
      if (known && known.until > clock.monotonicMs()) return known.signatures;
      try {
        const signatures = await flights.run(key, async () => {
          const { lookaside } = place.upstream;
          return lookaside === undefined
            ? fetchExtension(place, digest)
            : fetchLookaside(place, lookaside, digest);
        });
        if (signatures.length > 0) kept.set(key, { signatures, until: clock.monotonicMs() + lifeMs });
        return signatures;
      } catch (error) {
        if (known && error instanceof UpstreamFault) return known.signatures;
        throw error;
      }
    },
  };
}
export type UpstreamSignatures = ReturnType<typeof createUpstreamSignatures>;

function parseSignatures(octets: Buffer): Buffer[] {
  try {
    const { signatures } = JSON.parse(octets.toString()) as { signatures?: unknown };
    if (!Array.isArray(signatures)) return [];
    return signatures.flatMap((one: unknown) => {
      const { type, content } = (one ?? {}) as { type?: unknown; content?: unknown };
      return type === "atomic" && typeof content === "string" ? [Buffer.from(content, "base64")] : [];
    });
  } catch {
    return [];
  }
}
