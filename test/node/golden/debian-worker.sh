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

file 0644 root /etc/containers/certs.d/registry.local/ca.crt <<'END-OF-THE-FILE-OF-THE-NODE'
-----BEGIN CERTIFICATE-----
MIIBjjCCATOgAwIBAgIUAv/ctIT/udNu6MT4ErE+CCuky7wwCgYIKoZIzj0EAwIw
HDEaMBgGA1UEAwwRcm9sbGNhbGwtYWdlbnQtY2EwHhcNMjYxMTIxMTYxMDE5WhcN
MzYxMTE4MTYxMDE5WjAcMRowGAYDVQQDDBFyb2xsY2FsbC1hZ2VudC1jYTBZMBMG
ByqGSM49AgEGCCqGSM49AwEHA0IABLHoqCHdY+3dSzJ0nhhvRj4VWk8p8fmwddHb
71/1dwMhMCOUfldeoLZgiStRKfeVyPmALby72ehVt5A2apsFKdijUzBRMB0GA1Ud
DgQWBBT/LsRqy9AYo9HRBQvz9v5wakLgPjAfBgNVHSMEGDAWgBT/LsRqy9AYo9HR
BQvz9v5wakLgPjAPBgNVHRMBAf8EBTADAQH/MAoGCCqGSM49BAMCA0kAMEYCIQC7
3YcYTIj59o/zwwhv1G0TBO/bOMk3cf7Z4ZlwAzncBgIhAP7A/JmPO8jK8kOnrZfP
KLOB3YegL3dRu3mDI1aoY6oB
-----END CERTIFICATE-----
END-OF-THE-FILE-OF-THE-NODE
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
          "keyData": "mDME"
        }
      ]
    }
  }
}
END-OF-THE-FILE-OF-THE-NODE
file 0644 root /etc/containers/registries.conf <<'END-OF-THE-FILE-OF-THE-NODE'
unqualified-search-registries = ["registry.local"]

[[registry]]
prefix = "registry.local"
location = "registry.local"
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
file 0644 root /etc/rollcall/u7s/agent-authority.pem <<'END-OF-THE-FILE-OF-THE-NODE'
-----BEGIN CERTIFICATE-----
MIIBjjCCATOgAwIBAgIUAv/ctIT/udNu6MT4ErE+CCuky7wwCgYIKoZIzj0EAwIw
HDEaMBgGA1UEAwwRcm9sbGNhbGwtYWdlbnQtY2EwHhcNMjYxMTIxMTYxMDE5WhcN
MzYxMTE4MTYxMDE5WjAcMRowGAYDVQQDDBFyb2xsY2FsbC1hZ2VudC1jYTBZMBMG
ByqGSM49AgEGCCqGSM49AwEHA0IABLHoqCHdY+3dSzJ0nhhvRj4VWk8p8fmwddHb
71/1dwMhMCOUfldeoLZgiStRKfeVyPmALby72ehVt5A2apsFKdijUzBRMB0GA1Ud
DgQWBBT/LsRqy9AYo9HRBQvz9v5wakLgPjAfBgNVHSMEGDAWgBT/LsRqy9AYo9HR
BQvz9v5wakLgPjAPBgNVHRMBAf8EBTADAQH/MAoGCCqGSM49BAMCA0kAMEYCIQC7
3YcYTIj59o/zwwhv1G0TBO/bOMk3cf7Z4ZlwAzncBgIhAP7A/JmPO8jK8kOnrZfP
KLOB3YegL3dRu3mDI1aoY6oB
-----END CERTIFICATE-----
END-OF-THE-FILE-OF-THE-NODE
file 0644 root /etc/rollcall/u7s/agent.env <<'END-OF-THE-FILE-OF-THE-NODE'
ROLLCALL_URL="https://10.0.0.2:8443"
ROLLCALL_AUTHORITY="/etc/rollcall/u7s/agent-authority.pem"
ROLLCALL_STATE="/run/rollcall"
ROLLCALL_CRI_SOCKET="unix:///run/containerd/containerd.sock"
ROLLCALL_RETRY_FIRST="2"
ROLLCALL_RETRY_LAST="30"
ROLLCALL_REFUSED_PAUSE="600"
ROLLCALL_START_SECONDS="300"
ROLLCALL_NODE_PORTS_PAUSE="2"
END-OF-THE-FILE-OF-THE-NODE
file 0644 root /etc/rollcall/u7s/certs.d/registry.local/hosts.toml <<'END-OF-THE-FILE-OF-THE-NODE'
server = "https://registry.local"
capabilities = ["pull", "resolve"]
ca = "/etc/containers/certs.d/registry.local/ca.crt"

