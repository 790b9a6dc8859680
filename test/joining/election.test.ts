import t from "tap";
import type { Agent } from "../support/cluster-lab.ts";
import { createClusterLab } from "../support/cluster-lab.ts";

const minutes = 60_000;
type Lab = Awaited<ReturnType<typeof createClusterLab>>;

async function fiveMasters(lab: Lab): Promise<Agent[]> {
  const agents: Agent[] = [];
  for (const number of [1, 2, 3, 4, 5]) {
    const agent = await lab.add(number, `m${number}`, "master");
    await agent.powerOn();
    agents.push(agent);
  }
  await Promise.all(agents.map((agent) => agent.claim()));
  return agents;
}

/** What each was told last. */
async function operations(agents: readonly Agent[]) {
  return Promise.all(agents.map(async (agent) => (await agent.poll())?.operation));
}
const initsOf = (told: readonly (string | undefined)[]) =>
  told.filter((operation) => operation === "init").length;

/** Lets all obey until nobody is told anything new. */
async function settle(lab: Lab, agents: readonly Agent[]): Promise<void> {
  for (let round = 0; round < 20; round++) {
    await lab.passes(2);
    for (const agent of agents) await agent.obey();
  }
}

t.test(
  "five masters claim within 100 ms: one makes the cluster, the others join it one after another",
  async (t) => {
    const lab = await createClusterLab(t);
    const agents = await fiveMasters(lab);
    await lab.passes();
    t.equal(initsOf(await operations(agents)), 1);
    t.equal(lab.service.record.state, "initializing");
    t.equal(lab.service.record.generation, 1);
    await settle(lab, agents);
    t.equal(lab.service.record.state, "up");
    t.same(
      lab.service.nodes().map(({ state }) => state),
      ["ready", "ready", "ready", "ready", "ready"],
    );
    t.equal(lab.world.count("etcd init"), 1);
    t.equal(lab.world.count("token m"), 4, "four joined, and one at a time");
    t.equal(lab.world.tokens.size, 0, "no token is left");
    t.same(lab.ready.toSorted(), ["m1", "m2", "m3", "m4", "m5"]);
  },
);

for (const phase of ["before it asked", "in kubeadm init", "after kubeadm init"] as const)
  t.test(
    `the master that makes the cluster dies ${phase}: another does, as a cluster of its own`,
    async (t) => {
      const lab = await createClusterLab(t);
      const agents = await fiveMasters(lab);
      await lab.passes();
      const told = await operations(agents);
      const owner = agents.find((_agent, index) => told[index] === "init");
      if (!owner) throw new Error("nobody was told to init");
      const instruction = await owner.poll();
      if (phase === "after kubeadm init" && instruction) await owner.finish(instruction);
      // It is gone: its row's time runs out, and its lease.
      const others = agents.filter((agent) => agent !== owner);
      for (let step = 0; step < 30 && lab.service.record.generation === 1; step++) {
        lab.clock.advanceMs(minutes);
        for (const agent of others) await agent.poll();
        await lab.passes(2);
      }
      await settle(lab, others);
      t.equal(lab.service.record.state, "up");
      t.equal(lab.service.record.generation, 2);
      t.equal(lab.world.count("etcd init"), 2, "once for each generation");
      for (const agent of others) t.equal(lab.row(agent.name).state, "ready");
      t.not(lab.row(owner.name).state, "ready");
    },
  );

t.test("the server is killed in the middle of kubeadm init", async (t) => {
  for (const point of ["before the agent asked", "while kubeadm runs"] as const)
    await t.test(point, async (t) => {
      const lab = await createClusterLab(t);
      const agents = await fiveMasters(lab);
      await lab.passes();
      const told = await operations(agents);
      const owner = agents.find((_agent, index) => told[index] === "init");
      const instruction = point === "while kubeadm runs" ? await owner?.poll() : undefined;
      lab.restart();
      await lab.passes();
      t.equal(initsOf(await operations(agents.filter((agent) => agent !== owner))), 0, "nobody else begins");
      if (instruction && owner) {
        lab.world.serving.add(owner.name);
        owner.appear();
        await owner.finish(instruction);
      }
      await settle(lab, agents);
      t.equal(lab.service.record.state, "up");
      t.equal(lab.service.record.generation, 1);
      for (const agent of agents) t.equal(lab.row(agent.name).state, "ready");
      t.same(
        lab.service.transitions(undefined, 100).filter(({ to }) => to === "up").length,
        1,
        "it came up once",
      );
    });
});

t.test(
  "all masters are switched off and on: the first goes on with the data that outlived them",
  async (t) => {
    const lab = await createClusterLab(t);
    const agents = await fiveMasters(lab);
    await settle(lab, agents);
    for (const agent of agents) await agent.powerOn();
    lab.clock.advanceMs(2 * minutes);
    await lab.passes();
    t.equal(lab.service.record.state, "down");
    await Promise.all(agents.map((agent) => agent.claim()));
    await settle(lab, agents);
    t.equal(lab.service.record.state, "up");
    t.equal(lab.service.record.generation, 1);
    for (const agent of agents) t.equal(lab.row(agent.name).state, "ready");
  },
);

t.test("a cluster that keeps nothing begins anew with its masters, and older workers reboot", async (t) => {
  const lab = await createClusterLab(t, { keepsData: false });
  const master = await lab.add(1, "m1", "master");
  const worker = await lab.add(2, "w1", "worker");
  for (const agent of [master, worker]) {
    await agent.powerOn();
    await agent.claim();
  }
  await settle(lab, [master, worker]);
  t.equal(lab.row("w1").state, "ready");
  await master.powerOn();
  lab.clock.advanceMs(2 * minutes);
  await lab.passes();
  await master.claim();
  await settle(lab, [master]);
  t.equal(lab.service.record.generation, 2);
  t.equal(lab.row("m1").state, "ready");
  lab.clock.advanceMs(minutes);
  await lab.passes();
  t.equal(lab.row("w1").state, "rebooting");
  t.equal((await worker.poll())?.operation, "reboot");
});
