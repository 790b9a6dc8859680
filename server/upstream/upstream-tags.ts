import { LRUCache } from "lru-cache";
import type { Clock, DurationMs } from "../domain/capabilities.ts";
import { OciError } from "../registry/oci-error.ts";
import { isTag } from "../registry/repository-name.ts";
import type { RegistryRepository } from "../store/registry.ts";
import { type Asker, type Demand, SingleFlight } from "./audience.ts";
import { NoSlot } from "./slots.ts";
import type { Place } from "./upstream.ts";
import { readAll, type UpstreamClient } from "./upstream-client.ts";
import { UpstreamFault } from "./upstream-fault.ts";

export interface UpstreamTagsDeps {
  readonly clock: Clock;
  readonly clientOf: (place: Place) => UpstreamClient;
  readonly store: Pick<RegistryRepository, "tags">;
}

const lifeMs: DurationMs = 60_000;
const longestPageBytes = 4 * 1024 * 1024;
const mostPages = 100;
const mostTags = 100_000;
/** Octets of lists that are remembered. */
const rememberedBytes = 16 * 1024 * 1024;

/** The lists of tags of upstreams; nothing of them is kept but a minute. */
export function createUpstreamTags({ clock, clientOf, store }: UpstreamTagsDeps) {
  const lists = new LRUCache<string, { readonly tags: readonly string[]; readonly until: DurationMs }>({
    maxSize: rememberedBytes,
    sizeCalculation: ({ tags }) => tags.reduce((sum, tag) => sum + tag.length, 1),
  });
  const flights = new SingleFlight<readonly string[]>();

  async function fetchPage(
    place: Place,
    query: string,
    demand: Demand,
  ): Promise<{ tags: string[]; next: string | undefined }> {
    const answer = await clientOf(place).request(place, {
      method: "GET",
      path: `/tags/list${query}`,
      kind: "small",
      demand,
    });
    try {
      if (answer.status !== 200)
        throw new OciError(
          "NAME_UNKNOWN",
          `the upstream registry ${place.upstream.url} has no such repository`,
        );
      const octets = await readAll(place.upstream, answer.body, longestPageBytes);
      return { tags: parseTags(place, octets), next: nextQuery(answer.header("link")) };
    } finally {
      answer.release();
    }
  }

  async function fetchAll(place: Place, demand: Demand): Promise<readonly string[]> {
    const tags = new Set<string>();
    let query: string | undefined = "";
    for (let pages = 0; query !== undefined && pages < mostPages && tags.size < mostTags; pages += 1) {
      const page: { tags: string[]; next: string | undefined } = await fetchPage(place, query, demand);
      for (const tag of page.tags) tags.add(tag);
      query = page.next === query ? undefined : page.next;
    }
    const sorted = [...tags].sort((one, other) => (one < other ? -1 : 1));
    lists.set(place.repository, { tags: sorted, until: clock.monotonicMs() + lifeMs });
    return sorted;
  }

  return {
    /** In the order of their octets; of what is kept here, where the upstream can't be asked. @throws OciError NAME_UNKNOWN */
    async tags(
      place: Place,
      { after = "", limit }: { readonly after: string | undefined; readonly limit: number },
      asker: Asker,
    ): Promise<string[]> {
      const { repository } = place;
      const known = lists.get(repository);
      try {
        const all =
          known && known.until > clock.monotonicMs()
            ? known.tags
            : await flights.run(repository, asker, (demand) => fetchAll(place, demand));
        return all.filter((tag) => tag > after).slice(0, limit);
      } catch (error) {
        if (!(error instanceof UpstreamFault || error instanceof NoSlot)) throw error;
        const kept = store.tags(repository, { after, limit });
        if (kept.length === 0) throw error;
        return kept;
      }
    },
  };
}
export type UpstreamTags = ReturnType<typeof createUpstreamTags>;

function parseTags({ upstream }: Place, octets: Buffer): string[] {
  try {
    const { tags } = JSON.parse(octets.toString()) as { tags?: unknown };
    // Some say null where there is none.
    if (tags === null) return [];
    if (Array.isArray(tags))
      return tags.filter((tag): tag is string => typeof tag === "string" && isTag(tag));
  } catch {
    // Told below.
  }
  throw new UpstreamFault(upstream, "gives a list of tags that is none");
}

/** Of `Link: <…?n=…&last=…>; rel="next"`; its host and path are known. */
function nextQuery(link: string | undefined): string | undefined {
  const links = (link ?? "").split(",");
  const query = links
    .map((one) => /^\s*<[^>?]*(\?[^>#\s]*)>\s*;\s*rel="?next"?/.exec(one)?.[1])
    .find((one) => one !== undefined);
  return query === undefined ? undefined : `?${new URLSearchParams(query).toString()}`;
}
