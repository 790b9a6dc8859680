import type { OperationKind, OperationState } from "../../domain/operation.ts";
import type { PowerAction } from "../../domain/power.ts";
import { visibleText } from "../parts/visible-text.ts";
import { say, type WordKey } from "../words.ts";

/** What operations are called. */

const steps: Readonly<Record<string, WordKey & `step.${string}`>> = {
  students: "step.students",
  cluster: "step.cluster",
  assign: "step.assign",
  drain: "step.drain",
  revoke: "step.revoke",
  power: "step.power",
  boot: "step.boot",
  ready: "step.ready",
  proof: "step.proof",
};

/** A step by its name in the API; one that is newer than this page keeps it. */
export function stepText(name: string): string {
  const key = steps[name];
  return key === undefined ? visibleText(name, 40) : say(key);
}

const actions = {
  on: "operation.powerOn",
  off: "operation.powerOff",
  cycle: "operation.powerCycle",
} as const;

export function operationText({
  kind,
  action,
  target,
}: {
  readonly kind: OperationKind;
  readonly action: PowerAction | null;
  readonly target: string | null;
}): string {
  switch (kind) {
    case "assign":
      return say("operation.assign", { target: visibleText(target ?? "", 60) });
    case "power":
      return action === null ? say("operation.power") : say(actions[action]);
    case "reset":
      return say("operation.reset");
  }
}

const states = {
  running: "operation.running",
  done: "operation.done",
  failed: "operation.failedState",
  cancelled: "operation.cancelled",
} as const;

export const operationStateText = (state: OperationState): string => say(states[state]);
