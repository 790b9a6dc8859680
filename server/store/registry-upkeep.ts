import type { Database } from "better-sqlite3";
import type { DurationMs, EpochMs } from "../domain/capabilities.ts";
import type { CommitQueue } from "./commit-queue.ts";
import { isAttachmentTag } from "./signatures.ts";
import type { RegistryBlob, RegistryManifest, RegistryReference } from "./registry.ts";

export interface ManifestKey {
  readonly repository: string;
  readonly digest: string;
}

/** A manifest that has neither a tag nor a lease and is older than the grace. */
export interface UntaggedManifest extends ManifestKey {
  readonly subject: string | undefined;
}

/** A blob's row, and whether its content is there for everybody: what is being deleted, or was lost, is not. */
export interface BlobState extends RegistryBlob {
  readonly isPresent: boolean;
}

/** What is looked at, and when. */
export interface Ages {
  readonly now: EpochMs;
  /** What was used after this stays. */
  readonly usedBefore: EpochMs;
}

/** What a manifest says of itself: all that the rows of it are made from. */
export interface DerivedManifest extends ManifestKey {
  readonly facts: Omit<RegistryManifest, "digest" | "sizeBytes">;
  /** It is of an upstream, and what it references comes when somebody asks for it. */
  readonly isCached: boolean;
  readonly references: readonly RegistryReference[];
}

/** Rows of a walk over a table, in the order of its key, and where it goes on; undefined: it is done. */
export interface Part<Row, Key> {
  readonly rows: readonly Row[];
  readonly next: Key | undefined;
}

/** A part of a walk takes some milliseconds at most: everybody else waits meanwhile. */
const partLength = 250;

const isUnleased = (table: string) =>
  `NOT EXISTS (SELECT 1 FROM registry_lease AS lease WHERE lease.digest = ${table}.digest AND lease.until_ms > @now)`;
// A tag with which cosign names the signatures of a manifest (domain/signature.ts) holds no longer than that one is there.
const isOrphan = `${isAttachmentTag("tag.name")} AND NOT EXISTS (SELECT 1 FROM registry_manifest AS signed
    WHERE signed.repository = tag.repository AND signed.digest = 'sha256:' || substr(tag.name, 8, 64))`;
const isUntagged = `NOT EXISTS (SELECT 1 FROM registry_tag AS tag WHERE tag.repository = manifest.repository AND tag.digest = manifest.digest
    AND NOT (${isOrphan}))
  AND ${isUnleased("manifest")}
  AND manifest.created_at_ms <= @usedBefore
  AND (SELECT used_at_ms FROM registry_blob WHERE digest = manifest.digest) <= @usedBefore`;
const isUnneededManifest = `${isUntagged}
  AND NOT EXISTS (SELECT 1 FROM registry_reference AS reference WHERE reference.child = manifest.digest AND reference.repository = manifest.repository)
  AND NOT EXISTS (SELECT 1 FROM registry_manifest AS subject WHERE subject.repository = manifest.repository AND subject.digest = manifest.subject)`;
// A manifest may name a foreign layer by its digest that is another repository's: that keeps nothing.
const isHeld = `EXISTS (SELECT 1 FROM registry_link AS link WHERE link.repository = reference.repository AND link.digest = reference.child)`;
const isOld = `${isUnleased("blob")} AND blob.used_at_ms <= @usedBefore`;
const isUnneededBlob = `${isOld}
  AND NOT EXISTS (SELECT 1 FROM registry_reference AS reference WHERE reference.child = blob.digest AND ${isHeld})
  AND NOT EXISTS (SELECT 1 FROM registry_manifest AS manifest WHERE manifest.digest = blob.digest)`;

/** Was it pushed here? Else it came from an upstream. */
const isOwn = (table: string, column: string) =>
  `NOT EXISTS (SELECT 1 FROM registry_cached AS cached WHERE cached.repository = ${table}.repository AND cached.digest = ${table}.${column})`;

