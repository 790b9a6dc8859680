import { execFileSync } from "node:child_process";
import { lstatSync, mkdtempSync, readFileSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import t, { type Test } from "tap";
import { overlayPrefix } from "../../server/node/emit-initrd.ts";
import { curl, type ServerOptions, startServer } from "../support/http-fixture.ts";
import { runCloudInit } from "../support/cloud-init-run.ts";
import { runIgnition } from "../support/ignition-run.ts";
import { temporaryDirectory } from "../support/samples.ts";

const cluster = { "cluster.kubernetesVersion": "1.31.0", "cluster.endpoint": "10.0.0.1:6443" };
const rolesOfFamilies = {
  "coreos-worker/role.yaml": "extends: flatcar\nnode: worker\nfiles: { ignition: i.ign }\n",
  // The role's word on a file of the node.
  "coreos-worker/i.ign": JSON.stringify({
    ignition: { version: "3.0.0" },
    storage: {
      files: [{ path: "/etc/sysctl.d/90-u7s.conf", overwrite: true, contents: { source: "data:,mine%0A" } }],
    },
    systemd: {
      units: [{ name: "lab.service", enabled: true, contents: "[Service]\nExecStart=/bin/true\n" }],
    },
  }),
  "ubuntu-worker/role.yaml": "extends: ubuntu-live\nnode: worker\nuserDataParts: [more.hbs]\n",
  "ubuntu-worker/more.hbs": "#cloud-config\nwrite_files:\n  - { path: /etc/lab.conf, content: lab }\n",
  "alt-master/role.yaml": "extends: alt-workstation\nnode: master\nreports: true\n",
  "ignited/role.yaml": "extends: worker\nfiles: { ignition: i.ign }\n",
  "ignited/i.ign": '{"ignition":{"version":"3.0.0"}}',
  "small/role.yaml": "extends: master\nnodeRam: 1 GiB\n",
};

async function serverOf(t: Test, options: ServerOptions = {}) {
  const server = await startServer(t, { settings: cluster, roles: rolesOfFamilies, ...options });
  for (const image of ["debian-node", "flatcar", "ubuntu-live", "alt-workstation"])
    await server.addImage("1", image);
  await server.add(4, "s4");
  return server;
}

async function assigned(t: Test, role: string, options: ServerOptions = {}) {
  const server = await serverOf(t, options);
  const { status, text } = await server.assign("s4", role);
  t.equal(status, 200, text);
  return server;
}

/** Not below the checkout: a root that lies over the host's must not hold itself. */
function outside(t: Test): string {
  const directory = mkdtempSync(join(tmpdir(), "rollcall-served-"));
  t.teardown(() => rmSync(directory, { recursive: true, force: true }));
  return directory;
}

t.test("our image gets the node as an initrd before its own, in iPXE and in GRUB", async (t) => {
  const server = await assigned(t, "worker");
  const { text } = await server.script(4);
  t.match(text, /initrd=node\.cpio initrd=initrd\.img .*systemd\.hostname=s4/);
  t.match(text, / systemd\.machine_id=[0-9a-f]{32}( |$)/m);
  const lines = text.split("\n").filter((line) => line.startsWith("initrd "));
  t.match(lines, [
    /^initrd --name node\.cpio http:\S+\/boot\/claims\/[a-z0-9]+\/node\.cpio \|\| goto failed$/,
    /^initrd --name initrd\.img http:\S+\/assets\//,
  ]);
  const grub = (await server.grub(4)).text;
  t.match(grub, /if initrd '\(http,[^)]+\)\/boot\/claims\/[a-z0-9]+\/node\.cpio' '\(http,[^)]+\)\/assets\//);
  t.match(grub, /systemd\.hostname=s4/);
});

t.test("node.cpio is an archive of the node below the place that the initramfs copies", async (t) => {
  const server = await assigned(t, "master");
  const claim = await server.claim(4);
  const path = `/boot/claims/${claim}/node.cpio`;
  const head = await server.ask(path, { from: 4, method: "HEAD" });
  const { status, headers, bytes } = await server.ask(path, { from: 4 });
  t.equal(status, 200);
  t.equal(headers["cache-control"], "no-store");
  t.equal(head.headers["content-length"], String(bytes.length), "what GRUB asks first is its length");
  t.equal(bytes.length % 4, 0, "the next archive begins where the kernel looks for it");
  for (const list of ["cpio -t --quiet", "bsdtar -t -f -"]) {
    const names = execFileSync("sh", ["-c", list], { input: bytes }).toString().split("\n");
    t.ok(names.includes(`${overlayPrefix}/etc/sysusers.d/u7s.conf`), list);
    t.same(
      names.filter((name) => name !== "" && name !== "rollcall" && !name.startsWith(overlayPrefix)),
      [],
    );
  }
  t.notOk(bytes.includes(claim), "and no secret is in it");
  const { json } = await server.api("GET", "/machines/s4/boots");
  t.match(JSON.stringify(json), /"step":"node"/);
  t.equal((await server.script(4)).status, 200);
});

t.test("node.cpio is given to its machine alone, a few times, and not without a cluster", async (t) => {
  const server = await assigned(t, "worker");
  const path = `/boot/claims/${await server.claim(4)}/node.cpio`;
  t.equal((await server.ask(path, { from: 5 })).status, 403);
  const seen: number[] = [];
  for (let fetch = 0; fetch < 13; fetch++) seen.push((await server.ask(path, { from: 4 })).status);
  t.same(seen, [...Array<number>(12).fill(200), 403]);
  t.equal((await server.ask("/boot/claims/nonsense/node.cpio", { from: 4 })).status, 403);

  const other = await assigned(t, "worker", { settings: {} });
  const { text } = await other.script(4);
  t.notMatch(text, /node\.cpio|machine_id/);
  t.equal((await other.ask(`/boot/claims/${await other.claim(4)}/node.cpio`, { from: 4 })).status, 404);
});

t.test(
  "a machine has the same machine-id at each boot, also of a server that was started anew",
  async (t) => {
    const dataDir = temporaryDirectory(t);
    const idFrom = (text: string) => /systemd\.machine_id=(\S+)/.exec(text)?.[1];
    const server = await assigned(t, "worker", { dataDir });
    const id = idFrom((await server.script(4)).text);
    t.match(id, /^[0-9a-f]{32}$/);
    t.equal(statSync(join(dataDir, "machine-id.key")).mode & 0o777, 0o600);
    await server.stop();
    const again = await startServer(t, { dataDir, settings: cluster });
    t.equal(idFrom((await again.script(4)).text), id);
  },
);

t.test("where Ignition enables units, systemd is told that this is a first boot", async (t) => {
  const server = await serverOf(t);
  for (const [role, isTold] of [
    ["worker", false],
    ["ignited", true],
    ["coreos-worker", true],
    ["ubuntu-worker", false],
  ] as const) {
    await server.assign("s4", role);
    t.equal(/ systemd\.condition-first-boot=yes( |$)/m.test((await server.script(4)).text), isTold, role);
  }
});

t.test("the real Ignition writes the node, its callback, and what the role says beside", async (t) => {
  const server = await assigned(t, "coreos-worker", { machineHere: 4 });
  const script = await curl(`${server.url}/boot/52-54-00-00-00-04/boot.ipxe`);
  t.notMatch(script, /node\.cpio/);
  const directory = t.testdir();
  const { root } = await runIgnition(directory, /ignition\.config\.url=(\S+)/.exec(script)?.[1] ?? "");
  const text = (path: string) => readFileSync(join(root, path), "utf8");
  t.match(text("etc/systemd/user/rootlesskit.service"), /\[Service\]/);
  t.match(text("etc/passwd"), /^u7s-admin:x:771:/m);
  const callback = /http:\S+\/callback\/[a-z0-9]+/.exec(text("etc/rollcall/ready.curl"))?.[0] ?? "none";
  t.equal(text("etc/rollcall/callback"), `${callback}\n`);
  t.equal(lstatSync(join(root, "etc/rollcall/callback")).mode & 0o7777, 0o600);
  t.equal(text("etc/sysctl.d/90-u7s.conf"), "mine\n", "the role has the last word");
  t.match(text("etc/systemd/system-preset/20-ignition.preset"), /^enable lab\.service$/m);
  t.match(await curl("--config", join(root, "etc/rollcall/ready.curl")), /"phase":"joining"/);
  await server.store.probe();
  t.equal((await server.api("GET", "/machines/s4")).json["phase"], "joining");
});

t.test("the real cloud-init writes the node, its callback, and the parts of the role", async (t) => {
  const server = await assigned(t, "ubuntu-worker", { machineHere: 4 });
  const script = await curl(`${server.url}/boot/52-54-00-00-00-04/boot.ipxe`);
  const seed = /ds=nocloud;s=(\S+)/.exec(script)?.[1] ?? "";
  const { written, log } = await runCloudInit(outside(t), seed);
  const text = (path: string) => readFileSync(join(written, path), "utf8");
  t.equal(text("etc/lab.conf"), "lab");
  t.match(text("etc/systemd/user/rootlesskit.service"), /\[Service\]/);
  t.match(text("etc/passwd"), /^u7s-admin:/m);
  t.match(text("etc/rollcall/callback"), /^http:\S+\/callback\/[a-z0-9]+\n$/);
  t.equal(lstatSync(join(written, "etc/rollcall/callback")).mode & 0o7777, 0o600);
  t.notMatch(log, /WARNING.*(merg|part)/i);
  await server.store.probe();
  t.equal(
    (await server.api("GET", "/machines/s4")).json["phase"],
    "joining",
    "phone_home makes no node ready",
  );
});

t.test("ALT gets a script, which the real cloud-init runs", async (t) => {
  const server = await assigned(t, "alt-master", { machineHere: 4 });
  const script = await curl(`${server.url}/boot/52-54-00-00-00-04/boot.ipxe`);
  t.match(script, / systemd\.unified_cgroup_hierarchy=1( |$)/m);
  const seed = /ds=nocloud;s=(\S+)/.exec(script)?.[1] ?? "";
  const userData = await curl(`${seed}user-data`);
  t.match(userData, /text\/x-shellscript.*rollcall-node\.sh/s);
  const { written } = await runCloudInit(outside(t), seed);
  t.match(readFileSync(join(written, "etc/podsec/u7s/config/crio.conf"), "utf8"), /pause:3\.10"/);
});

t.test("what can't be a node is told on its screen, in the preview and to whoever asks", async (t) => {
  const server = await assigned(t, "worker", {
    settings: { ...cluster, "cluster.podSubnet": "127.0.0.0/16" },
  });
  const { status, text } = await server.script(4);
  t.equal(status, 200);
  t.match(text, /NODE_FACTS_INVALID/);
  t.match(text, /podNetwork may not hold the address 127\.0\.1\.4/);
  const preview = await server.api("GET", "/machines/s4/preview/node");
  t.equal(preview.status, 409);
  t.equal(preview.json["code"], "NODE_FACTS_INVALID");
});

t.test("a preview shows the node as a script, secrets masked", async (t) => {
  const server = await assigned(t, "worker");
  const preview = async (kind: string) => (await server.api("GET", `/machines/s4/preview/${kind}`)).text;
  t.match(
    await preview("node"),
    /^#!\/bin\/sh\n# Makes this system a rootless Kubernetes node: worker, debian/,
  );
  t.match(await preview("ipxe"), /\/boot\/claims\/\*+\/node\.cpio|\/boot\/claims\/_+\/node\.cpio/);
  await server.assign("s4", "coreos-worker");
  t.match(JSON.parse(await preview("ignition-node")), { ignition: { version: "3.0.0" } });
  t.match(await preview("node"), /worker, flatcar/);
  await server.assign("s4", "rescue");
  t.equal((await server.api("GET", "/machines/s4/preview/node")).status, 400);
});

t.test("a node needs 3 GiB as a worker and 6 GiB as a master, or what its role says", async (t) => {
  const server = await serverOf(t);
  const tooSmall = async (role: string, mebibytes: number) => {
    await server.assign("s4", role);
    return /MACHINE_TOO_SMALL/.test((await server.script(4, { query: `?memsize=${mebibytes}` })).text);
  };
  t.equal(await tooSmall("worker", 3071), true);
  t.equal(await tooSmall("worker", 3072), false);
  t.equal(await tooSmall("master", 6143), true);
  t.equal(await tooSmall("master", 6144), false);
  t.equal(await tooSmall("small", 2048), false, "its minimumRam is that of the role that it extends");
  t.equal(await tooSmall("small", 2047), true);
  const other = await assigned(t, "worker", { settings: {} });
  t.notMatch(
    (await other.script(4, { query: "?memsize=1024" })).text,
    /MACHINE_TOO_SMALL/,
    "no cluster, no node",
  );
});
