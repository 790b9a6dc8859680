import { execFile } from "node:child_process";
import { createHash } from "node:crypto";
import {
  lstatSync,
  mkdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { promisify } from "node:util";
import t from "tap";
import type { IgnitionConfig } from "../../server/ignition/config.ts";
import { makeKey } from "../../server/power/own-key.ts";
import { createBootLab } from "../support/boot-lab.ts";
import { curl, startServer } from "../support/http-fixture.ts";
import { runIgnition, validate } from "../support/ignition-run.ts";

const roleYaml = `description: A lab machine with Flatcar.
boot: script
templates:
  ipxe: boot.ipxe
files:
  ignition: coreos.yml
`;
const script = `#!ipxe
kernel http://10.0.0.1/flatcar.vmlinuz flatcar.first_boot=1 ignition.config.url={{configUrl}}ignition.json
echo {{callbackUrl}}
boot
`;
/** The kind of file that people bring: users, groups and keys; here with a file, a folder and a unit as well. */
const coreosYml = `variant: flatcar
version: 1.1.0
passwd:
  groups:
    - name: students
      gid: 2000
  users:
    - name: core
      ssh_authorized_keys:
        - ssh-ed25519 AAAAC3NzaC1lZDI1NTE5 olga@office
      ssh_authorized_keys_local: [keys.pub]
    - name: anna
      uid: 2001
      groups: [students, sudo]
      shell: /bin/bash
storage:
  files:
    - path: /etc/motd
      mode: 0640
      user: { name: anna }
      group: { name: students }
      contents:
        local: motd
  directories:
    - path: /var/lib/lab
      mode: 0711
  links:
    - path: /etc/localtime
      target: ../usr/share/zoneinfo/Europe/Moscow
  trees:
    - local: tree
      path: /opt/lab
systemd:
  units:
    - name: lab.service
      enabled: true
      contents_local: lab.service
      dropins:
        - name: 10-slow.conf
          contents: |
            [Service]
            TimeoutStartSec=5min
`;
const motd = "Welcome to room 225.\n".repeat(100);
const roles = {
  "lab/role.yaml": roleYaml,
  "lab/boot.ipxe": script,
  "lab/coreos.yml": coreosYml,
  "lab/motd": motd,
  "lab/keys.pub": "ssh-ed25519 AAAAkey1 anna@home\nssh-ed25519 AAAAkey2 boris@home\n",
  "lab/lab.service":
    "[Unit]\nDescription=lab\n[Service]\nExecStart=/bin/true\n[Install]\nWantedBy=multi-user.target\n",
  "lab/tree/bin/run": "#!/bin/sh\n",
  "lab/tree/etc/lab.conf": "room=225\n",
};

t.test(
  "a machine with the real Ignition fetches both parts, writes its system, and becomes ready",
  async (t) => {
    const server = await startServer(t, { roles, machineHere: 4 });
    await server.add(4, "s4");
    const { status } = await server.assign("s4", "lab");
    t.equal(status, 200);
    const answer = await curl(`${server.url}/boot/52-54-00-00-00-04/boot.ipxe`);
    const configUrl = /ignition\.config\.url=(\S+)/.exec(answer)?.[1] ?? "";
    t.match(configUrl, new RegExp(`^${server.url}/boot/claims/[^/]+/ignition.json$`), answer);

    const directory = t.testdir();
    const { root, log } = await runIgnition(directory, configUrl);
    t.match(log, /files: op/);
    const text = (path: string) => readFileSync(join(root, path), "utf8");
    const mode = (path: string) => lstatSync(join(root, path)).mode & 0o7777;
    t.test("the role's part: users, groups, keys, files with owner and mode, links, units", (t) => {
      t.match(text("etc/passwd"), /^anna:x:2001:\d+:.*:\/bin\/bash$/m);
      t.match(text("etc/group"), /^students:x:2000:anna$/m);
      t.match(text("etc/group"), /^sudo:x:27:anna$/m);
      t.equal(
        text("home/core/.ssh/authorized_keys.d/ignition"),
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5 olga@office\nssh-ed25519 AAAAkey1 anna@home\nssh-ed25519 AAAAkey2 boris@home\n",
      );
      t.equal(text("etc/motd"), motd);
      t.equal(mode("etc/motd"), 0o640);
      const { uid, gid } = statSync(join(root, "etc/motd"));
      t.same([uid, gid], [2001, 2000]);
      t.equal(mode("var/lib/lab"), 0o711);
      t.equal(readlinkSync(join(root, "etc/localtime")), "../usr/share/zoneinfo/Europe/Moscow");
      t.equal(text("opt/lab/etc/lab.conf"), "room=225\n");
      t.equal(text("etc/systemd/system/lab.service"), roles["lab/lab.service"]);
      t.match(text("etc/systemd/system/lab.service.d/10-slow.conf"), /TimeoutStartSec=5min/);
      t.end();
    });
    t.test("the server's part: name and callback, the secret for root only", (t) => {
      t.equal(text("etc/hostname"), "s4\n");
      t.equal(mode("etc/rollcall/ready.curl"), 0o600);
      t.match(
        text("etc/systemd/system/rollcall-ready.service"),
        /After=network-online.target multi-user.target/,
      );
      t.notMatch(
        text("etc/systemd/system/rollcall-ready.service"),
        /callback\//,
        "units are readable by all",
      );
      const preset = text("etc/systemd/system-preset/20-ignition.preset");
      t.match(preset, /^enable rollcall-ready.service$/m);
      t.match(preset, /^enable lab.service$/m);
      t.notOk(
        statSync(join(root, "etc/machine-id"), { throwIfNoEntry: false }),
        "no machine-id: presets are for first boots",
      );
      t.end();
    });
    t.test("the callback waits for multi-user.target, which wants it, without a circle", async (t) => {
      const units = join(root, "etc/systemd/system");
      mkdirSync(join(units, "multi-user.target.wants"));
      symlinkSync("../rollcall-ready.service", join(units, "multi-user.target.wants/rollcall-ready.service"));
      const { stdout, stderr } = await promisify(execFile)(
        "systemd-analyze",
        ["verify", "multi-user.target"],
        {
          env: { ...process.env, SYSTEMD_UNIT_PATH: `${units}:` },
        },
      ).catch((error: { stdout: string; stderr: string }) => error);
      t.notMatch(stdout + stderr, /rollcall|cycle/);
    });
    t.equal((await server.api("GET", "/machines/s4")).json["phase"], "configuring");
    const callBack = async () => {
      const unit = text("etc/systemd/system/rollcall-ready.service");
      const [, command = "exit 9"] = /^ExecStart=\/bin\/sh -c '(.*)'$/m.exec(unit) ?? [];
      // As systemd reads it (systemd.service(5), "$$"), in the root that Ignition wrote.
      const here = command.replaceAll("$$", "$").replaceAll("/etc/", join(root, "etc/"));
      return (await promisify(execFile)("sh", ["-c", here])).stdout;
    };
    const { id } = server.store.machines.findByNameOrMac("s4") ?? { id: "" };
    const [type = "", blob = ""] = makeKey().publicKey.split(" ");
    mkdirSync(join(root, "etc/ssh"));
    writeFileSync(join(root, "etc/ssh/ssh_host_ed25519_key.pub"), `${type} ${blob} root@s4\n`);
    t.equal(await callBack(), '{"machine":"s4","phase":"ready"}');
    await server.store.probe();
    t.match(server.store.machinePower.hostKeyOf(id), { hostKey: `${type} ${blob}`, user: "root" });
    rmSync(join(root, "etc/ssh"), { recursive: true });
    t.match(await callBack(), '{"machine":"s4"', "a machine without SSH calls back as well");
    t.equal((await server.api("GET", "/machines/s4")).json["phase"], "ready");
    t.equal(
      (await curl("--output", "/dev/null", "--write-out", "%{http_code}", configUrl)).trim(),
      "403",
      "and from then on the claim is spent",
    );
    t.end();
  },
);

t.test("what the server serves to Ignition", async (t) => {
  const server = await startServer(t, { roles });
  await server.add(4, "s4");
  await server.assign("s4", "lab");
  const claim = await server.claim(4);
  const get = (path: string, accept?: string) =>
    server.ask(`/boot/claims/${claim}/${path}`, { from: 4, headers: accept === undefined ? {} : { accept } });
  const asIgnition = (minor: number) =>
    `application/vnd.coreos.ignition+json;version=3.${minor}.0, */*;q=0.1`;

  t.test("both parts are of its media type, not compressed, and not kept by caches (I-01)", async (t) => {
    for (const path of ["ignition.json", "ignition/role.json"]) {
      const { status, headers } = await server.ask(`/boot/claims/${claim}/${path}`, {
        from: 4,
        headers: { "accept-encoding": "gzip" },
      });
      t.equal(status, 200);
      t.match(headers["content-type"], /^application\/vnd\.coreos\.ignition\+json(;|$)/);
      t.equal(headers["content-encoding"], undefined);
      t.equal(headers["cache-control"], "no-store");
    }
  });
  t.test("the version is at most the one that is asked for, where the keys allow it (I-01)", async (t) => {
    const version = async (accept?: string) =>
      (await get("ignition/role.json", accept)).json["ignition"]?.["version"] as unknown;
    t.equal(await version(), "3.4.0", "flatcar 1.1.0 makes 3.4.0");
    t.equal(await version(asIgnition(6)), "3.4.0");
    t.equal(await version(asIgnition(3)), "3.3.0");
    t.equal((await get("ignition.json", asIgnition(0))).json["ignition"]?.["version"], "3.0.0");
  });
  t.test("nobody else gets either part, nor any secret", async (t) => {
    for (const path of ["ignition.json", "ignition/role.json"]) {
      const { status, text } = await server.ask(`/boot/claims/${claim}/${path}`, { from: 5 });
      t.equal(status, 403);
      t.notMatch(text, claim);
    }
  });
});

t.test("a role that is edited during a boot", async (t) => {
  const lab = await createBootLab(t, { roles });
  await lab.add(4, "s4");
  await lab.assign("s4", "lab");
  await lab.dhcp(4);
  const edit = (text: string) => writeFileSync(join(lab.rolesDir, "lab/coreos.yml"), text);

  t.test(
    "one claim gets the same octets each time, for one part names the digest of the other (I-05)",
    async (t) => {
      const claim = await lab.claim(4);
      const both = async () =>
        (await Promise.all([lab.config(claim, 4, "ignition"), lab.config(claim, 4, "ignition-role")])).map(
          ({ text = "" }) => text,
        );
      const before = await both();
      edit(coreosYml.replace("0711", "0755"));
      t.same(await both(), before);
      const [machinePart = "", rolePart = ""] = before;
      const { config } = (JSON.parse(machinePart) as IgnitionConfig).ignition;
      t.equal(
        config?.merge?.[0]?.verification?.hash,
        `sha512-${createHash("sha512").update(rolePart).digest("hex")}`,
      );
      t.match(
        (await lab.config(await lab.claim(4), 4, "ignition-role")).text,
        /493/,
        "the next claim gets the new",
      );
    },
  );
  t.test(
    "one that is broken now is 503, which Ignition asks for again: a 4xx would end the boot (I-02)",
    async (t) => {
      const claim = await lab.claim(4);
      edit("variant: flatcar\n");
      for (let tries = 0; tries < 3; tries++)
        await t.rejects(lab.config(claim, 4, "ignition"), { code: "CONFIG_NOT_READY", httpStatus: 503 });
      t.match(lab.of("config.failed"), [
        { level: "warning", message: /^s4: .*coreos\.yml:1: the key version is missing/ },
      ]);
      edit(coreosYml);
      t.match(
        (await lab.config(claim, 4, "ignition")).text,
        /"version": "3.0.0"/,
        "and goes on once it is mended",
      );
    },
  );
  t.test("one with keys that the machine's Ignition does not know is told to people, once", async (t) => {
    edit(`${coreosYml}kernel_arguments:\n  should_exist: [quiet]\n`);
    const claim = await lab.claim(4);
    await lab.config(claim, 4, "ignition", 2);
    await lab.config(claim, 4, "ignition-role", 2);
    t.match(lab.of("config.failed").slice(1), [
      { message: /machine's Ignition reads configs up to 3\.2\.0, and that of its role is 3\.4\.0/ },
    ]);
    t.match(lab.boot("s4").verdict, /^IGNITION_TOO_NEW: /);
  });
});

t.test("both parts of every machine are valid for ignition-validate", async (t) => {
  const server = await startServer(t, { roles });
  await server.add(4, "s4");
  await server.assign("s4", "lab");
  const claim = await server.claim(4);
  const directory = t.testdir();
  for (const path of ["ignition.json", "ignition/role.json"]) {
    const { text } = await server.ask(`/boot/claims/${claim}/${path}`, {
      from: 4,
      headers: { accept: "application/vnd.coreos.ignition+json;version=3.3.0, */*;q=0.1" },
    });
    const file = join(directory, "config.ign");
    writeFileSync(file, text);
    t.same(await validate(file), { isValid: true, said: "" }, path);
  }
});
