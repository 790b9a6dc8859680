import t from "tap";
import type { Boot } from "../../server/domain/boot.ts";
import type { ClusterNode, NodeState } from "../../server/domain/cluster-node.ts";
import {
  HostKeyRefused,
  HostKeyUnknown,
  MachineUnreachable,
  PowerNotConfigured,
  PowerNotPossible,
  PowerTooSoon,
  SshRefused,
  StoreFailed,
} from "../../server/domain/error-catalogue.ts";
import type { NewEvent } from "../../server/domain/event.ts";
import type { Machine } from "../../server/domain/machine.ts";
import { planOperation, type Operation, type OperationOrder } from "../../server/domain/operation.ts";
import type { Power } from "../../server/domain/power.ts";
import { createBootSteps } from "../../server/operations/boot-steps.ts";
import {
  createCommonSteps,
  createResetSteps,
  type ResetStepDeps,
} from "../../server/operations/reset-steps.ts";
import { createRunner } from "../../server/operations/runner.ts";
import { silentLog } from "../../server/platform/logger.ts";
import { openStore } from "../../server/store/open-store.ts";
import { createFakePower, quickLimits } from "../support/power-lab.ts";
import { ManualClock } from "../support/manual-clock.ts";
import { macOf, role, sampleClaim, sampleImage, sampleMachine } from "../support/samples.ts";

/** Operations on machines that are rows alone: boots, Nodes and claims are what a test says they are. */
function createWorld(
  t: { teardown(fn: () => void): unknown },
  count: number,
  { power, students }: { power: Power; students?: ResetStepDeps["students"] },
) {
  const clock = new ManualClock();
  const store = openStore(":memory:", clock);
  t.teardown(() => store.close());
  const machines = new Map(
    Array.from({ length: count }, (_, index) => {
      const machine = sampleMachine(index + 1, { name: `s${index + 1}`, phase: "ready" });
      return [machine.id, machine] as const;
    }),
  );
  const boots = new Map<string, Boot>();
  const nodes = new Map<string, ClusterNode>();
  const lost: string[] = [];
  const drained: string[] = [];
  const revoked: string[] = [];
  const events: NewEvent[] = [];
  const image = sampleImage("1");
  const bootOf = (id: string) => boots.get(id);
  const nodeOf = (id: string) => nodes.get(id);
  const resetDeps: ResetStepDeps = {
    students,
    cluster: {
      name: "lab",
      drain: async ({ id, name }) => {
        drained.push(name);
        setNode(id, "draining");
        return true;
      },
      destroy: async () => [...nodes.keys()].forEach((id) => setNode(id, "rebooting")),
    },
    nodeOf,
    bootOf,
    claimOf: (machineId) =>
      sampleClaim(machineId, { bootId: boots.get(machineId)?.id ?? "", image, spentAt: clock.now() }),
    revokeClaim: async (id) => revoked.push(id) > 0,
    expected: () => ({ image, documents: {}, diskRoots: [] }),
    servesSince: Number.MAX_SAFE_INTEGER,
  };
  const record = (event: NewEvent) => {
    events.push(event);
    world.onStep?.(event.message);
  };
  const runner = createRunner({
    clock,
    ids: { id: (prefix) => `${prefix}_1`, secret: () => "" },
    random: () => 0.5,
    log: silentLog,
    record,
    announce: record,
    operations: store.operations,
    machineOf: (id) => machines.get(id),
    limits: quickLimits,
    steps: {
      common: createCommonSteps(resetDeps),
      machine: {
        ...createResetSteps(resetDeps),
        ...createBootSteps({
          clock,
          power,
          bootOf,
          nodeOf,
          select: () => ({
            target: role("worker"),
            source: "machine",
            why: "",
            instead: [],
            assignment: undefined,
          }),
          waitsForPeople: () => false,
          markLost: (id) => void lost.push(id),
        }),
      },
    },
  });
  function setNode(machineId: string, state: NodeState): void {
    nodes.set(machineId, {
      machineId,
      name: machineId,
      state,
      since: clock.now(),
      bootId: "b_old",
    } as ClusterNode);
    runner.nudge(machineId);
  }
  function boot({ id }: Pick<Machine, "id">, facts: Partial<Boot> = {}): void {
    const now = clock.now();
    boots.set(id, {
      id: `b_${id}_${now}`,
      machineId: id,
      mac: macOf(1),
      startedAt: now,
      endedAt: now,
      outcome: "ready",
      target: "worker",
      phases: [],
      steps: [],
      verdict: undefined,
      ...facts,
    });
    runner.nudge(id);
  }
  const world = {
    clock,
    store,
    runner,
    machines,
    lost,
    drained,
    revoked,
    events,
    boot,
    setNode,
    onStep: undefined as ((message: string) => void) | undefined,
    async begin(order: OperationOrder): Promise<Operation> {
      const operation = planOperation(order, [...machines.values()], {
        id: "op_1",
        actor: "anna",
        now: clock.now(),
      });
      await store.operations.add(operation);
      runner.run(operation);
      return operation;
    },
    /** Lets time go on, a little at a time, until the operation has ended or `isThere` holds. */
    async until(isThere: (operation: Operation) => boolean, stepMs = 10): Promise<Operation> {
      for (let round = 0; round < 20_000; round++) {
        const operation = runner.find("op_1") ?? store.operations.find("op_1");
        if (operation && (isThere(operation) || operation.state !== "running")) return operation;
        clock.advanceMs(stepMs);
        await new Promise((resolve) => setImmediate(resolve));
      }
      throw new Error(`still: ${JSON.stringify(runner.find("op_1")?.machines[0])}`);
    },
    ended: (stepMs?: number) => world.until(() => false, stepMs),
  };
  return world;
}
const stepOf = (operation: Operation, name: string, index = 0) =>
  operation.machines[index]?.steps.find((step) => step.name === name);

