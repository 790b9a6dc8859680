import { type AssignedTarget, describeActor } from "./assignment.ts";
import type { EpochMs } from "./capabilities.ts";
import type { OperationOrder } from "./operation.ts";

/** A room whose machines boot one target and are left alone until the end. */
export interface Exam {
  /** The group. */
  readonly room: string;
  readonly target: AssignedTarget;
  readonly startedAt: EpochMs;
  /** Name of the token, or `localActor`. */
  readonly startedBy: string;
  /** Ends by itself then; undefined: only when somebody ends it. */
  readonly endsAt: EpochMs | undefined;
  readonly endedAt: EpochMs | undefined;
  /** Undefined: its time was over, or it is under way. */
  readonly endedBy: string | undefined;
}

/** By the clock alone, so that an exam is over at its time also where nobody could write that down. */
export function isUnderWay({ endsAt, endedAt }: Exam, now: EpochMs): boolean {
  return endedAt === undefined && (endsAt === undefined || now < endsAt);
}

/** `until 2026-01-02 12:00 UTC` */
export function untilWhen({ endsAt }: Pick<Exam, "endsAt">): string {
  if (endsAt === undefined) return "until somebody ends it";
  return `until ${new Date(endsAt).toISOString().slice(0, 16).replace("T", " ")} UTC`;
}

/** `exam until 2026-01-02 12:00 UTC, started by anna` */
export function describeExam(exam: Exam): string {
  return `exam ${untilWhen(exam)}, started by ${describeActor(exam.startedBy)}`;
}

/** Both in words: what the exam boots, and what the machine would boot without it. */
export interface ExamRoles {
  readonly exam: string;
  readonly otherwise: string;
}

/**
 * May an operation that was under way when the exam began go on with a machine of the room? Only where it brings the machine into the
 * exam's role, or merely switches it on, which anybody may do in an exam.
 */
export function leadsIntoExam({ kind, action, target }: OperationOrder, roles: ExamRoles): boolean {
  switch (kind) {
    case "power":
      return action === "on" || (action === "cycle" && roles.otherwise === roles.exam);
    case "assign":
      return target === roles.exam;
    case "reset":
      return roles.otherwise === roles.exam;
  }
}