[host]
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
U7S_SYSTEM_UNITS="u7s-prepare.service rollcall-agent.service"
_CONTAINERS_USERNS_CONFIGURED="1"
_CONTAINERS_ROOTLESS_UID="771"
PATH="/usr/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/sbin:/bin"
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
file 0644 root /etc/systemd/system/rollcall-agent.service <<'END-OF-THE-FILE-OF-THE-NODE'
[Unit]
Description=Brings this machine into its Kubernetes cluster, as its server says
Wants=network-online.target user@771.service
After=network-online.target u7s-prepare.service user@771.service
StartLimitIntervalSec=0

[Service]
EnvironmentFile=/etc/rollcall/u7s/env
EnvironmentFile=/etc/rollcall/u7s/agent.env
ExecStart=/usr/local/libexec/u7s/agent.sh
StandardOutput=journal+console
StandardError=inherit
Restart=always
RestartSec=5
# The server refuses this boot: to ask again would be of no use.
RestartPreventExitStatus=77

[Install]
WantedBy=multi-user.target
END-OF-THE-FILE-OF-THE-NODE
file 0644 root /etc/systemd/system/rollcall-nodeports.service <<'END-OF-THE-FILE-OF-THE-NODE'
[Unit]
Description=Publishes the NodePorts of the cluster's services; rollcall-agent.service starts it
StartLimitIntervalSec=0

[Service]
User=u7s-admin
EnvironmentFile=/etc/rollcall/u7s/env
EnvironmentFile=/etc/rollcall/u7s/agent.env
Environment=HOME=/var/lib/u7s-admin XDG_RUNTIME_DIR=/run/user/771
ExecStart=/usr/local/libexec/u7s/nodeports.sh
Restart=always
RestartSec=5
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
file 0755 root /usr/local/libexec/u7s/agent.sh <<'END-OF-THE-FILE-OF-THE-NODE'
#!/bin/sh
# Brings this machine into the cluster: shows its claim to the server once, then does what the server tells it, one instruction after the
# other. What it knows lies in RAM, and an agent that starts anew goes on where the last one was.
set -uf
umask 077
LC_ALL=C
export LC_ALL

own=$ROLLCALL_STATE/agent
runtime=/run/user/$(id -u "$U7S_USER")
# sysexits(3): EX_NOPERM. The unit does not start it again.
refused=77

say() { printf 'rollcall: %s\n' "$*"; }

# A trouble that lasts is told once.
trouble=
complain() {
	[ "$*" = "$trouble" ] || say "$*"
	trouble=$*
}
answered() {
	[ -z "$trouble" ] || say "the server answers again"
	trouble=
	pause=0
}
finish() {
	say "$*"
	say "the agent ends here: this machine takes part again after its next boot"
	exit "$refused"
}

# Text of others, for a screen: one line.
printable() { tr -cd '\040-\176' | cut -c 1-500; }

as_user() { runuser -u "$U7S_USER" -- env HOME="$U7S_HOME" XDG_RUNTIME_DIR="$runtime" "$@"; }
inside() { as_user "$U7S_PROGRAMS/nsenter_u7s" "$@"; }

# rest SECONDS: up to half of it less, so that it is not over when all others' is.
rest() { sleep "$(($1 - $(od -An -N2 -tu2 /dev/urandom) % ($1 / 2 + 1)))"; }

# Waits after a failure: longer each time.
pause=0
back_off() {
	pause=$((pause * 2))
	[ "$pause" -ge "$ROLLCALL_RETRY_FIRST" ] || pause=$ROLLCALL_RETRY_FIRST
	[ "$pause" -le "$ROLLCALL_RETRY_LAST" ] || pause=$ROLLCALL_RETRY_LAST
	rest "$pause"
}

# ask OUTPUT SECONDS <CONFIG: one request with curl. Sets code: HTTP's, or 000 without an answer, and then problem.
# An answer may hold the data of a cluster: etcd's quota of 512 MiB, and some.
# Without a --capath of its own curl would take the authorities of the system beside ours.
ask() {
	rm -f "$1"
	code=$(curl -q --config - --silent --http1.1 --noproxy '*' --proto =https --tlsv1.2 --header Expect: \
		--cacert "$ROLLCALL_AUTHORITY" --capath "$own/none" \
		--connect-timeout 10 --max-time "$2" --max-filesize 629145600 --output "$1" --write-out '%{http_code}')
	status=$?
	problem=
	case $status in
	0) return ;;
	28) problem="no answer in time" ;;
	35 | 51 | 58 | 60 | 77) problem="no trust: its certificate is not the one that it should have, or the clock is wrong (curl $status)" ;;
	*) problem="no answer (curl $status)" ;;
	esac
	code=000
}

