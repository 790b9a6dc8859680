import cookies from "@fastify/cookie";
import type { FastifyInstance, FastifyReply, FastifyRequest } from "fastify";
import { CrossSiteRequest } from "../../domain/error-catalogue.ts";
import type { RecordEvent } from "../../domain/event.ts";
import { type AskingPage, mayUseCookie } from "./same-origin.ts";
import type { SignedIn, SignIn } from "./sign-in.ts";

/**
 * `__Host-` (RFC 6265bis s.4.1.3.2) keeps others from planting one, but browsers take such names over TLS alone, and most servers have
 * none. Two names also keep a cookie of the one port from hiding that of the other: ports share their cookies.
 */
const cookieNameOf = (request: FastifyRequest): string =>
  isEncrypted(request) ? "__Host-rollcall_session" : "rollcall_session";

/** Reads and writes cookies in this scope; before whatever looks at them. */
export async function acceptCookies(app: FastifyInstance): Promise<void> {
  await app.register(cookies);
}

/** The session's secret; undefined: the request has none, or shows a token, which goes before it. */
export function sessionSecret(request: FastifyRequest): string | undefined {
  return request.headers.authorization === undefined ? request.cookies[cookieNameOf(request)] : undefined;
}

export function giveCookie(request: FastifyRequest, reply: FastifyReply, secret: string): void {
  void reply.setCookie(cookieNameOf(request), secret, attributesFor(request));
}

export function takeCookie(request: FastifyRequest, reply: FastifyReply): void {
  void reply.clearCookie(cookieNameOf(request), attributesFor(request));
}

/** Without Max-Age it goes with the browser; how long it is good for is the server's to say. */
const attributesFor = (request: FastifyRequest) =>
  ({ path: "/", httpOnly: true, sameSite: "strict", secure: isEncrypted(request) }) as const;

const isEncrypted = (request: FastifyRequest): boolean => "encrypted" in request.raw.socket;

export function askingPage(request: FastifyRequest): AskingPage {
  const { method, headers } = request;
  const requestedBy = headers["x-rollcall-request"];
  return {
    method,
    origin: headers.origin,
    host: headers.host,
    isEncrypted: isEncrypted(request),
    requestedBy: typeof requestedBy === "string" ? requestedBy : undefined,
  };
}

/** Who may be known by a cookie. */
export interface CookieSessions {
  /** @returns undefined when the request has no cookie of ours @throws SessionEnded, CrossSiteRequest */
  callerOf(request: FastifyRequest): SignedIn | undefined;
}

export function createCookieSessions(signIn: Pick<SignIn, "find">, record: RecordEvent): CookieSessions {
  return {
    callerOf(request) {
      const secret = sessionSecret(request);
      if (secret === undefined) return undefined;
      const { who } = signIn.find(secret);
      const page = askingPage(request);
      if (mayUseCookie(page)) return who;
      throw tellCrossSite(record, request, page, who.name);
    },
  };
}

/** Records it. @returns the refusal */
export function tellCrossSite(
  record: RecordEvent,
  request: FastifyRequest,
  { origin }: AskingPage,
  whose?: string,
): Error {
  const refusal = CrossSiteRequest({ origin });
  const address = request.socket.remoteAddress ?? "";
  record({
    type: "session.refused",
    level: "warning",
    message: `${address}: ${refusal.message}`,
    data: { address, reason: refusal.code, origin: origin?.slice(0, 200), session: whose },
  });
  return refusal;
}
