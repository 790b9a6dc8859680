import { existsSync } from "node:fs";
import { join, resolve } from "node:path";
import type { Readable } from "node:stream";
import { Agent, request } from "undici";
import { ServerUnreachable } from "../domain/error-catalogue.ts";

/** An answer of the server that says no; printed as its sentence and advice. */
export class Refused extends Error {
  readonly code: string;
  readonly advice: string;
  constructor(code: string, message: string, advice: string) {
    super(message);
    this.code = code;
    this.advice = advice;
  }
}

export interface ClientOptions {
  readonly server: string | undefined;
  readonly token: string | undefined;
  /** Data directories in which a running server's control socket may lie, in this order. */
  readonly dataDirs: readonly string[];
}

export type Client = ReturnType<typeof createClient>;

/** Speaks to the API: at the URL that was named, or over the control socket of this machine's own server. */
export function createClient({ server, token, dataDirs }: ClientOptions) {
  const socketPath =
    server === undefined
      ? dataDirs.map((directory) => join(directory, "control.sock")).find(existsSync)
      : undefined;
  // `10.0.0.1:8080` is what people write down.
  const address = server === undefined || server.includes("://") ? server : `http://${server}`;
  const origin = address?.replace(/\/+$/, "") ?? "http://localhost";
  const place = server ?? socketPath ?? resolve(dataDirs[0] ?? ".", "control.sock");
  const dispatcher = new Agent(socketPath === undefined ? {} : { connect: { socketPath } });

  async function send(method: string, path: string, body?: unknown, headers: Record<string, string> = {}) {
    if (server === undefined && socketPath === undefined)
      throw ServerUnreachable({ server: place, reason: "no server runs with this data directory" });
    const isStream = typeof body === "object" && body !== null && "pipe" in body;
    try {
      return await request(`${origin}/api/v1${path}`, {
        method,
        dispatcher,
        headersTimeout: 0,
        bodyTimeout: 0,
        headers: {
          ...(token === undefined ? {} : { authorization: `Bearer ${token}` }),
          ...(body === undefined || isStream ? {} : { "content-type": "application/json" }),
          ...headers,
        },
        body: body === undefined ? null : isStream ? (body as Readable) : JSON.stringify(body),
      });
    } catch (error) {
      const { code, message } = error as NodeJS.ErrnoException;
      throw ServerUnreachable({ server: place, reason: code ?? message });
    }
  }

  async function call(
    method: string,
    path: string,
    body?: unknown,
    headers?: Record<string, string>,
  ): Promise<unknown> {
    const response = await send(method, path, body, headers);
    const text = await response.body.text();
    const type = String(response.headers["content-type"] ?? "");
    const parsed: unknown = text !== "" && type.includes("json") ? JSON.parse(text) : text;
    if (response.statusCode < 400) return parsed;
    const problem = (typeof parsed === "object" && parsed !== null ? parsed : {}) as Record<string, string>;
    throw new Refused(
      problem["code"] ?? `HTTP_${response.statusCode}`,
      problem["detail"] ?? text.slice(0, 300),
      problem["advice"] ?? "",
    );
  }

  return {
    get: <T>(path: string): Promise<T> => call("GET", path) as Promise<T>,
    post: <T>(path: string, body: unknown): Promise<T> => call("POST", path, body) as Promise<T>,
    put: <T>(path: string, body: unknown, headers?: Record<string, string>): Promise<T> =>
      call("PUT", path, body, headers) as Promise<T>,
    patch: <T>(path: string, body: unknown): Promise<T> => call("PATCH", path, body) as Promise<T>,
    delete: <T>(path: string, body?: unknown): Promise<T> => call("DELETE", path, body) as Promise<T>,
    /** All pages of a list. */
    async list<T>(path: string): Promise<T[]> {
      const items: T[] = [];
      let cursor: string | null = null;
      do {
        const query: string =
          cursor === null ? "" : `${path.includes("?") ? "&" : "?"}cursor=${encodeURIComponent(cursor)}`;
        const page = (await call("GET", path + query)) as { items: T[]; next: string | null };
        items.push(...page.items);
        cursor = page.next;
      } while (cursor !== null);
      return items;
    },
    /** Server-sent events as they come, until the stream or the caller ends. */
    async *events(path: string, signal?: AbortSignal): AsyncGenerator<Record<string, unknown>> {
      const response = await send("GET", path, undefined, { accept: "text/event-stream" });
      signal?.addEventListener("abort", () => response.body.destroy());
      let pending = "";
      for await (const chunk of response.body) {
        pending += String(chunk);
        const parts = pending.split("\n\n");
        pending = parts.pop() ?? "";
        for (const part of parts) {
          const data = part.split("\n").find((line) => line.startsWith("data: "));
          if (data) yield JSON.parse(data.slice(6)) as Record<string, unknown>;
        }
      }
    },
    close: () => dispatcher.close(),
  };
}
