import { isHeld, type KeptContent, planRetention, type RetentionRules } from "../domain/asset-retention.ts";
import { formatSize, unitsOf } from "../domain/byte-size.ts";
import type { Clock, Log } from "../domain/capabilities.ts";
import { AssetBudgetExceeded } from "../domain/error-catalogue.ts";
import type { RecordEvent } from "../domain/event.ts";
import { filesOf, type Image } from "../domain/image.ts";
import type { ContentStore } from "./content-store.ts";

export interface CollectorDeps {
  readonly clock: Clock;
  readonly log: Pick<Log, "error">;
  readonly record: RecordEvent;
  readonly content: Pick<ContentStore, "list" | "remove">;
  readonly images: {
    all(): readonly Image[];
    remove(image: Image, isUnused: (newest: Image) => boolean): Promise<boolean>;
  };
  /** SHA-256 of what machines are loading. */
  readonly loading: () => ReadonlySet<string>;
  readonly rules: RetentionRules;
}

/** What was removed, or would be. */
export interface Collection {
  readonly versions: readonly { readonly image: string; readonly version: string }[];
  readonly contents: readonly string[];
  readonly freedBytes: number;
  readonly keptBytes: number;
  readonly maxBytes: number;
  /** Octets over the limit that are all needed. */
  readonly overBytes: number;
}

/** An upload that is announced or done, and not named by an image yet, is left alone for so long. */
const uploadGraceMs = 60 * 60_000;

/**
 * Keeps the content within its limit. What is removed is asked for again in the moment of its removal: a machine that chose an image,
 * or an upload that found its content there already, in between keeps it.
 */
export function createAssetCollector(deps: CollectorDeps) {
  const { clock, log, record, content, images, loading, rules } = deps;
  /** Content that somebody is about to name, and until when it is kept for that. */
  const expected = new Map<string, number>();
  let running: Promise<unknown> = Promise.resolve();

  function held(): Set<string> {
    const now = clock.monotonicMs();
    for (const [sha256, until] of expected) if (until < now) expected.delete(sha256);
    return new Set([...loading(), ...expected.keys()]);
  }
  const isNamed = (sha256: string) =>
    images.all().some((image) => filesOf(image).some((file) => file.sha256 === sha256));

  const isWanted = (sha256: string) => isNamed(sha256) || held().has(sha256);

  /** @param room octets that are to be free below the limit */
  async function collect(room: number, isDry: boolean): Promise<Collection> {
    const contents = await content.list();
    const facts = { contents, images: images.all(), held: held(), now: clock.now() };
    const plan = planRetention(facts, { ...rules, maxBytes: rules.maxBytes - room });
    const gone: Image[] = [];
    for (const image of plan.versions)
      if (isDry || (await images.remove(image, (newest) => !newest.isCurrent && !isHeld(newest, held()))))
        gone.push(image);
    const goneFiles = new Set(gone.flatMap((image) => filesOf(image).map(({ sha256 }) => sha256)));
    const left = new Set(
      images
        .all()
        .filter((image) => !gone.includes(image))
        .flatMap((image) => filesOf(image).map(({ sha256 }) => sha256)),
    );
    const removed: KeptContent[] = [];
    for (const one of contents) {
      const { sha256 } = one;
      if (!plan.orphans.includes(one) && (!goneFiles.has(sha256) || left.has(sha256))) continue;
      if (isDry || (await content.remove(sha256, () => isWanted(sha256)))) removed.push(one);
    }
    const sum = (files: readonly KeptContent[]) =>
      files.reduce((total, { sizeBytes }) => total + sizeBytes, 0);
    const freedBytes = sum(removed);
    const keptBytes = sum(contents) - freedBytes;
    const collection = {
      versions: gone.map(({ name, version }) => ({ image: name, version })),
      contents: removed.map(({ sha256 }) => sha256),
      freedBytes,
      keptBytes,
      maxBytes: rules.maxBytes,
      overBytes: Math.max(0, keptBytes - rules.maxBytes),
    };
    if (!isDry) tell(collection);
    return collection;
  }

  function tell({ versions, contents, freedBytes, keptBytes, overBytes }: Collection): void {
    for (const { image, version } of versions)
      record({
        type: "image.removed",
        message: `image ${image} ${version} gave way: the assets are over their limit`,
        data: { name: image, version },
      });
    if (contents.length > 0)
      record({
        type: "assets.collected",
        message: `${contents.length} files of assets removed, ${formatSize(freedBytes, unitsOf(rules.maxBytes))}`,
        data: { files: contents.length, freedBytes, keptBytes },
      });
    if (overBytes > 0)
      record({
        type: "assets.over-limit",
        level: "warning",
        message: `the assets are ${formatSize(overBytes, unitsOf(rules.maxBytes))} over assets.maxBytes, and all of them are needed`,
        data: { keptBytes, maxBytes: rules.maxBytes },
      });
  }

  /** One collection after another: two at once would each take the other's removals for their own. */
  function inTurn<T>(work: () => Promise<T>): Promise<T> {
    const done = running.then(work, work);
    running = done.catch(() => undefined);
    return done;
  }

  return {
    collect: ({ isDry = false }: { readonly isDry?: boolean } = {}): Promise<Collection> =>
      inTurn(() => collect(0, isDry)),

    /** After a change; a failure is noted, for nobody waits for it. */
    collectSoon(): void {
      inTurn(() => collect(0, false)).catch((error: unknown) =>
        log.error({ err: error }, "failed to remove assets that nobody needs"),
      );
    },

    /** Somebody is about to name this content in an image: it stays till then, an hour at most. */
    expect: (sha256: string): void => void expected.set(sha256, clock.monotonicMs() + uploadGraceMs),

    /** Is this content of an image, about to be, or being loaded? */
    needs: isWanted,

    /** The image that names it is stored. */
    settle: (image: Image): void => filesOf(image).forEach(({ sha256 }) => expected.delete(sha256)),

    /** Removes the files of versions that are gone, but for what another image names or somebody loads. */
    removeFiles: (gone: readonly Image[]): Promise<void> =>
      inTurn(async () => {
        for (const { sha256 } of gone.flatMap(filesOf)) await content.remove(sha256, () => isWanted(sha256));
      }),

    /** Makes room for an upload. @throws AssetBudgetExceeded when what is there is all needed */
    async makeRoom(neededBytes: number): Promise<void> {
      const used = (await content.list()).reduce((total, { sizeBytes }) => total + sizeBytes, 0);
      if (used + neededBytes <= rules.maxBytes) return;
      const { keptBytes } = await inTurn(() => collect(neededBytes, false));
      if (keptBytes + neededBytes > rules.maxBytes)
        throw AssetBudgetExceeded({ neededBytes, usedBytes: keptBytes, maxBytes: rules.maxBytes });
    },
  };
}
export type AssetCollector = ReturnType<typeof createAssetCollector>;
