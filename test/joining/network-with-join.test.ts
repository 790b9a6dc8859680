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

t.test("a machine that boots anew is told its network with the join, and not a second time", async (t) => {
  const { lab: room, worker, boot } = await lab(t);
  const old = {
    name: "w1",
    bootId: "of another boot",
    isReady: false,
    podCidr: "10.244.77.0/24",
    address: undefined,
  };
  room.world.nodes.set("w1", old);
  t.match(fileOf(await boot(worker), conflist), "10.244.77.0/24");
  const join = await boot(worker);
  t.match(fileOf(join, conflist), "10.244.77.0/24", "in each boot");
  t.match(fileOf(join, "/etc/rollcall/network.table"), "peer 10.1.0.200 10.244.200.0/24");
  room.world.nodes.set("w1", { ...old, bootId: worker.kernelBootId, isReady: true });
  if (join) await worker.finish(join);
  await room.passes();
  t.equal(await worker.obey(), "ready");
  await room.passes();
  t.equal(await worker.poll(), undefined);
});

t.test("what a machine is told with its being ready does not take the place of its network", async (t) => {
  const { lab: room, worker, boot } = await lab(t);
  const join = await boot(worker);
  t.equal(join?.operation, "join");
  t.equal(fileOf(join, conflist), undefined, "a new machine has no addresses for pods yet");
  worker.appear();
  if (join) await worker.finish(join);
  await room.passes();
  t.equal(await worker.obey(), "ready");
  await room.passes();
  t.match(fileOf(await worker.poll(), conflist), "10.244.1.0/24");
});
