/**
 * The scripts around and inside of the user namespace. POSIX sh, each value out of the environment file, so that the texts are the same for
 * all machines. They write no `${`, since they stand in template literals.
 */

/** Of the user's service manager: makes the namespaces, with slirp4netns for the network, and runs child.sh in them. */
export const rootlesskitScript = String.raw`#!/bin/sh
# Makes the user namespace that the node lives in, and stays its parent.
set -eu
# What is called in there finds our systemctl and kubeadm before the system's.
PATH=$U7S_PROGRAMS:$PATH
state=$XDG_RUNTIME_DIR/usernetes/rootlesskit
rm -rf "$state"
mkdir -p "$state"
# Inside, these directories become writable copies; what is below them is a link to the system's own.
set -- --copy-up=/etc --copy-up=/run --copy-up=/var/lib
for directory in /opt /usr/libexec; do
	[ ! -d "$directory" ] || set -- "$@" --copy-up="$directory"
done
# --propagation=rslave: kubelet and the runtime see each other's mounts, the system sees none of them.
exec rootlesskit --state-dir="$state" \
	--net=slirp4netns --mtu=65520 --cidr="$U7S_SLIRP4NET" --disable-host-loopback \
	--slirp4netns-sandbox=true --slirp4netns-seccomp=true --port-driver=builtin \
	--cgroupns --pidns --ipcns --utsns --propagation=rslave --evacuate-cgroup2=rootlesskit_evac \
	"$@" "$U7S_PROGRAMS/child.sh"
`;

/** Root of the user namespace: what a node expects of its system, and then the container runtime. */
export const childScript = String.raw`#!/bin/sh
# The first process of the user namespace: makes it look like a node's system, and becomes the container runtime.
set -eu
state=$U7S_STATE

# Links to what the system has of its own, which root in here may not write.
for stale in xtables.lock netns runc crun flannel containerd containers crio; do
	rm -rf "/run/$stale"
done

# What outlives a new start of this script lies in the user's home.
keep() {
	[ ! -L "$1" ] || rm -f "$1"
	inner=$state/$(printf '%s' "$1" | tr / _)
	mkdir -p "$1" "$inner"
	mount --bind "$inner" "$1"
}
plugins=$(readlink -f "$U7S_CNI_PLUGINS") || plugins=$U7S_CNI_PLUGINS
for directory in /etc/kubernetes /etc/cni /var/lib/kubelet /var/lib/cni /var/lib/etcd /var/log /var/cache \
	/var/lib/containerd /var/lib/containers; do
	keep "$directory"
done
mkdir -p /etc/kubernetes/pki /etc/kubernetes/manifests /etc/cni/net.d /usr/libexec/kubernetes
# Flannel's pod puts its own plugin beside the system's, so this is a directory of links.
if [ -L /opt/cni ]; then rm -f /opt/cni; fi
mkdir -p /opt/cni/bin
for plugin in "$plugins"/*; do
	[ ! -x "$plugin" ] || ln -sf "$plugin" /opt/cni/bin/
done

# kubelet reads and sets these, which belong to no namespace: it gets files that say what it wants to read.
fake() {
	file=$XDG_RUNTIME_DIR/usernetes/fake/$1
	mkdir -p "$(dirname "$file")"
	printf '%s\n' "$2" >"$file"
	[ ! -e "/proc/sys/$1" ] || mount --bind "$file" "/proc/sys/$1"
}
fake vm/overcommit_memory 1
fake vm/panic_on_oom 0
fake kernel/panic 10
fake kernel/panic_on_oops 1
fake kernel/keys/root_maxkeys 1000000
fake kernel/keys/root_maxbytes 25000000
# kubelet's watch for the kernel's memory killer can't open it.
[ ! -e /dev/kmsg ] || mount --bind /dev/null /dev/kmsg

# Of this network namespace.
for switch in net/ipv4/ip_forward net/bridge/bridge-nf-call-iptables; do
	[ ! -w "/proc/sys/$switch" ] || echo 1 >"/proc/sys/$switch"
done
[ ! -w /proc/sys/net/ipv4/conf/default/rp_filter ] || echo 2 >/proc/sys/net/ipv4/conf/default/rp_filter

# The node has the machine's own address, in here too: kubelet, flannel and the API server tell others the one that leads here.
ip address replace "$U7S_EXTIP/32" dev tap0
ip route replace "$U7S_SLIRP4NET" dev tap0 src "$U7S_EXTIP"
ip route replace default via "$U7S_SLIRP4ROUTER" dev tap0 src "$U7S_EXTIP"
ip address show dev tap0 | grep -q "inet $U7S_SLIRP4IP/" && ip address delete "$U7S_SLIRP4IP/24" dev tap0

exec "$U7S_PROGRAMS/$U7S_RUNTIME_SCRIPT"
`;

