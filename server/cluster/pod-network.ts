import type { ClusterNode, InstructionFile } from "../domain/cluster-node.ts";
import type { NodeStatus } from "./ports.ts";

/** What a machine is told of the pods' network. */
export interface NetworkPart {
  readonly message: string;
  readonly files: readonly InstructionFile[];
}

export interface PodNetwork {
  /** Tells each machine what has changed for it. @param tell gives it an instruction; false: it has another to do first */
  reconcile(
    nodes: readonly ClusterNode[],
    statuses: ReadonlyMap<string, NodeStatus>,
    tell: (node: ClusterNode, part: NetworkPart) => Promise<boolean>,
  ): Promise<void>;
}

/** Where a flannel or another CNI of the cluster's own makes the network, nobody has to be told. */
export const foreignNetwork: PodNetwork = { reconcile: async () => undefined };
