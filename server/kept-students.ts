/** The students of the cluster that this server keeps, put together. */
import type { Config } from "./config/schema.ts";
import type { Clock, Log } from "./domain/capabilities.ts";
import type { ClusterSpec } from "./domain/cluster.ts";
import type { RecordEvent } from "./domain/event.ts";
import { endpointUrl } from "./kubeadm/certificate-layout.ts";
import type { KubernetesClient } from "./kubernetes/client.ts";
import { createStudentNamespaces } from "./kubernetes/student-namespaces.ts";
import { formatCidr } from "./net/cidr.ts";
import type { ClusterAuthorities } from "./pki/cluster-authorities.ts";
import type { StudentRepository } from "./store/students.ts";
import { createStudents, type Students } from "./students/students.ts";

export interface KeptStudentsDeps {
  readonly config: Pick<Config, "students">;
  readonly clock: Clock;
  readonly log: Log;
  readonly record: RecordEvent;
  readonly random: () => number;
  readonly store: StudentRepository;
  readonly cluster: ClusterSpec;
  readonly authorities: Pick<ClusterAuthorities, "cluster">;
  /** With the rights "bootstrap": to give rights in any namespace is as good as having them all, so that operators have none to. */
  readonly client: KubernetesClient;
}

export function keepStudents(deps: KeptStudentsDeps): Students {
  const { config, cluster } = deps;
  const { tokenHours, ...rules } = config.students;
  return createStudents({
    ...deps,
    namespaces: createStudentNamespaces(deps.client),
    rules: { ...rules, clusterNetworks: [cluster.podSubnet, cluster.serviceSubnet].map(formatCidr) },
    cluster: {
      clusterName: cluster.name,
      server: endpointUrl(cluster),
      authorityPem: deps.authorities.cluster.certificatePem,
    },
    tokenSeconds: tokenHours * 3600,
  });
}
