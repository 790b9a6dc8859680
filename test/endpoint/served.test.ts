import { execFile, spawnSync } from "node:child_process";
import { writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import t from "tap";
import type { ClusterNode, NodeState } from "../../server/domain/cluster-node.ts";
import { plain, startServer } from "../support/http-fixture.ts";
import { addressOf, temporaryDirectory } from "../support/samples.ts";

const launcher = resolve(import.meta.dirname, "../../server/launch.mjs");

const nodes: readonly [number, string, ClusterNode["role"], NodeState][] = [
  [3, "m3", "master", "ready"],
  [1, "m1", "master", "unarmed"],
  [2, "m2", "master", "lost"],
  [4, "m4", "master", "quarantined"],
  [5, "m5", "master", "absent"],
  [6, "w6", "worker", "ready"],
];

async function startWithMasters(t: Parameters<typeof startServer>[0], endpoint: string) {
  const server = await startServer(t, {
    settings: {
      "https.port": 0,
      "cluster.kubernetesVersion": "1.31.0",
      "cluster.endpoint": endpoint,
      "cluster.loadBalancer": false,
    },
  });
  const row = (number: number, name: string, role: ClusterNode["role"], state: NodeState): ClusterNode => ({
    machineId: `m_${name}`,
    name,
    role,
    bootId: `b_${name}`,
    claimHash: "",
    agentKey: "00".repeat(32),
    certificate: "",
    armingCode: "000000",
    address: addressOf(number),
    report: {
      kernelBootId: "",
      uuid: undefined,
      memoryKiB: 0,
      processors: 1,
      kernel: "6.1.0",
      controllers: [],
      subordinateIds: 65_536,
      runtime: "containerd",
    },
    state,
    since: 0,
    deadline: undefined,
    generation: 1,
    sequence: 0,
    doneSequence: 0,
    tokenId: undefined,
    approvedRequest: undefined,
    tries: 0,
    retryAt: Number.MAX_SAFE_INTEGER,
    problem: undefined,
  });
  for (const [number, name, role, state] of nodes) {
    const { json } = await server.add(number, name);
    await server.store.cluster.updateNode(
      plain(json["id"]),
      () => ({ ...row(number, name, role, state), machineId: plain(json["id"]) }),
      "claimed",
      0,
    );
  }
  const boot = (...words: string[]): Promise<{ code: number; out: string; err: string }> =>
    new Promise((done) => {
      execFile(
        process.execPath,
        [launcher, "--data", server.dataDir, "cluster", "endpoint", ...words],
        { env: { PATH: process.env["PATH"] } },
        (error, out, err) => done({ code: error ? Number(error.code ?? -1) : 0, out, err }),
      );
    });
  return { ...server, boot };
}

t.test("a load balancer outside gets the masters as they are, and haproxy takes the file", async (t) => {
  const server = await startWithMasters(t, "api.lab:7443");
  const directory = temporaryDirectory(t);
  const authorityFile = join(directory, "ca.crt");
  const authority = await server.boot("authority");
  t.match(authority.out, /^-----BEGIN CERTIFICATE-----\n/);
  writeFileSync(authorityFile, authority.out);

  const { code, out } = await server.boot("haproxy", "--authority-file", authorityFile);
  t.equal(code, 0);
  t.match(out, /^ {4}bind 0\.0\.0\.0:7443$/m, "at the endpoint's port");
  t.same(
    out.match(/^ {4}server .*$/gm),
    [1, 2, 3].map((number) => `    server m${number} ${addressOf(number)}:6443`),
    "masters that wait are among them, since kubeadm init asks at the endpoint; no worker, none that is gone",
  );
  const file = join(directory, "haproxy.cfg");
  writeFileSync(file, out);
  const { status, stdout, stderr } = spawnSync("/usr/sbin/haproxy", ["-c", "-f", file], { encoding: "utf8" });
  t.equal(status, 0, stderr);
  t.notMatch(stdout + stderr, /WARNING|ALERT/);
  t.match((await server.boot("haproxy", "--bind-address", "10.0.0.9")).out, /bind 10\.0\.0\.9:7443/);

  const answer = await server.api("GET", "/cluster/endpoint/haproxy");
  t.match(answer.headers["content-type"], /^text\/plain/);
  for (const query of ["bindAddress=api.lab", "bindAddress=1.2.3.4%0Ax", "authorityFile=ca.crt", "no=1"])
    t.equal((await server.api("GET", `/cluster/endpoint/haproxy?${query}`)).status, 400, query);
});

t.test("keepalived gets the endpoint's address, for one machine of several", async (t) => {
  const server = await startWithMasters(t, "10.0.0.9:6443");
  t.match(
    (await server.boot("keepalived", "--interface", "eth0")).out,
    /virtual_ipaddress \{\n {8}10\.0\.0\.9\/32 dev eth0\n/,
    "the endpoint's own where it is an address",
  );
  const { out } = await server.boot(
    "keepalived",
    "--interface=eth0",
    "--virtual-address=10.0.0.8/24",
    "--address=10.0.0.11",
    "--peers=10.0.0.12,10.0.0.13",
    "--priority=150",
    "--router-id=7",
  );
  t.match(out, /10\.0\.0\.8\/24 dev eth0/);
  t.match(out, /priority 150/);
  t.match(out, /virtual_router_id 7/);
  t.match(out, /unicast_src_ip 10\.0\.0\.11\n {4}unicast_peer \{\n {8}10\.0\.0\.12\n {8}10\.0\.0\.13\n/);
  t.match(await server.boot("keepalived"), { code: 2, err: /--interface/ });
  t.match(await server.boot("keepalived", "--interface", "eth0", "--peers", "10.0.0.12"), {
    code: 1,
    err: /peers need address/,
  });
  for (const query of [
    "interface=a%20b",
    "interface=v0&virtualAddress=10.0.0.9/33",
    "interface=v0&virtualAddress=x",
    "interface=v0&address=10.0.0.1&peers=10.0.0.2,%0Ax",
    "interface=v0&routerId=256",
    "interface=v0&priority=255",
  ])
    t.equal((await server.api("GET", `/cluster/endpoint/keepalived?${query}`)).status, 400, query);
});

t.test("keepalived has to be told the address of an endpoint that is a name", async (t) => {
  const server = await startWithMasters(t, "api.lab:6443");
  t.match((await server.api("GET", "/cluster/endpoint/keepalived?interface=v0")).json, {
    code: "INVALID_REQUEST",
    detail: /api\.lab is a name/,
  });
});
