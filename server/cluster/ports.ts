import type { EpochMs } from "../domain/capabilities.ts";
import type { ClusterNode, InstructionFile } from "../domain/cluster-node.ts";
import type { BootstrapToken } from "../kubeadm/bootstrap-token.ts";
import type { ExpectedJoin } from "../kubeadm/signing-request-policy.ts";
import type { Ipv4 } from "../net/ipv4.ts";

/** A Node as the API server tells of it. */
export interface NodeStatus {
  readonly name: string;
  /** Of the boot whose kubelet wrote it: /proc/sys/kernel/random/boot_id. */
  readonly bootId: string | undefined;
  readonly isReady: boolean;
  /** The addresses of its pods, `10.244.1.0/24`; undefined: none was given yet. */
  readonly podCidr: string | undefined;
  readonly address: string | undefined;
}

export interface JudgedRequest {
  readonly request: string;
  readonly tokenId: string | undefined;
  readonly verdict: "approve" | "deny";
  readonly reason: string | undefined;
  readonly message: string | undefined;
}

/** The server's hands in the cluster. Each call fails when no API server answers, and is made again by the next pass. */
export interface ClusterApi {
  nodes(): Promise<readonly NodeStatus[]>;
  /** The Node's machine has booted anew, so its kubelet is gone; kubeadm takes no name whose Node is Ready. */
  markNotReady(name: string, reason: string): Promise<void>;
  removeNode(name: string): Promise<void>;
  /** Moves its pods away, by force those that are there at the deadline. @param isWanted false: the machine has booted anew, and keeps them */
  drain(name: string, deadline: EpochMs, isWanted: () => boolean): Promise<void>;
  createToken(
    token: BootstrapToken,
    purpose: { readonly machine: string; readonly attempt: string; readonly expiresAt: EpochMs },
  ): Promise<void>;
  /** Takes away all tokens of ours but those that are open at that moment: others are made meanwhile. */
  keepTokens(isOpen: (id: string) => boolean): Promise<void>;
  /** Approves and denies what joining machines ask for. @param joins under way, asked for after the requests were read */
  judgeRequests(joins: () => readonly ExpectedJoin[]): Promise<readonly JudgedRequest[]>;
  /** What has to be so in a cluster that kubeadm made: its approver for any machine's name is taken away, and so on. Repeatable. */
  setUp(): Promise<void>;
}

/** What the first master gets of the cluster's data. */
export interface PreparedData {
  /** Files that it needs beside kubeadm's, such as its member's data of before. */
  readonly files: readonly InstructionFile[];
  /** They are of an earlier time than the last: whoever has seen what came after it has to begin anew. */
  readonly wentBack: boolean;
}

/** Where the cluster's data are. */
export interface ClusterEtcd {
  /**
   * Makes it ready for `kubeadm init`: it runs, and has the data of this generation or none. Repeatable.
   */
  prepareInit(generation: number, node: ClusterNode): Promise<PreparedData>;
  /** Makes it ready for a master that joins with nothing on its disk. */
  prepareMaster(node: ClusterNode): Promise<void>;
  /** The master is taken out of the cluster for good. */
  removeMaster(node: ClusterNode): Promise<void>;
  /** Members whose machine is no master any more, or none that the server knows, and that don't answer: they only count for the quorum. */
  removeForsaken(): Promise<void>;
  /** While no API server answers: too many members are gone with their data, so that the masters that are left can do nothing any more. */
  isBeyondRepair(): Promise<boolean>;
  /** Forgets all data. @param generation that comes next */
  wipe(generation: number): Promise<void>;
  /** Of the data on this server; undefined: there are none. */
  generation(): Promise<number | undefined>;
  /** Where it runs on this server it has to run whenever there is a cluster. Each pass calls it. @throws what keeps it from running */
  start(generation: number): Promise<void>;
  stop(): Promise<void>;
}

/** What stands at the cluster's endpoint. */
export interface ClusterEndpoint {
  setMasters(masters: readonly { readonly name: string; readonly address: Ipv4 }[]): void;
  /** How many of them answer that they are ready. */
  readyMasters(): number;
}

/** How the cluster stands at a pass. */
export interface GenerationNow {
  /** 0: there is none. */
  readonly generation: number;
  /** How often it was set up: kubeadm init may have written over what was in it, also in a generation that goes on. */
  readonly setUps: number;
  /** It answers and is set up. */
  readonly isUp: boolean;
}

/** What sees to it that each generation of the cluster has something. */
export interface GenerationFollower {
  /** Called by each pass. */
  follow(now: GenerationNow): void;
  /** Resolves when what it has begun is through. */
  settled(): Promise<void>;
  /** Begins nothing more. Resolves when what goes on is through; whoever stops need not wait for it. */
  stop(): Promise<void>;
}
