import { Command, Option } from "commander";
import { readVersion } from "../platform/checkout.ts";
import { assetCommands } from "./commands/asset.ts";
import { assignCommands } from "./commands/assign.ts";
import { clusterCommands } from "./commands/cluster.ts";
import { dashboardCommand } from "./commands/dashboard.ts";
import { diffCommand } from "./commands/diff.ts";
import { configCommands } from "./commands/config.ts";
import { demoCommand } from "./commands/demo.ts";
import { doctorCommand } from "./commands/doctor.ts";
import { eventCommands } from "./commands/event.ts";
import { examCommands } from "./commands/exam.ts";
import { groupCommands } from "./commands/group.ts";
import { imageCommands } from "./commands/image.ts";
import { keyCommands } from "./commands/key.ts";
import { machineCommands } from "./commands/machine.ts";
import { operationCommands } from "./commands/operation.ts";
import { powerCommands } from "./commands/power.ts";
import { registryCommands } from "./commands/registry.ts";
import { resetCommand } from "./commands/reset.ts";
import { overviewCommand } from "./commands/overview.ts";
import { roleCommands } from "./commands/role.ts";
import { serveCommand } from "./commands/serve.ts";
import { runCommand } from "./commands/run.ts";
import { scheduleCommands } from "./commands/schedule.ts";
import { shellCommands } from "./commands/shell.ts";
import { signCommand } from "./commands/sign.ts";
import { simulateCommand } from "./commands/simulate.ts";
import { statusCommand } from "./commands/status.ts";
import { studentCommands } from "./commands/student.ts";
import { tokenCommands } from "./commands/token.ts";
import { createSession, type SessionOptions } from "./session.ts";

/** All commands; `boot help`, the command line and the tests read them from here. */
export function buildProgram(): Command {
  const program = new Command("boot")
    .description(
      "Rollcall: boots rooms of diskless PCs over the network, each machine straight into its role.",
    )
    .version(readVersion())
    .addOption(
      new Option(
        "--server <url>",
        "server to speak to, URL or address (or ROLLCALL_SERVER); default: the one on this machine",
      ),
    )
    .addOption(
      new Option("--token <token>", "API token (or ROLLCALL_TOKEN); not needed on the server's own machine"),
    )
    .addOption(
      new Option(
        "--data <dir>",
        "data directory of the server on this machine (or ROLLCALL_DATA_DIR; default: the usual places)",
      ),
    )
    .addOption(
      new Option("--override-exam", "change machines of a room that has an exam; for administrators"),
    )
    .addOption(new Option("--output <format>", "how answers are printed").choices(["table", "json", "yaml"]))
    .addHelpText(
      "after",
      `
Examples:
  boot                        what is going on in the lab, and what to type next
  boot s4,s5 worker           these two machines boot as workers from now on
  boot lab225 rescue --once   the room boots into rescue, one time
  boot s[4-9]                 what they boot, and why
  boot status --watch         the roll of the lab, live
  boot dashboard              the same in a browser: a link that signs you in`,
    )
    .exitOverride();
  const session = () => createSession(program.opts<SessionOptions>(), process.env);
  for (const add of [
    overviewCommand,
    statusCommand,
    dashboardCommand,
    assignCommands,
    scheduleCommands,
    diffCommand,
    doctorCommand,
    machineCommands,
    groupCommands,
    powerCommands,
    runCommand,
    resetCommand,
    operationCommands,
    roleCommands,
    imageCommands,
    signCommand,
    registryCommands,
    clusterCommands,
    studentCommands,
    eventCommands,
    examCommands,
    tokenCommands,
    keyCommands,
    simulateCommand,
    assetCommands,
    shellCommands,
  ])
    add(program, session);
  for (const add of [serveCommand, demoCommand, configCommands]) add(program);
  pointToHelp(program, "boot");
  return program;
}

/** After a slip on the command line stands where to read on, not the whole help. */
function pointToHelp(command: Command, path: string): void {
  command.exitOverride().showHelpAfterError(`(see ${path} --help)`);
  for (const inner of command.commands) pointToHelp(inner, `${path} ${inner.name()}`);
}
