import type { Command } from "commander";
import { formatAge } from "../output.ts";
import type { Session } from "../session.ts";
import { type BootView, type FoundHardware, machineDetails, type MachineDetails } from "./machine-details.ts";
import { acceptCommand, importCommand } from "./machine-lists.ts";
import { editBody, type EditOptions, newGroupNote, withFacts } from "./machine-options.ts";
import { machinesPath, type MachineView } from "./status.ts";
import { powerInWords, type PowerSettingsView, registerMachinePower } from "./machine-power.ts";
import { changesNext, nextRole, machinesPath, type MachineView } from "./status.ts";

interface MachineDetails extends MachineView {
  readonly currentAddress?: string | null;
  readonly uuid: string | null;
  readonly serial: string | null;
  readonly manufacturer: string | null;
  readonly product: string | null;
  readonly arch: string | null;
  readonly firmware: string | null;
  readonly secureBoot: boolean | null;
  readonly roleSource: string;
  readonly labels: Record<string, string>;
  readonly power?: PowerSettingsView | null;
  readonly bootsBy: {
    readonly localBoot: { readonly value: string; readonly source: string };
    readonly driver: { readonly value: string; readonly source: string; readonly learned: string | null };
  };
}

interface BootView {
  readonly id: string;
  readonly startedAt: string;
  readonly outcome: string;
  readonly target: string | null;
  readonly verdict: string | null;
  readonly durationMs: number;
  readonly serverMs: number;
  readonly phases: readonly { readonly phase: string; readonly afterMs: number }[];
  readonly steps: readonly {
    readonly step: string;
    readonly afterMs: number;
    readonly serverMs: number | null;
    readonly detail: Record<string, unknown>;
  }[];
}

const seconds = (ms: number) => `${(ms / 1000).toFixed(1)} s`;
const detailText = (detail: Record<string, unknown>) =>
  Object.entries(detail)
    .map(([key, value]) => `${key}=${String(value)}`)
    .join(" ");

/** One boot as a timeline: each step with its time since power-on and the server's own share of it. */
function timeline(boot: BootView): string {
  const rows = boot.steps.map((step) => [
    seconds(step.afterMs),
    step.step,
    step.serverMs === null ? "" : `${step.serverMs.toFixed(1)} ms`,
    detailText(step.detail),
  ]);
  const phases = boot.phases.map(({ phase, afterMs }) => `${phase} ${seconds(afterMs)}`).join(", ");
  return [
    `Boot ${boot.id}, begun ${boot.startedAt}: ${boot.outcome}${boot.verdict ? ` (${safeText(boot.verdict)})` : ""}${boot.target ? `, role ${safeText(boot.target)}` : ""}`,
    ...boot.steps
      .flatMap(({ detail }) => machineCodes[String(detail["code"])] ?? [])
      .slice(-1)
      .map((advice) => `What to do: ${advice}`),
    `Phases: ${phases}`,
    formatTable({ columns: ["after", "step", "server", "detail"], rows, empty: "No step yet." }).trimEnd(),
    `Server's own time in all: ${boot.serverMs.toFixed(1)} ms of ${seconds(boot.durationMs)}`,
    "",
  ].join("\n");
}

function details(machine: MachineDetails, boots: readonly BootView[]): string {
  const { bootsBy } = machine;
  const isLearned = bootsBy.driver.value === "auto" && bootsBy.driver.learned !== null;
  const learned = isLearned ? `: ${bootsBy.driver.learned}, since it hung in another one` : "";
  const facts: [string, string | null][] = [
    ["name", machine.name],
    ["MACs", machine.macs.join(", ")],
    ["phase", machine.phase],
    ...(changesNext(machine)
      ? ([
          ["role", machine.runs],
          ["next boot", `${nextRole(machine)} (${machine.roleSource})`],
        ] as [string, string | null][])
      : ([["role", `${nextRole(machine)} (${machine.roleSource})`]] as [string, string | null][])),
    ...(machine.roleProblem === null ? [] : [["broken", machine.roleProblem] as [string, string]]),
    ["group, seat", [machine.group, machine.seat].filter(Boolean).join(", ") || null],
    ["address", machine.currentAddress ?? null],
    ["reserved address", machine.address],
    [
      "hardware",
      [machine.manufacturer, machine.product, machine.serial && `serial ${machine.serial}`]
        .filter(Boolean)
        .join(" ") || null,
    ],
    ["firmware", [machine.firmware, machine.arch].filter(Boolean).join(", ") || null],
    ["Secure Boot", machine.secureBoot === null ? null : machine.secureBoot ? "on" : "off"],
    ["local boot", `${bootsBy.localBoot.value} (${bootsBy.localBoot.source})`],
    ["driver", `${bootsBy.driver.value}${learned} (${bootsBy.driver.source})`],
    ["power", powerInWords(machine.power)],
    ["UUID", machine.uuid],
    ["labels", detailText(machine.labels) || null],
    ["last seen", formatAge(machine.lastSeenAt, Date.now())],
  ];
  const [newest, ...older] = boots;
  const history = older.map(
    (boot) =>
      `  ${boot.startedAt}  ${boot.id}  ${boot.outcome}${boot.verdict ? `: ${safeText(boot.verdict)}` : ""}`,
  );
  return [
    formatTable({ columns: ["fact", "value"], rows: facts, empty: "" })
      .split("\n")
      .slice(1)
      .join("\n"),
    newest ? timeline(newest) : "It has not booted yet.\n",
    ...(history.length > 0 ? ["Earlier boots:", ...history, ""] : []),
  ].join("\n");
}

