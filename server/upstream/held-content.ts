import type { UpstreamRepository } from "../store/upstreams.ts";
import type { UpstreamMap } from "./upstream.ts";

export interface HeldContentDeps {
  readonly store: Pick<UpstreamRepository, "manifests" | "partsOf">;
  readonly namesOf: UpstreamMap["namesOf"];
  /** @param reference tag or digest */
  readonly isPinned: (repository: string, reference: string) => boolean;
}

/**
 * Digests that the cache gives up for nobody: pinned images with all that they lead to, by any of their repository's names, and verified
 * signatures that lie in images of their own, which would be gone with those.
 */
export function heldContent({ store, namesOf, isPinned }: HeldContentDeps): ReadonlySet<string> {
  const held = new Set<string>();
  const seen = new Set<string>();
  for (const { repository, digest, tag, holdsSignatures } of store.manifests()) {
    const key = `${repository}@${digest}`;
    if (seen.has(key)) continue;
    const references = tag === null ? [digest] : [tag, digest];
    const isHeld =
      holdsSignatures === 1 ||
      namesOf(repository).some((name) => references.some((reference) => isPinned(name, reference)));
    if (!isHeld) continue;
    seen.add(key);
    for (const part of store.partsOf(repository, digest)) held.add(part);
  }
  return held;
}
