import type { RegistryRepository } from "../store/registry.ts";
import { matchesPattern } from "./repository-name.ts";

/** Images that somebody relies on, by their names here. */
export interface Pin {
  /** `*` stands for any characters, in the tag too. */
  readonly repository: string;
  /** Tag, or `sha256:…` */
  readonly reference: string;
  /** What pins it: a config key, or `role NAME`. */
  readonly by: string;
}

export interface PinnedImage {
  /** `p10/pause:3.9`, or with `@sha256:…` */
  readonly image: string;
  readonly by: string;
}

export interface PinDeps {
  /** As they are now: asked for each deletion and each collection. */
  readonly pins: () => readonly Pin[];
  readonly store: Pick<RegistryRepository, "tagged" | "tagsOf" | "findTag" | "findManifest">;
}

const pageLength = 1000;
/** Images that are told. */
const mostTold = 100;

const isDigest = (reference: string) => reference.includes(":");
const nameOf = (repository: string, reference: string) =>
  `${repository}${isDigest(reference) ? "@" : ":"}${reference}`;

/** `p10/*:v1.26.9` or `p10/pause@sha256:…`. @returns undefined where it has neither tag nor digest */
export function parsePin(text: string, by: string): Pin | undefined {
  const [, repository, tag, digest] = /^([^:@]+)(?::([^:@]+)|@(sha\d+:[0-9a-f]+))$/.exec(text) ?? [];
  const reference = tag ?? digest;
  return repository === undefined || reference === undefined ? undefined : { repository, reference, by };
}

/**
 * Images of this registry that a text names, of any kind: `registry.local/p10/pause:3.9`, or with a digest.
 * @param hosts what the registry is called
 */
export function pinsIn(text: string, hosts: readonly string[], by: string): Pin[] {
  const host = hosts.map((one) => one.replaceAll(".", "\\.")).join("|");
  const image = new RegExp(
    `(?<![A-Za-z0-9.-])(?:${host})(?::\\d{1,5})?/([a-z0-9]+(?:[._/-]+[a-z0-9]+)*)(?::([A-Za-z0-9_][A-Za-z0-9._-]{0,127}))?(?:@(sha\\d+:[0-9a-f]{64,128}))?`,
    "g",
  );
  return [...text.matchAll(image)].flatMap(([, repository = "", tag, digest]) =>
    // The dot of a sentence is not the tag's.
    [tag?.replace(/[.-]+$/, ""), digest]
      .filter((reference) => reference !== undefined)
      .map((reference) => ({ repository, reference, by })),
  );
}

/** The same for all texts of a value, however deep. */
export function pinsInAny(value: unknown, hosts: readonly string[], by: string): Pin[] {
  if (typeof value === "string") return pinsIn(value, hosts, by);
  if (typeof value !== "object" || value === null) return [];
  const inner = value instanceof Map ? [...(value as Map<unknown, unknown>).values()] : Object.values(value);
  return inner.flatMap((one) => pinsInAny(one, hosts, by));
}

/** What may not go: nobody deletes it, and the collector leaves it. */
export function createPins({ pins, store }: PinDeps) {
  const fits = (pin: Pin, repository: string, reference: string) =>
    matchesPattern(pin.repository, repository) && matchesPattern(pin.reference, reference);

  return {
    /** What keeps this from being deleted. @param reference tag, or digest, which takes its tags along */
    pinOf(repository: string, reference: string): PinnedImage | undefined {
      const isHere = isDigest(reference)
        ? store.findManifest(repository, reference) !== undefined
        : store.findTag(repository, reference) !== undefined;
      if (!isHere) return undefined;
      const names = isDigest(reference) ? [reference, ...store.tagsOf(repository, reference)] : [reference];
      const all = pins();
      for (const name of names) {
        const pin = all.find((one) => fits(one, repository, name));
        if (pin) return { image: nameOf(repository, name), by: pin.by };
      }
      return undefined;
    },

    /** Whether an image is pinned, by the pins of this moment: for whoever asks about many. @param reference tag or digest */
    matcher(): (repository: string, reference: string) => boolean {
      const all = pins();
      return (repository, reference) => all.some((pin) => fits(pin, repository, reference));
    },

    /** What is named by its digest, for the collector; what has a tag stays by that. */
    digests: (): ReadonlySet<string> =>
      new Set(pins().flatMap(({ reference }) => (isDigest(reference) ? [reference] : []))),

    /** Images that are here and pinned, a hundred of them. */
    list(): PinnedImage[] {
      const all = pins();
      const found = all
        .filter(
          ({ repository, reference }) =>
            isDigest(reference) && store.findManifest(repository, reference) !== undefined,
        )
        .map(({ repository, reference, by }) => ({ image: nameOf(repository, reference), by }));
      const byTag = all.filter(({ reference }) => !isDigest(reference));
      for (let after = { repository: "", tag: "" }; byTag.length > 0 && found.length < mostTold;) {
        const page = store.tagged(after, pageLength);
        for (const { repository, tag } of page) {
          const pin = byTag.find((one) => fits(one, repository, tag));
          if (pin) found.push({ image: nameOf(repository, tag), by: pin.by });
        }
        const last = page.at(-1);
        if (!last || page.length < pageLength) break;
        after = last;
      }
      return found.slice(0, mostTold);
    },
  };
}
export type Pins = ReturnType<typeof createPins>;
