import type { DurationMs } from "../domain/capabilities.ts";
import {
  KubernetesConflict,
  KubernetesObjectMissing,
  KubernetesRefused,
  KubernetesUnreachable,
} from "../domain/error-catalogue.ts";
import { type Answer, type ConnectionOptions, createConnection, type Request } from "./connection.ts";
import {
  type Kind,
  type KubernetesObject,
  type ObjectName,
  type ObjectOfKind,
  pathOf,
  resources,
} from "./objects.ts";
import { addressOf, type Target } from "./target.ts";

export interface KubernetesClientOptions extends ConnectionOptions {
  /** Where requests go; asked for at each. */
  readonly target: () => Target;
  /** Of one request, default 10 s. */
  readonly timeLimitMs?: DurationMs;
}

export interface ListOptions {
  /** Undefined: all of them. */
  readonly namespace?: string;
  readonly fieldSelector?: string;
  readonly labelSelector?: string;
  /** Objects that are asked for at once, default 100. */
  readonly pageSize?: number;
}

/** A written object, which names its kind. */
export type Manifest = KubernetesObject & { readonly apiVersion: string; readonly kind: string };

const defaultTimeLimitMs = 10_000;
/** Of a question whether a server is ready. */
const probeLimitMs = 2_000;
/** Of a request that is told to come again. */
const mostTries = 4;
/** Told to wait longer, it is left to the caller's next pass. */
const longestWaitMs = 5_000;
/** A list longer than this is cut: nobody fills our memory by making objects. */
const mostPages = 100;
/** By which the cluster knows what of an object is ours (server-side apply). */
const fieldManager = "rollcall";

export type KubernetesClient = ReturnType<typeof createKubernetesClient>;

/**
 * The server's hands in the cluster: JSON over HTTPS to one API server at a time. All methods throw KubernetesUnreachable (no answer, or
 * 429 and 5xx after some tries: later may be better), KubernetesRefused, KubernetesObjectMissing or KubernetesConflict.
 */