export const enterScript = String.raw`#!/bin/sh
# Runs a command inside of the user namespace: nsenter_u7s kubeadm join ...
set -eu
set -a
# shellcheck source=/dev/null
. "$HOME/.config/usernetes/env"
XDG_RUNTIME_DIR=/run/user/$(id -u)
PATH=$U7S_PROGRAMS:$PATH
set +a
pid=$(cat "$XDG_RUNTIME_DIR/usernetes/rootlesskit/child_pid")
exec nsenter --target "$pid" --user --preserve-credentials --mount --net --pid --ipc --uts --cgroup --wd=/ -- "$@"
`;

/** `add`, `remove` and `list` of what is reachable from outside; NodePorts of services come and go by it. */
export const portsScript = String.raw`#!/bin/sh
# rootlessctl.sh add|remove OUTER:INNER/PROTOCOL... | list | publish: what of the user namespace is reachable from outside.
set -eu
control() { rootlessctl --socket="$XDG_RUNTIME_DIR/usernetes/rootlesskit/api.sock" "$@"; }

# The id of a port that is published, or nothing: list-ports prints ID PROTO PARENTIP PARENTPORT CHILDIP CHILDPORT.
id_of() {
	control list-ports | awk -v outer="$1" -v protocol="$2" '$2 == protocol && $4 == outer { print $1 }'
}
act=$1
shift
case $act in
list) control list-ports ;;
publish)
	# shellcheck disable=SC2086 # a list of words
	"$0" add $U7S_PORTS
	;;
add | remove)
	for port in "$@"; do
		protocol=$(expr "$port" : '.*/\(.*\)')
		outer=$(expr "$port" : '\([0-9]*\):')
		id=$(id_of "$outer" "$protocol")
		case $act$id in
		add) control add-ports "0.0.0.0:$port" ;;
		remove?*) control remove-ports "$id" ;;
		esac
	done
	;;
*)
	echo "usage: rootlessctl.sh add|remove OUTER:INNER/PROTOCOL... | list | publish" >&2
	exit 64
	;;
esac
`;

export const systemctlShim = String.raw`#!/bin/sh
# kubeadm starts and stops kubelet: inside of the user namespace that is the user's unit.
set -eu
# The unit is never another one after the start of the user's service manager, which takes seconds to read all of its units again.
[ "$1" != daemon-reload ] || exit 0
# systemd's private socket refuses who is root in here; the message bus does not. Without XDG_RUNTIME_DIR the bus is taken.
DBUS_SESSION_BUS_ADDRESS=unix:path=$XDG_RUNTIME_DIR/bus
export DBUS_SESSION_BUS_ADDRESS
unset XDG_RUNTIME_DIR
exec /bin/systemctl --user "$@"
`;

export const kubeadmShim = String.raw`#!/bin/sh
# The real one, whatever else is called so on this system.
exec "$U7S_KUBERNETES_PROGRAMS/kubeadm" "$@"
`;

export const crictlShim = String.raw`#!/bin/sh
# What kubeadm asks of crictl, without which it does not begin; few distributions have it. containerd's own ctr answers.
set -eu
[ ! -x "$U7S_KUBERNETES_PROGRAMS/crictl" ] || exec "$U7S_KUBERNETES_PROGRAMS/crictl" "$@"
while getopts r:i:t: option; do
	# What socket and how long: there is one.
	[ "$option" != "?" ] || exit 64
done
shift $((OPTIND - 1))
control() { ctr -n k8s.io "$@"; }
case $1 in
info) control version ;;
inspecti) [ -n "$(control images list -q "name==$2")" ] ;;
pull) control images pull "$2" ;;
# Its pods are for kubeadm what it stops and removes: each container, since ctr knows no other.
pods) control containers list -q ;;
stopp) control tasks kill --all --signal KILL "$2" ;;
rmp)
	control tasks delete --force "$2" || :
	control containers delete "$2"
	;;
*)
	echo "crictl: this node has no $1" >&2
	exit 64
	;;
esac
`;
