/** The cluster that the config asks for, and what its machines are told. */
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import type { ClusterNodes } from "./boot/cluster-nodes.ts";
import { clusterInput } from "./config/cluster-input.ts";
import type { Config } from "./config/schema.ts";
import { createKernelReleases } from "./content/kernel-releases.ts";
import type { Ids } from "./domain/capabilities.ts";
import { type ClusterSpec, readCluster } from "./domain/cluster.ts";
import type { Ipv4 } from "./net/ipv4.ts";
import { runtimeSocket } from "./node/runtime.ts";
import { writeOnce } from "./pki/write-once.ts";

/**
 * Undefined: no cluster is configured.
 * @param serverAddress by which the machines reach this server, where the config names none
 * @throws ClusterInvalid; not for a config that was loaded
 */
export function clusterOf(config: Config, serverAddress: Ipv4): ClusterSpec | undefined {
  const input = clusterInput(config, config.address ?? serverAddress);
  return input && readCluster({ ...input, criSocket: runtimeSocket("debian") });
}

export interface NodeSources {
  readonly ids: Pick<Ids, "secret">;
  readonly serverAddress: Ipv4 | undefined;
  /** The file of content by its digest. */
  readonly pathOf: (sha256: string) => string | undefined;
  readonly images: ClusterNodes["images"];
  /** What runs on a node beside Kubernetes. */
  readonly parts?: ClusterNodes["parts"];
}

/** What makes machines nodes; undefined where no cluster is configured. */
export async function configuredNodes(
  config: Config,
  { ids, serverAddress, pathOf, images, parts = () => [] }: NodeSources,
): Promise<ClusterNodes | undefined> {
  const cluster = clusterOf(config, serverAddress ?? ("127.0.0.1" as Ipv4));
  if (!cluster) return undefined;
  const kernelReleases = createKernelReleases(pathOf);
  return {
    cluster,
    machineIdSecret: await machineIdSecret(join(config.dataDir, "machine-id.key"), ids),
    servicesAddress: config.services.address as Ipv4 | undefined,
    images,
    parts,
    kernelRelease: ({ files }) => kernelReleases(files.kernel.sha256),
  };
}

/**
 * The secret that machine-ids are made with: made at the first start and never again, since a machine with another id is another machine
 * to whoever kept the old one.
 * @param file mode 0600
 */
async function machineIdSecret(file: string, ids: Pick<Ids, "secret">): Promise<Uint8Array> {
  if (!existsSync(file)) await writeOnce(file, `${ids.secret()}${ids.secret()}\n`);
  return readFileSync(file);
}
