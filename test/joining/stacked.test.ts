import t from "tap";
import { EtcdQuorumAtRisk } from "../../server/domain/error-catalogue.ts";
import type { Agent, ClusterLab } from "../support/cluster-lab.ts";
import { createClusterLab } from "../support/cluster-lab.ts";

/** What the state machine does where masters keep the cluster's data in their RAM. */

const minutes = 60_000;

async function settle(lab: ClusterLab, agents: readonly Agent[]): Promise<void> {
  for (let round = 0; round < 20; round++) {
    await lab.passes(2);
    for (const agent of agents) await agent.obey();
  }
}

/** Three masters and a worker, all of them ready. */
async function createRoom(t: Parameters<typeof createClusterLab>[0]) {
  const lab = await createClusterLab(t);
  const masters: Agent[] = [];
  for (const number of [1, 2, 3]) masters.push(await lab.add(number, `m${number}`, "master"));
  const worker = await lab.add(4, "w1", "worker");
  const all = [...masters, worker];
  for (const agent of all) {
    await agent.powerOn();
    await agent.claim();
  }
  await settle(lab, all);
  t.same(
    lab.service.nodes().map(({ state }) => state),
    ["ready", "ready", "ready", "ready"],
  );
  return { lab, masters: masters as [Agent, Agent, Agent], worker };
}

t.test("after a restore the cluster is another generation, and what saw the last one reboots", async (t) => {
  const { lab, masters, worker } = await createRoom(t);
  lab.world.world.wentBack = true;
  for (const agent of masters) await agent.powerOn();
  lab.clock.advanceMs(2 * minutes);
  await lab.passes();
  t.equal(lab.service.record.state, "down");
  for (const agent of masters) await agent.claim();
  await worker.poll();
  await settle(lab, masters);
  t.equal(lab.service.record.state, "up");
  t.equal(lab.service.record.generation, 2);
  t.same(
    masters.map(({ name }) => [lab.row(name).state, lab.row(name).generation]),
    masters.map(() => ["ready", 2]),
  );
  lab.clock.advanceMs(minutes);
  await lab.passes();
  t.equal(lab.row("w1").state, "rebooting");
  const message = "reboots: the cluster began anew: this machine joined its generation 1, and now it is 2";
  t.match(await worker.poll(), { operation: "reboot", message }, "and its screen says why");
  lab.restart();
  await worker.poll();
  await lab.passes();
  t.match(await worker.poll(), { operation: "reboot", message }, "also by a server that was killed");
  await worker.powerOn();
  await worker.claim();
  await settle(lab, [worker]);
  t.match(lab.row("w1"), { state: "ready", generation: 2 });
});

t.test("two of three masters reboot: the one that is left holds nobody up, and reboots itself", async (t) => {
  const { lab, masters } = await createRoom(t);
  const [m1, m2, m3] = masters;
  for (const agent of [m1, m2]) await agent.powerOn();
  // Without a quorum its API server is not ready, and its agent goes on.
  lab.world.serving.delete("m3");
  for (const agent of [m1, m2]) await agent.claim();
  await m3.poll();
  await lab.passes();
  t.equal(lab.service.record.state, "up", "a check may miss once");
  lab.world.world.isBeyondRepair = true;
  lab.world.world.wentBack = true;
  await lab.passes();
  t.equal(lab.service.record.state, "initializing");
  lab.world.world.isBeyondRepair = false;
  await settle(lab, [m1, m2]);
  t.equal(lab.service.record.state, "up");
  lab.clock.advanceMs(20_000);
  await lab.passes();
  t.equal((await m3.poll())?.operation, "reboot");
  await m3.powerOn();
  await m3.claim();
  await settle(lab, [m3]);
  t.same(
    masters.map(({ name }) => [lab.row(name).state, lab.row(name).generation]),
    masters.map(() => ["ready", 2]),
  );
});

t.test("masters that answer again are the cluster: nobody begins anew", async (t) => {
  const { lab, masters } = await createRoom(t);
  for (const { name } of masters) lab.world.serving.delete(name);
  lab.clock.advanceMs(2 * minutes);
  await lab.passes();
  t.equal(lab.service.record.state, "down");
  for (const { name } of masters) lab.world.serving.add(name);
  await lab.passes();
  t.equal(lab.service.record.state, "up");
  t.equal(lab.service.record.generation, 1);
  t.equal(lab.world.count("etcd init"), 1);
});

t.test("of resets of all masters at once, the last is refused", async (t) => {
  const { lab, masters } = await createRoom(t);
  const asked = await Promise.allSettled(
    masters.map(({ name }) => lab.service.resetNode(lab.machine(name), "root")),
  );
  t.equal(asked.filter(({ status }) => status === "fulfilled").length, masters.length - 1);
  t.match(
    asked.filter(({ status }) => status === "rejected"),
    [{ reason: { code: "LAST_MASTER" } }],
  );
  t.equal(masters.filter(({ name }) => lab.row(name).state === "ready").length, 1);
});

t.test("a master stays as long as etcd can't do without its member", async (t) => {
  const { lab } = await createRoom(t);
  lab.world.world.guard = EtcdQuorumAtRisk({ member: "m2", healthy: 1, quorum: 2 });
  await lab.service.resetNode(lab.machine("m2"), "root");
  await lab.passes();
  t.equal(lab.row("m2").state, "removing");
  lab.clock.advanceMs(3 * minutes);
  await lab.passes();
  t.equal(lab.row("m2").state, "removing", "however long it takes");
  t.ok(lab.world.nodes.has("m2"), "and its Node with it");
  t.ok(
    lab.events.some(
      ({ type, message }) => type === "cluster.problem" && message.includes("without the member m2"),
    ),
  );
  lab.world.world.guard = undefined;
  await lab.passes();
  t.equal(lab.row("m2").state, "rebooting");
  t.equal(lab.world.count("etcd remove m2"), 1);
  t.notOk(lab.world.nodes.has("m2"));
});

t.test("a master that is absent keeps its Node as long as etcd can't do without its member", async (t) => {
  const { lab, masters } = await createRoom(t);
  const [m1, m2] = masters;
  lab.world.world.guard = EtcdQuorumAtRisk({ member: "m3", healthy: 1, quorum: 2 });
  const node = lab.world.nodes.get("m3");
  if (node) lab.world.nodes.set("m3", { ...node, isReady: false });
  for (const wait of [2, 31]) {
    lab.clock.advanceMs(wait * minutes);
    for (const agent of [m1, m2]) await agent.poll();
    await lab.passes();
  }
  t.equal(lab.row("m3").state, "lost");
  t.ok(lab.world.nodes.has("m3"));
  lab.world.world.guard = undefined;
  await lab.passes();
  t.equal(lab.row("m3").state, "absent");
  t.notOk(lab.world.nodes.has("m3"));
});

t.test("members that no master has are looked for, and never while a master joins", async (t) => {
  const { lab, masters } = await createRoom(t);
  const count = () => lab.world.count("forsaken");
  const before = count();
  lab.clock.advanceMs(20_000);
  await lab.passes();
  t.equal(count(), before + 1);
  const [, m2] = masters;
  await m2.powerOn();
  await m2.claim();
  await lab.passes();
  t.equal(lab.row("m2").state, "joining");
  lab.clock.advanceMs(20_000);
  await m2.poll();
  await lab.passes();
  t.equal(count(), before + 1);
});