# What went wrong with a request, for people.
said() {
	if [ "$code" = 000 ]; then
		printf '%s' "$problem"
	else
		printf 'HTTP %s ' "$code"
		head -c 4096 "$1" 2>/dev/null | tr -d '\n' | sed -n 's/.*"detail": *"\([^"\\]*\)".*/\1/p' | printable
	fi
}

# The path's last part of a callback, with its slash: /<claim>
claim() {
	if [ -s /etc/rollcall/callback ]; then
		cat /etc/rollcall/callback
	else
		tr ' ' '\n' </proc/cmdline | sed -n 's/^rollcall\.callback=//p'
	fi | sed -n 's|^https\{0,1\}://[^/]*/callback\(/[A-Za-z0-9_-]\{16,128\}\)$|\1|p' | head -n 1
}

boot_mac() {
	mac=$(tr ' ' '\n' </proc/cmdline | sed -n 's/^BOOTIF=[0-9A-Fa-f]\{2\}-//p' | head -n 1)
	[ -n "$mac" ] || mac=$(cat "/sys/class/net/$(awk '$2 == "00000000" { print $1; exit }' /proc/net/route)/address" 2>/dev/null)
	printf '%s' "$mac" | tr 'A-F-' 'a-f:'
}

# One line of curl's configuration: a field of a form.
fact() { printf 'data-urlencode = "%s=%s"\n' "$1" "$(tr -cd 'A-Za-z0-9.:_+~ -' | cut -c 1-128)"; }
facts() {
	id=$(id -u "$U7S_USER")
	fact bootId </proc/sys/kernel/random/boot_id
	sed 'y/ABCDEF/abcdef/' /sys/class/dmi/id/product_uuid 2>/dev/null | fact uuid
	boot_mac | fact mac
	awk '/^MemTotal:/ { print $2 }' /proc/meminfo | fact memoryKiB
	nproc | fact processors
	uname -r | fact kernel
	sed -n p "/sys/fs/cgroup/user.slice/user-$id.slice/user@$id.service/cgroup.controllers" 2>/dev/null | fact controllers
	awk -F : -v user="$U7S_USER" '$1 == user { count += $3 } END { print count + 0 }' /etc/subuid | fact subuids
	basename "$ROLLCALL_CRI_SOCKET" .sock | fact runtime
}

# epoch <"21 Nov 2026 15:49:52": seconds since 1970.
epoch() {
	awk 'NF >= 4 {
		month = (index("JanFebMarAprMayJunJulAugSepOctNovDec", $2) + 2) / 3
		year = $3 - (month <= 2)
		days = 365 * year + int(year / 4) - int(year / 100) + int(year / 400) + int(((month + 9) % 12 * 306 + 5) / 10) + $1 - 719469
		split($4, time, ":")
		printf "%.0f\n", days * 86400 + time[1] * 3600 + time[2] * 60 + time[3]
	}'
}

# All certificates begin when their authority does. A clock that is before that is wrong for certain, and nothing can be checked with it:
# it is set to the server's, once. Any other clock stays as it is.
check_clock() {
	start=$(openssl x509 -in "$ROLLCALL_AUTHORITY" -noout -startdate |
		sed 's/^notBefore=\([A-Za-z]*\)  *\([0-9]*\) \([0-9:]*\) \([0-9]*\).*/\2 \1 \4 \3/' | epoch)
	server=$(curl -q --silent --http1.1 --noproxy '*' --proto =https --insecure --head --connect-timeout 10 --max-time 15 "$ROLLCALL_URL/" |
		tr -d '\r' | sed -n 's/^[Dd]ate: *[A-Za-z]*, *//p' | head -n 1 | epoch)
	[ -n "$start" ] && [ -n "$server" ] || return
	now=$(date -u +%s)
	apart=$((server - now))
	[ "$apart" -gt 300 ] || [ "$apart" -lt -300 ] || return
	if [ "$now" -lt "$start" ] && [ "$server" -ge "$start" ] && [ ! -e "$own/clock" ]; then
		: >"$own/clock"
		say "the clock is behind all certificates: it is set to the server's time"
		date -u -s "@$server" >/dev/null || say "the clock can't be set"
	else
		say "this machine's clock and the server's are $apart seconds apart"
	fi
}

