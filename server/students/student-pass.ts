import type { Clock, Log } from "../domain/capabilities.ts";
import {
  KubernetesConflict,
  KubernetesObjectMissing,
  KubernetesUnreachable,
} from "../domain/error-catalogue.ts";
import type { RecordEvent } from "../domain/event.ts";
import { mostUnanswered, patientTries, retryWaitMs } from "../domain/patience.ts";
import type { Student, StudentStanding, StudentState } from "../domain/student.ts";
import { studentObjects, type StudentRules } from "../domain/student-objects.ts";
import type { StudentNamespaces } from "../kubernetes/student-namespaces.ts";
import type { StudentRepository } from "../store/students.ts";

export interface StudentPassDeps {
  readonly clock: Clock;
  readonly log: Log;
  readonly record: RecordEvent;
  readonly random: () => number;
  readonly store: StudentRepository;
  readonly namespaces: Pick<StudentNamespaces, "apply" | "end">;
  readonly rules: StudentRules;
}

/** Students whose objects are made or removed at the same time. */
const atOnce = 4;
/** What is so is made so again after this, ms: somebody may have removed a part of it. */
const lookAgainMs = 5 * 60_000;

/** How far the cluster of this generation is with one student. */
interface Entry {
  /** When all was applied; undefined: not yet. */
  readonly appliedAtMs: number | undefined;
  readonly tries: number;
  readonly retryAtMs: number;
  readonly problem: string | undefined;
  /** What a namespace that ends still waits for. */
  readonly left: string | undefined;
}

const nothingYet: Entry = {
  appliedAtMs: undefined,
  tries: 0,
  retryAtMs: 0,
  problem: undefined,
  left: undefined,
};

export type StudentPass = ReturnType<typeof createStudentPass>;

/**
 * Makes of the rows what they say, and goes on until it is so. What it knows of the cluster is in memory alone: after a start of the server
 * all is made once more, which changes nothing that is so already.
 */