t.test("of 200 machines no more than the limit are ordered at once, and each once", async (t) => {
  const power = createFakePower();
  const world = createWorld(t, 200, { power });
  await world.begin({ kind: "power", action: "cycle" });
  const { state } = await world.ended();
  t.equal(state, "done");
  t.equal(power.orders.length, 200);
  t.equal(new Set(power.orders.map(({ machine }) => machine)).size, 200);
  t.equal(power.mostAtOnce, quickLimits.perOperation);
});

t.test("an order that fails is given again with pauses, and in the end the machine failed", async (t) => {
  const failing = StoreFailed({ reason: "a BMC that is slow" });
  let refusals = 2;
  const power = createFakePower({ refuse: () => (refusals-- > 0 ? failing : undefined) });
  const world = createWorld(t, 1, { power });
  await world.begin({ kind: "power", action: "on" });
  t.equal((await world.ended()).state, "done");
  t.equal(power.orders.length, 3);

  const never = createFakePower({ refuse: () => failing });
  const other = createWorld(t, 1, { power: never });
  await other.begin({ kind: "power", action: "on" });
  const ended = await other.ended();
  t.match([ended.state, stepOf(ended, "power")], ["failed", { code: "STORE_FAILED" }]);
  t.equal(never.orders.length, quickLimits.tries);
});

t.test("what only a person can change is not tried again", async (t) => {
  const power = createFakePower({ refuse: ({ name }) => PowerNotConfigured({ machine: name }) });
  const world = createWorld(t, 1, { power });
  await world.begin({ kind: "power", action: "on" });
  t.match(stepOf(await world.ended(), "power"), { state: "failed", code: "POWER_NOT_CONFIGURED" });
  t.equal(power.orders.length, 1);
});

