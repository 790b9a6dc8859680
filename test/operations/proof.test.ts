import t from "tap";
import type { Boot, BootStepName } from "../../server/domain/boot.ts";
import { changeStep, planOperation } from "../../server/domain/operation.ts";
import { createOperations } from "../../server/operations/operations.ts";
import { judgeProof } from "../../server/operations/proof.ts";
import type { Runner } from "../../server/operations/runner.ts";
import { openStore } from "../../server/store/open-store.ts";
import { ManualClock } from "../support/manual-clock.ts";
import { macOf, sampleClaim, sampleImage, sampleMachine } from "../support/samples.ts";

const image = sampleImage("1");

function proofOf(method: string | undefined, steps: readonly BootStepName[]) {
  const boot: Boot = {
    id: "b_1",
    machineId: "m_1",
    mac: macOf(1),
    startedAt: 0,
    endedAt: 1,
    outcome: "ready",
    target: "worker",
    phases: [],
    steps: steps.map((step) => ({ step, at: 0, serverMs: undefined, detail: {} })),
    verdict: undefined,
  };
  const claim = sampleClaim("m_1", { bootId: "b_1", image, spentAt: 1 });
  const expected = { image, documents: {}, diskRoots: [] };
  return judgeProof({ boot, claim, orderedRole: "worker", method, expected, wasSeenWhole: false }).facts;
}

t.test("a report says who was asked to restart a machine, and what shows that it did", (t) => {
  const booted: BootStepName[] = ["discover", "offer", "nbp", "ipxe-dhcp", "discover", "script"];
  const firmware = "discover, offer, nbp, ipxe-dhcp";
  t.match(proofOf("ipmi", booted), { power: "ipmi", evidence: "board", firmware });
  t.match(proofOf("redfish", ["script"]), { power: "redfish", evidence: "board" });
  t.match(proofOf("ssh", booted), { power: "ssh", evidence: "firmware", firmware });
  t.match(proofOf("agent", ["script", "kernel"]), { power: "agent", evidence: "machine" });
  t.match(proofOf(undefined, ["script"]), { power: "unknown", evidence: "machine", firmware: undefined });
  t.end();
});

t.test("what a reset is about to drain counts as gone from the cluster, and not what it has drained", (t) => {
  const clock = new ManualClock();
  const store = openStore(":memory:", clock);
  t.teardown(() => store.close());
  const machines = [1, 2].map((number) => sampleMachine(number));
  const planned = planOperation({ kind: "reset" }, machines, { id: "op_1", actor: "anna", now: 0 });
  const place = { machineId: machines[0]?.id, name: "drain" } as const;
  let running = planned;
  const operations = createOperations({
    clock,
    ids: { id: (prefix) => `${prefix}_2`, secret: () => "" },
    record: () => {},
    operations: store.operations,
    runner: { running: () => [running] } as Runner,
  });
  const ids = machines.map(({ id }) => id);
  t.strictSame([...operations.leavingCluster()], ids);
  running = changeStep(planned, place, { state: "running" }, 1);
  t.strictSame([...operations.leavingCluster()], ids);
  running = changeStep(running, place, { state: "done" }, 2);
  t.strictSame([...operations.leavingCluster()], ids.slice(1));
  running = { ...planned, order: { kind: "power", action: "cycle" } };
  t.strictSame([...operations.leavingCluster()], []);
  t.end();
});
