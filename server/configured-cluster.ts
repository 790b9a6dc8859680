/** The cluster that the config asks for. */
import { clusterInput } from "./config/cluster-input.ts";
import type { Config } from "./config/schema.ts";
import { type ClusterSpec, readCluster } from "./domain/cluster.ts";
import { runtimeSocket } from "./node/runtime.ts";
import type { Ipv4 } from "./net/ipv4.ts";

/**
 * Undefined: no cluster is configured.
 * @param serverAddress by which the machines reach this server
 * @throws ClusterInvalid; not for a config that was loaded
 */
export function clusterOf(config: Config, serverAddress: Ipv4): ClusterSpec | undefined {
  const input = clusterInput(config, serverAddress);
  return input && readCluster({ ...input, criSocket: runtimeSocket("debian") });
}
