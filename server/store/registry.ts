import type { Database } from "better-sqlite3";
import type { EpochMs } from "../domain/capabilities.ts";
import type { CommitQueue } from "./commit-queue.ts";

export interface RegistryBlob {
  readonly digest: string;
  readonly sizeBytes: number;
}

export interface RegistryManifest extends RegistryBlob {
  readonly mediaType: string;
  readonly artifactType: string | undefined;
  readonly configMediaType: string | undefined;
  readonly subject: string | undefined;
  readonly annotations: Readonly<Record<string, string>>;
}

export interface RegistryReference {
  readonly digest: string;
  readonly kind: "config" | "layer" | "manifest" | "blob";
  /** It need not be there; where it is, it is kept as the others are. */
  readonly isForeign?: true;
}

export interface RegistryUpload {
  readonly id: string;
  readonly repository: string;
  readonly algorithm: "sha256" | "sha512";
  readonly createdAt: EpochMs;
  readonly expiresAt: EpochMs;
}

export interface ManifestToSave {
  readonly repository: string;
  readonly manifest: RegistryManifest;
  readonly references: readonly RegistryReference[];
  /** Of an upstream: it may go when the cache is full, and what it references, fetched when somebody asks for it, need not be there. */
  readonly isCached?: boolean;
  /** Tags that lead to it from now on. */
  readonly tags: readonly string[];
  readonly by: string;
  readonly now: EpochMs;
}

export type Deletion = "deleted" | "unknown" | "referenced";

/** Where a list goes on, and how much of it. */
export interface Page {
  /** Names after this one; undefined: from the beginning. */
  readonly after: string | undefined;
  readonly limit: number;
}

const everything = -1;

/** A tag and where it leads. */
export interface TaggedImage {
  readonly repository: string;
  readonly tag: string;
  readonly digest: string;
  readonly updatedAt: EpochMs;
}

/**
 * What the registry knows of its content. Read from the database, a few microseconds each, for there may be more of it than memory should
 * hold; the rows are those of the last commit.
 */
