import type { Clock } from "./domain/capabilities.ts";

/** An edited role or a new file is in force within this time, and a storm of boots does not read the disk for each. */
const rereadMs = 1000;

/** What a file says, read anew now and then. */
export function remember<T>(clock: Clock, read: () => T): () => T {
  let known: { value: T; until: number } | undefined;
  return () => {
    const now = clock.monotonicMs();
    if (!known || now >= known.until) known = { value: read(), until: now + rereadMs };
    return known.value;
  };
}
