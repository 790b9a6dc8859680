import type { Database } from "better-sqlite3";
import { KeyTaken } from "../domain/error-catalogue.ts";
import type { SignatureFormat, Signer, SignerKey } from "../domain/signature.ts";
import type { CommitQueue } from "./commit-queue.ts";

interface SignerRow {
  name: string;
  scopes: string;
  added_at_ms: number;
  expires_at_ms: number | null;
  revoked_at_ms: number | null;
}

interface KeyRow {
  fingerprint: string;
  format: SignatureFormat;
  signer: string;
  algorithm: string;
  user_ids: string;
  created_at_ms: number | null;
  expires_at_ms: number | null;
  is_revoked: number;
  octets: Buffer;
}

/** Who may sign images, with their keys: all in memory. */
export function createSignerRepository(db: Database, queue: CommitQueue) {
  const signers = new Map<string, Signer>();
  const keyRows = db.prepare("SELECT * FROM signer_keys ORDER BY rowid").all() as KeyRow[];
  for (const row of db.prepare("SELECT * FROM signers ORDER BY name").all() as SignerRow[])
    signers.set(row.name, {
      name: row.name,
      scopes: JSON.parse(row.scopes) as string[],
      keys: keyRows.filter(({ signer }) => signer === row.name).map(readKey),
      addedAt: row.added_at_ms,
      expiresAt: row.expires_at_ms ?? undefined,
      revokedAt: row.revoked_at_ms ?? undefined,
    });
  let all: readonly Signer[] = [...signers.values()];
  const upsert = db.prepare(
    `INSERT INTO signers (name, scopes, added_at_ms, expires_at_ms, revoked_at_ms) VALUES (?, ?, ?, ?, ?)
     ON CONFLICT (name) DO UPDATE SET scopes = excluded.scopes, expires_at_ms = excluded.expires_at_ms, revoked_at_ms = excluded.revoked_at_ms`,
  );
  const dropKeys = db.prepare("DELETE FROM signer_keys WHERE signer = ?");
  const insertKey = db.prepare(
    `INSERT INTO signer_keys (fingerprint, format, signer, algorithm, user_ids, created_at_ms, expires_at_ms, is_revoked, octets)
     VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)`,
  );
  const drop = db.prepare("DELETE FROM signers WHERE name = ?");

  /** Puts what `change` makes of the newest state in its place, in memory and in the database. */
  function replace(name: string, next: Signer | undefined, onRollback: (undo: () => void) => void): void {
    const before = signers.get(name);
    onRollback(() => {
      if (before) signers.set(name, before);
      else signers.delete(name);
      all = [...signers.values()];
    });
    if (next) signers.set(name, next);
    else signers.delete(name);
    all = [...signers.values()];
  }

  return {
    /** The same array until something changes. */
    all: (): readonly Signer[] => all,
    find: (name: string): Signer | undefined => signers.get(name),
    /**
     * Adds or changes a signer inside one commit. @param change sees the newest state
     * @returns the signer as it is then @throws KeyTaken; what `change` throws
     */
    save: (name: string, change: (known: Signer | undefined) => Signer): Promise<Signer> =>
      queue.run(({ onRollback }) => {
        const next = change(signers.get(name));
        for (const { fingerprint } of next.keys)
          for (const other of all)
            if (other.name !== name && other.keys.some((key) => key.fingerprint === fingerprint))
              throw KeyTaken({ fingerprint, signer: other.name });
        upsert.run(
          name,
          JSON.stringify(next.scopes),
          next.addedAt,
          next.expiresAt ?? null,
          next.revokedAt ?? null,
        );
        dropKeys.run(name);
        for (const key of next.keys)
          insertKey.run(
            key.fingerprint,
            key.format,
            name,
            key.algorithm,
            JSON.stringify(key.userIds),
            key.createdAt ?? null,
            key.expiresAt ?? null,
            key.isRevoked ? 1 : 0,
            key.octets,
          );
        replace(name, next, onRollback);
        return next;
      }),
    /** @returns false when there is none */
    remove: (name: string): Promise<boolean> =>
      queue.run(({ onRollback }) => {
        if (drop.run(name).changes === 0) return false;
        replace(name, undefined, onRollback);
        return true;
      }),
  };
}
export type SignerRepository = ReturnType<typeof createSignerRepository>;

function readKey(row: KeyRow): SignerKey {
  return {
    format: row.format,
    fingerprint: row.fingerprint,
    algorithm: row.algorithm,
    userIds: JSON.parse(row.user_ids) as string[],
    createdAt: row.created_at_ms ?? undefined,
    expiresAt: row.expires_at_ms ?? undefined,
    isRevoked: row.is_revoked === 1,
    octets: row.octets,
  };
}
