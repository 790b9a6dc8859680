/** The man page, from the tree of commands: roff with the macros of man(7). */
import type { Command } from "commander";
import { visibleCommands, visibleOptions } from "./completion.ts";

/** Text for roff: no line of it is taken for a macro, and hyphens can be copied as they are. */
export function roff(text: string): string {
  return text
    .replaceAll("\\", "\\e")
    .replaceAll("-", "\\-")
    .replaceAll("'", "\\(aq")
    .replaceAll("`", "\\(ga")
    .replaceAll("^", "\\(ha")
    .replaceAll("~", "\\(ti")
    .replaceAll(/[^\n -~]/gu, (letter) => {
      const code = letter.codePointAt(0) ?? 0;
      return `\\[u${code.toString(16).toUpperCase().padStart(4, "0")}]`;
    })
    .split("\n")
    .map((line) => (line.startsWith(".") ? `\\&${line}` : line))
    .join("\n");
}

const sentence = (text: string) =>
  `${text.slice(0, 1).toUpperCase()}${text.slice(1)}${/[.!?]$/.test(text) ? "" : "."}`;

/** Lines of `Examples:` in the help of a command. */
function examplesOf(command: Command): string[] {
  let help = "";
  command.configureOutput({ writeOut: (text) => (help += text) });
  command.outputHelp();
  command.configureOutput({ writeOut: (text) => void process.stdout.write(text) });
  const [, examples = ""] = help.split(/\nExamples?:\n/);
  return examples
    .split("\n")
    .filter((line) => line.startsWith("  "))
    .map((line) => line.slice(2));
}

/** Every command that does something, with its path: `machine add`. */
export function leafCommands(
  command: Command,
  path: readonly string[] = [],
): { path: string; command: Command }[] {
  return visibleCommands(command).flatMap((inner) => {
    const at = [...path, inner.name()];
    return visibleCommands(inner).length > 0
      ? [
          ...(inner.registeredArguments.length > 0 ? [{ path: at.join(" "), command: inner }] : []),
          ...leafCommands(inner, at),
        ]
      : [{ path: at.join(" "), command: inner }];
  });
}

function optionLines(command: Command): string[] {
  return visibleOptions(command)
    .filter(({ long }) => long !== "--help")
    .flatMap((option) => {
      const { argChoices, defaultValue, description } = option;
      const choices = argChoices ? ` One of ${argChoices.join(", ")}.` : "";
      const plain = typeof defaultValue === "string" || typeof defaultValue === "number";
      const usual = plain ? ` Default: ${defaultValue}.` : "";
      return [".TP", `.B ${roff(option.flags)}`, roff(`${sentence(description)}${choices}${usual}`)];
    });
}

/** Its lines would be joined and filled without this. */
const verbatim = (lines: readonly string[]) =>
  lines.length === 0 ? [] : [".RS", ".nf", ...lines.map(roff), ".fi", ".RE"];

function commandLines({ path, command }: { path: string; command: Command }): string[] {
  const usage = command.registeredArguments.map((argument) => {
    const name = `${argument.name()}${argument.variadic ? "..." : ""}`;
    return argument.required ? `<${name}>` : `[${name}]`;
  });
  return [
    `.SS ${roff(["boot", path, ...usage].join(" "))}`,
    roff(sentence(command.description())),
    ...optionLines(command),
    ...(examplesOf(command).length > 0 ? [".PP", "Examples:", ...verbatim(examplesOf(command))] : []),
  ];
}

const exitCodes = [
  ["0", "It is done."],
  ["1", "The server refused, or a machine failed."],
  ["2", "The command line is wrong."],
  ["3", "No server can be reached."],
];
const variables = [
  ["ROLLCALL_SERVER", "URL or address of the server, as --server."],
  ["ROLLCALL_TOKEN", "API token, as --token."],
  ["ROLLCALL_DATA_DIR", "Data directory of the server on this machine, as --data."],
  ["NO_COLOR", "Not empty: nothing is coloured."],
  ["FORCE_COLOR", "Not empty: phases are coloured even where the output is no terminal; 0: never."],
];
const termLines = (rows: readonly (readonly string[])[]) =>
  rows.flatMap(([term = "", text = ""]) => [".TP", `.B ${roff(term)}`, roff(text)]);

/** boot(1) as roff. */
export function manualPage(program: Command, version: string): string {
  return `${[
    `.TH BOOT 1 "" "Rollcall ${roff(version)}" "User Commands"`,
    // Names of variables and arguments are not broken at the end of a line, nor lines stretched.
    ".nh",
    ".ad l",
    ".SH NAME",
    "boot \\- boots rooms of diskless PCs over the network",
    ".SH SYNOPSIS",
    ".B boot",
    ".br",
    `.B ${roff("boot <machines> [role or URL] [--once] [--dry-run]")}`,
    ".br",
    `.B ${roff("boot <command> [options]")}`,
    ".SH DESCRIPTION",
    roff(program.description()),
    ".PP",
    roff(
      "Without arguments it says what is going on in the lab. A host set <machines> is names, ranges (s[4-9]), MACs, groups or label=value, joined by commas; -name leaves one out.",
    ),
    ".SH OPTIONS",
    ...optionLines(program),
    ".SH COMMANDS",
    ...leafCommands(program).flatMap(commandLines),
    ".SH ENVIRONMENT",
    ...termLines(variables),
    ".SH EXIT STATUS",
    ...termLines(exitCodes),
  ].join("\n")}\n`;
}
