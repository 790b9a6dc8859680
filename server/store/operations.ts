import type { Database } from "better-sqlite3";
import type { Operation, OperationMachine, OperationState, OperationStep } from "../domain/operation.ts";
import type { CommitQueue } from "./commit-queue.ts";

interface Row {
  id: string;
  request: string;
  actor: string;
  state: OperationState;
  started_at_ms: number;
  ended_at_ms: number | null;
  steps: string;
}
interface MachineRow {
  machine_id: string;
  name: string;
  steps: string;
}

/** JSON leaves `undefined` out. */
function readSteps(text: string): OperationStep[] {
  return (
    JSON.parse(text) as (Pick<OperationStep, "name" | "state" | "facts"> & Partial<OperationStep>)[]
  ).map((step) => ({
    name: step.name,
    state: step.state,
    startedAt: step.startedAt,
    at: step.at,
    message: step.message,
    code: step.code,
    facts: step.facts,
  }));
}

/** Operations that have ended are kept, the newest ones. */
const keptEnded = 200;

/** A place in the list of operations; two may begin in the same millisecond. */
export type OperationPosition = Pick<Operation, "startedAt" | "id">;

/** Long work on machines: each transition is on the disk before the next one begins. */
export function createOperationRepository(db: Database, queue: CommitQueue) {
  const insert = db.prepare(
    `INSERT INTO operations (id, kind, request, actor, state, started_at_ms, ended_at_ms, steps)
     VALUES (?, ?, ?, ?, ?, ?, ?, ?)`,
  );
  const insertMachine = db.prepare(
    "INSERT INTO operation_machines (operation_id, position, machine_id, name, steps) VALUES (?, ?, ?, ?, ?)",
  );
  const updateSteps = db.prepare("UPDATE operations SET steps = ? WHERE id = ?");
  const updateMachine = db.prepare(
    "UPDATE operation_machines SET steps = ? WHERE operation_id = ? AND position = ?",
  );
  const updateEnd = db.prepare("UPDATE operations SET state = ?, ended_at_ms = ?, steps = ? WHERE id = ?");
  const deleteOld = db.prepare(
    `DELETE FROM operations WHERE id IN
       (SELECT id FROM operations WHERE state <> 'running' ORDER BY started_at_ms DESC, id DESC LIMIT 100 OFFSET ${keptEnded})`,
  );
  const selectOne = db.prepare("SELECT * FROM operations WHERE id = ?");
  const selectMachines = db.prepare(
    "SELECT machine_id, name, steps FROM operation_machines WHERE operation_id = ? ORDER BY position",
  );
  const selectRunning = db.prepare("SELECT * FROM operations WHERE state = 'running' ORDER BY started_at_ms");
  const selectNewest = db.prepare(
    `SELECT * FROM operations WHERE (started_at_ms, id) < (?, ?) ORDER BY started_at_ms DESC, id DESC LIMIT ?`,
  );

  function fromRow(row: Row): Operation {
    const machines = (selectMachines.all(row.id) as MachineRow[]).map(
      ({ machine_id: machineId, name, steps }): OperationMachine => ({
        machineId,
        name,
        steps: readSteps(steps),
      }),
    );
    return {
      id: row.id,
      order: JSON.parse(row.request) as Operation["order"],
      actor: row.actor,
      state: row.state,
      startedAt: row.started_at_ms,
      endedAt: row.ended_at_ms ?? undefined,
      steps: readSteps(row.steps),
      machines,
    };
  }

  return {
    add: (operation: Operation): Promise<void> =>
      queue.run(() => {
        const { id, order, actor, state, startedAt, endedAt, steps, machines } = operation;
        insert.run(
          id,
          order.kind,
          JSON.stringify(order),
          actor,
          state,
          startedAt,
          endedAt ?? null,
          JSON.stringify(steps),
        );
        machines.forEach((machine, position) =>
          insertMachine.run(id, position, machine.machineId, machine.name, JSON.stringify(machine.steps)),
        );
        if (endedAt !== undefined) deleteOld.run();
      }),
    /** The operation's own steps, or those of one machine, as they are now. */
    saveSteps: (operation: Operation, machineId: string | undefined): Promise<void> =>
      queue.run(() => {
        const { id, steps, machines } = operation;
        if (machineId === undefined) return void updateSteps.run(JSON.stringify(steps), id);
        const position = machines.findIndex((machine) => machine.machineId === machineId);
        updateMachine.run(JSON.stringify(machines[position]?.steps ?? []), id, position);
      }),
    /** All of it, at its end. */
    saveEnd: (operation: Operation): Promise<void> =>
      queue.run(() => {
        const { id, state, endedAt, steps, machines } = operation;
        updateEnd.run(state, endedAt ?? null, JSON.stringify(steps), id);
        machines.forEach((machine, position) =>
          updateMachine.run(JSON.stringify(machine.steps), id, position),
        );
        deleteOld.run();
      }),
    find(id: string): Operation | undefined {
      const row = selectOne.get(id) as Row | undefined;
      return row && fromRow(row);
    },
    running: (): Operation[] => (selectRunning.all() as Row[]).map(fromRow),
    /** Newest first. @param before the operation after which the list goes on, to older ones */
    newest: (
      limit: number,
      before: OperationPosition = { startedAt: Number.MAX_SAFE_INTEGER, id: "" },
    ): Operation[] => (selectNewest.all(before.startedAt, before.id, limit) as Row[]).map(fromRow),
  };
}
export type OperationRepository = ReturnType<typeof createOperationRepository>;
