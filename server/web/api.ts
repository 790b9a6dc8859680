/** Calls of `/api/v1`. What is refused is a `Problem`: the server's code, sentence and advice, for `parts/problem-message.tsx`. */

/** RFC 9457, as the server fills it. */
export interface ProblemDocument {
  readonly status: number;
  /** Stable, in docs/errors.md; `unreachable` where nobody answered. */
  readonly code: string;
  readonly detail: string;
  readonly advice: string;
}

export class Problem extends Error implements ProblemDocument {
  readonly status: number;
  readonly code: string;
  readonly detail: string;
  readonly advice: string;

  constructor({ status, code, detail, advice }: ProblemDocument) {
    super(detail);
    this.status = status;
    this.code = code;
    this.detail = detail;
    this.advice = advice;
  }
}

/** A page of a list. */
export interface Page<T> {
  readonly items: readonly T[];
  readonly next: string | null;
}

export type Query = Readonly<Record<string, string | number | boolean | undefined>>;

interface CallOptions {
  readonly body?: object;
  readonly query?: Query;
  readonly signal?: AbortSignal;
  readonly overridesExam?: boolean;
}

type Method = "GET" | "POST" | "PUT" | "PATCH" | "DELETE";

const apiPath = "/api/v1";
/** A request that no other origin's page can make: browsers ask us first before they send this header from there. */
const ownRequest = { "x-rollcall-request": "dashboard" };
/** An administrator's word that an exam does not stop this. */
const overridingExam = { "rollcall-override-exam": "true" };

let onSignedOut: () => void = () => {};
/** @param listener is told when the server no longer knows who we are */
export function whenSignedOut(listener: () => void): void {
  onSignedOut = listener;
}

/**
 * @param path below /api/v1; parts of it that are names are encoded by `at`
 * @throws Problem
 */
async function call<T>(method: Method, path: string, options: CallOptions): Promise<T> {
  const response = await answerOf(method, addressOf(path, options.query ?? {}), options);
  if (response.status === 204) return undefined as T;
  const text = await response.text();
  if (!response.ok) {
    const problem = problemIn(text, response.status);
    if (response.status === 401 && !(path === "/session" && method !== "GET")) onSignedOut();
    throw problem;
  }
  return (isJson(response) ? JSON.parse(text) : text) as T;
}

async function answerOf(
  method: Method,
  address: string,
  { body, signal, overridesExam = false }: CallOptions,
): Promise<Response> {
  try {
    return await fetch(address, {
      method,
      credentials: "same-origin",
      cache: "no-store",
      headers: {
        ...ownRequest,
        ...(body ? { "content-type": "application/json" } : {}),
        ...(overridesExam ? overridingExam : {}),
      },
      ...(body ? { body: JSON.stringify(body) } : {}),
      ...(signal ? { signal } : {}),
    });
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new Problem({ status: 0, code: "unreachable", detail: "", advice: "" });
  }
}

function addressOf(path: string, query: Query): string {
  const search = new URLSearchParams();
  for (const [name, value] of Object.entries(query)) if (value !== undefined) search.set(name, String(value));
  return `${apiPath}${path}${search.size > 0 ? `?${search.toString()}` : ""}`;
}

const isJson = (response: Response) => (response.headers.get("content-type") ?? "").includes("json");

function problemIn(text: string, status: number): Problem {
  const field = (document: object, name: string): string => {
    const value: unknown = (document as Record<string, unknown>)[name];
    return typeof value === "string" ? value : "";
  };
  try {
    const document: unknown = JSON.parse(text);
    if (typeof document === "object" && document !== null)
      return new Problem({
        status,
        code: field(document, "code") || `http-${status}`,
        detail: field(document, "detail"),
        advice: field(document, "advice"),
      });
  } catch {
    // A proxy's own page is no problem document.
  }
  return new Problem({ status, code: `http-${status}`, detail: text.slice(0, 200), advice: "" });
}

/** A path with names in it: at`/machines/${name}/boots`. */
export function at(parts: TemplateStringsArray, ...names: readonly string[]): string {
  return parts.reduce((path, part, index) => `${path}${encodeURIComponent(names[index - 1] ?? "")}${part}`);
}

export const api = {
  get: <T>(path: string, query: Query = {}, signal?: AbortSignal) =>
    call<T>("GET", path, { query, ...(signal ? { signal } : {}) }),
  /** @param overridesExam of an administrator, who was asked whether to do it in spite of an exam */
  post: <T>(path: string, body: object = {}, overridesExam = false) =>
    call<T>("POST", path, { body, overridesExam }),
  put: <T>(path: string, body: object) => call<T>("PUT", path, { body }),
  patch: <T>(path: string, body: object) => call<T>("PATCH", path, { body }),
  delete: <T = void>(path: string, body?: object) => call<T>("DELETE", path, body ? { body } : {}),
  /** All pages of a list. */
  async all<T>(path: string, query: Query = {}): Promise<T[]> {
    const items: T[] = [];
    for (let cursor: string | null | undefined; cursor !== null;) {
      const found: Page<T> = await call("GET", path, {
        query: { limit: 1000, ...query, ...(cursor === undefined ? {} : { cursor }) },
      });
      items.push(...found.items);
      cursor = found.next;
    }
    return items;
  },
};
