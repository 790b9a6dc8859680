import { type Command, InvalidArgumentError, Option } from "commander";
import { describeActor } from "../../domain/assignment.ts";
import { seeThrough } from "../follow-operation.ts";
import { formatAge, type Table } from "../output.ts";
import { type GivenParameter, readParameters } from "../parameters.ts";
import type { Session } from "../session.ts";
import { nextRole } from "./status.ts";
import type { RoleView } from "./role.ts";

interface PlanLine {
  machine: string;
  before: string;
  after: string;
  why: string;
  changes: boolean;
  /** Parameters that change while the role stays. */
  changedParameters: string[];
}

/** `worker (sshKeys changes)` */
function thenText({ after, changes, changedParameters: names }: PlanLine): string {
  if (!changes) return `${after} (no change)`;
  return names.length === 0
    ? after
    : `${after} (${names.join(", ")} ${names.length === 1 ? "changes" : "change"})`;
}

interface Undone {
  dryRun: boolean;
  change: { at: string; actor: string; message: string };
  plan: PlanLine[];
  left: string[];
}

interface Explanation {
  machine: string;
  role: string;
  why: string;
  roleProblem: string | null;
  instead: { role: string; source: string }[];
}

function planTable(plan: readonly PlanLine[]): Table {
  return {
    columns: ["machine", "now", "then", "why"],
    rows: plan.map((line) => [line.machine, line.before, thenText(line), line.why]),
    empty: "No machine is in this host set.",
  };
}

/** `name=value`, in the order in which they were given. */
export function parameter(text: string, before: readonly GivenParameter[]): GivenParameter[] {
  const at = text.indexOf("=");
  if (at < 1) throw new InvalidArgumentError("write it as name=value");
  return [...before, { name: text.slice(0, at), text: text.slice(at + 1) }];
}

function targetBody(target: string, params: Record<string, unknown>): Record<string, unknown> {
  return target.includes("://") ? { url: target } : { role: target, params };
}

/** The target with its parameters, each read as the type that the role gives it. */
export async function resolvedTarget(
  { client }: Session,
  target: string,
  given: readonly GivenParameter[],
): Promise<Record<string, unknown>> {
  if (target.includes("://") || given.length === 0) return targetBody(target, {});
  const { parameters } = await client.get<RoleView>(`/roles/${encodeURIComponent(target)}`);
  const types = Object.fromEntries(Object.entries(parameters).map(([name, { type }]) => [name, type]));
  return targetBody(target, readParameters(given, types));
}

async function explainAll(session: Session, hostSet: string): Promise<void> {
  const machines = await session.client.list<{ name: string }>(
    `/machines?machines=${encodeURIComponent(hostSet)}`,
  );
  const explanations: Explanation[] = [];
  for (const { name } of machines)
    explanations.push(await session.client.get<Explanation>(`/machines/${encodeURIComponent(name)}/explain`));
  session.show(explanations, () => ({
    columns: ["machine", "role", "why", "otherwise"],
    rows: explanations.map(({ machine, role, why, roleProblem, instead }) => [
      machine,
      nextRole({ role, roleProblem }),
      roleProblem === null ? why : `${why}; ${roleProblem}`,
      instead.map((other) => `${other.role} (${other.source})`).join(", "),
    ]),
    empty: "No machine is in this host set.",
  }));
}

interface AssignOptions {
  once?: boolean;
  power: string;
  wait: boolean;
  dryRun?: boolean;
  ignoreRam?: boolean;
  param: readonly GivenParameter[];
}

/** What --power would do after the assignment, for a plan. */
const powerInPlan: Readonly<Record<string, string>> = {
  none: "",
  wake: " For real it also switches on those that are off.",
  cycle: " For real it also restarts all of them, and switches on those that are off.",
};

interface Assigned {
  readonly dryRun: boolean;
  readonly operation?: string;
  readonly plan: PlanLine[];
}

async function assign(
  session: Session,
  hostSet: string,
  target: string,
  options: AssignOptions,
): Promise<void> {
  const answer = await session.client.post<Assigned>("/assignments", {
    machines: hostSet,
    ...(await resolvedTarget(session, target, options.param)),
    mode: options.once ? "once" : "always",
    power: options.power,
    dryRun: options.dryRun ?? false,
    ...(options.ignoreRam ? { ramCheck: "ignore" } : {}),
  });
  const isSwitched = options.power !== "none" && answer.operation !== undefined;
  // One answer for programs: what the machines came to.
  if (!isSwitched || session.format === "table") session.show(answer, () => planTable(answer.plan));
  if (isSwitched) await seeThrough(session, answer.operation, { isWaited: options.wait });
  else if (answer.dryRun) session.say(`Nothing was changed (--dry-run).${powerInPlan[options.power] ?? ""}`);
  else
    session.say(
      `Assigned. ${answer.plan.length === 1 ? "It boots" : "They boot"} this at the next power-on; a machine that waits begins now. Watch: boot status --watch`,
    );
}

