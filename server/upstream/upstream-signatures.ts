import { LRUCache } from "lru-cache";
import type { Clock, DurationMs, Log } from "../domain/capabilities.ts";
import { mostSignatures } from "../domain/signature.ts";
import { parseDigest } from "../registry/digest.ts";
import { OciError } from "../registry/oci-error.ts";
import { isRepositoryName } from "../registry/repository-name.ts";
import { type Asker, type Demand, SingleFlight } from "./audience.ts";
import { Refusals } from "./refusals.ts";
import type { Place, UpstreamMap } from "./upstream.ts";
import { readAll, type UpstreamClient } from "./upstream-client.ts";

export interface UpstreamSignaturesDeps {
  readonly clock: Clock;
  readonly log: Pick<Log, "warn">;
  readonly upstreams: UpstreamMap;
  readonly clientOf: (place: Place) => UpstreamClient;
}

/** Clients look at no longer ones (containers/image). */
const longestSignatureBytes = 4 * 1024 * 1024;
/** All of one image together, as the extension's JSON or one after another. */
const longestListBytes = 16 * 1024 * 1024;
const rememberedBytes = 32 * 1024 * 1024;
const bigEnough = 1024;
/** So long what was found is given without asking; after that it stays for an upstream that can't be reached. */
const lifeMs: DurationMs = 10 * 60_000;
/** So long nobody asks again for what is not there; a signature may come right after its image. */
const absenceLifeMs: DurationMs = 5000;
/** Anybody can ask for signatures of what an upstream has not: its faults are logged once in this time. */
const faultLogMs: DurationMs = 60_000;

/** Signatures that upstreams have of their images, as they are there: verified by nobody here, for who is to trust them the clients know. */
export function createUpstreamSignatures({ clock, log, upstreams, clientOf }: UpstreamSignaturesDeps) {
  const kept = new LRUCache<string, { readonly signatures: readonly Buffer[]; readonly until: DurationMs }>({
    maxSize: rememberedBytes,
    sizeCalculation: ({ signatures }) => signatures.reduce((sum, { length }) => sum + length, bigEnough),
  });
  const flights = new SingleFlight<readonly Buffer[]>();
  const refusals = new Refusals(clock);
  /** Upstreams by prefix: whether they have the extension, and how long that is believed. */
  const extensions = new Map<string, { readonly isThere: boolean; readonly until: DurationMs }>();

  /** `signature-1` and so on, to the first that is not there (containers/image, docs/signature-protocols.md). */
  async function fetchLookaside(place: Place, digest: string, lookaside: string, demand: Demand) {
    const signatures: Buffer[] = [];
    let left = longestListBytes;
    while (signatures.length < mostSignatures) {
      const path = `${place.name}@${digest.replace(":", "=")}/signature-${signatures.length + 1}`;
      const url = new URL(`${lookaside}/${path}`);
      const signature = await clientOf(place).fetchBeside(url, Math.min(longestSignatureBytes, left), demand);
      if (!signature) break;
      left -= signature.length;
      signatures.push(signature);
    }
    return signatures;
  }

  async function hasExtension(place: Place, demand: Demand): Promise<boolean> {
    const { prefix } = place.upstream;
    const known = extensions.get(prefix);
    if (known && known.until > clock.monotonicMs()) return known.isThere;
    const isThere = await clientOf(place).hasSignatures(demand);
    extensions.set(prefix, { isThere, until: clock.monotonicMs() + lifeMs });
    return isThere;
  }

  /** The extension that OpenShift's registry and this one have (the same document). */
  async function fetchExtension(place: Place, digest: string, demand: Demand): Promise<Buffer[]> {
    if (!(await hasExtension(place, demand))) return [];
    const { upstream } = place;
    const answer = await clientOf(place).request(place, {
      method: "GET",
      path: `/signatures/${digest}`,
      kind: "small",
      api: "/extensions/v2",
      demand,
    });
    try {
      if (answer.status !== 200) return [];
      const octets = await readAll(upstream, answer.body, longestListBytes);
      return parseSignatures(octets).slice(0, mostSignatures);
    } finally {
      answer.release();
    }
  }

  const now = () => clock.monotonicMs();
  /** When a fault of an upstream was logged, by prefix. */
  const logged = new Map<string, DurationMs>();

  function tell({ upstream: { prefix, url } }: Place, { message }: OciError): void {
    if (now() < (logged.get(prefix) ?? -Infinity) + faultLogMs) return;
    logged.set(prefix, now());
    log.warn(
      { upstream: url, reason: message },
      "failed to get signatures of an upstream; none are passed on",
    );
  }

  async function find(place: Place, digest: string, asker: Asker): Promise<readonly Buffer[]> {
    const key = `${place.repository}@${digest}`;
    const known = kept.get(key);
    if (known && known.until > now()) return known.signatures;
    try {
      const { lookaside } = place.upstream;
      const signatures = await flights.run(key, asker, (demand) =>
        refusals.watch(key, () =>
          lookaside === undefined
            ? fetchExtension(place, digest, demand)
            : fetchLookaside(place, digest, lookaside, demand),
        ),
      );
      const isThere = signatures.length > 0;
      kept.set(key, { signatures, until: now() + (isThere ? lifeMs : absenceLifeMs) });
      return signatures;
    } catch (error) {
      if (known && known.signatures.length > 0 && error instanceof OciError) return known.signatures;
      throw error;
    }
  }

  return {
    /**
     * The raw signatures of a manifest. Where the upstream can't be asked, those that are remembered, or none: a client that wants one
     * refuses the image then, and one that does not may have it.
     * @returns undefined for a repository of our own
     */
    passedOn(repository: string, digest: string, asker: Asker): Promise<readonly Buffer[]> | undefined {
      const place = upstreams.find(repository);
      // The lookaside's paths are taken from clients: none may lead out of the upstream's own.
      if (!place || !isRepositoryName(repository) || !parseDigest(digest)) return undefined;
      return find(place, digest, asker).catch((error: unknown) => {
        if (!(error instanceof OciError)) throw error;
        if (error.code !== "TOOMANYREQUESTS") tell(place, error);
        return [];
      });
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
