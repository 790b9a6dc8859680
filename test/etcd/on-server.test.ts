import { spawn } from "node:child_process";
import { once } from "node:events";
import { chmodSync, existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { join, resolve } from "node:path";
import t, { type Test } from "tap";
import { clusterIsEmpty, type ClusterRecord } from "../../server/domain/cluster-record.ts";
import { createEtcdOnServer, snapshotsOfServer } from "../../server/cluster/etcd-on-server.ts";
import type { ClusterNode } from "../../server/domain/cluster-node.ts";
import { createSnapshotKeeper } from "../../server/etcd/snapshots.ts";
import type { Authority } from "../../server/pki/certificates.ts";
import { openClusterAuthorities } from "../../server/pki/cluster-authorities.ts";
import { systemClock } from "../../server/platform/clock.ts";
import { silentLog } from "../../server/platform/logger.ts";
import { sampleAuthorities } from "../support/cluster-samples.ts";
import { etcdctl, freePort, labAddress, labSupervisor } from "../support/etcd-lab.ts";
import { temporaryDirectory } from "../support/samples.ts";

/** The cluster's data on this server, on Debian's real etcd. */

const node = { name: "m1" } as ClusterNode;

async function createLab(
  t: Test,
  authority: Authority,
  directory: string,
  options: { port?: number; program?: string } = {},
) {
  const { supervisor, events, next } = labSupervisor(t, authority, directory, options);
  const store: { record: ClusterRecord } = { record: clusterIsEmpty(blankRecord, 0) };
  const snapshots = createSnapshotKeeper({
    directory: join(directory, "snapshots"),
    everyMs: 50,
    keep: 3,
    source: snapshotsOfServer(supervisor, store),
    clock: systemClock,
    log: silentLog,
    record: (event) => void events.push(event),
  });
  const versions: string[] = [];
  const etcd = createEtcdOnServer({
    supervisor,
    snapshots,
    store,
    onVersion: (version) => void versions.push(version),
  });
  t.teardown(() => etcd.stop());
  const ctl = await etcdctl(authority, join(directory, "ctl"), supervisor.endpoint);
  return { etcd, supervisor, snapshots, store, events, next, ctl, versions };
}

const blankRecord: ClusterRecord = {
  generation: 0,
  state: "empty",
  initMachineId: undefined,
  initBootId: undefined,
  initLeaseUntil: undefined,
  initializedAt: undefined,
  changedAt: 0,
};

t.test("the version of an etcd that was started is told", async (t) => {
  const { etcd: authority } = await sampleAuthorities(t);
  const { etcd, store, versions } = await createLab(t, authority, join(temporaryDirectory(t), "etcd"));
  await etcd.prepareInit(1, node);
  store.record = { ...blankRecord, generation: 1 };
  t.match(versions, [/^3\.[0-9]+\.[0-9]+/]);
});

t.test("a cluster that was made never begins with other data than its own", async (t) => {
  const { etcd: authority } = await sampleAuthorities(t);
  const directory = join(temporaryDirectory(t), "etcd");
  const { etcd, supervisor, store } = await createLab(t, authority, directory);
  store.record = { ...blankRecord, generation: 5, initializedAt: 1 };
  const missing = { code: "ETCD_DATA_MISSING" };
  await t.rejects(etcd.start(5), missing, "a disk that is not mounted");
  await t.rejects(etcd.prepareInit(5, node), missing);
  await t.rejects(etcd.prepareMaster(node), missing);
  t.same(supervisor.state, { kind: "stopped" });
  t.equal(await supervisor.generation(), undefined, "nothing was made in its place");
  store.record = blankRecord;
  await etcd.wipe(6);
  store.record = { ...blankRecord, generation: 5, initializedAt: 1 };
  await t.rejects(
    etcd.start(5),
    { ...missing, message: /generation 5.*of generation 6/ },
    "an older database",
  );
  t.equal(await etcd.generation(), 6);
});

t.test("a pass does not start etcd while its data are changed", async (t) => {
  const { etcd: authority } = await sampleAuthorities(t);
  const directory = join(temporaryDirectory(t), "etcd");
  const { etcd, supervisor, ctl } = await createLab(t, authority, directory);
  await etcd.prepareInit(1, node);
  await ctl("put", "k", "first");
  const changing = etcd.prepareInit(2, node);
  for (let turn = 0; turn < 50; turn++) {
    void etcd.start(2);
    await new Promise((resolve) => setImmediate(resolve));
  }
  await changing;
  t.equal(await supervisor.generation(), 2);
  t.notMatch(await ctl("get", "k"), /first/);
});

t.test("a generation keeps its data, and the next one begins empty", async (t) => {
  const { etcd: authority } = await sampleAuthorities(t);
  const directory = join(temporaryDirectory(t), "etcd");
  const { etcd, supervisor, store, ctl } = await createLab(t, authority, directory);
  /** kubeadm was through in a generation, and the pass after it has seen that. */
  const comesUp = async (generation: number) => {
    store.record = { ...blankRecord, generation, initializedAt: 1 };
    await etcd.start(generation);
    store.record = blankRecord;
  };
  await etcd.start(0);
  t.same(supervisor.state, { kind: "stopped" }, "without a cluster there is no etcd");
  t.same(await etcd.prepareInit(1, node), { files: [], wentBack: false });
  await ctl("put", "k", "first");
  await etcd.prepareInit(1, node);
  t.match(await ctl("get", "k"), /first/, "asked again: the data stay");
  for (const name of ["kube-controller-manager", "kube-scheduler", "other"])
    await ctl("put", `/registry/leases/kube-system/${name}`, "of a process that is gone");
  await etcd.prepareInit(1, node);
  t.equal(
    (await ctl("get", "/registry/leases/", "--prefix", "--keys-only")).trim(),
    "/registry/leases/kube-system/other",
    "who led the cluster leads it no more",
  );
  await etcd.prepareMaster(node);
  await etcd.removeMaster(node);
  t.match(await ctl("get", "k"), /first/, "masters come and go");
  t.equal(await etcd.isBeyondRepair(), false);
  await etcd.prepareInit(2, node);
  t.equal(await ctl("get", "k"), "", "another generation");
  await ctl("put", "k", "second");
  await comesUp(2);
  await etcd.wipe(3);
  t.equal(await ctl("get", "k"), "", "taken back to nothing");
  await etcd.prepareInit(3, node);
  t.same(
    readdirSync(directory)
      .filter((name) => name.startsWith("data-"))
      .sort(),
    ["data-2", "data-3"],
    "the data of before are kept once",
  );
  t.equal(await supervisor.goBack(), 2);
  t.match(await ctl("get", "k"), /second/, "as a way back");
  await t.rejects(etcd.prepareInit(1, node), { code: "ETCD_GENERATION_REFUSED" });
});

t.test("begins that failed do not push out the data of the last cluster that there was", async (t) => {
  const { etcd: authority } = await sampleAuthorities(t);
  const directory = join(temporaryDirectory(t), "etcd");
  const { etcd, supervisor, store, ctl } = await createLab(t, authority, directory);
  await etcd.prepareInit(1, node);
  await ctl("put", "k", "good");
  store.record = { ...blankRecord, generation: 1, initializedAt: 1 };
  await etcd.start(1);
  // Ephemeral: the election itself takes the mark of being made from the record.
  for (const generation of [2, 3, 4]) {
    store.record = { ...blankRecord, generation, state: "initializing" };
    await etcd.prepareInit(generation, node);
    t.equal(await ctl("get", "k"), "", "each begins empty");
    await ctl("put", "k", `failed ${generation}`);
    await etcd.start(generation);
  }
  t.same(
    readdirSync(directory)
      .filter((name) => /^(data|initialized)-/.test(name))
      .sort(),
    ["data-1", "data-4", "initialized-1"],
    "what never came up is thrown away",
  );
  t.equal(await supervisor.goBack(), 1);
  t.match(await ctl("get", "k"), /good/);
});

t.test("a server that was killed leaves its etcd to the next one", async (t) => {
  const dataDirectory = temporaryDirectory(t);
  const life = { now: Date.now(), keyAlgorithm: "ECDSA-P256" } as const;
  const { etcd: authority } = await openClusterAuthorities({ dataDirectory }, life);
  const directory = join(dataDirectory, "etcd");
  const port = freePort();
  const script = resolve(import.meta.dirname, "../support/etcd-server-process.ts");
  const words = [script, dataDirectory, directory, labAddress, String(port)];
  const killed = spawn(process.execPath, words, { stdio: ["ignore", "pipe", "inherit"] });
  await once(killed.stdout, "data");
  const { etcd, supervisor, events, ctl } = await createLab(t, authority, directory, { port });
  await ctl("put", "k", "kept");
  const orphan = readFileSync(join(directory, "etcd.pid"), "utf8");
  killed.kill("SIGKILL");
  await once(killed, "exit");
  await Promise.all([etcd.start(1), etcd.start(1), etcd.prepareMaster(node)]);
  t.match(supervisor.state, { kind: "healthy" }, "who asks while it starts waits for that start");
  t.equal(events.filter(({ type }) => type === "etcd.started").length, 1);
  t.not(readFileSync(join(directory, "etcd.pid"), "utf8"), orphan);
  t.match(await ctl("get", "k"), /kept/);
  await etcd.stop();
  await etcd.start(1);
  t.same(supervisor.state, { kind: "stopped" }, "a pass after the end starts nothing");
});

t.test("snapshots are taken while it runs, of a cluster that was made", async (t) => {
  const { etcd: authority } = await sampleAuthorities(t);
  const directory = join(temporaryDirectory(t), "etcd");
  const { etcd, snapshots, store } = await createLab(t, authority, directory);
  await etcd.start(0);
  await etcd.prepareInit(4, node);
  t.equal(await snapshots.take(), undefined, "none of a cluster that was never made");
  store.record = { ...blankRecord, generation: 4, initializedAt: 1 };
  while (!(await snapshots.list()).length) await new Promise((resolve) => setImmediate(resolve));
  t.match(await snapshots.newest(), { generation: 4 });
  await etcd.stop();
});

t.test("a first start that failed is tried by whoever asks next", async (t) => {
  const { etcd: authority } = await sampleAuthorities(t);
  const directory = join(temporaryDirectory(t), "etcd");
  const port = freePort();
  const taken = createServer((socket) => socket.destroy()).listen(port, labAddress);
  await new Promise((resolve) => taken.once("listening", resolve));
  const { etcd, supervisor } = await createLab(t, authority, directory, { port });
  await t.rejects(etcd.start(1), { code: "ETCD_FAILED", message: /address already in use/ });
  await t.rejects(etcd.prepareInit(1, node), { code: "ETCD_FAILED" }, "kubeadm is not told to begin");
  await new Promise((resolve) => taken.close(resolve));
  await etcd.start(1);
  t.match(supervisor.state, { kind: "healthy" });
  await etcd.prepareInit(1, node);
});

t.test("while it is started again kubeadm is not told to begin", async (t) => {
  const { etcd: authority } = await sampleAuthorities(t);
  const directory = join(temporaryDirectory(t), "etcd");
  const program = join(directory, "program/etcd");
  mkdirSync(join(directory, "program"), { recursive: true });
  const broken = join(directory, "broken");
  writeFileSync(program, `#!/bin/sh\n[ ! -e ${broken} ] || exit 3\nexec etcd "$@"\n`);
  chmodSync(program, 0o755);
  const { etcd, supervisor, next } = await createLab(t, authority, directory, { program });
  await etcd.prepareInit(1, node);
  writeFileSync(broken, "");
  const ended = next("etcd.ended");
  process.kill(Number(readFileSync(join(directory, "etcd.pid"), "utf8")), "SIGKILL");
  await ended;
  t.not(supervisor.state.kind, "healthy");
  await t.rejects(etcd.prepareMaster(node), { code: "ETCD_FAILED" });
  t.ok(existsSync(broken));
});
