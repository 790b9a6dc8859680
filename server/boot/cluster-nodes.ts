import type { ClusterSpec } from "../domain/cluster.ts";
import { formatKubernetesVersion } from "../domain/cluster.ts";
import { NodeFactsInvalid } from "../domain/error-catalogue.ts";
import type { BootedImage } from "../domain/image.ts";
import type { Machine } from "../domain/machine.ts";
import { nodeChannel, nodeRamBytes, type NodeFamily, type NodeRole } from "../domain/node-kind.ts";
import type { Role } from "../domain/role.ts";
import { formatCidr } from "../net/cidr.ts";
import type { Ipv4 } from "../net/ipv4.ts";
import type { Mac } from "../net/mac.ts";
import { toCloudConfig } from "../node/emit-cloud-config.ts";
import { toIgnition } from "../node/emit-ignition.ts";
import { toInitrdOverlay } from "../node/emit-initrd.ts";
import { toShellScript } from "../node/emit-shell.ts";
import { type NodeFacts, readNodeFacts } from "../node/node-facts.ts";
import type { NodePart, NodeSpec } from "../node/node-spec.ts";
import { rootlessNode } from "../node/rootless-node.ts";
import type { Part } from "../render/multipart.ts";
import type { BootPlan } from "./boot-plan.ts";
import { machineIdOf } from "./machine-identity.ts";

/** The cluster that machines become nodes of, and what of a node others decide. */
export interface ClusterNodes {
  readonly cluster: ClusterSpec;
  /** Machine-ids are made with it, so that they stay the same for as long as the data directory does. */
  readonly machineIdSecret: Uint8Array;
  /** Of the registry and the lookaside store; undefined: where the machine reaches this server. */
  readonly servicesAddress: Ipv4 | undefined;
  /** The registry and whose images of it count, as it is now: a change is for the boots that come. */
  readonly images: () => NodeFacts["images"];
  /** What runs on a node beside Kubernetes: the agent that calls back. */
  readonly parts: (role: NodeRole, family: NodeFamily, facts: NodeFacts) => readonly NodePart[];
  /** `uname -r` of an image's kernel; undefined: nobody can tell. */
  readonly kernelRelease: (image: BootedImage) => string | undefined;
}

/** Stands for a kernel of which nothing is known: what is chosen for it works with every other too. */
const unknownKernel = "5.10";
/** A documentation address (RFC 5737), for previews of a machine that was never seen. */
const unknownAddress = "192.0.2.1" as Ipv4;

/** A machine that is to be a node, and what makes it one. */
export interface NodeOfBoot {
  readonly role: NodeRole;
  readonly family: NodeFamily;
  /** All that the description is made of, besides the parts of others. */
  readonly facts: NodeFacts;
  /** Made anew at each call: it is long, and many machines boot at once. */
  spec(): NodeSpec;
}

/**
 * The node that a machine with this plan becomes; undefined where it becomes none.
 * @param address that the machine has in this boot; undefined in previews
 * @throws NodeFactsInvalid
 */
export function nodeOfPlan(
  nodes: ClusterNodes | undefined,
  plan: BootPlan,
  of: {
    readonly machine: Pick<Machine, "name" | "macs">;
    readonly address: Ipv4 | undefined;
    readonly serverUrl: string;
  },
): NodeOfBoot | undefined {
  if (!nodes || plan.kind !== "role" || plan.role.node === undefined) return undefined;
  const { node: role, family } = plan.role;
  const { cluster } = nodes;
  const { hostname: serverAddress } = new URL(of.serverUrl);
  const read = readNodeFacts({
    hostname: of.machine.name,
    machineId: machineIdOf(nodes.machineIdSecret, of.machine.macs[0] ?? ("" as Mac)),
    address: of.address ?? unknownAddress,
    kernelRelease: (plan.image && nodes.kernelRelease(plan.image)) ?? unknownKernel,
    kubernetesVersion: formatKubernetesVersion(cluster.version),
    servicesAddress: nodes.servicesAddress ?? serverAddress,
    controlPlaneEndpoint: `${cluster.endpoint.host}:${cluster.endpoint.port}`,
    podNetwork: formatCidr(cluster.podSubnet),
    serviceNetwork: formatCidr(cluster.serviceSubnet),
    pauseImage: cluster.pauseImage,
    images: nodes.images(),
  });
  if (!("facts" in read))
    throw NodeFactsInvalid({
      machine: of.machine.name,
      problems: read.problems.map(({ fact, message }) => `${fact} ${message}`),
    });
  const { facts } = read;
  return {
    role,
    family,
    facts,
    spec: () => rootlessNode(role, family, facts, together(nodes.parts(role, family, facts))),
  };
}

