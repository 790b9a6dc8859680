import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import t, { type Test } from "tap";
import { createE2eLab, type E2eLab, ensureImage, type EventView, prepare } from "../support/e2e-lab.ts";
import { authoritativeConfig } from "../support/lab-configs.ts";
import { temporaryDirectory } from "../support/samples.ts";

/** Only the machine may ever see it. */
const secret = "correct-horse-battery-staple";

const hash = "$6$fewsalt$8nJ0Yq6o3xkQnH";

/** What a person who knows Flatcar or Fedora CoreOS writes: a user with a key, files, and a unit that shows what is there. */
const butane = (key: string, group: string) => `variant: fcos
version: 1.4.0
passwd:
  groups:
    - name: students
  users:
    - name: core
      groups: [${group}]
      shell: /bin/bash
      password_hash: "${hash}"
      ssh_authorized_keys: ["${key}"]
storage:
  directories:
    - path: /etc/lab
  files:
    - path: /etc/lab/greeting
      mode: 0640
      contents: { inline: "hello room 225" }
    - path: /etc/lab/secret
      mode: 0600
      contents: { inline: "${secret}" }
systemd:
  units:
    - name: systemd-timesyncd.service
      enabled: false
    - name: lab-proof.service
      enabled: true
      contents: |
        [Unit]
        Description=Show what Ignition wrote
        [Service]
        Type=oneshot
        ExecStart=/bin/sh -c 'echo "lab-proof: $(cat /etc/lab/greeting), $(id -un core) in $(id -Gn core), on $(hostname)" > /dev/ttyS0'
        [Install]
        WantedBy=multi-user.target
`;

const roleYaml = `description: A lab machine that Ignition configures.
boot: image
image: debian-node
minimumRam: 1 GiB
files: { ignition: coreos.yml }
`;

/** The address of the machine in the lab, of its boot's DHCP. */
async function addressOf(e2e: E2eLab, machine: string): Promise<string> {
  const { stdout } = await e2e.lab.run("ip", "-4", "neighbour", "show", "dev", "br0");
  const [, address] = new RegExp(`^(\\S+) .*${machine}`, "m").exec(stdout) ?? [];
  if (address === undefined) throw new Error(`no neighbour ${machine} in:\n${stdout}`);
  return address;
}

/** A machine's whole way from one role to the next, by itself: nobody switches it off and on. */
async function bootUntilReady(e2e: E2eLab, machine: string): Promise<EventView> {
  return e2e.waitForEvent(
    `${machine} ready`,
    (event) => event.machine === machine && event.type === "machine.phase" && event.data["to"] === "ready",
  );
}

function makeKey(t: Test): { file: string; publicKey: string } {
  const file = join(temporaryDirectory(t), "key");
  execFileSync("ssh-keygen", ["-q", "-t", "ed25519", "-N", "", "-C", "olga@office", "-f", file]);
  return { file, publicKey: readFileSync(`${file}.pub`, "utf8").trim() };
}

