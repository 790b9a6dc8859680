import type { Command } from "commander";
import { formatAge } from "../output.ts";
import type { Session } from "../session.ts";
import { type BootView, type FoundHardware, machineDetails, type MachineDetails } from "./machine-details.ts";
import { acceptCommand, importCommand } from "./machine-lists.ts";
import { editBody, type EditOptions, newGroupNote, withFacts } from "./machine-options.ts";
import { registerMachinePower } from "./machine-power.ts";
import { machinesPath, type MachineView } from "./status.ts";

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
  registerMachinePower(machine, open);
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
}
