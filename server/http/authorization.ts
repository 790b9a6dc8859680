import { createHash } from "node:crypto";
import { isIPv4, isIPv6 } from "node:net";
import type { FastifyInstance, FastifyRequest } from "fastify";
import type { ApiToken, TokenScope } from "../domain/api-token.ts";
import { localActor } from "../domain/assignment.ts";
import type { Clock } from "../domain/capabilities.ts";
import { HostNotAllowed, ScopeMissing, TokenInvalid, TokenMissing } from "../domain/error-catalogue.ts";

declare module "fastify" {
  interface FastifyContextConfig {
    /** Scopes that may call this route; `admin` always may. */
    scopes?: readonly TokenScope[];
  }
  interface FastifyRequest {
    /** Name of the token, or `local` for the control socket. */
    actor: string;
    /** For answers that go on for hours: is what let the request in still there (token not revoked, not expired)? */
    isStillAuthorized: () => boolean;
  }
}

export interface AuthorizationDeps {
  readonly clock: Clock;
  readonly tokens: { findByHash(hash: string): ApiToken | undefined };
  readonly isControl: (request: FastifyRequest) => boolean;
}

const neverAuthorized = () => false;

/** Every route below this scope needs a token whose scope the route names; a route that names none is for admins only. */
export function installAuthorization(
  app: FastifyInstance,
  { clock, tokens, isControl }: AuthorizationDeps,
): void {
  app.decorateRequest("actor", "");
  app.decorateRequest("isStillAuthorized", neverAuthorized);
  app.addHook("onRequest", (request, _reply, done) => {
    try {
      const check = () => (isControl(request) ? localActor : authorize(request));
      request.actor = check();
      request.isStillAuthorized = () => {
        try {
          return check() === request.actor;
        } catch {
          return false;
        }
      };
      done();
    } catch (error) {
      done(error as Error);
    }
  });

  function authorize(request: FastifyRequest): string {
    const match = /^Bearer +([A-Za-z0-9._~+/-]+=*)$/i.exec(request.headers.authorization ?? "");
    if (!match?.[1]) throw TokenMissing({});
    const token = tokens.findByHash(createHash("sha256").update(match[1]).digest("hex"));
    if (!token || (token.expiresAt !== undefined && clock.now() > token.expiresAt)) throw TokenInvalid({});
    const scopes = request.routeOptions.config.scopes ?? [];
    // A token for some repositories of the registry is no token for what machines boot: here it may look, and nothing else.
    const scope = token.repositories === undefined ? token.scope : "viewer";
    if (scope !== "admin" && !scopes.includes(scope)) {
      const bound = token.repositories === undefined ? "" : ` for ${token.repositories.join(", ")} alone`;
      throw ScopeMissing({
        scope: `${token.scope}${bound}`,
        needed: [...new Set<string>([...scopes, "admin"])],
      });
    }
    return token.name;
  }
}

/**
 * A web page may point a name of its own at this server's address and then read our answers as its own (DNS rebinding); its requests
 * carry that name. So on TCP a request must name us by what no stranger can point here: an IP literal, `localhost`, our host name.
 */
export function installHostCheck(
  app: FastifyInstance,
  {
    hostname,
    configured = [],
    isControl,
  }: {
    hostname: string | undefined;
    /** `http.names` of the config. */
    configured?: readonly string[];
    isControl: AuthorizationDeps["isControl"];
  },
): void {
  const names = new Set(
    ["localhost", ...(hostname ? [hostname] : []), ...configured].map((name) => name.toLowerCase()),
  );
  app.addHook("onRequest", (request, _reply, done) => {
    const { host } = request.headers;
    // Without one it is no web page: every browser sends it, and HTTP/1.1 without it is refused before. U-Boot's HTTP/1.0 has none.
    const isAllowed = host === undefined || isOwnHost(host, names) || isControl(request);
    done(isAllowed ? undefined : HostNotAllowed({ host: host ?? "" }));
  });
}

/** @param host of the header: name or address, with or without a port */
function isOwnHost(host: string, names: ReadonlySet<string>): boolean {
  const [, bracketed, plain] = /^(?:\[([0-9A-Fa-f:.]+)\]|([^:[\]]+))(?::[0-9]{1,5})?$/.exec(host) ?? [];
  if (bracketed !== undefined) return isIPv6(bracketed);
  if (plain === undefined) return false;
  return isIPv4(plain) || names.has(plain.toLowerCase());
}

/** Whoever may look. */
export const readers: readonly TokenScope[] = ["viewer", "operator", "imagemaker"];
/** Whoever may assign, switch and reset. */
export const operators: readonly TokenScope[] = ["operator"];
export const imageMakers: readonly TokenScope[] = ["imagemaker"];
