import { type FamilyRow, familyTable } from "./families.ts";
import type { NodeFacts } from "./node-facts.ts";
import type { NodePart, NodeSpec } from "./node-spec.ts";
import { publicText } from "./public-text.ts";

/** How the layers of images become one tree, where the root file system is a tmpfs. */
export type OverlayChoice = "native" | "fuse-overlayfs" | "loop-file";

/** From 6.6 on tmpfs has the extended attributes `user.*` that overlayfs keeps its marks in inside of a user namespace. */
const nativeSince = { major: 6, minor: 6 };

/**
 * Before 6.6 overlayfs over tmpfs mounts and then fails: a renamed or removed directory gives EIO. CRI-O takes fuse-overlayfs instead;
 * containerd would need a snapshotter that no distribution packages, so it gets an ext4 in a file, over which the kernel's overlay works.
 */
export function overlayChoice(
  { major, minor }: NodeFacts["kernel"],
  { runtime, hasFuseOverlay }: Pick<FamilyRow, "runtime" | "hasFuseOverlay">,
): OverlayChoice {
  if (major > nativeSince.major || (major === nativeSince.major && minor >= nativeSince.minor))
    return "native";
  return runtime === "cri-o" && hasFuseOverlay ? "fuse-overlayfs" : "loop-file";
}

/** A user namespace can't load modules, so the system does, before. podsec's list, with vxlan, overlay and what kube-proxy's rules need. */
const modules = [
  "fuse",
  "loop",
  "overlay",
  "tun",
  "bridge",
  "br_netfilter",
  "veth",
  "vxlan",
  "ip_tables",
  "ip6_tables",
  "iptable_nat",
  "ip6table_nat",
  "iptable_filter",
  "ip6table_filter",
  "nf_conntrack",
  "nf_conntrack_netlink",
  "nf_tables",
  "nft_chain_nat",
  "nft_compat",
  "x_tables",
  "xt_MASQUERADE",
  "xt_addrtype",
  "xt_comment",
  "xt_conntrack",
  "xt_mark",
  "xt_multiport",
  "xt_nat",
  "xt_recent",
  "xt_statistic",
  "xt_tcpudp",
];

const sysctls = [
  { key: "net.ipv4.ip_forward", value: "1" },
  // rootless `ping`, and slirp4netns passing it on
  { key: "net.ipv4.ping_group_range", value: "0 2147483647" },
  // VXLAN's answers come in on another interface than they left by; strict filtering (1) drops them.
  { key: "net.ipv4.conf.default.rp_filter", value: "2" },
  // Each container watches files; the default of 128 instances is for a whole user.
  { key: "fs.inotify.max_user_instances", value: "8192" },
  { key: "fs.inotify.max_user_watches", value: "524288" },
] as const;

export function kernelPart(family: NodeSpec["family"], facts: NodeFacts): NodePart {
  const row = familyTable[family];
  return {
    modules: modules.filter((name) => !row.withoutModules.includes(name)),
    sysctls: [...sysctls, ...row.sysctls],
    arguments: [
      `systemd.machine_id=${facts.machineId}`,
      `systemd.hostname=${facts.hostname}`,
      ...row.arguments,
    ].map(publicText),
  };
}
