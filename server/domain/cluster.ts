import { type Cidr, parseCidr } from "../net/cidr.ts";
import { type Ipv4, parseIpv4 } from "../net/ipv4.ts";
import { ClusterInvalid } from "./error-catalogue.ts";

/** A released version of Kubernetes 1.x; kubeadm has the same. */
export interface KubernetesVersion {
  readonly minor: number;
  readonly patch: number;
}

/** Before 1.20 no configuration of kubeadm that we write is known to work. */
export const oldestKubernetesMinor = 20;

/** Reads `1.20.2` or `v1.20.2`; no pre-releases, since kubeadm and images of one are not to be had by its name. */
export function parseKubernetesVersion(text: string): KubernetesVersion | undefined {
  const match = /^v?1\.(0|[1-9][0-9]{0,2})\.(0|[1-9][0-9]{0,2})$/.exec(text);
  return match ? { minor: Number(match[1]), patch: Number(match[2]) } : undefined;
}

/** What somebody meant who left the last number out. */
const exampleOf = (text: string): string => {
  const [, short] = /^v?(1\.[0-9]{1,3})$/.exec(text) ?? [];
  return `${short ?? "1.31"}.0`;
};

/** As kubeadm writes it: `v1.20.2`. */
export function formatKubernetesVersion({ minor, patch }: KubernetesVersion): string {
  return `v1.${minor}.${patch}`;
}

/**
 * Whether the kubelet knows the gate KubeletInUserNamespace, and may fail at what a user namespace forbids: alpha since 1.22, on by default
 * since 1.37, so it is always named. An older kubelet does not start with it; for that the node fakes /proc/sys.
 */
export const hasUserNamespaceGate = ({ minor }: Pick<KubernetesVersion, "minor">): boolean => minor >= 22;

/** What keys the cluster's certificates have; the names are those of kubeadm's `encryptionAlgorithm`. */
export type KeyAlgorithm = "ECDSA-P256" | "RSA-2048";

export type EtcdPlacement =
  /** Outside the masters, so that these keep nothing: `https://10.0.0.1:2379`. */
  | { readonly kind: "external"; readonly endpoints: readonly string[] }
  /** A member on each master. */
  | { readonly kind: "stacked"; readonly dataDirectory: string };

/** One cluster: all that its configurations and certificates are made of, besides the machines. */
export interface ClusterSpec {
  readonly name: string;
  readonly version: KubernetesVersion;
  /** Where every machine finds the API server, whatever master is up (`controlPlaneEndpoint`): it can't be added later. */
  readonly endpoint: { readonly host: string; readonly port: number };
  /** Where control-plane images come from; undefined: kubeadm's own. */
  readonly imageRepository: string | undefined;
  readonly serviceSubnet: Cidr;
  readonly podSubnet: Cidr;
  readonly dnsDomain: string;
  readonly etcd: EtcdPlacement;
  /** Names and addresses that the API server's certificate has besides the usual ones. */
  readonly certificateSans: readonly string[];
  readonly keyAlgorithm: KeyAlgorithm;
  /** Socket of the container runtime in the machine, `unix://...`. */
  readonly criSocket: string;
  /** What answers names inside of the cluster. */
  readonly dns: ClusterDns;
  /** Image of each pod's first container. */
  readonly pauseImage: string;
}

export type ClusterDns = "coredns" | "none";

/** A machine as Kubernetes sees it. */
export interface ClusterMachine {
  /** Name of the Node. */
  readonly name: string;
  readonly address: Ipv4;
}

/** A cluster as a person writes it; what is left out has kubeadm's default. */
export interface ClusterInput {
  readonly name?: string;
  readonly kubernetesVersion: string;
  /** `api.lab:6443` or `10.0.0.1:6443`. */
  readonly endpoint: string;
  readonly imageRepository?: string;
  readonly serviceSubnet?: string;
  readonly podSubnet?: string;
  readonly dnsDomain?: string;
  readonly etcd: EtcdPlacement;
  readonly certificateSans?: readonly string[];
  readonly keyAlgorithm?: KeyAlgorithm;
  readonly criSocket?: string;
  readonly dns?: ClusterDns;
  readonly pauseImage?: string;
}

/** The port of the API server on each master, and of the endpoint unless it says another. */
export const apiServerPort = 6443;

/** RFC 1123: what Kubernetes allows as the name of a Node or a host. */
export function isDnsName(text: string): boolean {
  return text.length <= 253 && /^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$/.test(text);
}

/** The address of the Service `kubernetes`: the first of its subnet. */
export function firstServiceAddress({ serviceSubnet }: Pick<ClusterSpec, "serviceSubnet">): number {
  return serviceSubnet.first + 1;
}

const isLoopback = (host: string) => host === "localhost" || host.startsWith("127.");
/** A path that can stand in a file of ours as it is. */
const isPath = (text: string) => /^(\/[A-Za-z0-9._-]+)+$/.test(text) && !text.includes("/..");

/**
 * Reads a cluster and checks all of it.
 * @throws ClusterInvalid with every problem found
 */
