import type { Database } from "better-sqlite3";
import type { BootStrategy, BootStrategyRepository } from "../domain/boot-strategy.ts";
import type { Mac } from "../net/mac.ts";
import type { CommitQueue } from "./commit-queue.ts";

interface Row {
  mac: Mac;
  strategy: string;
  because: string;
  chosen_at_ms: number;
}

/** Read once at the start: the DHCP room keeps what it needs in memory. */
export function createBootStrategyRepository(db: Database, queue: CommitQueue): BootStrategyRepository {
  const select = db.prepare("SELECT * FROM boot_strategies ORDER BY chosen_at_ms, mac");
  const upsert = db.prepare(
    "INSERT OR REPLACE INTO boot_strategies (mac, strategy, because, chosen_at_ms) VALUES (?, ?, ?, ?)",
  );
  const drop = db.prepare("DELETE FROM boot_strategies WHERE mac = ?");
  return {
    all: () =>
      (select.all() as Row[]).map(({ mac, strategy, because, chosen_at_ms: chosenAt }): BootStrategy => ({
        mac,
        strategy,
        because,
        chosenAt,
      })),
    save: ({ mac, strategy, because, chosenAt }) =>
      queue.run(() => void upsert.run(mac, strategy, because, chosenAt)),
    remove: (mac) => queue.run(() => void drop.run(mac)),
  };
}
