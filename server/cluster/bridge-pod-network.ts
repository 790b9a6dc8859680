import { createHash } from "node:crypto";
import type { ClusterSpec } from "../domain/cluster.ts";
import type { ClusterNode } from "../domain/cluster-node.ts";
import { bridgeNetwork, type NetworkNode } from "../kubernetes/pod-network.ts";
import { formatCidr } from "../net/cidr.ts";
import type { NetworkPart, PodNetwork } from "./pod-network.ts";
import type { NodeStatus } from "./ports.ts";

/**
 * The network `bridge`: each node has a bridge for its pods and a tunnel to the others, by a table that the server keeps. What a machine was
 * told last is known in memory alone: after the server's end it is told once more, which changes nothing there.
 */
export function createBridgePodNetwork({ podSubnet }: Pick<ClusterSpec, "podSubnet">): PodNetwork {
  const told = new Map<string, string>();

  /** @returns undefined where it was told the same */
  function news(
    node: ClusterNode,
    podCidr: string,
    nodes: readonly ClusterNode[],
    statuses: ReadonlyMap<string, NodeStatus>,
  ): { readonly part: NetworkPart; readonly isTold: () => void } | undefined {
    const files = bridgeNetwork({
      self: { address: node.address, podCidr },
      peers: nodes.flatMap((peer): NetworkNode[] => {
        const theirs = statuses.get(peer.name)?.podCidr;
        // Lost and absent ones have no pods that anybody could reach; their rows would only be old.
        const isThere = theirs !== undefined && peer.state !== "absent" && peer.machineId !== node.machineId;
        return isThere ? [{ address: peer.address, podCidr: theirs }] : [];
      }),
      podSubnet: formatCidr(podSubnet),
    });
    const digest = createHash("sha256")
      .update(JSON.stringify([node.bootId, files]))
      .digest("hex");
    if (told.get(node.machineId) === digest) return undefined;
    return {
      part: { message: `network of its pods: ${podCidr}`, files },
      isTold: () => void told.set(node.machineId, digest),
    };
  }

  return {
    withJoin(node, nodes, statuses) {
      const podCidr = statuses.get(node.name)?.podCidr;
      // A machine that joins has nothing, whatever it was told before.
      told.delete(node.machineId);
      const found = podCidr === undefined ? undefined : news(node, podCidr, nodes, statuses);
      found?.isTold();
      return found?.part;
    },
    async reconcile(nodes, statuses, tell) {
      for (const node of nodes) {
        const podCidr = statuses.get(node.name)?.podCidr;
        if (podCidr === undefined || node.state === "absent") continue;
        const found = news(node, podCidr, nodes, statuses);
        if (found && (await tell(node, found.part))) found.isTold();
      }
    },
  };
}
