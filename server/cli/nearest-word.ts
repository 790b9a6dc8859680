import { Command } from "commander";

/** Which of `known` was meant by a word with a slip in it, as commander sees it; undefined: it is one of them, or none is near. */
export function nearestWord(word: string, known: readonly string[]): string | undefined {
  if (known.includes(word)) return undefined;
  const probe = new Command()
    .helpCommand(false)
    .exitOverride()
    .configureOutput({ writeOut: () => undefined, writeErr: () => undefined });
  for (const name of known) probe.command(name);
  try {
    probe.parse([word], { from: "user" });
  } catch (error) {
    return /\(Did you mean (?:one of )?([^,?]+)/.exec((error as Error).message)?.[1];
  }
  return undefined;
}
