import { readdirSync } from "node:fs";
import { basename, dirname, join, resolve } from "node:path";
import type { Command } from "commander";
import { Refused } from "../client.ts";
import { root } from "../../platform/checkout.ts";
import type { RoleProblem } from "../../render/load-roles.ts";
import { reasonOf } from "../image-directory.ts";
import { parameterExample } from "../parameters.ts";
import type { Session } from "../session.ts";

export interface RoleView {
  name: string;
  description: string;
  boot: string;
  image: string | null;
  parameters: Record<string, { type: string; default: unknown; description: string }>;
  templates: Record<string, string>;
  userDataParts: string[];
  files: Record<string, string>;
  extends: string | null;
  /** Key -> the role that it came from. */
  inherited: Record<string, string>;
}

/** @throws Refused in words when the directory can't be read */
function foldersOf(directory: string): string[] {
  try {
    return readdirSync(directory);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    const problem = code === "ENOTDIR" ? "it is a file" : reasonOf(error);
    throw new Refused(
      "ROLE_INVALID",
      `${directory}: ${problem}`,
      "Name the folder of a role, or a directory of such folders.",
    );
  }
}

const counted = (count: number, what: string) => `${count} ${what}${count === 1 ? "" : "s"}`;

export function roleCommands(program: Command, open: () => Session): void {
  const role = program.command("role").description("what machines can become");
  role
    .command("list")
    .description("all roles")
    .addHelpText("after", "\nExample:\n  boot role list")
    .action(async () => {
      const session = open();
      const roles = await session.client.list<RoleView>("/roles");
      const { problems } = await session.client.get<{ problems: RoleProblem[] }>("/roles?limit=1");
      session.show(roles, () => ({
        columns: ["role", "boots", "description"],
        rows: [
          ...roles.map((one) => [one.name, one.image ?? one.boot, one.description]),
          // The first fault of each role that is left out; `role lint` has them all.
          ...[...new Map(problems.toReversed().map((problem) => [problem.role, problem])).values()].map(
            ({ role, file, line, message }) => [role || "-", "broken", `${file}:${line}: ${message}`],
          ),
        ],
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
      /** Behind what another role said. */
      const from = (key: string) => (one.inherited[key] === undefined ? "" : ` (from ${one.inherited[key]})`);
      const documents = (["templates", "files"] as const).flatMap((key) =>
        Object.entries(one[key]).map(
          ([kind, file]) =>
            `  ${kind}: ${file}, ${key === "files" ? "as it is" : "filled in"}${from(`${key}.${kind}`)}`,
        ),
      );
      if (one.userDataParts.length > 0)
        documents.push(`  merged into user-data: ${one.userDataParts.join(", ")}`);
      const parameters = Object.entries(one.parameters).map(
        ([key, { type, default: value, description }]) =>
          `  ${key} (${type}, default ${JSON.stringify(value)}): ${description}${from(`parameters.${key}`)}\n    boot s4 ${one.name} ${parameterExample(key, type, value)}`,
      );
      session.show(one, () =>
        [
          `${one.name}: ${one.description}${from("description")}`,
          `boots: ${one.image ?? one.boot}${from(one.image === null ? "boot" : "image")}`,
          ...(one.extends === null ? [] : [`extends: ${one.extends}`]),
          ...(documents.length > 0 ? ["documents:", ...documents] : []),
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
    .action(async (directory: string | undefined) => {
      // Loaded only here: every other command answers without the templates' and schemas' modules.
      const { loadRole, loadRoles } = await import("../../render/load-roles.ts");
      const path = resolve(directory ?? join(root, "templates/roles"));
      const names = foldersOf(path);
      // What a role extends may be its neighbour or one of the shipped roles.
      const shipped = join(root, "templates/roles");
      const isOne = names.includes("role.yaml");
      const { problems, warnings } = isOne
        ? loadRole(path, basename(path), [shipped, dirname(path)])
        : loadRoles(path === shipped ? [path] : [shipped, path]);
      for (const { file, line, column, code, message } of problems)
        process.stdout.write(`${file}:${line}:${column}: ${code}: ${message}\n`);
      for (const { file, line, column, code, message } of warnings)
        process.stdout.write(`${file}:${line}:${column}: warning: ${code}: ${message}\n`);
      const count = isOne ? 1 : names.length;
      const told = [
        ...(problems.length > 0 ? [counted(problems.length, "fault")] : []),
        ...(warnings.length > 0 ? [counted(warnings.length, "warning")] : []),
      ];
      process.stdout.write(
        told.length === 0 ? `${counted(count, "role")} checked, all fine\n` : `${told.join(", ")}\n`,
      );
      if (problems.length > 0) process.exitCode = 1;
    });
}
