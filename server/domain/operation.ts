import type { EpochMs } from "./capabilities.ts";
import type { PowerAction } from "./power.ts";

/** Long work on machines, kept as rows: what comes next is read off them, so a server that starts anew goes on where it was. */

export const operationKinds = ["assign", "power", "reset"] as const;
export type OperationKind = (typeof operationKinds)[number];
export type OperationState = "running" | "done" | "failed" | "cancelled";
export type StepState = "waiting" | "running" | "done" | "failed" | "skipped";

/** All steps that there are; docs/operations.md tells what each does. The first two are of an operation, the others of a machine. */
export const stepNames = [
  "students", // the students' objects are removed from the cluster
  "cluster", // the whole cluster goes back to nothing
  "assign", // the role stands in the assignments
  "drain", // its pods are gone, its Node is deleted
  "revoke", // its claim and tokens are worth nothing any more
  "power", // the order to its power was taken
  "boot", // it begins a boot that is newer than the order
  "ready", // that boot came to the end that its role has
  "proof", // that boot ran what its role has now, and nothing else
] as const;
export type StepName = (typeof stepNames)[number];

export interface OperationStep {
  readonly name: StepName;
  readonly state: StepState;
  /** When it began; an order to a machine's power is not older than this. Undefined: it has not begun. */
  readonly startedAt: EpochMs | undefined;
  /** Of the last change of its state. */
  readonly at: EpochMs | undefined;
  /** One sentence for people. */
  readonly message: string | undefined;
  /** Of the error that it failed with, or is tried again after. */
  readonly code: string | undefined;
  /** What a report says beside the sentence. */
  readonly facts: Readonly<Record<string, string | number>>;
}

/** One machine of an operation. */
export interface OperationMachine {
  readonly machineId: string;
  /** As it was called when the operation began. */
  readonly name: string;
  readonly steps: readonly OperationStep[];
}

/** What was asked for. */
export interface OperationOrder {
  readonly kind: OperationKind;
  /** For `power`, and for an assignment that switches machines too. */
  readonly action?: PowerAction | undefined;
  /** For `assign`, in words. */
  readonly target?: string | undefined;
  /** For `reset`: the students' objects go too. */
  readonly students?: boolean | undefined;
  /** For `reset`: the name of the cluster that goes back to nothing. */
  readonly destroyCluster?: string | undefined;
}

export interface Operation {
  readonly id: string;
  readonly order: OperationOrder;
  /** Name of the token, or `localActor`. */
  readonly actor: string;
  readonly startedAt: EpochMs;
  readonly endedAt: EpochMs | undefined;
  readonly state: OperationState;
  /** Done once, before any machine is touched. */
  readonly steps: readonly OperationStep[];
  readonly machines: readonly OperationMachine[];
}

/** Where a step stands: of the operation itself (undefined), or of a machine. */
export interface StepPlace {
  readonly machineId: string | undefined;
  readonly name: StepName;
}

/** The steps of an operation, in their order. */
export function planSteps({ kind, action, students, destroyCluster }: OperationOrder): {
  readonly common: readonly StepName[];
  readonly each: readonly StepName[];
} {
  const powered: StepName[] = action === undefined ? [] : ["power"];
  switch (kind) {
    case "power":
      return { common: [], each: powered };
    case "assign":
      return {
        common: [],
        each: ["assign", ...powered, ...(powered.length ? (["boot", "ready"] as const) : [])],
      };
    case "reset":
      return {
        common: [
          ...(students ? (["students"] as const) : []),
          ...(destroyCluster ? (["cluster"] as const) : []),
        ],
        each: ["drain", "revoke", "power", "boot", "ready", "proof"],
      };
  }
}

const waiting = (name: StepName): OperationStep => ({
  name,
  state: "waiting",
  startedAt: undefined,
  at: undefined,
  message: undefined,
  code: undefined,
  facts: {},
});

export function planOperation(
  order: OperationOrder,
  machines: readonly { readonly id: string; readonly name: string }[],
  { id, actor, now }: { id: string; actor: string; now: EpochMs },
): Operation {
  const { common, each } = planSteps(order);
  return {
    id,
    order,
    actor,
    startedAt: now,
    endedAt: undefined,
    state: "running",
    steps: common.map(waiting),
    machines: machines.map((machine) => ({
      machineId: machine.id,
      name: machine.name,
      steps: each.map(waiting),
    })),
  };
}

const isThrough = ({ state }: OperationStep) => state === "done" || state === "skipped";

/** The step that is to be done now; undefined: there is none left, or one failed. */
function firstOpen(steps: readonly OperationStep[]): OperationStep | undefined {
  const step = steps.find((one) => !isThrough(one));
  return step?.state === "failed" ? undefined : step;
}

