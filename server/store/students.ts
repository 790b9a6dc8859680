import type { Database } from "better-sqlite3";
import { keptTokens, type Student, type StudentToken } from "../domain/student.ts";
import type { CommitQueue, Transaction } from "./commit-queue.ts";

interface StudentRow {
  name: string;
  asked: string | null;
  created_at_ms: number;
  created_by: string;
  is_in_cluster: number;
  leaving_since_ms: number | null;
  leaving_by: string | null;
}

interface TokenRow {
  student: string;
  issued_at_ms: number;
  expires_at_ms: number;
  issued_by: string;
  generation: number;
}

/** Students, and that they were given tokens: a snapshot in memory. */
export function createStudentRepository(db: Database, queue: CommitQueue) {
  const students = new Map<string, Student>();
  const tokens = new Map<string, readonly StudentToken[]>();
  for (const row of db.prepare("SELECT * FROM students ORDER BY name").all() as StudentRow[])
    students.set(row.name, readStudent(row));
  for (const row of db.prepare("SELECT * FROM student_tokens ORDER BY seq DESC").all() as TokenRow[])
    tokens.set(row.student, [...(tokens.get(row.student) ?? []), readToken(row)]);
  const upsert = db.prepare(
    `INSERT INTO students (name, asked, created_at_ms, created_by, is_in_cluster, leaving_since_ms, leaving_by) VALUES (?, ?, ?, ?, ?, ?, ?)
     ON CONFLICT (name) DO UPDATE SET is_in_cluster = excluded.is_in_cluster, leaving_since_ms = excluded.leaving_since_ms,
       leaving_by = excluded.leaving_by`,
  );
  const drop = db.prepare("DELETE FROM students WHERE name = ?");
  const insertToken = db.prepare(
    "INSERT INTO student_tokens (student, issued_at_ms, expires_at_ms, issued_by, generation) VALUES (?, ?, ?, ?, ?)",
  );
  const trimTokens = db.prepare(
    `DELETE FROM student_tokens WHERE student = @student AND seq <=
       (SELECT seq FROM student_tokens WHERE student = @student ORDER BY seq DESC LIMIT 1 OFFSET ${keptTokens})`,
  );

  function put(next: Student, { onRollback }: Transaction): void {
    const before = students.get(next.name);
    const { name, asked, createdAt, createdBy, isInCluster, leaving } = next;
    upsert.run(
      name,
      asked ?? null,
      createdAt,
      createdBy,
      isInCluster ? 1 : 0,
      leaving?.since ?? null,
      leaving?.by ?? null,
    );
    students.set(name, next);
    onRollback(() => (before ? students.set(name, before) : students.delete(name)));
  }

  return {
    find: (name: string): Student | undefined => students.get(name),
    all: (): Student[] => [...students.values()],
    count: (): number => students.size,
    /** The newest first. */
    tokensOf: (name: string): readonly StudentToken[] => tokens.get(name) ?? [],
    /**
     * Changes one student inside one commit. @param change sees the newest state; undefined leaves it; what it throws leaves it too
     * @returns the student as it is then
     */
    update: (
      name: string,
      change: (known: Student | undefined) => Student | undefined,
    ): Promise<Student | undefined> =>
      queue.run((transaction) => {
        const before = students.get(name);
        const next = change(before);
        if (!next || next === before) return before;
        put(next, transaction);
        return next;
      }),
    /** @returns false when there was none */
    remove: (name: string): Promise<boolean> =>
      queue.run(({ onRollback }) => {
        const before = students.get(name);
        const given = tokens.get(name);
        if (!before) return false;
        drop.run(name);
        students.delete(name);
        tokens.delete(name);
        onRollback(() => {
          students.set(name, before);
          if (given) tokens.set(name, given);
        });
        return true;
      }),
    /** Notes that a token was given; nothing where the student is gone meanwhile. */
    noteToken: (name: string, token: StudentToken): Promise<void> =>
      queue.run(({ onRollback }) => {
        if (!students.has(name)) return;
        const before = tokens.get(name) ?? [];
        insertToken.run(name, token.issuedAt, token.expiresAt, token.issuedBy, token.generation);
        trimTokens.run({ student: name });
        tokens.set(name, [token, ...before].slice(0, keptTokens));
        onRollback(() => tokens.set(name, before));
      }),
  };
}
export type StudentRepository = ReturnType<typeof createStudentRepository>;

const readStudent = (row: StudentRow): Student => ({
  name: row.name,
  asked: row.asked ?? undefined,
  createdAt: row.created_at_ms,
  createdBy: row.created_by,
  isInCluster: row.is_in_cluster === 1,
  leaving:
    row.leaving_since_ms === null ? undefined : { since: row.leaving_since_ms, by: row.leaving_by ?? "" },
});

const readToken = (row: TokenRow): StudentToken => ({
  issuedAt: row.issued_at_ms,
  expiresAt: row.expires_at_ms,
  issuedBy: row.issued_by,
  generation: row.generation,
});