wait_for_namespace() {
	left=$ROLLCALL_START_SECONDS
	until as_user systemctl --user is-active --quiet rootlesskit.service 2>/dev/null; do
		if [ "$left" -le 0 ]; then
			say "the user namespace of the node does not come up: journalctl _UID=$(id -u "$U7S_USER") tells why"
			exit 1
		fi
		complain "waiting for the user namespace of the node"
		sleep "$ROLLCALL_RETRY_FIRST"
		left=$((left - ROLLCALL_RETRY_FIRST - 1))
	done
	trouble=
}

make_key() {
	[ ! -s "$own/agent.csr" ] || return 0
	# Not every system has a configuration of its own for openssl.
	printf '[req]\ndistinguished_name = none\n[none]\n' >"$own/openssl.cnf"
	openssl ecparam -name prime256v1 -genkey -noout -out "$own/agent.key" &&
		openssl req -new -config "$own/openssl.cnf" -key "$own/agent.key" -subj /CN=rollcall-agent -out "$own/agent.csr.new" &&
		mv "$own/agent.csr.new" "$own/agent.csr"
}

# Keeps what a claim is answered: the certificate for our key, the node's name and the seconds of a long poll.
take_answer() {
	sed -n '/^-----BEGIN CERTIFICATE-----$/,/^-----END CERTIFICATE-----$/{p;/^-----END/q;}' "$own/answer" >"$own/agent.crt.new"
	name=$(sed -n 's/^name \([a-z0-9.-]\{1,253\}\)$/\1/p' "$own/answer" | head -n 1)
	poll=$(sed -n 's/^wait \([1-9][0-9]\{0,1\}\)$/\1/p' "$own/answer" | head -n 1)
	public=$(openssl x509 -in "$own/agent.crt.new" -noout -pubkey 2>/dev/null) || return
	[ -n "$name" ] && [ -n "$poll" ] && [ "$public" = "$(openssl pkey -in "$own/agent.key" -pubout)" ] || return
	printf '%s\n' "$poll" >"$own/poll"
	mv "$own/agent.crt.new" "$own/agent.crt"
}

join_server() {
	claim=$(claim)
	[ -n "$claim" ] || finish "this boot has no claim: neither in /etc/rollcall/callback nor on the kernel's command line"
	known=$(facts)
	while :; do
		ask "$own/answer" 30 <<-EOF
			url = "$ROLLCALL_URL/callback$claim/join"
			data-urlencode = "csr@$own/agent.csr"
			$known
		EOF
		case $code in
		200)
			if take_answer; then
				answered
				say "the server takes this machine as the node $name"
				return
			fi
			complain "the server's answer to the claim can't be read"
			;;
		403 | 404) finish "the server refuses this machine: $(said "$own/answer")" ;;
		*)
			complain "the server does not take the claim: $(said "$own/answer")"
			[ "$status" != 60 ] || check_clock
			;;
		esac
		back_off
	done
}

# bear FILE: waits after a refusal, which may pass. 401: the certificate is not taken. 403: the server knows another boot of this machine, or
# none; whether this one is over, the answer to its claim tells.
bear() {
	complain "the server does not know this machine now, and is asked again later: $(said "$1")"
	rest "$ROLLCALL_REFUSED_PAUSE"
	[ "$code" = 401 ] || join_server
}

# What nobody else may read leaves no machine: keys, tokens, and what an address or a kubeconfig holds of them.
redact() {
	tr -cd '\011\012\040-\176' | sed -E \
		-e 's/-----BEGIN [A-Z ]*PRIVATE[ ]KEY-----.*-----END [A-Z ]*PRIVATE[ ]KEY-----/[a private key]/g' \
		-e '/-----BEGIN [A-Z ]*PRIVATE[ ]KEY-----/,/-----END [A-Z ]*PRIVATE[ ]KEY-----/{/-----BEGIN/!d;s/-----BEGIN.*/[a private key]/;}' \
		-e 's/(^|[^a-z0-9])[a-z0-9]{6}\.[a-z0-9]{16}/\1[a token]/g' \
		-e 's/eyJ[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+/[a token]/g' \
		-e 's/(^|[^0-9a-f:=])[0-9a-f]{64}/\1[a key]/g' \
		-e 's/-data:[ "]*[A-Za-z0-9+=/]{64,}/-data: [a credential]/g' \
		-e 's#/(claims|callback)/[^/ ]+#/\1/[a claim]#g'
}

