import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import t from "tap";
import { agentPart } from "../../server/node/agent.ts";
import { overlayPrefix, toInitrdOverlay } from "../../server/node/emit-initrd.ts";
import { toShellScript } from "../../server/node/emit-shell.ts";
import { rootlessNode } from "../../server/node/rootless-node.ts";
import { runInLayer } from "../support/host-layer.ts";
import { sampleFacts, sampleInput, sampleServer } from "../support/node-samples.ts";

/** Units of the host's system that reach for what is no namespace's: clock, devices, kernel. */
const masked = [
  "systemd-modules-load",
  "systemd-networkd",
  "systemd-random-seed",
  "systemd-resolved",
  "systemd-sysctl",
  "systemd-timesyncd",
  "systemd-udevd",
  "systemd-udev-trigger",
];

const target = `[Unit]
Requires=basic.target
After=basic.target
Wants=dbus.service systemd-logind.service systemd-user-sessions.service u7s-prepare.service look.service
`;

/** Its end is the end of the boot. */
const lookUnit = `[Unit]
After=systemd-logind.service systemd-user-sessions.service u7s-prepare.service dbus.service
SuccessAction=exit
FailureAction=exit

[Service]
Type=oneshot
ExecStart=/bin/sh -e /look.sh
StandardOutput=file:/found
StandardError=file:/said
`;

/** Its arguments where the unit's script puts them, and ready at once. */
const fakeKubelet = `#!/bin/sh
printf '%s\\n' "$@" >/var/lib/kubelet/arguments
systemd-notify --ready
exec sleep infinity
`;

const look = `say() { printf '%s=%s\\n' "$1" "$(printf '%s' "$2" | tr '\\n' ' ')"; }
programs=/usr/local/libexec/u7s
in_there() { runuser -u u7s-admin -- env HOME=/var/lib/u7s-admin $programs/nsenter_u7s "$@"; }
# Both are on their way: this waits for their end.
systemctl start user@771.service
systemctl --user -M u7s-admin@ start rootlesskit.service
say hostname "$(hostname)"
say machine "$(cat /etc/machine-id)"
say user "$(id u7s-admin)"
say linger "$(loginctl show-user -p Linger --value u7s-admin)"
say wanted "$(systemctl --user -M u7s-admin@ show -p WantedBy --value rootlesskit.service)"
say runtime "$(findmnt -n -o SOURCE,FSTYPE /var/lib/u7s-admin/.local/share/usernetes | sed 's/[0-9]//')"
say delegated "$(systemctl show -p DelegateControllers --value user@771.service)"
say ports "$(XDG_RUNTIME_DIR=/run/user/771 $programs/rootlessctl.sh list | awk 'NR > 1 { print $4 }' | sort)"
in_there systemctl start kubelet
in_there systemctl restart kubelet
say kubelet "$(in_there systemctl is-active kubelet)"
say arguments "$(in_there cat /var/lib/kubelet/arguments | tail -n +4)"
systemctl --user -M u7s-admin@ restart rootlesskit.service
# kubelet comes back with the namespace; it may be on its way.
say again "$(in_there systemctl is-active rootlesskit kubelet | sed s/activating/active/)"
say kept "$(in_there ls /var/lib/kubelet)"
# Nobody gave this boot a claim: the agent says so, once the user namespace is there, and stays ended. It may have been started before.
systemctl start --wait rollcall-agent.service || true
say agent "$(systemctl show -p NRestarts -p ExecMainStatus --value rollcall-agent.service)"
say key "$(stat -c %a:%U /run/rollcall/agent /run/rollcall/agent/agent.key)"
say told "$(journalctl -q -o cat -u rollcall-agent.service | grep '^rollcall: this boot' | sort -u)"
systemctl reset-failed rollcall-agent.service
say others "$(systemctl --user -M u7s-admin@ list-units --failed --plain --no-legend)"
say failed "$(systemctl list-units --failed --plain --no-legend)"
`;

