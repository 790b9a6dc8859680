/** The few kinds that the server deals in, and of each what it reads or writes (Kubernetes API 1.20 and later). */

export interface Metadata {
  readonly name: string;
  readonly namespace?: string;
  readonly uid?: string;
  readonly resourceVersion?: string;
  readonly labels?: Readonly<Record<string, string>>;
  readonly annotations?: Readonly<Record<string, string>>;
  readonly deletionTimestamp?: string;
  readonly ownerReferences?: readonly { readonly kind: string; readonly controller?: boolean }[];
}

export interface KubernetesObject {
  readonly apiVersion?: string;
  readonly kind?: string;
  readonly metadata: Metadata;
}

export interface Condition {
  readonly type: string;
  readonly status: string;
  readonly reason?: string;
  readonly message?: string;
}

export interface NodeObject extends KubernetesObject {
  readonly spec?: { readonly podCIDR?: string; readonly unschedulable?: boolean };
  readonly status?: {
    readonly conditions?: readonly Condition[];
    readonly addresses?: readonly { readonly type: string; readonly address: string }[];
    readonly nodeInfo?: { readonly bootID: string; readonly kubeletVersion: string };
  };
}

export interface PodObject extends KubernetesObject {
  readonly status?: { readonly phase?: string };
}

export interface SecretObject extends KubernetesObject {
  readonly type?: string;
  /** Base64. */
  readonly data?: Readonly<Record<string, string>>;
}

export interface NamespaceObject extends KubernetesObject {
  readonly spec?: { readonly finalizers?: readonly string[] };
  readonly status?: { readonly phase?: string; readonly conditions?: readonly Condition[] };
}

export interface ResourceQuotaObject extends KubernetesObject {
  readonly status?: {
    readonly hard?: Readonly<Record<string, string>>;
    readonly used?: Readonly<Record<string, string>>;
  };
}

export interface ConfigMapObject extends KubernetesObject {
  readonly data?: Readonly<Record<string, string>>;
}

export interface SigningRequestObject extends KubernetesObject {
  readonly spec: {
    readonly username?: string;
    readonly signerName: string;
    readonly usages?: readonly string[];
    /** PEM, as base64. */
    readonly request: string;
  };
  readonly status?: { readonly conditions?: readonly Condition[]; readonly certificate?: string };
}

/** What each kind is read as; a kind that is only written is any object. */
export interface ObjectOfKind {
  readonly Node: NodeObject;
  readonly Pod: PodObject;
  readonly Secret: SecretObject;
  readonly ConfigMap: ConfigMapObject;
  readonly CertificateSigningRequest: SigningRequestObject;
  readonly Namespace: NamespaceObject;
  readonly ServiceAccount: KubernetesObject;
  readonly Role: KubernetesObject;
  readonly RoleBinding: KubernetesObject;
  readonly ClusterRole: KubernetesObject;
  readonly ClusterRoleBinding: KubernetesObject;
  readonly DaemonSet: KubernetesObject;
  readonly ResourceQuota: ResourceQuotaObject;
  readonly LimitRange: KubernetesObject;
  readonly NetworkPolicy: KubernetesObject;
}
export type Kind = keyof ObjectOfKind;

/** Where the objects of a kind lie at the API server. */
export interface Resource {
  readonly apiVersion: string;
  readonly plural: string;
  readonly isNamespaced: boolean;
}

const resource = (apiVersion: string, plural: string, isNamespaced: boolean): Resource => ({
  apiVersion,
  plural,
  isNamespaced,
});

const rbac = "rbac.authorization.k8s.io/v1";

export const resources: Readonly<Record<Kind, Resource>> = {
  Node: resource("v1", "nodes", false),
  Pod: resource("v1", "pods", true),
  Secret: resource("v1", "secrets", true),
  ConfigMap: resource("v1", "configmaps", true),
  // Since 1.19: older clusters are none of ours.
  CertificateSigningRequest: resource("certificates.k8s.io/v1", "certificatesigningrequests", false),
  Namespace: resource("v1", "namespaces", false),
  ServiceAccount: resource("v1", "serviceaccounts", true),
  Role: resource(rbac, "roles", true),
  RoleBinding: resource(rbac, "rolebindings", true),
  ClusterRole: resource(rbac, "clusterroles", false),
  ClusterRoleBinding: resource(rbac, "clusterrolebindings", false),
  DaemonSet: resource("apps/v1", "daemonsets", true),
  ResourceQuota: resource("v1", "resourcequotas", true),
  LimitRange: resource("v1", "limitranges", true),
  NetworkPolicy: resource("networking.k8s.io/v1", "networkpolicies", true),
};

export interface ObjectName {
  readonly name: string;
  readonly namespace?: string;
}

/** Path of one object or, without a name, of all of its kind. */
export function pathOf(kind: Kind, name: Partial<ObjectName> = {}, subresource?: string): string {
  return pathIn(resources[kind], name, subresource);
}

/** The same for a kind that was discovered. */
export function pathIn(
  { apiVersion, plural }: Pick<Resource, "apiVersion" | "plural">,
  { name, namespace }: Partial<ObjectName> = {},
  subresource?: string,
): string {
  return [
    apiPath(apiVersion),
    ...(namespace === undefined ? [] : ["namespaces", encodeURIComponent(namespace)]),
    plural,
    ...(name === undefined ? [] : [encodeURIComponent(name)]),
    ...(subresource === undefined ? [] : [subresource]),
  ].join("/");
}

/** Of a group and version: `/api/v1`, `/apis/apps/v1`. */
export const apiPath = (apiVersion: string): string =>
  `${apiVersion.includes("/") ? "/apis" : "/api"}/${apiVersion}`;
