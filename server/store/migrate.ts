import { createHash } from "node:crypto";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import type { Database } from "better-sqlite3";
import { DatabaseRefused } from "../domain/error-catalogue.ts";

/**
 * Brings the database to the newest schema: runs db/migrations/NNNN_<name>.sql in order, each in a transaction of its own.
 * Forward only. @throws when an applied migration was changed afterwards, or the database is newer than this program
 */
export function migrate(db: Database, directory: string): void {
  db.exec(
    "CREATE TABLE IF NOT EXISTS migrations (version INTEGER PRIMARY KEY, name TEXT NOT NULL, sha256 TEXT NOT NULL) STRICT",
  );
  const files = readdirSync(directory)
    .filter((name) => /^[0-9]{4}_[a-z0-9_]+\.sql$/.test(name))
    .sort();
  const applied = new Map(
    (db.prepare("SELECT version, sha256 FROM migrations").all() as { version: number; sha256: string }[]).map(
      (row) => [row.version, row.sha256],
    ),
  );
  const newest = Math.max(0, ...applied.keys());
  if (newest > files.length)
    throw DatabaseRefused({
      problem: `it has schema ${newest} and this program knows ${files.length}: it was written by a newer version`,
    });
  files.forEach((name, index) => {
    const version = Number(name.slice(0, 4));
    if (version !== index + 1) throw new Error(`db/migrations: ${name} should have the number ${index + 1}`);
    const sql = readFileSync(join(directory, name), "utf8");
    const sha256 = createHash("sha256").update(sql).digest("hex");
    const before = applied.get(version);
    if (before === sha256) return;
    if (before !== undefined)
      throw DatabaseRefused({ problem: `db/migrations/${name} was changed after it had been applied` });
    db.transaction(() => {
      db.exec(sql);
      db.prepare("INSERT INTO migrations (version, name, sha256) VALUES (?, ?, ?)").run(
        version,
        name,
        sha256,
      );
    })();
  });
}
