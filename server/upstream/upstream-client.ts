import { readFile } from "node:fs/promises";
import { LRUCache } from "lru-cache";
import { Agent, type Dispatcher, request } from "undici";
import type { Clock, DurationMs } from "../domain/capabilities.ts";
import { OciError } from "../registry/oci-error.ts";
import { type Challenge, parseChallenge } from "./challenge.ts";
import { SingleFlight, Slots } from "./slots.ts";
import type { Place, Upstream } from "./upstream.ts";
import { faultOf, UpstreamFault } from "./upstream-fault.ts";

export interface UpstreamRequest {
  readonly method: "GET" | "HEAD";
  /** Behind the repository's name: `/manifests/latest`. */
  readonly path: string;
  readonly headers?: Readonly<Record<string, string>>;
  /** What stands before the repository's name; `/v2` unless told. */
  readonly api?: string;
  /** Large content has slots of its own, so that manifests do not wait behind it. */
  readonly kind: "small" | "large";
}

export interface UpstreamAnswer {
  readonly status: number;
  header(name: string): string | undefined;
  readonly body: Dispatcher.ResponseData["body"];
  /** The body is read, or not wanted any more. */
  release(): void;
}

/** How patient we are, ms. */
export interface UpstreamTimes {
  readonly connectMs: DurationMs;
  /** Till the head of an answer. */
  readonly answerMs: DurationMs;
  /** Between two pieces of a body. */
  readonly silenceMs: DurationMs;
}
export const usualTimes: UpstreamTimes = { connectMs: 5000, answerMs: 15_000, silenceMs: 30_000 };

const mostRedirects = 5;
/** Requests of one upstream at once, and how many wait for that. */
const smallSlots = { atOnce: 16, waiting: 2000 };
const largeSlots = { atOnce: 16, waiting: 2000 };
const longestTokenBytes = 64 * 1024;
const rememberedTokens = 1000;
/** Life of a token whose server does not say; the protocol has 60 s then. */
const usualTokenLifeS = 60;
/** A token is not used in the last part of its life, ms: it must be valid when it gets there. */
const tokenMarginMs: DurationMs = 10_000;
const longestRetryAfterS = 60;

