import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import t from "tap";
import { agentPart } from "../../server/node/agent.ts";
import { toShellScript } from "../../server/node/emit-shell.ts";
import { rootlessNode } from "../../server/node/rootless-node.ts";
import { tar } from "../../server/node/tar.ts";
import { runInLayer } from "../support/host-layer.ts";
import { sampleFacts, sampleServer } from "../support/node-samples.ts";

/** As the user's service manager starts rootlesskit.service: waits for READY=1, runs what is to be looked at, and ends it. */
const serviceManager = `import os, socket, subprocess
notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
notify.bind("/run/user/771/notify")
notify.settimeout(1)
log = open("/tmp/rootlesskit.log", "w")
unit = subprocess.Popen(["/usr/local/libexec/u7s/rootlesskit.sh"], stdout=log, stderr=log,
    env=dict(os.environ, NOTIFY_SOCKET="/run/user/771/notify"))
try:
    heard = b""
    while b"READY=1" not in heard:
        try:
            heard = notify.recv(4096)
        except TimeoutError:
            if unit.poll() is not None:
                raise SystemExit("it ended before it was ready")
    subprocess.run(["/bin/sh", "-e", "/tmp/look.sh"], check=True)
finally:
    unit.terminate()
    unit.wait()
`;

const look = `PATH=/usr/local/libexec/u7s:$PATH
say() { printf '%s=%s\\n' "$1" "$(printf '%s' "$2" | tr '\\n' ' ')"; }
rootlessctl.sh publish >/dev/null
rootlessctl.sh publish >/dev/null
rootlessctl.sh add 30100:80/tcp >/dev/null
rootlessctl.sh add 30101:80/tcp >/dev/null
rootlessctl.sh remove 30100:80/tcp >/dev/null
say ports "$(rootlessctl.sh list | awk 'NR > 1 { print $4 "/" $2 }' | sort)"
say user "$(nsenter_u7s id -u)"
say address "$(nsenter_u7s ip -4 -o address show dev tap0 | awk '{ print $4 }')"
say route "$(nsenter_u7s ip route show default)"
say sysctls "$(nsenter_u7s cat /proc/sys/kernel/panic /proc/sys/vm/overcommit_memory /proc/sys/net/ipv4/ip_forward)"
say kmsg "$(nsenter_u7s stat -c %t:%T /dev/kmsg)"
say shims "$(nsenter_u7s sh -c 'command -v systemctl; command -v kubeadm; command -v crictl')"
say cni "$(nsenter_u7s ls /opt/cni/bin/bridge /etc/cni)"
say vxlan "$(nsenter_u7s sh -c 'ip link add flannel.1 type vxlan id 1 dstport 8472 dev tap0 && ip link add cni0 type bridge && echo made')"
# Another directory's layer renamed and removed, as an image's layers are.
say overlay "$(nsenter_u7s sh -ec 'cd /var/lib/containerd; mkdir -p o/l/d/e o/u o/w o/m; mount -t overlay overlay -o userxattr,lowerdir=o/l,upperdir=o/u,workdir=o/w o/m; mv o/m/d o/m/f; rm -r o/m/f; umount o/m; echo works')"
# A file written by root of the user namespace is the node's user's on the system, and outlives the namespace.
nsenter_u7s touch /etc/kubernetes/kubelet.conf
say kept "$(stat -c %U /var/lib/u7s-admin/.local/share/usernetes/_etc_kubernetes/kubelet.conf)"
# A file of an instruction where rootlesskit has a link to the system's own, and one where the node has a directory.
nsenter_u7s unpack.sh </tmp/instruction.tar
say unpacked "$(nsenter_u7s sh -c 'cd /etc && stat -c %a:%u rollcall/network.sh kubernetes/pki/ca.key; ls rollcall')"
say outside "$(ls /etc/rollcall)"
say storage "$(nsenter_u7s findmnt -n -o FSTYPE --target /var/lib/containerd)"
say crictl "$(nsenter_u7s sh -c 'crictl -r unix:///run/containerd/containerd.sock info >/dev/null && ! crictl -r unix:///x inspecti k8s.gcr.io/pause:3.2 && echo answers')"
say container "$(echo id | nsenter_u7s sh -e /tmp/container.sh)"
`;

/** Without a cgroup of its own, since not every host that runs this test has controllers to give. */
const container = `cd /var/lib/containerd
mkdir -p bundle/rootfs/bin
for program in sh id; do cp /usr/bin/busybox bundle/rootfs/bin/$program; done
for library in $(ldd /usr/bin/busybox | grep -o '/[^ )]*'); do
	mkdir -p "bundle/rootfs$(dirname "$library")"
	cp -L "$library" "bundle/rootfs$library"
done
cd bundle
crun spec
sed -i '/"terminal"/s/true/false/' config.json
exec crun --cgroup-manager=disabled run one
`;

