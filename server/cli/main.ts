import { CommanderError } from "commander";
import { RollcallError } from "../domain/errors.ts";
import { Refused } from "./client.ts";
import { safeLines } from "./output.ts";
import { nearestWord } from "./nearest-word.ts";
import { namesOf } from "./commands/shell.ts";
import { type NameKind, visibleCommands } from "./completion.ts";
import { buildProgram } from "./program.ts";
import { createSession, type SessionOptions } from "./session.ts";

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

/** Which names a refused word may have been a slip of. */
const namedBy: Readonly<Record<string, readonly NameKind[]>> = {
  MACHINE_NOT_FOUND: ["machines"],
  INVALID_HOST_SET: ["machines", "groups"],
  GROUP_NOT_FOUND: ["groups"],
  ROLE_NOT_FOUND: ["roles"],
};

/** A name that the server knows and that is near to a word which it refused. */
async function nearestName(code: string, message: string): Promise<string | undefined> {
  const kinds = Object.hasOwn(namedBy, code) ? (namedBy[code] ?? []) : [];
  if (kinds.length === 0) return undefined;
  const session = createSession(program.opts<SessionOptions>(), process.env);
  const known = (await Promise.all(kinds.map((kind) => namesOf(session, kind)))).flat();
  const refused = words
    .flatMap((word) => word.split(/[\s,]+/))
    .map((word) => word.replace(/^-/, ""))
    .filter((word) => word !== "" && message.includes(word));
  for (const word of refused) {
    const near = nearestWord(word, known);
    if (near !== undefined) return near;
  }
  return undefined;
}

async function suggest(error: unknown): Promise<void> {
  const { code = "", message = "" } = error as { code?: string; message?: string };
  const commands = visibleCommands(program).map((command) => command.name());
  const near = slipCodes.has(code) ? nearestWord(firstWord, commands) : undefined;
  if (near !== undefined) return void process.stderr.write(`Did you mean boot ${near}?\n`);
  const name = await nearestName(code, message);
  if (name !== undefined) process.stderr.write(`Did you mean ${safeLines(name)}?\n`);
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
let isBare = false;
try {
  const { operands } = program.parseOptions(words);
  firstWord = operands[0] ?? "";
  isBare = operands.length === 0 && !words.some((word) => ["-h", "--help", "-V", "--version"].includes(word));
  await program.parseAsync(isBare ? [...words, "overview"] : words, { from: "user" });
  process.exitCode ??= 0;
} catch (error) {
  // `boot` alone says what is going on, or where nobody can say that, what there is to type.
  const isTable = (program.opts<SessionOptions>().output ?? "table") === "table";
  if (isBare && isTable && (error as { code?: string }).code === "SERVER_UNREACHABLE") program.outputHelp();
  process.exitCode = report(error);
  await suggest(error);
}
// A disk that is full is told by the stream only after the write.
await new Promise((done) => process.stdout.write("", done));
if (process.stdout.errored) outputFailed(process.stdout.errored);
process.exit();
