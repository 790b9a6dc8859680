import { createHash } from "node:crypto";
import type { IncomingMessage } from "node:http";
import type { ApiToken, TokenScope } from "../../domain/api-token.ts";
import { localActor } from "../../domain/assignment.ts";
import type { Clock } from "../../domain/capabilities.ts";
import { OciError } from "../../registry/oci-error.ts";
import { matchesPattern } from "../../registry/repository-name.ts";
import type { LoginFailures } from "../login-failures.ts";
import {
  accessTokenLifeMs,
  type Bearer,
  createAccessTokens,
  type Grant,
  looksLikeAccessToken,
} from "./access-tokens.ts";
import type { Exchange } from "./exchange.ts";
import { signatureSupport } from "./signature-routes.ts";

/** Who logged in: an API token, a user of the htpasswd file, or this server's own administrator. */
export interface Account {
  /** Another one when its secret is another one: what was issued for it before is not valid then. */
  readonly id: string;
  /** For the event log. */
  readonly name: string;
  readonly scope: TokenScope;
  /** Patterns of the repositories that it may change; undefined: all. */
  readonly repositories: readonly string[] | undefined;
}

export interface AccessDeps {
  readonly clock: Pick<Clock, "now">;
  readonly tokens: {
    findByHash(hash: string): ApiToken | undefined;
    findByName(name: string): ApiToken | undefined;
  };
  /** Addresses that show wrong tokens and passwords wait; the API counts in the same book. */
  readonly failures: LoginFailures;
  /** Users with passwords; undefined: there are none. */
  readonly users: PasswordUsers | undefined;
  /** Pull without logging in. */
  readonly anonymousPull: boolean;
  /** Log in over plain HTTP from other machines too. */
  readonly insecurePush: boolean;
}

export interface PasswordUsers {
  /** @param address that asks @returns undefined for a wrong one @throws OciError TOOMANYREQUESTS */
  verify(login: Login, address: string): Promise<Account | undefined>;
  /** @returns undefined when the user is gone or has another password */
  find(id: string): Account | undefined;
}

export interface Login {
  readonly user: string;
  /** Password of Basic, or token of Bearer; empty: nobody. */
  readonly secret: string;
}

/** Who asks: somebody who logged in, also by way of an access token, or nobody in particular. */
interface Caller {
  readonly account: Account | undefined;
  readonly bearer: Bearer | undefined;
}
const nobody: Caller = { account: undefined, bearer: undefined };

const administrator: Account = {
  id: "local",
  name: localActor,
  scope: "admin",
  repositories: undefined,
};
const accountOf = ({ id, name, scope, repositories }: ApiToken): Account => ({
  id: `token:${id}`,
  name,
  scope,
  repositories,
});

/** Why an account may not change a repository; undefined: it may. */
function refusal({ scope, repositories }: Account, repository: string): string | undefined {
  if (scope !== "imagemaker" && scope !== "admin")
    return `a token with the scope ${scope} may not push or delete; one with the scope imagemaker may`;
  if (repositories && !repositories.some((pattern) => matchesPattern(pattern, repository)))
    return `this login may change ${repositories.join(", ") || "nothing"} alone`;
  return undefined;
}

const isGranted = (bearer: Bearer | undefined, repository: string, action: string): boolean =>
  bearer?.grants?.some((grant) => grant.repository === repository && grant.actions.includes(action)) ?? true;

