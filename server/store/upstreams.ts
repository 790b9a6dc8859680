import type { Database } from "better-sqlite3";
import type { EpochMs } from "../domain/capabilities.ts";
import type { CommitQueue } from "./commit-queue.ts";
import type { RegistryBlob } from "./registry.ts";
import { isAttachmentTag } from "./signatures.ts";

/** Who put a tag of an upstream here, in the list of tags; no token has such a name. */
export const upstreamActor = "(upstream)";

export interface CachedTag {
  readonly digest: string;
  /** When it came to lead there. */
  readonly updatedAt: EpochMs;
  /** False: it was pushed here. */
  readonly isCached: boolean;
}

export interface CachedManifest {
  readonly repository: string;
  readonly digest: string;
  /** One of its tags; null: it has none. */
  readonly tag: string | null;
  /** Does it hold signatures of another manifest that were verified? */
  readonly holdsSignatures: 0 | 1;
}

/** What the registry has of its upstreams: content that may go when there is too much of it. */
export function createUpstreamRepository(db: Database, queue: CommitQueue) {
  const touch = db.prepare("UPDATE registry_cached SET used_at_ms = ? WHERE repository = ? AND digest = ?");
  const tagRow = db.prepare<[string, string], { digest: string; updatedAt: EpochMs; updatedBy: string }>(
    `SELECT digest, updated_at_ms AS updatedAt, updated_by AS updatedBy
     FROM registry_tag WHERE repository = ? AND name = ?`,
  );
  const total = db
    .prepare<[], number>(
      `SELECT COALESCE(SUM(size_bytes), 0) FROM registry_blob
       WHERE digest IN (SELECT digest FROM registry_cached)`,
    )
    .pluck();
  const oldest = db.prepare<[number], RegistryBlob>(
    `SELECT digest, size_bytes AS sizeBytes FROM
       (SELECT digest, MAX(used_at_ms) AS last_ms FROM registry_cached
        WHERE digest NOT IN (SELECT digest FROM image_signatures) GROUP BY digest)
     JOIN registry_blob USING (digest) ORDER BY last_ms, digest LIMIT ?`,
  );
  const manifests = db.prepare<[], CachedManifest>(
    `SELECT cached.repository, cached.digest, tag.name AS tag, ${isAttachmentTag("tag.name")} IS TRUE AND EXISTS (
         SELECT 1 FROM image_signatures AS signature WHERE signature.repository = cached.repository
           AND signature.digest = 'sha256:' || substr(tag.name, 8, 64) AND signature.format = 'sigstore') AS holdsSignatures
     FROM registry_cached AS cached JOIN registry_manifest USING (repository, digest)
       LEFT JOIN registry_tag AS tag ON tag.repository = cached.repository AND tag.digest = cached.digest`,
  );
  const parts = db
    .prepare<[string, string], string>(
      `WITH RECURSIVE part (digest) AS (
         SELECT ? UNION SELECT child FROM registry_reference JOIN part ON parent = part.digest WHERE repository = ?)
       SELECT digest FROM part`,
    )
    .pluck();
  const isNamed = db
    .prepare<{ digest: string }, number>(
      `SELECT EXISTS (SELECT 1 FROM registry_link WHERE digest = @digest)
         OR EXISTS (SELECT 1 FROM registry_manifest WHERE digest = @digest)`,
    )
    .pluck();
  const dropLinks = db.prepare(
    `DELETE FROM registry_link WHERE digest = @digest
       AND repository IN (SELECT repository FROM registry_cached WHERE digest = @digest)`,
  );
  const dropManifests = db.prepare(
    `DELETE FROM registry_manifest WHERE digest = @digest
       AND repository IN (SELECT repository FROM registry_cached WHERE digest = @digest)`,
  );
  const dropCached = db.prepare("DELETE FROM registry_cached WHERE digest = @digest");
  const beginDelete = db.prepare("UPDATE registry_blob SET state = 'deleting' WHERE digest = @digest");
  const endDelete = db.prepare("DELETE FROM registry_blob WHERE digest = ? AND state = 'deleting'");
  const isDeleting = db
    .prepare<[string], number>("SELECT 1 FROM registry_blob WHERE digest = ? AND state = 'deleting'")
    .pluck();

  return {
    /** Somebody used it. */
    touch: (repository: string, digest: string, now: EpochMs): Promise<void> =>
      queue.runLater(() => void touch.run(now, repository, digest)),
    findTag(repository: string, tag: string): CachedTag | undefined {
      const row = tagRow.get(repository, tag);
      return (
        row && { digest: row.digest, updatedAt: row.updatedAt, isCached: row.updatedBy === upstreamActor }
      );
    },
    /** Octets of all that is of upstreams, equal content once. */
    totalBytes: (): number => total.get() ?? 0,
    /** What nobody used for the longest time; no manifest that somebody here has signed, which would lose its signatures. */
    oldest: (limit: number): RegistryBlob[] => oldest.all(limit),

    /** All manifests of upstreams that are here, once for each of their tags. */
    manifests: (): CachedManifest[] => manifests.all(),
    /** Digests of a manifest and of all that it leads to, whether that is here or not. */
    partsOf: (repository: string, digest: string): string[] => parts.all(digest, repository),

    /**
     * Takes content out of the repositories of upstreams. @returns true when no other repository has it: then it is being deleted, and
     * gone for everybody
     */
    evict: (digest: string): Promise<boolean> =>
      queue.run(() => {
        dropLinks.run({ digest });
        dropManifests.run({ digest });
        dropCached.run({ digest });
        if (isNamed.get({ digest }) === 1) return false;
        beginDelete.run({ digest });
        return true;
      }),
    /** Nobody brought it back since then. */
    isDeleting: (digest: string): boolean => isDeleting.get(digest) !== undefined,
    /** Its file is gone. */
    endDelete: (digest: string): Promise<void> => queue.run(() => void endDelete.run(digest)),
  };
}
export type UpstreamRepository = ReturnType<typeof createUpstreamRepository>;
