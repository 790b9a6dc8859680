import { createHash } from "node:crypto";
import { LRUCache } from "lru-cache";
import type { ContentStore } from "../content/content-store.ts";
import type { Clock, DurationMs, EpochMs, Log } from "../domain/capabilities.ts";
import { RollcallError } from "../domain/errors.ts";
import { type Digest, parseDigest } from "../registry/digest.ts";
import { isManifestType, longestManifestBytes, mediaTypes, readManifest } from "../registry/manifest.ts";
import { OciError } from "../registry/oci-error.ts";
import type { FoundManifest, Registry } from "../registry/registry.ts";
import { isTag } from "../registry/repository-name.ts";
import type { RegistryRepository } from "../store/registry.ts";
import type { UpstreamRepository } from "../store/upstreams.ts";
import type { CachedContent } from "./cached-content.ts";
import { type Download, type DownloadPart, startDownload } from "./download.ts";
import type { ReadableFile } from "./growing-file.ts";
import { passThrough } from "./pass-through.ts";
import { SingleFlight } from "./slots.ts";
import type { Place, UpstreamMap } from "./upstream.ts";
import { readAll, type UpstreamClient } from "./upstream-client.ts";
import { UpstreamFault } from "./upstream-fault.ts";

export interface PullThroughDeps {
  readonly clock: Clock;
  readonly log: Pick<Log, "warn">;
  readonly upstreams: UpstreamMap;
  readonly clientOf: (place: Place) => UpstreamClient;
  readonly registry: Pick<Registry, "whileArriving" | "openBlob">;
  readonly content: Pick<ContentStore, "find" | "put" | "adopt" | "refuseWhenFull">;
  readonly store: { readonly registry: RegistryRepository; readonly upstreams: UpstreamRepository };
  readonly cached: CachedContent;
  /** Where downloads under way lie; of the content store's file system. */
  readonly directory: string;
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

/** A blob that comes right now. */
export interface ArrivingBlob {
  readonly sizeBytes: number;
  /** False: it can be read once, from its first octet on. */
  readonly isSeekable: boolean;
  open(): Promise<ReadableFile>;
}

/** So long a tag is taken for what it was when the upstream was asked. */
export const tagLifeMs: DurationMs = 60_000;
/** What the upstream has not is not asked for again before this. */
const absenceLifeMs: DurationMs = 10_000;
/** An upstream that can't be reached is left alone for so long. */
const faultLifeMs: DurationMs = 10_000;
/** Answers that are remembered. */
const rememberedAnswers = 10_000;
/** Without a word of its upstream a blob may have so many octets. */
const mostUnannouncedBytes = 64 * 1024 ** 3;
const accept = Object.values(mediaTypes).join(", ");
/** Who put a tag of an upstream here, in the list of tags. */
const actor = "upstream";

interface Answered {
  readonly until: DurationMs;
  readonly warning?: string | undefined;
  readonly error?: OciError;
}

/** Repositories of upstreams, served as ours: what is asked for is fetched once, kept and given on while it comes. */
export function createPullThrough(deps: PullThroughDeps) {
  const { clock, log, upstreams, clientOf, registry, content, store, cached } = deps;
  const tags = new LRUCache<string, Answered>({ max: rememberedAnswers });
  const absent = new LRUCache<string, Answered>({ max: rememberedAnswers });
  const prepared = new SingleFlight<PreparedManifest>();
  const sizes = new SingleFlight<number | undefined>();
  const links = new SingleFlight<boolean>();
  /** Under way, by upstream and digest. */
  const downloads = new Map<string, { readonly repository: string; readonly download: Promise<Download> }>();
  const counts = { downloads: 0, receivedBytes: 0, staleAnswers: 0 };

  const now = () => clock.monotonicMs();
  function known(answers: LRUCache<string, Answered>, key: string): Answered | undefined {
    const answer = answers.get(key);
    return answer && answer.until > now() ? answer : undefined;
  }

  // --- manifests --------------------------------------------------------------------------------------------------

  async function fetchManifest(
    place: Place,
    reference: string,
    { method = "GET" as "GET" | "HEAD" } = {},
  ): Promise<{ digest: string | undefined; octets: Buffer; contentType: string | undefined }> {
    const { upstream } = place;
    const answer = await clientOf(place).request(place, {
      method,
      path: `/manifests/${reference}`,
      headers: { accept },
      kind: "small",
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
  async function takeManifest(place: Place, reference: string, tag?: string): Promise<PreparedManifest> {
    const { repository, upstream } = place;
    const { octets, contentType } = await fetchManifest(place, reference);
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
    const save = { repository, manifest, references, tags: tag === undefined ? [] : [tag] };
    try {
      await registry.whileArriving(manifest.digest, async () => {
        await cached.makeRoom(octets.length);
        if (!(await content.find(hex)))
          await content.put([octets], { expected: hex, sizeBytes: octets.length, algorithm });
        // One commit takes both.
        await Promise.all([
          store.registry.saveManifest({ ...save, isPartial: true, by: actor, now: clock.now() }),
          cached.mark(repository, manifest.digest, octets.length),
        ]);
      });
    } catch (error) {
      if (!(error instanceof RollcallError)) throw error;
      return { warning: undefined, passed: { ...manifest, octets } };
    }
    return { warning: undefined, passed: undefined };
  }

  /** Asks whether the tag leads where it did. */
  async function askForTag(
    place: Place,
    tag: string,
    keptDigest: string | undefined,
  ): Promise<PreparedManifest> {
    const { digest } = await fetchManifest(place, tag, { method: "HEAD" });
    if (digest !== undefined && digest === keptDigest) return { warning: undefined, passed: undefined };
    return takeManifest(place, digest ?? tag, tag);
  }

  async function prepareTag(place: Place, tag: string, key: string): Promise<PreparedManifest> {
    const kept = store.upstreams.findTag(place.repository, tag);
    try {
      const result = await askForTag(place, tag, kept?.digest);
      if (!result.passed) tags.set(key, { until: now() + tagLifeMs });
      return result;
    } catch (error) {
      if (!(error instanceof OciError)) throw error;
      const isGone = error.status === 404;
      if (isGone && kept) await store.registry.removeTag(place.repository, tag);
      if (isGone || !kept || !isForStale(error)) {
        tags.set(key, { until: now() + (isGone ? absenceLifeMs : faultLifeMs / 2), error });
        throw error;
      }
      log.warn(
        { upstream: place.upstream.url, repository: place.repository, tag, reason: error.message },
        "an upstream registry fails; what was kept of it is served",
      );
      const warning = warningOf(place, kept.updatedAt, error);
      tags.set(key, { until: now() + faultLifeMs, warning });
      return { warning, passed: undefined };
    }
  }

  function prepareManifest(place: Place, reference: string): PreparedManifest | Promise<PreparedManifest> {
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
      return prepared.run(key, () => remembering(key, () => takeManifest(place, reference)));
    }
    if (!isTag(reference)) throw new OciError("MANIFEST_UNKNOWN", "this is neither a tag nor a digest");
    const kept = store.upstreams.findTag(repository, reference);
    // What was pushed here before the upstream was named stays ours.
    if (kept && !kept.isCached) return ready;
    if (kept) cached.touch(repository, kept.digest);
    const answered = known(tags, key);
    if (answered?.error) throw answered.error;
    if (answered && kept) {
      if (answered.warning !== undefined) counts.staleAnswers += 1;
      return { ...ready, warning: answered.warning };
    }
    return prepared.run(key, () => prepareTag(place, reference, key));
  }

  /** A refusal is remembered a while. */
  async function remembering<T>(key: string, work: () => Promise<T>): Promise<T> {
    const refused = known(absent, key)?.error;
    if (refused) throw refused;
    try {
      return await work();
    } catch (error) {
      remember(key, error);
      throw error;
    }
  }

  function remember(key: string, error: unknown): void {
    if (error instanceof OciError && error.code !== "TOOMANYREQUESTS")
      absent.set(key, { until: now() + absenceLifeMs, error });
  }

  // --- blobs ------------------------------------------------------------------------------------------------------

  /** @throws OciError BLOB_UNKNOWN */
  async function fetchPart(place: Place, digest: Digest, from: number): Promise<DownloadPart> {
    const answer = await clientOf(place).request(place, {
      method: "GET",
      path: `/blobs/${digest.text}`,
      headers: from === 0 ? {} : { range: `bytes=${from}-` },
      kind: "large",
    });
    const { status, body, release } = answer;
    const [, first, total] =
      /^bytes (\d{1,15})-\d{1,15}\/(\d{1,15})$/.exec(answer.header("content-range") ?? "") ?? [];
    const length = answer.header("content-length");
    if (status === 200)
      return { from: 0, sizeBytes: length === undefined ? undefined : Number(length), body, release };
    if (status === 206 && first !== undefined && Number(first) <= from)
      return { from: Number(first), sizeBytes: Number(total), body, release };
    release();
    if (status === 404) throw blobUnknown(place);
    throw new UpstreamFault(place.upstream, `answers with ${status} where a blob was asked for`, {
      isFinal: true,
    });
  }

  /** Its length, of the upstream. @returns undefined when it does not say @throws OciError BLOB_UNKNOWN */
  async function askForSize(place: Place, digest: Digest): Promise<number | undefined> {
    const path = `/blobs/${digest.text}`;
    const answer = await clientOf(place).request(place, { method: "HEAD", path, kind: "small" });
    answer.release();
    if (answer.status !== 200) throw blobUnknown(place);
    const length = answer.header("content-length");
    return length === undefined ? undefined : Number(length);
  }

  /** Content that we have from elsewhere is a blob of this repository too, if the upstream has it there. */
  async function linkKnown(place: Place, digest: Digest): Promise<boolean> {
    const found = await content.find(digest.hex);
    if (!found) return false;
    return registry.whileArriving(digest.text, async () => {
      await askForSize(place, digest);
      // It may have been on its way out while we asked.
      if (!(await content.find(digest.hex))) return false;
      await link(place.repository, digest.text, found.sizeBytes);
      return true;
    });
  }

  async function link(repository: string, digest: string, sizeBytes: number): Promise<void> {
    await Promise.all([
      store.registry.linkBlob(repository, { digest, sizeBytes }, clock.now()),
      cached.mark(repository, digest, sizeBytes),
    ]);
  }

  const keyOf = ({ upstream }: Place, digest: Digest) => `${upstream.url} ${digest.text}`;

  function begin(place: Place, digest: Digest): void {
    const key = keyOf(place, digest);
    counts.downloads += 1;
    const begun = startDownload({
      ...deps,
      upstream: place.upstream,
      digest,
      fetchPart: (from) => fetchPart(place, digest, from),
      makeRoom: cached.makeRoom,
      refuseWhenFull: content.refuseWhenFull,
      mostBytes: Math.min(cached.maxBytes, mostUnannouncedBytes),
      received: (bytes) => void (counts.receivedBytes += bytes),
      keep: (file, sizeBytes) =>
        registry.whileArriving(digest.text, async () => {
          await content.adopt(file, digest.hex);
          await link(place.repository, digest.text, sizeBytes);
        }),
    });
    downloads.set(key, { repository: place.repository, download: begun });
    const forget = () => void downloads.delete(key);
    begun
      .then(({ done }) => done)
      .catch((error: unknown) => remember(`${place.repository}@${digest.text}`, error))
      .finally(forget);
  }

  async function isLocal(repository: string, digest: Digest): Promise<boolean> {
    if (!store.registry.findBlob(repository, digest.text)) return false;
    if (!(await content.find(digest.hex))) return false;
    cached.touch(repository, digest.text);
    return true;
  }

  /** @returns the download, or undefined when the blob is in the repository now */
  function obtain(place: Place, digest: Digest): Promise<Download | undefined> {
    const { repository } = place;
    const key = keyOf(place, digest);
    return remembering(`${repository}@${digest.text}`, async () => {
      for (let left = 3; ; left -= 1) {
        const running = downloads.get(key);
        if (running) {
          // What another repository may read, this one may not for that reason alone.
          if (running.repository !== repository) await askForSize(place, digest);
          const one = await running.download;
          await one.sized;
          return one;
        }
        if (await links.run(`${repository}@${digest.text}`, () => linkKnown(place, digest))) return undefined;
        // A download that ended meanwhile has left its row.
        if (!downloads.has(key) && (left === 0 || !store.registry.keeps(digest.text))) begin(place, digest);
      }
    });
  }

  const isNoRoom = (error: unknown) => error instanceof RollcallError && error.httpStatus === 507;

  async function passOn(place: Place, digest: Digest): Promise<ArrivingBlob> {
    const part = await fetchPart(place, digest, 0);
    if (part.sizeBytes === undefined) {
      part.release();
      throw new UpstreamFault(
        place.upstream,
        "does not say how long the blob is, and there is no room to keep it",
      );
    }
    return { sizeBytes: part.sizeBytes, isSeekable: false, open: async () => passThrough(part, digest) };
  }

  return {
    upstreams,

    /** What was done, for people and tests. */
    get counts() {
      return { ...counts, runningDownloads: downloads.size, cachedBytes: cached.totalBytes };
    },

    /**
     * Sees that what the repository has under this reference is what the upstream has, as far as that can be told.
     * @throws OciError MANIFEST_UNKNOWN, DENIED, UNAVAILABLE, TOOMANYREQUESTS
     */
    prepareManifest,

    /** @returns undefined: it is in the repository, under the registry's own roof @throws the same with BLOB_UNKNOWN */
    async findBlob(
      place: Place,
      digest: Digest,
      { isHead, isPart }: { readonly isHead: boolean; readonly isPart: boolean },
    ): Promise<ArrivingBlob | undefined> {
      if (await isLocal(place.repository, digest)) return undefined;
      if (isHead && !downloads.has(keyOf(place, digest))) {
        const key = `${place.repository}@${digest.text}`;
        const sizeBytes = await remembering(key, () => sizes.run(key, () => askForSize(place, digest)));
        if (sizeBytes !== undefined)
          return { sizeBytes, isSeekable: true, open: () => Promise.reject(blobUnknown(place)) };
      }
      try {
        const one = await obtain(place, digest);
        if (!one) return undefined;
        // The end of a part is not the end of the whole: it is given when all was checked.
        const sizeBytes = await (isPart ? one.done : one.sized);
        const openKept = async () => {
          await one.done;
          return registry.openBlob(digest.text);
        };
        return { sizeBytes, isSeekable: true, open: async () => one.open() ?? (await openKept()) };
      } catch (error) {
        if (!isNoRoom(error)) throw error;
        return passOn(place, digest);
      }
    },

    /** Fetches a blob and waits for its end. @param follow is told of the download, if there is one */
    async fetchBlob(
      place: Place,
      digest: Digest,
      follow: (download: Download) => void = () => {},
    ): Promise<void> {
      if (await isLocal(place.repository, digest)) return;
      const one = await obtain(place, digest);
      if (!one) return;
      follow(one);
      await one.done;
      if (!(await isLocal(place.repository, digest))) await linkKnown(place, digest);
    },
  };
}
export type PullThrough = ReturnType<typeof createPullThrough>;

/** Our login may have been changed there; machines boot all the same. */
const isForStale = (error: OciError) => error instanceof UpstreamFault || error.code === "DENIED";

function warningOf(place: Place, keptAt: EpochMs, error: OciError): string {
  const reason = error instanceof UpstreamFault ? error.problem : "does not let this server read there";
  const text = `${place.upstream.url} ${reason}; this tag is as it was at ${new Date(keptAt).toISOString()}`;
  // Codes other than 299 are not allowed (spec.md, "Warnings").
  return `299 - "${text.replaceAll(/[^\x20-\x7e]|["\\]/g, "'")}"`;
}

function blobUnknown({ upstream }: Place): OciError {
  return new OciError("BLOB_UNKNOWN", `the upstream registry ${upstream.url} has no such blob`);
}
