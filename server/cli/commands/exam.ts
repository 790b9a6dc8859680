import { type Command, InvalidArgumentError } from "commander";
import { describeActor } from "../../domain/assignment.ts";
import { durationMs } from "../durations.ts";
import type { Session } from "../session.ts";

interface StoppedOperation {
  readonly operation: string;
  readonly kind: string;
  readonly machines: readonly string[];
}

interface ExamView {
  readonly room: string;
  readonly role: string;
  readonly startedAt: string;
  readonly startedBy: string;
  readonly endsAt: string | null;
}

interface StartOptions {
  readonly until?: Date;
  readonly for?: number;
  readonly dryRun?: boolean;
}

/** `12:00` is the next time that a clock here shows it; anything else is a time as in ISO 8601. @throws InvalidArgumentError */
export function nextTime(text: string, now = new Date()): Date {
  const [, hours, minutes] = /^([01]?[0-9]|2[0-3]):([0-5][0-9])$/.exec(text) ?? [];
  if (hours === undefined) {
    const at = new Date(text);
    if (!/^[0-9]{4}-/.test(text) || Number.isNaN(at.getTime()))
      throw new InvalidArgumentError("write it like 12:00 or 2026-01-31T12:00");
    return at;
  }
  const at = new Date(now);
  at.setHours(Number(hours), Number(minutes), 0, 0);
  if (at <= now) at.setDate(at.getDate() + 1);
  return at;
}

const when = (endsAt: string | null) =>
  endsAt === null ? "until boot exam end" : `until ${new Date(endsAt).toLocaleString("sv-SE")}`;

export function examCommands(program: Command, open: () => Session): void {
  const exam = program.command("exam").description("rooms locked to one role");
  exam
    .command("start <room> <role>")
    .description(
      "lock a room: its machines boot this role alone, and nothing of them is changed until the end",
    )
    .option("--until <time>", "ends by itself then: 12:00, or 2026-01-31T12:00", (text) => nextTime(text))
    .option("--for <time>", "ends by itself after that: 90m, 2h", durationMs)
    .option("--dry-run", "only say what it would be, and which operations it would stop")
    .addHelpText(
      "after",
      "\nExamples:\n  boot exam start lab225 desktop --until 12:00\n  boot exam start lab225 desktop --for 90m --dry-run",
    )
    .action(async (room: string, role: string, options: StartOptions, command: Command) => {
      if (options.until && options.for !== undefined)
        command.error("error: --until and --for say the same: give one of them");
      const session = open();
      const made = await session.client.post<ExamView & { stops: readonly StoppedOperation[] }>("/exams", {
        room,
        role,
        ...(options.until ? { until: options.until.toISOString() } : {}),
        ...(options.for === undefined ? {} : { forSeconds: Math.round(options.for / 1000) }),
        ...(options.dryRun ? { dryRun: true } : {}),
      });
      const begins = options.dryRun ? "would have" : "has";
      session.show(made, () =>
        [
          `${made.room} ${begins} an exam ${when(made.endsAt)}: every machine boots ${made.role} from its next start on.`,
          ...made.stops.map(
            ({ operation, kind, machines }) => `It stops ${operation} (${kind}) on ${machines.join(", ")}.`,
          ),
          "",
        ].join("\n"),
      );
    });
  exam
    .command("end <room>")
    .description("end the exam of a room; whoever started it may, and administrators")
    .addHelpText("after", "\nExample:\n  boot exam end lab225")
    .action(async (room: string) => {
      const session = open();
      await session.client.delete(`/exams/${encodeURIComponent(room)}`);
      session.done(`The exam of ${room} is over.`, { ended: room });
    });
  exam
    .command("list")
    .description("exams under way")
    .addHelpText("after", "\nExample:\n  boot exam list")
    .action(async () => {
      const session = open();
      const exams = await session.client.list<ExamView>("/exams");
      session.show(exams, () => ({
        columns: ["room", "role", "started by", "ends"],
        rows: exams.map(({ room, role, startedBy, endsAt }) => [
          room,
          role,
          describeActor(startedBy),
          when(endsAt),
        ]),
        empty: "No room has an exam.",
      }));
    });
}
