import type { ClusterNode, InstructionFile } from "../domain/cluster-node.ts";
import type { NodeStatus } from "./ports.ts";

/** What a machine is told of the pods' network. */
export interface NetworkPart {
  readonly message: string;
  readonly files: readonly InstructionFile[];
}

export interface PodNetwork {
  /**
   * What a machine that joins anew is told with its join, so that its Node is Ready with kubelet's first word; undefined while it has no Node with
   * addresses for pods. A Node that is made before its kubelet comes is no way: kubelet 1.20 panics at one without a status.
   */
  withJoin(
    node: ClusterNode,
    nodes: readonly ClusterNode[],
    statuses: ReadonlyMap<string, NodeStatus>,
  ): NetworkPart | undefined;
  /** Tells each machine what has changed for it. @param tell gives it an instruction; false: it has another to do first */
  reconcile(
    nodes: readonly ClusterNode[],
    statuses: ReadonlyMap<string, NodeStatus>,
    tell: (node: ClusterNode, part: NetworkPart) => Promise<boolean>,
  ): Promise<void>;
}

/** Where a flannel or another CNI of the cluster's own makes the network, nobody has to be told. */
export const foreignNetwork: PodNetwork = { withJoin: () => undefined, reconcile: async () => undefined };
