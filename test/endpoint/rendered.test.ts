import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { type Master, renderHaproxy } from "../../server/endpoint/haproxy.ts";
import { renderKeepalived } from "../../server/endpoint/keepalived.ts";
import type { Ipv4 } from "../../server/net/ipv4.ts";
import { sampleAuthorities } from "../support/cluster-samples.ts";
import { fakeApiServer, type Told } from "../support/fake-api-server.ts";
import { freePort } from "../support/free-port.ts";
import { clientOf } from "../support/kubernetes-clients.ts";
import { createLan } from "../support/namespaces.ts";
import { temporaryDirectory } from "../support/samples.ts";

const haproxy = "/usr/sbin/haproxy";
const keepalived = "/usr/sbin/keepalived";

t.test("haproxy takes its configuration without a warning", async (t) => {
  const directory = temporaryDirectory(t);
  const authorities = await sampleAuthorities(t);
  const authorityFile = join(directory, "ca.crt");
  writeFileSync(authorityFile, authorities.cluster.certificatePem);
  for (const count of [0, 1, 5]) {
    const file = join(directory, "haproxy.cfg");
    const masters = Array.from({ length: count }, (_, index) => ({
      name: `s${index + 1}`,
      address: `10.0.0.1${index}`,
      port: 6443,
    }));
    writeFileSync(file, renderHaproxy({ bind: { address: "10.0.0.1", port: 6443 }, masters, authorityFile }));
    const { status, stdout, stderr } = spawnSync(haproxy, ["-c", "-f", file], { encoding: "utf8" });
    t.equal(status, 0, `${count} masters: ${stderr}`);
    t.notMatch(stdout + stderr, /WARNING|ALERT/);
  }
});

t.test("haproxy carries connections to API servers that are ready and are the cluster's", async (t) => {
  const directory = temporaryDirectory(t);
  const authorities = await sampleAuthorities(t);
  const others = await sampleAuthorities(t);
  const authorityFile = join(directory, "ca.crt");
  writeFileSync(authorityFile, authorities.cluster.certificatePem);
  const readyz = { right: 200, unready: 500, foreign: 200 };
  const start = (name: keyof typeof readyz, signedBy: typeof authorities) =>
    // Without a client certificate: haproxy has none, and /readyz is open to all.
    fakeApiServer(
      t,
      signedBy,
      ({ path }): Told =>
        path === "/readyz" ? { status: readyz[name], body: "" } : { body: { metadata: { name } } },
      { asksCertificate: false },
    );
  const servers = {
    right: await start("right", authorities),
    unready: await start("unready", authorities),
    foreign: await start("foreign", others),
  };
  const masters: Master[] = Object.entries(servers).map(([name, { target }]) => ({
    name,
    address: target.host,
    port: target.port,
  }));
  const bind = { address: "127.0.0.1", port: await freePort() };
  const file = join(directory, "haproxy.cfg");
  writeFileSync(file, renderHaproxy({ bind, masters, authorityFile }));
  const child = spawn(haproxy, ["-f", file], { stdio: ["ignore", "pipe", "pipe"] });
  t.teardown(async () => {
    if (child.exitCode !== null) return;
    child.kill("SIGKILL");
    await once(child, "exit");
  });
  let said = "";
  const heard = (what: RegExp) =>
    new Promise<void>((resolve) => {
      const look = (chunk?: Buffer) => {
        said += chunk?.toString() ?? "";
        if (what.test(said)) resolve();
      };
      child.stdout.on("data", look);
      child.stderr.on("data", look);
      look();
    });
  await heard(/foreign is DOWN[^]*unready is DOWN|unready is DOWN[^]*foreign is DOWN/);
  const client = clientOf(t, authorities, { host: bind.address, port: bind.port });
  for (let index = 0; index < 4; index++)
    t.equal((await client.get("Node", { name: "x" })).metadata.name, "right");
  t.match(said, /foreign is DOWN.*SSL handshake failure/, "one of another authority gets nothing");
  readyz.unready = 200;
  await heard(/unready is UP/);
  readyz.right = 503;
  await heard(/right is DOWN/);
  const ask = async () => (await client.get("Node", { name: "x" })).metadata.name;
  t.equal(await ask().catch(ask), "unready", "sessions are cut and come anew to another");
});

const keepalivedInput = {
  virtualAddress: "10.0.0.9" as Ipv4,
  prefixLength: 24,
  device: "v0",
  port: 6443,
  routerId: 51,
  machine: { address: "10.0.0.1" as Ipv4, priority: 150 },
  peers: ["10.0.0.2" as Ipv4],
  authorityFile: "/etc/haproxy/ca.crt",
};

t.test("keepalived takes its configuration", (t) => {
  const directory = temporaryDirectory(t);
  const lan = createLan(t, { one: { v0: "lan 10.0.0.1/24" } });
  const file = join(directory, "keepalived.conf");
  for (const input of [keepalivedInput, { ...keepalivedInput, peers: [] }]) {
    // With another user for its scripts, keepalived 2.2.7's own test of a configuration ends itself by SIGTERM at the first script.
    writeFileSync(file, renderKeepalived(input).replace("script_user nobody", "script_user root"));
    const { status, stdout, stderr } = spawnSync(
      "ip",
      ["netns", "exec", lan.namespaceOf("one"), keepalived, "--config-test", `--use-file=${file}`],
      { encoding: "utf8" },
    );
    t.equal(status, 0, `${stdout}${stderr}`);
  }
  t.end();
});

t.test("what is no word can't get into a configuration", (t) => {
  const bind = { address: "10.0.0.1", port: 6443 };
  for (const name of ["s1 check\n  server evil 10.6.6.6:1", "", "a b", 'a"', "$(x)"]) {
    t.throws(() =>
      renderHaproxy({ bind, authorityFile: "/ca.crt", masters: [{ name, address: "10.0.0.2", port: 6443 }] }),
    );
    t.throws(() => renderKeepalived({ ...keepalivedInput, device: name }));
  }
  t.throws(() => renderKeepalived({ ...keepalivedInput, routerId: 256 }));
  t.end();
});
