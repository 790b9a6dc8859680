import { CommanderError } from "commander";
import { RollcallError } from "../domain/errors.ts";
import { Refused } from "./client.ts";
import { safeLines } from "./output.ts";
import { nearestWord } from "./nearest-word.ts";
import { buildProgram } from "./program.ts";

/** 0 done, 1 the server refused or something failed, 2 usage, 3 server unreachable. */
const exitRefused = 1;
const exitUsage = 2;
const exitUnreachable = 3;

function report(error: unknown): number {
  if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : exitUsage;
  if (error instanceof Refused || error instanceof RollcallError) {
    process.stderr.write(`${error.code}: ${safeLines(error.message)}\n`);
    if (error.advice) process.stderr.write(`${safeLines(error.advice)}\n`);
    if (error.code === "CONFIG_INVALID") return exitUsage;
    return ["SERVER_UNREACHABLE", "SERVER_NOT_PERMITTED"].includes(error.code)
      ? exitUnreachable
      : exitRefused;
  }
  const known = error as { code?: unknown; advice?: unknown; message?: string };
  process.stderr.write(
    `${typeof known.code === "string" ? `${known.code}: ` : ""}${safeLines(known.message ?? String(error))}\n`,
  );
  if (typeof known.advice === "string") process.stderr.write(`${known.advice}\n`);
  if (process.env["ROLLCALL_DEBUG"]) process.stderr.write(`${error instanceof Error ? error.stack : ""}\n`);
  return exitRefused;
}

/** What was written came to nothing; a command with a slip in its name is taken for a host set. */
const slipCodes: ReadonlySet<string> = new Set([
  "INVALID_HOST_SET",
  "ROLE_NOT_FOUND",
  "SERVER_UNREACHABLE",
  "commander.unknownOption",
  "commander.excessArguments",
]);

function suggest(error: unknown): void {
  const { code = "" } = error as { code?: string };
  const commands = program.commands.map((command) => command.name());
  const near = slipCodes.has(code) ? nearestWord(firstWord, commands) : undefined;
  if (near !== undefined) process.stderr.write(`Did you mean boot ${near}?\n`);
}

function outputFailed(error: NodeJS.ErrnoException): never {
  // Whoever reads our output may stop early (`boot events | head`): that is no fault.
  if (error.code === "EPIPE") process.exit(0);
  process.stderr.write(`the output could not be written: ${error.message}\n`);
  process.exit(exitRefused);
}
process.stdout.on("error", outputFailed);
const words = process.argv.slice(2);
const program = buildProgram();
let firstWord = "";
try {
  const { operands } = program.parseOptions(words);
  firstWord = operands[0] ?? "";
  // Without a command the roll is shown: `boot` alone says what is going on.
  const isBare =
    operands.length === 0 && !words.some((word) => ["-h", "--help", "-V", "--version"].includes(word));
  await program.parseAsync(isBare ? [...words, "status"] : words, { from: "user" });
  process.exitCode ??= 0;
} catch (error) {
  process.exitCode = report(error);
  suggest(error);
}
// A disk that is full is told by the stream only after the write.
await new Promise((done) => process.stdout.write("", done));
if (process.stdout.errored) outputFailed(process.stdout.errored);
process.exit();
