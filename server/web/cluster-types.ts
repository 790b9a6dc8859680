/** What the API tells of the cluster and its students: times in ISO 8601, absent facts null. */

export interface ClusterNode {
  readonly machine: string;
  readonly role: "master" | "worker";
  readonly state: string;
  readonly since: string | null;
  readonly address: string | null;
  readonly problem: string | null;
  readonly kernel: string | null;
}

export interface ClusterAnswer {
  readonly name: string;
  readonly kubernetesVersion: string;
  readonly endpoint: string;
  readonly authorityHash: string;
  readonly etcdMode: "stacked" | "server" | "ephemeral";
  readonly state: string;
  readonly generation: number;
  readonly initializedAt: string | null;
  readonly readyMasters: number;
  readonly nodes: readonly ClusterNode[];
}

export interface Student {
  readonly name: string;
  readonly namespace: string;
  readonly state: string;
  readonly problem: string | null;
  readonly createdAt: string | null;
  /** Used of what is allowed, e.g. `3/20`; null: the cluster has not said. */
  readonly pods: string | null;
  readonly cpu: string | null;
  readonly memory: string | null;
}

export interface QuotaLine {
  readonly resource: string;
  /** As Kubernetes writes quantities, e.g. `500m`, `1Gi`. */
  readonly used: string;
  readonly hard: string;
}

export interface StudentDetails extends Student {
  /** Empty: the cluster has not said. */
  readonly quota: readonly QuotaLine[];
}