interface EditOptions {
  mac?: string[];
  name?: string;
  group?: string;
  seat?: string;
  address?: string;
  label?: string[];
  localBoot?: string;
  driver?: string;
  ramCheck?: string;
}

/** An empty text takes a fact away. */
function editBody(options: EditOptions): Record<string, unknown> {
  const { mac, name, group, seat, address, label, localBoot, driver, ramCheck } = options;
  const emptied = (text: string | undefined) => (text === undefined ? {} : text === "" ? null : text);
  return Object.fromEntries(
    Object.entries({
      name,
      macs: mac,
      group: emptied(group),
      seat: emptied(seat),
      address: emptied(address),
      localBoot: emptied(localBoot),
      driver: emptied(driver),
      ramCheck: emptied(ramCheck),
      labels:
        label &&
        Object.fromEntries(label.map((text) => [text.split("=")[0], text.slice(text.indexOf("=") + 1)])),
    }).filter(
      ([, value]) =>
        value !== undefined &&
        (typeof value !== "object" ||
          value === null ||
          Array.isArray(value) ||
          Object.keys(value).length > 0),
    ),
  );
}

/** Of a group that a slip may have made; to be asked before the machine is put into it. */
async function newGroupNote(
  { client }: Session,
  machine: string,
  group: string | undefined,
): Promise<string> {
  if (group === undefined || group === "") return "";
  const groups = (await client.list<{ name: string }>("/groups")).map(({ name }) => name);
  if (groups.includes(group)) return "";
  const near = nearestWord(group, groups);
  return `The group ${group} is new.${near === undefined ? "" : ` If you meant ${near}: boot machine edit ${machine} --group ${near}`}\n`;
}

function withFacts(command: Command): Command {
  return command
    .option("--mac <macs...>", "MAC addresses, the one it boots from first")
    .option("--group <name>", "room or other group")
    .option("--seat <place>", "place in the room")
    .option("--address <ip>", "address reserved for it (authoritative DHCP)")
    .option("--label <name=value...>", "labels, in place of all former ones")
    .addOption(localBootOption())
    .addOption(driverOption())
    .addOption(ramCheckOption());
}

const localBootOption = () =>
  new Option("--local-boot <method>", "how it gets to its local disk").choices([...localBootMethods, ""]);
const ramCheckOption = () =>
  new Option("--ram-check <choice>", "ignore: it boots also what its RAM seems too little for").choices([
    ...ramChecks,
    "",
  ]);
const driverOption = () =>
  new Option("--driver <driver>", "network driver of its first-stage program").choices([
    ...driverChoices,
    "",
  ]);

