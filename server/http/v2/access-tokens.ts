import { createHmac, randomBytes, timingSafeEqual } from "node:crypto";
import type { Clock, DurationMs } from "../../domain/capabilities.ts";

/** What a bearer may do in one repository. */
export interface Grant {
  readonly repository: string;
  /** pull, push, delete */
  readonly actions: readonly string[];
}

/** What an access token says. */
export interface Bearer {
  /** Id of the account that it was made for; undefined: nobody logged in. */
  readonly owner: string | undefined;
  /** Undefined: all that its owner may. */
  readonly grants: readonly Grant[] | undefined;
}

export const accessTokenLifeMs: DurationMs = 5 * 60_000;
/** Repositories in one access token. */
const mostGrants = 50;

/**
 * Short-lived tokens for clients that speak the token protocol of registries (distribution, "Token Authentication Specification"). They
 * are signed and not kept, so that nobody's asking for them takes room; the key lives as long as the process.
 */
export function createAccessTokens(clock: Pick<Clock, "now">) {
  const key = randomBytes(32);
  const sign = (payload: string) => createHmac("sha256", key).update(payload).digest();

  return {
    issue({ owner, grants }: Bearer): string {
      const fields = { owner, grants, until: clock.now() + accessTokenLifeMs };
      const payload = Buffer.from(JSON.stringify(fields)).toString("base64url");
      return `${payload}.${sign(payload).toString("base64url")}`;
    },

    /** @returns undefined for what was not issued here, or too long ago */
    read(text: string): Bearer | undefined {
      const dot = text.indexOf(".");
      const payload = text.slice(0, dot);
      const signature = Buffer.from(text.slice(dot + 1), "base64url");
      const expected = sign(payload);
      if (signature.length !== expected.length || !timingSafeEqual(signature, expected)) return undefined;
      const { until, ...bearer } = JSON.parse(Buffer.from(payload, "base64url").toString()) as Bearer & {
        until: number;
      };
      return clock.now() > until ? undefined : bearer;
    },
  };
}

/**
 * Does it look like one of these? Whoever guesses at them has to guess 256 bits, and after a restart, or five minutes late, every client
 * shows one that is not valid any more: none of that is a wrong login.
 */
export const looksLikeAccessToken = (secret: string): boolean =>
  /^[A-Za-z0-9_-]+\.[A-Za-z0-9_-]{43}$/.test(secret);

/** `repository:<name>:<action>,<action>`, several of them parted by spaces; `*` is every action. What is none of that is left out. */
export function parseScopes(texts: readonly string[]): Grant[] {
  return texts
    .flatMap((text) => text.split(" "))
    .flatMap((text): Grant[] => {
      const [, repository, actions] = /^repository:(.+):([a-z*,]+)$/.exec(text) ?? [];
      if (repository === undefined || actions === undefined) return [];
      const asked = actions.split(",");
      return [
        { repository, actions: allActions.filter((one) => asked.includes("*") || asked.includes(one)) },
      ];
    })
    .slice(0, mostGrants);
}
const allActions = ["pull", "push", "delete"];
