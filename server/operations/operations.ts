import type { Clock, Ids } from "../domain/capabilities.ts";
import { OperationEnded, OperationNotFound, OperationUnderWay } from "../domain/error-catalogue.ts";
import type { RecordEvent } from "../domain/event.ts";
import type { Machine } from "../domain/machine.ts";
import {
  changeStep,
  endOperation,
  isAtWork,
  isSameWork,
  type Operation,
  type OperationMachine,
  type OperationOrder,
  planOperation,
} from "../domain/operation.ts";
import type { OperationPosition, OperationRepository } from "../store/operations.ts";
import type { Runner } from "./runner.ts";
import { describeOperation } from "./telling.ts";

export interface OperationsDeps {
  readonly clock: Clock;
  readonly ids: Ids;
  readonly record: RecordEvent;
  readonly operations: OperationRepository;
  readonly runner: Runner;
}

/** Long work on machines: begun, looked at, cancelled, taken up again. */
export function createOperations({ clock, ids, record, operations, runner }: OperationsDeps) {
  /** Being written down: nobody may begin another on the same machines meanwhile. */
  const beginning = new Set<Operation>();

  /**
   * The operation that does the same to the same machines already; undefined: there is none, and none is in the way.
   * @throws OperationUnderWay
   */
  function findSame(order: OperationOrder, machines: readonly Machine[]): Operation | undefined {
    const ids = machines.map(({ id }) => id);
    const wanted = new Set(ids);
    for (const operation of [...beginning, ...runner.running()]) {
      if (isSameWork(operation, order, ids)) return operation;
      const shared = operation.machines.filter(
        (machine) => wanted.has(machine.machineId) && isAtWork(operation, machine),
      );
      if (shared.length === 0) continue;
      throw OperationUnderWay({ operation: operation.id, machines: inWords(shared.map(({ name }) => name)) });
    }
    return undefined;
  }

  async function add(operation: Operation): Promise<void> {
    await operations.add(operation);
    record({
      type: "operation.started",
      actor: operation.actor,
      message: describeOperation(operation),
      data: { operation: operation.id, ...operation.order, machines: operation.machines.length },
    });
  }

  return {
    findSame,

    /**
     * Begins an operation; asked for once more while it goes on, it is the same one. @throws OperationUnderWay
     */
    async begin(order: OperationOrder, machines: readonly Machine[], actor: string): Promise<Operation> {
      const same = findSame(order, machines);
      if (same) return same;
      const operation = planOperation(order, machines, { id: ids.id("op"), actor, now: clock.now() });
      beginning.add(operation);
      try {
        await add(operation);
        runner.run(operation);
      } finally {
        beginning.delete(operation);
      }
      return operation;
    },

    /** Notes an assignment that is done already. */
    async noteAssigned(
      order: OperationOrder,
      machines: readonly Machine[],
      actor: string,
    ): Promise<Operation> {
      const now = clock.now();
      const planned = planOperation(order, machines, { id: ids.id("op"), actor, now });
      const done = machines.reduce(
        (operation, { id: machineId }) =>
          changeStep(operation, { machineId, name: "assign" }, { state: "done", message: order.target }, now),
        planned,
      );
      const ended = endOperation(done, now) ?? done;
      await operations.add(ended);
      return ended;
    },

    /** @throws OperationNotFound */
    get(id: string): Operation {
      const found = runner.find(id) ?? operations.find(id);
      if (!found) throw OperationNotFound({ id });
      return found;
    },
    running: runner.running,
    /** Those under way as they are now, and the newest that ended; newest first. */
    newest: (limit: number, before?: OperationPosition): Operation[] =>
      operations.newest(limit, before).map((stored) => runner.find(stored.id) ?? stored),
    /** Resolves at its end; at once for one that has ended. */
    ended: async (id: string): Promise<Operation | undefined> =>
      (await runner.ended(id)) ?? operations.find(id),

    /** @throws OperationNotFound, OperationEnded */
    async cancel(id: string): Promise<Operation> {
      const found = runner.find(id) ?? operations.find(id);
      if (!found) throw OperationNotFound({ id });
      const cancelled = await runner.cancel(id);
      if (!cancelled) throw OperationEnded({ id, state: found.state });
      return cancelled;
    },

    /** Machines that resets are about to take out of the cluster. */
    leavingCluster(): Set<string> {
      const resets = [...beginning, ...runner.running()].filter(({ order }) => order.kind === "reset");
      const isAhead = ({ steps }: OperationMachine) =>
        steps.some(({ name, state }) => name === "drain" && (state === "waiting" || state === "running"));
      return new Set(resets.flatMap(({ machines }) => machines.filter(isAhead).map((one) => one.machineId)));
    },

    /** Is a machine in an operation that is under way? */
    isAtWorkOn: (machineId: string): boolean =>
      runner.running().some(({ machines }) => machines.some((machine) => machine.machineId === machineId)),

    /** Takes up what was under way when the server ended. */
    resume(): void {
      for (const operation of operations.running()) runner.run(operation);
    },
    nudge: runner.nudge,
    stop: runner.stop,
  };
}
export type Operations = ReturnType<typeof createOperations>;

/** `s4, s5 and 28 more` */
function inWords(names: readonly string[]): string {
  return names.length <= 4
    ? names.join(", ")
    : `${names.slice(0, 3).join(", ")} and ${names.length - 3} more`;
}
