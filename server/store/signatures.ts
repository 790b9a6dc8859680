import type { Database } from "better-sqlite3";
import { LRUCache } from "lru-cache";
import { SignaturePositionInvalid, SignaturesTooMany } from "../domain/error-catalogue.ts";
import {
  attachmentTag,
  type ImageSignature,
  mostSignatures,
  type SignatureFormat,
} from "../domain/signature.ts";
import type { CommitQueue } from "./commit-queue.ts";

/** A tag under which signatures lie, and where it leads. */
export interface Attachment {
  readonly repository: string;
  readonly tag: string;
  readonly manifest: string;
}

interface Row extends Omit<ImageSignature, "expiresAt"> {
  expiresAt: number | null;
}

/** A signature that came in an attachment, with its octets. */
export type AttachedSignature = Omit<ImageSignature, "format" | "position"> & { readonly octets: Uint8Array };

const columns = `repository, digest, format, position, id, fingerprint, reference, signed_at_ms AS signedAt, expires_at_ms AS expiresAt,
  added_at_ms AS addedAt, added_by AS addedBy`;

/** SQL: whether the tag in a column is one under which cosign puts signatures, as `attachedTo` reads it; the triggers of migration 9 say the same. */
export const isAttachmentTag = (column: string): string =>
  `${column} GLOB 'sha256-*.sig' AND length(${column}) = 75`;

/** What a room asks for at once is read once, until the next commit: octets with their keys. */
const recentBytes = 2 * 1024 * 1024;

