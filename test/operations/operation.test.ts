import t from "tap";
import {
  cancelOperation,
  changeStep,
  dueSteps,
  endOperation,
  isSameWork,
  type Operation,
  type OperationOrder,
  planOperation,
  planSteps,
  type StepState,
  verdictOf,
} from "../../server/domain/operation.ts";
import { openStore } from "../../server/store/open-store.ts";
import { ManualClock } from "../support/manual-clock.ts";

const two = [
  { id: "m_1", name: "s1" },
  { id: "m_2", name: "s2" },
];
const plan = (order: OperationOrder, id = "op_1", now = 1) =>
  planOperation(order, two, { id, actor: "anna", now });
const names = (operation: Operation) =>
  dueSteps(operation).map(({ machineId, name }) => `${machineId ?? "all"} ${name}`);
const after = (operation: Operation, machineId: string | undefined, state: StepState) => {
  const place = dueSteps(operation).find((due) => due.machineId === machineId);
  if (!place) throw new Error("nothing is due");
  return changeStep(operation, place, { state }, 2);
};

t.test("what is due is read off the rows", (t) => {
  let operation = plan({ kind: "reset", students: true });
  t.same(names(operation), ["all students"], "first what is done once");
  operation = after(operation, undefined, "running");
  t.same(names(operation), ["all students"], "also after a restart in its middle");
  operation = after(operation, undefined, "done");
  t.same(names(operation), ["m_1 drain", "m_2 drain"]);
  operation = after(after(operation, "m_1", "skipped"), "m_2", "failed");
  t.same(names(operation), ["m_1 revoke"], "a machine that failed holds up no other");
  t.same(
    operation.machines[1]?.steps.map(({ state }) => state),
    ["failed", "skipped", "skipped", "skipped", "skipped", "skipped"],
  );
  for (const _ of [1, 2, 3, 4, 5]) operation = after(operation, "m_1", "done");
  t.same(names(operation), []);
  t.match(endOperation(operation, 9), { state: "failed", endedAt: 9 });
  t.same(
    operation.machines.map((machine) => verdictOf(operation, machine)),
    ["done", "failed"],
  );
  t.end();
});

t.test("a step keeps the time at which it began, whatever is told of it later", (t) => {
  const place = { machineId: "m_1", name: "drain" } as const;
  const begun = changeStep(plan({ kind: "reset" }), place, { state: "running" }, 5);
  const told = changeStep(begun, place, { state: "running", message: "draining" }, 7);
  const done = changeStep(told, place, { state: "done" }, 8);
  t.match(told.machines[0]?.steps[0], { startedAt: 5, at: 5, message: "draining" });
  t.match(done.machines[0]?.steps[0], { startedAt: 5, at: 8 });
  t.end();
});

t.test("each kind has its steps", (t) => {
  const each = (order: OperationOrder) => planSteps(order).each.join(" ");
  t.equal(each({ kind: "power", action: "off" }), "power");
  t.equal(each({ kind: "assign" }), "assign");
  t.equal(each({ kind: "assign", action: "cycle" }), "assign power boot ready");
  t.equal(each({ kind: "reset" }), "drain revoke power boot ready proof");
  t.same(planSteps({ kind: "reset", students: true, destroyCluster: "lab" }).common, ["students", "cluster"]);
  t.end();
});

t.test("cancelled, what was done stays done and nothing is due", (t) => {
  const operation = cancelOperation(after(plan({ kind: "power", action: "on" }), "m_1", "done"), 9);
  t.same(names(operation), []);
  t.same(
    operation.machines.map((machine) => verdictOf(operation, machine)),
    ["done", "skipped"],
  );
  t.equal(endOperation(operation, 10), undefined, "it has ended already");
  t.end();
});

t.test("the same work is the same order for the same machines", (t) => {
  const operation = plan({ kind: "reset", students: false });
  t.ok(isSameWork(operation, { kind: "reset" }, ["m_2", "m_1"]));
  t.notOk(isSameWork(operation, { kind: "reset", students: true }, ["m_1", "m_2"]));
  t.notOk(isSameWork(operation, { kind: "reset" }, ["m_1"]));
  t.notOk(isSameWork(operation, { kind: "power", action: "cycle" }, ["m_1", "m_2"]));
  t.end();
});

t.test("operations come back from the disk as they were, and the oldest that ended are let go", async (t) => {
  const store = openStore(":memory:", new ManualClock());
  t.teardown(() => store.close());
  const running = after(plan({ kind: "reset", students: true }, "op_running", 0), undefined, "running");
  await store.operations.add(running);
  t.same(store.operations.running(), [running]);
  const next = after(running, undefined, "done");
  await store.operations.saveSteps(next, undefined);
  t.same(store.operations.find("op_running"), next);
  for (let number = 1; number <= 210; number++)
    await store.operations.add({
      ...plan({ kind: "power", action: "on" }, `op_${number}`, number),
      state: "done",
      endedAt: number,
    });
  t.equal(store.operations.newest(1000).length, 201, "200 that ended, and the one under way");
  t.equal(store.operations.newest(1)[0]?.id, "op_210");
  t.equal(store.operations.newest(1, { startedAt: 210, id: "op_210" })[0]?.id, "op_209");
  t.ok(store.operations.find("op_running"), "one under way is never let go");
  t.equal(store.operations.find("op_1"), undefined);
});
