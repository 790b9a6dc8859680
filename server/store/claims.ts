import type { Database } from "better-sqlite3";
import type { Clock } from "../domain/capabilities.ts";
import { type Claim, reportWindowMs } from "../domain/claim.ts";
import type { Ipv4 } from "../net/ipv4.ts";
import type { Mac } from "../net/mac.ts";
import type { CommitQueue, Transaction } from "./commit-queue.ts";

interface Row {
  hash: string;
  boot_id: string;
  machine_id: string;
  mac: Mac;
  address: Ipv4;
  target: string;
  assignment_id: string | null;
  minted_at_ms: number;
  expires_at_ms: number;
  spent_at_ms: number | null;
  fetches: string;
}

export function createClaimRepository(db: Database, queue: CommitQueue, clock: Clock) {
  const byHash = new Map<string, Claim>();
  db.prepare("DELETE FROM claims WHERE expires_at_ms < ?").run(clock.now() - reportWindowMs);
  for (const row of db.prepare("SELECT * FROM claims").all() as Row[]) {
    byHash.set(row.hash, {
      hash: row.hash,
      bootId: row.boot_id,
      machineId: row.machine_id,
      mac: row.mac,
      address: row.address,
      target: JSON.parse(row.target) as Claim["target"],
      assignmentId: row.assignment_id ?? undefined,
      mintedAt: row.minted_at_ms,
      expiresAt: row.expires_at_ms,
      spentAt: row.spent_at_ms ?? undefined,
      fetches: JSON.parse(row.fetches) as Record<string, number>,
    });
  }
  const upsert = db.prepare(
    `INSERT INTO claims (hash, boot_id, machine_id, mac, address, target, assignment_id, minted_at_ms, expires_at_ms, spent_at_ms, fetches)
     VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
     ON CONFLICT (hash) DO UPDATE SET spent_at_ms = excluded.spent_at_ms, fetches = excluded.fetches,
       expires_at_ms = excluded.expires_at_ms`,
  );
  const drop = db.prepare("DELETE FROM claims WHERE hash = ?");

  function put(claim: Claim, { onRollback }: Transaction): void {
    const before = byHash.get(claim.hash);
    upsert.run(
      claim.hash,
      claim.bootId,
      claim.machineId,
      claim.mac,
      claim.address,
      JSON.stringify(claim.target),
      claim.assignmentId ?? null,
      claim.mintedAt,
      claim.expiresAt,
      claim.spentAt ?? null,
      JSON.stringify(claim.fetches),
    );
    byHash.set(claim.hash, claim);
    onRollback(() => (before ? byHash.set(claim.hash, before) : byHash.delete(claim.hash)));
  }

  return {
    find: (hash: string): Claim | undefined => byHash.get(hash),
    all: (): Iterable<Claim> => byHash.values(),
    /** Stores a new claim; the machine's earlier ones end with it, since there is one live claim per machine. */
    mint: (claim: Claim): Promise<void> =>
      queue.run((transaction) => {
        for (const old of byHash.values()) {
          if (old.machineId !== claim.machineId) continue;
          drop.run(old.hash);
          byHash.delete(old.hash);
          transaction.onRollback(() => byHash.set(old.hash, old));
        }
        put(claim, transaction);
      }),
    /** Changes one claim inside the commit; `change` sees the newest state, so two uses at once are counted as two. */
    update: (hash: string, change: (current: Claim) => Claim): Promise<Claim | undefined> =>
      queue.run((transaction) => {
        const before = byHash.get(hash);
        if (!before) return undefined;
        const next = change(before);
        if (next !== before) put(next, transaction);
        return next;
      }),
    forgetMachine(machineId: string): void {
      for (const claim of byHash.values()) if (claim.machineId === machineId) byHash.delete(claim.hash);
    },
  };
}
export type ClaimRepository = ReturnType<typeof createClaimRepository>;
