import type { Command } from "commander";
import { describeCounts, describeOperation, type OperationSummary, seeAgain } from "../follow-operation.ts";
import { formatAge, formatBytes, formatTable, safeText, type Table } from "../output.ts";
import type { Session } from "../session.ts";

export interface MachineView {
  readonly name: string;
  readonly macs: readonly string[];
  readonly group: string | null;
  readonly seat: string | null;
  readonly address: string | null;
  readonly phase: string;
  /** What its next boot makes of it. */
  readonly role: string;
  /** Why its next boot would fail; null: nothing is known. */
  readonly roleProblem: string | null;
  /** What it runs, or boots right now; null: nothing that is known. */
  readonly runs: string | null;
  readonly lastSeenAt: string | null;
  /** Where it stands in the cluster; null or absent: in none. */
  readonly cluster?: { readonly state: string; readonly problem: string | null } | null;
  readonly boot: {
    readonly id: string;
    readonly outcome: string;
    readonly verdict: string | null;
    readonly lastStep: string | null;
    readonly startedAt: string;
  } | null;
  readonly progress: {
    readonly step: string;
    readonly doneBytes: number;
    readonly totalBytes: number;
  } | null;
}

/** What the machine is doing right now, in a few words. */
export function doing(machine: MachineView): string {
  const { boot, progress, cluster } = machine;
  if (!boot) return "-";
  if (boot.verdict) return boot.verdict;
  if (cluster && cluster.state !== "ready")
    return cluster.problem === null ? cluster.state : `${cluster.state}: ${cluster.problem}`;
  if (boot.outcome !== "running") return boot.outcome;
  if (progress && progress.totalBytes > 0) {
    const percent = Math.floor((progress.doneBytes / progress.totalBytes) * 100);
    return `${progress.step} ${percent} % of ${formatBytes(progress.totalBytes)}`;
  }
  // The initramfs is through, and the system on its root has not spoken yet.
  if (boot.lastStep === "switch-root") return "starting Debian";
  return progress?.step || (boot.lastStep ?? "-");
}

/** Something else stands for its next boot than what it runs, or the same in a state that would not boot. */
export function changesNext({ role, runs, roleProblem }: MachineView): boolean {
  return runs !== null && (runs !== role || roleProblem !== null);
}

/** The role of its next boot, with a mark on one that would not boot; `boot explain` says why. */
export function nextRole({ role, roleProblem }: Pick<MachineView, "role" | "roleProblem">): string {
  return roleProblem === null ? role : `${role} (broken)`;
}

export function statusTable(machines: readonly MachineView[], now: number): Table {
  const hasNext = machines.some(changesNext);
  return {
    columns: ["machine", "group", "seat", "phase", "role", ...(hasNext ? ["next"] : []), "seen", "doing"],
    rows: machines.map((machine) => [
      machine.name,
      machine.group,
      machine.seat,
      machine.phase,
      machine.runs ?? nextRole(machine),
      ...(hasNext ? [changesNext(machine) ? nextRole(machine) : ""] : []),
      formatAge(machine.lastSeenAt, now),
      doing(machine),
    ]),
    empty:
      "No machine is known yet. Switch one on in the network this server serves, or add one: boot machine add s1 --mac 52:54:00:00:00:01",
  };
}

export function machinesPath(hostSet: string | undefined): string {
  return hostSet === undefined ? "/machines" : `/machines?machines=${encodeURIComponent(hostSet)}`;
}

/** A line for each operation that is under way. */
async function underWay({ client }: Session): Promise<string> {
  const { items } = await client.get<{ items: OperationSummary[] }>("/operations?state=running");
  return items
    .map((one) => `Under way: ${describeOperation(one)}, ${describeCounts(one)}: ${seeAgain(one.id)}\n`)
    .join("");
}

/** How often `--watch` looks, ms. */
const watchEveryMs = 1000;

async function watch(session: Session, hostSet: string | undefined): Promise<never> {
  const { client, isTerminal, paint } = session;
  const before = new Map<string, string>();
  for (;;) {
    const machines = await client.list<MachineView>(machinesPath(hostSet));
    if (isTerminal)
      process.stdout.write(
        `\u001b[H\u001b[2J${formatTable(statusTable(machines, Date.now()), paint)}\n${await underWay(session)}Ctrl-C ends watching; the machines go on.\n`,
      );
    else {
      for (const machine of machines) {
        const line = safeText(
          `${machine.name}: ${machine.phase}, ${machine.runs ?? nextRole(machine)}${changesNext(machine) ? ` (next ${nextRole(machine)})` : ""}, ${doing(machine)}`,
        );
        if (before.get(machine.name) !== line) process.stdout.write(`${new Date().toISOString()} ${line}\n`);
        before.set(machine.name, line);
      }
    }
    await new Promise((resolve) => setTimeout(resolve, watchEveryMs));
  }
}

export function statusCommand(program: Command, open: () => Session): void {
  program
    .command("status [machines]")
    .description("the roll: who is there, in which role, how far")
    .option("--watch", "go on showing until Ctrl-C")
    .addHelpText("after", "\nExample:\n  boot status lab225 --watch")
    .action(async (hostSet: string | undefined, options: { watch?: boolean }) => {
      const session = open();
      if (options.watch) await watch(session, hostSet);
      const machines = await session.client.list<MachineView>(machinesPath(hostSet));
      session.show(machines, () => statusTable(machines, Date.now()));
      if (session.format === "table") process.stdout.write(await underWay(session));
    });
}
