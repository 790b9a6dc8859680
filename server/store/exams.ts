import type { Database } from "better-sqlite3";
import type { AssignedTarget } from "../domain/assignment.ts";
import type { Exam } from "../domain/exam.ts";
import type { CommitQueue } from "./commit-queue.ts";

interface Row {
  room: string;
  target: string;
  started_at_ms: number;
  started_by: string;
  ends_at_ms: number | null;
  ended_at_ms: number | null;
  ended_by: string | null;
}

/** The last exam of each room, under way or over. */
export function createExamRepository(db: Database, queue: CommitQueue) {
  const byRoom = new Map<string, Exam>();
  for (const row of db.prepare("SELECT * FROM exams").all() as Row[])
    byRoom.set(row.room, {
      room: row.room,
      target: JSON.parse(row.target) as AssignedTarget,
      startedAt: row.started_at_ms,
      startedBy: row.started_by,
      endsAt: row.ends_at_ms ?? undefined,
      endedAt: row.ended_at_ms ?? undefined,
      endedBy: row.ended_by ?? undefined,
    });
  const upsert = db.prepare(
    `INSERT OR REPLACE INTO exams (room, target, started_at_ms, started_by, ends_at_ms, ended_at_ms, ended_by)
     VALUES (?, ?, ?, ?, ?, ?, ?)`,
  );

  return {
    all: (): Exam[] => [...byRoom.values()],
    find: (room: string): Exam | undefined => byRoom.get(room),
    /**
     * Puts one in the place of the room's last one.
     * @param make asked in this very commit, with what stands there; undefined leaves it @returns the one that was put
     */
    put: (room: string, make: (before: Exam | undefined) => Exam | undefined): Promise<Exam | undefined> =>
      queue.run(({ onRollback }) => {
        const before = byRoom.get(room);
        const exam = make(before);
        if (!exam) return undefined;
        const { target, startedAt, startedBy, endsAt, endedAt, endedBy } = exam;
        upsert.run(
          room,
          JSON.stringify(target),
          startedAt,
          startedBy,
          endsAt ?? null,
          endedAt ?? null,
          endedBy ?? null,
        );
        byRoom.set(room, exam);
        onRollback(() => (before ? byRoom.set(room, before) : byRoom.delete(room)));
        return exam;
      }),
  };
}
export type ExamRepository = ReturnType<typeof createExamRepository>;
