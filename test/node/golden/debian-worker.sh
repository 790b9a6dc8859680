#!/bin/sh
# Makes this system a rootless Kubernetes node: worker, debian. It can be run again.
set -eu
umask 022

# file MODE OWNER PATH <TEXT
file() {
	mkdir -p "$(dirname "$3")"
	new=$(mktemp "$3.XXXXXX")
	cat >"$new"
	if [ ! -L "$3" ] && cmp -s "$new" "$3"; then rm -f "$new"; else mv -f "$new" "$3"; fi
	chown "$2:$2" "$3"
	chmod "$1" "$3"
}

getent group u7s-admin >/dev/null || groupadd --system --gid 771 u7s-admin
getent group systemd-journal >/dev/null || groupadd --system systemd-journal
getent passwd u7s-admin >/dev/null || useradd --system --uid 771 --gid u7s-admin --home-dir /var/lib/u7s-admin --no-create-home --shell /bin/sh --comment "Rootless Kubernetes" u7s-admin
[ "$(id -u u7s-admin)" = 771 ] || { echo "the user u7s-admin has another id than 771" >&2; exit 1; }
usermod --append --groups systemd-journal u7s-admin

install -d -m 0755 -o root -g root "/var/lib/systemd/linger"
install -d -m 0700 -o u7s-admin -g u7s-admin "/var/lib/u7s-admin"
runuser -u u7s-admin -- install -d -m 0700 "/var/lib/u7s-admin/.config"
runuser -u u7s-admin -- install -d -m 0700 "/var/lib/u7s-admin/.config/usernetes"
runuser -u u7s-admin -- install -d -m 0700 "/var/lib/u7s-admin/.local"
runuser -u u7s-admin -- install -d -m 0700 "/var/lib/u7s-admin/.local/share"
runuser -u u7s-admin -- install -d -m 0700 "/var/lib/u7s-admin/.local/share/usernetes"
runuser -u u7s-admin -- install -d -m 0700 "/var/lib/u7s-admin/.local/share/usernetes/containers"
install -d -m 0755 -o root -g root "/var/sigstore/keys"

file 0644 root /etc/containers/policy.json <<'END-OF-THE-FILE-OF-THE-NODE'
{
  "default": [
    {
      "type": "reject"
    }
  ],
  "transports": {
    "docker": {
      "registry.local": [
        {
          "type": "signedBy",
          "keyType": "GPGKeys",
          "keyPath": "/var/sigstore/keys/imagemaker.pgp"
        }
      ]
    }
  }
}
END-OF-THE-FILE-OF-THE-NODE
file 0644 root /etc/containers/registries.conf <<'END-OF-THE-FILE-OF-THE-NODE'
unqualified-search-registries = ["registry.local"]

[[registry]]
location = "registry.local"
insecure = true
END-OF-THE-FILE-OF-THE-NODE
file 0644 root /etc/containers/registries.d/default.yaml <<'END-OF-THE-FILE-OF-THE-NODE'
default-docker:
  lookaside: http://sigstore.local:81/sigstore/
  sigstore: http://sigstore.local:81/sigstore/
END-OF-THE-FILE-OF-THE-NODE
file 0644 root /etc/hosts <<'END-OF-THE-FILE-OF-THE-NODE'
127.0.0.1 localhost
::1 localhost ip6-localhost ip6-loopback
10.0.0.2 registry.local sigstore.local
END-OF-THE-FILE-OF-THE-NODE
file 0644 root /etc/modules-load.d/u7s.conf <<'END-OF-THE-FILE-OF-THE-NODE'
fuse
loop
overlay
tun
bridge
br_netfilter
veth
vxlan
ip_tables
ip6_tables
iptable_nat
ip6table_nat
iptable_filter
ip6table_filter
nf_conntrack
nf_conntrack_netlink
nf_tables
nft_chain_nat
nft_compat
x_tables
xt_MASQUERADE
xt_addrtype
xt_comment
xt_conntrack
xt_mark
xt_multiport
xt_nat
xt_recent
xt_statistic
xt_tcpudp
END-OF-THE-FILE-OF-THE-NODE
file 0644 root /etc/rollcall/u7s/certs.d/registry.local/hosts.toml <<'END-OF-THE-FILE-OF-THE-NODE'
server = "http://registry.local"

