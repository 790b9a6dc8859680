import type { Database } from "better-sqlite3";
import type { Driver } from "../domain/boot-preferences.ts";
import type { BootStrategy, BootStrategyRepository } from "../domain/boot-strategy.ts";
import type { Mac } from "../net/mac.ts";
import type { CommitQueue } from "./commit-queue.ts";

interface Row {
  mac: Mac;
  strategy: string | null;
  driver: Driver | null;
  because: string;
  chosen_at_ms: number;
}

/** Read once at the start: the DHCP room keeps what it needs in memory. */
export function createBootStrategyRepository(db: Database, queue: CommitQueue): BootStrategyRepository {
  const select = db.prepare("SELECT * FROM boot_choices ORDER BY chosen_at_ms, mac");
  const upsert = db.prepare(
    "INSERT OR REPLACE INTO boot_choices (mac, strategy, driver, because, chosen_at_ms) VALUES (?, ?, ?, ?, ?)",
  );
  const drop = db.prepare("DELETE FROM boot_choices WHERE mac = ?");
  return {
    all: () =>
      (select.all() as Row[]).map(
        ({ mac, strategy, driver, because, chosen_at_ms: chosenAt }): BootStrategy => ({
          mac,
          strategy: strategy ?? undefined,
          driver: driver ?? undefined,
          because,
          chosenAt,
        }),
      ),
    save: ({ mac, strategy, driver, because, chosenAt }) =>
      queue.run(() => {
        if (strategy === undefined && driver === undefined) drop.run(mac);
        else upsert.run(mac, strategy ?? null, driver ?? null, because, chosenAt);
      }),
  };
}
