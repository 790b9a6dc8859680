import { LRUCache } from "lru-cache";
import type { IgnitionParts } from "./boot-plan.ts";

/** Boots whose configs are kept, and octets of them all together; the oldest go first. */
const maximumBoots = 2000;
const maximumOctets = 64 * 1024 * 1024;

/**
 * What each claim was served. Ignition checks the role's part against the digest in the machine's part, and asks again after a lost
 * reply: within one boot it must get the same octets, also when somebody edits the role meanwhile.
 */
export function createServedIgnition() {
  const kept = new LRUCache<string, IgnitionParts>({
    max: maximumBoots,
    maxSize: maximumOctets,
    sizeCalculation: ({ machinePart, rolePart = "", nodePart = "" }) =>
      Math.max(1, Buffer.byteLength(machinePart) + Buffer.byteLength(rolePart) + Buffer.byteLength(nodePart)),
  });
  return {
    /** @param key claim and Ignition version; `make` is called where nothing is kept */
    parts(key: string, make: () => IgnitionParts | undefined): IgnitionParts | undefined {
      const before = kept.peek(key);
      if (before) return before;
      const parts = make();
      if (!parts) return undefined;
      kept.set(key, parts);
      return parts;
    },
  };
}
