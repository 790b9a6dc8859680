import { LRUCache } from "lru-cache";
import type { Clock, DurationMs } from "../domain/capabilities.ts";
import type { ContentStore, StoredContent } from "./content-store.ts";

/** What was found is taken for there, and a small file is not read again, for so long: content never changes under its digest. */
const recentMs: DurationMs = 5000;
/** Files up to this length are kept, octets; a longer one costs more to send than to open. */
const smallBytes = 64 * 1024;
/** All files that are kept together, octets. */
const keptBytes = 16 * 1024 * 1024;
/** Digests whose files were found. */
const capacity = 1000;

export interface RecentContent extends Pick<ContentStore, "open"> {
  /** @throws ContentUnavailable */
  find(sha256: string): Promise<StoredContent | undefined>;
  /** A whole small file; undefined for a longer one and for none. @throws ContentUnavailable */
  readSmall(sha256: string): Promise<Buffer | undefined>;
}

/**
 * Content as a room that is switched on asks for it: a thousand machines, the same three files. Each look at the disk passes through
 * another thread, which costs ten times what the answer does.
 */
export function createRecentContent(
  content: Pick<ContentStore, "find" | "open">,
  clock: Pick<Clock, "monotonicMs">,
): RecentContent {
  const found = new LRUCache<string, { readonly stored: StoredContent; readonly untilMs: number }>({
    max: capacity,
  });
  const small = new LRUCache<string, { readonly octets: Buffer; readonly untilMs: number }>({
    maxSize: keptBytes,
    // An empty file is kept too.
    sizeCalculation: ({ octets }) => Math.max(1, octets.length),
  });

  async function find(sha256: string): Promise<StoredContent | undefined> {
    const known = found.peek(sha256);
    if (known && clock.monotonicMs() < known.untilMs) return known.stored;
    found.delete(sha256);
    const stored = await content.find(sha256);
    if (!stored) return undefined;
    found.set(sha256, { stored, untilMs: clock.monotonicMs() + recentMs });
    return stored;
  }

  return {
    open: (sha256) => content.open(sha256),
    find,
    async readSmall(sha256) {
      const known = small.peek(sha256);
      if (known && clock.monotonicMs() < known.untilMs) return known.octets;
      small.delete(sha256);
      const stored = await find(sha256);
      if (!stored || stored.sizeBytes > smallBytes) return undefined;
      const file = await content.open(sha256);
      if (!file) return undefined;
      // What can't be read is the affair of whoever reads it piece by piece.
      const octets = await file.readFile().catch(() => undefined);
      await file.close();
      if (octets?.length !== stored.sizeBytes) return undefined;
      small.set(sha256, { octets, untilMs: clock.monotonicMs() + recentMs });
      return octets;
    },
  };
}
