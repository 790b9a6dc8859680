/** Numbers that come again with the same seed: a run that failed can be repeated. */
export type Random = () => number;

/** From 0 to 1, 1 excluded (mulberry32, public domain). */
export function seededRandom(seed: number): Random {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** A seed of its own for each machine, so that what happens to one does not hang on the order of the others' packets. */
export function seedOf(seed: number, index: number): number {
  return Math.imul(seed ^ 0x9e3779b9, 0x85ebca6b) ^ Math.imul(index + 1, 0xc2b2ae35);
}

/** 32 bits. */
export function randomUint32(random: Random): number {
  return Math.floor(random() * 2 ** 32);
}
