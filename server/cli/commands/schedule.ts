import { type Command, InvalidArgumentError, Option } from "commander";
import { describeActor } from "../../domain/assignment.ts";
import { type SchedulePower, schedulePowers, type Weekday, weekdays } from "../../domain/schedule.ts";
import { formatAge, safeText } from "../output.ts";
import type { GivenParameter } from "../parameters.ts";
import type { Session } from "../session.ts";
import { parameter, resolvedTarget } from "./assign.ts";

interface ScheduleView {
  readonly name: string;
  readonly machines: string;
  readonly target: string;
  readonly mode: "always" | "once";
  readonly power: SchedulePower;
  /** IANA name. */
  readonly timezone: string;
  readonly at: string;
  readonly days: readonly string[];
  /** It stays within these groups; null: all machines. */
  readonly rooms: readonly string[] | null;
  readonly createdBy: string;
  readonly next: readonly string[];
  /** Why it would fail now. */
  readonly problem: string | null;
}

interface HistoryLine {
  readonly at: string;
  readonly actor: string;
  readonly message: string;
  readonly undoneAt: string | null;
  readonly undoneBy: string | null;
}

/** `mon-fri`, `sat,sun`, `daily`. @throws InvalidArgumentError */
export function readDays(text: string): Weekday[] {
  if (text === "daily") return [...weekdays];
  return text.split(",").flatMap((part) => {
    const [from = "", to = from, ...more] = part.toLowerCase().split("-");
    const [first, last] = [from, to].map((day) => weekdays.indexOf(day as Weekday)) as [number, number];
    if (first < 0 || last < 0 || more.length > 0)
      throw new InvalidArgumentError("write days like mon-fri, or sat,sun, or daily");
    // fri-mon goes over the end of the week.
    const count = ((last - first + 7) % 7) + 1;
    return Array.from({ length: count }, (_, day) => weekdays[(first + day) % 7] ?? "mon");
  });
}

function readTime(text: string): string {
  const [, hours = "", minutes = ""] = /^([0-9]{1,2}):([0-5][0-9])$/.exec(text) ?? [];
  if (hours === "" || Number(hours) > 23) throw new InvalidArgumentError("write a time of day like 12:00");
  return `${hours.padStart(2, "0")}:${minutes}`;
}

/** `mon-fri 12:00` */
function timesText({ days, at }: ScheduleView): string {
  const [first = 0, last = 0] = [days.at(0), days.at(-1)].map((day) => weekdays.indexOf(day as Weekday));
  const isRow = days.length > 2 && last - first === days.length - 1;
  const all = days.length === 7 ? "daily" : isRow ? `${days.at(0)}-${days.at(-1)}` : days.join(",");
  return `${all} ${at}`;
}

const whenText = (iso: string | undefined) =>
  iso === undefined ? "never" : `${iso.slice(0, 16).replace("T", " ")} UTC`;

const powerText: Readonly<Record<SchedulePower, string>> = {
  none: "",
  wake: ", waking them",
  cycle: ", restarting them",
};

function details(schedule: ScheduleView): string {
  return [
    `${schedule.name}: ${schedule.machines} -> ${schedule.target}${schedule.mode === "once" ? ", for one boot" : ""}${powerText[schedule.power]}, ${timesText(schedule)}`,
    `Added by ${describeActor(schedule.createdBy)}. Next: ${schedule.next.map(whenText).join(", ")}`,
    ...(schedule.rooms === null ? [] : [`It stays within ${schedule.rooms.join(", ")}.`]),
    ...(schedule.problem === null ? [] : [`It would fail now: ${schedule.problem}`]),
    "",
  ]
    .map(safeText)
    .join("\n");
}

interface AddOptions {
  readonly at: string;
  readonly on: Weekday[];
  readonly once?: boolean;
  readonly name?: string;
  readonly power: SchedulePower;
  readonly param: readonly GivenParameter[];
}

async function add(session: Session, machines: string, target: string, options: AddOptions): Promise<void> {
  const { at, on, once, name, power, param } = options;
  const added = await session.client.post<ScheduleView>("/schedules", {
    machines,
    ...(await resolvedTarget(session, target, param)),
    mode: once ? "once" : "always",
    power,
    at,
    days: [...new Set(on)],
    ...(name === undefined ? {} : { name }),
  });
  session.show(added, () => details(added));
  session.say(`Times are those of ${added.timezone}. Take it away: boot schedule remove NAME`);
}

