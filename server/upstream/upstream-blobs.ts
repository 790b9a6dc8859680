import type { ContentStore } from "../content/content-store.ts";
import type { Clock } from "../domain/capabilities.ts";
import { RollcallError } from "../domain/errors.ts";
import type { Digest } from "../registry/digest.ts";
import { OciError } from "../registry/oci-error.ts";
import type { Registry } from "../registry/registry.ts";
import type { RegistryRepository } from "../store/registry.ts";
import type { UpstreamRepository } from "../store/upstreams.ts";
import type { CachedContent } from "./cached-content.ts";
import { type Download, type DownloadPart, startDownload } from "./download.ts";
import type { ReadableFile } from "./growing-file.ts";
import { passThrough } from "./pass-through.ts";
import type { Refusals } from "./refusals.ts";
import { SingleFlight } from "./slots.ts";
import type { Place } from "./upstream.ts";
import type { UpstreamClient } from "./upstream-client.ts";
import { UpstreamFault } from "./upstream-fault.ts";

export interface UpstreamBlobsDeps {
  readonly clock: Clock;
  readonly clientOf: (place: Place) => UpstreamClient;
  readonly registry: Pick<Registry, "whileArriving" | "openBlob">;
  readonly content: Pick<ContentStore, "find" | "adopt" | "refuseWhenFull">;
  readonly store: { readonly registry: RegistryRepository; readonly upstreams: UpstreamRepository };
  readonly cached: CachedContent;
  readonly refusals: Refusals;
  /** Where downloads under way lie; of the content store's file system. */
  readonly directory: string;
}

/** A blob that comes right now. */
export interface ArrivingBlob {
  readonly sizeBytes: number;
  /** False: it can be read once, from its first octet on. */
  readonly isSeekable: boolean;
  open(): Promise<ReadableFile>;
}

/** Without a word of its upstream a blob may have so many octets. */
const mostUnannouncedBytes = 64 * 1024 ** 3;

/** The blobs of upstreams: one download for all who want one, from which each reads while it grows. */
export function createUpstreamBlobs(deps: UpstreamBlobsDeps) {
  const { clock, clientOf, registry, content, store, cached, refusals } = deps;
  const sizes = new SingleFlight<number | undefined>();
  const links = new SingleFlight<boolean>();
  /** Under way, by upstream and digest. */
  const downloads = new Map<string, { readonly repository: string; readonly download: Promise<Download> }>();
  const counts = { downloads: 0, receivedBytes: 0 };

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
      .catch((error: unknown) => refusals.note(`${place.repository}@${digest.text}`, error))
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
    return refusals.watch(`${repository}@${digest.text}`, async () => {
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

  /** What has no room goes to each who asks, and stays nowhere. */
  async function passOn(place: Place, digest: Digest): Promise<ArrivingBlob> {
    const sizeBytes = await askForSize(place, digest);
    if (sizeBytes === undefined)
      throw new UpstreamFault(
        place.upstream,
        "does not say how long the blob is, and there is no room to keep it",
      );
    const open = async () => {
      const part = await fetchPart(place, digest, 0);
      if (part.sizeBytes === sizeBytes) return passThrough(part, digest);
      part.release();
      throw new UpstreamFault(place.upstream, "says two lengths of one blob");
    };
    return { sizeBytes, isSeekable: false, open };
  }

  return {
    /** What was done, for people and tests. */
    get counts() {
      return { ...counts, runningDownloads: downloads.size };
    },

    /** @returns undefined: it is in the repository, under the registry's own roof @throws the same with BLOB_UNKNOWN */
    async find(
      place: Place,
      digest: Digest,
      { isHead, isPart }: { readonly isHead: boolean; readonly isPart: boolean },
    ): Promise<ArrivingBlob | undefined> {
      if (await isLocal(place.repository, digest)) return undefined;
      if (isHead && !downloads.has(keyOf(place, digest))) {
        const key = `${place.repository}@${digest.text}`;
        const sizeBytes = await refusals.watch(key, () => sizes.run(key, () => askForSize(place, digest)));
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
    async fetch(
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
export type UpstreamBlobs = ReturnType<typeof createUpstreamBlobs>;

function blobUnknown({ upstream }: Place): OciError {
  return new OciError("BLOB_UNKNOWN", `the upstream registry ${upstream.url} has no such blob`);
}
