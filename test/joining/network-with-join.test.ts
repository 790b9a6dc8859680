import t, { type Test } from "tap";
import { createBridgePodNetwork } from "../../server/cluster/bridge-pod-network.ts";
import type { Instruction } from "../../server/domain/cluster-node.ts";
import { type Agent, createClusterLab } from "../support/cluster-lab.ts";
import { sampleCluster } from "../support/cluster-samples.ts";

async function lab(t: Test) {
  const lab = await createClusterLab(t, { network: createBridgePodNetwork(sampleCluster("1.31.0")) });
  const master = await lab.add(200, "m1", "master");
  await master.powerOn();
  await master.claim();
  for (let round = 0; round < 10; round++) {
    await lab.passes(2);
    await master.obey();
  }
  t.equal(lab.row("m1").state, "ready");
  /** Boots a worker to the point where its agent asks what to do. */
  async function boot(worker: Agent): Promise<Instruction | undefined> {
    await worker.powerOn();
    await worker.claim();
    await lab.passes();
    return worker.poll();
  }
  return { lab, worker: await lab.add(1, "w1", "worker"), boot };
}
const conflist = "/etc/cni/net.d/10-rollcall.conflist";
const fileOf = (instruction: Instruction | undefined, path: string) =>
  instruction?.files?.find((file) => file.path === path)?.content;

t.test(
  "a machine's Node has addresses for pods before its kubelet comes, and its network comes with the join",
  async (t) => {
    const { lab: room, worker, boot } = await lab(t);
    const join = await boot(worker);
    t.equal(join?.operation, "join");
    t.equal(room.world.count("create w1"), 1);
    const own = room.world.nodes.get("w1")?.podCidr ?? "none";
    t.match(fileOf(join, conflist), own);
    t.match(fileOf(join, "/etc/rollcall/network.table"), "peer 10.1.0.200 10.244.200.0/24");
    // The same Node, with the addresses that it has.
    room.world.nodes.set("w1", {
      name: "w1",
      bootId: worker.kernelBootId,
      isReady: true,
      podCidr: own,
      address: undefined,
    });
    if (join) await worker.finish(join);
    await room.passes();
    t.equal(await worker.obey(), "ready", "and it is not told its network a second time");
    t.equal(room.row("w1").state, "ready");
  },
);

t.test("a machine that boots anew has the addresses of its old Node", async (t) => {
  const { lab: room, worker, boot } = await lab(t);
  room.world.nodes.set("w1", {
    name: "w1",
    bootId: "of another boot",
    isReady: false,
    podCidr: "10.244.77.0/24",
    address: undefined,
  });
  t.match(fileOf(await boot(worker), conflist), "10.244.77.0/24");
  t.equal(room.world.count("create w1"), 0);
  t.match(fileOf(await boot(worker), conflist), "10.244.77.0/24", "in each boot");
});

t.test(
  "no addresses in five seconds: it joins all the same, and is told its network after that",
  async (t) => {
    const { lab: room, worker } = await lab(t);
    room.world.world.givesPlaces = false;
    await worker.powerOn();
    await worker.claim();
    const before = room.clock.monotonicMs();
    let isThere = false;
    const passes = room.passes().finally(() => (isThere = true));
    while (!isThere) {
      await room.boot.settle();
      room.clock.advanceMs(250);
    }
    await passes;
    const join = await worker.poll();
    t.ok(room.clock.monotonicMs() - before >= 5000, "they are waited for");
    t.equal(join?.operation, "join");
    t.equal(fileOf(join, conflist), undefined);
    worker.appear();
    if (join) await worker.finish(join);
    await room.passes();
    t.equal(await worker.obey(), "ready");
    await room.passes();
    const told = await worker.poll();
    t.match(fileOf(told, conflist), "10.244.1.0/24");
  },
);
