import type { NodeFamily } from "../domain/node-kind.ts";

export { nodeFamilies as families } from "../domain/node-kind.ts";
export type Family = NodeFamily;

/** What differs between the systems that a node may run. */
export interface FamilyRow {
  readonly runtime: "containerd" | "cri-o";
  /** Our scripts; first in the PATH inside of the user namespace. No part of it may be a symbolic link of the system, nor read-only. */
  readonly programs: string;
  /** Our configuration. */
  readonly configuration: string;
  /** Where the system, or the image, has the CNI plugins. */
  readonly cniPlugins: string;
  /** Where kubeadm, kubelet and kubectl are. */
  readonly kubernetesPrograms: string;
  /** The user's groups beside its own. */
  readonly groups: readonly string[];
  /** fuse-overlayfs is in the image, for kernels whose own overlay does not do. */
  readonly hasFuseOverlay: boolean;
  /** Kernel modules that this system's kernels do not have (any more). */
  readonly withoutModules: readonly string[];
  readonly sysctls: readonly { readonly key: string; readonly value: string; readonly isOptional?: true }[];
  readonly arguments: readonly string[];
  /** Commands of root before the user's first process, in POSIX sh. */
  readonly preparation: readonly string[];
  /** `outer:inner/protocol`, published beside those of the role. */
  readonly ports: readonly string[];
  /** Names of the server in /etc/hosts. */
  readonly serverNames: readonly string[];
  /** What the image has to have for all this, by the system's own package names. */
  readonly packages: readonly string[];
}

const serverNames = ["registry.local", "sigstore.local"];

export const familyTable: Readonly<Record<Family, FamilyRow>> = {
  debian: {
    runtime: "containerd",
    programs: "/usr/local/libexec/u7s",
    configuration: "/etc/rollcall/u7s",
    cniPlugins: "/usr/lib/cni",
    kubernetesPrograms: "/usr/bin",
    groups: ["systemd-journal"],
    hasFuseOverlay: true,
    withoutModules: [],
    // Debian 10 and older kernels.
    sysctls: [{ key: "kernel.unprivileged_userns_clone", value: "1", isOptional: true }],
    arguments: [],
    preparation: [],
    ports: [],
    serverNames,
    packages: [
      "rootlesskit",
      "slirp4netns",
      "uidmap",
      "containerd",
      "crun",
      "containernetworking-plugins",
      "fuse-overlayfs",
      "e2fsprogs",
      "dbus-user-session",
      "libpam-systemd",
      "iptables",
      "conntrack",
      "ethtool",
    ],
  },
  ubuntu: {
    runtime: "containerd",
    programs: "/usr/local/libexec/u7s",
    configuration: "/etc/rollcall/u7s",
    cniPlugins: "/usr/lib/cni",
    kubernetesPrograms: "/usr/bin",
    groups: ["systemd-journal"],
    hasFuseOverlay: true,
    withoutModules: [],
    // 24.04 lets only programs with an AppArmor profile make user namespaces; /usr/bin/rootlesskit has one, so that stays as it is.
    sysctls: [],
    arguments: [],
    preparation: [],
    ports: [],
    serverNames,
    packages: [
      "rootlesskit",
      "slirp4netns",
      "uidmap",
      "containerd",
      "crun",
      "containernetworking-plugins",
      "fuse-overlayfs",
      "e2fsprogs",
      "dbus-user-session",
      "libpam-systemd",
      "iptables",
      "conntrack",
      "ethtool",
    ],
  },
  flatcar: {
    // /usr is read-only: what is added lies in /opt, as system extension or archive.
    runtime: "containerd",
    programs: "/opt/u7s/bin",
    configuration: "/etc/rollcall/u7s",
    cniPlugins: "/opt/cni/bin",
    kubernetesPrograms: "/opt/bin",
    groups: ["systemd-journal"],
    hasFuseOverlay: false,
    withoutModules: [],
    sysctls: [],
    arguments: [],
    preparation: [],
    ports: [],
    serverNames,
    packages: ["rootlesskit", "slirp4netns", "crun", "cni-plugins"],
  },
  "fedora-coreos": {
    runtime: "cri-o",
    // /usr/local is a link to here, and Ignition writes before links are followed.
    programs: "/var/usrlocal/libexec/u7s",
    configuration: "/etc/rollcall/u7s",
    cniPlugins: "/usr/libexec/cni",
    kubernetesPrograms: "/usr/bin",
    groups: ["systemd-journal"],
    hasFuseOverlay: true,
    // Fedora's kernels leave the old iptables out; its rules go through nf_tables.
    withoutModules: [
      "ip_tables",
      "ip6_tables",
      "iptable_nat",
      "ip6table_nat",
      "iptable_filter",
      "ip6table_filter",
    ],
    sysctls: [],
    arguments: [],
    preparation: [],
    ports: [],
    serverNames,
    packages: [
      "rootlesskit",
      "slirp4netns",
      "cri-o",
      "crun",
      "containernetworking-plugins",
      "fuse-overlayfs",
      "conntrack-tools",
    ],
  },
  alt: {
    runtime: "cri-o",
    programs: "/usr/libexec/podsec/u7s/bin",
    configuration: "/etc/podsec/u7s/config",
    cniPlugins: "/usr/libexec/cni",
    kubernetesPrograms: "/usr/bin",
    groups: ["systemd-journal", "podman", "kube"],
    hasFuseOverlay: true,
    withoutModules: [],
    sysctls: [{ key: "kernel.unprivileged_userns_clone", value: "1", isOptional: true }],
    // systemd of p10 mounts the old hierarchy unless it is told.
    arguments: ["systemd.unified_cgroup_hierarchy=1"],
    // ALT lets nobody use the setuid programs of uidmap but this group (control(8)).
    preparation: ["control newuidmap podmanonly", "control newgidmap podmanonly"],
    ports: ["6053:53/udp"],
    serverNames: [...serverNames, "trivy.local"],
    packages: [
      "rootlesskit",
      "slirp4netns",
      "shadow-submap",
      "cri-o",
      "crun",
      "cni-plugins",
      "fuse-overlayfs",
      "iptables",
      "conntrack-tools",
    ],
  },
};