/** Signatures of images. There may be many, and each is read at its place in the table, so none is kept in memory for long. */
export function createSignatureRepository(db: Database, queue: CommitQueue) {
  const ofImage = db.prepare(
    `SELECT ${columns} FROM image_signatures WHERE repository = ? AND digest = ? ORDER BY format, position`,
  );
  const octetsAt = db
    .prepare(
      "SELECT octets FROM image_signatures WHERE repository = ? AND digest = ? AND format = 'openpgp' AND position = ?",
    )
    .pluck();
  const recent = new LRUCache<string, { readonly octets: Buffer | undefined }>({
    maxSize: recentBytes,
    sizeCalculation: ({ octets }, key) => key.length + (octets?.length ?? 0) + 100,
  });
  let recentAt = 0;
  function octets(repository: string, digest: string, position: number): Buffer | undefined {
    if (recentAt !== queue.commits) {
      recent.clear();
      recentAt = queue.commits;
    }
    const key = `${repository}@${digest}/${position}`;
    const known = recent.get(key);
    if (known) return known.octets;
    const read = octetsAt.get(repository, digest, position) as Buffer | undefined;
    recent.set(key, { octets: read });
    return read;
  }
  const insert = db.prepare(
    `INSERT INTO image_signatures (repository, digest, format, position, id, fingerprint, reference, signed_at_ms, expires_at_ms, added_at_ms, added_by, octets)
     VALUES (@repository, @digest, @format, @position, @id, @fingerprint, @reference, @signedAt, @expiresAt, @addedAt, @addedBy, @octets)`,
  );
  const drop = db.prepare(
    "DELETE FROM image_signatures WHERE repository = ? AND digest = ? AND format = 'openpgp' AND position = ?",
  );
  const moveUp = db.prepare(
    "UPDATE image_signatures SET position = position - 1 WHERE repository = ? AND digest = ? AND format = 'openpgp' AND position = ?",
  );
  const dropAttached = db.prepare(
    "DELETE FROM image_signatures WHERE repository = ? AND digest = ? AND format = 'sigstore'",
  );
  const isAttached = db.prepare(
    `SELECT 1 FROM registry_tag AS tag JOIN registry_manifest AS subject ON subject.repository = tag.repository AND subject.digest = @digest
     WHERE tag.repository = @repository AND tag.name = @tag AND tag.digest = @manifest`,
  );
  const subjects = db
    .prepare<[string, string], string>(
      `SELECT DISTINCT signature.digest FROM registry_tag AS tag JOIN image_signatures AS signature
         ON signature.repository = tag.repository AND signature.digest = 'sha256:' || substr(tag.name, 8, 64) AND signature.format = 'sigstore'
       WHERE tag.repository = ? AND tag.digest = ? AND ${isAttachmentTag("tag.name")}`,
    )
    .pluck();
  const attachmentPage = db.prepare<[string, string, number], Attachment>(
    `SELECT repository, name AS tag, digest AS manifest FROM registry_tag
     WHERE (repository, name) > (?, ?) AND ${isAttachmentTag("name")} ORDER BY repository, name LIMIT ?`,
  );

  const list = (repository: string, digest: string): ImageSignature[] =>
    (ofImage.all(repository, digest) as Row[]).map((row) => ({
      ...row,
      expiresAt: row.expiresAt ?? undefined,
    }));

  const ofFormat = (repository: string, digest: string, format: SignatureFormat) =>
    list(repository, digest).filter((one) => one.format === format);

  return {
    /** By format, and in the order of their positions: 1, 2, 3, … */
    list,
    /** Of an OpenPGP signature. */
    octets,
    /**
     * Puts an OpenPGP signature behind the others; one that is there already stays where it is.
     * @param position of the one that it replaces, or the next one; undefined: the next one
     * @throws SignaturesTooMany, SignaturePositionInvalid
     */
    add: (
      signature: Omit<ImageSignature, "position" | "format">,
      octets: Uint8Array,
      position?: number,
    ): Promise<ImageSignature> =>
      queue.run(() => {
        const { repository, digest, id } = signature;
        const known = ofFormat(repository, digest, "openpgp");
        const same = known.find((one) => one.id === id);
        if (same) return same;
        const next = known.length + 1;
        if (position !== undefined && position > next) throw SignaturePositionInvalid({ position, next });
        const added = { ...signature, format: "openpgp" as const, position: position ?? next };
        if (added.position > mostSignatures) throw SignaturesTooMany({ limit: mostSignatures });
        drop.run(repository, digest, added.position);
        insert.run({ ...added, expiresAt: added.expiresAt ?? null, octets });
        return added;
      }),
    /** Takes an OpenPGP signature away; those behind it move up. @returns false when there is none */
    remove: (repository: string, digest: string, position: number): Promise<boolean> =>
      queue.run(() => {
        const before = ofFormat(repository, digest, "openpgp").length;
        if (drop.run(repository, digest, position).changes === 0) return false;
        for (let after = position + 1; after <= before; after++) moveUp.run(repository, digest, after);
        return true;
      }),

    /**
     * Makes these the signatures that lie under the tag of a manifest's signatures. What was verified while the tag was moved, or the
     * manifest removed, is not kept.
     * @param manifest digest that the tag led to
     */
    attach: (
      { repository, digest, manifest }: { repository: string; digest: string; manifest: string },
      signatures: readonly AttachedSignature[],
    ): Promise<void> =>
      queue.run(() => {
        if (!isAttached.get({ repository, digest, manifest, tag: attachmentTag(digest) })) return;
        dropAttached.run(repository, digest);
        for (const [index, { octets, expiresAt = null, ...signature }] of signatures.entries())
          insert.run({ ...signature, format: "sigstore", position: index + 1, expiresAt, octets });
      }),
    /** Manifests whose signatures came in this one, and whose tags of signatures lead to it now. */
    subjectsOf: (repository: string, manifest: string): string[] => subjects.all(repository, manifest),
    /** Tags under which signatures lie, of all repositories. @param after the last one of the page before */
    attachments: ({ repository, tag }: Pick<Attachment, "repository" | "tag">, limit: number): Attachment[] =>
      attachmentPage.all(repository, tag, limit),
  };
}
export type SignatureRepository = ReturnType<typeof createSignatureRepository>;
