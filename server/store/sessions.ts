import type { Database } from "better-sqlite3";
import type { EpochMs } from "../domain/capabilities.ts";
import type { DashboardSession, SignInLink } from "../domain/dashboard-session.ts";
import type { CommitQueue, Transaction } from "./commit-queue.ts";

interface SessionRow {
  hash: string;
  token_id: string | null;
  created_at_ms: number;
  last_used_at_ms: number;
}
type LinkRow = Omit<SessionRow, "last_used_at_ms">;

/** Who is signed in to the dashboard, and links that sign in: a snapshot in memory. */
export function createSessionRepository(db: Database, queue: CommitQueue) {
  const sessions = new Map<string, DashboardSession>();
  const links = new Map<string, SignInLink>();
  for (const row of db.prepare("SELECT * FROM sessions").all() as SessionRow[])
    sessions.set(row.hash, { ...readLink(row), lastUsedAt: row.last_used_at_ms });
  for (const row of db.prepare("SELECT * FROM sign_in_links").all() as LinkRow[])
    links.set(row.hash, readLink(row));
  const insertSession = db.prepare(
    "INSERT INTO sessions (hash, token_id, created_at_ms, last_used_at_ms) VALUES (?, ?, ?, ?)",
  );
  const insertLink = db.prepare("INSERT INTO sign_in_links (hash, token_id, created_at_ms) VALUES (?, ?, ?)");
  const update = db.prepare("UPDATE sessions SET last_used_at_ms = ? WHERE hash = ?");
  const dropSession = db.prepare("DELETE FROM sessions WHERE hash = ?");
  const dropLink = db.prepare("DELETE FROM sign_in_links WHERE hash = ?");

  function take<One extends SignInLink>(
    known: Map<string, One>,
    drop: typeof dropLink,
    hash: string,
    { onRollback }: Transaction,
  ): One | undefined {
    const one = known.get(hash);
    if (!one) return undefined;
    drop.run(hash);
    known.delete(hash);
    onRollback(() => known.set(hash, one));
    return one;
  }

  return {
    find: (hash: string): DashboardSession | undefined => sessions.get(hash),
    all: (): DashboardSession[] => [...sessions.values()],
    links: (): SignInLink[] => [...links.values()],
    /** @param leaving what ends for it */
    add: (session: DashboardSession, leaving: readonly DashboardSession[]): Promise<void> =>
      queue.run((transaction) => {
        for (const { hash } of leaving) take(sessions, dropSession, hash, transaction);
        const { hash, tokenId, createdAt, lastUsedAt } = session;
        insertSession.run(hash, tokenId ?? null, createdAt, lastUsedAt);
        sessions.set(hash, session);
        transaction.onRollback(() => sessions.delete(hash));
      }),
    /** Notes a use at once; it is on the disk with the next commit. Where that fails, the session is over the sooner after a restart. */
    noteUse(hash: string, at: EpochMs): Promise<void> {
      const before = sessions.get(hash);
      if (before) sessions.set(hash, { ...before, lastUsedAt: at });
      return queue.runLater(() => void update.run(at, hash));
    },
    /** @returns the session that ended; undefined when there was none */
    remove: (hash: string): Promise<DashboardSession | undefined> =>
      queue.run((transaction) => take(sessions, dropSession, hash, transaction)),
    addLink: (link: SignInLink, leaving: readonly SignInLink[]): Promise<void> =>
      queue.run((transaction) => {
        for (const { hash } of leaving) take(links, dropLink, hash, transaction);
        insertLink.run(link.hash, link.tokenId ?? null, link.createdAt);
        links.set(link.hash, link);
        transaction.onRollback(() => links.delete(link.hash));
      }),
    /** Of two who take one link at once, one gets it. */
    takeLink: (hash: string): Promise<SignInLink | undefined> =>
      queue.run((transaction) => take(links, dropLink, hash, transaction)),
  };
}
export type SessionRepository = ReturnType<typeof createSessionRepository>;

const readLink = ({ hash, token_id, created_at_ms }: LinkRow): SignInLink => ({
  hash,
  tokenId: token_id ?? undefined,
  createdAt: created_at_ms,
});
