import t from "tap";
import type { Agent } from "../support/cluster-lab.ts";
import { createClusterLab } from "../support/cluster-lab.ts";

const minutes = 60_000;

async function withMaster(t: Parameters<typeof createClusterLab>[0], settings = {}) {
  const lab = await createClusterLab(t, settings);
  const master = await lab.add(200, "m1", "master");
  await master.powerOn();
  await master.claim();
  const settle = async (agents: readonly Agent[], rounds = 10) => {
    for (let round = 0; round < rounds; round++) {
      await lab.passes(2);
      for (const agent of agents) await agent.obey();
    }
  };
  await settle([master]);
  return { lab, master, settle };
}

t.test(
  "fifty workers at once: never more than the slots join at a time, all are ready, and no token is left",
  async (t) => {
    const { lab, settle } = await withMaster(t, { workerSlots: 8 });
    const workers: Agent[] = [];
    for (let number = 1; number <= 50; number++) {
      const worker = await lab.add(number, `w${number}`, "worker");
      await worker.powerOn();
      workers.push(worker);
    }
    await Promise.all(workers.map((worker) => worker.claim()));
    let most = 0;
    for (let round = 0; round < 40; round++) {
      await lab.passes(2);
      most = Math.max(most, lab.world.tokens.size);
      for (const worker of workers) await worker.obey();
    }
    await settle(workers);
    t.equal(most, 8);
    t.equal(lab.service.nodes().filter(({ state }) => state === "ready").length, 51);
    t.equal(lab.world.tokens.size, 0);
    t.equal(lab.world.count("token w"), 50, "each had one of its own");
    t.equal(new Set(lab.ready).size, 51);
  },
);

t.test("a worker that boots anew while its old Node is still Ready", async (t) => {
  const { lab, settle } = await withMaster(t);
  const worker = await lab.add(1, "w1", "worker");
  await worker.powerOn();
  await worker.claim();
  await settle([worker]);
  t.equal(lab.row("w1").state, "ready");
  const old = lab.world.nodes.get("w1");
  await worker.powerOn();
  await worker.claim();
  t.equal(lab.world.nodes.get("w1")?.isReady, true, "Kubernetes does not know yet");
  await lab.passes();
  t.equal(lab.world.count("not-ready w1"), 1, "the server tells it, and the Node stays");
  t.equal(lab.world.count("remove w1"), 0);
  const join = await worker.poll();
  t.equal(join?.operation, "join");
  if (join) await worker.finish(join);
  await lab.passes();
  t.equal(lab.row("w1").state, "registered", "the Node of the boot before proves nothing");
  worker.appear();
  await lab.passes();
  t.equal(lab.row("w1").state, "ready");
  t.not(lab.world.nodes.get("w1")?.bootId, old?.bootId);
});

t.test("kubeadm fails", async (t) => {
  const { lab } = await withMaster(t);
  const worker = await lab.add(1, "w1", "worker");
  await worker.powerOn();
  await worker.claim();
  await lab.passes();
  const tokens = new Set<string>();
  for (let round = 1; round <= 3; round++) {
    const join = await worker.poll();
    t.equal(join?.operation, "join");
    for (const id of lab.world.tokens.keys()) tokens.add(id);
    if (join) await worker.finish(join, 1, "[preflight]\nerror: no route to host\n");
    if (round === 3) break;
    t.match(lab.row("w1"), { state: "queued", problem: /no route to host/ });
    await lab.passes(1);
    t.equal(lab.row("w1").state, "queued", "the next try comes later");
    lab.clock.advanceMs(minutes);
    await worker.poll();
    await lab.passes();
  }
  t.equal(tokens.size, 3, "each try has a fresh token");
  t.match(lab.row("w1"), {
    state: "failed",
    tries: 3,
    problem: /kubeadm ended with 1: error: no route to host/,
  });
  await lab.passes();
  t.equal(lab.world.tokens.size, 0);
  t.match(await worker.poll(), { operation: "wait", message: /^failed: kubeadm ended with 1/ });

  t.test("until a person lets it try again", async (t) => {
    t.ok(await lab.service.release(lab.machine("w1"), "anna"));
    await lab.passes();
    t.equal((await worker.poll())?.operation, "join");
  });
});

