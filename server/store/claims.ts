import type { Database } from "better-sqlite3";
import type { Clock, EpochMs } from "../domain/capabilities.ts";
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
  image: string | null;
}

export function createClaimRepository(db: Database, queue: CommitQueue, clock: Clock) {
  const byHash = new Map<string, Claim>();
  /** There is one live claim of each machine. */
  const hashOfMachine = new Map<string, string>();
  function index(claim: Claim): void {
    byHash.set(claim.hash, claim);
    hashOfMachine.set(claim.machineId, claim.hash);
  }
  function unindex(claim: Claim): void {
    byHash.delete(claim.hash);
    if (hashOfMachine.get(claim.machineId) === claim.hash) hashOfMachine.delete(claim.machineId);
  }
  db.prepare("DELETE FROM claims WHERE expires_at_ms < ?").run(clock.now() - reportWindowMs);
  for (const row of db.prepare("SELECT * FROM claims").all() as Row[]) {
    index({
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
      image: row.image === null ? undefined : (JSON.parse(row.image) as Claim["image"]),
    });
  }
  const upsert = db.prepare(
    `INSERT INTO claims (hash, boot_id, machine_id, mac, address, target, assignment_id, minted_at_ms, expires_at_ms, spent_at_ms, fetches, image)
     VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
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
      claim.image === undefined ? null : JSON.stringify(claim.image),
    );
    index(claim);
    onRollback(() => (before ? index(before) : unindex(claim)));
  }

  return {
    find: (hash: string): Claim | undefined => byHash.get(hash),
    /** The machine's live claim, or its last one. */
    ofMachine: (machineId: string): Claim | undefined => byHash.get(hashOfMachine.get(machineId) ?? ""),
    all: (): Iterable<Claim> => byHash.values(),
    /** Stores a new claim; the machine's earlier ones end with it, since there is one live claim per machine. */
    mint: (claim: Claim): Promise<void> =>
      queue.runAlone((transaction) => {
        const old = byHash.get(hashOfMachine.get(claim.machineId) ?? "");
        if (old) {
          drop.run(old.hash);
          unindex(old);
          transaction.onRollback(() => index(old));
        }
        put(claim, transaction);
      }),
    /**
     * Changes one claim inside the commit, with all that was changed before; `change` sees the newest state, so two uses at once are
     * counted as two.
     */
    update: (hash: string, change: (current: Claim) => Claim): Promise<Claim | undefined> =>
      queue.run((transaction) => {
        const before = byHash.get(hash);
        if (!before) return undefined;
        const next = change(before);
        if (next !== before) put(next, transaction);
        return next;
      }),
    /**
     * The same at once and in memory, to be written down later: what a power cut takes back is a count.
     * @returns the claim as it was before
     */
    updateNow(hash: string, change: (current: Claim) => Claim): Claim | undefined {
      const before = byHash.get(hash);
      const next = before && change(before);
      if (next === undefined || next === before) return before;
      index(next);
      queue
        .runLater((transaction) => {
          const newest = byHash.get(hash);
          if (newest) put(newest, transaction);
        })
        // The next change of the claim writes it again, and memory is what counts until the restart.
        .catch(() => undefined);
      return before;
    },
    /** Ends the machine's claim, if it was minted by then. @returns whether there was one */
    revoke: (machineId: string, mintedUntil: EpochMs): Promise<boolean> =>
      queue.run(({ onRollback }) => {
        const claim = byHash.get(hashOfMachine.get(machineId) ?? "");
        if (!claim || claim.mintedAt > mintedUntil) return false;
        drop.run(claim.hash);
        unindex(claim);
        onRollback(() => index(claim));
        return true;
      }),
    forgetMachine(machineId: string): void {
      const claim = byHash.get(hashOfMachine.get(machineId) ?? "");
      if (claim) unindex(claim);
    },
  };
}
export type ClaimRepository = ReturnType<typeof createClaimRepository>;
