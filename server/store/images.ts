import type { Database } from "better-sqlite3";
import type { EpochMs } from "../domain/capabilities.ts";
import type { Image } from "../domain/image.ts";
import type { CommitQueue } from "./commit-queue.ts";

interface Row {
  name: string;
  version: string;
  arch: Image["arch"];
  files: string;
  added_at_ms: number;
  is_current: number;
  current_since_ms: number | null;
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
      currentSince: row.current_since_ms ?? undefined,
    }),
  );
  const clearCurrent = db.prepare("UPDATE images SET is_current = 0 WHERE name = ?");
  const upsert = db.prepare(
    `INSERT INTO images (name, version, arch, files, added_at_ms, is_current, current_since_ms) VALUES (?, ?, ?, ?, ?, ?, ?)
     ON CONFLICT (name, version) DO UPDATE SET arch = excluded.arch, files = excluded.files, added_at_ms = excluded.added_at_ms,
       is_current = excluded.is_current, current_since_ms = excluded.current_since_ms`,
  );
  const drop = db.prepare("DELETE FROM images WHERE name = ? AND version = ?");
  const isSame = (one: Image, other: Image) => one.name === other.name && one.version === other.version;

  /** Inside a transaction: puts `image` in the place of its version, and takes `isCurrent` from the others if it has it. */
  function write(image: Image): void {
    if (image.isCurrent) clearCurrent.run(image.name);
    upsert.run(
      image.name,
      image.version,
      image.arch,
      JSON.stringify(image.files),
      image.addedAt,
      image.isCurrent ? 1 : 0,
      image.currentSince ?? null,
    );
    const others = images
      .filter((other) => !isSame(other, image))
      .map((other) =>
        other.name === image.name && image.isCurrent ? { ...other, isCurrent: false } : other,
      );
    images = [...others, image].sort((one, other) => one.addedAt - other.addedAt);
  }

  const repository = {
    all: (): readonly Image[] => images,
    /** The version that machines boot. */
    findCurrent: (name: string): Image | undefined =>
      images.find((image) => image.name === name && image.isCurrent),
    find: (name: string, version: string): Image | undefined =>
      images.find((image) => image.name === name && image.version === version),
    /**
     * Adds a version, or puts it in the place of the same one. When it is current, the former current one is kept to go back to; what
     * is current stays so, for machines need one.
     */
    save: (image: Image): Promise<void> =>
      queue.run(({ onRollback }) => {
        const before = images;
        onRollback(() => (images = before));
        const known = repository.find(image.name, image.version);
        const isCurrent = image.isCurrent || (known?.isCurrent ?? false);
        write({ ...image, isCurrent, currentSince: image.currentSince ?? known?.currentSince });
      }),
    /**
     * Makes one version the one that machines boot, in one step. @param choose is asked inside the commit, so that of two switches at
     * once the second sees the first @returns the version; undefined: it chose none
     */
    switchTo: (
      choose: (images: readonly Image[]) => Image | undefined,
      now: EpochMs,
    ): Promise<Image | undefined> =>
      queue.run(({ onRollback }) => {
        const chosen = choose(images);
        if (!chosen || chosen.isCurrent) return chosen;
        const before = images;
        onRollback(() => (images = before));
        const next = { ...chosen, isCurrent: true, currentSince: now };
        write(next);
        return next;
      }),
    /**
     * Removes a version; when it was the current one, machines go back to the newest that is left.
     * @param isUnused is asked inside the commit, against the newest state @returns false when it is used, and stays
     */
    remove: (image: Image, isUnused: (newest: Image) => boolean = () => true): Promise<boolean> =>
      queue.run(({ onRollback }) => {
        const before = images;
        const newest = repository.find(image.name, image.version);
        if (!newest || !isUnused(newest)) return false;
        onRollback(() => (images = before));
        drop.run(image.name, image.version);
        images = before.filter((other) => !isSame(other, image));
        const left = images.filter((other) => other.name === image.name);
        const successor = left.toSorted((one, other) => other.addedAt - one.addedAt)[0];
        if (successor && !left.some((other) => other.isCurrent)) write({ ...successor, isCurrent: true });
        return true;
      }),
  };
  return repository;
}
export type ImageRepository = ReturnType<typeof createImageRepository>;
