import type { Database } from "better-sqlite3";
import type { ApiToken } from "../domain/api-token.ts";
import { InvalidRequest } from "../domain/error-catalogue.ts";
import type { CommitQueue } from "./commit-queue.ts";

const listIn = (text: string | null): string[] | undefined =>
  text === null ? undefined : (JSON.parse(text) as string[]);

export function createTokenRepository(db: Database, queue: CommitQueue) {
  const byHash = new Map<string, ApiToken>();
  const rows = db
    .prepare(
      "SELECT id, name, scope, hash, created_at_ms AS createdAt, expires_at_ms AS expiresAt, repositories, rooms FROM tokens",
    )
    .all() as (Omit<ApiToken, "expiresAt" | "repositories" | "rooms"> & {
    expiresAt: number | null;
    repositories: string | null;
    rooms: string | null;
  })[];
  for (const row of rows)
    byHash.set(row.hash, {
      ...row,
      expiresAt: row.expiresAt ?? undefined,
      repositories: listIn(row.repositories),
      rooms: listIn(row.rooms),
    });
  const insert = db.prepare(
    "INSERT INTO tokens (id, name, scope, hash, created_at_ms, expires_at_ms, repositories, rooms) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
  );
  const drop = db.prepare("DELETE FROM tokens WHERE id = ?");

  return {
    all: (): ApiToken[] => [...byHash.values()],
    findByHash: (hash: string): ApiToken | undefined => byHash.get(hash),
    findById: (id: string): ApiToken | undefined => [...byHash.values()].find((token) => token.id === id),
    findByName: (name: string): ApiToken | undefined =>
      [...byHash.values()].find((token) => token.name === name || token.id === name),
    /** @throws InvalidRequest when the name is taken: it is what the event log knows a token by */
    add: (token: ApiToken): Promise<void> =>
      queue.run(({ onRollback }) => {
        if ([...byHash.values()].some((other) => other.name === token.name))
          throw InvalidRequest({
            problem: `there is a token called ${token.name} already`,
            advice: `Choose another name, or revoke that one first: \`boot token revoke ${token.name}\`.`,
          });
        const { id, name, scope, hash, createdAt, expiresAt, repositories, rooms } = token;
        insert.run(
          id,
          name,
          scope,
          hash,
          createdAt,
          expiresAt ?? null,
          repositories ? JSON.stringify(repositories) : null,
          rooms ? JSON.stringify(rooms) : null,
        );
        byHash.set(token.hash, token);
        onRollback(() => byHash.delete(token.hash));
      }),
    remove: (token: ApiToken): Promise<void> =>
      queue.run(({ onRollback }) => {
        drop.run(token.id);
        byHash.delete(token.hash);
        onRollback(() => byHash.set(token.hash, token));
      }),
  };
}
export type TokenRepository = ReturnType<typeof createTokenRepository>;
