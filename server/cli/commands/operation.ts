import type { Command } from "commander";
import { describeActor } from "../../domain/assignment.ts";
import {
  describeCounts,
  describeOperation,
  followOperation,
  type OperationSummary,
  type OperationView,
  reportOperation,
} from "../follow-operation.ts";
import { formatAge, formatTable, safeText, type Table } from "../output.ts";
import type { Session } from "../session.ts";

function listTable(items: readonly OperationSummary[], now: number): Table {
  return {
    columns: ["id", "what", "state", "machines", "begun", "by"],
    rows: items.map((one) => [
      one.id,
      describeOperation(one),
      one.state,
      describeCounts(one),
      formatAge(one.startedAt, now),
      describeActor(one.actor),
    ]),
    empty: "No operation was begun yet. `boot reset`, `boot power` and `boot ... --power` begin one.",
  };
}

/** What shows that it began anew, beside who was asked for it. */
const restartEvidence: Readonly<Record<string, string>> = {
  board: "its board",
  firmware: "its firmware was seen",
  machine: "its own word",
};

/** `redfish: its board` */
function restartText(steps: OperationView["machines"][number]["steps"]): string | null {
  const { power, evidence } = steps.find(({ name }) => name === "proof")?.facts ?? {};
  const shown = restartEvidence[String(evidence)];
  return power === undefined || shown === undefined ? null : `${power}: ${shown}`;
}

/** The report: a line for each machine, with what shows that it is clean. */
function showText(view: OperationView): string {
  const now = Date.now();
  const isReset = view.kind === "reset";
  const rows = view.machines.map(({ machine, seat, state, steps }) => {
    const last = steps.findLast((step) => step.state !== "waiting" && step.message !== null);
    const failed = steps.find((step) => step.state === "failed");
    const seconds = steps.find(({ name }) => name === "ready")?.facts["seconds"];
    return [
      machine,
      seat,
      state,
      steps.find(({ state: one }) => one === "running")?.name ?? (failed ?? last)?.name,
      seconds === undefined ? null : `${seconds} s`,
      ...(isReset ? [restartText(steps)] : []),
      (failed ?? last)?.message,
    ];
  });
  const common = view.steps.map(({ name, state, message }) =>
    safeText(`${name}: ${state}${message ? `: ${message}` : ""}`),
  );
  return [
    `${view.id}: ${describeOperation(view)}, ${view.state}, ${describeCounts(view)}`,
    `begun ${formatAge(view.startedAt, now)} by ${describeActor(view.actor)}${view.endedAt === null ? "" : `, ended ${formatAge(view.endedAt, now)}`}`,
    ...common,
    "",
    formatTable({
      columns: ["machine", "seat", "state", "step", "boot", ...(isReset ? ["restarted by"] : []), "report"],
      rows,
      empty: "It has no machines.",
    }),
  ].join("\n");
}

export function operationCommands(program: Command, open: () => Session): void {
  const operation = program
    .command("operation")
    .description("long work on machines: under way, ended, cancelled");
  operation
    .command("list")
    .description("what is under way and what ended, newest first")
    .option("--limit <number>", "how many", "20")
    .addHelpText("after", "\nExample:\n  boot operation list")
    .action(async (options: { limit: string }) => {
      const session = open();
      const { items } = await session.client.get<{ items: OperationSummary[] }>(
        `/operations?limit=${encodeURIComponent(options.limit)}`,
      );
      session.show(items, () => listTable(items, Date.now()));
    });
  operation
    .command("show <id>")
    .description("how far each machine is, or what it came to")
    .option("--follow", "go on until it has ended; Ctrl-C leaves it running")
    .addHelpText("after", "\nExample:\n  boot operation show op_0mf3k2 --follow")
    .action(async (id: string, options: { follow?: boolean }) => {
      const session = open();
      if (options.follow) return reportOperation(session, await followOperation(session, id));
      const view = await session.client.get<OperationView>(`/operations/${encodeURIComponent(id)}`);
      session.show(view, () => showText(view));
    });
  operation
    .command("cancel <id>")
    .description("begin nothing more of it; what was ordered goes on by itself")
    .addHelpText("after", "\nExample:\n  boot operation cancel op_0mf3k2")
    .action(async (id: string) => {
      const session = open();
      const view = await session.client.post<OperationView>(
        `/operations/${encodeURIComponent(id)}/cancel`,
        {},
      );
      session.done(`Cancelled: ${describeOperation(view)}, ${describeCounts(view)}.`, view);
    });
}