/** As a machine's firmware and initramfs leave it to systemd: devices, an address, the root in its place. */
const start = (words: string) => `set -e
cd layer/root
ip link set lo up
ip link add e0 type veth peer name e1
ip link set e0 up
ip address add 10.0.0.15/24 dev e0
mount -t cgroup2 cgroup2 sys/fs/cgroup
mount -t tmpfs -o mode=755 tmpfs dev
mkdir dev/net dev/pts dev/shm
while read -r name type major minor; do
	mknod -m 666 "dev/$name" "$type" "$major" "$minor"
done <<'END'
null c 1 3
zero c 1 5
full c 1 7
random c 1 8
urandom c 1 9
net/tun c 10 200
fuse c 10 229
loop-control c 10 237
END
for number in $(seq 0 31); do mknod "dev/loop$number" b 7 "$number"; done
mount -t devpts -o newinstance,ptmxmode=666 devpts dev/pts
ln -s pts/ptmx dev/ptmx
ln -s /proc/self/fd dev/fd
mount -t tmpfs tmpfs dev/shm
mount -t tmpfs -o mode=755 tmpfs run
mkdir -p old
pivot_root . old
mount --make-rshared /
umount -l /old
exec env -i container=rollcall-test /lib/systemd/systemd --unit=node.target ${words} </dev/null
`;

/** How the node's files come into the system, and what the running system does for them. */
const ways = {
  "the initrd overlay": {
    before: [
      "(mkdir layer/initrd && cd layer/initrd && cpio -idm --quiet <../../node.cpio)",
      `cp -a layer/initrd/${overlayPrefix}/. layer/root/`,
    ],
    inside: "",
  },
  "the script, run in it": { before: ["cp node.sh layer/root/"], inside: "sh /node.sh\n" },
};

for (const [name, { before, inside }] of Object.entries(ways))
  t.test(`a system that boots becomes a rootless node by itself: ${name}`, async (t) => {
    const directory = mkdtempSync(join(tmpdir(), "rollcall-node-boot-"));
    t.teardown(() => rmSync(directory, { recursive: true, force: true }));
    const spec = rootlessNode(
      "worker",
      "debian",
      sampleFacts({ kernelRelease: "6.1.0-37-amd64" }),
      agentPart("debian", sampleServer),
    );
    const files = {
      "start.sh": start(spec.arguments.join(" ")),
      "look.sh": `${inside}${look}`,
      "node.sh": toShellScript(spec),
      "look.service": lookUnit,
      "node.target": target,
      kubelet: fakeKubelet,
      "node.cpio": toInitrdOverlay(spec),
    };
    for (const [name, text] of Object.entries(files)) writeFileSync(join(directory, name), text);
    const { written, said } = await runInLayer(directory, [
      ...before,
      "cp look.sh layer/root/",
      "install -m 755 kubelet layer/root/usr/bin/kubelet",
      "cp look.service node.target layer/root/etc/systemd/system/",
      ...masked.map((name) => `ln -sfn /dev/null layer/root/etc/systemd/system/${name}.service`),
      ": >layer/root/etc/fstab",
      "umount -R layer/root/sys",
      "mount -t sysfs sysfs layer/root/sys",
      "mkdir layer/groups",
      "mount -t cgroup2 cgroup2 layer/groups",
      `group=layer/groups/rollcall-boot-${process.pid}`,
      "mkdir $group",
      "(echo 0 >$group/cgroup.procs && exec unshare --mount --propagation private --net --uts --ipc --pid --cgroup --fork --kill-child --mount-proc=layer/root/proc sh start.sh) || true",
      "find $group -depth -type d -exec rmdir {} +",
    ]);
    const text = (name: string) => readFileSync(join(written, name), "utf8");
    const found = Object.fromEntries(
      text("found")
        .split("\n")
        .filter((line) => line !== "")
        .map((line) => [line.replace(/=.*/, ""), line.replace(/^[^=]*=/, "").trim()]),
    );
    t.same(
      found,
      {
        hostname: "s5",
        machine: sampleInput.machineId,
        user: found["user"],
        linger: "yes",
        wanted: "default.target",
        runtime: "/dev/loop ext4",
        delegated: "cpu cpuset io memory pids",
        ports: "10250 10256 8472",
        kubelet: "active",
        arguments: "--node-ip=10.0.0.15 --hostname-override=s5 --feature-gates=KubeletInUserNamespace=true",
        again: "active active",
        kept: "arguments",
        agent: "0 77",
        key: "700:root 600:root",
        told: "rollcall: this boot has no claim: neither in /etc/rollcall/callback nor on the kernel's command line",
        others: "",
        failed: "",
      },
      `${text("said")}${said.slice(-3000)}`,
    );
    t.match(
      found["user"],
      /^uid=771\(u7s-admin\) gid=771\(u7s-admin\) groups=771\(u7s-admin\),\d+\(systemd-journal\)$/,
    );
  });
