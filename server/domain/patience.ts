import type { DurationMs } from "./capabilities.ts";

/** How long work that the API server did not take is put off, and when it counts as refused. */

/** After a failed try, doubled with each, ms. */
const firstRetryMs = 2000;
/** Longest time to the next try, ms: where no answer came or what is missing is about to come, and after a refusal. */
const longestWaitMs = 30_000;
const longestRefusedMs = 5 * 60_000;
/** Tries until what may pass by itself counts as refused. */
export const patientTries = 6;
/** Pieces of work one after another without an answer, after which a round ends. */
export const mostUnanswered = 3;

/**
 * Time to the next try, with a share of chance, so that what failed together does not come back together.
 * @param tries that failed so far, from 1 @param mayPass it may be better by itself @param random from 0 to 1
 */
export function retryWaitMs(tries: number, mayPass: boolean, random: number): DurationMs {
  const waitMs = Math.min(
    firstRetryMs * 2 ** Math.min(tries - 1, 20),
    mayPass ? longestWaitMs : longestRefusedMs,
  );
  return waitMs * (0.75 + random / 2);
}
