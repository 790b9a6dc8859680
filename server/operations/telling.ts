import type { NewEvent } from "../domain/event.ts";
import { findStep, type Operation, type StepPlace, verdictOf } from "../domain/operation.ts";

/** `reset of s4`, `power cycle of 30 machines` */
export function describeOperation({ order, machines }: Operation): string {
  const { kind, action, target } = order;
  const [first] = machines;
  const whom = machines.length === 1 && first ? first.name : `${machines.length} machines`;
  switch (kind) {
    case "assign":
      return `${target ?? "role"} for ${whom}`;
    case "power":
      return `power ${action ?? ""} of ${whom}`;
    case "reset":
      return `reset of ${whom}`;
  }
}

/** The event of a step, and whether it is worth a row. */
export function tellStep(operation: Operation, place: StepPlace): { event: NewEvent; isKept: boolean } {
  const step = findStep(operation, place);
  const machine = operation.machines.find(({ machineId }) => machineId === place.machineId);
  const isKept = step?.state === "failed" && machine !== undefined;
  const who = machine?.name ?? describeOperation(operation);
  const { state = "waiting", message, code } = step ?? {};
  return {
    isKept,
    event: {
      type: isKept ? "operation.failed" : "operation.step",
      level: isKept ? "warning" : "info",
      machineId: place.machineId,
      message: `${who}: ${place.name} ${state}${message === undefined ? "" : `: ${message}`}`,
      data: { operation: operation.id, step: place.name, state, ...(code === undefined ? {} : { code }) },
    },
  };
}

export function tellEnd(operation: Operation): NewEvent {
  const failed = operation.machines.filter((machine) => verdictOf(operation, machine) === "failed").length;
  const ended = `${describeOperation(operation)}: ${operation.state}`;
  return {
    type: "operation.ended",
    level: operation.state === "failed" ? "warning" : "info",
    message: failed === 0 ? ended : `${ended}, ${failed} of ${operation.machines.length} did not get through`,
    data: { operation: operation.id, state: operation.state, failed },
  };
}
