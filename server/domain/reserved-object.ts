import { type DeclaredObject, groupOf } from "./declared-object.ts";

/** Names of the server's own rights in the cluster begin so. */
export const ownPrefix = "rollcall:";
/** The namespace of the network `flannel`, and the name of all that belongs to it. */
export const flannelName = "kube-flannel";

const rbac = "rbac.authorization.k8s.io";
const rights = ["ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding"];

interface Reservation {
  /** `v1` has none. */
  readonly group: string;
  readonly kinds: readonly string[];
  /** Undefined: any, or none. */
  readonly namespace?: string;
  readonly name?: RegExp;
  /** Whose it is, and what to do instead. */
  readonly reason: string;
}

const kubernetesOwn = "belongs to Kubernetes itself, which makes it; take another name";

const reservations: readonly Reservation[] = [
  {
    group: "",
    kinds: ["Node"],
    reason:
      "a Node comes with its machine: assign the role of a master or worker with boot assign, and set labels and taints with kubectl",
  },
  {
    group: "certificates.k8s.io",
    kinds: ["CertificateSigningRequest"],
    reason:
      "requests are made by machines that join, and judged by the server: make one for a person with kubectl, when there is somebody to approve it",
  },
  {
    group: "",
    kinds: ["Secret"],
    namespace: "kube-system",
    name: /^bootstrap-token-/,
    reason:
      "bootstrap tokens are made by the server, for one machine each; boot cluster join makes one for a machine of yours",
  },
  {
    group: rbac,
    kinds: rights,
    name: new RegExp(`^${ownPrefix}`),
    reason: `names that begin with ${ownPrefix} are the server's own rights; take another name`,
  },
  {
    group: rbac,
    kinds: rights,
    name: /^kubeadm:/,
    reason:
      "names that begin with kubeadm: are rights that kubeadm init makes and the server judges; take another name",
  },
  { group: rbac, kinds: rights, name: /^system:/, reason: `what begins with system: ${kubernetesOwn}` },
  {
    group: rbac,
    kinds: ["ClusterRole", "ClusterRoleBinding"],
    name: /^cluster-admin$/,
    reason:
      "cluster-admin belongs to Kubernetes itself; bind the ClusterRole cluster-admin in a ClusterRoleBinding of another name",
  },
  {
    group: "",
    kinds: ["ConfigMap"],
    namespace: "kube-system",
    name: /^(kubeadm-config|kubelet-config(-1\.\d+)?|kube-proxy)$/,
    reason: "kubeadm makes it from the server's config; change the keys cluster.* in rollcall.yaml",
  },
  {
    group: "apps",
    kinds: ["DaemonSet"],
    namespace: "kube-system",
    name: /^kube-proxy$/,
    reason: "kubeadm makes it from the server's config; change the keys cluster.* in rollcall.yaml",
  },
  {
    group: "",
    kinds: ["ConfigMap"],
    namespace: "kube-public",
    name: /^cluster-info$/,
    reason: "kubeadm makes it, and machines that join trust what stands in it; take another name",
  },
  {
    group: "",
    kinds: ["ConfigMap"],
    namespace: "kube-system",
    name: /^extension-apiserver-authentication$/,
    reason: `it ${kubernetesOwn}`,
  },
  { group: "", kinds: ["ConfigMap"], name: /^kube-root-ca\.crt$/, reason: `it ${kubernetesOwn}` },
  {
    group: "",
    kinds: ["Service", "Endpoints"],
    namespace: "default",
    name: /^kubernetes$/,
    reason: `it ${kubernetesOwn}`,
  },
  {
    group: "coordination.k8s.io",
    kinds: ["Lease"],
    namespace: "kube-node-lease",
    reason: "these are the signs of life of the machines, and each makes its own; take another namespace",
  },
];

const ofFlannel =
  "it belongs to the network flannel, which the server applies: its images are cluster.flannelImage and cluster.flannelPluginImage; take another name";

/**
 * Why an object can't be declared: the server, kubeadm or Kubernetes itself manages it, and two who write one object write over each other in
 * each generation. Undefined: it can.
 * @param network `cluster.network`: what the server applies itself is its own
 */
export function reasonAgainst(object: DeclaredObject, network: string): string | undefined {
  const { apiVersion, kind, metadata } = object;
  const { name } = metadata;
  // Where it comes to lie when it names none; kinds without one have rows without.
  const namespace = metadata.namespace ?? "default";
  const group = groupOf(apiVersion);
  if (network === "flannel" && isOfFlannel(group, kind, name, namespace)) return ofFlannel;
  if (
    group === "" &&
    kind === "Secret" &&
    (object as { type?: unknown }).type === "bootstrap.kubernetes.io/token"
  )
    return reservations.find(({ kinds }) => kinds.includes("Secret"))?.reason;
  return reservations.find(
    (row) =>
      row.group === group &&
      row.kinds.includes(kind) &&
      (row.namespace === undefined || row.namespace === namespace) &&
      (row.name === undefined || row.name.test(name)),
  )?.reason;
}

function isOfFlannel(group: string, kind: string, name: string, namespace: string): boolean {
  if (namespace === flannelName) return true;
  return (
    name === flannelName &&
    ((group === "" && kind === "Namespace") || (group === rbac && rights.includes(kind)))
  );
}