/** The least RAM of a role's machines, in octets, as nodes where there is a cluster. */
export function withNodeRam(role: Role, nodes: ClusterNodes | undefined): Role {
  if (!nodes || role.node === undefined) return role;
  const asNode = role.nodeRamBytes ?? nodeRamBytes[role.node];
  return { ...role, minimumRamBytes: Math.max(role.minimumRamBytes ?? 0, asNode) };
}

function together(parts: readonly NodePart[]): NodePart {
  return {
    directories: parts.flatMap(({ directories }) => directories ?? []),
    files: parts.flatMap(({ files }) => files ?? []),
    links: parts.flatMap(({ links }) => links ?? []),
    units: parts.flatMap(({ units }) => units ?? []),
    sysctls: parts.flatMap(({ sysctls }) => sysctls ?? []),
    modules: parts.flatMap(({ modules }) => modules ?? []),
    arguments: parts.flatMap((part) => part.arguments ?? []),
  };
}

/** Does the description come to the machine on this way? */
const comesBy = (node: NodeOfBoot | undefined, channel: ReturnType<typeof nodeChannel>) =>
  node !== undefined && nodeChannel(node.family) === channel;

/** Is there an initrd beside that of the image? */
export function hasNodeInitrd(node: NodeOfBoot | undefined): boolean {
  return comesBy(node, "initrd");
}

/** The initrd; undefined where the machine gets its description in another way. */
export function nodeInitrd(node: NodeOfBoot | undefined): Uint8Array | undefined {
  return node && hasNodeInitrd(node) ? toInitrdOverlay(node.spec()) : undefined;
}

/** As text to look at, whatever way it goes. */
export function nodeText(node: NodeOfBoot | undefined): string | undefined {
  return node && toShellScript(node.spec());
}

/** The Ignition config that is merged into the machine's. */
export function nodeIgnition(node: NodeOfBoot | undefined): string | undefined {
  return node && comesBy(node, "ignition")
    ? `${JSON.stringify(toIgnition(node.spec()), undefined, 1)}\n`
    : undefined;
}

/** Where the agent finds the address of its boot, which is a secret, where it does not stand on the command line. */
export const callbackFile = "/etc/rollcall/callback";

/** What is merged into the user-data, the address for the agent among it. */
export function nodeUserData(node: NodeOfBoot | undefined, callbackUrl: string | null): readonly Part[] {
  if (!node || !comesBy(node, "user-data")) return [];
  const files = [
    { path: callbackFile, owner: "root:root", permissions: "0600", content: `${callbackUrl ?? ""}\n` },
  ];
  const agent = {
    merge_how: [
      { name: "list", settings: ["append"] },
      { name: "dict", settings: ["no_replace", "recurse_list"] },
    ],
    write_files: files,
  };
  return [
    {
      type: "text/cloud-config",
      name: "rollcall-callback.cfg",
      text: `#cloud-config\n${JSON.stringify(agent)}\n`,
    },
    node.family === "alt"
      ? { type: "text/x-shellscript", name: "rollcall-node.sh", text: toShellScript(node.spec()) }
      : { type: "text/cloud-config", name: "rollcall-node.cfg", text: toCloudConfig(node.spec()) },
  ];
}
