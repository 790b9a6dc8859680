import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import t from "tap";
import { loadRoles } from "../server/render/load-roles.ts";
import { checkCloudConfig, convertNetworkConfig, runCloudInit } from "./support/cloud-init-run.ts";
import { curl, startServer } from "./support/http-fixture.ts";

const golden = resolve(import.meta.dirname, "golden");

const ownUserData = `#cloud-config
# An administrator's own file, with {{ braces }} that are none of ours.
users:
  - name: olga
    ssh_authorized_keys: [ssh-ed25519 AAAA olga@office]
write_files:
  - path: /etc/lab.conf
    permissions: "0640"
    content: "room={{ 225 }}\\n"
`;
const roles = {
  "lab/role.yaml": `description: d
boot: image
image: debian-node
files:
  user-data: user-data.yaml
templates:
  vendor-data: vendor-data.hbs
`,
  "lab/user-data.yaml": ownUserData,
  "lab/vendor-data.hbs":
    "#cloud-config\nruncmd:\n  - [sh, -c, 'echo \"$1\" >/etc/vendor.txt', sh, {{machine.name}}]\n# é\n",
};

t.test("cloud-init itself finds no fault in what the shipped roles make", async (t) => {
  // Many roles make the same text: each is checked once, for all that make it.
  const texts = new Map<string, { path: string; places: string[] }>();
  for (const role of readdirSync(golden))
    for (const kind of ["user-data", "vendor-data"]) {
      const path = join(golden, role, kind);
      const text = readFileSync(path, "utf8");
      const known = texts.get(text) ?? { path, places: [] };
      texts.set(text, { ...known, places: [...known.places, `${role}/${kind}`] });
    }
  await Promise.all(
    [...texts.values()].map(async ({ path, places }) => {
      const { isValid, said } = await checkCloudConfig(path);
      t.ok(isValid, `${places.join(" ")}: ${said}`);
    }),
  );
  const mac = "52:54:00:00:00:04";
  const networkd = await convertNetworkConfig(join(golden, "worker/network-config"), t.testdir(), mac);
  t.match(networkd, /\[Match\]\nMACAddress=52:54:00:00:00:04\n/, "it is meant for the card that booted");
  t.match(networkd, /DHCP=ipv4/);
});

t.test(
  "a machine with the real cloud-init gets the administrator's file untouched, and the server's part beside it",
  async (t) => {
    const server = await startServer(t, { roles, machineHere: 4 });
    await server.addImage();
    await server.add(4, "s4");
    t.equal((await server.assign("s4", "lab")).status, 200);
    const script = await curl(`${server.url}/boot/52-54-00-00-00-04/boot.ipxe`);
    const seed = /ds=nocloud-net;s=(\S+)/.exec(script)?.[1] ?? "";
    t.equal(await curl(`${seed}user-data`), ownUserData, "octet by octet");
    const vendorData = await curl(`${seed}vendor-data`);
    t.match(vendorData, /^Content-Type: multipart\/mixed; boundary="rollcall-[0-9a-f]{32}"\n/);

    // Not below the checkout: cloud-init's own root lies over the host's, and must not hold itself.
    const directory = mkdtempSync(join(tmpdir(), "rollcall-cloud-init-"));
    t.teardown(() => rmSync(directory, { recursive: true, force: true }));
    const { written } = await runCloudInit(directory, seed);
    const text = (path: string) => readFileSync(join(written, path), "utf8");
    t.equal(text("etc/lab.conf"), "room={{ 225 }}\n");
    t.match(text("etc/passwd"), /^olga:/m);
    t.equal(text("home/olga/.ssh/authorized_keys"), "ssh-ed25519 AAAA olga@office\n");
    t.equal(text("etc/vendor.txt"), "s4\n", "the role's vendor-data");
    t.equal(text("etc/hostname"), "s4\n", "meta-data");
    await server.store.probe();
    t.equal(
      (await server.api("GET", "/machines/s4")).json["phase"],
      "ready",
      "the server's vendor-data: it called back",
    );
  },
);

