import type { DurationMs, EpochMs } from "./capabilities.ts";

/** Somebody who is signed in to the dashboard with a token, and may do what that token may as long as it may. */
export interface DashboardSession {
  /** SHA-256 of the cookie's secret, hex: 128 random bits need no slow hash. */
  readonly hash: string;
  /** Undefined: the server's own administrator, who signed in by a link made on the server. */
  readonly tokenId: string | undefined;
  readonly createdAt: EpochMs;
  /** To within `noteUseEveryMs`. */
  readonly lastUsedAt: EpochMs;
}

/** Signs in once, as the one who made it. */
export type SignInLink = Pick<DashboardSession, "hash" | "tokenId" | "createdAt">;

/** A working day: nobody who shuts the door in the evening is signed in the next morning. */
export const sessionLifetimeMs: DurationMs = 12 * 3_600_000;
/** A page that is looked at is no silence: its stream is use. One in the background lets its stream go. */
export const sessionSilenceMs: DurationMs = 2 * 3_600_000;
/** How long a link is good for. */
export const linkLifetimeMs: DurationMs = 5 * 60_000;
/** Of one token; a new one ends the one that was used least recently. */
export const sessionsPerToken = 20;
/** A use is noted when the last one noted is so old: one write to the disk and not one a request. */
export const noteUseEveryMs: DurationMs = 5 * 60_000;

export const sessionEndsAt = ({ createdAt, lastUsedAt }: DashboardSession): EpochMs =>
  Math.min(createdAt + sessionLifetimeMs, lastUsedAt + sessionSilenceMs);

export const linkEndsAt = ({ createdAt }: SignInLink): EpochMs => createdAt + linkLifetimeMs;

/**
 * What goes when a new one comes. @param endsAt of one of them
 * @returns those that are over, and of the newcomer's token those above the limit, the least recently used first
 */
export function makeRoom<One extends SignInLink>(
  all: readonly One[],
  tokenId: string | undefined,
  now: EpochMs,
  { endsAt, usedAt }: { readonly endsAt: (one: One) => EpochMs; readonly usedAt: (one: One) => EpochMs },
): One[] {
  const isOver = (one: One) => endsAt(one) <= now;
  const own = all
    .filter((one) => one.tokenId === tokenId && !isOver(one))
    .sort((a, b) => usedAt(a) - usedAt(b));
  return [...all.filter(isOver), ...own.slice(0, Math.max(0, own.length - sessionsPerToken + 1))];
}