# run_inside SECONDS COMMAND...: its output goes to the log. timeout(1) stands inside too, where it can end what it started.
run_inside() {
	seconds=$1
	shift
	inside timeout -k 10 "$seconds" "$@" </dev/null >>"$own/log" 2>&1
}
unpack() { inside "$U7S_PROGRAMS/unpack.sh" <"$own/instruction.tar" >>"$own/log" 2>&1; }
reset_node() {
	rm -f "$ROLLCALL_STATE/ready"
	run_inside 300 kubeadm reset -f "--cri-socket=$ROLLCALL_CRI_SOCKET"
}

# The network of pods, where the instruction brings it.
set_up_network() {
	tar -tf "$own/instruction.tar" | grep -qx files/etc/rollcall/network.sh || return 0
	run_inside "$deadline" sh /etc/rollcall/network.sh
}

# Cleans up first: kubeadm refuses a system on which it was before. Its files come after that, since reset takes them away.
run_kubeadm() {
	if [ -e "$own/tried" ]; then
		phase=reset
		say "cleaning up what an earlier try left (kubeadm reset)"
		reset_node
	fi
	: >"$own/tried"
	phase=unpack
	unpack || return
	phase=network
	set_up_network || return
	phase=kubeadm
	limit="$deadline s"
	[ "$deadline" -lt 120 ] || limit="$((deadline / 60)) min"
	case $operation in
	init) say "making the cluster (kubeadm init), $limit at most" ;;
	join) say "joining the cluster (kubeadm join), $limit at most" ;;
	esac
	# shellcheck disable=SC2086 # a list of words
	run_inside "$deadline" kubeadm "$operation" --config /etc/kubernetes/rollcall/kubeadm.yaml $arguments || {
		failed=$?
		word=$(sed -n 's/.*error execution phase \([a-z-]\{1,40\}\).*/\1/p' "$own/log" | tail -n 1)
		[ -z "$word" ] || phase=$word
		return "$failed"
	}
}

run_network() {
	phase=unpack
	unpack || return
	phase=network
	set_up_network
}

run_ready() {
	# For others of this machine.
	(umask 022 && : >"$ROLLCALL_STATE/ready")
	say "this machine is a node of the cluster, and ready"
	systemctl start --no-block rollcall-nodeports.service >>"$own/log" 2>&1
}

run_reset() {
	systemctl stop rollcall-nodeports.service >>"$own/log" 2>&1
	say "taking this machine out of the cluster (kubeadm reset)"
	reset_node
	result=$?
	as_user systemctl --user stop kubelet.service >>"$own/log" 2>&1
	[ "$result" != 0 ] || rm -f "$own/tried"
	return "$result"
}

# Tells the server that this machine lives, for as long as an instruction is at work: what asks says that it is done, and is answered at once.
heartbeat() {
	while sleep "$poll" && kill -0 $$ 2>/dev/null; do
		ask "$own/heartbeat" 30 <<-EOF
			url = "$ROLLCALL_URL/node/instruction?done=$sequence&wait=0"
			$credentials
		EOF
	done
}

# Sets result and phase.
execute() {
	: >"$own/log"
	phase=$operation
	heartbeat &
	heart=$!
	case $operation in
	init | join) run_kubeadm ;;
	network) run_network ;;
	ready) run_ready ;;
	reset) run_reset ;;
	reboot) ;;
	*)
		phase=unknown
		echo "this agent knows no such operation, or not its arguments: $operation" >"$own/log"
		# sysexits(3): EX_USAGE
		(exit 64)
		;;
	esac
	result=$?
	kill "$heart" 2>/dev/null
	[ "$result" = 0 ] || say "$operation failed ($result, $phase): $(redact <"$own/log" | grep . | tail -n 1 | printable)"
	redact <"$own/log" | tail -c 8192 >"$own/results/$sequence.log"
	printf '%s %s\n' "$result" "$phase" >"$own/results/new"
	mv "$own/results/new" "$own/results/$sequence"
}

# Until the server has it: the instruction counts as done only then.
report() {
	read -r result phase <"$own/results/$sequence"
	while :; do
		ask "$own/answer" 30 <<-EOF
			url = "$ROLLCALL_URL/node/report?sequence=$sequence&result=$result&phase=$phase"
			header = "Content-Type: text/plain"
			data-binary = "@$own/results/$sequence.log"
			$credentials
		EOF
		case $code in
		2??)
			answered
			return
			;;
		401 | 403) bear "$own/answer" ;;
		000 | 408 | 429 | 5??) complain "the server does not take the report: $(said "$own/answer")" ;;
		*)
			say "the server has no use for the report of instruction $sequence: $(said "$own/answer")"
			return
			;;
		esac
		back_off
	done
}

