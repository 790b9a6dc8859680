import type { ClusterInput } from "../domain/cluster.ts";
import type { Config } from "./schema.ts";

/** Where etcd listens for clients, everywhere. */
const etcdPort = 2379;

/** A documentation address (RFC 5737): stands for the server's own where that is known later, or nothing of what is asked depends on it. */
export const anyAddress = "192.0.2.1";

/**
 * The cluster as the config has it. Undefined without `cluster.kubernetesVersion`: then there is none.
 * @param serverAddress by which the machines reach this server
 */
export function clusterInput({ cluster }: Config, serverAddress: string): ClusterInput | undefined {
  const { kubernetesVersion, imageRepository, pauseImage } = cluster;
  if (kubernetesVersion === undefined) return undefined;
  return {
    name: cluster.name,
    kubernetesVersion,
    endpoint: cluster.endpoint ?? `${serverAddress}:6443`,
    ...(imageRepository === undefined ? {} : { imageRepository }),
    ...(pauseImage === undefined ? {} : { pauseImage }),
    serviceSubnet: cluster.serviceSubnet,
    podSubnet: cluster.podSubnet,
    dnsDomain: cluster.dnsDomain,
    dns: cluster.dns,
    certificateSans: cluster.certificateSans,
    keyAlgorithm: cluster.keyAlgorithm,
    etcd:
      cluster.etcd === "stacked"
        ? { kind: "stacked", dataDirectory: "/var/lib/etcd" }
        : { kind: "external", endpoints: [`https://${serverAddress}:${etcdPort}`] },
  };
}
