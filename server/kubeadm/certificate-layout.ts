import {
  type ClusterMachine,
  type ClusterSpec,
  apiServerPort,
  firstServiceAddress,
} from "../domain/cluster.ts";
import { ipv4FromNumber, parseIpv4 } from "../net/ipv4.ts";

/** The authorities of kubeadm's layout. */
export type Signer = "cluster" | "frontProxy" | "etcd";
export type ExtendedUsage = "serverAuth" | "clientAuth";

/** Who a certificate is for; all have digitalSignature and keyEncipherment as kubeadm's do. */
export interface CertificateProfile {
  readonly commonName: string;
  readonly organizations: readonly string[];
  readonly usages: readonly ExtendedUsage[];
  readonly dnsNames: readonly string[];
  readonly addresses: readonly string[];
}

/** A certificate and its key below /etc/kubernetes/pki. */
export interface CertificateFile {
  /** Without `.crt` and `.key`. */
  readonly path: string;
  readonly signer: Signer;
  readonly profile: CertificateProfile;
}

/** A kubeconfig in /etc/kubernetes, with a client certificate of the cluster's authority in it. */
export interface KubeconfigFile {
  readonly name: string;
  /** URL of the API server. */
  readonly server: string;
  readonly profile: CertificateProfile;
}

/** Where the authorities stand below /etc/kubernetes/pki, and their names (kubeadm's certlist.go). */
export const authorityFiles: Readonly<
  Record<Signer, { readonly path: string; readonly commonName: string }>
> = {
  cluster: { path: "ca", commonName: "kubernetes" },
  frontProxy: { path: "front-proxy-ca", commonName: "front-proxy-ca" },
  etcd: { path: "etcd/ca", commonName: "etcd-ca" },
};

export const certificatesDirectory = "/etc/kubernetes/pki";
/** May do all, and no RBAC rule takes it away: for what must work before there are any. */
export const privilegedGroup = "system:masters";
/** Since 1.29 kubeadm gives administrators this group, which a ClusterRoleBinding grants and can take back. */
const administratorsGroup = "kubeadm:cluster-admins";
const groupsSince = 29;
/** Since 1.33 the kubelet of a master speaks to the API server beside it (kubeadm's gate ControlPlaneKubeletLocalMode). */
const localKubeletSince = 33;

export function endpointUrl({ endpoint }: ClusterSpec): string {
  return `https://${endpoint.host}:${endpoint.port}`;
}

/** Of somebody who shows a certificate and serves nothing. */
export const clientProfile = (commonName: string, ...organizations: string[]): CertificateProfile => ({
  commonName,
  organizations,
  usages: ["clientAuth"],
  dnsNames: [],
  addresses: [],
});

/** Parts host names from addresses, each once: a certificate has them in different fields. */
function withNames(names: readonly string[]): Pick<CertificateProfile, "dnsNames" | "addresses"> {
  const once = [...new Set(names)];
  const isAddress = (name: string) => parseIpv4(name) !== undefined || name.includes(":");
  return { dnsNames: once.filter((name) => !isAddress(name)), addresses: once.filter(isAddress) };
}

/** What a name must be for the API server's certificate to be taken: kubeadm checks each of these in a certificate that it finds. */
export function apiServerNames(cluster: ClusterSpec, machine: ClusterMachine): string[] {
  return [
    machine.name,
    "kubernetes",
    "kubernetes.default",
    "kubernetes.default.svc",
    `kubernetes.default.svc.${cluster.dnsDomain}`,
    ipv4FromNumber(firstServiceAddress(cluster)),
    machine.address,
    cluster.endpoint.host,
    "localhost",
    "127.0.0.1",
    ...cluster.certificateSans,
  ];
}

/** A member of etcd, to its clients and to the other members: each of them is both ends of a connection. */
export function etcdMemberProfile({ name, address }: ClusterMachine): CertificateProfile {
  return {
    commonName: name,
    organizations: [],
    usages: ["serverAuth", "clientAuth"],
    ...withNames([name, "localhost", address, "127.0.0.1", "::1"]),
  };
}

/** The certificates of one master; with an external etcd there are none of a local member. */
export function certificateFiles(cluster: ClusterSpec, machine: ClusterMachine): CertificateFile[] {
  const isNew = cluster.version.minor >= groupsSince;
  // etcd looks at no groups; kubeadm wrote it until 1.28 all the same.
  const etcdGroups = isNew ? [] : [privilegedGroup];
  const member = etcdMemberProfile(machine);
  return [
    {
      path: "apiserver",
      signer: "cluster",
      profile: {
        commonName: "kube-apiserver",
        organizations: [],
        usages: ["serverAuth"],
        ...withNames(apiServerNames(cluster, machine)),
      },
    },
    {
      path: "apiserver-kubelet-client",
      signer: "cluster",
      profile: clientProfile("kube-apiserver-kubelet-client", isNew ? administratorsGroup : privilegedGroup),
    },
    { path: "front-proxy-client", signer: "frontProxy", profile: clientProfile("front-proxy-client") },
    {
      path: "apiserver-etcd-client",
      signer: "etcd",
      profile: clientProfile("kube-apiserver-etcd-client", ...etcdGroups),
    },
    ...(cluster.etcd.kind === "stacked"
      ? ([
          { path: "etcd/server", signer: "etcd", profile: member },
          { path: "etcd/peer", signer: "etcd", profile: member },
          {
            path: "etcd/healthcheck-client",
            signer: "etcd",
            profile: clientProfile("kube-etcd-healthcheck-client", ...etcdGroups),
          },
        ] as const)
      : []),
  ];
}

/** The administrator's kubeconfig: of the group that the version knows. */
export function administratorKubeconfig(cluster: ClusterSpec): KubeconfigFile {
  const group = cluster.version.minor >= groupsSince ? administratorsGroup : privilegedGroup;
  return {
    name: "admin.conf",
    server: endpointUrl(cluster),
    profile: clientProfile("kubernetes-admin", group),
  };
}

/**
 * The kubeconfigs of one master. The controller manager and the scheduler speak to the API server beside them, as kubeadm has it.
 * @param isFirst the master that makes the cluster. It alone has kubelet.conf, since the others get theirs as they join and kubeadm refuses
 *   to find one; and since 1.29 super-admin.conf, which grants admin.conf its rights
 */
export function kubeconfigFiles(
  cluster: ClusterSpec,
  machine: ClusterMachine,
  { isFirst }: { readonly isFirst: boolean },
): KubeconfigFile[] {
  const local = `https://${machine.address}:${apiServerPort}`;
  return [
    administratorKubeconfig(cluster),
    ...(isFirst && cluster.version.minor >= groupsSince
      ? [
          {
            name: "super-admin.conf",
            server: endpointUrl(cluster),
            profile: clientProfile("kubernetes-super-admin", privilegedGroup),
          },
        ]
      : []),
    {
      name: "controller-manager.conf",
      server: local,
      profile: clientProfile("system:kube-controller-manager"),
    },
    { name: "scheduler.conf", server: local, profile: clientProfile("system:kube-scheduler") },
    ...(isFirst
      ? [
          {
            name: "kubelet.conf",
            server: cluster.version.minor >= localKubeletSince ? local : endpointUrl(cluster),
            profile: clientProfile(`system:node:${machine.name}`, "system:nodes"),
          },
        ]
      : []),
  ];
}
