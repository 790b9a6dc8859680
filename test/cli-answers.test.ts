import { execFile } from "node:child_process";
import { createHash } from "node:crypto";
import { mkdirSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { join, resolve } from "node:path";
import { promisify } from "node:util";
import t from "tap";
import { addressOf, createClient } from "../server/cli/client.ts";
import { importImage } from "../server/cli/put-image.ts";
import { parameterExample, readParameters } from "../server/cli/parameters.ts";
import { dataDirectories } from "../server/cli/session.ts";
import { changesNext, doing, type MachineView, statusTable } from "../server/cli/commands/status.ts";
import { commandFor } from "../server/main.ts";
import { root } from "../server/platform/checkout.ts";
import { boot } from "./support/boot-command.ts";
import { startServer } from "./support/http-fixture.ts";
import { temporaryDirectory } from "./support/samples.ts";

const fileOf = (name: string, content: string) => ({
  name,
  sha256: createHash("sha256").update(content).digest("hex"),
  sizeBytes: content.length,
});

t.test("an image is checked before anything of it is sent, and its faults are told as its own", async (t) => {
  const server = await startServer(t);
  const client = createClient({ server: undefined, token: undefined, dataDirs: [server.dataDir] });
  t.teardown(() => client.close());
  const whole = {
    name: "kiosk",
    version: "1",
    arch: "x86_64",
    files: { kernel: fileOf("vmlinuz", "a kernel"), initrd: fileOf("initrd.img", "an initrd") },
  };
  const directory = temporaryDirectory(t);
  const write = (json: unknown, files: Record<string, string>) => {
    rmSync(directory, { recursive: true, force: true });
    mkdirSync(directory);
    writeFileSync(join(directory, "image.json"), typeof json === "string" ? json : JSON.stringify(json));
    for (const [name, content] of Object.entries(files)) writeFileSync(join(directory, name), content);
  };
  const fine = { vmlinuz: "a kernel", "initrd.img": "an initrd" };
  const cases: [string, unknown, Record<string, string>, RegExp][] = [
    ["broken JSON", "{", fine, /image\.json: it is not JSON/],
    ["no mapping", [], fine, /image\.json: the file must be a mapping/],
    ["no files", { ...whole, files: undefined }, fine, /files is missing/],
    ["a wrong name", { ...whole, name: "Kiosk!" }, fine, /name is "Kiosk!"; it must be small letters/],
    ["another file", { ...whole, files: { ...whole.files, extra: {} } }, fine, /unknown key files\.extra/],
    [
      "a path for a file",
      { ...whole, files: { ...whole.files, kernel: { ...whole.files.kernel, name: "../vmlinuz" } } },
      fine,
      /files\.kernel\.name/,
    ],
    ["a missing file", whole, { vmlinuz: "a kernel" }, /initrd\.img: it is not there/],
    ["a short file", whole, { ...fine, vmlinuz: "a" }, /vmlinuz: it has 1 octets, image\.json says 8/],
    ["a changed file", whole, { ...fine, vmlinuz: "a kernal" }, /vmlinuz: its sha256 is /],
  ];
  for (const isThereAlready of [false, true]) {
    if (isThereAlready) {
      write(whole, fine);
      t.match(await importImage(client, directory, false), { name: "kiosk", version: "1" });
    }
    for (const [what, json, files, message] of cases) {
      write(json, files);
      await t.rejects(importImage(client, directory, false), { code: "IMAGE_INVALID", message }, what);
    }
  }
});

t.test("a connection that breaks off is the server's, a file that can't be read is not", async (t) => {
  const breaking = createServer((socket) => socket.destroy()).listen(0, "127.0.0.1");
  await new Promise((done) => breaking.once("listening", done));
  t.teardown(() => breaking.close());
  const address = breaking.address() as { port: number };
  const client = createClient({ server: `127.0.0.1:${address.port}`, token: undefined, dataDirs: [] });
  t.teardown(() => client.close());
  await t.rejects(client.get("/machines"), { code: "SERVER_UNREACHABLE" });
});

t.test("a server is named as people write it down", (t) => {
  t.equal(addressOf("10.0.0.1"), "http://10.0.0.1:8080");
  t.equal(addressOf("boot.example:80"), "http://boot.example:80");
  t.equal(addressOf("[fd00::1]"), "http://[fd00::1]:8080");
  t.equal(addressOf("https://boot.example/"), "https://boot.example");
  t.end();
});

t.test("the server of this machine is looked for where it may be", async (t) => {
  t.same(await dataDirectories("/x", { ROLLCALL_DATA_DIR: "/y" }), ["/x"], "a named one is the only one");
  t.same(await dataDirectories(undefined, { ROLLCALL_DATA_DIR: "/y" }), ["/y"]);
  const usual = await dataDirectories(undefined, {});
  t.ok(usual.includes(resolve("data")) && usual.includes(join(root, "data")));
  t.equal(usual.at(-1), "/var/lib/rollcall");
  t.equal(commandFor(join(root, "data"), root), "npm run boot -- status");
  t.equal(commandFor("/srv/a b", root), "npm run boot -- --data '/srv/a b' status");
  t.match(commandFor(join(root, "data"), "/"), /^npm run --prefix \S+ boot -- status$/);
});

t.test("parameters are read as the types of the role", (t) => {
  const types = { keys: "string[]", page: "string", count: "integer", on: "boolean" };
  const read = (...words: string[]) =>
    readParameters(
      words.map((word) => ({ name: word.split("=")[0] ?? "", text: word.slice(word.indexOf("=") + 1) })),
      types,
    );
  t.same(read("keys=ssh-ed25519 A"), { keys: ["ssh-ed25519 A"] });
  t.same(read("keys=a", "keys=b", 'keys=["c"]'), { keys: ["a", "b", "c"] });
  t.same(read("page=5", "count=5", "on=true"), { page: "5", count: 5, on: true });
  t.same(read("count=many", "other=1"), { count: "many", other: 1 }, "the server says what is wrong");
  t.equal(parameterExample("keys", "string[]", []), "--param keys=TEXT --param keys=ANOTHER");
  t.equal(parameterExample("page", "string", "a b"), "--param 'page=a b'");
  t.end();
});

t.test("the roll shows what a machine runs, and its next role only where that is another", (t) => {
  const machine: MachineView = {
    name: "s1",
    macs: [],
    group: null,
    seat: null,
    address: null,
    phase: "ready",
    role: "worker",
    roleProblem: null,
    runs: "worker",
    lastSeenAt: null,
    boot: null,
    progress: null,
  };
  const columns = (...machines: MachineView[]) => statusTable(machines, 0).columns;
  t.notOk(columns(machine, { ...machine, runs: null }).includes("next"));
  const changing = { ...machine, runs: "rescue" };
  t.ok(columns(changing).includes("next"));
  t.same(
    statusTable([machine, changing], 0).rows.map((row) => row.slice(4, 6)),
    [
      ["worker", ""],
      ["rescue", "worker"],
    ],
  );
  t.ok(changesNext({ ...machine, roleProblem: "it is gone" }));
  t.same(statusTable([{ ...machine, runs: null, roleProblem: "gone" }], 0).rows[0]?.[4], "worker (broken)");
  const boot = { id: "b", outcome: "running", verdict: null, lastStep: "switch-root", startedAt: "" };
  t.equal(doing({ ...machine, boot }), "starting Debian");
  t.end();
});

t.test(
  "roles: where each part came from, every fault with place and code, what becomes of a Butane file",
  async (t) => {
    const roles = {
      "kiosk/role.yaml": "extends: worker\nminimumRam: 4 GiB\nfiles: { ignition: coreos.yml }\n",
      "kiosk/coreos.yml": "variant: flatcar\nversion: 1.0.0\npasswd: { users: [{ name: core }] }\n",
      "broken/role.yaml": "description: d\nboot: wait\nfiles: { ignition: coreos.yml }\n",
      "broken/coreos.yml": "variant: flatcar\nversion: 1.0.0\npasswd: { users: [{ nmae: core }] }\n",
    };
    const server = await startServer(t, { roles });
    await server.addImage();
    await server.add(1, "s1");
    await server.assign("s1", "kiosk");
    const boot = async (...words: string[]) => {
      const program = [join(root, "server/cli/main.ts"), "--data", server.dataDir, ...words];
      try {
        const { stdout } = await promisify(execFile)(process.execPath, program);
        return stdout;
      } catch (error) {
        return (error as { stdout: string }).stdout;
      }
    };
    t.equal(
      await boot("role", "show", "kiosk"),
      `kiosk: A rootless Kubernetes worker in RAM, where a cluster is configured; else a Debian that boots and calls back. (from worker)
boots: debian-node (from worker)
extends: worker
documents:
  user-data: user-data.hbs, filled in (from worker)
  ignition: coreos.yml, as it is
parameters:
  sshKeys (string[], default []): SSH public keys of those who may log in as the user \`debian\`. (from worker)
    boot s4 kiosk --param sshKeys=TEXT --param sshKeys=ANOTHER
`,
    );
    t.match(
      await boot("role", "lint", join(server.rolesDir, "broken")),
      /broken\/coreos\.yml:3:21: BUTANE_INVALID: passwd\.users\.0\.nmae: unknown key; known are .*\n1 fault\n$/,
    );
    t.match(await boot("role", "lint", join(server.rolesDir, "kiosk")), /^1 role checked, all fine\n$/);
    t.match(JSON.parse(await boot("preview", "s1", "ignition-role")), {
      ignition: { version: "3.3.0" },
      passwd: { users: [{ name: "core" }] },
    });
    t.match(await boot("preview", "s1", "ignition"), /claims\/\*{8}\/ignition\/role\.json/);
  },
);

t.test("a config whose etcd is not on this machine is refused before the server is started", async (t) => {
  const file = join(temporaryDirectory(t), "rollcall.yaml");
  const check = (program: string) => {
    writeFileSync(file, `cluster:\n  kubernetesVersion: 1.31.0\n  etcdProgram: ${program}\n`);
    return boot(["config", "check", file]);
  };
  t.match(await check("no-such-etcd"), {
    code: 2,
    err: /^CONFIG_INVALID: .*rollcall\.yaml:3: cluster\.etcdProgram: there is no program no-such-etcd/,
  });
  t.match(await check("/bin/true"), { code: 0, out: `${file}: fine\n` });
  t.match(await boot(["config", "check", file, "--config", "other.yaml"]), { code: 2, err: /name one file/ });
});
