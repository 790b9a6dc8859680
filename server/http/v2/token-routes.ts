import { type Access, type Login, loginIn } from "./access.ts";
import { accessTokenLifeMs, parseScopes } from "./access-tokens.ts";
import { type Exchange, sendJson, smallBodyOf } from "./exchange.ts";

export interface TokenRouteDeps {
  readonly access: Access;
  readonly clock: { now(): number };
}

/** GET: the token protocol of registries; the login is that of Basic. */
export function getToken(exchange: Exchange, deps: TokenRouteDeps): Promise<void> {
  return send(exchange, loginIn(exchange.request.headers.authorization ?? ""), exchange.query, deps);
}

/** A password and some dozen repositories. */
const tokenForm = { what: "the form for a token", limit: 16 * 1024 };

/** POST: the same as OAuth 2 has it (RFC 6749 s.4.3), which containerd asks for first. */
export async function postToken(exchange: Exchange, deps: TokenRouteDeps): Promise<void> {
  const form = new URLSearchParams((await smallBodyOf(exchange, tokenForm)).toString());
  const user = form.get("username") ?? "";
  await send(exchange, { user, secret: form.get("password") ?? form.get("refresh_token") ?? "" }, form, deps);
}

async function send(
  exchange: Exchange,
  login: Login,
  asked: URLSearchParams,
  { access, clock }: TokenRouteDeps,
): Promise<void> {
  const token = await access.grant(exchange, login, parseScopes(asked.getAll("scope")));
  const body = {
    token,
    access_token: token,
    expires_in: accessTokenLifeMs / 1000,
    issued_at: new Date(clock.now()).toISOString(),
  };
  sendJson(exchange, JSON.stringify(body), { "cache-control": "no-store" });
}