t.test("a node is drained before it is switched, and what it had is revoked in between", async (t) => {
  const power = createFakePower();
  const world = createWorld(t, 1, { power });
  world.boot({ id: "m_1" }, { startedAt: 0 });
  world.setNode("m_1", "ready");
  await world.begin({ kind: "reset" });
  await world.until((one) => stepOf(one, "drain")?.message === "draining");
  t.same(world.drained, ["s1"]);
  t.same([world.revoked, power.orders], [[], []], "nothing else yet");
  world.setNode("m_1", "rebooting");
  await world.until((one) => stepOf(one, "power")?.state === "done");
  t.same(world.revoked, ["m_1"]);
  t.equal(power.orders.length, 1);
  world.boot({ id: "m_1" });
  t.equal((await world.ended()).state, "done");
  t.same(world.drained, ["s1"], "once");
});

t.test(
  "a machine without a power method reboots through its agent, or waits for somebody's hand",
  async (t) => {
    const power = createFakePower({ refuse: ({ name }) => PowerNotConfigured({ machine: name }) });
    const world = createWorld(t, 2, { power });
    world.setNode("m_1", "ready");
    await world.begin({ kind: "reset" });
    await world.until((one) => stepOf(one, "drain")?.message === "draining");
    world.setNode("m_1", "rebooting");
    // It is as fast as only a test is: its boot begins before anybody looked at its power.
    world.boot({ id: "m_1" });
    await world.until((one) => stepOf(one, "proof")?.state === "done");
    const waiting = await world.until((one) => stepOf(one, "boot", 1)?.state === "running");
    t.match(stepOf(waiting, "power"), { message: "its agent reboots it", facts: { method: "agent" } });
    t.match(stepOf(waiting, "power", 1), { message: /by hand/, facts: { method: "hand" } });
    world.clock.advanceMs(3 * 3_600_000);
    t.equal((await world.until((one) => stepOf(one, "boot", 1)?.state === "running")).state, "running");
    world.boot({ id: "m_2" });
    t.equal((await world.ended()).state, "done");
  },
);

for (const [what, play] of [
  ["refuses logins", { refuse: () => SshRefused({ machine: "s1", user: "debian", reason: "nologin" }) }],
  ["is not heard of", { refuse: () => MachineUnreachable({ machine: "s1", address: "", reason: "" }) }],
  ["is woken in vain", { method: "wol" }],
  [
    "has Wake-on-LAN alone",
    { refuse: () => PowerNotPossible({ machine: "s1", action: "restart it", problem: "" }) },
  ],
  ["never told its SSH key", { refuse: () => HostKeyUnknown({ machine: "s1" }) }],
] as const)
  t.test(`a node that goes down by its agent's order and ${what} needs no other order`, async (t) => {
    const world = createWorld(t, 1, { power: createFakePower(play) });
    world.setNode("m_1", "ready");
    await world.begin({ kind: "reset" });
    await world.until((one) => stepOf(one, "drain")?.message === "draining");
    world.setNode("m_1", "rebooting");
    const waiting = await world.until((one) => stepOf(one, "boot")?.state === "running");
    t.match(stepOf(waiting, "power"), { message: "its agent reboots it", facts: { method: "agent" } });
    world.boot({ id: "m_1" });
    t.equal((await world.ended()).state, "done");
  });

t.test("where the students can't be removed, no machine is touched", async (t) => {
  const power = createFakePower();
  let tries = 0;
  const removeAll = async () => {
    tries += 1;
    throw StoreFailed({ reason: "the cluster is away" });
  };
  const world = createWorld(t, 2, { power, students: { removeAll } });
  await world.begin({ kind: "reset", students: true });
  const ended = await world.ended();
  t.match(ended, { state: "failed", steps: [{ name: "students", state: "failed" }] });
  t.ok(ended.machines.every(({ steps }) => steps.every(({ state }) => state === "skipped")));
  t.same([tries, power.orders], [quickLimits.tries, []]);
});

