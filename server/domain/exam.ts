import { type AssignedTarget, describeActor } from "./assignment.ts";
import type { EpochMs } from "./capabilities.ts";

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
