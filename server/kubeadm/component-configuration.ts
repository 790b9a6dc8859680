import { type ClusterSpec, hasUserNamespaceGate } from "../domain/cluster.ts";

/** Where drivers for volumes are looked for: kubeadm's default is below /usr, which many images mount read-only. */
export const volumePluginDirectory = "/var/lib/kubelet/volume-plugins";

/** Feature gates of the kubelet, by version: one that a kubelet does not know keeps it from starting. */
function kubeletFeatureGates(minor: number): Record<string, boolean> {
  return {
    ...(hasUserNamespaceGate({ minor }) ? { KubeletInUserNamespace: true } : {}),
    // Since 1.25 a field of the configuration (below), and the gate is locked.
    ...(minor < 25 ? { LocalStorageCapacityIsolation: false } : {}),
  };
}

/** The kubelet in a user namespace on a root file system in RAM; it becomes the ConfigMap that every machine joins with. */
export function kubeletConfiguration({ version: { minor } }: ClusterSpec) {
  return {
    apiVersion: "kubelet.config.k8s.io/v1beta1",
    kind: "KubeletConfiguration",
    // systemd as driver would speak to the system's manager, which a user's kubelet may not.
    cgroupDriver: "cgroupfs",
    cgroupsPerQOS: true,
    // "none" rather than an empty list, which kubeadm drops as it writes the file, so that the default comes back.
    enforceNodeAllocatable: ["none"],
    failSwapOn: false,
    featureGates: kubeletFeatureGates(minor),
    // cAdvisor finds no file system below a tmpfs, so there is nothing to measure pods by.
    ...(minor >= 25 ? { localStorageCapacityIsolation: false } : {}),
    // Naming one replaces all defaults. The root is RAM: memory is what runs short first.
    evictionHard: { "memory.available": "100Mi", "nodefs.available": "3%", "imagefs.available": "3%" },
    rotateCertificates: true,
    volumePluginDir: volumePluginDirectory,
  };
}

/** kube-proxy in a user namespace, which may not write nf_conntrack's limits: zeros leave them as they are. */
export function kubeProxyConfiguration({ podSubnet }: ClusterSpec) {
  return {
    apiVersion: "kubeproxy.config.k8s.io/v1alpha1",
    kind: "KubeProxyConfiguration",
    mode: "iptables",
    clusterCIDR: `${podSubnet.network}/${podSubnet.prefixLength}`,
    conntrack: { maxPerCore: 0, min: 0, tcpEstablishedTimeout: "0s", tcpCloseWaitTimeout: "0s" },
  };
}
