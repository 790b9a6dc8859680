import { type AssignedTarget, describeActor, describeTarget, localActor } from "../domain/assignment.ts";
import type { Clock, EpochMs } from "../domain/capabilities.ts";
import {
  ExamNotFound,
  ExamRoleUnfit,
  ExamUnderWay,
  GroupNotFound,
  InvalidRequest,
} from "../domain/error-catalogue.ts";
import type { RollcallError } from "../domain/errors.ts";
import type { RecordEvent } from "../domain/event.ts";
import { describeExam, type Exam, isUnderWay, leadsIntoExam, untilWhen } from "../domain/exam.ts";
import type { Machine } from "../domain/machine.ts";
import { isAtWork, type Operation } from "../domain/operation.ts";
import type { Role } from "../domain/role.ts";
import { waitsForPeople } from "../domain/role.ts";
import type { ExamRepository } from "../store/exams.ts";
import type { Inventory } from "./inventory.ts";

/** Who wants to change something. */
export interface Asker {
  /** Name of the token, or `localActor`. */
  readonly actor: string;
  /** An administrator who said that the exam shall not stop it. */
  readonly overridesExam: boolean;
}

export interface ExamsDeps {
  readonly clock: Clock;
  readonly record: RecordEvent;
  readonly exams: ExamRepository;
  readonly inventory: Pick<Inventory, "all" | "groupNames">;
  /** Throws what a machine with this target would show on its screen. */
  readonly check: (target: AssignedTarget) => void;
  readonly findRole: (role: string) => Role | undefined;
  /** What a machine would boot if there were no exam. */
  readonly targetWithoutExam: (machine: Machine) => AssignedTarget;
  /** Those under way. */
  readonly operations: () => readonly Operation[];
  /** The machine may have a role now that it had not, or none any more. */
  readonly onChange: (machine: Machine) => void;
}

/** An operation that an exam stops, with those of its machines that stand in the room. */
export interface StoppedOperation {
  readonly operation: Operation;
  readonly machines: readonly string[];
}

export interface ExamRequest {
  readonly target: AssignedTarget;
  /** Undefined: only when somebody ends it. */
  readonly endsAt: EpochMs | undefined;
}

export interface StartedExam {
  readonly exam: Exam;
  /** At their next step. */
  readonly stops: readonly StoppedOperation[];
}

/** A timer holds at most this much, ms; the next look sets the next one. */
const longestTimerMs = 60 * 60_000;
const longestExamMs = 7 * 24 * 60 * 60_000;

