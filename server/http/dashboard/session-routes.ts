import type { FastifyInstance, FastifyRequest } from "fastify";
import { type Static, Type } from "typebox";
import type { EpochMs } from "../../domain/capabilities.ts";
import { InvalidRequest, SessionNotEnough } from "../../domain/error-catalogue.ts";
import { RollcallError } from "../../domain/errors.ts";
import type { RecordEvent } from "../../domain/event.ts";
import { isoTime } from "../api/views.ts";
import { readers } from "../authorization.ts";
import type { LoginFailures } from "../login-failures.ts";
import { dashboardPath } from "./pages.ts";
import { isOwnOrigin } from "./same-origin.ts";
import { askingPage, giveCookie, sessionSecret, takeCookie, tellCrossSite } from "./session-cookie.ts";
import { type NewSecret, scopeHere, type SignedIn, type SignIn } from "./sign-in.ts";

export interface SessionRouteDeps {
  readonly signIn: SignIn;
  readonly failures: LoginFailures;
  readonly record: RecordEvent;
  /** Where machines reach this server, for links that are asked for over the control socket. */
  readonly publicUrl: () => string;
}

const signInBody = Type.Object(
  {
    token: Type.Optional(Type.String({ maxLength: 500, description: "an API token" })),
    link: Type.Optional(Type.String({ maxLength: 500, description: "what stands behind #link= in a link" })),
  },
  { additionalProperties: false },
);

const sessionView = ({ name, rooms, ...who }: SignedIn, expiresAt: EpochMs | undefined): object => ({
  name,
  scope: scopeHere(who),
  rooms: rooms ?? null,
  expiresAt: isoTime(expiresAt),
});

/** The one call of the API that needs no token: it takes one, or a link, and gives a cookie for it. */
export function registerSignIn(app: FastifyInstance, { signIn, failures, record }: SessionRouteDeps): void {
  // A form of another site's page could sign its reader in as somebody else; JSON it can't send without asking first.
  app.removeContentTypeParser(["application/x-www-form-urlencoded", "text/plain"]);

  /** Guesses are counted by the address that makes them, as wrong tokens are. @throws TokenInvalid, LinkInvalid, InvalidRequest */
  async function enter({ token, link }: Static<typeof signInBody>, address: string): Promise<NewSecret> {
    if ((token === undefined) === (link === undefined))
      throw InvalidRequest({ problem: "it takes either a token or a link" });
    try {
      return await (token === undefined ? signIn.byLink(link ?? "") : signIn.byToken(token));
    } catch (error) {
      if (!(error instanceof RollcallError) || error.httpStatus !== 401) throw error;
      failures.note(address);
      record({
        type: "session.refused",
        level: "warning",
        message: `${address} could not sign in to the dashboard: ${error.message}`,
        data: { address, reason: error.code },
      });
      throw error;
    }
  }

  app.post<{ Body: Static<typeof signInBody> }>(
    "/session",
    {
      schema: {
        summary: "Sign in to the dashboard: a cookie for a token or a link",
        tags: ["session"],
        body: signInBody,
      },
    },
    async (request, reply) => {
      const page = askingPage(request);
      if (page.origin !== undefined && !isOwnOrigin(page)) throw tellCrossSite(record, request, page);
      const address = request.socket.remoteAddress ?? "";
      failures.refuse(address);
      const { secret, who, expiresAt } = await enter(request.body, address);
      // Another one in this browser is over, whoever's it was.
      const before = sessionSecret(request);
      if (before !== undefined) await signIn.end(before);
      giveCookie(request, reply, secret);
      record({
        type: "session.started",
        actor: who.name,
        message: `${who.name} signed in to the dashboard by ${request.body.token === undefined ? "a link" : "token"} from ${address}`,
        data: { address, by: request.body.token === undefined ? "link" : "token", scope: who.scope },
      });
      return reply.header("cache-control", "no-store").send(sessionView(who, expiresAt));
    },
  );
}

/** For whoever is known already. */
export function registerSessions(
  app: FastifyInstance,
  { signIn, record, publicUrl }: SessionRouteDeps,
): void {
  app.get(
    "/session",
    {
      config: { scopes: readers, rooms: "free" },
      schema: { summary: "Who is asking, and what they may", tags: ["session"] },
    },
    (request, reply) => {
      void reply.header("cache-control", "no-store");
      const secret = sessionSecret(request);
      const expiresAt = secret === undefined ? request.caller.expiresAt : signIn.find(secret).expiresAt;
      return sessionView(request.caller, expiresAt);
    },
  );
  app.delete(
    "/session",
    {
      config: { scopes: readers, rooms: "free", audit: "own" },
      schema: { summary: "Sign out of the dashboard", tags: ["session"] },
    },
    async (request, reply) => {
      const secret = sessionSecret(request);
      const who = secret === undefined ? undefined : await signIn.end(secret);
      takeCookie(request, reply);
      if (who !== undefined)
        record({
          type: "session.ended",
          actor: who.name,
          message: `${who.name} signed out of the dashboard`,
          data: { address: request.socket.remoteAddress ?? "" },
        });
      return reply.code(204).send();
    },
  );
  app.post(
    "/session/links",
    {
      config: { scopes: readers, rooms: "free", audit: "own" },
      schema: {
        summary: "Make a link that signs in to the dashboard once, as the one who asks",
        tags: ["session"],
      },
    },
    async (request, reply) => {
      // Else a session that was taken from somebody would go on for ever.
      if (sessionSecret(request) !== undefined) throw SessionNotEnough({});
      const { secret, who, expiresAt } = await signIn.makeLink(request.caller);
      record({
        type: "session.link",
        actor: who.name,
        message: `${who.name} made a link that signs in to the dashboard`,
        data: { scope: who.scope, expiresAt: isoTime(expiresAt) },
      });
      return reply
        .code(201)
        .header("cache-control", "no-store")
        .send({
          // Behind #, so that no browser sends it to anybody: it is in no log and no Referer.
          url: `${addressOf(request, publicUrl)}${dashboardPath}sign-in#link=${secret}`,
          expiresAt: isoTime(expiresAt),
        });
    },
  );
}

/** The address that the caller knows us by. */
function addressOf(request: FastifyRequest, publicUrl: () => string): string {
  const { host } = request.headers;
  if (request.socket.localPort === undefined || host === undefined) return publicUrl();
  return `${askingPage(request).isEncrypted ? "https" : "http"}://${host}`;
}
