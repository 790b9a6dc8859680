import { Argument, type Command } from "commander";
import { readVersion } from "../../platform/checkout.ts";
import { complete, completionScripts, type NameKind, type Shell, shells } from "../completion.ts";
import { manualPage } from "../manual.ts";
import type { Session } from "../session.ts";

/** Whoever pressed the tabulator waits for the server's names this long at most, ms. */
const namesWithinMs = 5000;

/** Names that the server knows; none where it does not answer. */
export async function namesOf({ client }: Session, kind: NameKind): Promise<readonly string[]> {
  const known = await client.list<{ name: string }>(`/${kind}?limit=1000`).catch(() => []);
  return known.map(({ name }) => name);
}

async function soonOrNone(names: Promise<readonly string[]>): Promise<readonly string[]> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<readonly string[]>((resolve) => {
    timer = setTimeout(() => resolve([]), namesWithinMs);
  });
  return Promise.race([names, late]).finally(() => clearTimeout(timer));
}

export function shellCommands(program: Command, open: () => Session): void {
  program
    .command("completion")
    .description("completion for a shell: commands, options, and the names of machines, groups and roles")
    .addArgument(new Argument("<shell>", "whose").choices(shells))
    .addHelpText(
      "after",
      "\nExamples:\n  boot completion bash > ~/.local/share/bash-completion/completions/boot\n  source <(boot completion bash)",
    )
    .action((shell: Shell) => void process.stdout.write(completionScripts[shell]));
  program
    .command("man")
    .description("the manual page of all commands, as roff")
    .addHelpText("after", "\nExamples:\n  boot man > boot.1\n  boot man | man -l -")
    .action(() => void process.stdout.write(manualPage(program, readVersion())));
  program
    .command("__complete [words...]", { hidden: true })
    .description("what may stand at the end of this command line: a word, a tab, what it is; for completion")
    .addHelpText("after", '\nExample:\n  boot __complete -- machine show ""')
    .action(async (words: readonly string[]) => {
      const candidates = await complete(program, words, (kind) => soonOrNone(namesOf(open(), kind)));
      process.stdout.write(
        candidates
          .map(({ word, description }) => `${word}\t${description.replaceAll(/\s+/g, " ")}\n`)
          .join(""),
      );
    });
}