/** Speaks to one upstream: logins, redirects, a limit of requests. What goes wrong is an OciError that a client may be told. */
export function createUpstreamClient(upstream: Upstream, clock: Clock, times: UpstreamTimes = usualTimes) {
  const own = new URL(upstream.url);
  const agent = new Agent({
    allowH2: false,
    connections: smallSlots.atOnce + largeSlots.atOnce,
    connect: { timeout: times.connectMs, rejectUnauthorized: !upstream.isInsecure },
    headersTimeout: times.answerMs,
    bodyTimeout: times.silenceMs,
  });
  const slots = {
    small: new Slots(smallSlots.atOnce, smallSlots.waiting),
    large: new Slots(largeSlots.atOnce, largeSlots.waiting),
  };
  /** Value of Authorization by repository, and until when it is used. */
  const logins = new LRUCache<string, { readonly value: string; readonly until: number }>({
    max: rememberedTokens,
  });
  const flights = new SingleFlight<string | undefined>();

  const send = (url: URL, method: "GET" | "HEAD", headers: Record<string, string>) =>
    request(url, {
      method,
      dispatcher: agent,
      // A coding on the way would change the octets that the digest is of.
      headers: { "user-agent": "rollcall", "accept-encoding": "identity", ...headers },
    });

  /** An upstream behind TLS leads nowhere else. @throws UpstreamFault */
  function refuseDowngrade(url: URL, what: string): void {
    const isAllowed =
      url.protocol === "https:" ||
      (url.protocol === "http:" && (own.protocol === "http:" || upstream.isInsecure));
    if (!isAllowed)
      throw new UpstreamFault(upstream, `${what} ${url.protocol}//${url.host}, which is no TLS`, {
        isFinal: true,
      });
  }

  /** Follows redirects; the login stays with the host that it is for. */
  async function follow(
    url: URL,
    method: "GET" | "HEAD",
    headers: Record<string, string>,
    login: string | undefined,
  ): Promise<Dispatcher.ResponseData> {
    let at = url;
    for (let left = mostRedirects; ; left -= 1) {
      const isOwn = at.origin === url.origin;
      const answer = await send(at, method, {
        ...headers,
        ...(isOwn && login !== undefined && { authorization: login }),
      });
      const { location } = answer.headers;
      if (answer.statusCode < 300 || answer.statusCode >= 400 || typeof location !== "string") return answer;
      await answer.body.dump();
      if (left === 0)
        throw new UpstreamFault(upstream, `redirects more than ${mostRedirects} times`, { isFinal: true });
      const next = URL.parse(location, at.href);
      if (!next) throw new UpstreamFault(upstream, "redirects to what is no address", { isFinal: true });
      refuseDowngrade(next, "redirects to");
      at = next;
    }
  }

  async function password(): Promise<string> {
    if (upstream.passwordFile === undefined) return "";
    try {
      return (await readFile(upstream.passwordFile, "utf8")).replace(/\r?\n$/, "");
    } catch (error) {
      const { code, message } = error as NodeJS.ErrnoException;
      throw new UpstreamFault(
        upstream,
        `needs a password, and ${upstream.passwordFile} can't be read (${code ?? message})`,
      );
    }
  }

  async function basic(): Promise<string | undefined> {
    if (upstream.username === undefined) return undefined;
    return `Basic ${Buffer.from(`${upstream.username}:${await password()}`).toString("base64")}`;
  }

  /** @returns undefined when we have nothing to show */
  async function logIn(name: string, challenge: Challenge): Promise<string | undefined> {
    if (challenge.scheme === "basic") return basic();
    const realm = URL.parse(challenge.realm);
    if (!realm) throw new UpstreamFault(upstream, "names a token server that is no address");
    refuseDowngrade(realm, "names a token server at");
    if (challenge.service !== undefined) realm.searchParams.set("service", challenge.service);
    realm.searchParams.set("scope", `repository:${name}:pull`);
    const credentials = await basic();
    const answer = await follow(realm, "GET", { accept: "application/json" }, credentials);
    const octets = await readAll(upstream, answer.body, longestTokenBytes);
    if (answer.statusCode === 401 || answer.statusCode === 403) return undefined;
    if (answer.statusCode !== 200) throw refusalOf(upstream, answer.statusCode, answer.headers);
    const { token, lifeS } = parseToken(octets) ?? {};
    if (token === undefined) throw new UpstreamFault(upstream, "gives no token at its token server");
    const value = `Bearer ${token}`;
    const until = clock.monotonicMs() + (lifeS ?? usualTokenLifeS) * 1000 - tokenMarginMs;
    logins.set(name, { value, until });
    return value;
  }

  function knownLogin(name: string): string | undefined {
    const known = logins.get(name);
    return known && known.until > clock.monotonicMs() ? known.value : undefined;
  }

  async function ask(
    name: string,
    url: URL,
    { method, headers = {} }: UpstreamRequest,
  ): Promise<Dispatcher.ResponseData> {
    const login = knownLogin(name);
    const answer = await follow(url, method, headers, login);
    if (answer.statusCode !== 401) return answer;
    const said = answer.headers["www-authenticate"];
    const challenge = parseChallenge((Array.isArray(said) ? said : [said ?? ""]).join(", "));
    if (!challenge) return answer;
    logins.delete(name);
    const next = await flights.run(name, () => logIn(name, challenge));
    if (next === undefined) return answer;
    await answer.body.dump();
    return follow(url, method, headers, next);
  }

  return {
    upstream,

    /**
     * Any answer that is none of a fault.
     * @throws UpstreamFault when it can't be reached or has a fault of its own; OciError DENIED when it does not let us in
     */
    async request({ name }: Pick<Place, "name">, asked: UpstreamRequest): Promise<UpstreamAnswer> {
      const leave = await slots[asked.kind].take();
      try {
        const answer = await ask(
          name,
          new URL(`${own.origin}${asked.api ?? "/v2"}/${name}${asked.path}`),
          asked,
        );
        const { statusCode: status, headers, body } = answer;
        // What undici tells of a body that was given up is told to nobody else.
        body.on("error", () => undefined);
        if (status >= 400 && status !== 404 && status !== 416) {
          await body.dump({ limit: longestTokenBytes });
          throw refusalOf(upstream, status, headers);
        }
        return {
          status,
          body,
          header: (wanted) => {
            const value = headers[wanted];
            return Array.isArray(value) ? value[0] : value;
          },
          release() {
            leave();
            body.destroy();
          },
        };
      } catch (error) {
        leave();
        throw faultOf(upstream, error);
      }
    },

    /** For what lies beside the registry: signatures. No login goes along. @returns undefined for 404 @throws UpstreamFault */
    async fetchBeside(url: URL, longestBytes: number): Promise<Buffer | undefined> {
      const leave = await slots.small.take();
      try {
        const answer = await follow(url, "GET", {}, undefined);
        const octets = await readAll(upstream, answer.body, longestBytes);
        if (answer.statusCode === 404) return undefined;
        if (answer.statusCode !== 200) throw refusalOf(upstream, answer.statusCode, answer.headers);
        return octets;
      } catch (error) {
        throw faultOf(upstream, error);
      } finally {
        leave();
      }
    },

    close: (): Promise<void> => agent.destroy(),
  };
}
export type UpstreamClient = ReturnType<typeof createUpstreamClient>;

/** A whole body. @throws UpstreamFault when it is longer */
export async function readAll(
  upstream: Upstream,
  body: AsyncIterable<Uint8Array>,
  longestBytes: number,
): Promise<Buffer> {
  const chunks: Uint8Array[] = [];
  let length = 0;
  for await (const chunk of body) {
    length += chunk.length;
    if (length > longestBytes)
      throw new UpstreamFault(upstream, `sends more than the ${longestBytes} octets that this may have`, {
        isFinal: true,
      });
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}

function refusalOf(
  upstream: Upstream,
  status: number,
  headers: Dispatcher.ResponseData["headers"],
): OciError {
  if (status === 401 || status === 403)
    return new OciError(
      "DENIED",
      `the upstream registry ${upstream.url} does not let this server read there (${status}): there is no such repository, or \`username\` and \`passwordFile\` of its entry in registry.upstreams are missing or wrong`,
    );
  const retryAfter = Number(headers["retry-after"]);
  const retryAfterSeconds = Math.min(retryAfter > 0 ? retryAfter : 5, longestRetryAfterS);
  return status === 429
    ? new UpstreamFault(upstream, "has had enough requests of us for now (429)", {
        status,
        retryAfterSeconds,
      })
    : new UpstreamFault(upstream, `answers with ${status}`, { isFinal: status < 500 });
}

function parseToken(octets: Buffer): { token: string; lifeS: number | undefined } | undefined {
  try {
    const answer = JSON.parse(octets.toString()) as Record<string, unknown>;
    const token = answer["token"] ?? answer["access_token"];
    const lifeS = answer["expires_in"];
    if (typeof token !== "string" || !/^[\x21-\x7e]+$/.test(token)) return undefined;
    return { token, lifeS: typeof lifeS === "number" && lifeS > 0 ? lifeS : undefined };
  } catch {
    return undefined;
  }
}