t.test("students who do not go are named when their time is up", async (t) => {
  const world = createWorld(t, 1, {
    power: createFakePower(),
    students: { removeAll: async () => ["anna", "boris"] },
  });
  await world.begin({ kind: "reset", students: true });
  await world.until(({ steps: [step] }) => step?.message?.startsWith("anna") === true);
  const { steps } = await world.ended(1000);
  t.match(steps, [
    {
      code: "STEP_TIMED_OUT",
      message: "students are not gone after 10 minutes: anna and 1 more still have objects in the cluster",
    },
  ]);
});

t.test("students go first, then the machines", async (t) => {
  const power = createFakePower();
  const order: string[] = [];
  const left = [["anna", "ben"], ["ben"], []];
  const removeAll = async (by: string) => (order.push(`students by ${by}`), left.shift() ?? []);
  const world = createWorld(t, 1, {
    power: { ...power, act: (...words) => (order.push("power"), power.act(...words)) },
    students: { removeAll },
  });
  await world.begin({ kind: "reset", students: true });
  await world.until((one) => stepOf(one, "power")?.state === "done");
  world.boot({ id: "m_1" });
  t.equal((await world.ended()).state, "done");
  const asked = "students by anna";
  t.same(order, [asked, asked, asked, "power"], "the machines wait for the last of them");
});

t.test("the whole cluster goes back to nothing before its machines are switched", async (t) => {
  const power = createFakePower();
  const world = createWorld(t, 1, { power });
  world.setNode("m_1", "ready");
  await world.begin({ kind: "reset", destroyCluster: "lab" });
  await world.until((one) => stepOf(one, "power")?.state === "done");
  t.same(world.drained, [], "there is nothing to drain");
  world.boot({ id: "m_1" });
  t.match(await world.ended(), { state: "done", steps: [{ name: "cluster", state: "done" }] });
});

t.test("a machine that begins no boot is lost", async (t) => {
  const world = createWorld(t, 1, { power: createFakePower() });
  world.machines.set("m_1", sampleMachine(1, { name: "s1", phase: "assigned" }));
  await world.begin({ kind: "assign", action: "on", target: "worker" });
  const ended = await world.ended(1000);
  t.match(stepOf(ended, "boot"), {
    state: "failed",
    code: "MACHINE_NOT_BACK",
    message: /^s1 has begun no boot \d+ minutes after the order; it never has$/,
  });
  t.same(world.lost, ["m_1"]);
  t.match(
    world.events.filter(({ type }) => type === "operation.failed"),
    [{ machineId: "m_1" }],
  );
});

t.test("a boot that stops on its way fails with what is known of it", async (t) => {
  const world = createWorld(t, 1, { power: createFakePower() });
  await world.begin({ kind: "assign", action: "cycle", target: "worker" });
  await world.until((one) => stepOf(one, "boot")?.state === "running");
  const steps = [{ at: world.clock.now(), step: "nbp" as const, serverMs: undefined, detail: {} }];
  world.boot({ id: "m_1" }, { outcome: "running", endedAt: undefined, steps });
  const ended = await world.ended(1000);
  t.match(stepOf(ended, "ready"), {
    state: "failed",
    message:
      /^s1 is not ready .* after the order: it loaded its first-stage program and was not heard of again/,
  });
});

t.test("a boot that begins before the order is given does not stand for it", async (t) => {
  const power = createFakePower();
  const world = createWorld(t, 1, { power });
  // What runs on a machine can ask for a boot's files whenever it likes, and be spared the order.
  world.onStep = (message) => {
    if (message === "s1: power running") world.boot({ id: "m_1" });
  };
  await world.begin({ kind: "reset" });
  await world.until((one) => stepOf(one, "power")?.state === "done");
  t.match(power.orders, [{ machine: "s1", action: "cycle" }]);
  t.equal(power.orders.length, 1);
});