export function machineCommands(program: Command, open: () => Session): void {
  const machine = program.command("machine").description("the inventory of machines");
  const path = (name: string) => `/machines/${encodeURIComponent(name)}`;

  machine
    .command("list [machines]")
    .description("all machines, or those of a host set")
    .addHelpText("after", "\nExample:\n  boot machine list lab225")
    .action(async (hostSet: string | undefined) => {
      const session = open();
      const machines = await session.client.list<MachineView>(machinesPath(hostSet));
      session.show(machines, () => ({
        columns: ["machine", "macs", "group", "seat", "address", "phase", "role", "seen"],
        rows: machines.map((one) => [
          one.name,
          one.macs.join(" "),
          one.group,
          one.seat,
          one.address,
          one.phase,
          one.role,
          formatAge(one.lastSeenAt, Date.now()),
        ]),
        empty: "No machine is known yet. Add one: boot machine add s1 --mac 52:54:00:00:00:01",
      }));
    });
  machine
    .command("show <machine>")
    .description("one machine, with the timeline of its last boot")
    .addHelpText("after", "\nExample:\n  boot machine show s4")
    .action(async (name: string) => {
      const session = open();
      const one = await session.client.get<MachineDetails>(path(name));
      const { items: boots } = await session.client.get<{ items: BootView[] }>(`${path(name)}/boots?limit=6`);
      const found = await session.client.get<FoundHardware>(`${path(name)}/hardware`);
      session.show({ ...one, ...found, boots }, () => machineDetails({ ...one, ...found }, boots));
    });
  withFacts(machine.command("add <name>"))
    .description("add a machine before it is switched on for the first time")
    .addHelpText(
      "after",
      "\nExample:\n  boot machine add s4 --mac 52:54:00:00:00:04 --group lab225 --seat A4",
    )
    .action(async (name: string, options: EditOptions) => {
      const session = open();
      const note = await newGroupNote(session, name, options.group);
      const added = await session.client.post<MachineView>("/machines", editBody({ ...options, name }));
      session.show(
        added,
        () =>
          `${note}Added ${added.name} (${added.macs.join(", ")}). To give it a role: boot ${added.name} worker\n`,
      );
    });
  withFacts(machine.command("edit <machine>"))
    .description('change facts of a machine; an empty text ("") takes one away')
    .option("--name <name>", "new name")
    .addHelpText("after", "\nExample:\n  boot machine edit m-525400000004 --name s4 --group lab225")
    .action(async (name: string, options: EditOptions) => {
      const session = open();
      const note = await newGroupNote(session, options.name ?? name, options.group);
      const edited = await session.client.patch<MachineView>(path(name), editBody(options));
      session.show(edited, () => `${note}Changed ${edited.name}.\n`);
    });
  acceptCommand(machine, open);
  importCommand(machine, open);
  machine
    .command("remove <machines>")
    .description("forget the machines of a host set and their boots")
    .option("--yes", "also if they are more than one")
    .addHelpText("after", "\nExamples:\n  boot machine remove s4\n  boot machine remove 's[4-9]' --yes")
    .action(async (hostSet: string, options: { yes?: boolean }, command: Command) => {
      const session = open();
      const names = (await session.client.list<MachineView>(machinesPath(hostSet))).map(({ name }) => name);
      if (names.length > 1 && !options.yes)
        command.error(
          `error: this would remove ${names.length} machines and what is known of their boots: ${names.slice(0, 10).join(", ")}${names.length > 10 ? " and more" : ""}; if it is meant, add --yes`,
        );
      for (const name of names) await session.client.delete(path(name));
      session.done(names.length > 0 ? `Removed ${names.join(", ")}.` : `There is no machine in ${hostSet}.`, {
        removed: names,
      });
    });

  registerMachinePower(machine, open);

  const group = program.command("group").description("rooms and other groups");
  group
    .command("list")
    .description("all groups")
    .addHelpText("after", "\nExample:\n  boot group list")
    .action(async () => {
      const session = open();
      const groups = await session.client.list<{
        name: string;
        role: string | null;
        machines: string[];
        description: string;
      }>("/groups");
      session.show(groups, () => ({
        columns: ["group", "role", "machines", "description"],
        rows: groups.map((one) => [one.name, one.role, one.machines.join(" "), one.description]),
        empty: "There is no group yet. Add one: boot group add lab225",
      }));
    });
  group
    .command("add <name>")
    .description("add a group")
    .addHelpText("after", '\nExample:\n  boot group add lab225 --description "second floor"')
    .option("--description <text>", "what it is")
    .action(async (name: string, options: { description?: string }) => {
      const session = open();
      const added = await session.client.post("/groups", { name, ...options });
      session.done(
        `Added the group ${name}. To put a machine in: boot machine edit NAME --group ${name}`,
        added,
      );
    });
  group
    .command("edit <name>")
    .description('change a group and how its machines boot; an empty text ("") takes a choice away')
    .addHelpText("after", "\nExample:\n  boot group edit lab225 --local-boot sanboot --driver ipxe")
    .option("--description <text>", "what it is")
    .addOption(localBootOption())
    .addOption(driverOption())
    .addOption(ramCheckOption())
    .action(async (name: string, options: EditOptions & { description?: string }) => {
      const session = open();
      const { description } = options;
      await session.client.patch(`/groups/${encodeURIComponent(name)}`, {
        ...editBody(options),
        ...(description === undefined ? {} : { description }),
      });
      session.say(`Changed the group ${name}.`);
    });
  group
    .command("remove <name>")
    .description("remove a group; its machines stay")
    .addHelpText("after", "\nExample:\n  boot group remove lab225")
    .action(async (name: string) => {
      const session = open();
      await session.client.delete(`/groups/${encodeURIComponent(name)}`);
      session.done(`Removed the group ${name}.`, { removed: name });
    });
  group
    .command("assign <name> <target>")
    .description(
      "assign a role or script to all machines of the group that have none of their own, also later ones",
    )
    .addHelpText("after", "\nExample:\n  boot group assign lab225 worker")
    .action(async (name: string, target: string) => {
      const session = open();
      await session.client.put(
        `/groups/${encodeURIComponent(name)}/role`,
        target.includes("://") ? { url: target } : { role: target },
      );
      session.done(`Machines of ${name} boot ${target}.`, { group: name, target });
    });
  group
    .command("release <name>")
    .description("take the group's assignment back")
    .addHelpText("after", "\nExample:\n  boot group release lab225")
    .action(async (name: string) => {
      const session = open();
      await session.client.delete(`/groups/${encodeURIComponent(name)}/role`);
      session.done(`Released ${name}.`, { released: name });
    });
}
