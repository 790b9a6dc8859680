/** What a node of the cluster is. */
export const nodeRoles = ["master", "worker"] as const;
export type NodeRole = (typeof nodeRoles)[number];

/** Systems that a node may run; each takes the description of the node in its own way. */
export const nodeFamilies = ["debian", "ubuntu", "flatcar", "fedora-coreos", "alt"] as const;
export type NodeFamily = (typeof nodeFamilies)[number];

/** How the description comes to a machine of the family. */
export function nodeChannel(family: NodeFamily): "initrd" | "ignition" | "user-data" {
  switch (family) {
    case "debian":
      return "initrd";
    case "flatcar":
    case "fedora-coreos":
      return "ignition";
    case "ubuntu":
    case "alt":
      return "user-data";
  }
}

const gibibyte = 1024 ** 3;
/** The system, the runtime, its images and, on a master, the control plane, all of it in RAM; octets. */
export const nodeRamBytes: Readonly<Record<NodeRole, number>> = {
  worker: 3 * gibibyte,
  master: 6 * gibibyte,
};
