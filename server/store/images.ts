import type { Database } from "better-sqlite3";
import type { Image } from "../domain/image.ts";
import type { CommitQueue } from "./commit-queue.ts";

interface Row {
  name: string;
  version: string;
  arch: Image["arch"];
  files: string;
  added_at_ms: number;
  is_current: number;
}

export function createImageRepository(db: Database, queue: CommitQueue) {
  let images: readonly Image[] = (db.prepare("SELECT * FROM images ORDER BY added_at_ms").all() as Row[]).map(
    (row) => ({
      name: row.name,
      version: row.version,
      arch: row.arch,
      files: JSON.parse(row.files) as Image["files"],
      addedAt: row.added_at_ms,
      isCurrent: row.is_current === 1,
    }),
  );
  const clearCurrent = db.prepare("UPDATE images SET is_current = 0 WHERE name = ?");
  const upsert = db.prepare(
    `INSERT INTO images (name, version, arch, files, added_at_ms, is_current) VALUES (?, ?, ?, ?, ?, ?)
     ON CONFLICT (name, version) DO UPDATE SET arch = excluded.arch, files = excluded.files, added_at_ms = excluded.added_at_ms,
       is_current = excluded.is_current`,
  );
  const drop = db.prepare("DELETE FROM images WHERE name = ? AND version = ?");
  const setCurrent = db.prepare("UPDATE images SET is_current = 1 WHERE name = ? AND version = ?");

  return {
    all: (): readonly Image[] => images,
    /** The version that machines boot. */
    findCurrent: (name: string): Image | undefined =>
      images.find((image) => image.name === name && image.isCurrent),
    find: (name: string, version: string): Image | undefined =>
      images.find((image) => image.name === name && image.version === version),
    /** Adds a version; when it is current, the former current one is kept to go back to. */
    save: (image: Image): Promise<void> =>
      queue.run(({ onRollback }) => {
        const before = images;
        if (image.isCurrent) clearCurrent.run(image.name);
        upsert.run(
          image.name,
          image.version,
          image.arch,
          JSON.stringify(image.files),
          image.addedAt,
          image.isCurrent ? 1 : 0,
        );
        images = [
          ...before
            .filter((other) => other.name !== image.name || other.version !== image.version)
            .map((other) =>
              other.name === image.name && image.isCurrent ? { ...other, isCurrent: false } : other,
            ),
          image,
        ];
        onRollback(() => (images = before));
      }),
    /** Removes a version; when it was the current one, machines go back to the newest that is left. */
    remove: (image: Image): Promise<void> =>
      queue.run(({ onRollback }) => {
        const before = images;
        drop.run(image.name, image.version);
        images = before.filter((other) => other.name !== image.name || other.version !== image.version);
        onRollback(() => (images = before));
        const left = images.filter((other) => other.name === image.name);
        const newest = left.toSorted((one, other) => other.addedAt - one.addedAt)[0];
        if (!newest || left.some((other) => other.isCurrent)) return;
        setCurrent.run(newest.name, newest.version);
        images = images.map((other) => (other === newest ? { ...other, isCurrent: true } : other));
      }),
  };
}
export type ImageRepository = ReturnType<typeof createImageRepository>;
