import { checkServerIdentity } from "node:tls";
import { Agent, request } from "undici";
import type { Clock, DurationMs } from "../domain/capabilities.ts";
import { KubernetesUnreachable } from "../domain/error-catalogue.ts";
import { addressOf, isAddress, type Target } from "./target.ts";

/** A client certificate with its key. A secret. */
export interface ClientIdentity {
  readonly certificatePem: string;
  readonly privateKeyPem: string;
}

export interface ConnectionOptions {
  /** PEM of the cluster's authority: nothing else vouches for an API server. */
  readonly authorityPem: string;
  /** Which the API server's certificate must have, whatever address is dialled: `kubernetes`, or the endpoint's host. */
  readonly serverName: string;
  /** A new certificate (pki, issueServerClient); called again before the last one ends. */
  readonly issueIdentity: () => Promise<ClientIdentity>;
  /** How long one of these is valid. */
  readonly identityLifeMs: DurationMs;
  readonly clock: Clock;
}

export interface Request {
  readonly target: Target;
  readonly method: "GET" | "POST" | "PUT" | "PATCH" | "DELETE";
  readonly path: string;
  readonly body?: string;
  readonly contentType?: string;
  readonly timeLimitMs: DurationMs;
  /** For a connection of its own, as a new client would get it. */
  readonly isAlone?: boolean;
}

export interface Answer {
  readonly status: number;
  readonly contentType: string;
  readonly retryAfter: string | undefined;
  readonly text: string;
}

/** Octets of an answer: a page of 20 requests of machines, each as large as etcd takes them (1.5 MiB). */
export const largestAnswer = 32 * 1024 ** 2;
/** Part of a certificate's life after which the next one is used: four of ten minutes are left for clocks that differ. */
const usedPart = 0.6;

export type Connection = ReturnType<typeof createConnection>;

/** HTTPS to API servers with short-lived client certificates; connections of an old certificate end with what goes on in them. */
export function createConnection(options: ConnectionOptions) {
  const { authorityPem, serverName, clock } = options;
  let isClosed = false;
  let current: { readonly agent: Promise<Agent>; readonly until: DurationMs } | undefined;

  const open = async (): Promise<Agent> => {
    const { certificatePem, privateKeyPem } = await options.issueIdentity();
    return new Agent({
      allowH2: false,
      connections: 8,
      maxResponseSize: largestAnswer,
      connect: {
        ca: authorityPem,
        cert: certificatePem,
        key: privateKeyPem,
        // A session outlives its certificate.
        maxCachedSessions: 0,
        // RFC 6066 s.3: an address is no server name.
        ...(isAddress(serverName) ? {} : { servername: serverName }),
        checkServerIdentity: (_dialled: string, certificate) => checkServerIdentity(serverName, certificate),
        minVersion: "TLSv1.2",
      },
    });
  };
  const agentNow = (): Promise<Agent> => {
    if (current && clock.monotonicMs() < current.until) return current.agent;
    const old = current;
    const agent = open();
    const made = { agent, until: clock.monotonicMs() + options.identityLifeMs * usedPart };
    current = made;
    agent.catch(() => {
      if (current === made) current = undefined;
    });
    void old?.agent.then((ending) => ending.close()).catch(() => {});
    return agent;
  };

  /** @throws KubernetesUnreachable */
  async function send(what: Request): Promise<Answer> {
    const address = addressOf(what.target);
    const refuseClosed = () => {
      if (isClosed) throw KubernetesUnreachable({ address, reason: "the server stops" });
    };
    refuseClosed();
    const agent = await agentNow();
    refuseClosed();
    const late = new AbortController();
    const stop = clock.after(what.timeLimitMs, () => late.abort());
    try {
      const { statusCode, headers, body } = await request(`https://${address}${what.path}`, {
        dispatcher: agent,
        method: what.method,
        headers: {
          accept: "application/json",
          "user-agent": "rollcall",
          ...(what.contentType === undefined ? {} : { "content-type": what.contentType }),
        },
        body: what.body ?? null,
        signal: late.signal,
        reset: what.isAlone ?? false,
        // The one limit is ours.
        headersTimeout: 0,
        bodyTimeout: 0,
      });
      const header = (name: string) => [headers[name]].flat()[0];
      return {
        status: statusCode,
        contentType: header("content-type") ?? "",
        retryAfter: header("retry-after"),
        text: await body.text(),
      };
    } catch (error) {
      const reason = late.signal.aborted ? `no answer within ${what.timeLimitMs} ms` : reasonOf(error);
      throw KubernetesUnreachable({ address, reason });
    } finally {
      stop();
    }
  }

  return {
    send,
    /** What goes on ends, and nothing begins any more. */
    async close(): Promise<void> {
      isClosed = true;
      const last = current;
      current = undefined;
      await last?.agent.then((agent) => agent.destroy()).catch(() => {});
    },
  };
}

/** Codes of the system, of TLS and of undici say enough, and nothing that is secret. */
function reasonOf(error: unknown): string {
  const { code, message } = error as NodeJS.ErrnoException;
  const inner = (error as { cause?: NodeJS.ErrnoException }).cause?.code;
  return [code ?? (message ?? "").slice(0, 100), ...(inner === undefined ? [] : [inner])].join(", ");
}