field() { sed -n "s/^$1=\($2\)\$/\1/p" "$own/instruction" | head -n 1; }

keep_done() {
	last=$sequence
	printf '%s\n' "$last" >"$own/done.new"
	mv "$own/done.new" "$own/done"
}

# Fails for an answer that is no instruction.
follow() {
	tar -xOf "$own/instruction.tar" instruction >"$own/instruction" 2>/dev/null || return
	sequence=$(field sequence '[0-9]\{1,15\}')
	operation=$(field operation '[a-z]\{1,20\}')
	[ -n "$sequence" ] && [ -n "$operation" ] || return
	deadline=$(field deadline '[1-9][0-9]\{0,4\}')
	[ -n "$deadline" ] || deadline=600
	arguments=$(field arguments '[A-Za-z0-9=/.,_ -]*')
	if [ -z "$arguments" ] && grep -q '^arguments=.' "$own/instruction"; then operation=refused; fi
	message=$(sed -n 's/^message=//p' "$own/instruction" | head -n 1 | printable)
	if [ -n "$message" ] && [ "$message" != "$shown" ]; then
		say "$message"
		shown=$message
		printf '%s\n' "$shown" >"$own/shown"
	fi
	case $operation in
	wait | none)
		keep_done
		return
		;;
	esac
	[ "$sequence" = "$last" ] || worked=yes
	# A new start of the machine is the one that can be asked for twice.
	if [ ! -e "$own/results/$sequence" ] || [ "$operation" = reboot ]; then execute; fi
	report
	keep_done
	if [ "$operation" = reboot ]; then
		say "starting this machine anew, as the server says"
		systemctl reboot || say "systemd does not start this machine anew"
	fi
}

mkdir -p "$own/none" "$own/results"
chmod 755 "$ROLLCALL_STATE"
last=0
poll=20
shown=
make_key || {
	say "openssl makes no key"
	exit 1
}
wait_for_namespace
[ -s "$own/agent.crt" ] || join_server
credentials=$(printf 'cert = "%s"\nkey = "%s"' "$own/agent.crt" "$own/agent.key")
[ ! -s "$own/done" ] || read -r last <"$own/done"
[ ! -s "$own/poll" ] || read -r poll <"$own/poll"
[ ! -s "$own/shown" ] || read -r shown <"$own/shown"

while :; do
	began=$(date +%s)
	worked=
	ask "$own/instruction.tar" "$((poll + 15))" <<-EOF
		url = "$ROLLCALL_URL/node/instruction?done=$last&wait=$poll"
		$credentials
	EOF
	case $code in
	200)
		if follow; then answered; else
			complain "the server's instruction can't be read"
			back_off
		fi
		;;
	204) answered ;;
	401 | 403) bear "$own/instruction.tar" ;;
	*)
		complain "the server gives no instruction: $(said "$own/instruction.tar")"
		back_off
		;;
	esac
	# Whatever the server answers at once, and again: not as fast as it can.
	[ -n "$worked" ] || [ "$(date +%s)" -gt "$((began + 1))" ] || sleep "$ROLLCALL_RETRY_FIRST"
done
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
file 0755 root /usr/local/libexec/u7s/nodeports.sh <<'END-OF-THE-FILE-OF-THE-NODE'
#!/bin/sh
# nodeports.sh: keeps published on this machine the NodePorts that the cluster's services have.
# nodeports.sh list, nodeports.sh watch VERSION: inside of the user namespace, what they are, and when they may have changed.
set -eu
LC_ALL=C
export LC_ALL

# kubelet_says KEY: values of kubelet's own configuration, in quotes (as the server writes it) or without (as kubelet does).
kubelet_says() { sed -n 's/^ *'"$1"': *"\{0,1\}\([A-Za-z0-9.:/+=-]*\)"\{0,1\} *$/\1/p' /etc/kubernetes/kubelet.conf; }

# Sets identity, a file with kubelet's certificate and key. On the machine that made the cluster they stand in kubelet's own
# configuration until kubelet renews them for the first time.
find_identity() {
	identity=/var/lib/kubelet/pki/kubelet-client-current.pem
	[ ! -e "$identity" ] || return 0
	identity=/run/rollcall-kubelet.pem
	(
		umask 077
		kubelet_says 'client-[a-z]*-data' | while read -r data; do printf '%s' "$data" | base64 -d; done >"$identity"
	)
}