export function createKubernetesClient(options: KubernetesClientOptions) {
  const { clock, timeLimitMs = defaultTimeLimitMs } = options;
  const connection = createConnection(options);
  const wait = (ms: DurationMs) => new Promise<void>((resolve) => void clock.after(ms, resolve));

  interface Call {
    readonly method: Request["method"];
    readonly path: string;
    /** For errors: `Secret kube-system/x`. */
    readonly what: string;
    readonly kind?: string;
    readonly body?: object;
    readonly contentType?: string;
    /** A 429 is an answer and not a request for patience. */
    readonly isOnce?: boolean;
  }

  async function call(call: Call): Promise<unknown> {
    for (let tries = 1; ; tries++) {
      const target = options.target();
      const answer = await connection.send({
        target,
        method: call.method,
        path: call.path,
        timeLimitMs,
        ...(call.body === undefined
          ? {}
          : { body: JSON.stringify(call.body), contentType: call.contentType ?? "application/json" }),
      });
      const { status } = answer;
      if (status >= 200 && status < 300) return readJson(answer, target);
      const isTransient = status === 429 || status >= 500;
      if (!isTransient) throw refusal(answer, call);
      const waitMs = retryAfterMs(answer);
      if (call.isOnce || waitMs === undefined || waitMs > longestWaitMs || tries === mostTries)
        throw KubernetesUnreachable({
          address: addressOf(target),
          reason: [
            `it answers ${status} to ${verbs[call.method]} ${call.what}`,
            ...reasonIn(answer, call),
          ].join(": "),
          status,
        });
      await wait(waitMs);
    }
  }

  const one = (kind: Kind, name: ObjectName, subresource?: string) => ({
    kind,
    path: pathOf(kind, name, subresource),
    what: describe(kind, name),
  });
  const nameOf = ({ metadata: { name, namespace } }: KubernetesObject): ObjectName =>
    namespace === undefined ? { name } : { name, namespace };

  const client = {
    get: <K extends Kind>(kind: K, name: ObjectName) =>
      call({ method: "GET", ...one(kind, name) }) as Promise<ObjectOfKind[K]>,

    /** Like `get`; undefined where there is none. */
    async find<K extends Kind>(kind: K, name: ObjectName): Promise<ObjectOfKind[K] | undefined> {
      return client.get(kind, name).catch(unlessMissing);
    },

    /** All that match, page by page; `isCut` when there are more than we take. */
    async list<K extends Kind>(
      kind: K,
      { namespace, fieldSelector, labelSelector, pageSize = 100 }: ListOptions = {},
    ): Promise<{ readonly items: ObjectOfKind[K][]; readonly isCut: boolean }> {
      const items: ObjectOfKind[K][] = [];
      let next = "";
      for (let page = 0; page < mostPages; page++) {
        const query = new URLSearchParams({
          limit: String(pageSize),
          ...(fieldSelector === undefined ? {} : { fieldSelector }),
          ...(labelSelector === undefined ? {} : { labelSelector }),
          ...(next === "" ? {} : { continue: next }),
        });
        const path = pathOf(kind, namespace === undefined ? {} : { namespace });
        const read = (await call({
          method: "GET",
          kind,
          path: `${path}?${query}`,
          what: resources[kind].plural,
        })) as { items?: ObjectOfKind[K][]; metadata?: { continue?: string } };
        items.push(...(read.items ?? []));
        next = read.metadata?.continue ?? "";
        if (next === "") return { items, isCut: false };
      }
      return { items, isCut: true };
    },

    create: <K extends Kind>(kind: K, object: Manifest) => {
      const name = nameOf(object);
      const path = pathOf(kind, name.namespace === undefined ? {} : { namespace: name.namespace });
      return call({ ...one(kind, name), method: "POST", path, body: object }) as Promise<ObjectOfKind[K]>;
    },

    /** With the object's resourceVersion: KubernetesConflict when somebody was faster. */
    replace: <K extends Kind>(kind: K, object: Manifest, subresource?: string) =>
      call({ method: "PUT", ...one(kind, nameOf(object), subresource), body: object }) as Promise<
        ObjectOfKind[K]
      >,

    /** Strategic merge patch: lists such as conditions are merged by their key. */
    patch: <K extends Kind>(kind: K, name: ObjectName, patch: object, subresource?: string) =>
      call({
        method: "PATCH",
        ...one(kind, name, subresource),
        body: patch,
        contentType: "application/strategic-merge-patch+json",
      }) as Promise<ObjectOfKind[K]>,

    /** What a subresource makes of a question: a token of an account. It is in the answer alone, and in no error. */
    ask: (kind: Kind, name: ObjectName, subresource: string, question: object): Promise<unknown> =>
      call({ method: "POST", ...one(kind, name, subresource), body: question }),

    /** Makes the object so, whether it is there or not; what others set besides is left (server-side apply). */
    apply: <K extends Kind>(kind: K, object: Manifest) =>
      client.applyAt(pathOf(kind, nameOf(object)), object) as Promise<ObjectOfKind[K]>,

    /** The same for a kind of which only its path is known. @param by who has the fields: one takes none of another's away */
    applyAt: (path: string, object: Manifest, by = fieldManager): Promise<unknown> =>
      call({
        kind: object.kind,
        what: describe(object.kind, nameOf(object)),
        method: "PATCH",
        path: `${path}?fieldManager=${by}&force=true`,
        body: object,
        // JSON is YAML.
        contentType: "application/apply-patch+yaml",
      }),

    /** What the API server says of itself: `/apis/apps/v1`. */
    read: (path: string): Promise<unknown> => call({ method: "GET", path, what: path }),

    /**
     * @param only this very object, not one of the same name that came after it
     * @returns false when it was not there
     */
    delete: (
      kind: Kind,
      name: ObjectName,
      { uid, graceSeconds }: { readonly uid?: string; readonly graceSeconds?: number } = {},
    ): Promise<boolean> =>
      call({
        method: "DELETE",
        ...one(kind, name),
        body: {
          apiVersion: "v1",
          kind: "DeleteOptions",
          ...(uid === undefined ? {} : { preconditions: { uid } }),
          ...(graceSeconds === undefined ? {} : { gracePeriodSeconds: graceSeconds }),
        },
      }).then(() => true, onlyMissing),

    /** Asks for a pod to go; KubernetesUnreachable with status 429 when a disruption budget does not allow it now. */
    evict: async (
      name: Required<ObjectName>,
      apiVersion: "policy/v1" | "policy/v1beta1",
      uid?: string,
    ): Promise<void> => {
      await call({
        method: "POST",
        ...one("Pod", name, "eviction"),
        isOnce: true,
        body: {
          apiVersion,
          kind: "Eviction",
          metadata: name,
          ...(uid === undefined ? {} : { deleteOptions: { preconditions: { uid } } }),
        },
      });
    },

    /** Whether one API server would take a new connection and is ready. @throws KubernetesUnreachable */
    async healthz(target: Target, limitMs: DurationMs = probeLimitMs): Promise<void> {
      const { status } = await connection.send({
        target,
        method: "GET",
        path: "/readyz",
        timeLimitMs: limitMs,
        isAlone: true,
      });
      if (status !== 200)
        throw KubernetesUnreachable({
          address: addressOf(target),
          reason: `/readyz answers ${status}`,
          status,
        });
    },

    close: () => connection.close(),
  };
  return client;
}

