import { setTimeout as delay } from "node:timers/promises";
import "../domain/error-catalogue.ts";
import { ServerUnreachable } from "../domain/error-catalogue.ts";
import { definedErrors } from "../domain/errors.ts";
import { safeText } from "./output.ts";
import type { Session } from "./session.ts";

export interface StepView {
  readonly name: string;
  readonly state: "waiting" | "running" | "done" | "failed" | "skipped";
  readonly message: string | null;
  readonly code: string | null;
  readonly facts: Readonly<Record<string, string | number>>;
}
type MachineState = StepView["state"];
export interface OperationSummary {
  readonly id: string;
  readonly kind: "assign" | "power" | "reset";
  readonly action: string | null;
  readonly target: string | null;
  readonly actor: string;
  readonly state: "running" | "done" | "failed" | "cancelled";
  readonly startedAt: string;
  readonly endedAt: string | null;
  readonly counts: Readonly<Record<MachineState, number>>;
}
export interface OperationView extends OperationSummary {
  readonly steps: readonly StepView[];
  readonly machines: readonly {
    readonly machine: string;
    readonly seat: string | null;
    readonly state: MachineState;
    readonly steps: readonly StepView[];
  }[];
}

const sum = (counts: OperationSummary["counts"]) => Object.values(counts).reduce((all, one) => all + one, 0);

/** `reset of 30 machines` */
export function describeOperation({ kind, action, target, counts }: OperationSummary): string {
  const total = sum(counts);
  const whom = `${total} ${total === 1 ? "machine" : "machines"}`;
  if (kind === "assign") return `${target ?? "role"} for ${whom}`;
  return kind === "power" ? `power ${action ?? ""} of ${whom}` : `reset of ${whom}`;
}

/** `12 of 30 done, 1 failed` */
export function describeCounts({ counts }: OperationSummary): string {
  const others = [
    ...(counts.failed > 0 ? [`${counts.failed} failed`] : []),
    ...(counts.skipped > 0 ? [`${counts.skipped} left out`] : []),
  ];
  return [`${counts.done} of ${sum(counts)} done`, ...others].join(", ");
}

export const seeAgain = (id: string): string => `boot operation show ${id} --follow`;

/** The step that a machine is at, or the one that its fate hangs on. */
function present(steps: readonly StepView[]): StepView | undefined {
  return (
    steps.find(({ state }) => state === "failed") ??
    steps.find(({ state }) => state === "running") ??
    steps.findLast(({ state }) => state === "done" || state === "skipped") ??
    steps[0]
  );
}

function machineLine(name: string, state: MachineState, steps: readonly StepView[], width: number): string {
  const at = present(steps);
  const position = at ? steps.indexOf(at) + 1 : 0;
  const what =
    state === "done" ? "done" : `${at?.name ?? "waiting"} ${at?.state === "running" ? "" : at?.state}`.trim();
  return safeText(
    `${name.padEnd(width)}  ${position}/${steps.length}  ${what}${at?.message ? `: ${at.message}` : ""}`,
  );
}

const colours: Readonly<Record<MachineState, string>> = {
  waiting: "2",
  running: "0",
  done: "32",
  failed: "31",
  skipped: "33",
};

/** One line for each machine, as many as fit; those that are through go first when there are too many. */
function drawing(view: OperationView, size: { rows: number; columns: number }): string {
  const order: readonly MachineState[] = ["failed", "running", "waiting", "skipped", "done"];
  const width = Math.max(...view.machines.map(({ machine }) => machine.length), 0);
  const room = Math.max(3, size.rows - 5);
  const all =
    view.machines.length <= room
      ? view.machines
      : view.machines.toSorted((left, right) => order.indexOf(left.state) - order.indexOf(right.state));
  const lines = all.slice(0, room).map(({ machine, state, steps }) => {
    const line = machineLine(machine, state, steps, width).slice(0, Math.max(20, size.columns - 1));
    return `\u001b[${colours[state]}m${line}\u001b[0m`;
  });
  const common = view.steps
    .filter(({ state }) => state !== "done")
    .map(({ name, state, message }) => safeText(`${name} ${state}${message ? `: ${message}` : ""}`));
  const more = view.machines.length - lines.length;
  const shown = [
    `${describeOperation(view)}: ${describeCounts(view)}`,
    ...common,
    ...lines,
    ...(more > 0 ? [`and ${more} more`] : []),
    `Ctrl-C leaves it running; see it again: ${seeAgain(view.id)}`,
  ];
  return shown.join("\n");
}

