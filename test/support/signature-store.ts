import { join } from "node:path";
import Sqlite from "better-sqlite3";
import type { Clock } from "../../server/domain/capabilities.ts";
import type { NewEvent } from "../../server/domain/event.ts";
import { createSignatures } from "../../server/signatures/signatures.ts";
import { createSigners } from "../../server/signatures/signers.ts";
import { openStore } from "../../server/store/open-store.ts";
import { temporaryDirectory } from "./samples.ts";

/** Signers and signatures over a store on disk, with manifests that a registry would have. */
export function openSignatureStore(
  t: { teardown(fn: () => void): unknown },
  clock: Clock,
  names = { host: "registry.local", aliases: ["10.0.0.1"] },
) {
  const path = join(temporaryDirectory(t), "rollcall.db");
  const store = openStore(path, clock);
  t.teardown(() => store.close());
  const db = new Sqlite(path);
  t.teardown(() => void db.close());
  const events: NewEvent[] = [];
  const record = (event: NewEvent) => void events.push(event);
  const children = new Map<string, readonly string[]>();
  const signers = createSigners({ clock, record, signers: store.signers, names });
  const signatures = createSignatures({
    clock,
    record,
    store: store.signatures,
    signers,
    names,
    manifests: { childrenOf: (repository, digest) => children.get(`${repository}@${digest}`) },
  });
  return {
    path,
    store,
    events,
    signers,
    signatures,
    /** @param leadsTo manifests of an index */
    addManifest(repository: string, digest: string, leadsTo: readonly string[] = []): void {
      children.set(`${repository}@${digest}`, leadsTo);
      db.prepare("INSERT OR IGNORE INTO registry_blob VALUES (?, 1, 0, 0, 'present')").run(digest);
      db.prepare("INSERT OR IGNORE INTO registry_repository VALUES (?, 0)").run(repository);
      db.prepare(
        "INSERT INTO registry_manifest (repository, digest, media_type, size_bytes, created_at_ms) VALUES (?, ?, 'x', 1, 0)",
      ).run(repository, digest);
    },
    removeManifest(repository: string, digest: string): void {
      children.delete(`${repository}@${digest}`);
      db.pragma("foreign_keys = ON");
      db.prepare("DELETE FROM registry_manifest WHERE repository = ? AND digest = ?").run(repository, digest);
    },
  };
}
