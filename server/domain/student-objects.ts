import type { DeclaredObject } from "./declared-object.ts";

/** What each student gets: section `students` of the config, and the cluster's networks. */
export interface StudentRules {
  readonly clusterRole: string;
  readonly podSecurity: "baseline" | "restricted" | "privileged";
  readonly quota: {
    readonly cpu: string;
    readonly memory: string;
    readonly pods: number;
    readonly services: number;
    readonly nodePorts: number;
    readonly volumeClaims: number;
  };
  readonly container: {
    readonly cpu: string;
    readonly memory: string;
    readonly cpuRequest: string;
    readonly memoryRequest: string;
  };
  readonly networkPolicy: boolean;
  /** Networks of the pods and of the services. */
  readonly clusterNetworks: readonly string[];
}

/** By which the cluster knows whose an object is. */
export const studentLabel = "rollcall/student";
export const studentLabels = (name: string): Readonly<Record<string, string>> => ({
  "app.kubernetes.io/managed-by": "rollcall",
  [studentLabel]: name,
});

/** The name of the quota, the limits and the policy in each student's namespace. */
export const shareName = "student";
export const bindingName = (student: string): string => `${student}-admin-binding`;

/** Small objects of which an account may make thousands, each up to 1 MiB in etcd. */
const mostSmallObjects = "50";
/** What of the class's day makes many objects: none of them may fill etcd. */
const mostWorkloads = "20";

/**
 * All objects of one student, in the order in which they are made: the quota stands before there is an account to go beyond it. As the
 * thesis has them: Namespace, ServiceAccount and RoleBinding, each with the student's name.
 */
export function studentObjects(name: string, rules: StudentRules): readonly DeclaredObject[] {
  const labels = studentLabels(name);
  const inside = (object: string) => ({ name: object, namespace: name, labels });
  const one = (object: object) => object as DeclaredObject;
  return [
    studentNamespace(name, rules),
    one({
      apiVersion: "v1",
      kind: "ResourceQuota",
      metadata: inside(shareName),
      spec: { hard: quotaOf(rules) },
    }),
    one({
      apiVersion: "v1",
      kind: "LimitRange",
      metadata: inside(shareName),
      spec: { limits: [limitsOf(rules)] },
    }),
    ...(rules.networkPolicy
      ? [
          one({
            apiVersion: "networking.k8s.io/v1",
            kind: "NetworkPolicy",
            metadata: inside(shareName),
            spec: policyOf(rules),
          }),
        ]
      : []),
    one({ apiVersion: "v1", kind: "ServiceAccount", metadata: inside(name) }),
    one({
      apiVersion: "rbac.authorization.k8s.io/v1",
      kind: "RoleBinding",
      metadata: inside(bindingName(name)),
      roleRef: { apiGroup: "rbac.authorization.k8s.io", kind: "ClusterRole", name: rules.clusterRole },
      subjects: [{ kind: "ServiceAccount", name, namespace: name }],
    }),
  ];
}

/** The namespace, with the level of Pod Security Admission (Kubernetes 1.23 and later; older ones take no notice). */
export function studentNamespace(
  name: string,
  { podSecurity }: Pick<StudentRules, "podSecurity">,
): DeclaredObject {
  return {
    apiVersion: "v1",
    kind: "Namespace",
    metadata: {
      name,
      labels: { ...studentLabels(name), "pod-security.kubernetes.io/enforce": podSecurity },
    },
  } as DeclaredObject;
}

function quotaOf({ quota }: StudentRules): Record<string, string> {
  return {
    pods: String(quota.pods),
    "requests.cpu": quota.cpu,
    "requests.memory": quota.memory,
    "limits.cpu": quota.cpu,
    "limits.memory": quota.memory,
    services: String(quota.services),
    "services.nodeports": String(quota.nodePorts),
    // Nobody in a lab gives addresses out.
    "services.loadbalancers": "0",
    persistentvolumeclaims: String(quota.volumeClaims),
    configmaps: mostSmallObjects,
    secrets: mostSmallObjects,
    "count/deployments.apps": mostWorkloads,
    "count/statefulsets.apps": mostWorkloads,
    "count/jobs.batch": mostWorkloads,
    "count/cronjobs.batch": mostWorkloads,
  };
}

/** Without them the quota refuses each container that does not say itself what it takes. */
function limitsOf({ container }: StudentRules) {
  return {
    type: "Container",
    default: { cpu: container.cpu, memory: container.memory },
    defaultRequest: { cpu: container.cpuRequest, memory: container.memoryRequest },
  };
}

/** In: from the same namespace. Out: there too, to names (DNS), and to what is no pod or service of the cluster. */
function policyOf({ clusterNetworks }: StudentRules) {
  const dns = ["UDP", "TCP"].map((protocol) => ({ protocol, port: 53 }));
  return {
    podSelector: {},
    policyTypes: ["Ingress", "Egress"],
    ingress: [{ from: [{ podSelector: {} }] }],
    egress: [
      { to: [{ podSelector: {} }] },
      {
        to: [{ namespaceSelector: {}, podSelector: { matchLabels: { "k8s-app": "kube-dns" } } }],
        ports: dns,
      },
      { to: [{ ipBlock: { cidr: "0.0.0.0/0", except: [...clusterNetworks] } }] },
    ],
  };
}

const suffixes: Readonly<Record<string, number>> = {
  "": 1,
  m: 1e-3,
  k: 1e3,
  M: 1e6,
  G: 1e9,
  T: 1e12,
  Ki: 1024,
  Mi: 1024 ** 2,
  Gi: 1024 ** 3,
  Ti: 1024 ** 4,
};

/** A quantity of Kubernetes as the config takes it: `500m` is 0.5, `2Ki` 2048. */
export function quantityOf(text: string): number {
  const [, digits = "", suffix = ""] = /^([0-9.]+)([A-Za-z]*)$/.exec(text) ?? [];
  return Number(digits) * (suffixes[suffix] ?? Number.NaN);
}

/** How much of a share is used, for people: `3/10`. Undefined: nobody could say. */
export function describeUse(
  usage:
    | { readonly used: Readonly<Record<string, string>>; readonly hard: Readonly<Record<string, string>> }
    | undefined,
  resource: string,
): string | undefined {
  const hard = usage?.hard[resource];
  return hard === undefined ? undefined : `${usage?.used[resource] ?? "0"}/${hard}`;
}