function historyCommand(program: Command, open: () => Session): void {
  program
    .command("history [machines]")
    .description("who assigned what and when, newest first, and what was taken back; of all or of a host set")
    .option("--limit <number>", "how many", "50")
    .addHelpText("after", "\nExamples:\n  boot history\n  boot history lab225 --limit 10")
    .action(async (machines: string | undefined, { limit }: { limit: string }) => {
      const session = open();
      const query = new URLSearchParams({ limit, ...(machines === undefined ? {} : { machines }) });
      const { items } = await session.client.get<{ items: HistoryLine[] }>(`/assignments/history?${query}`);
      session.show(items, () => ({
        columns: ["when", "who", "what", "taken back"],
        rows: items.map(({ at, actor, message, undoneAt, undoneBy }) => [
          whenText(at),
          describeActor(actor),
          message,
          undoneAt === null
            ? ""
            : `${formatAge(undoneAt, Date.now())}${undoneBy === null ? "" : ` by ${describeActor(undoneBy)}`}`,
        ]),
        empty: "Nobody has assigned anything to them yet.",
      }));
    });
}

export function scheduleCommands(program: Command, open: () => Session): void {
  const schedule = program
    .command("schedule")
    .description("assignments at a time of day, in the time zone of the config");
  schedule
    .command("add <machines> <target>")
    .description("assign a role or script to a host set at a time of day")
    .addOption(new Option("--at <time>", "time of day, e.g. 12:00").argParser(readTime).makeOptionMandatory())
    .addOption(
      new Option("--on <days>", "days of the week: mon-fri, or sat,sun, or daily")
        .argParser(readDays)
        .default([...weekdays], "daily"),
    )
    .addOption(new Option("--once", "each time for the next boot only"))
    .addOption(
      new Option("--power <how>", "switch the machines too: wake, or cycle those that are on as well")
        .choices([...schedulePowers])
        .default("none"),
    )
    .addOption(new Option("--name <name>", "what it is called; without it after machines and role"))
    .addOption(
      new Option("--param <name=value>", "parameter of the role").argParser(parameter).default([], "none"),
    )
    .addHelpText(
      "after",
      "\nExamples:\n  boot schedule add lab225 desktop --at 12:00 --on mon-fri\n  boot schedule add lab225 worker --at 7:30 --once --power cycle",
    )
    .action((machines: string, target: string, options: AddOptions) =>
      add(open(), machines, target, options),
    );
  schedule
    .command("list")
    .description("all schedules, with their next times")
    .addHelpText("after", "\nExample:\n  boot schedule list")
    .action(async () => {
      const session = open();
      const all = await session.client.list<ScheduleView>("/schedules");
      session.show(all, () => ({
        columns: ["schedule", "machines", "boots", "times", "next", "problem"],
        rows: all.map((one) => [
          one.name,
          one.machines,
          `${one.target}${one.mode === "once" ? " once" : ""}${one.power === "none" ? "" : `, ${one.power}`}`,
          timesText(one),
          whenText(one.next[0]),
          one.problem ?? "",
        ]),
        empty: "There is no schedule yet. Add one: boot schedule add lab225 desktop --at 12:00 --on mon-fri",
      }));
    });
  schedule
    .command("show <schedule>")
    .description("one schedule: its next times, and what speaks against it")
    .addHelpText("after", "\nExample:\n  boot schedule show lab225-desktop")
    .action(async (name: string) => {
      const session = open();
      const one = await session.client.get<ScheduleView>(`/schedules/${encodeURIComponent(name)}`);
      session.show(one, () => details(one));
    });
  schedule
    .command("remove <schedule>")
    .description("remove a schedule; what it assigned stays")
    .addHelpText("after", "\nExample:\n  boot schedule remove lab225-desktop")
    .action(async (name: string) => {
      const session = open();
      await session.client.delete(`/schedules/${encodeURIComponent(name)}`);
      session.done(`Removed the schedule ${name}.`, { removed: name });
    });
  historyCommand(program, open);
}
