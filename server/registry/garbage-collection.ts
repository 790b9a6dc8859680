import type { ContentStore } from "../content/content-store.ts";
import type { Clock, DurationMs, EpochMs, Log } from "../domain/capabilities.ts";
import { formatSize } from "../domain/byte-size.ts";
import type { RecordEvent } from "../domain/event.ts";
import type { RegistryBlob } from "../store/registry.ts";
import type {
  Ages,
  ManifestKey,
  RegistryUpkeepRepository,
  UntaggedManifest,
} from "../store/registry-upkeep.ts";
import { hexOf } from "./digest.ts";
import type { Registry } from "./registry.ts";
import { breathe } from "./turns.ts";

export interface GarbageCollectionDeps {
  readonly clock: Clock;
  readonly log: Pick<Log, "error">;
  readonly record: RecordEvent;
  readonly content: Pick<ContentStore, "remove">;
  readonly store: RegistryUpkeepRepository;
  readonly registry: Pick<Registry, "isArriving">;
  /** What nobody refers to is kept for so long after its last use. */
  readonly graceMs: DurationMs;
  /** Digests that roles use: manifests with all that they need, and blobs. */
  readonly pins: () => ReadonlySet<string>;
  /** Is this content a boot asset too? Then its file stays. @param sha256 in hex */
  readonly isAsset: (sha256: string) => boolean;
  /** From 0 to 1. */
  readonly random: () => number;
  /** After each run that is not dry. */
  readonly onRun: (collection: RegistryCollection) => void;
}

/** What was removed, or would be. */
export interface RegistryCollection {
  /** The first hundred of them. */
  readonly manifests: readonly ManifestKey[];
  readonly manifestCount: number;
  readonly blobCount: number;
  readonly freedBytes: number;
  /** What nobody needs any more, and was used too lately to go; told to whoever asked for the run alone. */
  readonly waiting?: WaitingContent;
}

export interface WaitingContent {
  readonly blobCount: number;
  readonly bytes: number;
  /** When the last of it may go; undefined: nothing waits. */
  readonly until: EpochMs | undefined;
}

/** How often it runs by itself; each time a fifth earlier or later, so that it does not fall together with a timetable. */
const everyMs = 15 * 60_000;
/** Rows in one transaction: some milliseconds. */
const batchLength = 25;
/** Files that are removed at once. */
const unlinksAtOnce = 4;
const namedManifests = 100;
/** When every lease and every grace is over. */
const afterAll: Ages = { now: Number.MAX_SAFE_INTEGER, usedBefore: Number.MAX_SAFE_INTEGER };

/**
 * Online garbage collection by the references in the database; everybody pushes and pulls meanwhile. It plans by reading, some hundred rows
 * at a time, and asks again in the transaction that removes. Content goes in three steps: a transaction that hides it, the file, the row;
 * who pushes the same content in between brings it back, for a digest that is arriving is left alone.
 */
