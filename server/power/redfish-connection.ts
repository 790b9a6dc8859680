import { isIP } from "node:net";
import type { TLSSocket } from "node:tls";
import { Agent, buildConnector, request } from "undici";
import { BmcCertificateRefused, BmcRefused, BmcUnreachable } from "../domain/error-catalogue.ts";
import { RollcallError } from "../domain/errors.ts";
import type { BmcTarget } from "./bmc.ts";

/** Documents of a board are small. */
const answerLimitBytes = 512 * 1024;
const usualPort = 443;

export type Document = Readonly<Record<string, unknown>>;

/** A path of the service on the same board, and nothing that could lead elsewhere (RFC 3986 s.4.2: `//host` is another authority). */
export function isServicePath(path: unknown): path is string {
  return (
    typeof path === "string" &&
    path.length <= 512 &&
    /^\/redfish\/v1(?:\/(?!\.{1,2}(?:\/|$))[A-Za-z0-9._~:@-]+)*\/?$/.test(path)
  );
}

export interface RedfishConnection {
  /** @throws BmcUnreachable, BmcRefused, BmcCertificateRefused */
  get(path: unknown): Promise<Document>;
  post(path: unknown, body: object): Promise<void>;
  /** Whoever closes it does not wait: a connection that is still being made ends by its own time limit. */
  close(): void;
}

/** HTTPS to one board. Nothing is sent before its certificate is the pinned one, or one that this host trusts; redirects are not followed. */
export function connectRedfish(target: BmcTarget, signal: AbortSignal): RedfishConnection {
  const { machine, address, port = usualPort } = target;
  const place = { machine, method: "Redfish", address };
  const agent = new Agent({ connect: pinned(target), allowH2: false });
  const login = Buffer.from(`${target.user ?? ""}:${target.password}`).toString("base64");

  async function send(method: "GET" | "POST", path: unknown, body?: object): Promise<Document> {
    if (!isServicePath(path))
      throw BmcRefused({ ...place, reason: "it names an address outside /redfish/v1" });
    try {
      const answer = await asLongAs(
        signal,
        request(`https://${address}:${port}${path}`, {
          method,
          dispatcher: agent,
          signal,
          headers: {
            accept: "application/json",
            "odata-version": "4.0",
            authorization: `Basic ${login}`,
            ...(body ? { "content-type": "application/json" } : {}),
          },
          body: body ? JSON.stringify(body) : null,
        }),
      );
      const text = await readBounded(answer.body);
      const { statusCode } = answer;
      if (statusCode === 503 || statusCode === 429)
        throw BmcUnreachable({ ...place, reason: `it is busy (status ${statusCode})` });
      if (statusCode >= 300) throw BmcRefused({ ...place, reason: refusal(statusCode) });
      return method === "GET" ? parsed(text) : {};
    } catch (error) {
      if (error instanceof RollcallError || signal.aborted) throw error;
      throw BmcUnreachable({ ...place, reason: wordFor(error) });
    }
  }

  function parsed(text: string): Document {
    try {
      const value: unknown = JSON.parse(text);
      if (typeof value === "object" && value !== null && !Array.isArray(value)) return value as Document;
    } catch {
      // Told below.
    }
    throw BmcRefused({ ...place, reason: "its answer is no document of Redfish" });
  }

  return {
    get: (path) => send("GET", path),
    post: async (path, body) => void (await send("POST", path, body)),
    close: () => void agent.destroy().catch(() => undefined),
  };
}

/** undici gives up a request whose connection is still being made only when that ends. @throws the signal's reason */
function asLongAs<T>(signal: AbortSignal, work: Promise<T>): Promise<T> {
  const { promise, reject } = Promise.withResolvers<never>();
  const stop = (): void => reject(signal.reason as Error);
  signal.addEventListener("abort", stop, { once: true });
  if (signal.aborted) stop();
  return Promise.race([work, promise]).finally(() => signal.removeEventListener("abort", stop));
}

/** @throws when there is more than a document has */
async function readBounded(body: AsyncIterable<unknown>): Promise<string> {
  const parts: Buffer[] = [];
  let bytes = 0;
  for await (const part of body as AsyncIterable<Buffer>) {
    bytes += part.length;
    if (bytes > answerLimitBytes) throw new Error("its answer is too large");
    parts.push(part);
  }
  return Buffer.concat(parts).toString("utf8");
}

function refusal(status: number): string {
  if (status === 401 || status === 403) return `user and password do not count there (status ${status})`;
  if (status < 400) return `it sends us elsewhere (status ${status}), where the password must not go`;
  return `status ${status}`;
}

function wordFor(error: unknown): string {
  const { code, message } = error as NodeJS.ErrnoException;
  return (code ?? message).replaceAll(/[^\x20-\x7e]/g, " ").slice(0, 120);
}

/** The certificate is looked at before the first octet of a request goes out. */
function pinned({ machine, address, certificate, authority }: BmcTarget): buildConnector.connector {
  // A pin needs no name and no date: boards make their certificates themselves. Without one the usual rules hold.
  const connect = buildConnector({
    rejectUnauthorized: false,
    // In the place of those that this host trusts.
    ...(authority === undefined ? {} : { ca: authority }),
    maxCachedSessions: 0,
    allowH2: false,
    timeout: 5_000,
  });
  return (options, tell) =>
    connect({ ...options, ...(isIP(options.hostname) === 0 ? {} : { servername: "" }) }, (error, socket) => {
      if (error) return tell(error, null);
      const tls = socket as TLSSocket;
      const seen = (tls.getPeerCertificate().fingerprint256 ?? "").replaceAll(":", "").toLowerCase();
      const isTrusted = certificate === undefined ? tls.authorized : seen === certificate;
      if (isTrusted) return tell(null, socket);
      tls.destroy();
      tell(BmcCertificateRefused({ machine, address, seen: seen || "(none)" }), null);
    });
}
