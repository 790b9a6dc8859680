import { Command, CommanderError, Option } from "commander";
import { RollcallError } from "../domain/errors.ts";
import { readVersion } from "../platform/checkout.ts";
import { Refused } from "./client.ts";
import { assetCommands } from "./commands/asset.ts";
import { assignCommands } from "./commands/assign.ts";
import { configCommands } from "./commands/config.ts";
import { demoCommand } from "./commands/demo.ts";
import { eventCommands } from "./commands/event.ts";
import { imageCommands } from "./commands/image.ts";
import { machineCommands } from "./commands/machine.ts";
import { roleCommands } from "./commands/role.ts";
import { serveCommand } from "./commands/serve.ts";
import { statusCommand } from "./commands/status.ts";
import { tokenCommands } from "./commands/token.ts";
import { createSession, type SessionOptions } from "./session.ts";

/** 0 done, 1 the server refused or something failed, 2 usage, 3 server unreachable. */
const exitRefused = 1;
const exitUsage = 2;
const exitUnreachable = 3;

function buildProgram(): Command {
  const program = new Command("boot")
    .description(
      "Rollcall: boots rooms of diskless PCs over the network, each machine straight into its role.",
    )
    .version(readVersion())
    .addOption(
      new Option(
        "--server <url>",
        "server to speak to (or ROLLCALL_SERVER); default: the one on this machine",
      ),
    )
    .addOption(
      new Option("--token <token>", "API token (or ROLLCALL_TOKEN); not needed on the server's own machine"),
    )
    .addOption(
      new Option(
        "--data <dir>",
        "data directory of the server on this machine (default: ./data, then /var/lib/rollcall)",
      ),
    )
    .addOption(new Option("--output <format>", "how answers are printed").choices(["table", "json", "yaml"]))
    .addHelpText(
      "after",
      `
Examples:
  boot s4,s5 worker           these two machines boot as workers from now on
  boot lab225 rescue --once   the room boots into rescue, one time
  boot s[4-9]                 what they boot, and why
  boot status --watch         the roll of the lab, live`,
    )
    .showHelpAfterError("(boot --help shows all commands)")
    .exitOverride();
  const session = () => createSession(program.opts<SessionOptions>(), process.env);
  for (const add of [
    statusCommand,
    assignCommands,
    machineCommands,
    roleCommands,
    imageCommands,
    eventCommands,
    tokenCommands,
  ])
    add(program, session);
  for (const add of [serveCommand, demoCommand, configCommands, assetCommands]) add(program);
  for (const command of program.commands) command.exitOverride().showHelpAfterError();
  return program;
}

function report(error: unknown): number {
  if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : exitUsage;
  if (error instanceof Refused || error instanceof RollcallError) {
    process.stderr.write(`${error.code}: ${error.message}\n`);
    if (error.advice) process.stderr.write(`${error.advice}\n`);
    if (error.code === "CONFIG_INVALID") return exitUsage;
    return error.code === "SERVER_UNREACHABLE" ? exitUnreachable : exitRefused;
  }
  const known = error as { code?: unknown; advice?: unknown; message?: string };
  process.stderr.write(
    `${typeof known.code === "string" ? `${known.code}: ` : ""}${known.message ?? String(error)}\n`,
  );
  if (typeof known.advice === "string") process.stderr.write(`${known.advice}\n`);
  if (process.env["ROLLCALL_DEBUG"]) process.stderr.write(`${error instanceof Error ? error.stack : ""}\n`);
  return exitRefused;
}

const words = process.argv.slice(2);
try {
  const program = buildProgram();
  // Without a command the roll is shown: `boot` alone says what is going on.
  const isBare = program.parseOptions(words).operands.length === 0 && !words.some((word) => ["-h", "--help", "-V", "--version"].includes(word));
  await program.parseAsync(isBare ? [...words, "status"] : words, { from: "user" });
  process.exitCode ??= 0;
} catch (error) {
  process.exitCode = report(error);
}
process.exit();
