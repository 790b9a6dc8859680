/** An object of Kubernetes as somebody declared it, with all that it has besides. */
export interface DeclaredObject {
  readonly apiVersion: string;
  readonly kind: string;
  readonly metadata: { readonly name: string; readonly namespace?: string };
}

export interface DeclaredDocument {
  /** Name of the file in its directory. */
  readonly file: string;
  /** `#3`, `#3 item 2` */
  readonly place: string;
  /** From 1. */
  readonly line: number;
  /** The same for the same object. */
  readonly digest: string;
  readonly object: DeclaredObject;
}

/** What is wrong with a document, or with a whole file. In no word of it is what a Secret holds. */
export interface DeclaredProblem {
  readonly file: string;
  /** Undefined: the file. */
  readonly place: string | undefined;
  readonly line: number | undefined;
  /** `RoleBinding p10-anna/admin`; undefined where it could not be read. */
  readonly object: string | undefined;
  readonly reason: string;
}

/** All that is declared. */
export interface Declared {
  readonly documents: readonly DeclaredDocument[];
  readonly problems: readonly DeclaredProblem[];
}

/** How far the cluster has what is declared. */
export interface DeclaredStatus {
  readonly applied: number;
  /** To be tried, or tried again. */
  readonly waiting: number;
  readonly refused: readonly DeclaredProblem[];
}

/** One object of a document, or why it is none; `path` leads to it. */
export type DeclaredReading = { readonly path: readonly (string | number)[] } & (
  | { readonly object: DeclaredObject; readonly reason?: undefined }
  | { readonly object?: undefined; readonly reason: string }
);

type Fields = Readonly<Record<string, unknown>>;

/** `v1`, `apps/v1` */
const apiVersionPattern = /^([a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?\/)?v[a-z0-9]{1,62}$/;
const kindPattern = /^[A-Za-z][A-Za-z0-9]{0,62}$/;
/** What the API server writes of an object, and no one can declare: it comes along with `kubectl get -o yaml`. */
const writtenByServer = new Set([
  "creationTimestamp",
  "generation",
  "managedFields",
  "resourceVersion",
  "selfLink",
  "uid",
]);

/** The objects in a document: one, or those of a List. */
export function readDeclared(value: unknown): DeclaredReading[] {
  if (!isFields(value) || value["kind"] !== "List" || value["apiVersion"] !== "v1")
    return [readObject(value, [])];
  const items = value["items"] ?? [];
  if (!Array.isArray(items)) return [{ path: ["items"], reason: "items of a List must be a list" }];
  return items.map((item: unknown, index) => readObject(item, ["items", index]));
}

function readObject(value: unknown, path: readonly (string | number)[]): DeclaredReading {
  const wrong = (reason: string, ...below: string[]) => ({ path: [...path, ...below], reason });
  if (!isFields(value)) return wrong("it is no object with apiVersion, kind and metadata");
  const { apiVersion, kind, metadata, status: _status, ...rest } = value;
  if (kind === undefined) return wrong("it has no kind");
  if (typeof kind !== "string" || !kindPattern.test(kind)) return wrong("its kind is none", "kind");
  if (apiVersion === undefined) return wrong(`this ${kind} has no apiVersion`);
  if (typeof apiVersion !== "string" || !apiVersionPattern.test(apiVersion))
    return wrong("its apiVersion is none like v1 or apps/v1", "apiVersion");
  if (!isFields(metadata) || metadata["name"] === undefined)
    return wrong(`this ${kind} has no metadata.name, by which it is known when it is applied again`);
  const { name, namespace } = metadata;
  if (!isObjectName(name))
    return wrong("metadata.name is no name; a number or truth value has to stand in quotes", "metadata");
  if (namespace !== undefined && !isObjectName(namespace))
    return wrong("metadata.namespace is no name; a number or truth value has to stand in quotes", "metadata");
  const kept = Object.entries(metadata).filter(([key]) => !writtenByServer.has(key));
  return {
    path,
    object: { apiVersion, kind, ...rest, metadata: { ...Object.fromEntries(kept), name, namespace } },
  } as DeclaredReading;
}

const isFields = (value: unknown): value is Fields =>
  typeof value === "object" && value !== null && !Array.isArray(value);

/** A segment of a path at the API server (its IsValidPathSegmentName). */
function isObjectName(value: unknown): value is string {
  return typeof value === "string" && /^[\x21-\x7e]{1,253}$/.test(value) && !/^\.\.?$|[/%]/.test(value);
}

/** `RoleBinding p10-anna/admin` */
export function describeObject({ kind, metadata: { name, namespace } }: DeclaredObject): string {
  return `${kind} ${namespace === undefined ? "" : `${namespace}/`}${name}`.slice(0, 200);
}

/** The same for two documents that are of one object. */
export function identityOf({ apiVersion, kind, metadata: { name, namespace } }: DeclaredObject): string {
  return [groupOf(apiVersion), kind, namespace ?? "default", name].join(" ");
}

/** `apps` of `apps/v1`; empty for `v1`. */
export const groupOf = (apiVersion: string) =>
  apiVersion.includes("/") ? apiVersion.slice(0, apiVersion.indexOf("/")) : "";

/** What others need to be there, or are to be ruled by when they come. */
const firstKinds = [
  "Namespace",
  "CustomResourceDefinition",
  "PriorityClass",
  "StorageClass",
  "LimitRange",
  "ResourceQuota",
  "ServiceAccount",
  "Secret",
  "ConfigMap",
  "ClusterRole",
  "Role",
  "ClusterRoleBinding",
  "RoleBinding",
];
/** Each of them stands in the way of all others until what answers for it runs. */
const lastKinds = ["APIService", "MutatingWebhookConfiguration", "ValidatingWebhookConfiguration"];

/** Documents in the order in which they can be applied; those of one kind as they stand in the files. */
export function inOrder<D extends { readonly object: DeclaredObject }>(documents: readonly D[]): D[] {
  const rank = ({ object: { kind } }: D) => {
    const first = firstKinds.indexOf(kind);
    if (first !== -1) return first;
    return lastKinds.includes(kind) ? firstKinds.length + 1 : firstKinds.length;
  };
  return documents.toSorted((left, right) => rank(left) - rank(right));
}

/** Whether one of the documents is the definition by which the API server will know this object's kind. */
export function isDefinedIn(documents: readonly DeclaredDocument[], object: DeclaredObject): boolean {
  return documents.some(({ object: definition }) => {
    if (definition.kind !== "CustomResourceDefinition") return false;
    const { spec } = definition as { spec?: { group?: unknown; names?: { kind?: unknown } } };
    return spec?.group === groupOf(object.apiVersion) && spec?.names?.kind === object.kind;
  });
}

/** `12 applied, 1 refused` */
export function formatDeclaredCounts(applied: number, waiting: number, refused: number): string {
  return [
    `${applied} applied`,
    ...(waiting > 0 ? [`${waiting} waiting`] : []),
    ...(refused > 0 ? [`${refused} refused`] : []),
  ].join(", ");
}

/** `students.yaml #3 (RoleBinding p10-anna/admin): the reason` */
export function formatDeclaredProblem({ file, place, object, reason }: DeclaredProblem): string {
  const where = place === undefined ? file : `${file} ${place}`;
  return `${where}${object === undefined ? "" : ` (${object})`}: ${reason}`;
}
