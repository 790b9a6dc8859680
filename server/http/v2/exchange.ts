import type { IncomingMessage, ServerResponse } from "node:http";
import { longestManifestBytes } from "../../registry/manifest.ts";
import { OciError } from "../../registry/oci-error.ts";
import { TooManyFailures } from "../../domain/error-catalogue.ts";
import { RollcallError } from "../../domain/errors.ts";
import type { Clock, Log } from "../../domain/capabilities.ts";
import type { Asker } from "../../upstream/audience.ts";
import type { Target } from "./target.ts";

/** One request and its answer. */
export interface Exchange {
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
  readonly target: Target;
  readonly query: URLSearchParams;
  /** The client waits for a word before it sends its body. */
  readonly expectsContinue: boolean;
  readonly isTls: boolean;
  /** Whoever reads has to log in: no cache that several share may keep an answer. */
  readonly needsLogin: boolean;
}

/** A client that sends its body without a single octet for so long is gone, ms. */
const silenceMs = 60_000;
/** A refused body is read on for so long, ms, so that the client gets to the answer: a connection that ends before takes it along. */
const drainMs = 10_000;

/** Old clients look for it. */
const versionHeader = { "docker-distribution-api-version": "registry/2.0" };

export const isHead = ({ request }: Exchange): boolean => request.method === "HEAD";

/** Who waits for an answer until it was sent or the connection is gone. */
export function askerOf({ request, response }: Pick<Exchange, "request" | "response">): Asker {
  return {
    address: request.socket.remoteAddress ?? "",
    whenGone(tell) {
      if (response.closed) tell();
      else response.once("close", tell);
      return () => void response.off("close", tell);
    },
  };
}

/** Octets that the client announces; undefined: it does not know. */
export function announcedLength({ headers }: IncomingMessage): number | undefined {
  const length = headers["content-length"];
  return length === undefined ? undefined : Number(length);
}

/** As much of an exchange as a body needs. */
type Receiving = Pick<Exchange, "request" | "response" | "expectsContinue">;

/** The body, piece by piece; only silence ends it. A client that waits for a word sends it when it is read. */
function bodyOf(exchange: Receiving): AsyncIterable<Buffer> {
  return {
    [Symbol.asyncIterator]() {
      begin(exchange);
      return exchange.request[Symbol.asyncIterator]() as AsyncIterator<Buffer>;
    },
  };
}

function begin({ request, response, expectsContinue }: Receiving): void {
  if (expectsContinue) response.writeContinue();
  const { socket } = request;
  socket.setTimeout(silenceMs);
  // To bring a large body to the disk may take longer than that.
  request.once("end", () => socket.setTimeout(0));
}

/**
 * The same in batches of about `batchBytes()`, as it flows: a stream that is asked for each piece stops its socket after every 64 KiB, starts
 * it again, and copies what came together. It gathers the next batch once it is asked for it, and the client waits meanwhile. Who leaves
 * it before its end calls `return`; the connection stays.
 */
export function batchesOf(exchange: Receiving, batchBytes: () => number): AsyncIterable<Buffer[]> {
  return {
    [Symbol.asyncIterator]() {
      begin(exchange);
      return gather(exchange.request, batchBytes);
    },
  };
}

function gather(request: IncomingMessage, batchBytes: () => number): AsyncIterator<Buffer[], undefined> {
  let batch: Buffer[] = [];
  let length = 0;
  let limit = 0;
  const gone = () => new Error("the client went before the end of its content");
  let state: "flows" | "ended" | Error = request.destroyed ? gone() : "flows";
  let wake = () => {};
  const end = (how: "ended" | Error) => {
    if (state === "flows") state = how;
    wake();
  };
  const take = (chunk: Buffer): void => {
    batch.push(chunk);
    length += chunk.length;
    if (length < limit) return;
    request.pause();
    wake();
  };
  const ended = () => end("ended");
  const failed = (error: Error) => end(error);
  const closed = () => end(gone());
  const detach = () => {
    request.off("data", take).off("end", ended).off("close", closed);
    request.pause();
  };
  request.on("data", take).on("end", ended).on("error", failed).on("close", closed).pause();
  return {
    async next() {
      limit = batchBytes();
      if (length < limit && state === "flows") {
        const woken = new Promise<void>((resolve) => (wake = resolve));
        request.resume();
        await woken;
      }
      if (length > 0) {
        const value = batch;
        [batch, length] = [[], 0];
        return { done: false, value };
      }
      if (state instanceof Error) throw state;
      return { done: true, value: undefined };
    },
    async return() {
      detach();
      return { done: true, value: undefined };
    },
  };
}

