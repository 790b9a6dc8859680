import { createHash } from "node:crypto";
import { LRUCache } from "lru-cache";
import type { ContentStore } from "../content/content-store.ts";
import type { DurationMs, EpochMs, Log } from "../domain/capabilities.ts";
import { parseDigest } from "../registry/digest.ts";
import { isManifestType, longestManifestBytes, mediaTypes, readManifest } from "../registry/manifest.ts";
import { OciError } from "../registry/oci-error.ts";
import type { FoundManifest } from "../registry/registry.ts";
import { isTag } from "../registry/repository-name.ts";
import { upstreamActor } from "../store/upstreams.ts";
import { Abandoned, type Asker, type Demand, SingleFlight } from "./audience.ts";
import { isNoRoom } from "./cached-content.ts";
import { Refusals } from "./refusals.ts";
import { NoSlot } from "./slots.ts";
import type { Place, UpstreamMap } from "./upstream.ts";
import { createUpstreamBlobs, type UpstreamBlobsDeps } from "./upstream-blobs.ts";
import { readAll } from "./upstream-client.ts";
import { UpstreamFault } from "./upstream-fault.ts";

export interface PullThroughDeps extends Omit<UpstreamBlobsDeps, "refusals"> {
  readonly log: Pick<Log, "warn">;
  readonly upstreams: UpstreamMap;
  /** Images that hold the signatures of others. */
  readonly attachments: {
    fetched(manifest: {
      readonly repository: string;
      readonly digest: string;
      readonly tags: readonly string[];
      readonly by: string;
    }): Promise<void>;
    removed(reference: string): void;
  };
  readonly content: UpstreamBlobsDeps["content"] & Pick<ContentStore, "put">;
}

/** A manifest that had no room to be kept. */
export interface PassedManifest extends FoundManifest {
  readonly octets: Buffer;
}

export interface PreparedManifest {
  /** For the client, in the form of the header Warning (RFC 7234 s.5.5): what it gets may be old. */
  readonly warning: string | undefined;
  readonly passed: PassedManifest | undefined;
}

/** So long a tag is taken for what it was when the upstream was asked. */
export const tagLifeMs: DurationMs = 60_000;
/** A tag that the upstream has not is not asked for again before this. */
const absenceLifeMs: DurationMs = 10_000;
/** An upstream that can't be reached is left alone for so long. */
const faultLifeMs: DurationMs = 10_000;
/** Answers that are remembered. */
const rememberedAnswers = 10_000;
const accept = Object.values(mediaTypes).join(", ");

interface Answered {
  readonly until: DurationMs;
  readonly warning?: string | undefined;
  readonly error?: OciError;
}

