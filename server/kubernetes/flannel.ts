import type { ClusterSpec } from "../domain/cluster.ts";
import { flannelName } from "../domain/reserved-object.ts";
import { type Cidr, formatCidr } from "../net/cidr.ts";
import type { Manifest } from "./client.ts";
import type { Kind } from "./objects.ts";

export interface FlannelInput {
  readonly cluster: Pick<ClusterSpec, "podSubnet">;
  /** Of flanneld, as a node pulls it. */
  readonly image: string;
  /** That has flannel's CNI plugin as `/flannel`; undefined: the nodes have the plugin. */
  readonly pluginImage?: string | undefined;
}

const name = flannelName;
/** Where slirp4netns puts a user namespace's packets; it has the machine's address. */
const device = "tap0";

const directory = (volume: string, path: string) => ({
  name: volume,
  hostPath: { path, type: "DirectoryOrCreate" },
});

/**
 * Flannel's net-conf.json. Its port stands in the ports that each node publishes. What leaves the namespace goes as the machine's own
 * datagrams, so its network's MTU counts and not the 65520 of slirp4netns's device.
 */
const networkConfiguration = (podSubnet: Cidr) => ({
  Network: formatCidr(podSubnet),
  Backend: { Type: "vxlan", MTU: 1500 },
});

/**
 * Flannel with VXLAN, kept by the cluster itself (`--kube-subnet-mgr`), for nodes in user namespaces: on tap0, announced by the machine's address,
 * with the capabilities that it has there. Nodes that join are routed to without anybody's doing.
 */
export function flannelManifests({
  cluster,
  image,
  pluginImage,
}: FlannelInput): (Manifest & { kind: Kind })[] {
  const metadata = { name, namespace: name, labels: { app: "flannel" } };
  const mounts = [
    { name: "cni", mountPath: "/etc/cni/net.d" },
    { name: "config", mountPath: "/etc/kube-flannel/" },
  ];
  return [
    {
      apiVersion: "v1",
      kind: "Namespace",
      // It has to be on the machine's network, which the default of newer clusters forbids.
      metadata: { name, labels: { "pod-security.kubernetes.io/enforce": "privileged" } },
    },
    { apiVersion: "v1", kind: "ServiceAccount", metadata },
    {
      apiVersion: "rbac.authorization.k8s.io/v1",
      kind: "ClusterRole",
      metadata: { name },
      rules: [
        { apiGroups: [""], resources: ["pods"], verbs: ["get"] },
        { apiGroups: [""], resources: ["nodes"], verbs: ["get", "list", "watch"] },
        { apiGroups: [""], resources: ["nodes/status"], verbs: ["patch"] },
      ],
    },
    {
      apiVersion: "rbac.authorization.k8s.io/v1",
      kind: "ClusterRoleBinding",
      metadata: { name },
      roleRef: { apiGroup: "rbac.authorization.k8s.io", kind: "ClusterRole", name },
      subjects: [{ kind: "ServiceAccount", name, namespace: name }],
    },
    {
      apiVersion: "v1",
      kind: "ConfigMap",
      metadata,
      data: {
        "cni-conf.json": JSON.stringify({
          name: "cbr0",
          cniVersion: "0.3.1",
          plugins: [
            { type: "flannel", delegate: { hairpinMode: true, isDefaultGateway: true } },
            { type: "portmap", capabilities: { portMappings: true } },
          ],
        }),
        "net-conf.json": JSON.stringify(networkConfiguration(cluster.podSubnet)),
      },
    },
    {
      apiVersion: "apps/v1",
      kind: "DaemonSet",
      metadata,
      spec: {
        selector: { matchLabels: { app: "flannel" } },
        template: {
          metadata: { labels: { app: "flannel" } },
          spec: {
            hostNetwork: true,
            priorityClassName: "system-node-critical",
            // A node is tainted until it has a network, which is what this brings.
            tolerations: [{ operator: "Exists", effect: "NoSchedule" }],
            serviceAccountName: name,
            initContainers: [
              ...(pluginImage === undefined
                ? []
                : [
                    {
                      name: "install-plugin",
                      image: pluginImage,
                      command: ["cp", "-f", "/flannel", "/opt/cni/bin/flannel"],
                      volumeMounts: [{ name: "plugins", mountPath: "/opt/cni/bin" }],
                    },
                  ]),
              {
                name: "install-config",
                image,
                command: [
                  "cp",
                  "-f",
                  "/etc/kube-flannel/cni-conf.json",
                  "/etc/cni/net.d/10-flannel.conflist",
                ],
                volumeMounts: mounts,
              },
            ],
            containers: [
              {
                name: "flanneld",
                image,
                command: ["/opt/bin/flanneld"],
                args: ["--ip-masq", "--kube-subnet-mgr", `--iface=${device}`, "--public-ip=$(NODE_ADDRESS)"],
                env: [
                  { name: "POD_NAME", valueFrom: { fieldRef: { fieldPath: "metadata.name" } } },
                  { name: "POD_NAMESPACE", valueFrom: { fieldRef: { fieldPath: "metadata.namespace" } } },
                  { name: "NODE_ADDRESS", valueFrom: { fieldRef: { fieldPath: "status.hostIP" } } },
                ],
                resources: { requests: { cpu: "100m", memory: "50Mi" } },
                securityContext: { privileged: false, capabilities: { add: ["NET_ADMIN", "NET_RAW"] } },
                volumeMounts: [
                  mounts[1],
                  { name: "run", mountPath: "/run/flannel" },
                  { name: "xtables-lock", mountPath: "/run/xtables.lock" },
                ],
              },
            ],
            volumes: [
              directory("run", "/run/flannel"),
              directory("cni", "/etc/cni/net.d"),
              ...(pluginImage === undefined ? [] : [directory("plugins", "/opt/cni/bin")]),
              { name: "config", configMap: { name } },
              {
                name: "xtables-lock",
                hostPath: { path: "/run/xtables.lock", type: "FileOrCreate" },
              },
            ],
          },
        },
      },
    },
  ] as (Manifest & { kind: Kind })[];
}