export function createRegistryRepository(db: Database, queue: CommitQueue) {
  const names = (sql: string) => db.prepare<unknown[], string>(sql).pluck();
  const tagDigest = names("SELECT digest FROM registry_tag WHERE repository = ? AND name = ?");
  const manifestRow = db.prepare<
    [string, string],
    Pick<RegistryManifest, "digest" | "mediaType" | "sizeBytes"> & { readonly createdAt: EpochMs }
  >(
    `SELECT manifest.digest, media_type AS mediaType, manifest.size_bytes AS sizeBytes, manifest.created_at_ms AS createdAt
     FROM registry_manifest AS manifest JOIN registry_blob AS blob USING (digest)
     WHERE manifest.repository = ? AND manifest.digest = ? AND blob.state = 'present'`,
  );
  const isManifest = names("SELECT 1 FROM registry_manifest WHERE repository = ? AND digest = ?");
  const blobRow = db.prepare<[string, string], RegistryBlob>(
    `SELECT blob.digest, blob.size_bytes AS sizeBytes FROM registry_link AS link JOIN registry_blob AS blob USING (digest)
     WHERE link.repository = ? AND link.digest = ? AND blob.state = 'present'`,
  );
  const blobAnywhere = db.prepare<[string], RegistryBlob>(
    `SELECT blob.digest, blob.size_bytes AS sizeBytes FROM registry_link AS link JOIN registry_blob AS blob USING (digest)
     WHERE link.digest = ? AND blob.state = 'present' LIMIT 1`,
  );
  const isKept = names("SELECT 1 FROM registry_blob WHERE digest = ?");
  const needed = db.prepare<{ repository: string; digest: string }, number>(
    `SELECT 1 WHERE EXISTS (SELECT 1 FROM registry_tag WHERE repository = @repository AND digest = @digest)
       OR EXISTS (SELECT 1 FROM registry_reference WHERE child = @digest AND repository = @repository)
       OR EXISTS (SELECT 1 FROM registry_cached WHERE repository = @repository AND digest = @digest)`,
  );
  const repositoryRow = names("SELECT name FROM registry_repository WHERE name = ?");
  const tagPage = names(
    "SELECT name FROM registry_tag WHERE repository = ? AND name > ? ORDER BY name LIMIT ?",
  );
  const repositoryPage = names("SELECT name FROM registry_repository WHERE name > ? ORDER BY name LIMIT ?");
  const taggedColumns = "repository, name AS tag, digest, updated_at_ms AS updatedAt";
  const taggedRows = db.prepare<[string, string, number], TaggedImage>(
    `SELECT ${taggedColumns} FROM registry_tag WHERE (repository, name) > (?, ?) ORDER BY repository, name LIMIT ?`,
  );
  const taggedInRows = db.prepare<[string, string, number], TaggedImage>(
    `SELECT ${taggedColumns} FROM registry_tag WHERE repository = ? AND name > ? ORDER BY name LIMIT ?`,
  );
  const imageSize = db
    .prepare<[string, string], number>(
      `WITH RECURSIVE part (digest) AS (
         SELECT ? UNION SELECT child FROM registry_reference JOIN part ON parent = part.digest WHERE repository = ?)
       SELECT coalesce(sum(size_bytes), 0) FROM part JOIN registry_blob USING (digest)`,
    )
    .pluck();
  const repositorySize = db
    .prepare<{ name: string }, number>(
      `SELECT coalesce(sum(size_bytes), 0) FROM registry_blob WHERE digest IN (
         SELECT digest FROM registry_link WHERE repository = @name
         UNION SELECT digest FROM registry_manifest WHERE repository = @name)`,
    )
    .pluck();
  const tagsOf = names("SELECT name FROM registry_tag WHERE repository = ? AND digest = ? ORDER BY name");
  const referrerRows = db.prepare<
    unknown[],
    Omit<RegistryManifest, "annotations" | "artifactType"> & {
      annotations: string;
      artifactType: string | null;
      createdAt: EpochMs;
    }
  >(
    `SELECT digest, media_type AS mediaType, size_bytes AS sizeBytes, artifact_type AS artifactType, annotations,
       created_at_ms AS createdAt FROM registry_manifest WHERE repository = @repository AND subject = @subject AND digest > @after
       AND (@artifactType IS NULL OR artifact_type = @artifactType) ORDER BY digest`,
  );

  const keepRepository = db.prepare(
    "INSERT INTO registry_repository (name, created_at_ms) VALUES (?, ?) ON CONFLICT DO NOTHING",
  );
  const keepBlob = db.prepare(
    `INSERT INTO registry_blob (digest, size_bytes, created_at_ms, used_at_ms) VALUES (?, ?, ?, ?)
     ON CONFLICT (digest) DO UPDATE SET used_at_ms = excluded.used_at_ms, state = 'present'`,
  );
  // What loses its tag is as old as that: garbage collection counts from there.
  const useTagged = db.prepare(
    `UPDATE registry_blob SET used_at_ms = @now
     WHERE digest = (SELECT digest FROM registry_tag WHERE repository = @repository AND name = @tag)`,
  );
  const keepLink = db.prepare(
    "INSERT INTO registry_link (repository, digest, created_at_ms) VALUES (?, ?, ?) ON CONFLICT DO NOTHING",
  );
  const dropLink = db.prepare("DELETE FROM registry_link WHERE repository = ? AND digest = ?");
  const keepManifest = db.prepare(
    `INSERT INTO registry_manifest
       (repository, digest, media_type, artifact_type, config_media_type, subject, annotations, size_bytes, created_at_ms)
     VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
     ON CONFLICT DO UPDATE SET media_type = excluded.media_type`,
  );
  const dropManifest = db.prepare("DELETE FROM registry_manifest WHERE repository = ? AND digest = ?");
  const keepReference = db.prepare(
    "INSERT INTO registry_reference (repository, parent, child, kind) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING",
  );
  const childManifests = names(
    "SELECT child FROM registry_reference WHERE repository = ? AND parent = ? AND kind = 'manifest' ORDER BY child",
  );
  const isReferenced = names("SELECT 1 FROM registry_reference WHERE child = ? AND repository = ? LIMIT 1");
  const keepTag = db.prepare(
    `INSERT INTO registry_tag (repository, name, digest, updated_at_ms, updated_by) VALUES (?, ?, ?, ?, ?)
     ON CONFLICT (repository, name) DO UPDATE
       SET digest = excluded.digest, updated_at_ms = excluded.updated_at_ms, updated_by = excluded.updated_by`,
  );
  const dropTag = db.prepare("DELETE FROM registry_tag WHERE repository = ? AND name = ?");
  const keepUpload = db.prepare(
    "INSERT INTO registry_upload (id, repository, algorithm, created_at_ms, expires_at_ms) VALUES (?, ?, ?, ?, ?)",
  );
  const dropUpload = db.prepare("DELETE FROM registry_upload WHERE id = ?");
  const keepLease = db.prepare(
    `INSERT INTO registry_lease (digest, until_ms) VALUES (?, ?)
     ON CONFLICT (digest) DO UPDATE SET until_ms = max(until_ms, excluded.until_ms)`,
  );

  const isOwn = names(
    `SELECT 1 WHERE NOT EXISTS (SELECT 1 FROM registry_cached WHERE repository = @repository AND digest = @digest)
       AND (EXISTS (SELECT 1 FROM registry_link WHERE repository = @repository AND digest = @digest)
         OR EXISTS (SELECT 1 FROM registry_manifest WHERE repository = @repository AND digest = @digest))`,
  );
  const keepCached = db.prepare(
    `INSERT INTO registry_cached (repository, digest, used_at_ms) VALUES (@repository, @digest, @now)
     ON CONFLICT DO UPDATE SET used_at_ms = excluded.used_at_ms`,
  );
  const hasCached = names("SELECT 1 FROM registry_cached WHERE repository = ? LIMIT 1");
  const dropCached = db.prepare(
    `WITH RECURSIVE part (digest) AS (
       SELECT @digest UNION SELECT child FROM registry_reference JOIN part ON parent = part.digest WHERE repository = @repository)
     DELETE FROM registry_cached WHERE repository = @repository AND digest IN (SELECT digest FROM part)`,
  );

  /** What is pushed here, and what that needs, is no part of the cache, though it may have come from an upstream before. */
  function own(repository: string, digest: string): void {
    if (hasCached.get(repository) !== undefined) dropCached.run({ repository, digest });
  }

  function link(repository: string, { digest, sizeBytes }: RegistryBlob, now: EpochMs): void {
    keepRepository.run(repository, now);
    keepBlob.run(digest, sizeBytes, now, now);
    keepLink.run(repository, digest, now);
  }

  const isThere = (repository: string, { digest, kind }: RegistryReference): boolean =>
    (kind === "manifest" ? manifestRow : blobRow).get(repository, digest) !== undefined;
  const missingOf = (repository: string, references: readonly RegistryReference[]) =>
    references.filter((reference) => !reference.isForeign && !isThere(repository, reference));

  return {
    /** @returns the digest that the tag leads to */
    findTag: (repository: string, tag: string): string | undefined => tagDigest.get(repository, tag),
    findManifest: (repository: string, digest: string) => manifestRow.get(repository, digest),
    /** The manifests that an index leads to, none for an image. @returns undefined when the repository has no such manifest */
    childrenOf: (repository: string, digest: string): readonly string[] | undefined =>
      manifestRow.get(repository, digest) && childManifests.all(repository, digest),
    /** A blob of this repository. */
    findBlob: (repository: string, digest: string): RegistryBlob | undefined =>
      blobRow.get(repository, digest),
    /** A blob of any repository. */
    findBlobAnywhere: (digest: string): RegistryBlob | undefined => blobAnywhere.get(digest),
    /** Does the registry keep this content, as a blob or a manifest of any repository? */
    keeps: (digest: string): boolean => isKept.get(digest) !== undefined,
    /** Does a tag or a manifest of the repository lead to it, or is it of an upstream? */
    isNeeded: (repository: string, digest: string): boolean =>
      needed.get({ repository, digest }) !== undefined,
    hasRepository: (name: string): boolean => repositoryRow.get(name) !== undefined,
    /** In the order of their octets. */
    tags: (repository: string, { after = "", limit }: Page): string[] =>
      tagPage.all(repository, after, Number.isFinite(limit) ? limit : everything),
    /** Tags that lead to this manifest. */
    tagsOf: (repository: string, digest: string): string[] => tagsOf.all(repository, digest),
    /** Tags of all repositories, in the order of their octets. @param after of the tag before the page */
    tagged: (after: Pick<TaggedImage, "repository" | "tag">, limit: number): TaggedImage[] =>
      taggedRows.all(after.repository, after.tag, limit),
    taggedIn: (repository: string, { after = "", limit }: Page): TaggedImage[] =>
      taggedInRows.all(repository, after, limit),
    /** Octets of a manifest and of all that it leads to and is here. */
    imageBytes: (repository: string, digest: string): number => imageSize.get(digest, repository) ?? 0,
    /** Octets of all blobs and manifests of a repository; of each some microseconds. */
    repositoryBytes: (name: string): number => repositorySize.get({ name }) ?? 0,
    repositories: ({ after = "", limit }: Page): string[] => repositoryPage.all(after, limit),
    /** Manifests about this one, one after the other in the order of their digests. */
    *referrers(
      repository: string,
      subject: string,
      { artifactType, after = "" }: { readonly artifactType: string | undefined; readonly after?: string },
    ) {
      const asked = { repository, subject, after, artifactType: artifactType ?? null };
      for (const row of referrerRows.iterate(asked))
        yield {
          ...row,
          artifactType: row.artifactType ?? undefined,
          annotations: JSON.parse(row.annotations) as Record<string, string>,
        };
    },

    /** Makes content, which lies in the content store, a blob of the repository. @param uploadId that ends with it */
    linkBlob: (repository: string, blob: RegistryBlob, now: EpochMs, uploadId?: string): Promise<void> =>
      queue.run(() => {
        link(repository, blob, now);
        own(repository, blob.digest);
        if (uploadId !== undefined) dropUpload.run(uploadId);
      }),

    /** The same for content of an upstream. */
    linkCachedBlob: (repository: string, blob: RegistryBlob, now: EpochMs): Promise<void> =>
      queue.run(() => {
        const { digest } = blob;
        const wasPushed = isOwn.get({ repository, digest }) !== undefined;
        link(repository, blob, now);
        if (!wasPushed) keepCached.run({ repository, digest, now });
      }),

    /** The same for what another repository has. @returns undefined when none has it any more */
    mountBlob: (
      repository: string,
      digest: string,
      from: string | undefined,
      now: EpochMs,
    ): Promise<RegistryBlob | undefined> =>
      queue.run(() => {
        const blob = from === undefined ? blobAnywhere.get(digest) : blobRow.get(from, digest);
        if (blob) {
          link(repository, blob, now);
          own(repository, digest);
        }
        return blob;
      }),

    /** What of this the repository has not. */
    missing: missingOf,

    /** All of a manifest in one step. @returns what it references and the repository has not: then nothing was saved */
    saveManifest: ({
      repository,
      manifest,
      references,
      isCached = false,
      tags,
      by,
      now,
    }: ManifestToSave): Promise<readonly RegistryReference[]> =>
      queue.run(() => {
        const missing = isCached ? [] : missingOf(repository, references);
        if (missing.length > 0) return missing;
        const { digest, sizeBytes, subject } = manifest;
        const wasPushed = isOwn.get({ repository, digest }) !== undefined;
        keepRepository.run(repository, now);
        keepBlob.run(digest, sizeBytes, now, now);
        keepManifest.run(
          repository,
          digest,
          manifest.mediaType,
          manifest.artifactType ?? null,
          manifest.configMediaType ?? null,
          subject ?? null,
          subject === undefined ? "{}" : JSON.stringify(manifest.annotations),
          sizeBytes,
          now,
        );
        for (const { digest: child, kind } of references) keepReference.run(repository, digest, child, kind);
        if (!isCached) own(repository, digest);
        else if (!wasPushed) keepCached.run({ repository, digest, now });
        for (const tag of tags) {
          useTagged.run({ repository, tag, now });
          keepTag.run(repository, tag, digest, now, by);
        }
        return missing;
      }),

    /** @returns whether it was there */
    removeTag: (repository: string, tag: string, now: EpochMs): Promise<boolean> =>
      queue.run(() => {
        useTagged.run({ repository, tag, now });
        return dropTag.run(repository, tag).changes > 0;
      }),

    /** With its tags. What an index references stays. */
    removeManifest: (repository: string, digest: string): Promise<Deletion> =>
      queue.run(() => {
        if (isManifest.get(repository, digest) === undefined) return "unknown";
        if (isReferenced.get(digest, repository) !== undefined) return "referenced";
        dropManifest.run(repository, digest);
        return "deleted";
      }),

    /** Takes a blob out of the repository. What a manifest references stays. */
    unlinkBlob: (repository: string, digest: string): Promise<Deletion> =>
      queue.run(() => {
        if (!blobRow.get(repository, digest)) return "unknown";
        if (isReferenced.get(digest, repository) !== undefined) return "referenced";
        dropLink.run(repository, digest);
        return "deleted";
      }),

    uploads: (): RegistryUpload[] =>
      db
        .prepare<[], RegistryUpload>(
          "SELECT id, repository, algorithm, created_at_ms AS createdAt, expires_at_ms AS expiresAt FROM registry_upload",
        )
        .all(),
    /** Nobody waits for it: an upload that a crash made unknown is begun again. */
    addUpload: ({ id, repository, algorithm, createdAt, expiresAt }: RegistryUpload): Promise<void> =>
      queue.runLater(() => void keepUpload.run(id, repository, algorithm, createdAt, expiresAt)),
    removeUpload: (id: string): Promise<void> => queue.runLater(() => void dropUpload.run(id)),

    /** Until then the content is kept though nothing references it. */
    lease: (digest: string, until: EpochMs): Promise<void> =>
      queue.runLater(() => void keepLease.run(digest, until)),
  };
}
export type RegistryRepository = ReturnType<typeof createRegistryRepository>;
