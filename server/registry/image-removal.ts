import type { DurationMs } from "../domain/capabilities.ts";
import {
  ContainerImageNotFound,
  ContainerImagePinned,
  ContainerImageReferenced,
  InvalidRequest,
  RepositoryNotFound,
} from "../domain/error-catalogue.ts";
import type { RegistryRepository } from "../store/registry.ts";
import type { RegistryUpkeepRepository, UntaggedManifest } from "../store/registry-upkeep.ts";
import { parseDigest } from "./digest.ts";
import type { GarbageCollection } from "./garbage-collection.ts";
import type { Pins } from "./pins.ts";
import type { Registry } from "./registry.ts";
import { isRepositoryName, isTag, withoutOwnHost } from "./repository-name.ts";

export interface ImageRemovalDeps {
  readonly store: Pick<RegistryRepository, "findTag" | "findManifest" | "hasRepository" | "tags" | "tagsOf">;
  readonly upkeep: Pick<RegistryUpkeepRepository, "parentsOf" | "subjectOf">;
  readonly registry: Pick<Registry, "deleteManifest">;
  readonly collection: Pick<GarbageCollection, "freedWithout">;
  readonly pins: Pick<Pins, "pinOf">;
  /** What this registry is called, with a port where there is one. */
  readonly hosts: readonly string[];
  readonly graceMs: DurationMs;
}

/** What went, or would. */
export interface RemovedImages {
  readonly repository: string;
  readonly images: readonly {
    /** Tag, or digest. */
    readonly reference: string;
    readonly digest: string;
    /** Tags that the image keeps: then it stays. */
    readonly otherTags: readonly string[];
  }[];
  /** What becomes free in time: what other images have too does not. */
  readonly freedBytes: number;
  /** How long what nobody needs is kept after its last use. */
  readonly graceSeconds: number;
}

interface RemovalAsked {
  /** `p10/pause:3.9`, `p10/pause@sha256:…`, or `p10/pause` with all its tags; also with a name of this registry in front. */
  readonly image: string;
  readonly isDry: boolean;
  /** Also what is pinned. */
  readonly isForced: boolean;
  readonly by: string;
}

interface Named {
  readonly repository: string;
  /** Undefined: all tags. */
  readonly reference: string | undefined;
}

/** @returns undefined for what is no name of an image */
function readNamed(image: string, hosts: readonly string[]): Named | undefined {
  const [, repository = "", tag, digest] =
    /^([^:@]+)(?::([^:@]+)|@(.+))?$/.exec(withoutOwnHost(image, hosts)) ?? [];
  if (!isRepositoryName(repository) || (tag !== undefined && !isTag(tag))) return undefined;
  if (digest !== undefined && !parseDigest(digest)) return undefined;
  return { repository, reference: tag ?? digest };
}

/** Takes images out of the registry by their names, as its administrator asks. */
export function createImageRemoval(deps: ImageRemovalDeps) {
  const { store, upkeep, registry, collection, pins, hosts, graceMs } = deps;

  /** @throws RepositoryNotFound, ContainerImageNotFound */
  function find({ repository, reference }: Named): { reference: string; digest: string }[] {
    if (!store.hasRepository(repository)) throw RepositoryNotFound({ repository });
    const all = reference === undefined;
    const found = (all ? store.tags(repository, { after: undefined, limit: Infinity }) : [reference]).map(
      (one) => {
        const isDigest = one.includes(":");
        const digest = isDigest
          ? store.findManifest(repository, one)?.digest
          : store.findTag(repository, one);
        if (digest === undefined)
          throw ContainerImageNotFound({ image: `${repository}${isDigest ? "@" : ":"}${one}` });
        return { reference: one, digest };
      },
    );
    if (found.length === 0) throw ContainerImageNotFound({ image: `${repository} with a tag` });
    return found;
  }

  /** @throws ContainerImagePinned, ContainerImageReferenced */
  function refuseNeeded(repository: string, reference: string, isForced: boolean): void {
    const pin = isForced ? undefined : pins.pinOf(repository, reference);
    if (pin) throw ContainerImagePinned({ image: pin.image, by: pin.by });
    if (!reference.includes(":")) return;
    const [index] = upkeep.parentsOf({ repository, digest: reference });
    if (index !== undefined) throw ContainerImageReferenced({ image: `${repository}@${reference}`, index });
  }

  return {
    /** @throws RepositoryNotFound, ContainerImageNotFound, ContainerImagePinned, ContainerImageReferenced, InvalidRequest */
    async remove({ image, isDry, isForced, by }: RemovalAsked): Promise<RemovedImages> {
      const named = readNamed(image, hosts);
      if (!named)
        throw InvalidRequest({
          problem: `${JSON.stringify(image.slice(0, 300))} is no name of an image in the registry`,
          advice: "Write it like p10/pause:3.9, p10/pause@sha256:…, or p10/pause for all its tags.",
        });
      const { repository } = named;
      const found = find(named);
      for (const { reference } of found) refuseNeeded(repository, reference, isForced);
      const isGoing = new Set(found.map(({ reference }) => reference));
      const images = found.map(({ reference, digest }) => ({
        reference,
        digest,
        // Who removes by the digest removes its tags.
        otherTags: reference.includes(":")
          ? []
          : store.tagsOf(repository, digest).filter((tag) => !isGoing.has(tag)),
      }));
      const loose = new Map<string, UntaggedManifest>();
      for (const { reference, digest, otherTags } of images)
        if (otherTags.length === 0)
          loose.set(digest, {
            repository,
            digest,
            subject: reference.includes(":") ? undefined : upkeep.subjectOf({ repository, digest }),
          });
      const freedBytes = await collection.freedWithout([...loose.values()]);
      if (!isDry)
        for (const { reference } of images)
          await registry.deleteManifest(repository, reference, by, { isForced });
      return { repository, images, freedBytes, graceSeconds: Math.round(graceMs / 1000) };
    },
  };
}
export type ImageRemoval = ReturnType<typeof createImageRemoval>;
