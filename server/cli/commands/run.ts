import { type Command, InvalidArgumentError } from "commander";
import { safeLines, safeText } from "../output.ts";
import type { Session } from "../session.ts";

export interface CommandView {
  readonly machine: string;
  /** Null: it did not run to its end. */
  readonly exitCode: number | null;
  readonly stdout: string;
  readonly stderr: string;
  readonly shortened: boolean;
  readonly code: string | null;
  readonly problem: string | null;
  readonly advice: string | null;
}

/** Each machine with what it said: a block for each, since lines of thirty machines side by side are read by nobody. */
function blockOf({ machine, exitCode, stdout, stderr, shortened, code, problem }: CommandView): string {
  const head =
    problem === null
      ? `${safeText(machine)}: exit ${exitCode}${shortened ? ", shortened" : ""}`
      : `${safeText(machine)}: ${safeText(problem)}${code === null ? "" : ` [${code}]`}`;
  const lines = [stdout, stderr]
    .filter((text) => text !== "")
    .flatMap((text) => safeLines(text.replaceAll("\r\n", "\n").replace(/\n$/, "")).split("\n"))
    .map((line) => `  ${line}\n`);
  return `${head}\n${lines.join("")}`;
}

function readSeconds(text: string): number {
  const seconds = Number(text);
  if (!Number.isInteger(seconds) || seconds < 1 || seconds > 200)
    throw new InvalidArgumentError("It is a number of seconds from 1 to 200.");
  return seconds;
}

export function runCommand(program: Command, open: () => Session): void {
  program
    .command("run <machines> <command...>")
    .description("run a command on machines by SSH, where their role has sshCommands: any (docs/power.md)")
    .option("--timeout <seconds>", "for each machine", readSeconds, 60)
    .addHelpText(
      "after",
      "\nExamples:\n  boot run lab225 -- uptime\n  boot run s4 --timeout 120 -- 'journalctl -b -u kubelet | tail'",
    )
    .action(async (machines: string, words: readonly string[], { timeout }: { timeout: number }) => {
      const session = open();
      const { items } = await session.client.post<{ items: CommandView[] }>("/commands", {
        machines,
        // As ssh does it: the words are put together with blanks, and the machine's shell takes them apart.
        command: words.join(" "),
        timeoutSeconds: timeout,
      });
      session.show(items, () => {
        const advice = new Set(items.flatMap((one) => one.advice ?? []));
        return [...items.map(blockOf), ...[...advice].map((text) => `${safeText(text)}\n`)].join("");
      });
      if (items.some(({ exitCode }) => exitCode !== 0)) process.exitCode = 1;
    });
}
