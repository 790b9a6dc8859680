import t from "tap";
import { adminUser } from "../../server/node/node-spec.ts";
import { checkServerTime, ensureImage } from "../support/e2e-lab.ts";
import { bootNode, nodeAddress, nodeMachineId } from "../support/node-boot.ts";
import { proofImage } from "../support/proof-image.ts";

/** What is looked at, as root, when the user's services are up. Each line of its output is `name=value`. */
const proof = String.raw`container() { inside ctr -n k8s.io run --runtime io.containerd.runc.v2 --runc-binary crun "$@"; }
say uptime "$(cut -d. -f1 /proc/uptime)"
say machineid "$(cat /etc/machine-id)"
say account "$(id ${adminUser})"
say root "$(stat -f -c %T /) $(stat -c '%U %a' /etc /var/lib/u7s-admin)"
say storage "$(findmnt -n -o FSTYPE "$U7S_STATE")"
say controllers "$(cat /sys/fs/cgroup/user.slice/user-771.slice/user@771.service/cgroup.controllers)"
say modules "$(systemctl show -p Result --value systemd-modules-load.service)"
say sysctls "$(systemctl show -p Result --value systemd-sysctl.service)"
say failed "$(systemctl --failed --no-legend --plain) $(user systemctl --user --failed --no-legend --plain)"
say system "$(systemctl is-active containerd.service)"
say images "$(inside ctr -n k8s.io images list -q name==${proofImage})"
say container "$(container --rm ${proofImage} one id -u 2>&1)"
container --detach --net-host ${proofImage} two httpd -f -p 10256 -h /bin 2>&1
# The container's process as the system sees it: whose it is, and in which cgroup.
pid=$(pgrep -f 'httpd -f -p 10256' | tail -n 1)
say outside "$(stat -c %U "/proc/$pid")"
say cgroup "$(cut -d: -f3 "/proc/$pid/cgroup")"
# As a layer of an image is renamed and removed.
say overlay "$(inside sh -ec 'cd /var/lib/containerd; mkdir -p o/l/d/e o/u o/w o/m; mount -t overlay overlay -o userxattr,lowerdir=o/l,upperdir=o/u,workdir=o/w o/m; mv o/m/d o/m/f; rm -r o/m/f; umount o/m; echo works' 2>&1)"
# What is removed is RAM again.
blocks() { sync; du -m /var/lib/u7s-storage.img | cut -f1; }
before=$(blocks)
user dd if=/dev/urandom of="$U7S_STATE/large" bs=1M count=64 2>/dev/null
with=$(blocks)
user rm "$U7S_STATE/large"
without=$(blocks)
say removed "$([ "$with" -ge $((before + 60)) ] && [ "$without" -le $((before + 8)) ] && echo freed || echo "$before, $with, $without")"
say ports "$(user "$U7S_PROGRAMS/rootlessctl.sh" list | awk 'NR > 1 { print $4 "/" $2 }' | sort)"
say memory "$(free -m | awk '/^Mem:/ { print $3 "+" $5 }') MiB, $(df -m --output=used "$U7S_STATE" | tail -n 1) MiB in it"
say end yes
`;

t.test(
  "a machine from the network with its root in RAM is a rootless node: a container really runs in it as the node's user",
  async (t) => {
    const { e2e, said, log } = await bootNode(t, {
      image: await ensureImage(t),
      memoryMiB: 3072,
      script: proof,
    });
    const expected = {
      started: "yes",
      machineid: nodeMachineId,
      root: "overlayfs root 755 u7s-admin 700",
      storage: "ext4",
      controllers: "cpuset cpu io memory pids",
      modules: "success",
      sysctls: "success",
      failed: "",
      system: "inactive",
      images: proofImage,
      container: "0",
      outside: adminUser,
      overlay: "works",
      removed: "freed",
      ports: "10250/tcp 10256/tcp 8472/udp",
      end: "yes",
    };
    t.same(Object.fromEntries(Object.keys(expected).map((name) => [name, said.get(name)])), expected, log);
    t.match(said.get("cgroup"), /^\/user\.slice\/user-771\.slice\//, "its cgroup is below the user's");
    const url = `http://${nodeAddress}:10256/id`;
    const { stdout } = await e2e.lab.run(
      "curl",
      "-s",
      "-m",
      "10",
      "-o",
      "/dev/null",
      "-w",
      "%{http_code}",
      url,
    );
    t.equal(stdout, "200", "a published port leads into the container");
    checkServerTime(t, await e2e.newestBoot("s1"));
  },
);