t.test(
  "real Ignition: a role that it can't do is reported and tried anew; with the role mended the machine gets to ready",
  async (t) => {
    const image = await ensureImage(t);
    const key = makeKey(t);
    const rolesDir = t.testdir({
      "coreos-lab": { "role.yaml": roleYaml, "coreos.yml": butane(key.publicKey, "sudo, students") },
      // A slip that only the machine can find out: its system has no such group.
      "coreos-slip": { "role.yaml": roleYaml, "coreos.yml": butane(key.publicKey, "wheel") },
    });
    const e2e = await createE2eLab(t, {
      config: `${authoritativeConfig}rolesDir: ${rolesDir}\n`,
      bridges: { br0: "10.77.0.1/24" },
    });
    const mac = "52:54:00:77:00:01";
    await prepare(e2e, image, { s1: mac });
    await e2e.boot("s1", "coreos-slip");
    const machine = await e2e.lab.powerOn({ name: "s1", mac, firmware: "bios", memoryMiB: 1536 });

    const failure = await e2e.waitForEvent("the failure", (event) => event.type === "machine.failed");
    t.equal(failure.data["code"], "IGNITION_FAILED", "the server is told");
    t.match(failure.message, /stage files: .*group 'wheel' does not exist/, "in Ignition's own words");
    await machine.waitForScreen(/group 'wheel' does not exist.*\(IGNITION_FAILED\)/);
    await machine.waitForScreen("starting over in 60 seconds");
    t.notMatch(machine.screen, /Welcome to .*Debian/, "half a system does not start");
    t.match(await e2e.boot("status"), /s1 .*failed .*IGNITION_FAILED/, "boot status says so");
    const log = await e2e.waitForEvent("the log", (event) => event.type === "machine.log");
    t.match(
      log.data["tail"],
      /adding.*group "students"|adding group .*students/,
      "its log is there to be read",
    );

    await e2e.boot("s1", "coreos-lab");
    await e2e.waitForStep("s1", "switch-root");
    t.comment("s1 has its root, and what Ignition wrote");
    const ready = await bootUntilReady(e2e, "s1");
    t.comment(`ready: ${ready.message}`);
    t.match(
      machine.screen,
      /rollcall: ignition: .*writing file "\/etc\/lab\/greeting"/,
      "its screen tells what Ignition writes",
    );
    await machine.waitForScreen("lab-proof: hello room 225, core in core sudo students, on s1");
    await machine.waitForScreen("s1 login:");
    t.notMatch(machine.screen, "cloud-init", "cloud-init did not run");
    const boot = await e2e.newestBoot("s1");
    t.same(
      boot.phases.map(({ phase }) => phase).slice(1),
      ["netbooting", "booting", "configuring", "ready"],
      "it passed every phase in order",
    );
    const documents = boot.steps
      .filter(({ step }) => step === "config")
      .map(({ detail }) => detail["document"]);
    t.same(documents, ["ignition", "ignition-role"], "it fetched its own part, and the role's");
    t.comment(`whole boot ${(boot.durationMs / 1000).toFixed(0)} s`);

    const ssh = async (command: string) => {
      const options = [
        "StrictHostKeyChecking=no",
        "UserKnownHostsFile=/dev/null",
        "BatchMode=yes",
        "LogLevel=ERROR",
      ];
      const words = ["-i", key.file, ...options.flatMap((option) => ["-o", option])];
      return (await e2e.lab.run("ssh", ...words, `core@${await addressOf(e2e, mac)}`, command)).stdout.trim();
    };
    t.equal(
      await ssh("stat -c '%a %U' /etc/lab/greeting /etc/lab/secret | tr '\\n' ' '"),
      "640 root 600 root",
      "the key opens the door, and files have their modes",
    );
    t.match(await ssh("cat /etc/machine-id"), /^[0-9a-f]{32}$/, "the machine has its id");
    t.equal(
      await ssh("systemctl is-system-running || systemctl --failed --no-legend"),
      "running",
      "no unit failed",
    );
    t.equal(
      await ssh("systemctl is-enabled systemd-timesyncd.service lab-proof.service | tr '\\n' ' '"),
      "disabled enabled",
      "units are enabled and disabled as the role says",
    );
    t.equal(
      await ssh("cat /etc/rollcall/ready.curl 2>/dev/null || echo refused"),
      "refused",
      "the secret of the boot is root's alone",
    );

    const told = `${machine.screen}\n${await e2e.boot("events")}\n${e2e.server.output}`;
    t.notOk(told.includes(hash), "the hash of a password is in no log and on no screen");
    t.notMatch(told, secret, "what is in the role's files is in no log and on no screen");
    const said = machine.screen.split("\n").filter((line) => line.includes("rollcall: ignition:"));
    t.ok(said.length > 20);
    t.notMatch(said.join("\n"), "/claims/", "nor is the claim in what Ignition says");
  },
);
