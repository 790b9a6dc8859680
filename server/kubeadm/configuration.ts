import {
  apiServerPort,
  type ClusterMachine,
  type ClusterSpec,
  formatKubernetesVersion,
} from "../domain/cluster.ts";
import { formatCidr } from "../net/cidr.ts";
import { writeYaml } from "../yaml/read-yaml.ts";
import {
  type BootstrapToken,
  bootstrapGroups,
  bootstrapUsages,
  formatBootstrapToken,
  tokenDescription,
} from "./bootstrap-token.ts";
import { certificatesDirectory } from "./certificate-layout.ts";
import {
  kubeletConfiguration,
  kubeProxyConfiguration,
  volumePluginDirectory,
} from "./component-configuration.ts";

/** kubeadm's configuration API: each version of kubeadm reads its own and some older ones. */
type ApiVersion = "v1beta2" | "v1beta3" | "v1beta4";

/** The newest that a version of kubeadm reads: v1beta3 came with 1.22, v1beta4 with 1.31. */
export function kubeadmApiVersion({ version: { minor } }: Pick<ClusterSpec, "version">): ApiVersion {
  if (minor >= 31) return "v1beta4";
  return minor >= 22 ? "v1beta3" : "v1beta2";
}

export interface InitInput {
  readonly cluster: ClusterSpec;
  readonly machine: ClusterMachine;
  /** Always given: without one kubeadm makes a token of its own, which lives for a day and nobody deletes. */
  readonly token: BootstrapToken;
  /** The boot that this is for. */
  readonly attempt: string;
  /** 64 hex digits; given, kubeadm uploads the shared keys under it, as podsec's masters want. */
  readonly certificateKey?: string;
}

export type Discovery =
  /** By a file that came with the instruction: no anonymous request, no wait for a signature. */
  | { readonly kind: "file"; readonly path: string }
  /** By the ConfigMap cluster-info, checked by the token's secret and the pinned authority. */
  | { readonly kind: "token"; readonly authorityHash: string };

export interface JoinInput {
  readonly cluster: ClusterSpec;
  readonly machine: ClusterMachine;
  readonly token: BootstrapToken;
  readonly discovery: Discovery;
  readonly role: "control-plane" | "worker";
  readonly certificateKey?: string;
}

/** Of a slow machine that fetches images into RAM; kubeadm's own 4 minutes are too few. */
const patience = "10m0s";
/** Kubelets' certificates, from each join anew: nothing revokes one, so it had better end soon. */
const kubeletCertificateLife = "24h0m0s";

/** Checks of kubeadm that a user namespace or a root in RAM can't pass; RAM and processors are checked by the server before. */
const ignoredPreflightErrors = [
  "FileContent--proc-sys-net-bridge-bridge-nf-call-iptables",
  "Mem",
  "NumCPU",
  "Swap",
  "SystemVerification",
];

/** Until v1beta3 no field leaves the DNS out, and the check of the images asks for its image all the same. */
const hasNoDnsField = (cluster: ClusterSpec) =>
  cluster.dns === "none" && kubeadmApiVersion(cluster) !== "v1beta4";

/**
 * Words that `kubeadm init` is called with besides its configuration. kubelet-finalize starts kubelet anew so that it finds its renewed certificate
 * after its next start; it finds that anyhow, where it keeps it, and prefers it to the one in its configuration.
 */
export function initArguments(cluster: ClusterSpec): readonly string[] {
  const skipped = ["kubelet-finalize", ...(hasNoDnsField(cluster) ? ["addon/coredns"] : [])];
  return [`--skip-phases=${skipped.join(",")}`];
}

/**
 * Controller manager and scheduler end themselves when they can't renew their lease in time: with the default of 10 s each busy minute of an old or
 * emulated machine would cost a start of theirs, in the middle of the joins that they sign for.
 */
const patientLease = {
  "leader-elect-lease-duration": "60s",
  "leader-elect-renew-deadline": "45s",
  "leader-elect-retry-period": "5s",
};

