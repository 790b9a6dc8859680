import type { Database } from "better-sqlite3";
import type {
  AssignedTarget,
  Assignment,
  AssignmentChange,
  AssignmentChangeEntry,
  AssignmentMode,
  PastChange,
} from "../domain/assignment.ts";
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

interface ChangeRow {
  id: string;
  at_ms: number;
  actor: string;
  message: string;
  entries: string;
  undone_at_ms: number | null;
  undone_by: string | null;
}
type NewChange = Omit<AssignmentChange, "entries">;
/** Changes kept for being taken back, the newest ones. */
const keptChanges = 100;
/** Changes that the history tells of: of the older ones who, when, what and to whom, and not what stood there before. */
const toldChanges = 1000;

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

  const insertChange = db.prepare(
    "INSERT INTO assignment_changes (id, at_ms, actor, message, entries) VALUES (?, ?, ?, ?, ?)",
  );
  const deleteOldChanges = db.prepare(
    `DELETE FROM assignment_changes WHERE rowid <= (SELECT max(rowid) FROM assignment_changes) - ${toldChanges}`,
  );
  const slimOldChange = db.prepare(
    `UPDATE assignment_changes SET entries =
       (SELECT json_group_array(json_object('subject', json_extract(value, '$.subject'))) FROM json_each(entries))
     WHERE rowid = (SELECT max(rowid) FROM assignment_changes) - ${keptChanges}`,
  );
  const selectHistory = db.prepare("SELECT * FROM assignment_changes ORDER BY rowid DESC");
  const selectChanges = db.prepare(
    `SELECT * FROM assignment_changes WHERE undone_at_ms IS NULL
       AND rowid > (SELECT max(rowid) FROM assignment_changes) - ${keptChanges} ORDER BY rowid DESC`,
  );
  const markUndone = db.prepare(
    "UPDATE assignment_changes SET undone_at_ms = ?, undone_by = ? WHERE id = ? AND undone_at_ms IS NULL",
  );

  function put(
    subject: Assignment["subject"],
    mode: AssignmentMode,
    next: Assignment | undefined,
    { onRollback }: Transaction,
  ): AssignmentChangeEntry {
    const key = keyOf(subject, mode);
    const before = bySubject.get(key);
    if (before) drop.run(before.id);
    if (next) {
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
    return { subject, mode, before, after: next };
  }

  function note(change: NewChange | undefined, entries: readonly AssignmentChangeEntry[]): void {
    if (!change || entries.length === 0) return;
    insertChange.run(change.id, change.at, change.actor, change.message, JSON.stringify(entries));
    slimOldChange.run();
    deleteOldChanges.run();
  }

  return {
    all: (): Assignment[] => [...bySubject.values()],
    find: (subject: Assignment["subject"], mode: AssignmentMode): Assignment | undefined =>
      bySubject.get(keyOf(subject, mode)),
    /**
     * Puts all of them in place of the former ones of the same subjects and modes, in one commit.
     * @param change whose doing it is, if it is to be taken back some day
     */
    saveAll: (assignments: readonly Assignment[], change?: NewChange): Promise<void> =>
      queue.run((transaction) =>
        note(
          change,
          assignments.map((assignment) => put(assignment.subject, assignment.mode, assignment, transaction)),
        ),
      ),
    removeAll: (
      which: readonly { subject: Assignment["subject"]; mode: AssignmentMode }[],
      change?: NewChange,
    ): Promise<void> =>
      queue.run((transaction) =>
        note(
          change,
          which
            .filter(({ subject, mode }) => bySubject.has(keyOf(subject, mode)))
            .map(({ subject, mode }) => put(subject, mode, undefined, transaction)),
        ),
      ),
    /** What people changed and nobody took back, newest first. */
    changes: (): AssignmentChange[] =>
      (selectChanges.all() as ChangeRow[]).map((row) => ({
        id: row.id,
        at: row.at_ms,
        actor: row.actor,
        message: row.message,
        entries: JSON.parse(row.entries) as AssignmentChangeEntry[],
      })),
    /** All that is known of what people changed, newest first. */
    history: function* (): Generator<PastChange> {
      for (const row of selectHistory.all() as ChangeRow[])
        yield {
          id: row.id,
          at: row.at_ms,
          actor: row.actor,
          message: row.message,
          subjects: (JSON.parse(row.entries) as AssignmentChangeEntry[]).map(({ subject }) => subject),
          undoneAt: row.undone_at_ms ?? undefined,
          undoneBy: row.undone_by ?? undefined,
        };
    },
    /**
     * Puts back what stood there before a change, in one commit.
     * @returns false, and nothing is done, when one of the places holds something else by now, or the change is taken back already
     */
    takeBack: (
      change: Pick<AssignmentChange, "id" | "entries">,
      atMs: number,
      actor: string,
    ): Promise<boolean> =>
      queue.run((transaction) => {
        const stands = change.entries.every(
          ({ subject, mode, after }) => bySubject.get(keyOf(subject, mode))?.id === after?.id,
        );
        if (!stands || markUndone.run(atMs, actor, change.id).changes === 0) return false;
        for (const { subject, mode, before } of change.entries) put(subject, mode, before, transaction);
        return true;
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
          put(assignment.subject, assignment.mode, undefined, transaction);
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