/** Repositories of upstreams, served as ours: what is asked for is fetched once, kept and given on while it comes. */
export function createPullThrough(deps: PullThroughDeps) {
  const { clock, log, upstreams, clientOf, registry, content, store, cached, attachments } = deps;
  const tags = new LRUCache<string, Answered>({ max: rememberedAnswers });
  const prepared = new SingleFlight<PreparedManifest>();
  const refusals = new Refusals(clock);
  const blobs = createUpstreamBlobs({ ...deps, refusals });
  let staleAnswers = 0;

  const now = () => clock.monotonicMs();
  function known(answers: LRUCache<string, Answered>, key: string): Answered | undefined {
    const answer = answers.get(key);
    return answer && answer.until > now() ? answer : undefined;
  }

  async function fetchManifest(
    place: Place,
    reference: string,
    demand: Demand,
    { method = "GET" as "GET" | "HEAD" } = {},
  ): Promise<{ digest: string | undefined; octets: Buffer; contentType: string | undefined }> {
    const { upstream } = place;
    const answer = await clientOf(place).request(place, {
      method,
      path: `/manifests/${reference}`,
      headers: { accept },
      kind: "small",
      demand,
    });
    try {
      if (answer.status !== 200)
        throw new OciError("MANIFEST_UNKNOWN", `the upstream registry ${upstream.url} has no such manifest`);
      return {
        digest: parseDigest(answer.header("docker-content-digest") ?? "")?.text,
        contentType: answer.header("content-type"),
        octets: method === "HEAD" ? Buffer.of() : await readAll(upstream, answer.body, longestManifestBytes),
      };
    } finally {
      answer.release();
    }
  }

  /** Fetches a manifest and keeps it. @param reference digest, or the tag itself where the upstream tells no digest */
  async function takeManifest(
    place: Place,
    reference: string,
    demand: Demand,
    tag?: string,
  ): Promise<PreparedManifest> {
    const { repository, upstream } = place;
    const { octets, contentType } = await fetchManifest(place, reference, demand);
    const digest = parseDigest(reference);
    const algorithm = digest?.algorithm ?? "sha256";
    const hex = createHash(algorithm).update(octets).digest("hex");
    if (digest && digest.hex !== hex)
      throw new UpstreamFault(upstream, `gave other content (${algorithm}:${hex}) for ${reference}`);
    const type = contentType?.split(";")[0]?.trim().toLowerCase();
    let facts;
    try {
      facts = readManifest(octets, type !== undefined && isManifestType(type) ? type : undefined);
    } catch (error) {
      throw new UpstreamFault(upstream, `gave a manifest that is none: ${(error as Error).message}`);
    }
    const { references, ...rest } = facts;
    const manifest = { ...rest, digest: `${algorithm}:${hex}`, sizeBytes: octets.length };
    const tags = tag === undefined ? [] : [tag];
    try {
      await registry.whileArriving(manifest.digest, async () => {
        await cached.makeRoom(octets.length);
        if (!(await content.find(hex)))
          await content.put([octets], { expected: hex, sizeBytes: octets.length, algorithm });
        await store.registry.saveManifest({
          repository,
          manifest,
          references,
          isCached: true,
          tags,
          by: upstreamActor,
          now: clock.now(),
        });
        cached.added(octets.length);
      });
    } catch (error) {
      if (!isNoRoom(error)) throw error;
      return { warning: undefined, passed: { ...manifest, createdAt: clock.now(), octets } };
    }
    await attachments.fetched({ repository, digest: manifest.digest, tags, by: upstreamActor });
    return { warning: undefined, passed: undefined };
  }

  /** Asks whether the tag leads where it did. */
  async function askForTag(
    place: Place,
    tag: string,
    keptDigest: string | undefined,
    demand: Demand,
  ): Promise<PreparedManifest> {
    const { digest } = await fetchManifest(place, tag, demand, { method: "HEAD" });
    if (digest !== undefined && digest === keptDigest) return { warning: undefined, passed: undefined };
    return takeManifest(place, digest ?? tag, demand, tag);
  }

  async function prepareTag(
    place: Place,
    tag: string,
    key: string,
    demand: Demand,
  ): Promise<PreparedManifest> {
    const kept = store.upstreams.findTag(place.repository, tag);
    try {
      const result = await askForTag(place, tag, kept?.digest, demand);
      if (!result.passed) tags.set(key, { until: now() + tagLifeMs });
      return result;
    } catch (error) {
      if (!(error instanceof OciError) || error instanceof Abandoned) throw error;
      // Who asks next may get a slot; that others ask for too much says nothing of this tag.
      const isCrowded = error instanceof NoSlot;
      const isGone = error.status === 404;
      if (isGone && kept) {
        await store.registry.removeTag(place.repository, tag, clock.now());
        attachments.removed(tag);
      }
      if (isGone || !kept || !(isCrowded || isForStale(error))) {
        if (!isCrowded) tags.set(key, { until: now() + (isGone ? absenceLifeMs : faultLifeMs / 2), error });
        throw error;
      }
      log.warn(
        { upstream: place.upstream.url, repository: place.repository, tag, reason: error.message },
        "an upstream registry fails; what was kept of it is served",
      );
      const warning = warningOf(place, kept.updatedAt, error);
      if (isCrowded) staleAnswers += 1;
      else tags.set(key, { until: now() + faultLifeMs, warning });
      return { warning, passed: undefined };
    }
  }

  function prepareManifest(
    place: Place,
    reference: string,
    asker: Asker,
  ): PreparedManifest | Promise<PreparedManifest> {
    const { repository } = place;
    const key = `${repository}:${reference}`;
    const ready: PreparedManifest = { warning: undefined, passed: undefined };
    if (reference.includes(":")) {
      if (store.registry.findManifest(repository, reference)) {
        cached.touch(repository, reference);
        return ready;
      }
      if (!parseDigest(reference))
        throw new OciError("DIGEST_INVALID", "a digest is sha256: or sha512: and its lower-case hex digits");
      return prepared.run(key, asker, (demand) =>
        refusals.watch(key, () => takeManifest(place, reference, demand)),
      );
    }
    if (!isTag(reference)) throw new OciError("MANIFEST_UNKNOWN", "this is neither a tag nor a digest");
    const kept = store.upstreams.findTag(repository, reference);
    // What was pushed here before the upstream was named stays ours.
    if (kept && !kept.isCached) return ready;
    if (kept) cached.touch(repository, kept.digest);
    const answered = known(tags, key);
    if (answered?.error) throw answered.error;
    if (answered && kept) {
      if (answered.warning !== undefined) staleAnswers += 1;
      return { ...ready, warning: answered.warning };
    }
    return prepared.run(key, asker, (demand) => prepareTag(place, reference, key, demand));
  }

  return {
    upstreams,

    /** What was done, for people and tests. */
    get counts() {
      return { ...blobs.counts, staleAnswers, cachedBytes: cached.totalBytes };
    },

    /**
     * Sees that what the repository has under this reference is what the upstream has, as far as that can be told.
     * @throws OciError MANIFEST_UNKNOWN, DENIED, UNAVAILABLE, TOOMANYREQUESTS
     */
    prepareManifest,

    findBlob: blobs.find,
    fetchBlob: blobs.fetch,
  };
}
export type PullThrough = ReturnType<typeof createPullThrough>;

/** Our login may have been changed there; machines boot all the same. */
const isForStale = (error: OciError) => error instanceof UpstreamFault || error.code === "DENIED";

function warningOf(place: Place, keptAt: EpochMs, error: OciError): string {
  const hasProblem = error instanceof UpstreamFault || error instanceof NoSlot;
  const reason = hasProblem ? error.problem : "does not let this server read there";
  const text = `${place.upstream.url} ${reason}; this tag is as it was at ${new Date(keptAt).toISOString()}`;
  // Codes other than 299 are not allowed (spec.md, "Warnings").
  return `299 - "${text.replaceAll(/[^\x20-\x7e]|["\\]/g, "'")}"`;
}