t.test("an instruction", async (t) => {
  const { lab } = await withMaster(t);
  const worker = await lab.add(1, "w1", "worker");
  await worker.powerOn();
  await worker.claim();
  await lab.passes();
  const join = await worker.poll();
  t.same(await worker.poll(), join, "is told again until it is done");
  lab.restart();
  t.equal(await worker.poll(), undefined, "the server has forgotten it by its end");
  await lab.passes();
  const again = await worker.poll();
  t.match(again, { operation: "join" }, "and makes it anew, with another token");
  t.not(again?.sequence, join?.sequence);
  t.equal(lab.world.tokens.size, 1);
});

t.test("the server is killed while kubeadm join runs: its end counts", async (t) => {
  const { lab } = await withMaster(t);
  const worker = await lab.add(1, "w1", "worker");
  await worker.powerOn();
  await worker.claim();
  await lab.passes();
  const join = await worker.poll();
  lab.restart();
  await lab.passes();
  worker.appear();
  if (join) await worker.finish(join);
  await lab.passes();
  t.equal(lab.row("w1").state, "ready");
  t.equal(lab.world.count("token w1"), 1);
});

t.test(
  "requests for certificates: a machine's own name is approved, another's is denied and raises the alarm",
  async (t) => {
    const { lab } = await withMaster(t);
    const worker = await lab.add(1, "w1", "worker");
    await worker.powerOn();
    await worker.claim();
    await lab.passes();
    const [tokenId = ""] = lab.world.tokens.keys();
    lab.world.requests.push({ tokenId, machine: "m1" });
    await lab.passes(1);
    t.match(lab.of("node.request-denied"), [{ level: "alarm", message: /w1 asked for a certificate/ }]);
    lab.world.requests.push({ tokenId, machine: "w1" });
    await lab.passes(1);
    t.equal(lab.row("w1").approvedRequest, "csr-w1");
  },
);

t.test(
  "a machine that says nothing any more and whose Node is not Ready is lost, then absent, and comes back",
  async (t) => {
    const { lab, settle } = await withMaster(t);
    const worker = await lab.add(1, "w1", "worker");
    await worker.powerOn();
    await worker.claim();
    await settle([worker]);
    const node = lab.world.nodes.get("w1");
    if (node) lab.world.nodes.set("w1", { ...node, isReady: false });
    await lab.passes();
    t.equal(lab.row("w1").state, "ready", "its agent speaks");
    lab.clock.advanceMs(2 * minutes);
    await lab.passes();
    t.equal(lab.row("w1").state, "lost");
    if (node) lab.world.nodes.set("w1", node);
    await lab.passes();
    t.equal(lab.row("w1").state, "ready", "it was the network");
    if (node) lab.world.nodes.set("w1", { ...node, isReady: false });
    lab.clock.advanceMs(2 * minutes);
    await lab.passes();
    lab.clock.advanceMs(31 * minutes);
    await lab.passes();
    t.equal(lab.row("w1").state, "absent");
    t.equal(lab.world.count("remove w1"), 1);
  },
);