const start = `set -e
cd layer/root
ip link set lo up
ip link add e0 type veth peer name e1
ip link set e0 up
ip address add 10.0.0.15/24 dev e0
mkdir -p old
pivot_root . old
mount --make-rshared /
umount -l /old
mkdir -p /run/user/771
chown 771:771 /run/user/771
set -a
. /etc/rollcall/u7s/env
XDG_RUNTIME_DIR=/run/user/771
HOME=/var/lib/u7s-admin
set +a
cd /
setpriv --reuid 771 --regid 771 --init-groups python3 /tmp/manager.py || { cat /tmp/rootlesskit.log >&2; exit 1; }
`;

/** How a node's images are stored, by its kernel: on the root in RAM itself, or in a file on it. */
const kernels = { "6.12.95+deb12-amd64": "tmpfs", "6.1.0-37-amd64": "ext4" };

for (const [kernelRelease, storage] of Object.entries(kernels))
  t.test(
    `the scripts make a node's system in a user namespace, and a container runs in it: Linux ${kernelRelease}`,
    async (t) => {
      const directory = mkdtempSync(join(tmpdir(), "rollcall-user-namespace-"));
      t.teardown(() => rmSync(directory, { recursive: true, force: true }));
      const files = {
        "node.sh": toShellScript(
          rootlessNode("worker", "debian", sampleFacts({ kernelRelease }), agentPart("debian", sampleServer)),
        ),
        "manager.py": serviceManager,
        "look.sh": look,
        "container.sh": container,
        "start.sh": start,
        "instruction.tar": tar([
          { name: "files/etc/rollcall/network.sh", mode: 0o755, content: "" },
          { name: "files/etc/kubernetes/pki/ca.key", mode: 0o600, content: "" },
        ]),
      };
      for (const [name, text] of Object.entries(files)) writeFileSync(join(directory, name), text);
      const group = `rollcall-node-${process.pid}`;
      const { said } = await runInLayer(directory, [
        "mkdir -p layer/root/tmp",
        "cp node.sh instruction.tar manager.py look.sh container.sh layer/root/tmp/",
        "chroot layer/root sh /tmp/node.sh",
        // The layer itself is an overlay, as our image's root is.
        "chroot layer/root sh -c 'set -a; . /etc/rollcall/u7s/env; exec /usr/local/libexec/u7s/prepare.sh'",
        "mount -t tmpfs tmpfs layer/root/dev/net",
        "mknod -m 666 layer/root/dev/net/tun c 10 200",
        "umount -R layer/root/sys",
        "mount -t sysfs sysfs layer/root/sys",
        "mount -t cgroup2 cgroup2 layer/root/sys/fs/cgroup",
        // What systemd delegates to the unit.
        `group=$PWD/layer/root/sys/fs/cgroup/${group}`,
        "mkdir -p $group/unit",
        "chown -R 771:771 $group",
        "failed=",
        `(echo 0 >$group/unit/cgroup.procs && exec unshare --mount --propagation private --net --pid --ipc --fork --kill-child --mount-proc=layer/root/proc sh start.sh) || failed=yes`,
        "find $group -depth -type d -exec rmdir {} +",
        '[ -z "$failed" ]',
      ]);
      const found = new Map(
        said.split("\n").map((line) => [line.split("=")[0] ?? "", line.replace(/^[^=]*=/, "").trim()]),
      );
      const expected = {
        ports: "10250/tcp 10256/tcp 30101/tcp 8472/udp",
        user: "0",
        address: "10.0.0.15/32",
        route: "default via 10.254.254.2 dev tap0 src 10.0.0.15",
        sysctls: "10 1 1",
        kmsg: "1:3",
        shims:
          "/usr/local/libexec/u7s/systemctl /usr/local/libexec/u7s/kubeadm /usr/local/libexec/u7s/crictl",
        cni: "/opt/cni/bin/bridge  /etc/cni: net.d",
        vxlan: "made",
        overlay: "works",
        kept: "u7s-admin",
        unpacked: "755:0 600:0 network.sh u7s",
        outside: "u7s",
        container: "uid=0 gid=0",
        storage,
        crictl: "answers",
      };
      t.same(
        Object.fromEntries(Object.keys(expected).map((name) => [name, found.get(name)])),
        expected,
        said,
      );
    },
  );
