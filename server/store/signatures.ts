import type { Database } from "better-sqlite3";
import { SignaturePositionInvalid, SignaturesTooMany } from "../domain/error-catalogue.ts";
import { type ImageSignature, mostSignatures } from "../domain/signature.ts";
import type { CommitQueue } from "./commit-queue.ts";

interface Row extends Omit<ImageSignature, "expiresAt"> {
  expiresAt: number | null;
}

const columns = `repository, digest, position, id, fingerprint, reference, signed_at_ms AS signedAt, expires_at_ms AS expiresAt,
  added_at_ms AS addedAt, added_by AS addedBy`;

/** Signatures of images. There may be many, and each is read at its place in the table, so none is kept in memory. */
export function createSignatureRepository(db: Database, queue: CommitQueue) {
  const ofImage = db.prepare(
    `SELECT ${columns} FROM image_signatures WHERE repository = ? AND digest = ? ORDER BY position`,
  );
  const octetsAt = db
    .prepare("SELECT octets FROM image_signatures WHERE repository = ? AND digest = ? AND position = ?")
    .pluck();
  const insert = db.prepare(
    `INSERT INTO image_signatures (repository, digest, position, id, fingerprint, reference, signed_at_ms, expires_at_ms, added_at_ms, added_by, octets)
     VALUES (@repository, @digest, @position, @id, @fingerprint, @reference, @signedAt, @expiresAt, @addedAt, @addedBy, @octets)`,
  );
  const drop = db.prepare(
    "DELETE FROM image_signatures WHERE repository = ? AND digest = ? AND position = ?",
  );
  const moveUp = db.prepare(
    "UPDATE image_signatures SET position = position - 1 WHERE repository = ? AND digest = ? AND position = ?",
  );

  const list = (repository: string, digest: string): ImageSignature[] =>
    (ofImage.all(repository, digest) as Row[]).map((row) => ({
      ...row,
      expiresAt: row.expiresAt ?? undefined,
    }));

  return {
    /** In the order of their positions: 1, 2, 3, … */
    list,
    octets: (repository: string, digest: string, position: number): Buffer | undefined =>
      octetsAt.get(repository, digest, position) as Buffer | undefined,
    /**
     * Puts a signature behind the others; one that is there already stays where it is.
     * @param position of the one that it replaces, or the next one; undefined: the next one
     * @throws SignaturesTooMany, SignaturePositionInvalid
     */
    add: (
      signature: Omit<ImageSignature, "position">,
      octets: Uint8Array,
      position?: number,
    ): Promise<ImageSignature> =>
      queue.run(() => {
        const { repository, digest, id } = signature;
        const known = list(repository, digest);
        const same = known.find((one) => one.id === id);
        if (same) return same;
        const next = known.length + 1;
        if (position !== undefined && position > next) throw SignaturePositionInvalid({ position, next });
        const added = { ...signature, position: position ?? next };
        if (added.position > mostSignatures) throw SignaturesTooMany({ limit: mostSignatures });
        drop.run(repository, digest, added.position);
        insert.run({ ...added, expiresAt: added.expiresAt ?? null, octets });
        return added;
      }),
    /** Takes one away; those behind it move up. @returns false when there is none */
    remove: (repository: string, digest: string, position: number): Promise<boolean> =>
      queue.run(() => {
        const before = list(repository, digest).length;
        if (drop.run(repository, digest, position).changes === 0) return false;
        for (let after = position + 1; after <= before; after++) moveUp.run(repository, digest, after);
        return true;
      }),
  };
}
export type SignatureRepository = ReturnType<typeof createSignatureRepository>;
