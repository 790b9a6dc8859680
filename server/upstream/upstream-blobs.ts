import type { ContentStore } from "../content/content-store.ts";
import type { Clock } from "../domain/capabilities.ts";
import type { Digest } from "../registry/digest.ts";
import { OciError } from "../registry/oci-error.ts";
import type { Registry } from "../registry/registry.ts";
import type { RegistryRepository } from "../store/registry.ts";
import type { UpstreamRepository } from "../store/upstreams.ts";
import { type Asker, Audience, type Demand, SingleFlight, thisServer } from "./audience.ts";
import { type CachedContent, isNoRoom } from "./cached-content.ts";
import { type Download, type DownloadPart, startDownload } from "./download.ts";
import type { ReadableFile } from "./growing-file.ts";
import { Orphans, orphanLimits } from "./orphans.ts";
import { passThrough } from "./pass-through.ts";
import type { Refusals } from "./refusals.ts";
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

/** A download, and those who listen to it. */
interface Running {
  readonly repository: string;
  readonly audience: Audience;
  readonly download: Promise<Download>;
}

/** A blob that comes right now. */
export interface ArrivingBlob {
  readonly sizeBytes: number;
  /** False: it can be read once, from its first octet on. */
  readonly isSeekable: boolean;
  open(): Promise<ReadableFile>;
}

/** How somebody asks for a blob. */
export interface BlobRequest {
  readonly isHead: boolean;
  readonly isPart: boolean;
  readonly asker: Asker;
}

/** Without a word of its upstream a blob may have so many octets. */
const mostUnannouncedBytes = 64 * 1024 ** 3;

