import { createHash } from "node:crypto";
import type { FastifyInstance, FastifyRequest } from "fastify";
import type { ApiToken, TokenScope } from "../domain/api-token.ts";
import type { Clock } from "../domain/capabilities.ts";
import { ScopeMissing, TokenInvalid, TokenMissing } from "../domain/error-catalogue.ts";

declare module "fastify" {
  interface FastifyContextConfig {
    /** Scopes that may call this route; `admin` always may. */
    scopes?: readonly TokenScope[];
  }
  interface FastifyRequest {
    /** Name of the token, or `local` for the control socket. */
    actor: string;
  }
}

/** Who comes over the control socket. */
export const localActor = "local";

export interface AuthorizationDeps {
  readonly clock: Clock;
  readonly tokens: { findByHash(hash: string): ApiToken | undefined };
  readonly isControl: (request: FastifyRequest) => boolean;
}

/** Every route below this scope needs a token whose scope the route names; a route that names none is for admins only. */
export function installAuthorization(
  app: FastifyInstance,
  { clock, tokens, isControl }: AuthorizationDeps,
): void {
  app.decorateRequest("actor", "");
  app.addHook("onRequest", (request, _reply, done) => {
    try {
      request.actor = isControl(request) ? localActor : authorize(request);
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
    if (token.scope !== "admin" && !scopes.includes(token.scope))
      throw ScopeMissing({ scope: token.scope, needed: [...new Set<string>([...scopes, "admin"])] });
    return token.name;
  }
}

/** Whoever may look. */
export const readers: readonly TokenScope[] = ["viewer", "operator", "imagemaker"];
/** Whoever may assign, switch and reset. */
export const operators: readonly TokenScope[] = ["operator"];
export const imageMakers: readonly TokenScope[] = ["imagemaker"];
