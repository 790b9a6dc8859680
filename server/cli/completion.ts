/** What may stand at the end of a command line that is half written, from the tree of commands. Pure but for the names. */
import type { Argument, Command, Option } from "commander";

export type NameKind = "machines" | "groups" | "roles" | "schedules";
/** Names that the server knows; none where it does not answer. */
export type NamesOf = (kind: NameKind) => Promise<readonly string[]>;

export interface Candidate {
  readonly word: string;
  readonly description: string;
}

/** What the server's names are taken to the shell as: anything else would have to be quoted for each shell in its own way. */
const plainName = /^[A-Za-z0-9][A-Za-z0-9._@-]*$/;

/** Kinds of names that an argument or the value of an option takes, by how the help calls it. */
const kindsOf: Readonly<Record<string, readonly NameKind[]>> = {
  machines: ["machines", "groups"],
  machine: ["machines"],
  group: ["groups"],
  target: ["roles"],
  role: ["roles"],
  schedule: ["schedules"],
};

function argumentKinds(argument: Argument | undefined, command: Command): readonly NameKind[] {
  if (argument === undefined) return [];
  // `boot group edit <name>` means a group that there is; `add` one that there is not.
  if (argument.name() === "name" && command.parent?.name() === "group")
    return command.name() === "add" ? [] : ["groups"];
  return kindsOf[argument.name()] ?? [];
}

