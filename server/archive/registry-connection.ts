import { Agent, type Dispatcher, request } from "undici";
import {
  basicLogin,
  type Challenge,
  parseChallenge,
  parseToken,
  tokenAddress,
} from "../registry/challenge.ts";
import { ArchiveError, damaged } from "./archive-error.ts";
import { cancelled } from "./decompress.ts";
import { collect } from "./manifest.ts";
import type { Credentials } from "./registry-auth.ts";

export interface RegistryOptions {
  /** `http://10.0.0.1:80` */
  readonly origin: string;
  /** Asked for each time, and once more after a refusal: they may be of a kind that does not last. Undefined: nobody in particular. */
  readonly credentials?: ((wasRefused: boolean) => Promise<Credentials>) | undefined;
  /** PEM of the authority that a registry's certificate is of, where the system does not know it. */
  readonly authority?: string | undefined;
  readonly signal?: AbortSignal | undefined;
  /** Before the n-th try in a row, ms that the registry asks for. */
  readonly pause?: (failure: number, askedMs: number) => Promise<void>;
}

export interface Sent {
  readonly method: "GET" | "HEAD" | "POST" | "PUT";
  /** Below the origin, or a whole address that the registry gave. */
  readonly url: string;
  readonly repository?: string;
  readonly headers?: Readonly<Record<string, string>>;
  /** Asked for anew for each try. */
  readonly body?: () => Buffer | AsyncIterable<Uint8Array>;
  /** What is an answer and not an error. */
  readonly expected: readonly number[];
}

export const mostTries = 5;
const mostRedirects = 5;
const longestPauseMs = 60_000;
const longestAnswerBytes = 16 * 1024 ** 2;
/** The registry may have to write and hash a large blob before it answers. */
const answerTimeoutMs = 300_000;
const stallMs = 60_000;
/** Requests to one registry: who asks, what is tried again, what an error means. */
export class RegistryConnection {
  readonly origin: string;
  readonly #options: RegistryOptions;
  readonly #agent: Agent;
  #challenge: Challenge | undefined;
  /** By repository; "" for what is of none. */
  readonly #tokens = new Map<string, string>();
  #learning: Promise<void> | undefined;