type Arguments = Readonly<Record<string, string>>;

/** A map until v1beta3; a list since, in which a name may come twice. */
function argumentsFor(api: ApiVersion, named: Arguments) {
  return api === "v1beta4" ? Object.entries(named).map(([name, value]) => ({ name, value })) : named;
}

/** The first machine's: InitConfiguration, ClusterConfiguration and those of the kubelet and kube-proxy. Holds secrets. */
export function initConfiguration(input: InitInput): string {
  const { cluster, machine, token, attempt, certificateKey } = input;
  const api = kubeadmApiVersion(cluster);
  const init = {
    ...head(api, "InitConfiguration"),
    bootstrapTokens: [
      {
        token: formatBootstrapToken(token),
        description: tokenDescription({ machine: machine.name, attempt }),
        ttl: "15m0s",
        usages: bootstrapUsages,
        groups: bootstrapGroups,
      },
    ],
    localAPIEndpoint: localEndpoint(machine),
    nodeRegistration: nodeRegistration(api, cluster, machine, ignoredByFirst(cluster)),
    ...(certificateKey === undefined ? {} : { certificateKey }),
    ...timeouts(api, ["controlPlaneComponentHealthCheck", "kubeletHealthCheck"]),
  };
  return documents([
    init,
    clusterConfiguration(cluster),
    kubeletConfiguration(cluster),
    kubeProxyConfiguration(cluster),
  ]);
}

/** What a machine joins with. Holds a secret. */
export function joinConfiguration({
  cluster,
  machine,
  token,
  discovery,
  role,
  certificateKey,
}: JoinInput): string {
  const api = kubeadmApiVersion(cluster);
  const text = formatBootstrapToken(token);
  return documents([
    {
      ...head(api, "JoinConfiguration"),
      caCertPath: `${certificatesDirectory}/ca.crt`,
      discovery: {
        ...(discovery.kind === "file"
          ? { file: { kubeConfigPath: discovery.path } }
          : {
              bootstrapToken: {
                apiServerEndpoint: endpointOf(cluster),
                token: text,
                caCertHashes: [discovery.authorityHash],
              },
            }),
        tlsBootstrapToken: text,
        ...(api === "v1beta4" ? {} : { timeout: patience }),
      },
      nodeRegistration: nodeRegistration(api, cluster, machine),
      ...(role === "control-plane"
        ? {
            controlPlane: {
              localAPIEndpoint: localEndpoint(machine),
              ...(certificateKey === undefined ? {} : { certificateKey }),
            },
          }
        : {}),
      ...timeouts(api, [
        "controlPlaneComponentHealthCheck",
        "discovery",
        "kubeletHealthCheck",
        "tlsBootstrap",
      ]),
    },
  ]);
}

function clusterConfiguration(cluster: ClusterSpec) {
  const api = kubeadmApiVersion(cluster);
  const { imageRepository, certificateSans } = cluster;
  return {
    ...head(api, "ClusterConfiguration"),
    clusterName: cluster.name,
    kubernetesVersion: formatKubernetesVersion(cluster.version),
    controlPlaneEndpoint: endpointOf(cluster),
    // Another directory on one machine makes every joining kubelet fail: the path goes to all of them.
    certificatesDir: certificatesDirectory,
    ...(imageRepository === undefined ? {} : { imageRepository }),
    ...(api === "v1beta4" ? { encryptionAlgorithm: cluster.keyAlgorithm } : {}),
    networking: {
      serviceSubnet: formatCidr(cluster.serviceSubnet),
      podSubnet: formatCidr(cluster.podSubnet),
      dnsDomain: cluster.dnsDomain,
    },
    ...(api === "v1beta4" && cluster.dns === "none" ? { dns: { disabled: true } } : {}),
    etcd: etcdConfiguration(api, cluster),
    ...(needsLearnerGate(cluster) ? { featureGates: { EtcdLearnerMode: true } } : {}),
    apiServer: {
      certSANs: [...new Set([cluster.endpoint.host, "localhost", "127.0.0.1", ...certificateSans])],
      ...(api === "v1beta4" ? {} : { timeoutForControlPlane: patience }),
    },
    controllerManager: {
      extraArgs: argumentsFor(api, {
        "cluster-signing-duration": kubeletCertificateLife,
        ...(mountsVolumePlugins(cluster) ? { "flex-volume-plugin-dir": volumePluginDirectory } : {}),
        ...patientLease,
      }),
    },
    scheduler: { extraArgs: argumentsFor(api, patientLease) },
  };
}