/** What is to be done now: the operation's own steps first, then the machines' side by side. */
export function dueSteps({ state, steps, machines }: Operation): StepPlace[] {
  if (state !== "running") return [];
  if (!steps.every(isThrough)) {
    const step = firstOpen(steps);
    return step ? [{ machineId: undefined, name: step.name }] : [];
  }
  return machines.flatMap(({ machineId, steps: own }) => {
    const step = firstOpen(own);
    return step ? [{ machineId, name: step.name }] : [];
  });
}

export function findStep(operation: Operation, { machineId, name }: StepPlace): OperationStep | undefined {
  const steps =
    machineId === undefined
      ? operation.steps
      : operation.machines.find((machine) => machine.machineId === machineId)?.steps;
  return steps?.find((step) => step.name === name);
}

/** What a step came to, or how far it is. */
export interface StepChange {
  readonly state: StepState;
  readonly message?: string | undefined;
  readonly code?: string | undefined;
  readonly facts?: OperationStep["facts"] | undefined;
}

/** The operation after a step changed; what follows a step that failed is skipped. */
export function changeStep(
  operation: Operation,
  place: StepPlace,
  change: StepChange,
  now: EpochMs,
): Operation {
  const after = (steps: readonly OperationStep[]): OperationStep[] => {
    const index = steps.findIndex(({ name }) => name === place.name);
    return steps.map((step, at): OperationStep => {
      if (at === index)
        return {
          ...step,
          state: change.state,
          startedAt: step.startedAt ?? now,
          at: step.state === change.state ? step.at : now,
          message: change.message,
          code: change.code,
          facts: change.facts ?? step.facts,
        };
      return at > index && change.state === "failed" ? skipped(step, now) : step;
    });
  };
  if (place.machineId === undefined) {
    const steps = after(operation.steps);
    // No machine is touched where what comes before all of them failed.
    const machines =
      change.state === "failed"
        ? operation.machines.map((machine) => ({
            ...machine,
            steps: machine.steps.map((step) => skipped(step, now)),
          }))
        : operation.machines;
    return { ...operation, steps, machines };
  }
  const machines = operation.machines.map((machine) =>
    machine.machineId === place.machineId ? { ...machine, steps: after(machine.steps) } : machine,
  );
  return { ...operation, machines };
}

function skipped(step: OperationStep, now: EpochMs): OperationStep {
  return step.state === "waiting" || step.state === "running" ? { ...step, state: "skipped", at: now } : step;
}

const isFailed = ({ state }: OperationStep) => state === "failed";

/** The operation as it ends when nothing is left to do; undefined: something is. */
export function endOperation(operation: Operation, now: EpochMs): Operation | undefined {
  if (operation.state !== "running" || dueSteps(operation).length > 0) return undefined;
  const hasFailed =
    operation.steps.some(isFailed) || operation.machines.some(({ steps }) => steps.some(isFailed));
  return { ...operation, state: hasFailed ? "failed" : "done", endedAt: now };
}

/** Nothing more is begun; what was ordered goes on by itself. */
export function cancelOperation(operation: Operation, now: EpochMs): Operation {
  return {
    ...operation,
    state: "cancelled",
    endedAt: now,
    steps: operation.steps.map((step) => skipped(step, now)),
    machines: operation.machines.map((machine) => ({
      ...machine,
      steps: machine.steps.map((step) => skipped(step, now)),
    })),
  };
}

export type MachineVerdict = "waiting" | "running" | "done" | "failed" | "skipped";

/** How one machine stands in an operation. */
export function verdictOf(operation: Operation, { steps }: OperationMachine): MachineVerdict {
  if (steps.some(isFailed)) return "failed";
  if (operation.state === "cancelled" && steps.some(({ state }) => state === "skipped")) return "skipped";
  if (operation.steps.some(isFailed)) return "skipped";
  if (steps.every(isThrough)) return "done";
  return steps.some(({ state }) => state !== "waiting") ? "running" : "waiting";
}

/** A machine that failed, or is done, is left alone by an operation that goes on with others. */
export function isAtWork(operation: Operation, machine: OperationMachine): boolean {
  const verdict = verdictOf(operation, machine);
  return verdict === "waiting" || verdict === "running";
}

/** Whether both ask for the same of the same machines: asked for twice, it is done once. */
export function isSameWork(
  operation: Operation,
  order: OperationOrder,
  machineIds: readonly string[],
): boolean {
  const key = ({ kind, action, target, students, destroyCluster }: OperationOrder) =>
    JSON.stringify([kind, action ?? null, target ?? null, students ?? false, destroyCluster ?? null]);
  const own = new Set(operation.machines.map(({ machineId }) => machineId));
  return (
    key(operation.order) === key(order) &&
    own.size === machineIds.length &&
    machineIds.every((id) => own.has(id))
  );
}
