import type { Command } from "commander";
import { type Paint, plainPaint } from "../colour.ts";
import { Refused } from "../client.ts";
import { formatAge, safeText } from "../output.ts";
import type { Session } from "../session.ts";
import type { EventView } from "./event.ts";
import { doing, type MachineView } from "./status.ts";

/** What is going on in the lab, as programs read it. */
export interface Overview {
  readonly rooms: readonly {
    /** Null: machines without a group. */
    readonly group: string | null;
    readonly machines: number;
    readonly phases: Readonly<Record<string, number>>;
  }[];
  readonly underWay: readonly { readonly machine: string; readonly phase: string; readonly doing: string }[];
  /** Null: no cluster is configured. */
  readonly cluster: { readonly name: string; readonly state: string; readonly readyMasters: number } | null;
  /** Alarms of the last hour, newest last. */
  readonly alarms: readonly { readonly at: string; readonly message: string }[];
  /** What to type next, the most urgent first. */
  readonly next: readonly { readonly command: string; readonly why: string }[];
}

type ClusterState = NonNullable<Overview["cluster"]>;

const busyPhases: ReadonlySet<string> = new Set(["netbooting", "booting", "configuring", "joining"]);
/** In the order of a machine's way; what is not in here comes last. */
const phaseOrder = [
  "ready",
  ...busyPhases,
  "assigned",
  "accepted",
  "discovered",
  "failed",
  "lost",
  "retired",
];
const alarmAgeMs = 3_600_000;
/** Lines of machines under way, and of alarms; `status` and `events` have all. */
const shownLines = 8;

function nextSteps(machines: readonly MachineView[], hasAlarms: boolean): Overview["next"] {
  const first = (...phases: string[]) => machines.find(({ phase }) => phases.includes(phase))?.name;
  const [failed, discovered, idle] = [first("failed", "lost"), first("discovered"), first("accepted")];
  const steps: { command: string; why: string }[] = [];
  if (machines.length === 0)
    steps.push({
      command: "boot machine add s1 --mac 52:54:00:00:00:01",
      why: "no machine is known yet; or switch one on in the network that this server serves",
    });
  if (failed !== undefined)
    steps.push({ command: `boot doctor ${failed}`, why: "why its boot failed, and what to do" });
  if (hasAlarms) steps.push({ command: "boot events", why: "what else happened" });
  if (discovered !== undefined)
    steps.push({ command: `boot machine accept ${discovered} --name s1`, why: "somebody new waits" });
  if (machines.some(({ phase }) => busyPhases.has(phase)))
    steps.push({ command: "boot status --watch", why: "see them through" });
  if (idle !== undefined) steps.push({ command: `boot ${idle} worker`, why: "it has no role yet" });
  if (machines.length > 0) steps.push({ command: "boot status", why: "the whole roll" });
  steps.push({ command: "boot dashboard", why: "the same in a browser: a link that signs you in" });
  return [...steps, { command: "boot --help", why: "all commands, with examples" }];
}

export function overviewOf(
  machines: readonly MachineView[],
  events: readonly EventView[],
  cluster: ClusterState | null,
  now: number,
): Overview {
  const rooms = [...Map.groupBy(machines, ({ group }) => group)].map(([group, members]) => ({
    group,
    machines: members.length,
    phases: Object.fromEntries(
      [...Map.groupBy(members, ({ phase }) => phase)]
        .map(([phase, those]) => [phase, those.length] as const)
        .toSorted(([left], [right]) => phaseOrder.indexOf(left) - phaseOrder.indexOf(right)),
    ),
  }));
  const alarms = events
    .filter(({ level, at }) => level === "alarm" && now - Date.parse(at) <= alarmAgeMs)
    .map(({ at, message }) => ({ at, message }));
  return {
    rooms: rooms.toSorted((left, right) => (left.group ?? "\uffff").localeCompare(right.group ?? "\uffff")),
    underWay: machines
      .filter(({ phase }) => busyPhases.has(phase))
      .map((machine) => ({ machine: machine.name, phase: machine.phase, doing: doing(machine) })),
    cluster,
    alarms,
    next: nextSteps(machines, alarms.length > 0),
  };
}

function withRest(lines: readonly string[], command: string): string[] {
  const shown = lines.slice(0, shownLines);
  const rest = lines.length - shown.length;
  return rest === 0 ? shown : [...shown, `  and ${rest} more: ${command}`];
}

export function overviewText(overview: Overview, now: number, paint: Paint = plainPaint): string {
  const { rooms, underWay, cluster, alarms, next } = overview;
  const section = (title: string, lines: readonly string[]) =>
    lines.length > 0 ? [title, ...lines, ""] : [];
  const width = Math.max(0, ...rooms.map(({ group }) => (group ?? "no group").length));
  const steps = Math.max(...next.map(({ command }) => command.length));
  return [
    ...section(
      "Rooms",
      rooms.map(({ group, machines, phases }) => {
        const counts = Object.entries(phases).map(([phase, count]) => `${count} ${paint(phase)}`);
        return `  ${safeText(group ?? "no group").padEnd(width)}  ${machines} ${machines === 1 ? "machine" : "machines"}: ${counts.join(", ")}`;
      }),
    ),
    ...section(
      "Under way",
      withRest(
        underWay.map((one) => `  ${safeText(one.machine)}  ${paint(one.phase)}  ${safeText(one.doing)}`),
        "boot status",
      ),
    ),
    ...section(
      "Cluster",
      cluster === null
        ? []
        : [
            `  ${safeText(cluster.name)}: ${cluster.state}, ${cluster.readyMasters} ${cluster.readyMasters === 1 ? "master" : "masters"} ready`,
          ],
    ),
    ...section(
      "Alarms of the last hour",
      withRest(
        alarms
          .toReversed()
          .map(({ at, message }) => `  ${paint("alarm")} ${safeText(message)} (${formatAge(at, now)})`),
        "boot events",
      ),
    ),
    "Next",
    ...next.map(({ command, why }) => `  ${safeText(command).padEnd(steps)}  ${why}`),
    "",
  ].join("\n");
}

/** Undefined: no cluster is configured. */
async function clusterState({ client }: Session): Promise<ClusterState | null> {
  try {
    const { name, state, readyMasters } = await client.get<ClusterState>("/cluster");
    return { name, state, readyMasters };
  } catch (error) {
    if (error instanceof Refused && error.code === "NO_CLUSTER") return null;
    throw error;
  }
}

export function overviewCommand(program: Command, open: () => Session): void {
  program
    .command("overview")
    .description("what is going on in the lab, and what to type next; the same as boot alone")
    .addHelpText("after", "\nExamples:\n  boot overview\n  boot")
    .action(async () => {
      const session = open();
      const machines = await session.client.list<MachineView>("/machines");
      const { items } = await session.client.get<{ items: EventView[] }>("/events?limit=1000");
      const overview = overviewOf(machines, items, await clusterState(session), Date.now());
      session.show(overview, () => overviewText(overview, Date.now(), session.paint));
    });
}