# ask PATH SECONDS: of the API server, as kubelet. It takes its shell's place.
ask() {
	find_identity
	server=$(kubelet_says server | head -n 1)
	case $server in
	https://*) ;;
	*) exit 1 ;;
	esac
	exec curl -q --silent --fail --no-buffer --noproxy '*' --proto =https --cacert /etc/kubernetes/pki/ca.crt --capath /nonexistent \
		--cert "$identity" --key "$identity" --connect-timeout 10 --max-time "$2" "$server$1"
}

# JSON read token by token, a line of it after the other: the path of each value is on a stack, so that no text in it can pass for a port.
ports_of() {
	awk '
	# What a value is, where it stands.
	function value(text) {
		if (depth == 1 && names[1] == "kind") isList = text == "\"ServiceList\""
		if (depth == 2 && names[1] == "metadata" && names[2] == "resourceVersion") version = text
		if (depth != 6 || names[1] != "items" || names[3] != "spec" || names[4] != "ports") return
		if (names[6] == "nodePort") port = text
		if (names[6] == "protocol") protocol = text
	}
	function open_(kind) {
		depth++
		kinds[depth] = kind
		names[depth] = ""
		isKey = kind == "{"
	}
	function close_() {
		depth--
		isKey = 0
		# The end of one of the ports of a service.
		if (depth == 5 && names[1] == "items" && names[3] == "spec" && names[4] == "ports") {
			if (protocol == "") protocol = "\"TCP\""
			if (port ~ /^[0-9]+$/ && port + 0 >= 30000 && port + 0 <= 32767 && (protocol == "\"TCP\"" || protocol == "\"UDP\""))
				found[port "/" tolower(substr(protocol, 2, 3))] = 1
			port = protocol = ""
		}
	}
	{
		rest = $0
		while (match(rest, /^[ \t\r]*("[^"\\]*(\\.[^"\\]*)*"|[^][{}:," \t\r]+|[][{}:,])/)) {
			token = substr(rest, 1, RLENGTH)
			rest = substr(rest, RLENGTH + 1)
			sub(/^[ \t\r]*/, "", token)
			if (token == "{" || token == "[") open_(token)
			else if (token == "}" || token == "]") close_()
			else if (token == ",") isKey = kinds[depth] == "{"
			else if (token == ":") isKey = 0
			else if (isKey) names[depth] = substr(token, 2, length(token) - 2)
			else value(token)
		}
		if (rest ~ /[^ \t\r]/) isBroken = 1
	}
	END {
		if (isBroken || depth != 0 || !isList || version !~ /^"[0-9]+"$/) exit 1
		print "version " substr(version, 2, length(version) - 2)
		for (one in found) print one
	}'
}

act=keep
[ $# = 0 ] || act=$1
case $act in
list)
	ask '/api/v1/services?pretty=true' 30 | ports_of
	exit
	;;
watch)
	# Ends with the first change, or after a minute.
	pipe=$(mktemp -d /run/rollcall-watch.XXXXXX)
	trap 'rm -rf "$pipe"' EXIT
	mkfifo "$pipe/changes"
	ask "/api/v1/services?watch=true&timeoutSeconds=60&resourceVersion=$2" 90 >"$pipe/changes" &
	asking=$!
	read -r _ <"$pipe/changes" || true
	kill "$asking" 2>/dev/null || true
	exit 0
	;;
esac

inside() { "$U7S_PROGRAMS/nsenter_u7s" "$U7S_PROGRAMS/nodeports.sh" "$@"; }
# What it published itself: nothing else is ever taken away.
own=$XDG_RUNTIME_DIR/usernetes/nodeports
mkdir -p "$(dirname "$own")"
touch "$own"
silent=
while :; do
	if listed=$(inside list 2>/dev/null) && published=$("$U7S_PROGRAMS/rootlessctl.sh" list); then
		silent=
		wanted=$(printf '%s\n' "$listed" | sed 1d)
		published=$(printf '%s\n' "$published" | awk 'NR > 1 { print $4 "/" $2 }')
		kept=
		for port in $wanted; do
			number=$(printf '%s' "$port" | sed 's|/.*||')
			if ! printf '%s\n' "$published" | grep -qx "$port"; then
				"$U7S_PROGRAMS/rootlessctl.sh" add "$number:$port" >/dev/null || continue
				echo "published $port"
			elif ! grep -qx "$port" "$own"; then
				continue
			fi
			kept="$kept$port
"
		done
		while read -r port; do
			if printf '%s' "$kept" | grep -qx "$port"; then continue; fi
			number=$(printf '%s' "$port" | sed 's|/.*||')
			if "$U7S_PROGRAMS/rootlessctl.sh" remove "$number:$port" >/dev/null; then
				echo "no longer published: $port"
			else
				kept="$kept$port
"
			fi
		done <"$own"
		printf '%s' "$kept" >"$own.new"
		mv "$own.new" "$own"
		inside watch "$(printf '%s\n' "$listed" | sed -n '1s/^version //p')" 2>/dev/null || true
	elif [ -z "$silent" ]; then
		silent=yes
		echo "the API server does not tell its services; the ports stay as they are"
	fi
	sleep "$ROLLCALL_NODE_PORTS_PAUSE"
done
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
# The unit is never another one after the start of the user's service manager, which takes seconds to read all of its units again.
[ "$1" != daemon-reload ] || exit 0
# systemd's private socket refuses who is root in here; the message bus does not. Without XDG_RUNTIME_DIR the bus is taken.
DBUS_SESSION_BUS_ADDRESS=unix:path=$XDG_RUNTIME_DIR/bus
export DBUS_SESSION_BUS_ADDRESS
unset XDG_RUNTIME_DIR
exec /bin/systemctl --user "$@"
END-OF-THE-FILE-OF-THE-NODE
file 0755 root /usr/local/libexec/u7s/unpack.sh <<'END-OF-THE-FILE-OF-THE-NODE'
#!/bin/sh
# unpack.sh <ARCHIVE: writes the members below files/ into this system, with their modes.
set -euf
umask 077
work=$(mktemp -d /run/rollcall-unpack.XXXXXX)
trap 'rm -rf "$work"' EXIT
cat >"$work/archive"
tar -tf "$work/archive" >"$work/names"
# Regular files with plain names alone.
if tar -tvf "$work/archive" | grep -qv '^-' ||
	grep -Eqv '^(instruction|files(/[A-Za-z0-9_@+=:.-]+)+)$' "$work/names" || grep -Eq '/\.\.?(/|$)' "$work/names"; then
	echo "unpack.sh: a member of the archive is no file, or its name is not plain" >&2
	# sysexits(3): EX_DATAERR
	exit 65
fi
members=$(grep '^files/' "$work/names") || exit 0

# rootlesskit's copy of a directory has links to what the system has in it, where nobody may write in here: such a link on the way to a
# file of ours becomes a directory of links.
open_up() {
	case $(readlink "$1") in
	.ro[0-9]*/*)
		original=$(readlink -f "$1")
		rm "$1"
		mkdir "$1"
		find "$original" -mindepth 1 -maxdepth 1 -exec ln -s {} "$1/" \;
		;;
	esac
}
# Each directory once, the outer ones first.
directories=$(printf '%s\n' "$members" | awk -F / '{ path = ""; for (i = 2; i < NF; i++) print path = path "/" $i }' | sort -u)
umask 022
for directory in $directories; do
	if [ -L "$directory" ]; then open_up "$directory"; fi
done
# They are root's, whoever they were in the archive.
# shellcheck disable=SC2086 # a list of words
tar -xpof "$work/archive" -C / --strip-components=1 $members
# etcd 3.4.10 to 3.4.13, that of kubeadm 1.19 and 1.20, does not start where others may look into its directories.
case $members in
*files/var/lib/etcd/*) chmod -R go= /var/lib/etcd ;;
esac
END-OF-THE-FILE-OF-THE-NODE
file 0644 root /var/lib/systemd/linger/u7s-admin <<'END-OF-THE-FILE-OF-THE-NODE'
END-OF-THE-FILE-OF-THE-NODE

mkdir -p "/etc/systemd/system/multi-user.target.wants"
ln -sfn ../rollcall-agent.service "/etc/systemd/system/multi-user.target.wants/rollcall-agent.service"
mkdir -p "/etc/systemd/system/multi-user.target.wants"
ln -sfn ../u7s-prepare.service "/etc/systemd/system/multi-user.target.wants/u7s-prepare.service"
mkdir -p "/etc/systemd/user/default.target.wants"
ln -sfn ../rootlesskit.service "/etc/systemd/user/default.target.wants/rootlesskit.service"
runuser -u u7s-admin -- ln -sfn /etc/rollcall/u7s/env "/var/lib/u7s-admin/.config/usernetes/env"
runuser -u u7s-admin -- ln -sfn usernetes/containers "/var/lib/u7s-admin/.local/share/containers"

/usr/local/libexec/u7s/activate.sh
