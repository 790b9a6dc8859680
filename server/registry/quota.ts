import type { ContentStore } from "../content/content-store.ts";
import { RegistryQuotaReached } from "../domain/error-catalogue.ts";

export interface QuotaDeps {
  readonly content: ContentStore;
  /** Octets of all that was pushed to the registry; slow, so asked from time to time and before a refusal. */
  readonly keptBytes: () => number;
  /** Octets of uploads under way. */
  readonly arrivingBytes: () => number;
  /** Undefined: as much as the disk has room for. */
  readonly quotaBytes: number | undefined;
}

/** The content store as the registry sees it: what is written counts, and beyond the quota nothing is taken. */
export function limitContent({ content, keptBytes, arrivingBytes, quotaBytes }: QuotaDeps): ContentStore {
  if (quotaBytes === undefined) return content;
  let known: number | undefined;
  /** May be too much, for content that was there already is counted again, and too little never. */
  let addedBytes = 0;

  /** @throws RegistryQuotaReached */
  function refuseBeyond(neededBytes: number): void {
    const used = () => (known ??= keptBytes()) + addedBytes + arrivingBytes();
    if (used() + neededBytes <= (quotaBytes as number)) return;
    known = undefined;
    addedBytes = 0;
    if (used() + neededBytes > (quotaBytes as number))
      throw RegistryQuotaReached({ usedBytes: used(), quotaBytes: quotaBytes as number });
  }

  return {
    ...content,
    refuseWhenFull(sizeBytes) {
      content.refuseWhenFull(sizeBytes);
      refuseBeyond(sizeBytes);
    },
    async put(source, options) {
      refuseBeyond(options?.sizeBytes ?? 0);
      const stored = await content.put(source, options);
      addedBytes += stored.sizeBytes;
      return stored;
    },
    async adopt(file, digest) {
      await content.adopt(file, digest);
      addedBytes += (await content.find(digest))?.sizeBytes ?? 0;
    },
  };
}