[host."http://registry.local"]
  capabilities = ["pull", "resolve"]
END-OF-THE-FILE-OF-THE-NODE
file 0644 root /etc/rollcall/u7s/containerd.toml <<'END-OF-THE-FILE-OF-THE-NODE'
version = 2
root = "/var/lib/containerd"
state = "/run/containerd"

[grpc]
  address = "/run/containerd/containerd.sock"

[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "registry.local/c10f/pause:3.9"
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
  config_path = "/etc/rollcall/u7s/certs.d"
END-OF-THE-FILE-OF-THE-NODE
file 0644 root /etc/rollcall/u7s/env <<'END-OF-THE-FILE-OF-THE-NODE'
U7S_USER="u7s-admin"
U7S_HOME="/var/lib/u7s-admin"
U7S_STATE="/var/lib/u7s-admin/.local/share/usernetes"
U7S_PROGRAMS="/usr/local/libexec/u7s"
U7S_CONFIGURATION="/etc/rollcall/u7s"
U7S_KUBERNETES_PROGRAMS="/usr/bin"
U7S_CNI_PLUGINS="/usr/lib/cni"
U7S_RUNTIME_SCRIPT="containerd.sh"
U7S_KUBEVERSION="v1.30.2"
U7S_KUBELET_FLAGS="--node-ip=10.0.0.15 --hostname-override=s5 --feature-gates=KubeletInUserNamespace=true"
U7S_PAUSE_IMAGE="registry.local/c10f/pause:3.9"
U7S_REGISTRY="registry.local"
U7S_CONTROLPLANE=""
U7S_APISERVERENDPOINT="api.lab:6443"
U7S_EXTIP="10.0.0.15"
U7S_SERVICECIDR="10.96.0.0/12"
U7S_PODNETWORKCIDR="10.244.0.0/16"
U7S_CNI_PLUGIN="flannel"
U7S_SLIRP4NET="10.254.254.0/24"
U7S_SLIRP4IP="10.254.254.100"
U7S_SLIRP4ROUTER="10.254.254.2"
U7S_PORTS="10250:10250/tcp 10256:10256/tcp 8472:8472/udp"
U7S_SYSTEM_UNITS="u7s-prepare.service"
_CONTAINERS_USERNS_CONFIGURED="1"
_CONTAINERS_ROOTLESS_UID="771"
PATH="/usr/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/sbin:/bin"
END-OF-THE-FILE-OF-THE-NODE
file 0644 root /etc/rollcall/u7s/patches/kubeletconfiguration+strategic.json <<'END-OF-THE-FILE-OF-THE-NODE'
{
  "cgroupDriver": "cgroupfs",
  "cgroupsPerQOS": true,
  "enforceNodeAllocatable": [],
  "failSwapOn": false,
  "evictionHard": {
    "memory.available": "100Mi",
    "nodefs.available": "3%"
  },
  "volumePluginDir": "/var/lib/kubelet/volumeplugins",
  "featureGates": {
    "KubeletInUserNamespace": true
  },
  "localStorageCapacityIsolation": false
}
END-OF-THE-FILE-OF-THE-NODE
file 0644 root /etc/subgid <<'END-OF-THE-FILE-OF-THE-NODE'
u7s-admin:231072:65536
END-OF-THE-FILE-OF-THE-NODE
file 0644 root /etc/subuid <<'END-OF-THE-FILE-OF-THE-NODE'
u7s-admin:231072:65536
END-OF-THE-FILE-OF-THE-NODE
file 0644 root /etc/sysctl.d/90-u7s.conf <<'END-OF-THE-FILE-OF-THE-NODE'
net.ipv4.ip_forward = 1
net.ipv4.ping_group_range = 0 2147483647
net.ipv4.conf.default.rp_filter = 2
fs.inotify.max_user_instances = 8192
fs.inotify.max_user_watches = 524288
-kernel.unprivileged_userns_clone = 1
END-OF-THE-FILE-OF-THE-NODE
file 0644 root /etc/systemd/journald.conf.d/u7s.conf <<'END-OF-THE-FILE-OF-THE-NODE'
[Journal]
Storage=volatile
RuntimeMaxUse=64M
END-OF-THE-FILE-OF-THE-NODE
file 0644 root /etc/systemd/logind.conf.d/u7s.conf <<'END-OF-THE-FILE-OF-THE-NODE'
[Login]
RuntimeDirectorySize=40%
END-OF-THE-FILE-OF-THE-NODE
file 0644 root /etc/systemd/system/systemd-sysusers.service.d/u7s.conf <<'END-OF-THE-FILE-OF-THE-NODE'
[Unit]
ConditionNeedsUpdate=
END-OF-THE-FILE-OF-THE-NODE
file 0644 root /etc/systemd/system/u7s-prepare.service <<'END-OF-THE-FILE-OF-THE-NODE'
[Unit]
Description=What root does before the user of the Kubernetes node starts
After=local-fs.target systemd-modules-load.service
Before=systemd-user-sessions.service

[Service]
Type=oneshot
RemainAfterExit=yes
EnvironmentFile=/etc/rollcall/u7s/env
ExecStart=/usr/local/libexec/u7s/prepare.sh

[Install]
WantedBy=multi-user.target
END-OF-THE-FILE-OF-THE-NODE
file 0644 root /etc/systemd/system/user@.service.d/delegate.conf <<'END-OF-THE-FILE-OF-THE-NODE'
[Service]
Delegate=cpu cpuset io memory pids
END-OF-THE-FILE-OF-THE-NODE
file 0644 root /etc/systemd/system/user@.service.d/u7s.conf <<'END-OF-THE-FILE-OF-THE-NODE'
[Unit]
Requires=u7s-prepare.service
After=u7s-prepare.service
END-OF-THE-FILE-OF-THE-NODE
file 0644 root /etc/systemd/user/kubelet.service <<'END-OF-THE-FILE-OF-THE-NODE'
[Unit]
Description=kubelet in the user namespace; kubeadm starts it
ConditionUser=u7s-admin
BindsTo=rootlesskit.service
After=rootlesskit.service
StartLimitIntervalSec=0

[Service]
Type=notify
NotifyAccess=all
EnvironmentFile=/etc/rollcall/u7s/env
ExecStart=/usr/local/libexec/u7s/kubelet.sh
KillMode=mixed
LimitNOFILE=65536
TasksMax=infinity
Restart=always
RestartSec=5
END-OF-THE-FILE-OF-THE-NODE
file 0644 root /etc/systemd/user/rootlesskit.service <<'END-OF-THE-FILE-OF-THE-NODE'
[Unit]
Description=The user namespace of the Kubernetes node, with its container runtime
ConditionUser=u7s-admin
StartLimitIntervalSec=0

[Service]
Type=notify
NotifyAccess=all
EnvironmentFile=/etc/rollcall/u7s/env
ExecStart=/usr/local/libexec/u7s/rootlesskit.sh
ExecStartPost=/usr/local/libexec/u7s/rootlessctl.sh publish
ExecStartPost=/usr/local/libexec/u7s/nsenter_u7s /usr/local/libexec/u7s/import-images.sh
TimeoutStartSec=10min
Delegate=yes
KillMode=mixed
LimitNOFILE=65536
TasksMax=infinity
Restart=always
RestartSec=3

[Install]
WantedBy=default.target
END-OF-THE-FILE-OF-THE-NODE
file 0644 root /etc/sysusers.d/u7s.conf <<'END-OF-THE-FILE-OF-THE-NODE'
g u7s-admin 771
g systemd-journal -
u u7s-admin 771:u7s-admin "Rootless Kubernetes" /var/lib/u7s-admin /bin/sh
m u7s-admin systemd-journal
END-OF-THE-FILE-OF-THE-NODE
file 0755 root /usr/local/libexec/u7s/_kubelet.sh <<'END-OF-THE-FILE-OF-THE-NODE'
#!/bin/sh
# kubelet as kubeadm means it to be started (its 10-kubeadm.conf), inside of the user namespace.
set -eu
KUBELET_KUBEADM_ARGS=
if [ -r /var/lib/kubelet/kubeadm-flags.env ]; then
	# shellcheck source=/dev/null
	. /var/lib/kubelet/kubeadm-flags.env
fi
# shellcheck disable=SC2086 # lists of words
exec "$U7S_KUBERNETES_PROGRAMS/kubelet" \
	--bootstrap-kubeconfig=/etc/kubernetes/bootstrap-kubelet.conf --kubeconfig=/etc/kubernetes/kubelet.conf \
	--config=/var/lib/kubelet/config.yaml $KUBELET_KUBEADM_ARGS $U7S_KUBELET_FLAGS
END-OF-THE-FILE-OF-THE-NODE
file 0755 root /usr/local/libexec/u7s/activate.sh <<'END-OF-THE-FILE-OF-THE-NODE'
#!/bin/sh
# Puts in force what was written into a system that runs already. In one that does not, the boot does it.
set -eu
# shellcheck source=/dev/null
. /etc/rollcall/u7s/env
[ -d /run/systemd/system ] || exit 0
systemctl daemon-reload
systemctl restart systemd-modules-load.service systemd-sysctl.service || echo "u7s: not every module or sysctl is known here" >&2
systemctl try-restart systemd-journald.service
systemctl reload-or-restart systemd-logind.service
# shellcheck disable=SC2086 # a list of words
[ -z "$U7S_SYSTEM_UNITS" ] || systemctl start --no-block $U7S_SYSTEM_UNITS
loginctl enable-linger "$U7S_USER"
END-OF-THE-FILE-OF-THE-NODE
file 0755 root /usr/local/libexec/u7s/child.sh <<'END-OF-THE-FILE-OF-THE-NODE'
#!/bin/sh
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
END-OF-THE-FILE-OF-THE-NODE
file 0755 root /usr/local/libexec/u7s/containerd.sh <<'END-OF-THE-FILE-OF-THE-NODE'
#!/bin/sh
# containerd, inside of the user namespace. It tells systemd itself when it is ready.
exec containerd --config "$U7S_CONFIGURATION/containerd.toml"
END-OF-THE-FILE-OF-THE-NODE
file 0755 root /usr/local/libexec/u7s/crictl <<'END-OF-THE-FILE-OF-THE-NODE'
#!/bin/sh
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
END-OF-THE-FILE-OF-THE-NODE
file 0755 root /usr/local/libexec/u7s/import-images.sh <<'END-OF-THE-FILE-OF-THE-NODE'
#!/bin/sh
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
END-OF-THE-FILE-OF-THE-NODE
file 0755 root /usr/local/libexec/u7s/kubeadm <<'END-OF-THE-FILE-OF-THE-NODE'
#!/bin/sh
# The real one, whatever else is called so on this system.
exec "$U7S_KUBERNETES_PROGRAMS/kubeadm" "$@"
END-OF-THE-FILE-OF-THE-NODE
file 0755 root /usr/local/libexec/u7s/kubelet.sh <<'END-OF-THE-FILE-OF-THE-NODE'
#!/bin/sh
set -eu
exec "$U7S_PROGRAMS/nsenter_u7s" "$U7S_PROGRAMS/_kubelet.sh"
END-OF-THE-FILE-OF-THE-NODE
file 0755 root /usr/local/libexec/u7s/nsenter_u7s <<'END-OF-THE-FILE-OF-THE-NODE'
#!/bin/sh
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
END-OF-THE-FILE-OF-THE-NODE
file 0755 root /usr/local/libexec/u7s/prepare.sh <<'END-OF-THE-FILE-OF-THE-NODE'
#!/bin/sh
# What root has to do before the node's user may start.
set -eu

image=/var/lib/u7s-storage.img
if ! mountpoint -q "$U7S_STATE"; then
	# Of the RAM; it takes what is written to it and not removed again. Less than a root in RAM has room for (60 % in our image):
	# then a full one says so, where the file could not grow it would lose what is written.
	kib=$(awk '/^MemTotal:/ { print int($2 * 0.5) }' /proc/meminfo)
	rm -f "$image"
	truncate -s "$kib"K "$image"
	mkfs.ext4 -q -F -m 0 -O ^has_journal -E lazy_itable_init=1,nodiscard "$image"
	mkdir -p "$U7S_STATE"
	mount -t ext4 -o loop,nodev,noatime,discard "$image" "$U7S_STATE"
	rmdir "$U7S_STATE/lost+found"
	mkdir "$U7S_STATE/containers"
	# The outer one last: from then on it is the user's, and root follows no path in it.
	for directory in "$U7S_STATE/containers" "$U7S_STATE"; do
		chmod 700 "$directory"
		chown "$U7S_USER:$U7S_USER" "$directory"
	done
fi
END-OF-THE-FILE-OF-THE-NODE
file 0755 root /usr/local/libexec/u7s/rootlessctl.sh <<'END-OF-THE-FILE-OF-THE-NODE'
#!/bin/sh
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
END-OF-THE-FILE-OF-THE-NODE
file 0755 root /usr/local/libexec/u7s/rootlesskit.sh <<'END-OF-THE-FILE-OF-THE-NODE'
#!/bin/sh
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
END-OF-THE-FILE-OF-THE-NODE
file 0755 root /usr/local/libexec/u7s/systemctl <<'END-OF-THE-FILE-OF-THE-NODE'
#!/bin/sh
# kubeadm starts and stops kubelet: inside of the user namespace that is the user's unit.
set -eu
# systemd's private socket refuses who is root in here; the message bus does not. Without XDG_RUNTIME_DIR the bus is taken.
DBUS_SESSION_BUS_ADDRESS=unix:path=$XDG_RUNTIME_DIR/bus
export DBUS_SESSION_BUS_ADDRESS
unset XDG_RUNTIME_DIR
exec /bin/systemctl --user "$@"
END-OF-THE-FILE-OF-THE-NODE
file 0644 root /var/lib/systemd/linger/u7s-admin <<'END-OF-THE-FILE-OF-THE-NODE'
END-OF-THE-FILE-OF-THE-NODE
file 0644 root /var/sigstore/keys/imagemaker.pgp <<'END-OF-THE-FILE-OF-THE-NODE'
-----BEGIN PGP PUBLIC KEY BLOCK-----

mDMEZxabcBYJKwYBBAHaRw8BAQdAq0Zg1kYB4k3M8nqQ5n7b0aV3l2nJ0S1eFz5X
=aB3d
-----END PGP PUBLIC KEY BLOCK-----
END-OF-THE-FILE-OF-THE-NODE

mkdir -p "/etc/systemd/system/multi-user.target.wants"
ln -sfn ../u7s-prepare.service "/etc/systemd/system/multi-user.target.wants/u7s-prepare.service"
mkdir -p "/etc/systemd/user/default.target.wants"
ln -sfn ../rootlesskit.service "/etc/systemd/user/default.target.wants/rootlesskit.service"
runuser -u u7s-admin -- ln -sfn /etc/rollcall/u7s/env "/var/lib/u7s-admin/.config/usernetes/env"
runuser -u u7s-admin -- ln -sfn usernetes/containers "/var/lib/u7s-admin/.local/share/containers"

/usr/local/libexec/u7s/activate.sh
