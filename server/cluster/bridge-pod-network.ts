import { createHash } from "node:crypto";
import type { ClusterSpec } from "../domain/cluster.ts";
import type { ClusterNode } from "../domain/cluster-node.ts";
import { bridgeNetwork, type NetworkNode } from "../kubernetes/pod-network.ts";
import { formatCidr } from "../net/cidr.ts";
import type { PodNetwork } from "./pod-network.ts";

/**
 * The network `bridge`: each node has a bridge for its pods and a tunnel to the others, by a table that the server keeps. What a machine was
 * told last is known in memory alone: after the server's end it is told once more, which changes nothing there.
 */
export function createBridgePodNetwork({ podSubnet }: Pick<ClusterSpec, "podSubnet">): PodNetwork {
  const told = new Map<string, string>();
  return {
    async reconcile(nodes, statuses, tell) {
      const placed = nodes.flatMap((node) => {
        const podCidr = statuses.get(node.name)?.podCidr;
        // Lost and absent ones have no pods that anybody could reach; their rows would only be old.
        return podCidr === undefined || node.state === "absent" ? [] : [{ node, podCidr }];
      });
      for (const { node, podCidr } of placed) {
        const place = ({
          node: { address },
          podCidr: own,
        }: {
          node: ClusterNode;
          podCidr: string;
        }): NetworkNode => ({
          address,
          podCidr: own,
        });
        const files = bridgeNetwork({
          self: place({ node, podCidr }),
          peers: placed.filter((peer) => peer.node !== node).map(place),
          podSubnet: formatCidr(podSubnet),
        });
        const digest = createHash("sha256")
          .update(JSON.stringify([node.bootId, files]))
          .digest("hex");
        if (told.get(node.machineId) === digest) continue;
        if (await tell(node, { message: `network of its pods: ${podCidr}`, files }))
          told.set(node.machineId, digest);
      }
    },
  };
}
