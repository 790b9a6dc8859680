import t, { type Test } from "tap";
import { createBootLab } from "./support/boot-lab.ts";
import { macOf, sampleMachine } from "./support/samples.ts";

const hourMs = 3_600_000;
const limit = 2000;

/** A lab that has met so many unknown machines, the first of them first. */
async function fullLab(t: Test, count: number, facts: Parameters<typeof sampleMachine>[1] = {}) {
  const lab = await createBootLab(t);
  const now = lab.clock.now();
  await Promise.all(
    Array.from({ length: count }, (_, index) =>
      lab.store.machines.add(
        sampleMachine(1000 + index, { phase: "discovered", createdAt: now + index, ...facts }),
      ),
    ),
  );
  return lab;
}

t.test("too many machines that nobody accepted", async (t) => {
  t.test("count whatever their phase is", async (t) => {
    const lab = await fullLab(t, limit, { phase: "netbooting" });
    await t.rejects(lab.inventory.meet(macOf(1), {}), { code: "MACHINE_NOT_FOUND" });
    t.equal(lab.store.machines.count(), limit);
    t.ok(await lab.add(2, "s2"), "people add as many as they like");
  });
  t.test("are no more when many come in one turn", async (t) => {
    const lab = await fullLab(t, limit - 5);
    const met = await Promise.allSettled(
      Array.from({ length: 50 }, (_, index) => lab.inventory.meet(macOf(index + 1), {})),
    );
    t.equal(met.filter(({ status }) => status === "fulfilled").length, 5);
    t.equal(lab.store.machines.count(), limit);
  });
  t.test("make room when they were silent for more than an hour, the oldest first", async (t) => {
    const lab = await fullLab(t, limit);
    lab.clock.advanceMs(hourMs + limit);
    await Promise.all([1, 2].map((number) => lab.inventory.meet(macOf(number), {})));
    t.ok(lab.inventory.findByMac(macOf(1)));
    t.ok(lab.inventory.findByMac(macOf(2)));
    t.equal(lab.inventory.findByMac(macOf(1000)), undefined, "the oldest");
    t.equal(lab.inventory.findByMac(macOf(1001)), undefined, "and the next");
    t.equal(lab.store.machines.count(), limit);
    t.match(lab.of("machine.removed"), [{ actor: undefined, message: /made room/ }, {}]);
  });
  t.test("keep their place while they are seen, named or assigned", async (t) => {
    const lab = await fullLab(t, limit);
    lab.clock.advanceMs(hourMs + limit);
    lab.tracker.seen("m_1000");
    await lab.inventory.edit("m_1001", { name: "s1" }, "anna");
    const third = lab.inventory.get(macOf(1002)).name;
    await lab.assign(third, "worker");
    await lab.inventory.meet(macOf(1), {});
    for (const number of [1000, 1001, 1002])
      t.ok(lab.inventory.findByMac(macOf(number)), `${number} is there`);
    t.equal(lab.inventory.findByMac(macOf(1003)), undefined);
  });
});

t.test("a machine's phase follows its role", async (t) => {
  async function room(t: Test) {
    const lab = await createBootLab(t);
    await lab.inventory.addGroup("lab225", "", "anna");
    await lab.assigning.assignGroup("lab225", { kind: "role", role: "worker", params: {} }, "anna");
    return lab;
  }
  t.test("when it is added to a group with a role", async (t) => {
    const lab = await room(t);
    const s1 = await lab.inventory.add({ name: "s1", macs: [macOf(1)], group: "lab225" }, "anna");
    t.equal(s1.phase, "assigned", "in the answer too");
    t.equal(lab.machine("s1").phase, "assigned");
  });
  t.test("when it is moved into the group, and out of it", async (t) => {
    const lab = await room(t);
    await lab.add(1, "s1");
    const { id } = lab.machine("s1");
    t.equal((await lab.inventory.edit(id, { group: "lab225" }, "anna")).phase, "assigned");
    t.equal((await lab.inventory.edit(id, { seat: "A1" }, "anna")).phase, "assigned");
    t.equal((await lab.inventory.edit(id, { group: null }, "anna")).phase, "accepted");
    t.match(lab.of("machine.phase"), [{ data: { to: "assigned" } }, { data: { to: "accepted" } }]);
  });
  t.test("when its group is removed, unless it has a role of its own", async (t) => {
    const lab = await room(t);
    await lab.inventory.add({ name: "s1", macs: [macOf(1)], group: "lab225" }, "anna");
    await lab.inventory.add({ name: "s2", macs: [macOf(2)], group: "lab225" }, "anna");
    await lab.assign("s2", "rescue");
    await lab.inventory.removeGroup("lab225", "anna");
    await lab.settle();
    t.match(lab.machine("s1"), { phase: "accepted", group: undefined });
    t.match(lab.machine("s2"), { phase: "assigned", group: undefined });
  });
  t.test("when it is accepted and there is a default role; each change is an event", async (t) => {
    const lab = await createBootLab(t, { defaultRole: "worker" });
    const met = await lab.inventory.meet(macOf(1), {});
    t.equal((await lab.inventory.accept(met.id, "s1", "anna")).phase, "assigned");
    t.match(lab.of("machine.phase"), [
      { machineId: met.id, data: { from: "discovered", to: "accepted", because: "machine.accepted" } },
      { machineId: met.id, data: { from: "accepted", to: "assigned", because: "role.assigned" } },
    ]);
    await lab.inventory.accept(met.id, undefined, "anna");
    t.equal(lab.of("machine.phase").length, 2, "accepted again, nothing changes");
  });
});

t.test(
  "a role that waits is not for one boot: its end never comes, so it would be there for ever",
  async (t) => {
    const lab = await createBootLab(t);
    await lab.add(1, "s1");
    await t.rejects(lab.assign("s1", "discover", "once"), {
      code: "ONCE_NEVER_USED_UP",
      advice: /without `--once`/,
    });
    const target = { kind: "role", role: "discover", params: {} } as const;
    t.throws(() => lab.assigning.plan({ machines: "s1", target, mode: "once", actor: "anna" }), {
      code: "ONCE_NEVER_USED_UP",
    });
    t.equal(lab.boots.select(lab.machine("s1")).source, "unknown-policy", "nothing was assigned");
    await lab.assign("s1", "discover");
    t.equal(lab.boots.select(lab.machine("s1")).source, "machine", "for good it may be");
  },
);