export function assignCommands(program: Command, open: () => Session): void {
  program
    .command("assign <machines> [target]", { isDefault: true })
    .description("assign a role or an iPXE script to a host set; with no target show what it boots and why")
    .addOption(new Option("--once", "for the next boot only"))
    .addOption(new Option("--ignore-ram", "machines whose RAM seems too little for the role may try"))
    .addOption(
      new Option("--power <how>", "switch the machines too, and wait until they are ready")
        .choices(["none", "wake", "cycle"])
        .default("none"),
    )
    .addOption(new Option("--no-wait", "with --power: do not wait for its end"))
    .addOption(new Option("--dry-run", "only tell what would change"))
    .addOption(
      new Option(
        "--param <name=value>",
        "parameter of the role; several times for several, or for the texts of a list",
      )
        .argParser(parameter)
        .default([], "none"),
    )
    .addHelpText(
      "after",
      "\nExamples:\n  boot s4 worker\n  boot lab225 worker --power cycle\n  boot 's[4-9],-s7' rescue --once\n  boot lab225 http://10.0.0.1/my.ipxe --dry-run\n  boot s4 worker --param 'sshKeys=ssh-ed25519 AAAA... anna' --param 'sshKeys=ssh-ed25519 AAAA... ben'",
    )
    .action((hostSet: string, target: string | undefined, options: AssignOptions) => {
      const session = open();
      return target === undefined ? explainAll(session, hostSet) : assign(session, hostSet, target, options);
    });
  program
    .command("plan <machines> <target>")
    .description("what assigning would change; the same as assign --dry-run")
    .addOption(new Option("--once", "for the next boot only"))
    .addOption(
      new Option("--param <name=value>", "parameter of the role").argParser(parameter).default([], "none"),
    )
    .addHelpText("after", "\nExample:\n  boot plan lab225 worker")
    .action((hostSet: string, target: string, options: AssignOptions) =>
      assign(open(), hostSet, target, { ...options, power: "none", wait: false, dryRun: true }),
    );
  program
    .command("undo")
    .description("take the last change of assignments back, whoever made it; again for the one before")
    .addOption(new Option("--dry-run", "only tell what would change"))
    .addHelpText("after", "\nExamples:\n  boot undo --dry-run\n  boot undo")
    .action(async (options: { dryRun?: boolean }) => {
      const session = open();
      const answer = await session.client.post<Undone>("/assignments/undo", {
        dryRun: options.dryRun ?? false,
      });
      const { actor, at, message } = answer.change;
      session.say(`${message} (${describeActor(actor)}, ${formatAge(at, Date.now())})`);
      for (const left of answer.left) session.say(`stays as it is: ${left}`);
      session.show(answer, () => planTable(answer.plan));
      session.say(answer.dryRun ? "Nothing was changed (--dry-run)." : "Taken back.");
    });
  program
    .command("release <machines>")
    .description("take the assignments of a host set back")
    .addHelpText("after", "\nExample:\n  boot release s4")
    .action(async (hostSet: string) => {
      const session = open();
      const answer = await session.client.delete<{ released: string[] }>("/assignments", {
        machines: hostSet,
      });
      session.show(answer, () =>
        answer.released.length > 0
          ? `Released: ${answer.released.join(", ")}\n`
          : "None of them had an assignment of its own.\n",
      );
    });
  program
    .command("explain <machines>")
    .description("which role each machine boots, and why")
    .addHelpText("after", "\nExample:\n  boot explain s4")
    .action((hostSet: string) => explainAll(open(), hostSet));
  program
    .command("preview <machine> [document]")
    .description(
      "what the machine would be served now, secrets masked: ipxe, user-data, meta-data, vendor-data, network-config, ignition, and what makes it a node: node",
    )
    .addHelpText("after", "\nExample:\n  boot preview s4 user-data")
    .action(async (machine: string, kind: string | undefined) => {
      const text = await open().client.get<string>(
        `/machines/${encodeURIComponent(machine)}/preview/${encodeURIComponent(kind ?? "ipxe")}`,
      );
      process.stdout.write(text.endsWith("\n") ? text : `${text}\n`);
    });
}