/** Draws over what it drew before. */
function terminalScreen(write: (text: string) => void) {
  let drawn = 0;
  return (text: string) => {
    const up = drawn > 0 ? `\u001b[${drawn}A\r` : "";
    write(`${up}\u001b[0J${text}\n`);
    drawn = text.split("\n").length;
  };
}

/** A line for each step that a machine took. */
function plainLines(write: (text: string) => void) {
  const before = new Map<string, string>();
  const tell = (name: string, steps: readonly StepView[]) => {
    for (const { name: step, state, message } of steps) {
      const key = `${name}/${step}`;
      if (state === "waiting" || before.get(key) === state) continue;
      before.set(key, state);
      write(`${safeText(`${name}: ${step} ${state}${message ? `: ${message}` : ""}`)}\n`);
    }
  };
  return (view: OperationView) => {
    tell("all", view.steps);
    for (const { machine, steps } of view.machines) tell(machine, steps);
  };
}

const pollMs = 1000;
/** A server that starts anew is waited for, ms: the operation goes on with it. */
const awayMs = 10 * 60_000;

/** Shows how far an operation is until it has ended. Ctrl-C ends the showing. */
export async function followOperation(session: Session, id: string): Promise<OperationView> {
  const write = (text: string) => void process.stdout.write(text);
  const isShown = session.format === "table";
  const screen = terminalScreen(write);
  const lines = plainLines(write);
  const leave = () => {
    process.stderr.write(`\nThe operation goes on. See it again: ${seeAgain(id)}\n`);
    process.exit(130);
  };
  process.once("SIGINT", leave);
  let awaySince: number | undefined;
  try {
    for (;;) {
      const view = await look();
      if (view && isShown) {
        const { rows, columns } = process.stdout;
        if (session.isTerminal) screen(drawing(view, { rows, columns }));
        else lines(view);
      }
      if (view && view.state !== "running") return view;
      await delay(pollMs);
    }
  } finally {
    process.removeListener("SIGINT", leave);
  }

  async function look(): Promise<OperationView | undefined> {
    try {
      const view = await session.client.get<OperationView>(`/operations/${encodeURIComponent(id)}`);
      awaySince = undefined;
      return view;
    } catch (error) {
      if (!ServerUnreachable.is(error)) throw error;
      if (awaySince === undefined)
        process.stderr.write("The server does not answer just now. The operation goes on when it is back.\n");
      awaySince ??= Date.now();
      if (Date.now() - awaySince > awayMs) throw error;
      return undefined;
    }
  }
}

/** What an operation came to: a report for each machine, and what to do about those that failed. */
export function reportOperation(session: Session, view: OperationView): void {
  session.show(view, () => {
    const failed = [
      ...view.steps.filter(({ state }) => state === "failed").map((step) => ({ who: "all", step })),
      ...view.machines.flatMap(({ machine, steps }) =>
        steps.filter(({ state }) => state === "failed").map((step) => ({ who: machine, step })),
      ),
    ];
    const advice = (code: string | null) => definedErrors().get(code ?? "")?.definition.advice;
    const lines = failed.map(({ who, step }) =>
      [
        safeText(`${who}: ${step.name} failed: ${step.message ?? ""} (${step.code ?? ""})`),
        ...(advice(step.code) ? [`    ${advice(step.code)}`] : []),
      ].join("\n"),
    );
    return `${[`${describeOperation(view)}: ${view.state}, ${describeCounts(view)}.`, ...lines].join("\n")}\n`;
  });
  if (view.state !== "done") process.exitCode = 1;
}

/** Follows an operation to its end, or only says where it can be seen. */
export async function seeThrough(
  session: Session,
  id: string,
  { isWaited }: { isWaited: boolean },
): Promise<void> {
  if (!isWaited) return session.done(`Begun. See how far it is: ${seeAgain(id)}`, { operation: id });
  reportOperation(session, await followOperation(session, id));
}