export function createStudentPass(deps: StudentPassDeps) {
  const { clock, log, record, random, store, namespaces, rules } = deps;
  const entries = new Map<string, Entry>();
  let generation = 0;
  /** Told of the cluster since this process began; before, generation 0 says nothing. */
  let isTold = false;
  let setUps = 0;
  let isUp = false;
  let isStopped = false;
  let isAgain = false;
  let running: Promise<void> | undefined;

  const entryOf = (name: string): Entry => entries.get(name) ?? nothingYet;
  const note = (name: string, change: Partial<Entry>) => entries.set(name, { ...entryOf(name), ...change });

  function isDue({ name, leaving }: Student): boolean {
    const { appliedAtMs, retryAtMs } = entryOf(name);
    const now = clock.monotonicMs();
    if (retryAtMs > now) return false;
    return leaving !== undefined || appliedAtMs === undefined || appliedAtMs + lookAgainMs <= now;
  }

  async function forget({ name, leaving }: Student, what: string): Promise<void> {
    await store.remove(name);
    entries.delete(name);
    record({
      type: "student.deleted",
      message: `the student ${name} is deleted: ${what}`,
      data: { student: name },
      ...(leaving === undefined ? {} : { actor: leaving.by }),
    });
  }

  async function apply(student: Student): Promise<void> {
    const { name } = student;
    const isWanted = () => {
      const known = store.find(name);
      return !isStopped && known !== undefined && known.leaving === undefined;
    };
    // Before the first request: whoever deletes the student from now on has to look into the cluster.
    if (!student.isInCluster)
      await store.update(name, (known) =>
        known === undefined || known.leaving ? undefined : { ...known, isInCluster: true },
      );
    if (!isWanted()) return;
    await namespaces.apply(name, studentObjects(name, rules), isWanted);
    if (isWanted()) entries.set(name, { ...nothingYet, appliedAtMs: clock.monotonicMs() });
  }

  async function end(student: Student): Promise<void> {
    const { name } = student;
    const found = await namespaces.end(name);
    if (isStopped) return;
    if (found.kind === "gone") return forget(student, "nothing of theirs is left in the cluster");
    if (found.kind === "foreign")
      return forget(student, `the namespace ${name} was never theirs, and is left alone`);
    entries.set(name, { ...nothingYet, left: found.left });
  }

  /** @returns whether the API server gave an answer */
  async function work(student: Student): Promise<boolean> {
    const { name, leaving } = student;
    const round = generation;
    try {
      await (leaving ? end(student) : apply(student));
      return true;
    } catch (error) {
      if (isStopped || generation !== round || !store.find(name)) return true;
      fail(student, error);
      return !KubernetesUnreachable.is(error) || error.details["status"] !== undefined;
    }
  }

  function fail({ name, leaving }: Student, error: unknown): void {
    const before = entryOf(name);
    const tries = before.tries + 1;
    const mayPass =
      KubernetesUnreachable.is(error) || KubernetesConflict.is(error) || KubernetesObjectMissing.is(error);
    const retryAtMs = clock.monotonicMs() + retryWaitMs(tries, mayPass, random());
    const reason = error instanceof Error ? error.message : String(error);
    const isProblem = !mayPass || tries >= patientTries;
    note(name, { tries, retryAtMs, ...(isProblem ? { problem: reason } : {}) });
    log.warn({ err: error, student: name }, "a student in the cluster");
    if (!isProblem || before.problem !== undefined) return;
    record({
      type: "student.problem",
      level: "warning",
      message: `the student ${name} ${leaving ? "could not be deleted" : "is not ready"}: ${reason}`,
      data: { student: name, reason },
    });
  }

  /**
   * Those of whom no cluster has anything are gone with their row. Not on the word of a server that has just begun: namespaces and tokens
   * would stay, and nobody would know of them any more.
   */
  async function forgetAbsent(): Promise<void> {
    for (const student of store.all())
      if (student.leaving && ((isTold && generation === 0) || !student.isInCluster))
        await forget(student, "no cluster has anything of theirs");
  }

  /** Each student that is due, a few at a time, so that a class is no flood. */
  async function round(): Promise<void> {
    await forgetAbsent();
    const started = generation;
    const due = store
      .all()
      .filter(isDue)
      // Who was tried less often comes first, so that what gets no answer keeps nobody else waiting.
      .sort((left, right) => entryOf(left.name).tries - entryOf(right.name).tries);
    let unanswered = 0;
    const isGoingOn = () => isUp && !isStopped && generation === started && unanswered < mostUnanswered;
    const takeTurns = async (): Promise<void> => {
      for (let next = due.shift(); next && isGoingOn(); next = due.shift())
        unanswered = (await work(next)) ? 0 : unanswered + 1;
    };
    await Promise.all(Array.from({ length: atOnce }, takeTurns));
  }

  /** Begins a round; where one goes on, another follows it. */
  function start(): void {
    if (isStopped) return;
    if (running) {
      isAgain = true;
      return;
    }
    isAgain = false;
    running = round()
      .catch((error: unknown) => {
        if (!isStopped) log.warn({ err: error }, "students");
      })
      .finally(() => {
        running = undefined;
        if (isAgain) start();
      });
  }

  return {
    start,
    /** Something else is wanted of this student from now on: what failed before says nothing of it. */
    beginAnew(name: string): void {
      entries.delete(name);
      start();
    },
    follow(now: { readonly generation: number; readonly setUps: number; readonly isUp: boolean }): void {
      isUp = now.isUp;
      isTold = true;
      if (now.generation !== generation || now.setUps !== setUps) {
        ({ generation, setUps } = now);
        entries.clear();
      }
      if (!running) start();
    },
    get generation(): number {
      return generation;
    },
    get isUp(): boolean {
      return isUp;
    },
    standingOf({ name, leaving }: Student): StudentStanding {
      const { appliedAtMs, problem, left } = entryOf(name);
      const noCluster = isUp
        ? undefined
        : generation === 0
          ? "there is no cluster yet"
          : "the cluster is not up";
      const standing = (state: StudentState, why: string | undefined): StudentStanding => ({
        state,
        problem: why,
        waitsForCluster: !isUp && state !== "failed",
      });
      if (leaving) return standing("leaving", noCluster ?? problem ?? left);
      if (problem !== undefined) return standing("failed", problem);
      if (isUp && appliedAtMs !== undefined) return standing("ready", undefined);
      return standing("waiting", noCluster);
    },
    /** Resolves when no round goes on. */
    async settled(): Promise<void> {
      while (running) await running;
    },
    /** Begins nothing more, and writes nothing down. Resolves when the round that goes on is through. */
    async stop(): Promise<void> {
      isStopped = true;
      await running;
    },
  };
}
