/** When a machine tries again whose script failed. All times in seconds, since that is what iPXE's `sleep` takes. */
export interface RetryPlan {
  /** The wait after each of the first failures. */
  readonly first: readonly { readonly number: number; readonly seconds: number }[];
  /** The wait after every later one. */
  readonly restSeconds: number;
  /** With this failure it gives up. */
  readonly limit: number;
}

/** Waits that grow: a lost packet costs two seconds, a server that is down is not stormed when it comes back. */
const firstSeconds = [2, 4, 8, 15, 30];
const laterSeconds = 60;
/** About 25 minutes: longer than a server's update, since firmware that gives up may wait for a person at the keyboard. */
const failureLimit = 30;
/** Each wait is up to so much shorter or longer, as a part of it. */
const jitter = 0.3;

/**
 * iPXE knows no random numbers, so the spread comes from here: each seed (a machine's MAC or address) has waits of its own, and a
 * building that failed at once does not try again at once.
 */
export function retryPlan(seed: string): RetryPlan {
  return {
    first: firstSeconds.map((seconds, index) => ({
      number: index + 1,
      seconds: spread(seconds, `${seed} ${index}`),
    })),
    restSeconds: spread(laterSeconds, seed),
    limit: failureLimit,
  };
}

/** A wait near to `seconds`, always the same one for the same seed. */
export function spread(seconds: number, seed: string): number {
  return Math.max(1, Math.round(seconds * (1 - jitter + 2 * jitter * unitHash(seed))));
}

/** FNV-1a with a last mix, as a number from 0 to 1: no secret hangs on it. */
function unitHash(text: string): number {
  let hash = 0x811c9dc5;
  for (const character of text) hash = Math.imul(hash ^ (character.codePointAt(0) ?? 0), 0x01000193);
  hash = Math.imul(hash ^ (hash >>> 15), 0x2c1b3c6d);
  return ((hash ^ (hash >>> 12)) >>> 0) / 2 ** 32;
}
