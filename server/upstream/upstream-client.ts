import { readFile } from "node:fs/promises";
import { LRUCache } from "lru-cache";
import { type Dispatcher, request } from "undici";
import type { Clock, DurationMs } from "../domain/capabilities.ts";
import {
  basicLogin,
  type Challenge,
  parseChallenge,
  parseToken,
  tokenAddress,
} from "../registry/challenge.ts";
import { OciError } from "../registry/oci-error.ts";
import { type Demand, SingleFlight, thisServer } from "./audience.ts";
import { createReachingAgent } from "./reach.ts";
import { type SlotLimits, Slots } from "./slots.ts";
import type { Place, Upstream } from "./upstream.ts";
import { faultOf, UpstreamFault } from "./upstream-fault.ts";

export interface UpstreamRequest {
  readonly method: "GET" | "HEAD";
  /** Behind the repository's name: `/manifests/latest`. */
  readonly path: string;
  readonly headers?: Readonly<Record<string, string>>;
  /** What stands before the repository's name; `/v2` unless told. */
  readonly api?: string;
  /** Large content has slots of its own, so that manifests do not wait behind it, and all the time that it takes. */
  readonly kind: "small" | "large";
  /** For whom this is. */
  readonly demand: Demand;
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
  /** For logins and redirects together, and a small answer's body. */
  readonly smallMs: DurationMs;
}
export const usualTimes: UpstreamTimes = {
  connectMs: 5000,
  answerMs: 15_000,
  silenceMs: 30_000,
  smallMs: 60_000,
};

export interface UpstreamClientDeps {
  readonly clock: Clock;
  /** Addresses that this machine has now. */
  readonly ownAddresses: () => readonly string[];
  readonly times?: UpstreamTimes;
}

const mostRedirects = 5;
/** Requests of one upstream at once, and how many wait for that. A client fetches up to six blobs at once (containers/image). */
export const slotLimits: SlotLimits = {
  atOnce: 16,
  waiting: 1000,
  perAddress: { atOnce: 6, waiting: 100 },
};
const longestTokenBytes = 64 * 1024;
const rememberedTokens = 1000;
/** Life of a token whose server does not say; the protocol has 60 s then. */
const usualTokenLifeS = 60;
/** A token is not used in the last part of its life, ms: it must be valid when it gets there. */
const tokenMarginMs: DurationMs = 10_000;
const longestRetryAfterS = 60;

/** One request with all that follows from it. */
interface Errand {
  readonly agent: Dispatcher;
  readonly method: "GET" | "HEAD";
  readonly headers: Readonly<Record<string, string>>;
  /** It has taken too long. */
  readonly signal: AbortSignal;
}