  constructor(options: RegistryOptions) {
    this.origin = options.origin.replace(/\/+$/, "");
    this.#options = options;
    this.#agent = new Agent({
      headersTimeout: answerTimeoutMs,
      bodyTimeout: stallMs,
      ...(options.authority === undefined ? {} : { connect: { ca: options.authority } }),
    });
  }

  close(): Promise<void> {
    return this.#agent.close();
  }

  send(sent: Sent): Promise<Dispatcher.ResponseData> {
    return this.tryAgain(() => this.once(sent));
  }

  /** What breaks on the way may go better a moment later; a registry that says no means it. */
  async tryAgain<T>(attempt: () => Promise<T>): Promise<T> {
    for (let failure = 1; ; failure++) {
      try {
        return await attempt();
      } catch (error) {
        if (this.#options.signal?.aborted) throw cancelled();
        const asked = error instanceof Busy ? error.askedMs : 0;
        if (error instanceof ArchiveError && !(error instanceof Busy)) throw error;
        if (failure >= mostTries) throw error instanceof Busy ? error : this.unreachable(error);
        await this.pause(failure, asked);
      }
    }
  }

  pause(failure: number, askedMs: number): Promise<void> {
    const ms = Math.min(Math.max(askedMs, 250 * 2 ** failure), longestPauseMs);
    return (
      this.#options.pause?.(failure, askedMs) ??
      new Promise((resume) => {
        const timer = setTimeout(resume, ms);
        this.#options.signal?.addEventListener("abort", () => (clearTimeout(timer), resume()), {
          once: true,
        });
      })
    );
  }

  /**
   * How this registry wants credentials shown, asked once: one that lets everybody read tells some only what it hides from others, such as images
   * that nobody has signed yet. It says it with a 200, too (as containers/image reads it).
   */
  async #learnChallenge(): Promise<void> {
    const { statusCode, headers, body } = await this.#request(
      new URL("/v2/", this.origin),
      { method: "GET", url: "", expected: [200, 401] },
      undefined,
    );
    await body.dump();
    if (statusCode === 200 || statusCode === 401)
      this.#challenge ??= parseChallenge(String(headers["www-authenticate"] ?? ""));
  }

  /** One request, with a second one where the registry asks who it is, and more where it leads to another place. */
  async once(sent: Sent): Promise<Dispatcher.ResponseData> {
    let url = new URL(sent.url, this.origin);
    if (this.#options.credentials)
      await (this.#learning ??= this.#learnChallenge().catch((error: unknown) => {
        // It is tried again with the request, as often as that is.
        this.#learning = undefined;
        throw error;
      }));
    for (let redirects = 0, isAsked = false; ;) {
      const isOurs = url.origin === new URL(this.origin).origin;
      const answer = await this.#request(
        url,
        sent,
        isOurs ? await this.#authorization(sent.repository ?? "", isAsked) : undefined,
      );
      const { statusCode, headers } = answer;
      if (sent.expected.includes(statusCode)) return answer;
      if (statusCode === 401 && isOurs && !isAsked) {
        isAsked = true;
        this.#challenge = parseChallenge(String(headers["www-authenticate"] ?? ""));
        this.#tokens.delete(sent.repository ?? "");
        await answer.body.dump();
        if (this.#challenge && (this.#challenge.scheme === "bearer" || this.#options.credentials)) continue;
        throw this.#unauthorized();
      }
      const location = headers["location"];
      if (
        [301, 302, 303, 307, 308].includes(statusCode) &&
        typeof location === "string" &&
        sent.method !== "PUT"
      ) {
        await answer.body.dump();
        const next = new URL(location, url);
        if (++redirects > mostRedirects || (url.protocol === "https:" && next.protocol === "http:"))
          throw this.#refusedBecause(
            `it leads from ${url.origin} to ${next.origin}`,
            "Name the registry that it leads to.",
          );
        url = next;
        continue;
      }
      throw await this.#refusal(answer, sent);
    }
  }

  #request(
    url: URL,
    { method, headers, body }: Sent,
    authorization: string | undefined,
  ): Promise<Dispatcher.ResponseData> {
    return request(url, {
      method,
      dispatcher: this.#agent,
      headers: { ...headers, ...(authorization === undefined ? {} : { authorization }) },
      body: (body?.() ?? null) as Buffer | null,
      ...(this.#options.signal === undefined ? {} : { signal: this.#options.signal }),
    });
  }

  async #authorization(repository: string, wasRefused: boolean): Promise<string | undefined> {
    const { credentials } = this.#options;
    const login = await credentials?.(wasRefused);
    const basic = login && basicLogin(login.user, login.password);
    if (this.#challenge?.scheme !== "bearer") return this.#challenge && basic;
    const known = this.#tokens.get(repository);
    if (known !== undefined) return known;
    const realm = tokenAddress(
      this.#challenge,
      repository === "" ? undefined : `repository:${repository}:pull,push`,
    );
    if (realm.protocol !== "https:" && realm.origin !== this.origin && credentials)
      throw this.#refusedBecause(
        `it wants the password sent to ${realm.origin}, which is not encrypted`,
        "Look at the registry's configuration (the realm of its token service).",
      );
    const answer = await this.#request(realm, { method: "GET", url: "", expected: [200] }, basic);
    if (answer.statusCode !== 200) {
      await answer.body.dump();
      throw this.#unauthorized();
    }
    const given = parseToken(await collectBounded(answer.body, longestAnswerBytes, "the token"));
    if (!given)
      throw this.#refusedBecause(
        `its token server at ${realm.origin} gives no token`,
        "Look at the registry's configuration (the realm of its token service).",
      );
    const header = `Bearer ${given.token}`;
    this.#tokens.set(repository, header);
    return header;
  }

  async json(body: Dispatcher.ResponseData["body"], what: string): Promise<Record<string, unknown>> {
    const text = (await collectBounded(body, longestAnswerBytes, what)).toString("utf8");
    try {
      return JSON.parse(text) as Record<string, unknown>;
    } catch {
      return {};
    }
  }

  async #refusal(
    { statusCode, headers, body }: Dispatcher.ResponseData,
    { method, url }: Sent,
  ): Promise<ArchiveError> {
    const { errors } = await this.json(body, "the answer").catch(() => ({ errors: [] }));
    const first = (Array.isArray(errors) ? errors[0] : undefined) as
      { code?: string; message?: string } | undefined;
    const reason = first ? `${first.code ?? ""} ${first.message ?? ""}`.trim().slice(0, 500) : "";
    const problem = `${method} ${new URL(url, this.origin).pathname}: ${statusCode}${reason === "" ? "" : ` ${reason}`}`;
    if (statusCode === 401) return this.#unauthorized(problem);
    if (statusCode === 403)
      return this.#refusedBecause(
        problem,
        "The registry says why. Where it minds who asks, name another token: boot token create NAME --scope imagemaker, then --token or ROLLCALL_TOKEN.",
      );
    if (statusCode === 404)
      return new ArchiveError(
        "TRANSFER_NOT_FOUND",
        `${this.origin}: ${problem}`,
        "Look at the name of the image and the address of the registry.",
      );
    const isBusy = statusCode === 429 || (statusCode >= 500 && statusCode !== 501 && statusCode !== 507);
    if (!isBusy)
      return this.#refusedBecause(
        problem,
        statusCode === 507
          ? "The registry's disk is full: free space there, then give the same command again."
          : "The registry says why; its log has more.",
      );
    const seconds = Number(headers["retry-after"] ?? 0);
    return new Busy(`${this.origin}: ${problem}`, Number.isFinite(seconds) ? seconds * 1000 : 0);
  }

  #refusedBecause(problem: string, advice: string): ArchiveError {
    return new ArchiveError("TRANSFER_REFUSED", `${this.origin}: ${problem}`, advice);
  }

  #unauthorized(problem = "it wants to know who this is"): ArchiveError {
    return new ArchiveError(
      "TRANSFER_UNAUTHORIZED",
      `${this.origin}: ${problem}`,
      "Name a token with the scope imagemaker (boot token create NAME --scope imagemaker) with --token or ROLLCALL_TOKEN; for another registry log in by `podman login` or `skopeo login` first.",
    );
  }

  unreachable(error: unknown): ArchiveError {
    const { code, message } = error as NodeJS.ErrnoException;
    const isTls = /SSL|TLS|CERT|^EPROTO|^ERR_TLS/.test(code ?? "") || /certificate/i.test(message);
    return new ArchiveError(
      "TRANSFER_UNREACHABLE",
      `${this.origin}: ${code ?? ""} ${message}`.trim().slice(0, 400),
      isTls
        ? "Does it speak plain HTTP? Then write --registry http://HOST:PORT. Is its certificate of an authority of its own? Then name it: --registry-ca FILE."
        : "Look whether the registry runs there, and at firewalls between. What was sent is kept: the same command goes on where this one ended.",
      { cause: error },
    );
  }
}

/** It may take the same request later. */
class Busy extends ArchiveError {
  readonly askedMs: number;
  constructor(message: string, askedMs: number) {
    super(
      "TRANSFER_REFUSED",
      message,
      "The registry is busy or in trouble: look at its log, and try again later.",
    );
    this.askedMs = askedMs;
  }
}

export async function collectBounded(
  octets: AsyncIterable<Uint8Array>,
  longest: number,
  what: string,
): Promise<Buffer> {
  async function* bounded() {
    let bytes = 0;
    for await (const chunk of octets) {
      bytes += chunk.length;
      if (bytes > longest) throw damaged(what, `it has more than ${longest} octets`);
      yield chunk;
    }
  }
  return collect(bounded());
}
