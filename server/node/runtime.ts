import { runtimeSockets } from "../domain/cluster-node.ts";
import { clientPaths } from "../signatures/policy/client-files.ts";
import { type Family, familyTable } from "./families.ts";
import { containerdHosts } from "./image-policy.ts";
import { overlayChoice } from "./kernel.ts";
import type { NodeFacts } from "./node-facts.ts";
import type { NodePart } from "./node-spec.ts";
import { publicText } from "./public-text.ts";
import { stateDirectory } from "./accounts.ts";

const containerdScript = String.raw`#!/bin/sh
# containerd, inside of the user namespace. It tells systemd itself when it is ready.
exec containerd --config "$U7S_CONFIGURATION/containerd.toml"
`;

/** Below it lie what a recipe of an image names as `containerImages`. */
const importScript = String.raw`#!/bin/sh
# Container images that came with the system's image, before kubelet asks for them. Of those that are there already nothing is done.
set -eu
imported=/var/lib/containerd/imported
mkdir -p "$imported"
for archive in /usr/share/rollcall/images/*; do
	name=$(basename "$archive")
	if [ ! -f "$archive" ] || [ -e "$imported/$name" ]; then continue; fi
	case $name in
	etcd* | kube-apiserver* | kube-controller-manager* | kube-scheduler*) [ -n "$U7S_CONTROLPLANE" ] || continue ;;
	esac
	if ctr -n k8s.io images import "$archive"; then
		touch "$imported/$name"
	else
		echo "u7s: $archive can't be imported" >&2
	fi
done
`;

const crioScript = `#!/bin/sh
# CRI-O, inside of the user namespace. It tells systemd itself when it is ready.
set -eu
mkdir -p /run/crio
export _CRIO_ROOTLESS=1
exec crio --config "$U7S_CONFIGURATION/crio.conf" --config-dir "" --registries-conf ${clientPaths.registries}
`;

/** The version of this file's form is that of containerd 1.6; 2.x reads it too and translates. */
function containerdConfig({ pauseImage }: NodeFacts, hosts: string): string {
  return `version = 2
root = "/var/lib/containerd"
state = "/run/containerd"

[grpc]
  address = "/run/containerd/containerd.sock"

[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "${pauseImage}"
  # What root of a user namespace may not do.
  disable_apparmor = true
  restrict_oom_score_adj = true
  disable_hugetlb_controller = true

[plugins."io.containerd.grpc.v1.cri".containerd]
  snapshotter = "overlayfs"
  default_runtime_name = "crun"

[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.crun]
  runtime_type = "io.containerd.runc.v2"

[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.crun.options]
  BinaryName = "crun"
  SystemdCgroup = false

[plugins."io.containerd.grpc.v1.cri".cni]
  bin_dir = "/opt/cni/bin"
  conf_dir = "/etc/cni/net.d"

[plugins."io.containerd.grpc.v1.cri".registry]
  config_path = "${hosts}"
`;
}

function crioConfig({ pauseImage }: NodeFacts, storageOption: string | undefined): string {
  return `[crio]
root = "${stateDirectory}/containers/storage"
runroot = "/run/containers/storage"
storage_driver = "overlay"
storage_option = [${storageOption === undefined ? "" : `"${storageOption}"`}]

[crio.api]
listen = "/run/crio/crio.sock"

[crio.image]
signature_policy = "${clientPaths.policy}"
pause_image = "${pauseImage}"

[crio.runtime]
conmon_cgroup = "pod"
cgroup_manager = "cgroupfs"
default_runtime = "crun"

[crio.runtime.runtimes.crun]
runtime_path = "/usr/bin/crun"
runtime_type = "oci"
runtime_root = "/run/crun"

[crio.network]
network_dir = "/etc/cni/net.d/"
plugin_dirs = ["/opt/cni/bin/"]
`;
}

/** Where the runtime listens inside of the user namespace, for kubeadm's `criSocket`. */
export function runtimeSocket(family: Family): string {
  return runtimeSockets[familyTable[family].runtime === "cri-o" ? "crio" : "containerd"];
}

interface Script {
  readonly name: string;
  readonly text: string;
}

/** The scripts of the family's container runtime: it itself, and what is run inside of the user namespace when it is up. */
export function runtimeScripts(family: Family): { readonly start: Script; readonly whenUp?: Script } {
  return familyTable[family].runtime === "cri-o"
    ? { start: { name: "crio.sh", text: crioScript } }
    : {
        start: { name: "containerd.sh", text: containerdScript },
        whenUp: { name: "import-images.sh", text: importScript },
      };
}

export function runtimePart(family: Family, facts: NodeFacts): NodePart {
  const row = familyTable[family];
  const { configuration } = row;
  const file = (path: string, text: string) =>
    ({ path, owner: "root", mode: 0o644, text: publicText(text) }) as const;
  if (row.runtime === "cri-o") {
    const storageOption =
      overlayChoice(facts.kernel, row) === "fuse-overlayfs"
        ? "overlay.mount_program=/usr/bin/fuse-overlayfs"
        : undefined;
    return { files: [file(`${configuration}/crio.conf`, crioConfig(facts, storageOption))] };
  }
  const text = containerdConfig(facts, containerdHosts(family));
  return { files: [file(`${configuration}/containerd.toml`, text)] };
}