/** Rooms that are locked to one role: what their machines boot, and who may still change something. */
export function createExams(deps: ExamsDeps) {
  const { clock, record, exams, inventory } = deps;
  let cancel = () => {};

  const underWay = (): Exam[] => exams.all().filter((exam) => isUnderWay(exam, clock.now()));
  function find(room: string | undefined): Exam | undefined {
    const exam = room === undefined ? undefined : exams.find(room);
    return exam && isUnderWay(exam, clock.now()) ? exam : undefined;
  }
  const membersOf = (room: string) => inventory.all().filter(({ group }) => group === room);

  function refuseExam(exam: Exam, asker: Asker, what: string): void {
    if (asker.overridesExam) return;
    record({
      type: "exam.refused",
      level: "warning",
      actor: asker.actor,
      message: `${what}: refused, ${exam.room} has an exam`,
      data: { group: exam.room },
    });
    throw underWayError(exam);
  }

  const underWayError = (exam: Exam): RollcallError =>
    ExamUnderWay({ room: exam.room, startedBy: describeActor(exam.startedBy), until: untilWhen(exam) });

  /** What began during the exam was let through by somebody who may. */
  const isStopped = (exam: Exam, { order, startedAt }: Operation, machine: Machine): boolean =>
    startedAt <= exam.startedAt &&
    !leadsIntoExam(order, {
      exam: describeTarget(exam.target),
      otherwise: describeTarget(deps.targetWithoutExam(machine)),
    });

  function stoppedBy(exam: Exam): StoppedOperation[] {
    const members = new Map(membersOf(exam.room).map((machine) => [machine.id, machine]));
    return deps.operations().flatMap((operation) => {
      const machines = operation.machines.flatMap((one) => {
        const machine = members.get(one.machineId);
        return machine && isAtWork(operation, one) && isStopped(exam, operation, machine)
          ? [machine.name]
          : [];
      });
      return machines.length === 0 ? [] : [{ operation, machines }];
    });
  }

  /** @throws GroupNotFound, ExamRoleUnfit, InvalidRequest; what is wrong with the role */
  function check(room: string, { target, endsAt }: ExamRequest, asker: Asker): Exam {
    const now = clock.now();
    if (!inventory.groupNames().has(room)) throw GroupNotFound({ group: room });
    if (endsAt !== undefined && (endsAt <= now || endsAt - now > longestExamMs))
      throw InvalidRequest({
        problem: "an exam ends in the future, within seven days",
        advice: "Write it like --until 12:00 or --for 90m; without both it goes on until `boot exam end`.",
      });
    deps.check(target);
    const role = target.kind === "role" ? deps.findRole(target.role) : undefined;
    if (role && waitsForPeople(role)) throw ExamRoleUnfit({ role: role.name, boot: role.boot });
    return {
      room,
      target,
      startedAt: now,
      startedBy: asker.actor,
      endsAt,
      endedAt: undefined,
      endedBy: undefined,
    };
  }

  /** Looks for exams whose time is over, and comes again at the end of the next one. */
  async function sweep(): Promise<void> {
    cancel();
    const now = clock.now();
    const over = exams.all().filter((exam) => exam.endedAt === undefined && !isUnderWay(exam, now));
    for (const exam of over) await end(exam, undefined);
    const ends = underWay().flatMap(({ endsAt }) => endsAt ?? []);
    cancel();
    if (ends.length > 0)
      cancel = clock.after(Math.min(Math.max(0, Math.min(...ends) - clock.now()), longestTimerMs), () => {
        // The next look of the server finds what this one could not write.
        sweep().catch(() => {});
      });
  }

  async function end(exam: Exam, actor: string | undefined): Promise<void> {
    const ended = { ...exam, endedAt: clock.now(), endedBy: actor };
    const isOurs = (before: Exam | undefined) =>
      before?.startedAt === exam.startedAt && before.endedAt === undefined;
    if (!(await exams.put(exam.room, (before) => (isOurs(before) ? ended : undefined)))) return;
    for (const machine of membersOf(exam.room)) deps.onChange(machine);
    record({
      type: "exam.ended",
      actor,
      message: `${exam.room}: the exam ended${actor === undefined ? ", its time was over" : ""}`,
      data: { group: exam.room, before: exam.target },
    });
  }

  return {
    sweep,
    stop: (): void => cancel(),

    /** Those under way. */
    list: (): Exam[] => underWay().toSorted((left, right) => (left.room < right.room ? -1 : 1)),

    /** What the exam of its room makes a machine boot, and why; undefined: there is none. */
    selectionOf({ group }: Machine): { readonly target: AssignedTarget; readonly why: string } | undefined {
      const exam = find(group);
      return exam && { target: exam.target, why: describeExam(exam) };
    },

    /** Is any exam under way? Then machines that nobody knows are offered no menu: they may stand in its room. */
    isAny: (): boolean => underWay().length > 0,

    /** When the last exam of a room began; what was assigned before can't be taken back. */
    lastStart: (room: string | undefined): EpochMs | undefined =>
      room === undefined ? undefined : exams.find(room)?.startedAt,

    /** Whatever changes machines asks here first. @throws ExamUnderWay */
    refuse(machines: readonly Machine[], asker: Asker): void {
      for (const machine of machines) {
        const exam = find(machine.group);
        if (exam) refuseExam(exam, asker, machine.name);
      }
    },

    /** Whatever changes a room, or puts a machine into it, asks here first. @throws ExamUnderWay */
    refuseRoom(room: string | null | undefined, asker: Asker): void {
      const exam = find(room ?? undefined);
      if (exam) refuseExam(exam, asker, `group ${exam.room}`);
    },

    /** Machines of a room would boot another version of their image. @throws ExamUnderWay */
    refuseImage(image: string, asker: Asker): void {
      for (const exam of underWay())
        if (exam.target.kind === "role" && deps.findRole(exam.target.role)?.image === image)
          refuseExam(exam, asker, `image ${image}`);
    },

    /** Why an operation does not go on with these machines: the exam of their room began after it. Undefined: it goes on. */
    stopping(operation: Operation, machines: readonly Machine[]): RollcallError | undefined {
      for (const machine of machines) {
        const exam = find(machine.group);
        if (exam && isStopped(exam, operation, machine)) return underWayError(exam);
      }
      return undefined;
    },

    /** What `start` would do now. @throws as `start` */
    plan(room: string, request: ExamRequest, asker: Asker): StartedExam {
      const exam = check(room, request, asker);
      const other = find(room);
      if (other) throw underWayError(other);
      return { exam, stops: stoppedBy(exam) };
    },

    /** @throws GroupNotFound, ExamRoleUnfit, ExamUnderWay, InvalidRequest; what is wrong with the role */
    async start(room: string, request: ExamRequest, asker: Asker): Promise<StartedExam> {
      const asked = check(room, request, asker);
      const isFree = (before: Exam | undefined) => before === undefined || !isUnderWay(before, clock.now());
      // An exam that is over by its time and not yet told of is told of first.
      await sweep();
      // It begins when it is in force: what was begun while it waited for the disk began before it.
      const put = await exams.put(room, (before) =>
        isFree(before) ? { ...asked, startedAt: clock.now() } : undefined,
      );
      const other = put ? undefined : find(room);
      if (other) refuseExam(other, { ...asker, overridesExam: false }, `another exam in ${room}`);
      const exam = put ?? asked;
      const stops = stoppedBy(exam);
      for (const machine of membersOf(room)) deps.onChange(machine);
      const stopped = stops.length === 0 ? "" : `; it stops ${stops.map(inWords).join("; ")}`;
      record({
        type: "exam.started",
        actor: asker.actor,
        message: `${room}: exam ${untilWhen(exam)}, every machine boots ${describeTarget(exam.target)}${stopped}`,
        data: {
          group: room,
          after: exam.target,
          endsAt: exam.endsAt ?? null,
          stops: stops.map(({ operation, machines }) => ({ operation: operation.id, machines })),
        },
      });
      await sweep();
      return { exam, stops };
    },

    /** By whoever started it, or an administrator. @throws ExamNotFound, ExamUnderWay */
    async end(room: string, by: { readonly actor: string; readonly isAdmin: boolean }): Promise<void> {
      const exam = find(room);
      if (!exam) throw ExamNotFound({ room });
      const mayEnd = by.isAdmin || by.actor === localActor || by.actor === exam.startedBy;
      refuseExam(exam, { actor: by.actor, overridesExam: mayEnd }, "the exam's end");
      await end(exam, by.actor);
      await sweep();
    },
  };
}

/** `op_1 (reset) on s1, s2 and s3` */
function inWords({ operation, machines }: StoppedOperation): string {
  const last = machines.at(-1) ?? "";
  const names = machines.length <= 1 ? last : `${machines.slice(0, -1).join(", ")} and ${last}`;
  return `${operation.id} (${operation.order.kind}) on ${names}`;
}
export type Exams = ReturnType<typeof createExams>;
