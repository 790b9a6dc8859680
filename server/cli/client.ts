import { statSync } from "node:fs";
import { resolve } from "node:path";
import type { Readable } from "node:stream";
import { Agent, request } from "undici";
import { ServerNotPermitted, ServerUnreachable, TokenInvalid } from "../domain/error-catalogue.ts";

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
  /** An administrator's word that an exam shall not stop what is asked for. */
  readonly overridesExam?: boolean;
  /** Data directories in which a running server's control socket may lie, in this order; a function is asked when the server is. */
  readonly dataDirs: readonly string[] | (() => Promise<readonly string[]>);
}

/** Where the server was found. */
interface Way {
  /** For people. */
  readonly place: string;
  /** Undefined: over the network, or no server is there. */
  readonly socketPath: string | undefined;
  /** How many data directories were looked at. */
  readonly directories: number;
  readonly dispatcher: Agent;
}

/** What a broken connection is called by the system and by undici, beside what fails in `connect` itself. */
const connectionFaults: ReadonlySet<string> = new Set([
  "ECONNREFUSED",
  "ECONNRESET",
  "EPIPE",
  "ETIMEDOUT",
  "UND_ERR_CONNECT_TIMEOUT",
  "UND_ERR_SOCKET",
  "ERR_INVALID_URL",
]);

/** Also one that we may not look at: a data directory is its server's own. */
function isThere(path: string): boolean {
  try {
    return statSync(path, { throwIfNoEntry: false }) !== undefined;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "EACCES";
  }
}

/** Where a server listens unless its config says otherwise (`http.port`). */
const defaultPort = 8080;

/** `10.0.0.1` and `10.0.0.1:8080` are what people write down. */
export function addressOf(server: string): string {
  if (server.includes("://")) return server.replace(/\/+$/, "");
  const hasPort = /:[0-9]+$/.test(server.replace(/^\[[^\]]*\]/, ""));
  return `http://${server.replace(/\/+$/, "")}${hasPort || server.includes("/") ? "" : `:${defaultPort}`}`;
}

export type Client = ReturnType<typeof createClient>;

/** Speaks to the API: at the URL that was named, or over the control socket of this machine's own server. */
export function createClient({ server, token, overridesExam = false, dataDirs }: ClientOptions) {
  const address = server === undefined ? undefined : addressOf(server);
  const origin = address ?? "http://localhost";
  let way: Promise<Way> | undefined;

  async function findWay(): Promise<Way> {
    if (address !== undefined)
      return { place: address, socketPath: undefined, directories: 0, dispatcher: new Agent() };
    const directories = typeof dataDirs === "function" ? await dataDirs() : dataDirs;
    const sockets = directories.map((directory) => resolve(directory, "control.sock"));
    const socketPath = sockets.find(isThere);
    return {
      place: socketPath ?? sockets.join(", "),
      socketPath,
      directories: directories.length,
      dispatcher: new Agent(socketPath === undefined ? {} : { connect: { socketPath } }),
    };
  }

  async function send(method: string, path: string, body?: unknown, headers: Record<string, string> = {}) {
    const { place, socketPath, directories, dispatcher } = await (way ??= findWay());
    if (server === undefined && socketPath === undefined)
      throw ServerUnreachable({
        server: place,
        reason:
          directories === 1
            ? "no server runs with this data directory"
            : "no server runs with any of these data directories",
      });
    if (address !== undefined && !/^https?:\/\/[^/\s]+/.test(address))
      throw ServerUnreachable({ server: place, reason: "an address is written like http://10.0.0.1:8080" });
    // It goes into a header, which takes no line break; a token read from a file often ends in one.
    if (token !== undefined && !/^[\x21-\x7e]*$/.test(token))
      throw TokenInvalid({
        problem: "the API token has a line break, blank or other character in it that no token has",
        advice:
          "A token is one word. Write it anew in --token or ROLLCALL_TOKEN, without quotes or blanks around it.",
      });
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
          ...(overridesExam ? { "rollcall-override-exam": "true" } : {}),
          ...headers,
        },
        body: body === undefined ? null : isStream ? (body as Readable) : JSON.stringify(body),
      });
    } catch (error) {
      throw await ofConnection(error);
    }
  }

  /** A failure on the way to the server, told as such; what failed on our own side is handed on as it is. */
  async function ofConnection(error: unknown): Promise<unknown> {
    const { place, socketPath } = await (way ??= findWay());
    const { code = "", syscall, message } = error as NodeJS.ErrnoException;
    if (code === "EACCES" && syscall === "connect" && socketPath !== undefined)
      return ServerNotPermitted({ socket: socketPath });
    if (address?.startsWith("https:") && /SSL|TLS|^EPROTO$/.test(code))
      return ServerUnreachable({
        server: place,
        reason: `this server speaks http: write ${address.replace("https:", "http:")}`,
      });
    const isConnection =
      syscall === "connect" ||
      syscall === "getaddrinfo" ||
      connectionFaults.has(code) ||
      code.startsWith("HPE_");
    if (!isConnection) return error;
    const advice =
      address === undefined
        ? {}
        : {
            advice: `Is \`npm start\` running there? If it is, look at the address and its port (\`http.port\` of its config, ${defaultPort} by default), and at firewalls between. It is written like --server http://10.0.0.1:${defaultPort}.`,
          };
    return ServerUnreachable({ server: place, reason: code || message, ...advice });
  }

  async function call(
    method: string,
    path: string,
    body?: unknown,
    headers?: Record<string, string>,
  ): Promise<unknown> {
    const response = await send(method, path, body, headers);
    const text = await response.body.text().catch(async (error: unknown) => {
      throw await ofConnection(error);
    });
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
    close: async (): Promise<void> => (await way)?.dispatcher.close(),
  };
}