for (const kind of ["assign", "power", "reset"] as const)
  t.test(
    `an order of kind ${kind} for a machine that was restarted a moment ago waits for its turn`,
    async (t) => {
      let refusals = 5;
      const tooSoon = PowerTooSoon({ machine: "s1", seconds: 40 });
      const power = createFakePower({ refuse: () => (refusals-- > 0 ? tooSoon : undefined) });
      const world = createWorld(t, 1, { power });
      await world.begin({ kind, action: "cycle", target: "worker" });
      await world.until((one) => stepOf(one, "power")?.state === "done");
      world.boot({ id: "m_1" });
      t.equal((await world.ended()).state, "done");
      t.equal(power.orders.length, 6);
    },
  );

t.test("whoever answers with another host key is not asked again", async (t) => {
  const refused = HostKeyRefused({ machine: "s1", address: "10.0.0.9" });
  const power = createFakePower({ refuse: () => refused });
  const world = createWorld(t, 1, { power });
  await world.begin({ kind: "power", action: "cycle" });
  const ended = await world.ended();
  t.equal(ended.state, "failed");
  t.match(stepOf(ended, "power"), { state: "failed", code: "HOST_KEY_REFUSED" });
  t.equal(power.orders.length, 1);
});

t.test("a reset goes by the board first, unless a system on a disk has to end", async (t) => {
  for (const [outcome, prefersBoard] of [
    ["ready", true],
    ["local", false],
  ] as const) {
    const wishes: unknown[] = [];
    const fake = createFakePower();
    const act: Power["act"] = (machine, action, signal, wish) => {
      wishes.push(wish);
      return fake.act(machine, action, signal);
    };
    const world = createWorld(t, 1, { power: { ...fake, act } });
    world.boot({ id: "m_1" }, { outcome });
    world.clock.advanceMs(1000);
    await world.begin({ kind: "reset" });
    await world.until((one) => stepOf(one, "power")?.state === "done");
    t.strictSame(wishes, [{ prefersBoard }], outcome);
  }
});

t.test("a proof says what the server did not see", async (t) => {
  const world = createWorld(t, 1, { power: createFakePower() });
  await world.begin({ kind: "reset" });
  await world.until((one) => stepOf(one, "power")?.state === "done");
  world.boot({ id: "m_1" });
  const proof = stepOf(await world.ended(), "proof");
  t.match(proof, {
    state: "done",
    message: /not seen since the server was started anew in this boot: kernel/,
  });
  t.notMatch(proof?.message, /in RAM/, "nobody saw its root file system");
  t.notOk(proof?.facts["root"]);
});

t.test("a cancellation that could not be written down can be asked for again", async (t) => {
  const world = createWorld(t, 1, { power: createFakePower() });
  await world.begin({ kind: "reset" });
  await world.until((one) => stepOf(one, "boot")?.state === "running");
  const { saveEnd } = world.store.operations;
  world.store.operations.saveEnd = () => Promise.reject(StoreFailed({ reason: "the disk is full" }));
  await t.rejects(world.runner.cancel("op_1"), { code: "STORE_FAILED" });
  world.store.operations.saveEnd = saveEnd;
  t.equal((await world.runner.cancel("op_1"))?.state, "cancelled");
  t.equal(world.store.operations.find("op_1")?.state, "cancelled");
  t.same(world.runner.running(), [], "its machines are free");
  t.equal(await world.runner.cancel("op_1"), undefined);
});

t.test("cancelled, it begins nothing more and waits for nothing", async (t) => {
  const { promise, resolve } = Promise.withResolvers<void>();
  const fake = createFakePower();
  const world = createWorld(t, 50, {
    power: { ...fake, act: async (...words) => (await promise, fake.act(...words)) },
  });
  await world.begin({ kind: "power", action: "cycle" });
  await world.until((one) => stepOf(one, "power")?.state === "running");
  t.equal((await world.runner.cancel("op_1"))?.state, "cancelled");
  resolve();
  await new Promise((done) => setImmediate(done));
  t.ok(fake.orders.length <= quickLimits.perOperation, `${fake.orders.length} had begun`);
  t.equal(world.store.operations.find("op_1")?.state, "cancelled");
  t.equal(world.runner.running().length, 0);
  t.equal(world.clock.pendingTimers, 0);
});