function optionKinds(option: Option): readonly NameKind[] {
  return kindsOf[/[<[]([a-z]+)/.exec(option.flags)?.[1] ?? ""] ?? kindsOf[option.attributeName()] ?? [];
}

export const visibleCommands = (command: Command): Command[] =>
  command
    .createHelp()
    .visibleCommands(command)
    .filter((inner) => inner.name() !== "help");
export const visibleOptions = (command: Command): Option[] => command.createHelp().visibleOptions(command);

interface Place {
  readonly command: Command;
  /** Words that stand for arguments. */
  readonly operands: readonly string[];
  /** The option whose value the word at the end is. */
  readonly awaiting: Option | undefined;
  readonly onlyOperands: boolean;
}

/** Follows the words before the last one down the tree. */
function placeOf(program: Command, words: readonly string[]): Place {
  let command = program;
  let awaiting: Option | undefined;
  let onlyOperands = false;
  const operands: string[] = [];
  for (const word of words) {
    if (awaiting !== undefined) awaiting = undefined;
    else if (!onlyOperands && word === "--") onlyOperands = true;
    else if (!onlyOperands && word.startsWith("-") && word.length > 1) {
      const option = optionsOf(command).find(({ short, long }) => word === short || word === long);
      awaiting = option !== undefined && (option.required || option.optional) ? option : undefined;
    } else {
      const inner: Command | undefined =
        operands.length === 0 && !onlyOperands
          ? command.commands.find((one) => one.name() === word || one.aliases().includes(word))
          : undefined;
      if (inner) command = inner;
      else operands.push(word);
    }
  }
  return { command, operands, awaiting, onlyOperands };
}

/** Those of the command and of all above it: `boot status --output json` is as good as `boot --output json status`. */
function optionsOf(command: Command): Option[] {
  const own = visibleOptions(command);
  return command.parent
    ? [...own, ...optionsOf(command.parent).filter(({ long }) => !own.some((one) => one.long === long))]
    : own;
}

/** @param words after `boot`; the last one is being written, and may be empty */
export async function complete(
  program: Command,
  words: readonly string[],
  namesOf: NamesOf,
): Promise<Candidate[]> {
  const current = words.at(-1) ?? "";
  const { command, operands, awaiting, onlyOperands } = placeOf(program, words.slice(0, -1));
  const matching = (candidates: readonly Candidate[], typed = current) =>
    candidates.filter(({ word }) => word.startsWith(typed));
  async function named(kinds: readonly NameKind[], isSet: boolean, typed = current): Promise<Candidate[]> {
    // In a host set the name after the last comma is being written; a `-` before it leaves it out.
    const before = isSet ? (/^.*,-?|^-/.exec(typed)?.[0] ?? "") : "";
    const lists = await Promise.all(
      kinds.map(async (kind) =>
        (await namesOf(kind))
          .filter((name) => plainName.test(name))
          .map((name) => ({ word: `${before}${name}`, description: kind.slice(0, -1) })),
      ),
    );
    const all = lists.flat();
    return matching(
      all.filter(({ word }, index) => all.findIndex((one) => one.word === word) === index),
      typed,
    );
  }

  async function valuesOf(option: Option, typed: string): Promise<Candidate[]> {
    const choices = (option.argChoices ?? []).map((word) => ({ word, description: "" }));
    if (choices.length > 0) return matching(choices, typed);
    return named(optionKinds(option), false, typed);
  }
  if (awaiting !== undefined) return valuesOf(awaiting, current);
  // `boot s4 worker` is short for `boot assign s4 worker`.
  const taker = command.parent === null ? command.commands.find((one) => one.name() === "assign") : command;
  const options = optionsOf(operands.length > 0 && taker ? taker : command);
  const [, assigned = "", typed = ""] = /^(--[a-z-]+)=(.*)$/.exec(current) ?? [];
  const valued = options.find(({ long, required, optional }) => long === assigned && (required || optional));
  if (valued !== undefined && !onlyOperands)
    return (await valuesOf(valued, typed)).map((one) => ({ ...one, word: `${assigned}=${one.word}` }));
  if (current.startsWith("-") && !onlyOperands)
    return matching(
      options.map((one) => ({
        word: one.long ?? one.flags,
        description: one.description,
      })),
    );
  const inner = operands.length === 0 && !onlyOperands ? visibleCommands(command) : [];
  const commands = matching(inner.map((one) => ({ word: one.name(), description: one.description() })));
  const { registeredArguments: known = [] } = taker ?? {};
  const argument = known[operands.length] ?? (known.at(-1)?.variadic ? known.at(-1) : undefined);
  const names = taker ? await named(argumentKinds(argument, taker), argument?.name() === "machines") : [];
  const shadowed = new Set(commands.map(({ word }) => word));
  const choices = (argument?.argChoices ?? []).map((word) => ({ word, description: "" }));
  return [...commands, ...matching(choices), ...names.filter(({ word }) => !shadowed.has(word))];
}

export const shells = ["bash", "zsh", "fish"] as const;
export type Shell = (typeof shells)[number];

/** Each asks `boot __complete` and takes what it prints: one candidate a line, a tab, its description. */
export const completionScripts: Readonly<Record<Shell, string>> = {
  bash: `# bash completion of boot; for every shell of yours: boot completion bash > ~/.local/share/bash-completion/completions/boot
_boot() {
    local words current IFS=$'\\n'
    words=("\${COMP_WORDS[@]:1:COMP_CWORD}")
    current="\${COMP_WORDS[COMP_CWORD]}"
    # What readline takes for one word of several, such as a MAC or --output=json, stays as it is.
    [[ $current == [:=] || \${COMP_WORDS[COMP_CWORD-1]} == [:=] ]] && return
    mapfile -t COMPREPLY < <("\${COMP_WORDS[0]}" __complete -- "\${words[@]}" 2>/dev/null | cut -f 1)
    # A host set goes on after a comma.
    compopt +o nospace 2>/dev/null
    return 0
}
complete -F _boot boot
`,
  zsh: `#compdef boot
# zsh completion of boot; boot completion zsh > a file _boot in a directory of $fpath, or after compinit: source <(boot completion zsh)
_boot() {
    local word description
    local -a candidates
    while IFS=$'\\t' read -r word description; do
        candidates+=("\${word//:/\\\\:}\${description:+:$description}")
    done < <("\${words[1]}" __complete -- "\${(@Q)words[2,CURRENT]}" 2>/dev/null)
    _describe boot candidates
}
if [ "$funcstack[1]" = "_boot" ]; then
    _boot "$@"
elif (( $+functions[compdef] )); then
    compdef _boot boot
else
    print -u2 'boot: run compinit before this: autoload -U compinit; compinit'
fi
`,
  fish: `# fish completion of boot; boot completion fish > ~/.config/fish/completions/boot.fish
function __boot_complete
    set -l words (commandline --current-process --tokenize --cut-at-cursor)
    set -l current (commandline --current-token --cut-at-cursor)
    $words[1] __complete -- $words[2..-1] "$current" 2>/dev/null
end
complete --command boot --no-files --arguments '(__boot_complete)'
`,
};
