import type { EpochMs } from "./capabilities.ts";
import { filesOf, type Image, lastChosen } from "./image.ts";

/** One file of the content store. */
export interface KeptContent {
  readonly sha256: string;
  readonly sizeBytes: number;
  readonly changedAt: EpochMs;
}

export interface RetentionRules {
  /** For all content together. */
  readonly maxBytes: number;
  /** The last versions of each image that stay, the current one counted. */
  readonly keepVersions: number;
}

export interface RetentionFacts {
  readonly contents: readonly KeptContent[];
  readonly images: readonly Image[];
  /** SHA-256 of what machines are loading and of what is being uploaded. */
  readonly held: ReadonlySet<string>;
  readonly now: EpochMs;
}

export interface RetentionPlan {
  /** Versions that give way, the first to go first. */
  readonly versions: readonly Image[];
  /** Content that no image names, and that no upload is likely to be about to name. */
  readonly orphans: readonly KeptContent[];
  /** Octets that stay. */
  readonly keptBytes: number;
  /** Octets that stay although they are over the limit: all of it is needed. */
  readonly overBytes: number;
}

/** Content comes before the image that names it: what nobody names is left alone for so long. */
export const orphanGraceMs = 60 * 60_000;

/**
 * What may go. Within the limit everything stays that an image names. Over it the versions go that were dealt with longest ago; never
 * the current one, the last ones of an image, or one that is held with all its files.
 */
export function planRetention(
  { contents, images, held, now }: RetentionFacts,
  { maxBytes, keepVersions }: RetentionRules,
): RetentionPlan {
  const sizes = new Map(contents.map(({ sha256, sizeBytes }) => [sha256, sizeBytes]));
  const users = new Map<string, number>();
  for (const { sha256 } of images.flatMap(filesOf)) users.set(sha256, (users.get(sha256) ?? 0) + 1);
  const orphans = contents.filter(
    ({ sha256, changedAt }) => !users.has(sha256) && !held.has(sha256) && changedAt < now - orphanGraceMs,
  );
  const sum = (files: readonly KeptContent[]) => files.reduce((total, { sizeBytes }) => total + sizeBytes, 0);
  let keptBytes = sum(contents) - sum(orphans);
  const versions: Image[] = [];
  for (const image of dispensable(images, keepVersions, held)) {
    if (keptBytes <= maxBytes) break;
    versions.push(image);
    for (const { sha256 } of filesOf(image)) {
      const left = (users.get(sha256) ?? 1) - 1;
      users.set(sha256, left);
      // What is held stays by itself, though its version goes.
      if (left === 0 && !held.has(sha256)) keptBytes -= sizes.get(sha256) ?? 0;
    }
  }
  return { versions, orphans, keptBytes, overBytes: Math.max(0, keptBytes - maxBytes) };
}

/** Versions that nothing keeps, those dealt with longest ago first. */
function dispensable(
  images: readonly Image[],
  keepVersions: number,
  held: ReadonlySet<string>,
): readonly Image[] {
  const names = new Set(images.map(({ name }) => name));
  return [...names]
    .flatMap((name) =>
      images
        .filter((image) => image.name === name)
        .sort(
          (one, other) =>
            Number(other.isCurrent) - Number(one.isCurrent) || lastChosen(other) - lastChosen(one),
        )
        .slice(Math.max(1, keepVersions)),
    )
    .filter((image) => !image.isCurrent && !isHeld(image, held))
    .sort((one, other) => lastChosen(one) - lastChosen(other));
}

/** Is it being loaded or uploaded, with all its files? Versions share kernels: one of them says nothing. */
export function isHeld(image: Pick<Image, "files">, held: ReadonlySet<string>): boolean {
  return filesOf(image).every(({ sha256 }) => held.has(sha256));
}
