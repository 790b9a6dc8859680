import { type Cidr, formatCidr } from "../net/cidr.ts";

/** Alpha in 1.22; before, kubelet knows no such gate and refuses to start with it. Always named, since its default changes with the version. */
const userNamespaceGateSince = 22;
/** KubeletConfiguration knows the field, and kubeadm patches for kubelet, since 1.25. */
const localStorageFieldSince = 25;

export function hasUserNamespaceGate(minor: number): boolean {
  return minor >= userNamespaceGateSince;
}

export function hasKubeletPatches(minor: number): boolean {
  return minor >= localStorageFieldSince;
}

/** What a KubeletConfiguration (kubelet.config.k8s.io/v1beta1) needs in a user namespace on a root in RAM. @param minor of Kubernetes 1.x */
export function kubeletSettings(minor: number): Readonly<Record<string, unknown>> {
  return {
    cgroupDriver: "cgroupfs",
    cgroupsPerQOS: true,
    enforceNodeAllocatable: [],
    failSwapOn: false,
    // cadvisor finds no device below a tmpfs; its bytes are RAM anyway.
    evictionHard: { "memory.available": "100Mi", "nodefs.available": "3%" },
    volumePluginDir: "/var/lib/kubelet/volumeplugins",
    ...(hasUserNamespaceGate(minor) ? { featureGates: { KubeletInUserNamespace: true } } : {}),
    ...(minor >= localStorageFieldSince ? { localStorageCapacityIsolation: false } : {}),
  };
}

/** What a KubeProxyConfiguration needs: nf_conntrack's limits can't be written in a user namespace, and 0 leaves them alone. */
export const kubeProxySettings = {
  mode: "iptables",
  conntrack: { maxPerCore: 0, tcpEstablishedTimeout: "0s", tcpCloseWaitTimeout: "0s" },
} as const;

/**
 * Flannel's net-conf.json. Its port stands in the ports that each node publishes. What leaves the namespace goes as the machine's own
 * datagrams, so its network's MTU counts and not the 65520 of slirp4netns's device.
 */
export function flannelNetwork(podNetwork: Cidr): Readonly<Record<string, unknown>> {
  return { Network: formatCidr(podNetwork), Backend: { Type: "vxlan", MTU: 1500 } };
}
