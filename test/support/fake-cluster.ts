import type { Asked, Told } from "./fake-api-server.ts";

interface Kept {
  readonly apiVersion?: string;
  readonly kind?: string;
  readonly metadata: {
    readonly name: string;
    readonly namespace?: string;
    readonly uid?: string;
    readonly labels?: Readonly<Record<string, string>>;
    readonly deletionTimestamp?: string;
  };
  readonly [key: string]: unknown;
}

const fault = (status: number, reason: string, message = reason): Told => ({
  status,
  body: { kind: "Status", status: "Failure", reason, message },
});

/** `/api/v1/namespaces/anna/pods/p?limit=1` -> its parts; a Namespace is in no namespace. */
function readPath(path: string) {
  const [place = "", query = ""] = path.split("?");
  const words = place.split("/").filter((word) => word !== "");
  const rest = words.slice(words[0] === "api" ? 2 : 3);
  const isInside = rest[0] === "namespaces" && rest.length > 2;
  const [plural = "", name, subresource] = isInside ? rest.slice(2) : rest;
  return {
    plural,
    name,
    subresource,
    namespace: isInside ? rest[1] : undefined,
    query: new URLSearchParams(query),
  };
}

/**
 * What an API server does with objects, as far as students need it: keeps what is applied, gives tokens, and ends namespaces with all that
 * is in them. For `fakeApiServer`; how a real one does it is looked at by test/cluster/students.test.ts.
 */
export function fakeCluster() {
  const objects = new Map<string, Kept>();
  const keyOf = (plural: string, name: string, namespace?: string) => `${plural} ${namespace ?? ""} ${name}`;
  let count = 0;
  const cluster = {
    objects,
    keyOf,
    /** Namespaces that do not end, and what their controller says of it. */
    held: new Map<string, string>(),
    /** Plurals of kinds that are refused, and how. */
    refused: new Map<string, Told>(),
    /** Answers 503 to everything. */
    isDown: false,
    /** Longest life of a token, s. */
    longestTokenSeconds: 1e6,
    /** Tokens that were given. */
    tokens: [] as string[],
    put(kind: string, plural: string, metadata: Kept["metadata"], more: object = {}): void {
      objects.set(keyOf(plural, metadata.name, metadata.namespace), { kind, metadata, ...more });
    },
    /** Everything that has the label, or is in the namespace of that name. */
    tracesOf: (student: string) =>
      [...objects.values()]
        .filter(
          ({ kind, metadata: { name, namespace, labels } }) =>
            namespace === student ||
            labels?.["rollcall/student"] === student ||
            (kind === "Namespace" && name === student),
        )
        .map(({ kind, metadata: { name } }) => `${kind} ${name}`),
    answer,
  };

  function endNamespaces(): void {
    for (const [key, { kind, metadata }] of objects) {
      if (kind !== "Namespace" || metadata.deletionTimestamp === undefined || cluster.held.has(metadata.name))
        continue;
      objects.delete(key);
      for (const [inner, { metadata: inside }] of objects)
        if (inside.namespace === metadata.name) objects.delete(inner);
    }
  }

  function shown(object: Kept): Kept {
    const { name } = object.metadata;
    if (object.kind === "ResourceQuota") {
      const hard = (object["spec"] as { hard: Record<string, string> }).hard;
      return {
        ...object,
        status: { hard, used: { pods: "1", "requests.cpu": "50m", "requests.memory": "64Mi" } },
      };
    }
    const message = object.kind === "Namespace" ? cluster.held.get(name) : undefined;
    if (message === undefined || object.metadata.deletionTimestamp === undefined) return object;
    return {
      ...object,
      status: {
        phase: "Terminating",
        conditions: [
          {
            type: "NamespaceDeletionContentFailure",
            status: "False",
            message: "All content successfully deleted",
          },
          { type: "NamespaceFinalizersRemaining", status: "True", message },
        ],
      },
    };
  }

  function list(plural: string, namespace: string | undefined, query: URLSearchParams): Told {
    const [label = "", value] = (query.get("labelSelector") ?? "").split("=");
    const items = [...objects.entries()]
      .filter(([key]) => key.startsWith(`${plural} ${namespace ?? ""}`))
      .map(([, object]) => object)
      .filter(
        ({ metadata: { labels } }) =>
          label === "" || (labels?.[label] !== undefined && (value ?? labels[label]) === labels[label]),
      );
    return { body: { items: items.map(shown), metadata: {} } };
  }

  function write(asked: Asked, { plural, name, namespace }: ReturnType<typeof readPath>): Told {
    const object = JSON.parse(asked.body) as Kept;
    const key = keyOf(plural, name ?? object.metadata.name, namespace);
    if (namespace !== undefined && !objects.has(keyOf("namespaces", namespace)))
      return fault(404, "NotFound");
    const before = objects.get(key);
    if (asked.method === "POST" && before) return fault(409, "AlreadyExists");
    if (before && JSON.stringify(before["roleRef"]) !== JSON.stringify(object["roleRef"]))
      return fault(422, "Invalid", "roleRef: cannot change roleRef");
    const labels = { ...before?.metadata.labels, ...object.metadata.labels };
    const uid = before?.metadata.uid ?? `uid-${++count}`;
    objects.set(key, { ...object, metadata: { ...object.metadata, uid, labels } });
    return { status: before ? 200 : 201, body: shown(objects.get(key) ?? object) };
  }

  function giveToken(asked: Asked, name: string, namespace: string | undefined): Told {
    if (!objects.has(keyOf("serviceaccounts", name, namespace))) return fault(404, "NotFound");
    const { spec } = JSON.parse(asked.body) as { spec: { expirationSeconds: number } };
    const seconds = Math.min(spec.expirationSeconds, cluster.longestTokenSeconds);
    const token = `eyJ.${namespace}.${++count}-secret`;
    cluster.tokens.push(token);
    const expirationTimestamp = new Date(Date.now() + seconds * 1000).toISOString();
    return { status: 201, body: { kind: "TokenRequest", status: { token, expirationTimestamp } } };
  }

  function answer(asked: Asked): Told {
    if (cluster.isDown) return fault(503, "ServiceUnavailable");
    if (asked.path === "/readyz") return { body: "ok" };
    const place = readPath(asked.path);
    const { plural, name, namespace, subresource, query } = place;
    const refusal = cluster.refused.get(plural);
    if (refusal) return refusal;
    if (subresource === "token") return giveToken(asked, name ?? "", namespace);
    if (asked.method === "PATCH" || asked.method === "POST") return write(asked, place);
    endNamespaces();
    if (name === undefined) return list(plural, namespace, query);
    const key = keyOf(plural, name, namespace);
    const found = objects.get(key);
    if (!found) return fault(404, "NotFound");
    if (asked.method === "DELETE") {
      if (plural !== "namespaces") objects.delete(key);
      else
        objects.set(key, {
          ...found,
          metadata: { ...found.metadata, deletionTimestamp: new Date().toISOString() },
        });
    }
    return { body: shown(objects.get(key) ?? found) };
  }
  return cluster;
}
export type FakeCluster = ReturnType<typeof fakeCluster>;
