import type { Database } from "better-sqlite3";
import type { AssignedTarget, Assignment, AssignmentMode } from "../domain/assignment.ts";
import type { CommitQueue, Transaction } from "./commit-queue.ts";

interface Row {
  id: string;
  machine_id: string | null;
  group_name: string | null;
  mode: AssignmentMode;
  target: string;
  assigned_at_ms: number;
  assigned_by: string;
}

function fromRow(row: Row): Assignment {
  return {
    id: row.id,
    subject:
      row.machine_id === null
        ? { kind: "group", group: row.group_name ?? "" }
        : { kind: "machine", machineId: row.machine_id },
    target: JSON.parse(row.target) as AssignedTarget,
    mode: row.mode,
    assignedAt: row.assigned_at_ms,
    assignedBy: row.assigned_by,
  };
}

function keyOf(subject: Assignment["subject"], mode: AssignmentMode): string {
  return `${mode}/${subject.kind === "machine" ? `m/${subject.machineId}` : `g/${subject.group}`}`;
}

export function createAssignmentRepository(db: Database, queue: CommitQueue) {
  const bySubject = new Map<string, Assignment>();
  for (const row of db.prepare("SELECT * FROM assignments").all() as Row[]) {
    const assignment = fromRow(row);
    bySubject.set(keyOf(assignment.subject, assignment.mode), assignment);
  }
  const drop = db.prepare("DELETE FROM assignments WHERE id = ?");
  const insert = db.prepare(
    `INSERT INTO assignments (id, machine_id, group_name, mode, target, assigned_at_ms, assigned_by)
     VALUES (?, ?, ?, ?, ?, ?, ?)`,
  );

  function put(key: string, next: Assignment | undefined, { onRollback }: Transaction): void {
    const before = bySubject.get(key);
    if (before) drop.run(before.id);
    if (next) {
      const { subject } = next;
      insert.run(
        next.id,
        subject.kind === "machine" ? subject.machineId : null,
        subject.kind === "group" ? subject.group : null,
        next.mode,
        JSON.stringify(next.target),
        next.assignedAt,
        next.assignedBy,
      );
      bySubject.set(key, next);
    } else bySubject.delete(key);
    onRollback(() => (before ? bySubject.set(key, before) : bySubject.delete(key)));
  }

  return {
    all: (): Assignment[] => [...bySubject.values()],
    find: (subject: Assignment["subject"], mode: AssignmentMode): Assignment | undefined =>
      bySubject.get(keyOf(subject, mode)),
    /** Puts all of them in place of the former ones of the same subjects and modes, in one commit. */
    saveAll: (assignments: readonly Assignment[]): Promise<void> =>
      queue.run((transaction) => {
        for (const assignment of assignments)
          put(keyOf(assignment.subject, assignment.mode), assignment, transaction);
      }),
    removeAll: (which: readonly { subject: Assignment["subject"]; mode: AssignmentMode }[]): Promise<void> =>
      queue.run((transaction) => {
        for (const { subject, mode } of which) put(keyOf(subject, mode), undefined, transaction);
      }),
    /**
     * Removes each of these only if it is still the current one of its subject and mode: what was assigned since stays.
     * @returns those that were removed
     */
    removeExactly: (assignments: readonly Assignment[]): Promise<Assignment[]> =>
      queue.run((transaction) =>
        assignments.filter((assignment) => {
          const key = keyOf(assignment.subject, assignment.mode);
          if (bySubject.get(key)?.id !== assignment.id) return false;
          put(key, undefined, transaction);
          return true;
        }),
      ),
    /** Drops from memory what the database dropped with the machine or group. */
    forget(subject: Assignment["subject"]): void {
      bySubject.delete(keyOf(subject, "always"));
      bySubject.delete(keyOf(subject, "once"));
    },
  };
}
export type AssignmentRepository = ReturnType<typeof createAssignmentRepository>;
