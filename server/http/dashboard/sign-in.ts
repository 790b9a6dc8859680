import { hashSecret } from "../../boot/claims.ts";
import type { ApiToken, TokenScope } from "../../domain/api-token.ts";
import { localActor } from "../../domain/assignment.ts";
import type { Clock, EpochMs, Ids } from "../../domain/capabilities.ts";
import {
  type DashboardSession,
  linkEndsAt,
  makeRoom,
  noteUseEveryMs,
  sessionEndsAt,
  type SignInLink,
} from "../../domain/dashboard-session.ts";
import { LinkInvalid, SessionEnded, TokenInvalid } from "../../domain/error-catalogue.ts";
import type { SessionRepository } from "../../store/sessions.ts";
import type { TokenRepository } from "../../store/tokens.ts";

export interface SignInDeps {
  readonly clock: Pick<Clock, "now">;
  readonly ids: Pick<Ids, "secret">;
  readonly tokens: Pick<TokenRepository, "findById" | "findByHash">;
  readonly sessions: SessionRepository;
}

/** Who somebody is: a token, or this server's own administrator. */
export type SignedIn = Pick<ApiToken, "name" | "scope" | "rooms" | "repositories" | "expiresAt"> & {
  readonly id: string | undefined;
};

/** Whoever may open the control socket. */
export const localAdministrator: SignedIn = {
  id: undefined,
  name: localActor,
  scope: "admin",
  expiresAt: undefined,
};

/** A token for some repositories of the registry is no token for what machines boot: here it may look, and nothing else. */
export const scopeHere = ({ scope, repositories }: Pick<SignedIn, "scope" | "repositories">): TokenScope =>
  repositories === undefined ? scope : "viewer";

/** Something new that is told once. */
export interface NewSecret {
  readonly secret: string;
  readonly who: SignedIn;
  readonly expiresAt: EpochMs;
}

/**
 * Sessions of the dashboard. A session is a way to show a token without showing it: everything that it may is looked up in the token at
 * each request, so it ends with the token. Secrets of cookies and links are kept hashed.
 */
export function createSignIn({ clock, ids, tokens, sessions }: SignInDeps) {
  /** @throws `otherwise` when the token is gone or over */
  function ownerOf({ tokenId }: Pick<SignInLink, "tokenId">, otherwise: () => Error): SignedIn {
    if (tokenId === undefined) return localAdministrator;
    return stillValid(tokens.findById(tokenId), otherwise);
  }

  function stillValid(token: ApiToken | undefined, otherwise: () => Error): SignedIn {
    if (token === undefined || isOver(token.expiresAt)) throw otherwise();
    return token;
  }

  const isOver = (at: EpochMs | undefined) => at !== undefined && clock.now() > at;

  async function begin(who: SignedIn): Promise<NewSecret> {
    const secret = ids.secret();
    const now = clock.now();
    const session = { hash: hashSecret(secret), tokenId: who.id, createdAt: now, lastUsedAt: now };
    const usedAt = (one: DashboardSession) => one.lastUsedAt;
    await sessions.add(session, makeRoom(sessions.all(), who.id, now, { endsAt: sessionEndsAt, usedAt }));
    return { secret, who, expiresAt: endOf(session, who) };
  }

  const endOf = (session: DashboardSession, who: SignedIn): EpochMs =>
    Math.min(sessionEndsAt(session), who.expiresAt ?? Infinity);

  return {
    /** @throws SessionEnded */
    find(secret: string): { readonly who: SignedIn; readonly expiresAt: EpochMs } {
      const ended = () => SessionEnded({});
      const session = sessions.find(hashSecret(secret));
      if (session === undefined || isOver(sessionEndsAt(session))) throw ended();
      const who = ownerOf(session, ended);
      const now = clock.now();
      if (now - session.lastUsedAt < noteUseEveryMs) return { who, expiresAt: endOf(session, who) };
      // A disk that can't be written is told of by whoever waits for it.
      sessions.noteUse(session.hash, now).catch(() => undefined);
      return { who, expiresAt: endOf({ ...session, lastUsedAt: now }, who) };
    },
    /** @throws TokenInvalid */
    byToken: async (token: string): Promise<NewSecret> =>
      begin(stillValid(tokens.findByHash(hashSecret(token)), () => TokenInvalid({}))),
    /** The link is spent, also where its token is gone. @throws LinkInvalid */
    async byLink(secret: string): Promise<NewSecret> {
      const invalid = () => LinkInvalid({});
      const link = await sessions.takeLink(hashSecret(secret));
      if (link === undefined || isOver(linkEndsAt(link))) throw invalid();
      return begin(ownerOf(link, invalid));
    },
    async makeLink(who: SignedIn): Promise<NewSecret> {
      const secret = ids.secret();
      const now = clock.now();
      const link = { hash: hashSecret(secret), tokenId: who.id, createdAt: now };
      const usedAt = (one: SignInLink) => one.createdAt;
      await sessions.addLink(link, makeRoom(sessions.links(), who.id, now, { endsAt: linkEndsAt, usedAt }));
      return { secret, who, expiresAt: Math.min(linkEndsAt(link), who.expiresAt ?? Infinity) };
    },
    /** @returns whose it was; undefined when there was none, or its token is gone */
    async end(secret: string): Promise<Pick<SignedIn, "name"> | undefined> {
      const session = await sessions.remove(hashSecret(secret));
      if (session === undefined) return undefined;
      return session.tokenId === undefined ? localAdministrator : tokens.findById(session.tokenId);
    },
  };
}
export type SignIn = ReturnType<typeof createSignIn>;
