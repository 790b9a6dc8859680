import { type Command, InvalidArgumentError, Option } from "commander";
import type { Session } from "../session.ts";

interface TokenView {
  id: string;
  name: string;
  scope: string;
  createdAt: string;
  expiresAt: string | null;
  repositories: string[] | null;
  rooms: string[];
}

function days(text: string): number {
  const value = Number(text);
  if (!(value >= 0.001 && value <= 3650))
    throw new InvalidArgumentError("it must be a number of days, at most 3650");
  return value;
}

export function tokenCommands(program: Command, open: () => Session): void {
  const token = program.command("token").description("API tokens");
  token
    .command("list")
    .description("all tokens, without their secrets")
    .addHelpText("after", "\nExample:\n  boot token list")
    .action(async () => {
      const session = open();
      const tokens = await session.client.list<TokenView>("/tokens");
      session.show(tokens, () => ({
        columns: ["token", "scope", "made", "expires", "rooms", "repositories"],
        rows: tokens.map(({ name, scope, createdAt, expiresAt, rooms, repositories }) => [
          name,
          scope,
          createdAt,
          expiresAt ?? "never",
          rooms.join(" "),
          repositories?.join(" ") ?? "",
        ]),
        empty: "There is no token.",
      }));
    });
  token
    .command("create <name>")
    .description("make a token; its secret is shown once")
    .addOption(
      new Option("--scope <scope>", "what it may do")
        .choices(["admin", "operator", "viewer", "imagemaker"])
        .default("viewer"),
    )
    .addOption(new Option("--expires-in <days>", "life in days; without it for ever").argParser(days))
    .option("--room <group...>", "rooms that an operator or viewer reaches; without it everything")
    .option(
      "--repository <pattern...>",
      "repositories that an imagemaker may push to, e.g. 'p10/*'; without it all",
    )
    .addHelpText(
      "after",
      "\nExamples:\n  boot token create anna --scope operator --expires-in 120\n  boot token create ben --scope operator --room lab225 --room lab226\n  boot token create builder --scope imagemaker --repository 'p10/*'",
    )
    .action(
      async (
        name: string,
        options: { scope: string; expiresIn?: number; repository?: string[]; room?: string[] },
      ) => {
        const session = open();
        const expires =
          options.expiresIn === undefined ? {} : { expiresInSeconds: Math.round(options.expiresIn * 86_400) };
        const made = await session.client.post<TokenView & { token: string }>("/tokens", {
          name,
          scope: options.scope,
          ...expires,
          ...(options.room && { rooms: options.room }),
          ...(options.repository && { repositories: options.repository }),
        });
        session.show(made, () => `Token ${made.name} (${made.scope}), shown this once:\n${made.token}\n`);
      },
    );
  token
    .command("revoke <name>")
    .description("revoke a token at once")
    .addHelpText("after", "\nExample:\n  boot token revoke anna")
    .action(async (name: string) => {
      const session = open();
      await session.client.delete(`/tokens/${encodeURIComponent(name)}`);
      session.done(`Revoked ${name}.`, { revoked: name });
    });
}