/** The blobs of upstreams: one download for all who want one, from which each reads while it grows. */
export function createUpstreamBlobs(deps: UpstreamBlobsDeps) {
  const { clock, clientOf, registry, content, store, cached, refusals } = deps;
  const sizes = new SingleFlight<number | undefined>();
  const links = new SingleFlight<boolean>();
  /** Under way, by upstream and digest. */
  const downloads = new Map<string, Running>();
  const orphans = new Orphans(orphanLimits);
  const counts = { downloads: 0, receivedBytes: 0 };

  /** @throws OciError BLOB_UNKNOWN */
  async function fetchPart(
    place: Place,
    digest: Digest,
    from: number,
    demand: Demand,
  ): Promise<DownloadPart> {
    const answer = await clientOf(place).request(place, {
      method: "GET",
      path: `/blobs/${digest.text}`,
      headers: from === 0 ? {} : { range: `bytes=${from}-` },
      kind: "large",
      demand,
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
  async function askForSize(place: Place, digest: Digest, demand: Demand): Promise<number | undefined> {
    const path = `/blobs/${digest.text}`;
    const answer = await clientOf(place).request(place, { method: "HEAD", path, kind: "small", demand });
    answer.release();
    if (answer.status !== 200) throw blobUnknown(place);
    const length = answer.header("content-length");
    return length === undefined ? undefined : Number(length);
  }

  const sizeOf = (place: Place, digest: Digest, asker: Asker) =>
    sizes.run(keyIn(place, digest), asker, (demand) => askForSize(place, digest, demand));

  /** Content that we have from elsewhere is a blob of this repository too, if the upstream has it there. */
  async function linkKnown(place: Place, digest: Digest, demand: Demand): Promise<boolean> {
    const found = await content.find(digest.hex);
    if (!found) return false;
    return registry.whileArriving(digest.text, async () => {
      await askForSize(place, digest, demand);
      // It may have been on its way out while we asked.
      if (!(await content.find(digest.hex))) return false;
      await link(place.repository, digest.text, found.sizeBytes);
      return true;
    });
  }

  async function link(repository: string, digest: string, sizeBytes: number): Promise<void> {
    await store.registry.linkCachedBlob(repository, { digest, sizeBytes }, clock.now());
    cached.added(sizeBytes);
  }

  const keyOf = ({ upstream }: Place, digest: Digest) => `${upstream.url} ${digest.text}`;
  const keyIn = ({ repository }: Place, digest: Digest) => `${repository}@${digest.text}`;

  function begin(place: Place, digest: Digest): void {
    const key = keyOf(place, digest);
    counts.downloads += 1;
    let receivedBytes = 0;
    let isOver = false;
    let endOrphan = () => {};
    const audience = new Audience(() => {
      if (isOver) return;
      // Somebody may have come and gone without having been seen.
      endOrphan();
      const [address] = audience.addresses;
      const admitted = receivedBytes > 0 ? orphans.admit(address) : undefined;
      if (admitted) endOrphan = admitted;
      else {
        forget();
        audience.giveUp();
      }
    });
    audience.whenJoined(() => endOrphan());
    const begun = startDownload({
      ...deps,
      upstream: place.upstream,
      digest,
      signal: audience.signal,
      fetchPart: (from) => fetchPart(place, digest, from, audience),
      makeRoom: cached.makeRoom,
      refuseWhenFull: content.refuseWhenFull,
      mostBytes: Math.min(cached.maxBytes, mostUnannouncedBytes),
      received(bytes) {
        receivedBytes += bytes;
        counts.receivedBytes += bytes;
      },
      keep: (file, sizeBytes) =>
        registry.whileArriving(digest.text, async () => {
          await content.adopt(file, digest.hex);
          await link(place.repository, digest.text, sizeBytes);
        }),
    });
    const running: Running = { repository: place.repository, audience, download: begun };
    downloads.set(key, running);
    function forget(): void {
      // Another one may have begun.
      if (downloads.get(key) === running) downloads.delete(key);
    }
    begun
      .then(({ done }) => done)
      .catch((error: unknown) => refusals.note(keyIn(place, digest), error))
      .finally(() => {
        isOver = true;
        endOrphan();
        forget();
      });
  }

  async function isLocal(repository: string, digest: Digest): Promise<boolean> {
    if (!store.registry.findBlob(repository, digest.text)) return false;
    if (!(await content.find(digest.hex))) return false;
    cached.touch(repository, digest.text);
    return true;
  }

  /** @returns the download, of which the asker is a listener now, or undefined when the blob is in the repository */
  function obtain(place: Place, digest: Digest, asker: Asker): Promise<Download | undefined> {
    const { repository } = place;
    const key = keyOf(place, digest);
    return refusals.watch(keyIn(place, digest), async () => {
      for (let left = 3; ; left -= 1) {
        const running = downloads.get(key);
        if (running) {
          const leave = running.audience.join(asker);
          try {
            // What another repository may read, this one may not for that reason alone.
            if (running.repository !== repository) await sizeOf(place, digest, asker);
            const one = await running.download;
            await one.sized;
            return one;
          } catch (error) {
            leave();
            throw error;
          }
        }
        if (await links.run(keyIn(place, digest), asker, (demand) => linkKnown(place, digest, demand)))
          return undefined;
        // A download that ended meanwhile has left its row.
        if (!downloads.has(key) && (left === 0 || !store.registry.keeps(digest.text))) begin(place, digest);
      }
    });
  }

  /** What has no room goes to each who asks, and stays nowhere. */
  async function passOn(place: Place, digest: Digest, asker: Asker): Promise<ArrivingBlob> {
    const sizeBytes = await sizeOf(place, digest, asker);
    if (sizeBytes === undefined)
      throw new UpstreamFault(
        place.upstream,
        "does not say how long the blob is, and there is no room to keep it",
      );
    const open = async () => {
      const part = await fetchPart(place, digest, 0, Audience.of(asker));
      if (part.sizeBytes === sizeBytes) return passThrough(part, digest);
      part.release();
      throw new UpstreamFault(place.upstream, "says two lengths of one blob");
    };
    return { sizeBytes, isSeekable: false, open };
  }

  return {
    /** What was done, for people and tests. */
    get counts() {
      return { ...counts, runningDownloads: downloads.size, unheardDownloads: orphans.count };
    },

    /** @returns undefined: it is in the repository, under the registry's own roof @throws the same with BLOB_UNKNOWN */
    async find(
      place: Place,
      digest: Digest,
      { isHead, isPart, asker }: BlobRequest,
    ): Promise<ArrivingBlob | undefined> {
      if (await isLocal(place.repository, digest)) return undefined;
      try {
        if (isHead && !downloads.has(keyOf(place, digest))) {
          const sizeBytes = await refusals.watch(keyIn(place, digest), () => sizeOf(place, digest, asker));
          if (sizeBytes !== undefined)
            return { sizeBytes, isSeekable: true, open: () => Promise.reject(blobUnknown(place)) };
        }
        const one = await obtain(place, digest, asker);
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
        return passOn(place, digest, asker);
      }
    },

    /** For this server itself: fetches a blob and waits for its end. @param follow is told of the download, if there is one */
    async fetch(
      place: Place,
      digest: Digest,
      follow: (download: Download) => void = () => {},
    ): Promise<void> {
      if (await isLocal(place.repository, digest)) return;
      const one = await obtain(place, digest, thisServer);
      if (!one) return;
      follow(one);
      await one.done;
      if (!(await isLocal(place.repository, digest))) await linkKnown(place, digest, Audience.of(thisServer));
    },
  };
}
export type UpstreamBlobs = ReturnType<typeof createUpstreamBlobs>;

function blobUnknown({ upstream }: Place): OciError {
  return new OciError("BLOB_UNKNOWN", `the upstream registry ${upstream.url} has no such blob`);
}
