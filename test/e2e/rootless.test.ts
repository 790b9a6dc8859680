import { createHash } from "node:crypto";
import { copyFileSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import t, { type Test } from "tap";
import { cpio } from "../../server/node/cpio.ts";
import { overlayPrefix, toInitrdOverlay } from "../../server/node/emit-initrd.ts";
import { adminUser, type NodePart, type NodeSpec } from "../../server/node/node-spec.ts";
import { publicText } from "../../server/node/public-text.ts";
import { rootlessNode } from "../../server/node/rootless-node.ts";
import { withLibraries, writeDockerArchive } from "../support/docker-archive.ts";
import { checkServerTime, createE2eLab, ensureImage, type EventView, prepare } from "../support/e2e-lab.ts";
import { authoritativeConfig } from "../support/lab-configs.ts";
import { sampleFacts } from "../support/node-samples.ts";
import { temporaryDirectory } from "../support/samples.ts";

const mac = "52:54:00:77:00:01";
const address = "10.77.0.50";
const machineId = "0123456789ab4cde8f0123456789abcd";
const proofImage = "localhost/proof:1";

/** What is looked at, as root, when the user's services are up. Each line of its output is `name=value`. */
const proof = String.raw`#!/bin/sh
set -u
say() { printf '%s=%s\n' "$1" "$(printf '%s' "$2" | tr '\n' ' ')"; }
. /etc/rollcall/u7s/env
user() { runuser -u ${adminUser} -- env "HOME=$U7S_HOME" XDG_RUNTIME_DIR=/run/user/771 "$@"; }
inside() { user "$U7S_PROGRAMS/nsenter_u7s" "$@"; }
container() { inside ctr -n k8s.io run --runtime io.containerd.runc.v2 --runc-binary crun "$@"; }
prove() {
  say started "$(user systemctl --user start rootlesskit.service 2>&1 && echo yes)"
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
  say ports "$(user "$U7S_PROGRAMS/rootlessctl.sh" list | awk 'NR > 1 { print $4 "/" $2 }' | sort)"
  say memory "$(free -m | awk '/^Mem:/ { print $3 "+" $5 }') MiB, $(df -m --output=used "$U7S_STATE" | tail -n 1) MiB in it"
  say end yes
}
prove >/run/proof 2>&1
cat /run/proof >/dev/ttyS0
callback=$(grep -o 'rollcall.callback=[^ ]*' /proc/cmdline | cut -d= -f2-)
curl --silent --show-error --data-binary @/run/proof "$callback/log" >/dev/ttyS0 2>&1
`;

const proofPart: NodePart = {
  files: [{ path: "/usr/local/libexec/proof.sh", owner: "root", mode: 0o755, text: publicText(proof) }],
  units: [
    {
      name: "proof.service",
      scope: "system",
      wantedBy: ["multi-user.target"],
      text: publicText(`[Unit]
Requires=user@771.service
After=user@771.service
[Service]
ExecStart=/usr/local/libexec/proof.sh
`),
    },
  ],
};

/** A copy of the image whose initrd has the node after it, as a boot loader puts it there. */
function imageWithNode(t: Test, image: string, spec: NodeSpec): string {
  const directory = temporaryDirectory(t);
  const archive = join(directory, "proof.tar");
  const files = withLibraries("/usr/bin/busybox");
  for (const name of ["id", "httpd"]) files[`/bin/${name}`] = "/usr/bin/busybox";
  writeDockerArchive({ name: proofImage, files, entrypoint: [] }, archive);
  const manifest = JSON.parse(readFileSync(join(image, "image.json"), "utf8")) as {
    files: Record<"kernel" | "initrd" | "rootfs", { name: string; sha256: string; sizeBytes: number }>;
  };
  for (const { name } of Object.values(manifest.files))
    copyFileSync(join(image, name), join(directory, name));
  const { initrd } = manifest.files;
  const images = `${overlayPrefix}/usr/share/rollcall/images`;
  const parents = images.split("/").map((_, index, all) => all.slice(0, index + 1).join("/"));
  const bytes = Buffer.concat([
    readFileSync(join(image, initrd.name)),
    // Archives begin at a multiple of 4.
    new Uint8Array((4 - (initrd.sizeBytes % 4)) % 4),
    toInitrdOverlay(spec),
    cpio([
      ...parents.map((name) => ({
        type: "directory" as const,
        name,
        mode: 0o755,
        uid: 0,
        gid: 0,
        data: new Uint8Array(),
      })),
      { type: "file", name: `${images}/proof.tar`, mode: 0o644, uid: 0, gid: 0, data: readFileSync(archive) },
    ]),
  ]);
  writeFileSync(join(directory, initrd.name), bytes);
  manifest.files.initrd = {
    name: initrd.name,
    sha256: createHash("sha256").update(bytes).digest("hex"),
    sizeBytes: bytes.length,
  };
  writeFileSync(join(directory, "image.json"), JSON.stringify(manifest));
  return directory;
}

t.test(
  "a machine from the network with its root in RAM is a rootless node: a container really runs in it as the node's user",
  async (t) => {
    const image = await ensureImage(t);
    const { kernelRelease } = JSON.parse(readFileSync(join(image, "image.json"), "utf8")) as {
      kernelRelease: string;
    };
    const facts = sampleFacts({
      hostname: "s1",
      address,
      machineId,
      kernelRelease,
      servicesAddress: "10.77.0.1",
    });
    const spec = rootlessNode("worker", "debian", facts, proofPart);
    // The kernel's arguments of the node stand in a role of their own, as its files stand in the initrd.
    const role = `extends: worker\narguments: ${JSON.stringify(spec.arguments)}\n`;
    const rolesDir = t.testdir({ node: { "role.yaml": role } });
    const e2e = await createE2eLab(t, {
      config: `${authoritativeConfig}rolesDir: ${rolesDir}\n`,
      bridges: { br0: "10.77.0.1/24" },
    });
    await prepare(e2e, imageWithNode(t, image, spec), {});
    await e2e.boot("machine", "add", "s1", "--mac", mac, "--address", address);
    await e2e.boot("s1", "node");
    const began = Date.now();
    const seconds = () => `${Math.round((Date.now() - began) / 1000)} s after power-on`;
    const machine = await e2e.lab.powerOn({ name: "s1", mac, firmware: "bios", memoryMiB: 3072 });
    await e2e.waitForStep("s1", "switch-root");
    t.comment(`s1 has its root ${seconds()}`);
    const isLog = (event: EventView) => event.type === "machine.log";
    const log = await e2e.waitForEvent("the proof", isLog).catch((error: unknown) => {
      t.comment(machine.screen.slice(-6000));
      throw error;
    });
    t.comment(`the proof is there ${seconds()}`);
    const said = String(log.data["tail"]);
    t.comment(said);
    const found = new Map(
      said.split("\n").map((line) => [line.split("=")[0] ?? "", line.replace(/^[^=]*=/, "").trim()]),
    );
    const expected = {
      started: "yes",
      machineid: machineId,
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
      ports: "10250/tcp 10256/tcp 8472/udp",
      end: "yes",
    };
    t.same(Object.fromEntries(Object.keys(expected).map((name) => [name, found.get(name)])), expected, said);
    t.match(found.get("cgroup"), /^\/user\.slice\/user-771\.slice\//, "its cgroup is below the user's");
    const { stdout } = await e2e.lab.run(
      "curl",
      ...["--silent", "--max-time", "10", "--output", "/dev/null", "--write-out", "%{http_code}"],
      `http://${address}:10256/id`,
    );
    t.equal(stdout, "200", "a published port leads into the container");
    checkServerTime(t, await e2e.newestBoot("s1"));
  },
);
