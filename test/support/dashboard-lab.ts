import { type AskOptions, plain, type TestServer } from "./http-fixture.ts";

/** What the dashboard's own pages send with what changes something. */
export const ownRequest = (server: TestServer): Record<string, string> => ({
  origin: server.url,
  "x-rollcall-request": "dashboard",
});

/** The cookie of an answer, as a browser would send it back; undefined: it gives none. */
export function cookieOf(headers: Readonly<Record<string, unknown>>): string | undefined {
  const [given] = [headers["set-cookie"]].flat();
  return typeof given === "string" ? given.split(";")[0] : undefined;
}

/** A browser that signs in to the server with a token or a link. */
export async function signIn(server: TestServer, how: { token: string } | { link: string }) {
  const answer = await server.ask("/api/v1/session", { method: "POST", body: how });
  const cookie = cookieOf(answer.headers) ?? "";
  return {
    answer,
    cookie,
    /** Asks as the dashboard's pages do. */
    ask: (path: string, options: AskOptions = {}) =>
      server.ask(`/api/v1${path}`, {
        ...options,
        headers: { cookie, ...ownRequest(server), ...options.headers },
      }),
  };
}

export async function makeToken(server: TestServer, name: string, more: object): Promise<string> {
  const { json, text } = await server.api("POST", "/tokens", { name, ...more });
  if (!json["token"]) throw new Error(text);
  return plain(json["token"]);
}

/** @returns what stands behind #link= */
export async function makeLink(server: TestServer, token = server.adminToken): Promise<string> {
  const { json, text } = await server.api("POST", "/session/links", {}, token);
  const [, link] = /#link=([a-z2-7]+)$/.exec(plain(json["url"])) ?? [];
  if (link === undefined) throw new Error(text);
  return link;
}