/** Who may do what: everybody pulls, or everybody who logs in; tokens and users push. */
export function createAccess(deps: AccessDeps) {
  const { clock, tokens, users, anonymousPull, insecurePush, failures } = deps;
  const accessTokens = createAccessTokens(clock);
  /** Whose password was found right, by the request that showed it. */
  const loggedIn = new WeakMap<IncomingMessage, Account>();
  const isValid = (token: ApiToken | undefined): token is ApiToken =>
    token !== undefined && (token.expiresAt === undefined || clock.now() <= token.expiresAt);

  function findAccount(id: string): Account | undefined {
    if (id === administrator.id) return administrator;
    const [, tokenId] = /^token:(.*)$/.exec(id) ?? [];
    if (tokenId === undefined) return users?.find(id);
    const token = tokens.findByName(tokenId);
    return isValid(token) ? accountOf(token) : undefined;
  }

  function byAccessToken(text: string): Caller | undefined {
    const bearer = text.includes(".") ? accessTokens.read(text) : undefined;
    if (bearer?.owner === undefined) return bearer && { account: undefined, bearer };
    const account = findAccount(bearer.owner);
    return account && { account, bearer };
  }

  /** @param secret empty: nobody @returns undefined for what is no valid token */
  function bySecret(secret: string): Caller | undefined {
    if (secret === "") return nobody;
    const token = tokens.findByHash(createHash("sha256").update(secret).digest("hex"));
    return isValid(token) ? { account: accountOf(token), bearer: undefined } : byAccessToken(secret);
  }

  async function byPassword({ request }: Exchange, login: Login): Promise<Account | undefined> {
    return login.user === "" ? undefined : users?.verify(login, request.socket.remoteAddress ?? "");
  }

  /** Who shows nothing, or what is no guess, is answered whatever others at that address did. @throws TooManyFailures */
  function refuseGuesses({ request }: Exchange, { secret }: Login): void {
    if (secret !== "" && !looksLikeAccessToken(secret)) failures.refuse(request.socket.remoteAddress ?? "");
  }

  /** Requests whose wrong login is counted: one is looked at in several places. */
  const counted = new WeakSet<IncomingMessage>();
  function noteWrong({ request }: Exchange, { secret }: Login): void {
    if (looksLikeAccessToken(secret) || counted.has(request)) return;
    counted.add(request);
    failures.note(request.socket.remoteAddress ?? "");
  }

  /** @throws OciError UNAUTHORIZED */
  function callerOf(exchange: Exchange): Caller {
    const { request } = exchange;
    const { authorization } = request.headers;
    if (authorization === undefined) return nobody;
    const account = loggedIn.get(request);
    const login = loginIn(authorization);
    const caller = account ? { account, bearer: undefined } : bySecret(login.secret);
    if (caller) return caller;
    noteWrong(exchange, login);
    throw unauthorized(exchange, wrongLogin);
  }

  /** Does the caller show a token that may push here? @throws OciError UNAUTHORIZED */
  function mayPush(exchange: Exchange): boolean {
    if (exchange.request.headers.authorization === undefined) return false;
    const { account } = callerOf(exchange);
    return account !== undefined && refusal(account, exchange.target.repository) === undefined;
  }

  /** @param what somebody has to log in for @throws OciError DENIED */
  function refuseInTheClear({ isTls, request }: Exchange, what: string): void {
    if (isTls || insecurePush || isLocal(request)) return;
    throw new OciError(
      "DENIED",
      `over plain HTTP only this machine itself may ${what}: use https, or set \`registry.insecurePush: true\` in the server's config`,
    );
  }

  return {
    /** To pull too. */
    needsLogin: !anonymousPull,

    /**
     * Verifies a password, which takes its time; what this request may do is asked after that.
     * @returns undefined: there is nothing to wait for @throws OciError TOOMANYREQUESTS, TooManyFailures
     */
    login(exchange: Exchange): Promise<void> | undefined {
      const { request } = exchange;
      const { authorization } = request.headers;
      if (authorization === undefined) return undefined;
      const login = loginIn(authorization);
      refuseGuesses(exchange, login);
      if (!users) return undefined;
      // Whoever asks for an access token is looked at there.
      if (exchange.target.kind === "token" || bySecret(login.secret)) return undefined;
      return byPassword(exchange, login).then((account) => {
        if (account) loggedIn.set(request, account);
      });
    },

    /** Whoever shows a token must show a valid one. @throws OciError UNAUTHORIZED, DENIED */
    checkRead(exchange: Exchange): void {
      if (anonymousPull) {
        if (exchange.request.headers.authorization !== undefined) callerOf(exchange);
        return;
      }
      refuseInTheClear(exchange, "pull from a registry that wants a login");
      const { account, bearer } = callerOf(exchange);
      if (!account)
        throw unauthorized(
          exchange,
          "this registry wants a login to pull too: an API token as the password (`boot token create NAME --scope viewer`), with any user name",
        );
      const { repository } = exchange.target;
      if (repository !== "" && !isGranted(bearer, repository, "pull"))
        throw unauthorized(exchange, "this access token is not for this repository");
    },

    mayPush,

    /** Does the caller show what it pushes with? A token that was asked for to pull alone is none. @throws OciError UNAUTHORIZED */
    isPushing: (exchange: Exchange): boolean =>
      mayPush(exchange) && isGranted(callerOf(exchange).bearer, exchange.target.repository, "push"),

    /** @returns the name of who pushes @throws OciError UNAUTHORIZED, DENIED */
    checkWrite(exchange: Exchange): string {
      const { repository } = exchange.target;
      const { account, bearer } = callerOf(exchange);
      refuseInTheClear(exchange, "push");
      if (!account)
        throw unauthorized(
          exchange,
          "to push and to delete, log in with an API token as the password (`boot token create NAME --scope imagemaker`); any user name will do",
        );
      const problem = refusal(account, repository);
      if (problem !== undefined) throw new OciError("DENIED", problem);
      const action = actionOf(exchange);
      // The client asks for another token, with this scope.
      if (!isGranted(bearer, repository, action))
        throw unauthorized(exchange, `this access token is not for ${action} here`);
      return account.name;
    },

    /** Makes an access token for what its owner may do of what is asked. @throws OciError UNAUTHORIZED, TOOMANYREQUESTS, TooManyFailures */
    async grant(exchange: Exchange, login: Login, asked: readonly Grant[]): Promise<string> {
      refuseGuesses(exchange, login);
      const caller = bySecret(login.secret);
      const account = caller ? caller.account : await byPassword(exchange, login);
      if (!caller && !account) noteWrong(exchange, login);
      // An access token for some repositories is no way to another one.
      if (caller?.bearer?.grants || (!caller && !account)) throw unauthorized(exchange, wrongLogin);
      if (!account && !anonymousPull)
        throw unauthorized(
          exchange,
          "this registry wants a login to pull too: there are no tokens without one",
        );
      const grants = asked.map(({ repository, actions }) => ({
        repository,
        actions: actions.filter(
          (action) => action === "pull" || (account && refusal(account, repository) === undefined),
        ),
      }));
      return accessTokens.issue({ owner: account?.id, grants });
    },

    /**
     * What a command of an administrator shows in place of an API token, for some minutes and kept nowhere.
     * @param actor name of a token, or this machine's own administrator @returns undefined: there is no such token
     */
    credential(actor: string): RegistryCredential | undefined {
      const token = actor === localActor ? undefined : tokens.findByName(actor);
      const owner = actor === localActor ? administrator.id : token && accountOf(token).id;
      return owner === undefined
        ? undefined
        : {
            user: localActor,
            password: accessTokens.issue({ owner, grants: undefined }),
            expiresInSeconds: accessTokenLifeMs / 1000,
          };
    },
  };
}
export type Access = ReturnType<typeof createAccess>;

