import { type Access, secretIn } from "./access.ts";
import { accessTokenLifeMs, parseScopes } from "./access-tokens.ts";
import { type Exchange, sendJson, smallBodyOf } from "./exchange.ts";

export interface TokenRouteDeps {
  readonly access: Access;
  readonly clock: { now(): number };
}

/** GET: the token protocol of registries; the API token is the password of Basic. */
export function getToken(exchange: Exchange, deps: TokenRouteDeps): void {
  const { authorization } = exchange.request.headers;
  const secret = authorization === undefined ? "" : secretIn(authorization);
  send(exchange, secret, exchange.query, deps);
}

/** A password and some dozen repositories. */
const tokenForm = { what: "the form for a token", limit: 16 * 1024 };

/** POST: the same as OAuth 2 has it (RFC 6749 s.4.3), which containerd asks for first. */
export async function postToken(exchange: Exchange, deps: TokenRouteDeps): Promise<void> {
  const form = new URLSearchParams((await smallBodyOf(exchange, tokenForm)).toString());
  send(exchange, form.get("password") ?? form.get("refresh_token") ?? "", form, deps);
}

function send(
  exchange: Exchange,
  secret: string,
  asked: URLSearchParams,
  { access, clock }: TokenRouteDeps,
): void {
  const token = access.grant(exchange, secret, parseScopes(asked.getAll("scope")));
  const body = {
    token,
    access_token: token,
    expires_in: accessTokenLifeMs / 1000,
    issued_at: new Date(clock.now()).toISOString(),
  };
  sendJson(exchange, JSON.stringify(body), { "cache-control": "no-store" });
}