export function createGarbageCollection(deps: GarbageCollectionDeps) {
  const { clock, log, record, content, store, registry, graceMs, pins, isAsset, random } = deps;
  let running: Promise<unknown> = Promise.resolve();
  let cancel = () => {};
  let isStopped = false;

  /** Manifests that nobody needs, in an order in which each can be removed: what an index names after it, referrers after their subject. */
  async function planManifests(
    ages: Ages,
    pinned: ReadonlySet<string>,
    losingTags: readonly UntaggedManifest[] = [],
  ): Promise<ManifestKey[]> {
    let waiting = losingTags.filter(({ digest }) => !pinned.has(digest));
    for (let after: ManifestKey | undefined, isDone = false; !isDone;) {
      const part = store.untagged(after, ages);
      waiting.push(...part.rows.filter(({ digest }) => !pinned.has(digest)));
      after = part.next;
      isDone = after === undefined;
      await breathe();
    }
    const gone: ManifestKey[] = [];
    const isGone = new Set<string>();
    const lives = (repository: string, digest: string) => !isGone.has(keyOf({ repository, digest }));
    for (let before = -1; before < gone.length && waiting.length > 0;) {
      before = gone.length;
      const left: UntaggedManifest[] = [];
      for (const [index, manifest] of waiting.entries()) {
        if (index % batchLength === 0) await breathe();
        const { repository, digest, subject } = manifest;
        const isNeeded =
          store.parentsOf(manifest).some((parent) => lives(repository, parent)) ||
          (subject !== undefined && lives(repository, subject) && store.hasManifest(repository, subject));
        if (isNeeded) left.push(manifest);
        else {
          gone.push({ repository, digest });
          isGone.add(keyOf(manifest));
        }
      }
      waiting = left;
    }
    return gone;
  }

  /** Blobs that nobody needs once these manifests are gone. */
  async function planBlobs(
    manifests: readonly ManifestKey[],
    ages: Ages,
    pinned: ReadonlySet<string>,
  ): Promise<RegistryBlob[]> {
    const blobs = new Map<string, RegistryBlob>();
    const take = (blob: RegistryBlob | undefined) => {
      if (blob && !pinned.has(blob.digest) && !registry.isArriving(blob.digest)) blobs.set(blob.digest, blob);
    };
    const isGone = new Set(manifests.map(keyOf));
    for (const manifest of manifests) {
      for (const digest of [manifest.digest, ...store.childrenOf(manifest)])
        if (!blobs.has(digest) && store.usersOf(digest).every((user) => isGone.has(keyOf(user))))
          take(store.findOldBlob(digest, ages));
      await breathe();
    }
    for (let after: string | undefined, isDone = false; !isDone;) {
      const part = store.unneeded(after, ages);
      part.rows.forEach(take);
      after = part.next;
      isDone = after === undefined;
      await breathe();
    }
    return [...blobs.values()];
  }

  /** All that goes in time, if nobody uses it. @param losingTags goes as if it had none */
  async function planAll(losingTags: readonly UntaggedManifest[] = []): Promise<RegistryBlob[]> {
    const pinned = pins();
    return planBlobs(await planManifests(afterAll, pinned, losingTags), afterAll, pinned);
  }

  /** @param going what this run removes, or would */
  async function whatWaits(going: readonly RegistryBlob[]): Promise<WaitingContent> {
    const isGoing = new Set(going.map(({ digest }) => digest));
    const waiting = (await planAll()).filter(({ digest }) => !isGoing.has(digest));
    const until = waiting.reduce((last, { digest }) => Math.max(last, store.keptUntil(digest, graceMs)), 0);
    return {
      blobCount: waiting.length,
      bytes: bytesOf(waiting),
      until: waiting.length === 0 ? undefined : until,
    };
  }

  async function removeBlobs(blobs: readonly RegistryBlob[], ages: Ages): Promise<RegistryBlob[]> {
    const mayGo = (digest: string) => !registry.isArriving(digest);
    const marked = await store.markDeleting(
      blobs.map(({ digest }) => digest),
      ages,
      mayGo,
    );
    const unlinked: string[] = [];
    const waiting = [...marked];
    const work = async () => {
      for (let digest = waiting.pop(); digest !== undefined; digest = waiting.pop()) {
        const name: string = digest;
        // Asked in the moment of the removal: it may have been pushed again.
        const isWanted = () => !mayGo(name) || store.findBlob(name)?.isPresent !== false;
        if (isShared(name) || (await content.remove(hexOf(name), isWanted))) unlinked.push(name);
      }
    };
    await Promise.all(Array.from({ length: unlinksAtOnce }, work));
    const gone = new Set(await store.removeDeleted(unlinked, mayGo));
    return blobs.filter(({ digest }) => gone.has(digest));
  }

  const isShared = (digest: string) => digest.startsWith("sha256:") && isAsset(hexOf(digest));
  const bytesOf = (blobs: readonly RegistryBlob[]) =>
    blobs.reduce((sum, { digest, sizeBytes }) => sum + (isShared(digest) ? 0 : sizeBytes), 0);

  async function collect(isDry: boolean, isAsked: boolean): Promise<RegistryCollection> {
    const now = clock.now();
    const ages = { now, usedBefore: now - graceMs };
    const pinned = pins();
    let manifests = await planManifests(ages, pinned);
    if (!isDry) {
      const removed: ManifestKey[] = [];
      for (const batch of batches(manifests)) {
        if (isStopped) break;
        removed.push(...(await store.removeManifests(batch, ages)));
      }
      manifests = removed;
    }
    let blobs = await planBlobs(isDry ? manifests : [], ages, pinned);
    if (!isDry) {
      const removed: RegistryBlob[] = [];
      for (const batch of batches(blobs)) {
        if (isStopped) break;
        removed.push(...(await removeBlobs(batch, ages)));
      }
      blobs = removed;
      if (!isStopped) await store.removeRemains(ages);
    }
    const collection = {
      manifests: manifests.slice(0, namedManifests),
      manifestCount: manifests.length,
      blobCount: blobs.length,
      freedBytes: bytesOf(blobs),
      ...(isAsked && { waiting: await whatWaits(blobs) }),
    };
    if (!isDry) deps.onRun(collection);
    if (!isDry && (manifests.length > 0 || blobs.length > 0)) tell(collection);
    return collection;
  }

  function tell({ manifestCount, blobCount, freedBytes }: RegistryCollection): void {
    record({
      type: "registry.collected",
      message: `${manifestCount} manifests and ${blobCount} blobs removed from the registry, ${formatSize(freedBytes)}`,
      data: { manifests: manifestCount, blobs: blobCount, freedBytes },
    });
  }

  /** One after another: two at once would each take the other's removals for their own. */
  function inTurn<T>(work: () => Promise<T>): Promise<T> {
    const done = running.then(work, work);
    running = done.catch(() => undefined);
    return done;
  }

  function collectLater(): void {
    cancel = clock.after(everyMs * (0.8 + 0.4 * random()), () => {
      inTurn(() => collect(false, false))
        .catch((error: unknown) => log.error({ err: error }, "failed to collect the registry's garbage"))
        .finally(() => {
          if (!isStopped) collectLater();
        });
    });
  }

  return {
    collect: ({ isDry = false }: { readonly isDry?: boolean } = {}): Promise<RegistryCollection> =>
      inTurn(() => collect(isDry, true)),
    /** Octets that go, in time, once these manifests have no tags: what others have too stays. */
    freedWithout: async (manifests: readonly UntaggedManifest[]): Promise<number> =>
      bytesOf(await planAll(manifests)) - bytesOf(await planAll()),
    /** From now on it runs by itself. */
    start: collectLater,
    /** Resolves when nothing is under way any more. */
    async stop(): Promise<void> {
      isStopped = true;
      cancel();
      await running;
    },
  };
}
export type GarbageCollection = ReturnType<typeof createGarbageCollection>;

const keyOf = ({ repository, digest }: ManifestKey) => `${repository}@${digest}`;

function* batches<T>(items: readonly T[]): Iterable<readonly T[]> {
  for (let at = 0; at < items.length; at += batchLength) yield items.slice(at, at + batchLength);
}
