import type { EpochMs } from "./capabilities.ts";

export const tokenScopes = ["admin", "operator", "viewer", "imagemaker"] as const;
export type TokenScope = (typeof tokenScopes)[number];

/** An API token; the secret itself is shown once and never stored. */
export interface ApiToken {
  readonly id: string;
  readonly name: string;
  readonly scope: TokenScope;
  /** SHA-256 of the secret, hex: 128 random bits need no slow hash. */
  readonly hash: string;
  readonly createdAt: EpochMs;
  readonly expiresAt: EpochMs | undefined;
  /** Repositories of the registry that an imagemaker's token may change, as patterns with `*`; undefined: all. */
  readonly repositories?: readonly string[] | undefined;
  /** Groups whose machines a viewer's or operator's token reaches; undefined: all machines, and what is of the whole server. */
  readonly rooms?: readonly string[] | undefined;
}
