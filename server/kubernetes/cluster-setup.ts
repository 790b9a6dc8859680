import type { ClusterSpec } from "../domain/cluster.ts";
import { ownPrefix } from "../domain/reserved-object.ts";
import { kubeletClientSigner } from "../kubeadm/signing-request-policy.ts";
import { formatCidr } from "../net/cidr.ts";
import { readYaml } from "../yaml/read-yaml.ts";
import type { KubernetesClient, Manifest } from "./client.ts";

/** By which Kubernetes would give any bootstrap token a certificate for any Node; `kubeadm init` makes it. */
const autoApproval = "kubeadm:node-autoapprove-bootstrap";
/** Of the server's certificates with the rights "operator" (pki, issueServerClient); what begins so can't be declared. */
const operators = `${ownPrefix}operators`;

const rbac = "rbac.authorization.k8s.io/v1";

interface Rule {
  readonly apiGroups: readonly string[];
  readonly resources: readonly string[];
  readonly verbs: readonly string[];
  readonly resourceNames?: readonly string[];
}

const rule = (
  apiGroup: string,
  resources: readonly string[],
  verbs: readonly string[],
  resourceNames?: readonly string[],
): Rule => ({ apiGroups: [apiGroup], resources, verbs, ...(resourceNames ? { resourceNames } : {}) });

/**
 * What the everyday work takes. To make Secrets in kube-system, which bootstrap tokens are, is as good as any right there: the certificates
 * for it last ten minutes and never leave the server.
 */
const everywhere: readonly Rule[] = [
  rule("", ["nodes"], ["get", "list", "patch", "delete"]),
  rule("", ["nodes/status"], ["patch"]),
  rule("", ["pods"], ["list", "delete"]),
  rule("", ["pods/eviction"], ["create"]),
  rule("certificates.k8s.io", ["certificatesigningrequests"], ["list", "delete"]),
  rule("certificates.k8s.io", ["certificatesigningrequests/approval"], ["update"]),
  rule("certificates.k8s.io", ["signers"], ["approve"], [kubeletClientSigner]),
  rule("rbac.authorization.k8s.io", ["clusterrolebindings"], ["delete"], [autoApproval]),
];

/** Of bootstrap tokens. A right to create can't be bound to names, nor one to list. */
const inSystem: readonly Rule[] = [
  rule("", ["secrets"], ["get", "list", "create", "patch", "delete"]),
  rule("", ["configmaps"], ["get"], ["kubeadm-config"]),
];

const inPublic: readonly Rule[] = [rule("", ["configmaps"], ["get"], ["cluster-info"])];

function role(kind: "ClusterRole" | "Role", rules: readonly Rule[], namespace?: string): Manifest[] {
  const metadata = { name: operators, ...(namespace === undefined ? {} : { namespace }) };
  return [
    { apiVersion: rbac, kind, metadata, rules } as Manifest,
    {
      apiVersion: rbac,
      kind: `${kind}Binding`,
      metadata,
      roleRef: { apiGroup: "rbac.authorization.k8s.io", kind, name: operators },
      subjects: [{ apiGroup: "rbac.authorization.k8s.io", kind: "Group", name: operators }],
    } as Manifest,
  ];
}

/** Roles and bindings of the group rollcall:operators. */
export function operatorRules(): readonly Manifest[] {
  return [
    ...role("ClusterRole", everywhere),
    ...role("Role", inSystem, "kube-system"),
    ...role("Role", inPublic, "kube-public"),
  ];
}

/**
 * What a new cluster needs from us: rights for our everyday work. With the rights "bootstrap"; again does no harm.
 */
export async function setUpCluster(client: KubernetesClient): Promise<void> {
  for (const manifest of operatorRules())
    await client.apply(
      manifest.kind as "ClusterRole" | "ClusterRoleBinding" | "Role" | "RoleBinding",
      manifest,
    );
}

/**
 * Takes Kubernetes' own approval of joining machines away. Part of every pass, before the requests are judged: each `kubeadm init` brings it back.
 * @returns true when it was there: until now any token could have had a certificate of any Node
 */
export function removeAutoApproval(client: KubernetesClient): Promise<boolean> {
  return client.delete("ClusterRoleBinding", { name: autoApproval });
}

export type ClusterIdentity =
  /** No `kubeadm init` has come to its end in this etcd. */
  | { readonly kind: "none" }
  | { readonly kind: "ours"; readonly kubernetesVersion: string }
  /** etcd has a cluster of another authority, name or network; to join it or to start another over it would break both. */
  | { readonly kind: "foreign"; readonly differences: readonly string[] };

/** Looks whether the cluster that answers is the one that is configured. */
export async function identifyCluster(
  client: KubernetesClient,
  cluster: ClusterSpec,
  authorityPem: string,
): Promise<ClusterIdentity> {
  const config = await client.find("ConfigMap", { name: "kubeadm-config", namespace: "kube-system" });
  if (!config) return { kind: "none" };
  const read = readMap(config.data?.["ClusterConfiguration"]);
  const differences: string[] = [];
  const compare = (what: string, there: unknown, here: string) => {
    if (there !== here)
      differences.push(`${what}: ${JSON.stringify(there ?? "")?.slice(0, 100)}, not ${here}`);
  };
  const { networking } = read as { networking?: Record<string, unknown> };
  compare("clusterName", read["clusterName"], cluster.name);
  compare("podSubnet", networking?.["podSubnet"], formatCidr(cluster.podSubnet));
  compare("serviceSubnet", networking?.["serviceSubnet"], formatCidr(cluster.serviceSubnet));
  compare("dnsDomain", networking?.["dnsDomain"], cluster.dnsDomain);
  const info = await client.find("ConfigMap", { name: "cluster-info", namespace: "kube-public" });
  const there = info && authorityOf(info.data?.["kubeconfig"]);
  if (there !== undefined && there.trim() !== authorityPem.trim())
    differences.push("its authority is not this server's");
  if (differences.length > 0) return { kind: "foreign", differences };
  const { kubernetesVersion } = read;
  return { kind: "ours", kubernetesVersion: typeof kubernetesVersion === "string" ? kubernetesVersion : "" };
}

function authorityOf(kubeconfig: string | undefined): string | undefined {
  const { clusters } = readMap(kubeconfig) as {
    clusters?: readonly { cluster?: { "certificate-authority-data"?: unknown } }[];
  };
  const data = Array.isArray(clusters) ? clusters[0]?.cluster?.["certificate-authority-data"] : undefined;
  return typeof data === "string" ? Buffer.from(data, "base64").toString() : undefined;
}

function readMap(text = ""): Record<string, unknown> {
  const { value } = readYaml(text);
  return typeof value === "object" && value !== null ? (value as Record<string, unknown>) : {};
}
