import t from "tap";
import { type Agent, createClusterLab, makeRequest } from "../support/cluster-lab.ts";

/** What must not happen: each of these did, or could have. */

const minutes = 60_000;

async function withMaster(t: Parameters<typeof createClusterLab>[0]) {
  const lab = await createClusterLab(t);
  const master = await lab.add(200, "m1", "master");
  await master.powerOn();
  await master.claim();
  const settle = async (agents: readonly Agent[], rounds = 8) => {
    for (let round = 0; round < rounds; round++) {
      await lab.passes(2);
      for (const agent of agents) await agent.obey();
    }
  };
  await settle([master]);
  const worker = async (number: number, name: string) => {
    const agent = await lab.add(number, name, "worker");
    await agent.powerOn();
    await agent.claim();
    return agent;
  };
  return { lab, master, settle, worker };
}

t.test("a machine that is removed while it joins blocks nobody", async (t) => {
  const { lab, settle, worker } = await withMaster(t);
  const gone = await worker(1, "w1");
  const other = await worker(2, "w2");
  await lab.inventory.remove(lab.machine("w1"), "anna");
  await t.rejects(gone.poll(), { code: "CLAIM_REFUSED" });
  await settle([other]);
  t.equal(lab.row("w2").state, "ready");
  t.same(
    lab.service.nodes().map(({ name }) => name),
    ["m1", "w2"],
  );
});

t.test("a quarantined machine's token ends, and nothing is approved by it", async (t) => {
  const { lab, worker } = await withMaster(t);
  const agent = await worker(1, "w1");
  await lab.passes();
  const [tokenId = ""] = lab.world.tokens.keys();
  t.ok(tokenId, "its join is under way");
  const { csr } = await makeRequest();
  await t.rejects(lab.service.claim(agent.secret, "10.1.0.1", { ...agent.fields, csr }), {
    code: "CLAIM_REFUSED",
  });
  lab.world.requests.push({ tokenId, machine: "w1" });
  await worker(2, "w2");
  await lab.passes();
  t.ok(lab.of("node.request-denied").length > 0);
  t.notOk(lab.world.tokens.has(tokenId));
});

t.test("a reset of the cluster that was interrupted goes on", async (t) => {
  const { lab, master, settle } = await withMaster(t);
  const { wipe } = lab.world.etcd;
  lab.world.etcd.wipe = async () => Promise.reject(new Error("the disk is full"));
  await t.rejects(lab.service.reset("kubernetes", "anna"), /the disk is full/);
  t.equal(lab.service.record.state, "resetting");
  lab.restart();
  lab.world.etcd.wipe = wipe;
  await lab.passes();
  t.equal(lab.service.record.state, "empty");
  await master.powerOn();
  await master.claim();
  await settle([master]);
  t.match(lab.service.record, { state: "up", generation: 2 });
});

t.test("a database that is older than etcd's data can be begun anew", async (t) => {
  const { lab, master, settle } = await withMaster(t);
  lab.world.etcd.generation = async () => 7;
  await lab.service.reset("kubernetes", "anna");
  t.ok(lab.world.done.includes("etcd wipe 8"));
  await master.powerOn();
  await master.claim();
  await settle([master]);
  t.equal(lab.service.record.generation, 8);
});

t.test("an agent that reports again and again is heard once, and holds up nobody", async (t) => {
  const { lab, worker } = await withMaster(t);
  const agent = await worker(1, "w1");
  await lab.passes();
  const join = await agent.poll();
  if (!join) throw new Error("no instruction");
  for (let report = 0; report < 20; report++) await agent.finish(join, 1, "no route to host");
  t.equal(lab.of("machine.log").length, 1);
  t.equal(lab.row("w1").tries, 1);
});

t.test("a drain whose request fails has drained nothing, and is over when its time is", async (t) => {
  const { lab, settle, worker } = await withMaster(t);
  const agent = await worker(1, "w1");
  await settle([agent]);
  const { drain } = lab.world.api;
  lab.world.api.drain = async () => Promise.reject(new Error("timed out"));
  await lab.service.resetNode(lab.machine("w1"), "anna");
  await lab.passes();
  t.equal(lab.row("w1").state, "draining");
  lab.world.api.drain = drain;
  await lab.passes();
  t.equal(lab.row("w1").state, "rebooting");
  await agent.powerOn();
  await agent.claim();
  await settle([agent]);
  lab.world.api.drain = async () => Promise.reject(new Error("timed out"));
  await lab.service.resetNode(lab.machine("w1"), "anna");
  lab.clock.advanceMs(11 * minutes);
  await lab.passes();
  t.equal(lab.row("w1").state, "rebooting");
});