/** The registry's rows as garbage collection and check see them. */
export function createRegistryUpkeepRepository(db: Database, queue: CommitQueue) {
  const pluck = (sql: string) => db.prepare<unknown[], string>(sql).pluck();
  const is = (sql: string) => db.prepare<unknown[], number>(sql).pluck();

  const manifestPart = db.prepare<
    unknown[],
    ManifestKey & { readonly subject: string | null; readonly isUntagged: number }
  >(
    `SELECT repository, digest, subject, ${isUntagged} AS isUntagged FROM registry_manifest AS manifest
     WHERE (repository, digest) > (@repository, @digest) ORDER BY repository, digest LIMIT ${partLength}`,
  );
  const blobPart = db.prepare<
    unknown[],
    RegistryBlob & { readonly isUnneeded: number; readonly state: string }
  >(
    `SELECT digest, size_bytes AS sizeBytes, state, ${isUnneededBlob} AS isUnneeded FROM registry_blob AS blob
     WHERE digest > @after ORDER BY digest LIMIT ${partLength}`,
  );
  const parents = pluck("SELECT parent FROM registry_reference WHERE child = ? AND repository = ?");
  const childrenOf = pluck(
    "SELECT DISTINCT child FROM registry_reference WHERE repository = ? AND parent = ?",
  );
  const allParents = db.prepare<[string], ManifestKey>(
    `SELECT repository, parent AS digest FROM registry_reference AS reference WHERE child = ? AND ${isHeld}`,
  );
  const allManifests = db.prepare<[string], ManifestKey>(
    "SELECT repository, digest FROM registry_manifest WHERE digest = ?",
  );
  const manifestRow = is("SELECT 1 FROM registry_manifest WHERE repository = ? AND digest = ?");
  const oldBlob = db.prepare<unknown[], RegistryBlob>(
    `SELECT digest, size_bytes AS sizeBytes FROM registry_blob AS blob WHERE digest = @digest AND ${isOld}`,
  );
  const keptUntil = is(
    `SELECT max(used_at_ms + @graceMs, coalesce((SELECT until_ms FROM registry_lease WHERE digest = blob.digest), 0))
     FROM registry_blob AS blob WHERE digest = @digest`,
  );
  const subjectOf = db
    .prepare<[string, string], string | null>(
      "SELECT subject FROM registry_manifest WHERE repository = ? AND digest = ?",
    )
    .pluck();
  const dropUnneededManifest = db.prepare(
    `DELETE FROM registry_manifest AS manifest WHERE repository = @repository AND digest = @digest AND ${isUnneededManifest}`,
  );
  const markUnneededBlob = db.prepare(
    `UPDATE registry_blob AS blob SET state = 'deleting' WHERE digest = @digest AND ${isUnneededBlob}`,
  );
  const dropLinks = db.prepare("DELETE FROM registry_link WHERE digest = ?");
  const dropDeletedBlob = db.prepare("DELETE FROM registry_blob WHERE digest = ? AND state = 'deleting'");
  const dropLeases = db.prepare("DELETE FROM registry_lease WHERE until_ms < ?");
  const dropRepositories = db.prepare(
    `DELETE FROM registry_repository AS repository WHERE created_at_ms <= @usedBefore
       AND NOT EXISTS (SELECT 1 FROM registry_link WHERE repository = repository.name)
       AND NOT EXISTS (SELECT 1 FROM registry_manifest WHERE repository = repository.name)
       AND NOT EXISTS (SELECT 1 FROM registry_upload WHERE repository = repository.name)`,
  );

  const blobRow = db.prepare<[string], RegistryBlob & { readonly state: string }>(
    "SELECT digest, size_bytes AS sizeBytes, state FROM registry_blob WHERE digest = ?",
  );
  const isUsed = is(
    `SELECT 1 WHERE EXISTS (SELECT 1 FROM registry_reference WHERE child = @digest)
       OR EXISTS (SELECT 1 FROM registry_manifest WHERE digest = @digest) OR EXISTS (SELECT 1 FROM registry_link WHERE digest = @digest)`,
  );
  const hasOwnUse = is(
    `SELECT 1 WHERE EXISTS (SELECT 1 FROM registry_reference AS reference WHERE child = @digest AND ${isOwn("reference", "parent")})
       OR EXISTS (SELECT 1 FROM registry_manifest AS manifest WHERE digest = @digest AND ${isOwn("manifest", "digest")})
       OR EXISTS (SELECT 1 FROM registry_link AS link WHERE digest = @digest AND ${isOwn("link", "digest")})`,
  );
  const repositoriesWith = pluck(
    `SELECT repository FROM registry_link WHERE digest = @digest
     UNION SELECT repository FROM registry_manifest WHERE digest = @digest ORDER BY 1 LIMIT 10`,
  );
  const setState = db.prepare("UPDATE registry_blob SET state = ? WHERE digest = ? AND state <> ?");
  const isPushed = (table: string) =>
    `EXISTS (SELECT 1 FROM ${table} AS own WHERE own.digest = blob.digest AND ${isOwn("own", "digest")})`;
  const pushedBytes = db
    .prepare<[], number>(
      `SELECT total(size_bytes) FROM registry_blob AS blob
       WHERE NOT EXISTS (SELECT 1 FROM registry_cached WHERE digest = blob.digest)
         OR ${isPushed("registry_link")} OR ${isPushed("registry_manifest")}`,
    )
    .pluck();
  const stock = db.prepare<
    [],
    { blobs: number; bytes: number; manifests: number; tags: number; absentBlobs: number }
  >(
    `SELECT count(*) AS blobs, coalesce(sum(size_bytes), 0) AS bytes, coalesce(sum(state <> 'present'), 0) AS absentBlobs,
       (SELECT count(*) FROM registry_manifest) AS manifests, (SELECT count(*) FROM registry_tag) AS tags FROM registry_blob`,
  );

  const factsPart = db.prepare<
    unknown[],
    ManifestKey & {
      readonly mediaType: string;
      readonly artifactType: string | null;
      readonly configMediaType: string | null;
      readonly subject: string | null;
      readonly annotations: string;
      readonly isCached: number;
    }
  >(
    `SELECT repository, digest, media_type AS mediaType, artifact_type AS artifactType, config_media_type AS configMediaType,
       subject, annotations, NOT ${isOwn("manifest", "digest")} AS isCached FROM registry_manifest AS manifest
     WHERE (repository, digest) > (@repository, @digest) ORDER BY repository, digest LIMIT ${partLength}`,
  );
  const referenceRows = db.prepare<[string, string], RegistryReference>(
    "SELECT child AS digest, kind FROM registry_reference WHERE repository = ? AND parent = ?",
  );
  const dropReferences = db.prepare("DELETE FROM registry_reference WHERE repository = ? AND parent = ?");
  const keepReference = db.prepare(
    "INSERT INTO registry_reference (repository, parent, child, kind) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING",
  );
  const keepFacts = db.prepare(
    `UPDATE registry_manifest SET media_type = @mediaType, artifact_type = @artifactType, config_media_type = @configMediaType,
       subject = @subject, annotations = @annotations WHERE repository = @repository AND digest = @digest`,
  );
  const isManifest = is("SELECT 1 FROM registry_manifest WHERE digest = ? LIMIT 1");
  const linkRow = is("SELECT 1 FROM registry_link WHERE repository = ? AND digest = ?");
  const keepBlob = db.prepare(
    `INSERT INTO registry_blob (digest, size_bytes, created_at_ms, used_at_ms) VALUES (@digest, @sizeBytes, @now, @now)
     ON CONFLICT DO NOTHING`,
  );
  const keepLink = db.prepare(
    `INSERT INTO registry_link (repository, digest, created_at_ms)
     SELECT @repository, digest, @now FROM registry_blob WHERE digest = @digest AND state = 'present' ON CONFLICT DO NOTHING`,
  );

  const isPresent = (state: string) => state === "present";
  const nextOf = <Row>(rows: readonly Row[]): Row | undefined =>
    rows.length < partLength ? undefined : rows.at(-1);

  return {
    /** Manifests without a tag, the next part of them. */
    untagged(after: ManifestKey | undefined, ages: Ages): Part<UntaggedManifest, ManifestKey> {
      const rows = manifestPart.all({ ...ages, repository: "", digest: "", ...after });
      return {
        rows: rows
          .filter((row) => row.isUntagged)
          .map(({ repository, digest, subject }) => ({ repository, digest, subject: subject ?? undefined })),
        next: nextOf(rows),
      };
    },
    /** Blobs that no manifest names, the next part of them. */
    unneeded(after: string | undefined, ages: Ages): Part<RegistryBlob, string> {
      const rows = blobPart.all({ ...ages, after: after ?? "" });
      return { rows: rows.filter((row) => row.isUnneeded), next: nextOf(rows)?.digest };
    },
    hasManifest: (repository: string, digest: string): boolean =>
      manifestRow.get(repository, digest) !== undefined,
    /** Manifests of the repository that need this one. */
    parentsOf: ({ repository, digest }: ManifestKey): string[] => parents.all(digest, repository),
    childrenOf: ({ repository, digest }: ManifestKey): string[] => childrenOf.all(repository, digest),
    /** Manifests of all repositories that need this content or are it. */
    usersOf: (digest: string): ManifestKey[] => [...allParents.all(digest), ...allManifests.all(digest)],
    /** @returns undefined when it was used too lately or has a lease */
    findOldBlob: (digest: string, ages: Ages): RegistryBlob | undefined => oldBlob.get({ ...ages, digest }),

    /** When what nobody needs may go. */
    keptUntil: (digest: string, graceMs: DurationMs): EpochMs => keptUntil.get({ digest, graceMs }) ?? 0,
    /** What this manifest is about. */
    subjectOf: ({ repository, digest }: ManifestKey): string | undefined =>
      subjectOf.get(repository, digest) ?? undefined,

    /** Removes manifests that still nobody needs, with their signatures. @returns those that are gone */
    removeManifests: (keys: readonly ManifestKey[], ages: Ages): Promise<ManifestKey[]> =>
      queue.run(() => keys.filter((key) => dropUnneededManifest.run({ ...key, ...ages }).changes > 0)),

    /** Takes blobs that still nobody needs away from everybody; their content goes after that. @returns those */
    markDeleting: (
      digests: readonly string[],
      ages: Ages,
      mayGo: (digest: string) => boolean,
    ): Promise<string[]> =>
      queue.run(() =>
        digests.filter((digest) => {
          if (!mayGo(digest) || markUnneededBlob.run({ ...ages, digest }).changes === 0) return false;
          dropLinks.run(digest);
          return true;
        }),
      ),
    /** Ends it, but for what was pushed again meanwhile. @returns those that are gone */
    removeDeleted: (digests: readonly string[], mayGo: (digest: string) => boolean): Promise<string[]> =>
      queue.run(() => digests.filter((digest) => mayGo(digest) && dropDeletedBlob.run(digest).changes > 0)),
    /** Leases that are over, and repositories with nothing in them. */
    removeRemains: (ages: Ages): Promise<void> =>
      queue.run(() => {
        dropLeases.run(ages.now);
        dropRepositories.run({ usedBefore: ages.usedBefore });
      }),

    /** All blobs, the next part of them. */
    blobs(after: string | undefined): Part<BlobState, string> {
      const rows = blobPart.all({ now: 0, usedBefore: 0, after: after ?? "" });
      return {
        rows: rows.map(({ digest, sizeBytes, state }) => ({
          digest,
          sizeBytes,
          isPresent: isPresent(state),
        })),
        next: nextOf(rows)?.digest,
      };
    },
    findBlob(digest: string): BlobState | undefined {
      const row = blobRow.get(digest);
      return row && { digest, sizeBytes: row.sizeBytes, isPresent: isPresent(row.state) };
    },
    isManifest: (digest: string): boolean => isManifest.get(digest) !== undefined,
    /** Is it part of any repository? */
    isUsed: (digest: string): boolean => isUsed.get({ digest }) !== undefined,
    /** Is it a part of images of upstreams alone? */
    isFetchedAgain: (digest: string): boolean => hasOwnUse.get({ digest }) === undefined,
    /** Names of repositories that have it, ten at most. */
    repositoriesWith: (digest: string): string[] => repositoriesWith.all({ digest }),
    /** Content that is lost is there for nobody until it is pushed again. @returns false: it was so before */
    setPresent: (digest: string, isNow: boolean): Promise<boolean> =>
      queue.run(() => {
        const state = isNow ? "present" : "deleting";
        return setState.run(state, digest, state).changes > 0;
      }),
    /** Octets of all content but what only the cache of upstreams has. */
    pushedBytes: (): number => pushedBytes.get() ?? 0,
    /** How much there is; each row is looked at. */
    stock: () => stock.get() ?? { blobs: 0, bytes: 0, manifests: 0, tags: 0, absentBlobs: 0 },

    /** What the rows say of manifests, the next part of them. */
    manifests(after: ManifestKey | undefined): Part<DerivedManifest, ManifestKey> {
      const rows = factsPart.all({ repository: "", digest: "", ...after });
      return {
        rows: rows.map(({ repository, digest, ...row }) => ({
          repository,
          digest,
          facts: {
            mediaType: row.mediaType,
            artifactType: row.artifactType ?? undefined,
            configMediaType: row.configMediaType ?? undefined,
            subject: row.subject ?? undefined,
            annotations: JSON.parse(row.annotations) as Record<string, string>,
          },
          isCached: row.isCached === 1,
          references: referenceRows.all(repository, digest),
        })),
        next: nextOf(rows),
      };
    },
    /** Has the repository this content, as a blob or as a manifest? */
    has: (repository: string, { digest, kind }: RegistryReference): boolean =>
      (kind === "manifest" ? manifestRow : linkRow).get(repository, digest) !== undefined,
    /** Makes the rows of a manifest what it says itself. @param found content that it needs and the repository had lost sight of */
    rewriteManifest: (
      { repository, digest, facts, references }: DerivedManifest,
      found: readonly RegistryBlob[],
      now: EpochMs,
    ): Promise<void> =>
      queue.run(() => {
        const { mediaType, artifactType = null, configMediaType = null, subject = null } = facts;
        const annotations = subject === null ? "{}" : JSON.stringify(facts.annotations);
        const isThere =
          keepFacts.run({
            repository,
            digest,
            mediaType,
            artifactType,
            configMediaType,
            subject,
            annotations,
          }).changes > 0;
        if (!isThere) return;
        dropReferences.run(repository, digest);
        for (const { digest: child, kind } of references) keepReference.run(repository, digest, child, kind);
        for (const blob of found) {
          keepBlob.run({ ...blob, now });
          keepLink.run({ repository, digest: blob.digest, now });
        }
      }),
  };
}
export type RegistryUpkeepRepository = ReturnType<typeof createRegistryUpkeepRepository>;