const verbs = {
  GET: "read",
  POST: "create",
  PUT: "replace",
  PATCH: "change",
  DELETE: "delete",
} as const;

const describe = (kind: string, { name, namespace }: ObjectName) =>
  `${kind} ${namespace === undefined ? "" : `${namespace}/`}${name}`.slice(0, 200);

/** For `catch`: undefined instead of KubernetesObjectMissing. */
export function unlessMissing(error: unknown): undefined {
  if (!KubernetesObjectMissing.is(error)) throw error;
}

function onlyMissing(error: unknown): false {
  unlessMissing(error);
  return false;
}

/** RFC 9110 s.10.2.3, of which API servers send the seconds. */
function retryAfterMs({ retryAfter }: Answer): DurationMs | undefined {
  return /^[0-9]{1,6}$/.test(retryAfter ?? "") ? Number(retryAfter) * 1000 : undefined;
}

function readJson({ text, contentType }: Answer, target: Target): unknown {
  const refuse = () =>
    KubernetesUnreachable({ address: addressOf(target), reason: "its answer is not JSON of an API server" });
  if (!contentType.startsWith("application/json")) throw refuse();
  try {
    const value: unknown = JSON.parse(text);
    if (typeof value === "object" && value !== null) return value;
  } catch {
    // Told below.
  }
  throw refuse();
}

/** What a `Status` object says, if anything. What is said of a Secret may hold a part of it, so there its reason alone is told. */
function reasonIn(answer: Answer, { kind }: { readonly kind?: string | undefined }): string[] {
  let status: { reason?: unknown; message?: unknown } = {};
  try {
    status = (JSON.parse(answer.text) ?? {}) as typeof status;
  } catch {
    // An answer of something else; its number says enough.
  }
  const word = (value: unknown) =>
    typeof value === "string" ? value.replaceAll(/[^\x20-\x7e]+/g, " ").slice(0, 300) : "";
  const said = (kind === "Secret" ? "" : word(status.message)) || word(status.reason);
  return said === "" ? [] : [said];
}

function refusal(
  answer: Answer,
  { method, what, kind }: { method: Request["method"]; what: string; kind?: string },
) {
  const [reason = "no reason given"] = reasonIn(answer, { kind });
  if (answer.status === 404) return KubernetesObjectMissing({ what });
  if (answer.status === 409) return KubernetesConflict({ what, reason });
  return KubernetesRefused({ what: `${verbs[method]} ${what}`, status: answer.status, reason });
}
