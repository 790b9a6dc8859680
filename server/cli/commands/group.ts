import type { Command } from "commander";
import { readPlan } from "../../domain/room.ts";
import type { Session } from "../session.ts";
import {
  type EditOptions,
  driverOption,
  editBody,
  localBootOption,
  ramCheckOption,
} from "./machine-options.ts";
import { registerGroupPower } from "./machine-power.ts";
import { drawRoom, type GroupView } from "./room-drawing.ts";

export function groupCommands(program: Command, open: () => Session): void {
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
    .command("show <name>")
    .description("one group, drawn as the room that it is where it has a plan")
    .addHelpText("after", "\nExample:\n  boot group show lab225")
    .action(async (name: string) => {
      const session = open();
      const one = await session.client.get<GroupView>(`/groups/${encodeURIComponent(name)}`);
      session.show(one, () => drawRoom(one));
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
    .addHelpText(
      "after",
      "\nExamples:\n  boot group edit lab225 --plan 4x6\n  boot group edit lab225 --plan 'A1 A2 . A3 / B1 B2 . B3' --local-boot sanboot",
    )
    .option("--plan <seats>", "rows x columns, or its rows from the front parted by /; a dot is no seat")
    .option("--description <text>", "what it is")
    .addOption(localBootOption())
    .addOption(driverOption())
    .addOption(ramCheckOption())
    .action(
      async (
        name: string,
        options: EditOptions & { description?: string; plan?: string },
        command: Command,
      ) => {
        const { description, plan: text } = options;
        const plan = text === undefined ? undefined : text === "" ? null : readPlan(text);
        if (text !== undefined && plan === undefined)
          command.error("error: a room has 40 rows and 40 columns at most, written like 4x6");
        const session = open();
        await session.client.patch(`/groups/${encodeURIComponent(name)}`, {
          ...editBody(options),
          ...(description === undefined ? {} : { description }),
          ...(plan === undefined ? {} : { plan }),
        });
        session.say(`Changed the group ${name}.`);
      },
    );
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
  registerGroupPower(group, open);
}
