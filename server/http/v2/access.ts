import { createHash } from "node:crypto";
import type { IncomingMessage } from "node:http";
import type { ApiToken } from "../../domain/api-token.ts";
import type { Clock } from "../../domain/capabilities.ts";
import { OciError } from "../../registry/oci-error.ts";
import { matchesPattern } from "../../registry/repository-name.ts";
import { type Bearer, createAccessTokens } from "./access-tokens.ts";
import type { Exchange } from "./exchange.ts";

export interface AccessDeps {
  readonly clock: Pick<Clock, "now">;
  readonly tokens: {
    findByHash(hash: string): ApiToken | undefined;
    findByName(name: string): ApiToken | undefined;
  };
  /** Push over plain HTTP from other machines too. */
  readonly insecurePush: boolean;
}

/** Who asks: with an API token, with an access token made for one, or nobody in particular. */
interface Caller {
  readonly token: ApiToken | undefined;
  readonly bearer: Bearer | undefined;
}
const nobody: Caller = { token: undefined, bearer: undefined };

/** Why a token may not change a repository; undefined: it may. */
function refusal({ scope, repositories }: ApiToken, repository: string): string | undefined {
  if (scope !== "imagemaker" && scope !== "admin")
    return `a token with the scope ${scope} may not push or delete; one with the scope imagemaker may`;
  if (repositories && !repositories.some((pattern) => matchesPattern(pattern, repository)))
    return `this token may change ${repositories.join(", ")} alone`;
  return undefined;
}

/** Who may do what: everybody pulls, tokens push. */
export function createAccess({ clock, tokens, insecurePush }: AccessDeps) {
  const accessTokens = createAccessTokens(clock);
  const isValid = (token: ApiToken | undefined): token is ApiToken =>
    token !== undefined && (token.expiresAt === undefined || clock.now() <= token.expiresAt);

  function byAccessToken(text: string): Caller | undefined {
    const bearer = text.includes(".") ? accessTokens.read(text) : undefined;
    if (bearer?.tokenId === undefined) return bearer && { token: undefined, bearer };
    const token = tokens.findByName(bearer.tokenId);
    return isValid(token) ? { token, bearer } : undefined;
  }

  /** @param secret empty: nobody @returns undefined for a wrong one */
  function bySecret(secret: string): Caller | undefined {
    if (secret === "") return nobody;
    const token = tokens.findByHash(createHash("sha256").update(secret).digest("hex"));
    return isValid(token) ? { token, bearer: undefined } : byAccessToken(secret);
  }

  /** @throws OciError UNAUTHORIZED */
  function callerOf(exchange: Exchange): Caller {
    const { authorization } = exchange.request.headers;
    const caller = authorization === undefined ? nobody : bySecret(secretIn(authorization));
    if (!caller) throw unauthorized(exchange, "this token is not valid, was revoked or has expired");
    return caller;
  }

  return {
    /** Whoever shows a token must show a valid one. @throws OciError UNAUTHORIZED */
    checkRead(exchange: Exchange): void {
      if (exchange.request.headers.authorization !== undefined) callerOf(exchange);
    },

    /** Does the caller show a token that may push here? @throws OciError UNAUTHORIZED */
    mayPush(exchange: Exchange): boolean {
      if (exchange.request.headers.authorization === undefined) return false;
      const { token } = callerOf(exchange);
      return token !== undefined && refusal(token, exchange.target.repository) === undefined;
    },

    /** @returns the name of the token @throws OciError UNAUTHORIZED, DENIED */
    checkWrite(exchange: Exchange): string {
      const { repository } = exchange.target;
      const { token, bearer } = callerOf(exchange);
      if (!exchange.isTls && !insecurePush && !isLocal(exchange.request))
        throw new OciError(
          "DENIED",
          "over plain HTTP only this machine itself may push: use https, or set `registry.insecurePush: true` in the server's config",
        );
      if (!token)
        throw unauthorized(
          exchange,
          "to push and to delete, log in with an API token as the password (`boot token create NAME --scope imagemaker`); any user name will do",
        );
      const problem = refusal(token, repository);
      if (problem !== undefined) throw new OciError("DENIED", problem);
      const action = actionOf(exchange);
      const isGranted = bearer?.grants.some(
        (grant) => grant.repository === repository && grant.actions.includes(action),
      );
      // The client asks for another token, with this scope.
      if (isGranted === false) throw unauthorized(exchange, `this access token is not for ${action} here`);
      return token.name;
    },

    /**
     * Makes an access token for what its owner may do of what is asked.
     * @param secret of an API token; empty: nobody @throws OciError UNAUTHORIZED
     */
    grant(exchange: Exchange, secret: string, asked: Bearer["grants"]): string {
      const caller = bySecret(secret);
      // An access token is no way to another one.
      if (!caller || caller.bearer)
        throw unauthorized(exchange, "this token is not valid, was revoked or has expired");
      const { token } = caller;
      const grants = asked.map(({ repository, actions }) => ({
        repository,
        actions: actions.filter(
          (action) => action === "pull" || (token && refusal(token, repository) === undefined),
        ),
      }));
      return accessTokens.issue({ tokenId: token?.id, grants });
    },
  };
}
export type Access = ReturnType<typeof createAccess>;

/** The password of Basic, or the token of Bearer; empty: nobody. */
export function secretIn(authorization: string): string {
  const [, scheme = "", value = ""] = /^(\w+) +(\S*) *$/.exec(authorization) ?? [];
  if (scheme.toLowerCase() === "bearer") return value;
  if (scheme.toLowerCase() !== "basic") return "";
  const text = Buffer.from(value, "base64").toString("utf8");
  return text.slice(text.indexOf(":") + 1);
}

/** Does the request come from this machine? */
function isLocal({ socket }: IncomingMessage): boolean {
  const { remoteAddress, localAddress } = socket;
  return remoteAddress !== undefined && (remoteAddress.startsWith("127.") || remoteAddress === localAddress);
}

export function unauthorized(
  exchange: Exchange,
  message: string,
  headers: Readonly<Record<string, string>> = {},
): OciError {
  return new OciError("UNAUTHORIZED", message, {
    headers: { "www-authenticate": challenge(exchange), ...headers },
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