/** For Basic; the password is an access token as well. */
export interface RegistryCredential {
  readonly user: string;
  readonly password: string;
  readonly expiresInSeconds: number;
}

const wrongLogin = "this token or password is not valid, was revoked or has expired";

const noLogin: Login = { user: "", secret: "" };

export function loginIn(authorization: string): Login {
  const [, scheme = "", value = ""] = /^(\w+) +(\S*) *$/.exec(authorization) ?? [];
  if (scheme.toLowerCase() === "bearer") return { user: "", secret: value };
  if (scheme.toLowerCase() !== "basic") return noLogin;
  const text = Buffer.from(value, "base64").toString("utf8");
  const colon = text.indexOf(":");
  return { user: text.slice(0, Math.max(0, colon)), secret: text.slice(colon + 1) };
}

/** Does the request come from this machine? */
function isLocal({ socket }: IncomingMessage): boolean {
  const { remoteAddress, localAddress } = socket;
  return remoteAddress !== undefined && (remoteAddress.startsWith("127.") || remoteAddress === localAddress);
}

export function unauthorized(exchange: Exchange, message: string): OciError {
  // Clients read from this answer too what the registry can do.
  const support = exchange.target.kind === "base" ? signatureSupport : {};
  return new OciError("UNAUTHORIZED", message, {
    headers: { "www-authenticate": challenge(exchange), ...support },
  });
}

const actionOf = ({ request, target }: Exchange): string =>
  request.method === "DELETE" && target.kind !== "upload" ? "delete" : "push";

/** Basic on plain HTTP, where containers/image takes it from a 200 too; over TLS the token protocol, which the Docker engine needs. */
export function challenge(exchange: Exchange): string {
  if (!exchange.isTls) return `Basic realm="rollcall"`;
  const { request, target } = exchange;
  const { localAddress, localPort } = request.socket;
  const { host = "" } = request.headers;
  const place = /^[A-Za-z0-9.:[\]-]{1,300}$/.test(host) ? host : `${localAddress}:${localPort}`;
  const isRead = request.method === "GET" || request.method === "HEAD";
  const actions = isRead ? "pull" : `pull,${actionOf(exchange)}`;
  const scope = target.repository === "" ? "" : `,scope="repository:${target.repository}:${actions}"`;
  return `Bearer realm="https://${place}/v2/token",service="rollcall"${scope}`;
}
