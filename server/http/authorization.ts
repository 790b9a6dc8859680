import { createHash } from "node:crypto";
import { isIPv4, isIPv6 } from "node:net";
import type { FastifyInstance, FastifyRequest } from "fastify";
import type { ApiToken, TokenScope } from "../domain/api-token.ts";
import type { Clock } from "../domain/capabilities.ts";
import { HostNotAllowed, ScopeMissing, TokenInvalid, TokenMissing } from "../domain/error-catalogue.ts";
import type { Asker } from "../inventory/exams.ts";
import type { Inventory } from "../inventory/inventory.ts";
import type { CookieSessions } from "./dashboard/session-cookie.ts";
import { localAdministrator, scopeHere, type SignedIn } from "./dashboard/sign-in.ts";
import type { LoginFailures } from "./login-failures.ts";
import { createReach, type Reach, type RoomRule } from "./reach.ts";

declare module "fastify" {
  interface FastifyContextConfig {
    /** Scopes that may call this route; `admin` always may. */
    scopes?: readonly TokenScope[];
    /** How it keeps tokens of some rooms within them; a route that says nothing takes a token without limits. */
    rooms?: RoomRule;
  }
  interface FastifyRequest {
    /** Name of the token, or `local` for the control socket. */
    actor: string;
    caller: SignedIn;
    /** What of the lab the caller may see and change. */
    reach: Reach;
    isAdmin: boolean;
    /** For changes that an exam refuses. */
    asker: Asker;
    /** For answers that go on for hours: is what let the request in still there (token not revoked, not expired)? */
    isStillAuthorized: () => boolean;
  }
}

export interface AuthorizationDeps {
  readonly clock: Clock;
  readonly tokens: { findByHash(hash: string): ApiToken | undefined };
  readonly isControl: (request: FastifyRequest) => boolean;
  readonly inventory: Inventory;
  readonly failures: LoginFailures;
  /** Those who are signed in to the dashboard; undefined: this scope takes no cookies. */
  readonly cookies?: CookieSessions | undefined;
}

const neverAuthorized = () => false;

/** Every route below this scope needs a token whose scope the route names; a route that names none is for admins only. */
export function installAuthorization(
  app: FastifyInstance,
  { clock, tokens, isControl, inventory, failures, cookies }: AuthorizationDeps,
): void {
  app.decorateRequest("actor", "");
  app.decorateRequest("caller", null as unknown as SignedIn);
  app.decorateRequest("isAdmin", false);
  app.decorateRequest("reach", null as unknown as Reach);
  app.decorateRequest("asker", null as unknown as Asker);
  app.decorateRequest("isStillAuthorized", neverAuthorized);
  app.addHook("onRequest", (request, _reply, done) => {
    try {
      const check = () => (isControl(request) ? localAdministrator : authorize(request));
      const caller = isControl(request) ? localAdministrator : authorizeCounted(request);
      request.caller = caller;
      request.actor = caller.name;
      request.isAdmin = caller.scope === "admin";
      request.reach = createReach(caller.rooms, inventory);
      request.asker = { actor: caller.name, overridesExam: overridesExam(request) };
      const { rooms } = request.routeOptions.config;
      if (rooms === undefined || rooms === "cluster") request.reach.refuseLimited(rooms);
      request.isStillAuthorized = () => {
        try {
          return check().name === request.actor;
        } catch {
          return false;
        }
      };
      done();
    } catch (error) {
      done(error as Error);
    }
  });

  /** Wrong tokens are counted by the address that shows them. @throws TooManyFailures */
  function authorizeCounted(request: FastifyRequest): SignedIn {
    const address = request.socket.remoteAddress ?? "";
    if (request.headers.authorization !== undefined) failures.refuse(address);
    try {
      return authorize(request);
    } catch (error) {
      if (TokenInvalid.is(error)) failures.note(address);
      throw error;
    }
  }

  /** @throws TokenMissing, TokenInvalid, ScopeMissing, SessionEnded, CrossSiteRequest */
  function authorize(request: FastifyRequest): SignedIn {
    const caller = cookies?.callerOf(request) ?? bearerOf(request);
    const scopes = request.routeOptions.config.scopes ?? [];
    const scope = scopeHere(caller);
    if (scope !== "admin" && !scopes.includes(scope)) {
      const bound = caller.repositories === undefined ? "" : ` for ${caller.repositories.join(", ")} alone`;
      throw ScopeMissing({
        scope: `${caller.scope}${bound}`,
        needed: [...new Set<string>([...scopes, "admin"])],
      });
    }
    return caller;
  }

  function bearerOf({ headers }: FastifyRequest): ApiToken {
    const match = /^Bearer +([A-Za-z0-9._~+/-]+=*)$/i.exec(headers.authorization ?? "");
    if (!match?.[1]) throw TokenMissing({});
    const token = tokens.findByHash(createHash("sha256").update(match[1]).digest("hex"));
    if (!token || (token.expiresAt !== undefined && clock.now() > token.expiresAt)) throw TokenInvalid({});
    return token;
  }
}

/** @throws ScopeMissing for whoever is no administrator */
function overridesExam(request: FastifyRequest): boolean {
  if (request.headers["rollcall-override-exam"] !== "true") return false;
  if (!request.isAdmin) throw ScopeMissing({ scope: "less than admin", needed: ["admin"] });
  return true;
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