/** Speaks to one upstream: logins, redirects, a limit of requests. What goes wrong is an OciError that a client may be told. */
export function createUpstreamClient(
  upstream: Upstream,
  { clock, ownAddresses, times = usualTimes }: UpstreamClientDeps,
) {
  const own = new URL(upstream.url);
  const agentFor = (url: string) =>
    createReachingAgent(url, {
      ownAddresses,
      allowH2: false,
      connections: 2 * slotLimits.atOnce,
      connect: { timeout: times.connectMs, rejectUnauthorized: !upstream.isInsecure, allowH2: false },
      headersTimeout: times.answerMs,
      bodyTimeout: times.silenceMs,
    });
  const agent = agentFor(upstream.url);
  const lookasideAgent = agentFor(upstream.lookaside ?? upstream.url);
  const slots = { small: new Slots(slotLimits), large: new Slots(slotLimits) };
  /** Value of Authorization by repository, and until when it is used. */
  const logins = new LRUCache<string, { readonly value: string; readonly until: number }>({
    max: rememberedTokens,
  });
  const flights = new SingleFlight<string | undefined>();

  /** @returns a signal, and what ends it */
  function deadline(): { readonly signal: AbortSignal; readonly cancel: () => void } {
    const controller = new AbortController();
    const late = new UpstreamFault(upstream, `has not finished its answer after ${times.smallMs / 1000} s`, {
      status: 504,
    });
    return { signal: controller.signal, cancel: clock.after(times.smallMs, () => controller.abort(late)) };
  }

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
    { agent: dispatcher, method, headers, signal }: Errand,
    login: string | undefined,
  ): Promise<Dispatcher.ResponseData> {
    let at = url;
    for (let left = mostRedirects; ; left -= 1) {
      const isOwn = at.origin === url.origin;
      const answer = await request(at, {
        method,
        dispatcher,
        signal,
        headers: {
          "user-agent": "rollcall",
          // A coding on the way would change the octets that the digest is of.
          "accept-encoding": "identity",
          ...headers,
          ...(isOwn && login !== undefined && { authorization: login }),
        },
      });
      // What undici tells of a body that was given up is told to nobody else.
      answer.body.on("error", () => undefined);
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
    return basicLogin(upstream.username, await password());
  }

  /** For all who wait for the same login, so with a time limit of its own. @returns undefined when we have nothing to show */
  async function logIn(name: string, challenge: Challenge): Promise<string | undefined> {
    if (challenge.scheme === "basic") return basic();
    refuseDowngrade(challenge.realm, "names a token server at");
    const address = tokenAddress(challenge, `repository:${name}:pull`);
    const credentials = await basic();
    const { signal, cancel } = deadline();
    try {
      const errand: Errand = { agent, method: "GET", headers: { accept: "application/json" }, signal };
      const answer = await follow(address, errand, credentials);
      const octets = await readAll(upstream, answer.body, longestTokenBytes);
      if (answer.statusCode === 401 || answer.statusCode === 403) return undefined;
      if (answer.statusCode !== 200) throw refusalOf(upstream, answer.statusCode, answer.headers);
      const { token, lifeS } = parseToken(octets) ?? {};
      if (token === undefined) throw new UpstreamFault(upstream, "gives no token at its token server");
      const value = `Bearer ${token}`;
      const until = clock.monotonicMs() + (lifeS ?? usualTokenLifeS) * 1000 - tokenMarginMs;
      logins.set(name, { value, until });
      return value;
    } finally {
      cancel();
    }
  }

  function knownLogin(name: string): string | undefined {
    const known = logins.get(name);
    return known && known.until > clock.monotonicMs() ? known.value : undefined;
  }

  async function ask(name: string, url: URL, errand: Errand): Promise<Dispatcher.ResponseData> {
    const answer = await follow(url, errand, knownLogin(name));
    if (answer.statusCode !== 401) return answer;
    // Before anything else can fail: a body that nobody reads keeps its connection.
    await answer.body.dump();
    const said = answer.headers["www-authenticate"];
    const challenge = parseChallenge((Array.isArray(said) ? said : [said ?? ""]).join(", "));
    logins.delete(name);
    const login = challenge && (await flights.run(name, thisServer, () => logIn(name, challenge)));
    if (login === undefined) throw refusalOf(upstream, answer.statusCode, answer.headers);
    return follow(url, errand, login);
  }

  return {
    upstream,

    /**
     * Any answer that is none of a fault.
     * @throws UpstreamFault when it can't be reached or has a fault of its own; OciError DENIED when it does not let us in; NoSlot, Abandoned
     */
    async request({ name }: Pick<Place, "name">, asked: UpstreamRequest): Promise<UpstreamAnswer> {
      const leave = await slots[asked.kind].take(asked.demand);
      const { signal, cancel } = deadline();
      const release = () => {
        cancel();
        leave();
      };
      try {
        const url = new URL(`${own.origin}${asked.api ?? "/v2"}/${name}${asked.path}`);
        const { method, headers = {} } = asked;
        const answer = await ask(name, url, { agent, method, headers, signal });
        const { statusCode: status, body } = answer;
        if (status >= 400 && status !== 404 && status !== 416) {
          await body.dump({ limit: longestTokenBytes });
          throw refusalOf(upstream, status, answer.headers);
        }
        if (asked.kind === "large") cancel();
        return {
          status,
          body,
          header: (wanted) => {
            const value = answer.headers[wanted];
            return Array.isArray(value) ? value[0] : value;
          },
          release() {
            release();
            body.destroy();
          },
        };
      } catch (error) {
        release();
        throw faultOf(upstream, error);
      }
    },

    /** @returns whether it gives signatures by the extension of containers/image @throws UpstreamFault, NoSlot */
    async hasSignatures(demand: Demand): Promise<boolean> {
      const leave = await slots.small.take(demand);
      const { signal, cancel } = deadline();
      try {
        const errand: Errand = { agent, method: "GET", headers: {}, signal };
        const answer = await follow(new URL(`${own.origin}/v2/`), errand, undefined);
        await answer.body.dump({ limit: longestTokenBytes });
        if (answer.statusCode >= 500) throw refusalOf(upstream, answer.statusCode, answer.headers);
        return answer.headers["x-registry-supports-signatures"] === "1";
      } catch (error) {
        throw faultOf(upstream, error);
      } finally {
        cancel();
        leave();
      }
    },

    /** For what lies beside the registry: signatures. No login goes along. @returns undefined for 404 @throws UpstreamFault, NoSlot */
    async fetchBeside(url: URL, longestBytes: number, demand: Demand): Promise<Buffer | undefined> {
      const leave = await slots.small.take(demand);
      const { signal, cancel } = deadline();
      try {
        const errand: Errand = { agent: lookasideAgent, method: "GET", headers: {}, signal };
        const answer = await follow(url, errand, undefined);
        const octets = await readAll(upstream, answer.body, longestBytes);
        if (answer.statusCode === 404) return undefined;
        if (answer.statusCode !== 200) throw refusalOf(upstream, answer.statusCode, answer.headers);
        return octets;
      } catch (error) {
        throw faultOf(upstream, error);
      } finally {
        cancel();
        leave();
      }
    },

    close: async (): Promise<void> => {
      await Promise.all([agent.destroy(), lookasideAgent.destroy()]);
    },
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
