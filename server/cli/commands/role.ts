import { readdirSync } from "node:fs";
import { join, resolve } from "node:path";
import type { Command } from "commander";
import { root } from "../../platform/checkout.ts";
import { loadRole, loadRoles } from "../../render/load-roles.ts";
import { parameterExample } from "../parameters.ts";
import type { Session } from "../session.ts";

export interface RoleView {
  name: string;
  description: string;
  boot: string;
  image: string | null;
  parameters: Record<string, { type: string; default: unknown; description: string }>;
}

export function roleCommands(program: Command, open: () => Session): void {
  const role = program.command("role").description("what machines can become");
  role
    .command("list")
    .description("all roles")
    .addHelpText("after", "\nExample:\n  boot role list")
    .action(async () => {
      const session = open();
      const roles = await session.client.list<RoleView>("/roles");
      session.show(roles, () => ({
        columns: ["role", "boots", "description"],
        rows: roles.map((one) => [one.name, one.image ?? one.boot, one.description]),
        empty: "There is no role.",
      }));
    });
  role
    .command("show <role>")
    .description("one role with its parameters")
    .addHelpText("after", "\nExample:\n  boot role show worker")
    .action(async (name: string) => {
      const session = open();
      const one = await session.client.get<RoleView>(`/roles/${encodeURIComponent(name)}`);
      const parameters = Object.entries(one.parameters).map(
        ([key, { type, default: value, description }]) =>
          `  ${key} (${type}, default ${JSON.stringify(value)}): ${description}\n    boot s4 ${one.name} ${parameterExample(key, type, value)}`,
      );
      session.show(one, () =>
        [
          `${one.name}: ${one.description}`,
          `boots: ${one.image ?? one.boot}`,
          parameters.length > 0 ? "parameters:" : "no parameters",
          ...parameters,
          "",
        ].join("\n"),
      );
    });
  role
    .command("lint [directory]")
    .description("check a role folder, or a directory of them; without one the shipped roles")
    .addHelpText("after", "\nExample:\n  boot role lint ./my-roles/kiosk")
    .action((directory: string | undefined) => {
      const path = resolve(directory ?? join(root, "templates/roles"));
      const isRole = readdirSync(path).includes("role.yaml");
      const { problems, count } = isRole
        ? { problems: loadRole(path, path.split("/").at(-1) ?? "").problems, count: 1 }
        : { problems: loadRoles([path]).problems, count: readdirSync(path).length };
      for (const { file, line, column, message } of problems)
        process.stdout.write(`${file}:${line}:${column}: ${message}\n`);
      process.stdout.write(
        problems.length === 0
          ? `${count} ${count === 1 ? "role" : "roles"} checked, all fine\n`
          : `${problems.length} ${problems.length === 1 ? "fault" : "faults"}\n`,
      );
      if (problems.length > 0) process.exitCode = 1;
    });
}