/** Up to 1.35 kubeadm mounts that directory for the controller manager, and makes it: by default below /usr. */
const mountsVolumePlugins = ({ version: { minor } }: ClusterSpec) => minor < 36;

/** A joining member votes in nothing until it has caught up: kubeadm can do that from 1.27 on, and does it by itself from 1.29 on. */
const needsLearnerGate = ({ etcd, version: { minor } }: ClusterSpec) =>
  etcd.kind === "stacked" && (minor === 27 || minor === 28);

function etcdConfiguration(api: ApiVersion, { etcd }: ClusterSpec) {
  if (etcd.kind === "external")
    return {
      external: {
        endpoints: etcd.endpoints,
        caFile: `${certificatesDirectory}/etcd/ca.crt`,
        certFile: `${certificatesDirectory}/apiserver-etcd-client.crt`,
        keyFile: `${certificatesDirectory}/apiserver-etcd-client.key`,
      },
    };
  return {
    local: {
      dataDir: etcd.dataDirectory,
      extraArgs: argumentsFor(api, {
        // The data are in RAM: etcd's own defaults are 2 GiB, and five files each of 64 MB.
        "auto-compaction-retention": "1h",
        "max-snapshots": "2",
        "max-wals": "2",
        "quota-backend-bytes": String(512 * 1024 ** 2),
        // RootlessKit forwards published ports to the loopback device of the namespace.
        "listen-peer-urls": "https://0.0.0.0:2380",
      }),
    },
  };
}

/**
 * The first master may bring its member's data with it, from a snapshot; one that joins must have none. Only `init` asks an external etcd for
 * its version: newer kubeadm wants 3.5.24, and Debian 12 has 3.4. The server runs that etcd, and tells its operator (docs/cluster.md).
 */
const ignoredByFirst = ({ etcd }: ClusterSpec): string[] =>
  etcd.kind === "stacked"
    ? [`DirAvailable-${etcd.dataDirectory.replaceAll("/", "-")}`]
    : ["ExternalEtcdVersion"];

function nodeRegistration(
  api: ApiVersion,
  cluster: ClusterSpec,
  machine: ClusterMachine,
  alsoIgnored: readonly string[] = [],
) {
  return {
    name: machine.name,
    criSocket: cluster.criSocket,
    ignorePreflightErrors: [
      ...ignoredPreflightErrors,
      ...(hasNoDnsField(cluster) ? ["ImagePull"] : []),
      ...alsoIgnored,
    ],
    // Else the kubelet takes the address of slirp4netns, which is the same on each machine.
    kubeletExtraArgs: argumentsFor(api, { "node-ip": machine.address }),
  };
}

function timeouts(api: ApiVersion, names: readonly string[]) {
  return api === "v1beta4" ? { timeouts: Object.fromEntries(names.map((name) => [name, patience])) } : {};
}

const head = (api: ApiVersion, kind: string) => ({ apiVersion: `kubeadm.k8s.io/${api}`, kind });
const endpointOf = ({ endpoint }: ClusterSpec) => `${endpoint.host}:${endpoint.port}`;
const localEndpoint = ({ address }: ClusterMachine) => ({
  advertiseAddress: address,
  bindPort: apiServerPort,
});

/** Go's reader knows YAML 1.1, in which a machine called `on` is a truth value: texts stand in quotes. */
function documents(values: readonly object[]): string {
  return values.map((value) => writeYaml(value, { quoteTexts: true })).join("---\n");
}
