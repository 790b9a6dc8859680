import { LRUCache } from "lru-cache";
import type { RepositoryRule } from "../domain/container-images.ts";
import { RepositoryQuotaReached } from "../domain/error-catalogue.ts";
import { matchesPattern } from "./repository-name.ts";

export interface RepositoryQuotaDeps {
  readonly rules: readonly RepositoryRule[];
  /** Octets of all that the repository has; slow, so asked from time to time and before a refusal. */
  readonly keptBytes: (repository: string) => number;
  /** Octets of uploads to it that are under way. */
  readonly arrivingBytes: (repository: string) => number;
}

/** Repositories whose sum is remembered. */
const remembered = 1000;

/** A limit for each repository by itself: what several of them share counts in each. */
export function createRepositoryQuotas({ rules, keptBytes, arrivingBytes }: RepositoryQuotaDeps) {
  const limited = rules.filter(({ quotaBytes }) => quotaBytes !== undefined);
  /** May be too much, for content that was there already is counted again, and what goes is not noticed; too little never. */
  const known = new LRUCache<string, number>({ max: remembered });

  const quotaOf = (repository: string): number | undefined =>
    limited.find(({ pattern }) => matchesPattern(pattern, repository))?.quotaBytes;

  function usedBytes(repository: string): number {
    const kept = known.get(repository) ?? keptBytes(repository);
    known.set(repository, kept);
    return kept + arrivingBytes(repository);
  }

  return {
    /** @throws RepositoryQuotaReached */
    refuseBeyond(repository: string, neededBytes: number): void {
      const quotaBytes = quotaOf(repository);
      if (quotaBytes === undefined || usedBytes(repository) + neededBytes <= quotaBytes) return;
      known.delete(repository);
      const used = usedBytes(repository);
      if (used + neededBytes > quotaBytes)
        throw RepositoryQuotaReached({ repository, usedBytes: used, quotaBytes });
    },

    /** What came has become part of the repository. */
    add(repository: string, bytes: number): void {
      const before = known.get(repository);
      if (before !== undefined) known.set(repository, before + bytes);
    },
  };
}
export type RepositoryQuotas = ReturnType<typeof createRepositoryQuotas>;
