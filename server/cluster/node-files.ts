import type { ClusterSpec } from "../domain/cluster.ts";
import { type ClusterNode, type InstructionFile, runtimeSockets } from "../domain/cluster-node.ts";
import type { EpochMs } from "../domain/capabilities.ts";
import type { BootstrapToken } from "../kubeadm/bootstrap-token.ts";
import { initConfiguration, joinConfiguration } from "../kubeadm/configuration.ts";
import type { ClusterAuthorities } from "../pki/cluster-authorities.ts";
import { discoveryKubeconfig } from "../pki/join-secrets.ts";
import { masterFiles, type NodeFile } from "../pki/master-files.ts";

const directory = "/etc/kubernetes";
/** What kubeadm is called with. */
export const kubeadmFile = `${directory}/rollcall/kubeadm.yaml`;
const discoveryFile = `${directory}/rollcall/discovery.conf`;

const placed = ({ path, mode, content }: NodeFile): InstructionFile => ({
  path: `${directory}/${path}`,
  mode,
  content,
});
const secret = (path: string, content: string): InstructionFile => ({ path, mode: 0o600, content });

export interface FilesInput {
  readonly cluster: ClusterSpec;
  readonly authorities: ClusterAuthorities;
  readonly node: ClusterNode;
  readonly token: BootstrapToken;
  readonly now: EpochMs;
}

/** As this machine has it: systems differ in their container runtime. */
const onMachine = (cluster: ClusterSpec, { report }: ClusterNode): ClusterSpec => ({
  ...cluster,
  criSocket: runtimeSockets[report.runtime],
});

/** What a master makes the cluster with, or takes it up again with: every certificate there is, so that kubeadm makes none. Secrets. */
export async function initFiles({
  cluster,
  authorities,
  node,
  token,
  now,
}: FilesInput): Promise<InstructionFile[]> {
  const machine = { name: node.name, address: node.address };
  return [
    ...(await masterFiles(authorities, { cluster, machine, isFirst: true, now })).map(placed),
    secret(
      kubeadmFile,
      initConfiguration({ cluster: onMachine(cluster, node), machine, token, attempt: node.bootId }),
    ),
  ];
}

/** What a machine joins with; a worker gets a token and nothing else that is secret. */
export async function joinFiles({
  cluster,
  authorities,
  node,
  token,
  now,
}: FilesInput): Promise<InstructionFile[]> {
  const machine = { name: node.name, address: node.address };
  const isMaster = node.role === "master";
  return [
    ...(isMaster
      ? (await masterFiles(authorities, { cluster, machine, isFirst: false, now })).map(placed)
      : []),
    { path: discoveryFile, mode: 0o644, content: discoveryKubeconfig(authorities, cluster) },
    secret(
      kubeadmFile,
      joinConfiguration({
        cluster: onMachine(cluster, node),
        machine,
        token,
        discovery: { kind: "file", path: discoveryFile },
        role: isMaster ? "control-plane" : "worker",
      }),
    ),
  ];
}
