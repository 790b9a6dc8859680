import { LRUCache } from "lru-cache";
import type { ContentStore } from "../content/content-store.ts";
import type { Clock, DurationMs, Log } from "../domain/capabilities.ts";
import { RollcallError } from "../domain/errors.ts";
import { hexOf } from "../registry/digest.ts";
import { OciError } from "../registry/oci-error.ts";
import type { UpstreamRepository } from "../store/upstreams.ts";

export interface CachedContentDeps {
  readonly clock: Clock;
  readonly log: Pick<Log, "error">;
  readonly content: Pick<ContentStore, "remove" | "refuseWhenFull">;
  readonly store: UpstreamRepository;
  /** For all content of upstreams together, octets. */
  readonly maxBytes: number;
  /** Who else needs this content now: an upload that ends, an asset. @param digest `sha256:<hex>` */
  readonly isNeeded: (digest: string) => boolean;
  /** Digests that stay whoever uses them, asked for before each eviction. */
  readonly held: () => ReadonlySet<string>;
}

/** What is used all the time is written down as used once in this time. */
const touchEveryMs: DurationMs = 60_000;
const rememberedTouches = 10_000;
/** What goes is looked up in pieces. */
const evictAtOnce = 100;
/** A full cache is emptied so far, that not every blob begins with an eviction. */
const lowPart = 0.95;

/** All that is kept would have to go for it, and it would go as the next. */
class LargerThanCache extends OciError {
  constructor(sizeBytes: number, maxBytes: number) {
    const message = `it has ${sizeBytes} octets, and registry.cacheBytes is ${maxBytes}: it is passed on and not kept`;
    super("UNAVAILABLE", message, { status: 507 });
  }
}

/** Does this say that content can't be kept? */
export const isNoRoom = (error: unknown): boolean =>
  error instanceof LargerThanCache || (error instanceof RollcallError && error.httpStatus === 507);

/** Content of upstreams within its limit: what nobody used for the longest time goes first. */
export function createCachedContent(deps: CachedContentDeps) {
  const { clock, log, content, store, maxBytes, isNeeded } = deps;
  const touched = new LRUCache<string, DurationMs>({ max: rememberedTouches });
  let total = store.totalBytes();
  let evicting: Promise<unknown> = Promise.resolve();

  /** @returns whether anything went */
  async function evictTo(limit: number): Promise<boolean> {
    total = store.totalBytes();
    if (total <= limit) return false;
    const held = deps.held();
    const skipped = new Set<string>();
    let hasFreed = false;
    while (total > limit) {
      // Twice as many each time: where most of it stays, the rest is found in a few steps.
      const oldest = store
        .oldest(evictAtOnce + 2 * skipped.size)
        .filter(({ digest }) => !skipped.has(digest));
      if (oldest.length === 0) return hasFreed;
      for (const { digest, sizeBytes } of oldest) {
        if (total <= limit) break;
        if (held.has(digest) || isNeeded(digest)) {
          skipped.add(digest);
          continue;
        }
        if (await store.evict(digest)) {
          const isWanted = () => isNeeded(digest) || !store.isDeleting(digest);
          await content.remove(hexOf(digest), isWanted);
          await store.endDelete(digest);
          hasFreed = true;
        }
        total -= sizeBytes;
      }
    }
    return hasFreed;
  }

  /** One after another: two at once would each take the same. */
  function inTurn(limit: () => number): Promise<boolean> {
    const done = evicting.then(
      () => evictTo(limit()),
      () => evictTo(limit()),
    );
    evicting = done.catch(() => undefined);
    return done;
  }

  return {
    get totalBytes() {
      return total;
    },
    maxBytes,

    /** Somebody used it. */
    touch(repository: string, digest: string): void {
      const key = `${repository}@${digest}`;
      const now = clock.monotonicMs();
      const last = touched.get(key);
      if (last !== undefined && now - last < touchEveryMs) return;
      touched.set(key, now);
      store.touch(repository, digest, clock.now()).catch(() => undefined);
    },

    /** Makes room for content that comes. @throws LargerThanCache; DiskFull when the disk has none even then */
    async makeRoom(sizeBytes: number): Promise<void> {
      if (sizeBytes > maxBytes) throw new LargerThanCache(sizeBytes, maxBytes);
      if (total + sizeBytes > maxBytes) await inTurn(() => Math.max(0, maxBytes * lowPart - sizeBytes));
      try {
        content.refuseWhenFull(sizeBytes);
      } catch (error) {
        if (!(await inTurn(() => Math.max(0, total - sizeBytes)))) throw error;
        content.refuseWhenFull(sizeBytes);
      }
    },

    /** So much more is there. */
    added(sizeBytes: number): void {
      total += sizeBytes;
      if (total > maxBytes)
        inTurn(() => maxBytes * lowPart).catch((error: unknown) =>
          log.error({ err: error }, "failed to remove content of upstreams that nobody uses"),
        );
    },
  };
}
export type CachedContent = ReturnType<typeof createCachedContent>;