t.test(
  "cloud-init merges the parts of a role and of the role that it extends into one user-data",
  async (t) => {
    const lists = "#cloud-config\nwrite_files:\n  - path: /etc/";
    const server = await startServer(t, {
      roles: {
        ...roles,
        "floor/role.yaml": "extends: lab\nuserDataParts: [floor.hbs, none.hbs]\n",
        "floor/floor.hbs": `${lists}floor.conf\n    content: {{machine.name}}\n`,
        "floor/none.hbs": "#cloud-config\n{{#if machine.serial}}\nlocale: de_DE\n{{/if}}\n",
        "room/role.yaml": "extends: floor\nuserDataParts: [room.hbs]\n",
        "room/room.hbs": `${lists}room.conf\n    content: é\n`,
      },
      machineHere: 4,
    });
    await server.addImage();
    await server.add(4, "s4");
    t.equal((await server.assign("s4", "lab")).status, 200);
    t.equal((await server.assign("s4", "room")).status, 200);
    const script = await curl(`${server.url}/boot/52-54-00-00-00-04/boot.ipxe`);
    const seed = /ds=nocloud-net;s=(\S+)/.exec(script)?.[1] ?? "";
    const userData = await curl(`${seed}user-data`);
    t.same(
      userData.match(/(?<=filename=")[^"]+/g),
      ["user-data.yaml", "floor.hbs", "room.hbs"],
      "the parent's first; none that is empty",
    );

    const directory = mkdtempSync(join(tmpdir(), "rollcall-cloud-init-"));
    t.teardown(() => rmSync(directory, { recursive: true, force: true }));
    const { written, log } = await runCloudInit(directory, seed);
    const text = (path: string) => readFileSync(join(written, path), "utf8");
    t.equal(text("etc/lab.conf"), "room={{ 225 }}\n", "of the role's own file");
    t.equal(text("etc/floor.conf"), "s4", "of a part of the parent");
    t.equal(text("etc/room.conf"), "é", "of its own part");
    t.match(text("etc/passwd"), /^olga:/m);
    t.notMatch(log, /WARNING.*(merg|part)/i);
  },
);

t.test(
  "parts that are inherited are lost to no multipart message, and reach a machine with Ignition",
  async (t) => {
    const mail = 'Content-Type: multipart/mixed; boundary="x"\n\n--x--\n';
    const { problems } = loadRoles([
      t.testdir({
        floor: {
          "role.yaml": "description: d\nboot: image\nimage: a\nuserDataParts: [p.hbs]\n",
          "p.hbs": "#cloud-config\na: 1\n",
        },
        room: { "role.yaml": "extends: floor\nfiles: { user-data: mail }\n", mail },
      }),
    ]);
    t.match(problems, [{ role: "room", line: 2, column: 10, code: "ROLE_KEYS_CONFLICT" }]);

    const server = await startServer(t, {
      roles: {
        "both/role.yaml": `description: d
boot: image
image: debian-node
templates: { butane: b.hbs }
userDataParts: [p.hbs]
`,
        "both/b.hbs": "variant: flatcar\nversion: 1.1.0\n",
        "both/p.hbs": "#cloud-config\nlocale: C.UTF-8\n",
      },
      machineHere: 4,
    });
    await server.addImage();
    await server.add(4, "s4");
    t.equal((await server.assign("s4", "both")).status, 200);
    const script = await curl(`${server.url}/boot/52-54-00-00-00-04/boot.ipxe`);
    const seed = /ds=nocloud-net;s=(\S+)/.exec(script)?.[1] ?? "";
    t.match(await curl(`${seed}user-data`), "locale: C.UTF-8");
  },
);

t.test("files and documents that cloud-init would overlook are faults", (t) => {
  const faultsOf = (yaml: string, files: Record<string, string>) =>
    loadRoles([
      t.testdir({ lab: { "role.yaml": `description: d\nboot: wait\n${yaml}`, ...files } }),
    ]).problems.map(
      ({ file, line, column, code, message }) =>
        `${file.split("/").at(-1)}:${line}:${column}: ${code}: ${message}`,
    );
  const file = (kind: string, text: string) => faultsOf(`files: { ${kind}: f }\n`, { f: text });
  const template = (kind: string, text: string) => faultsOf(`templates: { ${kind}: f }\n`, { f: text });
  const headers =
    "#cloud-config-archive, #cloud-config, #cloud-boothook, #include-once, #include, #part-handler, #!, ## template: jinja";
  t.same(file("user-data", "users: []\n"), [
    `f:1:1: CLOUD_INIT_INVALID: the first line must be one that cloud-init knows: ${headers}`,
  ]);
  for (const text of [
    "#!/bin/sh\necho {{x}}\n",
    "#include\nhttp://a/b\n",
    "## template: jinja\n#cloud-config\n{% if 1 %}\n{% endif %}\n",
    'Content-Type: multipart/mixed; boundary="x"\n\n--x--\n',
    "#cloud-config\n{}\n",
  ])
    t.same(file("user-data", text), [], text);
  t.same(file("user-data", "#cloud-config\na: 1\na: 2\n"), [
    "f:3:1: CLOUD_INIT_INVALID: Map keys must be unique",
  ]);
  t.same(template("vendor-data", "a: 1\n"), [
    "f:1:1: CLOUD_INIT_INVALID: the first line must be #cloud-config",
  ]);
  t.same(template("network-config", "version: 3\n"), [
    "f:1:1: CLOUD_INIT_INVALID: the key version must be 1 or 2",
  ]);
  t.same(file("network-config", "network:\n  version: 2\n  ethernets: {}\n"), []);
  t.same(template("meta-data", "local-hostname: x\n"), ["f:1:1: CLOUD_INIT_INVALID: instance-id is missing"]);
  t.end();
});