export function readCluster(input: ClusterInput): ClusterSpec {
  const problems: string[] = [];
  const check = (isRight: boolean, problem: string) => {
    if (!isRight) problems.push(problem);
  };
  const version = parseKubernetesVersion(input.kubernetesVersion);
  check(
    version !== undefined,
    `kubernetesVersion: ${quoted(input.kubernetesVersion)} is no version of three numbers, like ${exampleOf(input.kubernetesVersion)}`,
  );
  if (version)
    check(
      version.minor >= oldestKubernetesMinor,
      `kubernetesVersion: the oldest that works is 1.${oldestKubernetesMinor}`,
    );
  const [host = "", portText = String(apiServerPort), ...rest] = input.endpoint.split(":");
  const port = Number(portText);
  const isAddress = /^[0-9.]+$/.test(host);
  check(
    rest.length === 0 && /^[0-9]{1,5}$/.test(portText) && port >= 1 && port <= 65_535,
    `endpoint: ${quoted(input.endpoint)} has no port from 1 to 65535`,
  );
  check(
    isAddress ? parseIpv4(host) !== undefined : isDnsName(host),
    `endpoint: ${quoted(host)} is no host name and no IPv4 address`,
  );
  check(!isLoopback(host), "endpoint: other machines can't reach a loopback address");
  const subnet = (key: "serviceSubnet" | "podSubnet", text: string) => {
    const cidr = parseCidr(text);
    check(cidr !== undefined, `${key}: ${quoted(text)} is no network like 10.96.0.0/12`);
    return cidr;
  };
  const serviceSubnet = subnet("serviceSubnet", input.serviceSubnet ?? "10.96.0.0/12");
  const podSubnet = subnet("podSubnet", input.podSubnet ?? "10.244.0.0/16");
  if (serviceSubnet && podSubnet)
    check(
      serviceSubnet.last < podSubnet.first || podSubnet.last < serviceSubnet.first,
      "podSubnet: overlaps with serviceSubnet",
    );
  // kubeadm gives each Node a /24 of the pods, and the tenth address of the services to the DNS.
  if (podSubnet) check(podSubnet.prefixLength <= 24, "podSubnet: each machine needs a /24 of it");
  if (serviceSubnet) check(serviceSubnet.prefixLength <= 27, "serviceSubnet: the smallest is a /27");
  const name = input.name ?? "kubernetes";
  check(isDnsName(name), `name: ${quoted(name)} is no name of lower-case letters, digits and hyphens`);
  const dnsDomain = input.dnsDomain ?? "cluster.local";
  check(isDnsName(dnsDomain), `dnsDomain: ${quoted(dnsDomain)} is no DNS name`);
  const { etcd } = input;
  if (etcd.kind === "external") {
    check(etcd.endpoints.length > 0, "etcd: no endpoint");
    for (const url of etcd.endpoints)
      check(
        /^https:\/\/[a-z0-9.-]+:[0-9]{1,5}$/.test(url),
        `etcd: ${quoted(url)} is not like https://10.0.0.1:2379`,
      );
  } else check(isPath(etcd.dataDirectory), `etcd: ${quoted(etcd.dataDirectory)} is no absolute path`);
  for (const san of input.certificateSans ?? [])
    check(isDnsName(san), `certificateSans: ${quoted(san)} is no host name and no IPv4 address`);
  const criSocket = input.criSocket ?? "unix:///run/containerd/containerd.sock";
  check(
    criSocket.startsWith("unix://") && isPath(criSocket.slice("unix://".length)),
    `criSocket: ${quoted(criSocket)} is not like unix:///run/crio/crio.sock`,
  );
  const { imageRepository } = input;
  if (imageRepository !== undefined)
    check(
      /^[a-z0-9.-]+(:[0-9]{1,5})?(\/[a-z0-9._-]+)*$/.test(imageRepository),
      `imageRepository: ${quoted(imageRepository)} is not like registry.local/k8s`,
    );
  if (input.pauseImage !== undefined)
    check(
      /^[a-z0-9.-]+(:[0-9]{1,5})?(\/[a-z0-9._-]+)+:[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}$/.test(input.pauseImage),
      `pauseImage: ${quoted(input.pauseImage)} is not like registry.local/k8s/pause:3.10`,
    );
  if (problems.length > 0 || !version || !serviceSubnet || !podSubnet) throw ClusterInvalid({ problems });
  return {
    name,
    version,
    endpoint: { host, port },
    imageRepository,
    serviceSubnet,
    podSubnet,
    dnsDomain,
    etcd,
    certificateSans: input.certificateSans ?? [],
    keyAlgorithm: input.keyAlgorithm ?? "ECDSA-P256",
    criSocket,
    dns: input.dns ?? "coredns",
    pauseImage: input.pauseImage ?? pauseImageOf(version, imageRepository),
  };
}

/** Since which minor version kubeadm has which version of pause (its constants.go); the newest first. */
const pauseVersions = [
  { since: 36, pause: "3.10.2" },
  { since: 34, pause: "3.10.1" },
  { since: 31, pause: "3.10" },
  { since: 26, pause: "3.9" },
  { since: 25, pause: "3.8" },
  { since: 24, pause: "3.7" },
  { since: 23, pause: "3.6" },
  { since: 22, pause: "3.5" },
  { since: 21, pause: "3.4.1" },
  { since: 0, pause: "3.2" },
];

/** The one that kubeadm of this version would take; 1.25 was the first with the registry's new name. */
function pauseImageOf({ minor }: KubernetesVersion, repository: string | undefined): string {
  const own = minor >= 25 ? "registry.k8s.io" : "k8s.gcr.io";
  return `${repository ?? own}/pause:${pauseVersions.find(({ since }) => minor >= since)?.pause}`;
}

const quoted = (text: string) => JSON.stringify(text.slice(0, 100));