t.test("a reset", async (t) => {
  const { lab, master, settle } = await withMaster(t);
  const worker = await lab.add(1, "w1", "worker");
  await worker.powerOn();
  await worker.claim();
  await settle([worker]);

  await t.test("of a worker drains it, takes its Node away and lets it boot anew", async (t) => {
    await lab.service.resetNode(lab.machine("w1"), "anna");
    await lab.passes();
    t.same(
      lab.world.done.filter((line) => line.endsWith(" w1") && /^(drain|remove)/.test(line)),
      ["drain w1", "remove w1"],
    );
    t.equal(lab.row("w1").state, "rebooting");
    lab.restart();
    await worker.poll();
    await lab.passes();
    t.match(
      await worker.poll(),
      { operation: "reboot", message: "was reset by an operator and reboots" },
      "told again by a server that was killed meanwhile",
    );
    await worker.powerOn();
    await worker.claim();
    await settle([worker]);
    t.equal(lab.row("w1").state, "ready");
  });

  await t.test("of the last master is refused, unless it is meant", async (t) => {
    await t.rejects(lab.service.resetNode(lab.machine("m1"), "anna"), { code: "LAST_MASTER" });
    t.equal(lab.row("m1").state, "ready");
    await lab.service.resetNode(lab.machine("m1"), "anna", true);
    t.equal(lab.row("m1").state, "draining");
    await lab.passes();
    await master.powerOn();
    await master.claim();
    await settle([master]);
  });

  await t.test("of the cluster needs its name, forgets all and begins another generation", async (t) => {
    await t.rejects(lab.service.reset("other", "anna"), { code: "CLUSTER_NAME_NOT_CONFIRMED" });
    const { generation } = lab.service.record;
    await lab.service.reset("kubernetes", "anna");
    t.match(lab.service.record, { state: "empty", initializedAt: undefined });
    for (const agent of [worker, master])
      t.match(await agent.poll(), {
        operation: "reboot",
        message: "reboots: the cluster was taken back to nothing",
      });
    for (const agent of [master, worker]) {
      await agent.powerOn();
      await agent.claim();
    }
    lab.world.serving.clear();
    await settle([master, worker], 15);
    t.equal(lab.service.record.generation, generation + 1);
    t.equal(lab.row("w1").state, "ready");
  });
});

t.test("when the API server fails a while, the machines wait and nothing is lost", async (t) => {
  const { lab, settle } = await withMaster(t);
  const worker = await lab.add(1, "w1", "worker");
  await worker.powerOn();
  lab.clock.advanceMs(11_000);
  lab.world.world.fault = new Error("connection refused");
  await worker.claim();
  await lab.passes();
  t.equal(lab.row("w1").state, "queued");
  t.match(lab.of("cluster.problem")[0], { message: /connection refused/ });
  t.equal(
    lab.of("cluster.problem").filter(({ message }) => /looking at the Nodes/.test(message)).length,
    1,
    "told once",
  );
  lab.world.world.fault = undefined;
  lab.clock.advanceMs(minutes);
  await settle([worker]);
  t.equal(lab.row("w1").state, "ready");
});

t.test("before there is a cluster nobody gets a token by hand, and is told so", async (t) => {
  const lab = await createClusterLab(t);
  await t.rejects(lab.service.joinCommand("guest1"), {
    code: "CLUSTER_NOT_UP",
    message: "there is no cluster yet: no master has booted",
  });
  t.equal(lab.world.count("token"), 0);
});

t.test("a join by hand has a token for one name", async (t) => {
  const { lab } = await withMaster(t);
  const { command } = await lab.service.joinCommand("guest1");
  t.match(
    command,
    /^kubeadm join api.lab:6443 --discovery-token-ca-cert-hash sha256:[0-9a-f]{64} --token [a-z0-9]{6}\.[a-z0-9]{16} --node-name guest1$/,
  );
  const [tokenId = ""] = lab.world.tokens.keys();
  await lab.passes();
  t.equal(lab.world.tokens.size, 1, "it is not taken away");
  lab.world.requests.push({ tokenId, machine: "w1" }, { tokenId, machine: "guest1" });
  await lab.passes();
  t.equal(lab.of("node.request-denied").length, 1);
  lab.clock.advanceMs(16 * minutes);
  await lab.passes();
  t.equal(lab.world.tokens.size, 0, "after its quarter of an hour it is");
});
