import type { Ipv4 } from "../net/ipv4.ts";
import type { EpochMs } from "./capabilities.ts";

/**
 * Where a machine stands on its way into the cluster, from its claim on. What comes before (netbooting, booting, configuring) are phases
 * of the machine; all of these but `ready` and the ends are its phase `joining`.
 */
export const nodeStates = [
  /** A master that no operator has armed: it waits, and gets nothing. */
  "unarmed",
  /** It waits for the cluster, for a slot or for its turn as a master. */
  "queued",
  /** The server makes ready what it joins with: its old Node, its member of etcd, its token, its files. */
  "preparing",
  /** `kubeadm init` runs on it. */
  "initializing",
  /** `kubeadm join` runs on it. */
  "joining",
  /** kubeadm is done; its Node is not yet Ready with the boot id of this boot. */
  "registered",
  "ready",
  "failed",
  /** Two asked in its name: neither gets anything until the next boot. */
  "quarantined",
  /** Was ready, and neither agent nor Node gives a sign. */
  "lost",
  /** Lost for so long that its Node was taken away. */
  "absent",
  "draining",
  /** Its Node, its member and its tokens are taken away. */
  "removing",
  /** It was told to reboot. */
  "rebooting",
] as const;
export type NodeState = (typeof nodeStates)[number];

export type NodeEvent =
  | "claimed"
  | "armed"
  | "slot"
  | "init"
  | "join"
  | "kubeadm-done"
  | "kubeadm-failed"
  | "node-ready"
  | "node-lost"
  | "node-absent"
  | "timed-out"
  | "given-up"
  | "second-claim"
  | "released"
  | "drain"
  | "drained"
  | "removed"
  | "superseded";

/** What may come from anywhere. A claim is a new boot, whatever the last one was doing. */
const always = { "second-claim": "quarantined", drain: "draining", superseded: "rebooting" } as const;
const underWay = {
  ...always,
  "given-up": "failed",
  "timed-out": "queued",
  "kubeadm-failed": "queued",
} as const;

/** State -> event -> next state. A pair that is not listed changes nothing: reports arrive twice and late. */
export const nodeTransitions: Readonly<Record<NodeState, Partial<Record<NodeEvent, NodeState>>>> = {
  unarmed: { armed: "queued", ...always },
  queued: { slot: "preparing", "given-up": "failed", ...always },
  preparing: { init: "initializing", join: "joining", ...underWay },
  initializing: { "kubeadm-done": "registered", ...underWay },
  joining: { "kubeadm-done": "registered", ...underWay },
  // A kubelet that comes up late has no use for a second `kubeadm join`, and the agent repeats it harmlessly.
  registered: { "node-ready": "ready", ...underWay },
  ready: { "node-lost": "lost", ...always },
  lost: { "node-ready": "ready", "node-absent": "absent", ...always },
  absent: { "node-ready": "ready", ...always },
  failed: { released: "queued", ...always },
  // Nobody can tell which of the two was the machine: only its next boot ends it.
  quarantined: {},
  draining: { drained: "removing", "second-claim": "quarantined" },
  removing: { removed: "rebooting", "second-claim": "quarantined" },
  rebooting: { "second-claim": "quarantined" },
};

/** The state after `event`, or undefined when the event changes nothing in this state. */
export function advanceNode(state: NodeState, event: NodeEvent): NodeState | undefined {
  return nodeTransitions[state][event];
}

/** States in which a machine holds a slot: the server or kubeadm works on it. */
export const busyStates: readonly NodeState[] = ["preparing", "initializing", "joining", "registered"];

/** Where each container runtime listens inside of the node's user namespace. */
export const runtimeSockets = {
  containerd: "unix:///run/containerd/containerd.sock",
  crio: "unix:///run/crio/crio.sock",
} as const;

/** What an agent says of its machine, each value checked for its form. */
export interface NodeReport {
  /** /proc/sys/kernel/random/boot_id: the Node that joins must show the same. */
  readonly kernelBootId: string;
  readonly uuid: string | undefined;
  readonly memoryKiB: number;
  readonly processors: number;
  readonly kernel: string;
  /** cgroup v2 controllers that the node's user was given. */
  readonly controllers: readonly string[];
  /** Ids that the node's user may give away in its user namespace. */
  readonly subordinateIds: number;
  readonly runtime: keyof typeof runtimeSockets;
}

/** A machine's boot as the cluster knows it: one row, written at each transition. */
export interface ClusterNode {
  readonly machineId: string;
  /** Of the Node, and of the host. */
  readonly name: string;
  readonly role: "master" | "worker";
  /** The boot (`b_...`). */
  readonly bootId: string;
  readonly claimHash: string;
  /** SHA-256 of the agent's public key, hex: the one key that speaks for this boot. */
  readonly agentKey: string;
  /** What it was answered: asked again with the same key, it gets the same. */
  readonly certificate: string;
  /** Six digits on the machine's screen: whoever types them has seen this machine in this boot. */
  readonly armingCode: string;
  readonly address: Ipv4;
  readonly report: NodeReport;
  readonly state: NodeState;
  readonly since: EpochMs;
  /** When the state has lasted too long; undefined: it may last. */
  readonly deadline: EpochMs | undefined;
  /** Of the cluster that it joins: after a new `init` of an empty cluster no older node belongs to it. */
  readonly generation: number;
  /** Of the last instruction; each is one higher. */
  readonly sequence: number;
  /** The last instruction that it reported as done. */
  readonly doneSequence: number;
  /** Id of its bootstrap token, which is no secret; undefined: it has none now. */
  readonly tokenId: string | undefined;
  /** Name of the CertificateSigningRequest that was approved for it. */
  readonly approvedRequest: string | undefined;
  /** Tries of kubeadm in this boot. */
  readonly tries: number;
  /** Not before this time does it get its next slot. */
  readonly retryAt: EpochMs;
  /** What went wrong last, for people. */
  readonly problem: string | undefined;
}

export type Operation = "wait" | "init" | "join" | "network" | "ready" | "reset" | "reboot" | "none";

/** A file of an instruction, inside of the node's user namespace. One of mode 0600 holds a secret. */
export interface InstructionFile {
  /** Absolute. */
  readonly path: string;
  readonly mode: 0o600 | 0o644 | 0o755;
  readonly content: string | Uint8Array;
}

/** What an agent is told to do. It can be told twice and does it once. */
export interface Instruction {
  readonly sequence: number;
  readonly operation: Operation;
  /** For the machine's screen: one line of printable ASCII. */
  readonly message: string;
  readonly deadlineSeconds: number;
  /** More words for kubeadm, each of [A-Za-z0-9=/.,_-]. */
  readonly arguments: readonly string[];
  readonly files: readonly InstructionFile[];
}