interface SmallBody {
  readonly what: string;
  /** Octets. */
  readonly limit: number;
}

/** The whole of a manifest, or of what is shorter. @throws what `tooLarge` makes: OciError with status 413 */
export async function smallBodyOf(
  exchange: Pick<Exchange, "request" | "response" | "expectsContinue">,
  { what, limit }: SmallBody = { what: "a manifest", limit: longestManifestBytes },
  tooLarge: () => Error = () =>
    new OciError("SIZE_INVALID", `${what} may have ${limit} octets, and this one has more`, { status: 413 }),
): Promise<Buffer> {
  if ((announcedLength(exchange.request) ?? 0) > limit) throw tooLarge();
  const chunks: Buffer[] = [];
  let length = 0;
  const body = bodyOf(exchange)[Symbol.asyncIterator]();
  for (let next = await body.next(); !next.done; next = await body.next()) {
    const chunk = next.value;
    length += chunk.length;
    if (length > limit) throw tooLarge();
    chunks.push(chunk);
  }
  return chunks.length === 1 && chunks[0] ? chunks[0] : Buffer.concat(chunks);
}

/** The header Cache-Control (RFC 9111, section 5.2.2). */
export function cacheControl(
  { needsLogin }: Pick<Exchange, "needsLogin">,
  of: {
    /** What is there today is there tomorrow. */
    readonly isFinal?: boolean;
    /** Others would not see it. */
    readonly isPrivate?: boolean;
  } = {},
): string {
  const isPrivate = needsLogin || (of.isPrivate ?? false);
  if (of.isFinal ?? false) return `${isPrivate ? "private" : "public"}, max-age=31536000, immutable`;
  return isPrivate ? "private, no-cache" : "no-cache";
}

export function sendJson(
  exchange: Exchange,
  body: string,
  headers: Readonly<Record<string, string>> = {},
): void {
  exchange.response.writeHead(200, {
    "content-type": "application/json",
    "content-length": Buffer.byteLength(body),
    "cache-control": cacheControl(exchange),
    ...versionHeader,
    ...headers,
  });
  exchange.response.end(isHead(exchange) ? undefined : body);
}

/** An answer without a body. */
export function sendEmpty(
  { response }: Exchange,
  status: number,
  headers: Readonly<Record<string, string | number>> = {},
): void {
  const length = status === 204 ? {} : { "content-length": 0 };
  response.writeHead(status, { ...length, ...versionHeader, ...headers }).end();
}

/** What went wrong, in the form of the specification; what is our own fault is logged and not told in detail. */
export function sendError(
  exchange: Exchange,
  error: unknown,
  { log, clock }: { readonly log: Pick<Log, "error">; readonly clock: Pick<Clock, "after"> },
): void {
  const { request, response } = exchange;
  if (response.destroyed || request.socket.destroyed) return;
  if (response.headersSent) return void response.destroy();
  const known = asOciError(error);
  if (!known)
    log.error({ err: error, method: request.method, url: request.url }, "failed to answer a request");
  const { status, headers, body } = known ?? {
    status: 500,
    headers: {},
    body: JSON.stringify({
      errors: [{ code: "UNKNOWN", message: "the server failed; its log tells more" }],
    }),
  };
  response.writeHead(status, {
    "content-type": "application/json",
    "content-length": Buffer.byteLength(body),
    "cache-control": cacheControl(exchange),
    ...versionHeader,
    ...headers,
  });
  response.end(isHead(exchange) ? undefined : body);
  if (!request.complete) drain(request, clock);
}

function asOciError(error: unknown) {
  if (error instanceof OciError)
    return { status: error.status, headers: error.headers, body: JSON.stringify(error) };
  if (!(error instanceof RollcallError)) return undefined;
  const { httpStatus, message, advice, code: detail } = error;
  // The one status that clients try again after (containers/image).
  const status = httpStatus === 503 ? 429 : httpStatus;
  const mayTryAgain = status === 429;
  const code = mayTryAgain ? "TOOMANYREQUESTS" : "DENIED";
  const afterSeconds = TooManyFailures.is(error) ? Number(error.details["retryAfterSeconds"]) : 2;
  return {
    status,
    headers: mayTryAgain ? { "retry-after": String(afterSeconds) } : {},
    body: JSON.stringify({ errors: [{ code, message: `${message}. ${advice}`, detail: { code: detail } }] }),
  };
}

function drain(request: IncomingMessage, clock: Pick<Clock, "after">): void {
  const { socket } = request;
  const cancel = clock.after(drainMs, () => {
    if (!request.complete) socket.destroy();
  });
  request.once("close", cancel);
  request.removeAllListeners("readable");
  request.resume();
}