t.test("two machines are never one Node", async (t) => {
  const { lab, settle, worker } = await withMaster(t);
  const first = await worker(1, "w1");
  await settle([first]);
  await lab.inventory.edit(lab.machine("w1").id, { name: "old" }, "anna");
  const second = await lab.add(2, "w1", "worker");
  await second.powerOn();
  await t.rejects(second.claim(), { code: "NODE_NAME_HELD" });
  await t.rejects(lab.service.joinCommand("w1"), { code: "NODE_NAME_HELD" }, "nor by hand");
  await t.rejects(lab.service.joinCommand("m1"), { code: "NODE_NAME_HELD" });
  t.equal(lab.world.count("not-ready"), 0);
});

t.test("the server ends between the row and the machine's phase: it is told at the next start", async (t) => {
  const { lab, settle, worker } = await withMaster(t);
  const agent = await worker(1, "w1");
  await settle([agent]);
  lab.ready.length = 0;
  lab.restart();
  lab.clock.advanceMs(11_000);
  await lab.passes();
  t.same(lab.ready.toSorted(), ["m1", "w1"]);
});

t.test("masters whose agents live and whose API servers do not are not waited for without end", async (t) => {
  const { lab, master, settle } = await withMaster(t);
  lab.world.serving.clear();
  const other = await lab.add(2, "m2", "master");
  await other.powerOn();
  await other.claim();
  for (let step = 0; step < 12; step++) {
    await master.poll();
    await other.poll();
    await lab.passes(1);
    lab.clock.advanceMs(minutes - 1000);
  }
  await other.poll();
  await settle([other]);
  t.equal(lab.row("m2").state, "ready");
  t.equal(lab.service.record.state, "up");
});

t.test("machines that fall silent while they join lose their slots to others within a minute", async (t) => {
  const { lab, master, settle, worker } = await withMaster(t);
  const silent: Agent[] = [];
  for (let number = 1; number <= 8; number++) silent.push(await worker(number, `w${number}`));
  await lab.passes();
  const states = () => silent.map(({ name }) => lab.row(name).state);
  t.same(new Set(states()), new Set(["joining"]), "all slots are theirs");
  const other = await worker(9, "w9");
  await lab.passes();
  t.equal(lab.row("w9").state, "queued");
  for (const step of [1, 2]) {
    lab.clock.advanceMs(31_000);
    for (const agent of [master, other]) await agent.poll();
    await lab.passes();
    if (step === 1) t.same(new Set(states()), new Set(["joining"]));
  }
  t.same(new Set(states()), new Set(["queued"]));
  await settle([other]);
  t.equal(lab.row("w9").state, "ready");
  t.same(new Set(states()), new Set(["queued"]), "and who is silent gets no turn");
  await settle(silent);
  t.same(new Set(states()), new Set(["ready"]), "until it speaks again");
  t.equal(lab.world.tokens.size, 0);
});

t.test(
  "a machine that gives a sign while kubeadm runs keeps its slot, however long that takes",
  async (t) => {
    const { lab, worker } = await withMaster(t);
    const agent = await worker(1, "w1");
    await lab.passes();
    const join = await agent.poll();
    if (!join) throw new Error("no instruction");
    for (let step = 0; step < 18; step++) {
      lab.clock.advanceMs(minutes / 2);
      // Its heartbeat, as the agent's script has it.
      await lab.service.instruction(agent.proof, { done: join.sequence, waitMs: 0 });
      await lab.passes(1);
    }
    t.match(lab.row("w1"), { state: "joining", tries: 0 });
    t.equal(lab.world.count("token w1"), 1);
  },
);

t.test("a machine that was silent and joins again has its old Node taken for what a try left", async (t) => {
  const { lab, worker } = await withMaster(t);
  const agent = await worker(1, "w1");
  await lab.passes();
  t.equal((await agent.poll())?.operation, "join");
  agent.appear();
  lab.clock.advanceMs(61_000);
  await lab.passes();
  t.equal(lab.row("w1").state, "queued");
  await agent.poll();
  await lab.passes();
  t.equal(lab.row("w1").state, "joining");
  t.equal(lab.world.count("not-ready w1"), 1, "kubeadm takes no name whose Node is Ready");
});

t.test("a server whose data went back goes on with a number that its agents have not done yet", async (t) => {
  const { lab, settle, worker } = await withMaster(t);
  const agent = await worker(1, "w1");
  await settle([agent]);
  await agent.claim();
  // The backup has the claim, and not the row.
  lab.store.cluster.forgetMachine(lab.machine("w1").id);
  await t.rejects(agent.poll(), { code: "CLAIM_REFUSED" });
  const { done } = agent;
  t.ok(done > 1);
  await agent.claim();
  await settle([agent]);
  t.equal(lab.row("w1").state, "ready");
  t.ok(lab.row("w1").doneSequence > done);
});
