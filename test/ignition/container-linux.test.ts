import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { createLocalFiles } from "../../server/render/role-folder.ts";
import { readIgnition } from "../../server/render/role-ignition.ts";
import { curl, startServer } from "../support/http-fixture.ts";
import { runIgnition, validate } from "../support/ignition-run.ts";

/** As CoreOS rooms of before 2020 have it: no variant, no version. */
const old = `# Users, groups and keys of the room
passwd:
  groups:
    - name: students
      gid: 2000
  users:
    - name: core
      ssh_authorized_keys:
        - ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAABAQ olga@office
    - name: anna
      password_hash: "$6$salt$hash"
      groups: [sudo, students]
      create:
        uid: 2001
        home_dir: /home/anna
systemd:
  units:
    - name: docker.service
      enable: true
    - name: lab.service
      enabled: true
      contents: |
        [Service]
        ExecStart=/bin/true
storage:
  files:
    - path: /etc/motd
      filesystem: root
      mode: 0644
      contents:
        inline: Room 225
    - path: /opt/tool
      filesystem: root
      contents:
        remote:
          url: http://10.0.0.1/tool
`;
const butane = `variant: flatcar
version: 1.0.0
passwd:
  groups:
    - name: students
      gid: 2000
  users:
    - name: core
      ssh_authorized_keys: [ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAABAQ olga@office]
    - name: anna
      password_hash: "$6$salt$hash"
      groups: [sudo, students]
      uid: 2001
      home_dir: /home/anna
systemd:
  units:
    - name: docker.service
      enabled: true
    - name: lab.service
      enabled: true
      contents: |
        [Service]
        ExecStart=/bin/true
storage:
  files:
    - path: /etc/motd
      mode: 0644
      contents: { inline: Room 225 }
    - path: /opt/tool
      contents: { source: "http://10.0.0.1/tool" }
`;

t.test(
  "a Container Linux Config becomes what the same Butane becomes, and ignition-validate takes it",
  async (t) => {
    const directory = t.testdir();
    const read = (text: string) => readIgnition(text, createLocalFiles(directory), false);
    const config = read(old);
    t.same(config, read(butane));
    const file = join(directory, "config.ign");
    writeFileSync(file, JSON.stringify(config));
    t.match(await validate(file), { isValid: true });
  },
);

/** Users, groups and keys alone, as a room's one shared file has them. */
const users = old.slice(0, old.indexOf("systemd:"));

for (const [what, coreosYml] of [
  ["Butane of fcos", `variant: fcos\nversion: 1.1.0\n${users}`.replace(/ {6}create:\n.*\n.*\n/, "")],
  ["a Container Linux Config", users],
] as const)
  t.test(
    `a room's coreos.yml, ${what}, is dropped in as it stands, and the real Ignition writes it`,
    async (t) => {
      const server = await startServer(t, {
        roles: {
          "lab/role.yaml": "extends: flatcar\nfiles:\n  ignition: coreos.yml\n",
          "lab/coreos.yml": coreosYml,
        },
        machineHere: 4,
      });
      await server.addImage("1", "flatcar");
      await server.add(4, "s4");
      t.equal((await server.assign("s4", "lab", { ramCheck: "ignore" })).status, 200);
      const script = await curl(`${server.url}/boot/52-54-00-00-00-04/boot.ipxe`);
      const url = /ignition\.config\.url=(\S+)/.exec(script)?.[1] ?? "";
      const { root } = await runIgnition(t.testdir(), url);
      const text = (path: string) => readFileSync(join(root, path), "utf8");
      t.match(text("etc/group"), /^students:x:2000:anna$/m);
      t.match(text("etc/group"), /^sudo:x:27:anna$/m);
      t.match(text("etc/shadow"), /^anna:\$6\$salt\$hash:/m);
      t.match(text("home/core/.ssh/authorized_keys.d/ignition"), /^ssh-rsa AAAAB3NzaC1yc2E\S+ olga@office$/m);
      t.equal(text("etc/hostname"), "s4\n", "the server's part stands beside it");
    },
  );
