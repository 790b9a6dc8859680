import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Command, Option } from "commander";
import { safeLines } from "../output.ts";
import type { GivenParameter } from "../parameters.ts";
import type { Session } from "../session.ts";
import { parameter, resolvedTarget } from "./assign.ts";

interface Rendered {
  text: string | null;
  problem: string | null;
}
interface Difference {
  machine: string;
  document: string;
  before: Rendered;
  after: Rendered;
}

interface DiffOptions {
  param: readonly GivenParameter[];
  full?: boolean;
}

/** The lines of a unified diff (POSIX diff -u), without its header. */
function unifiedDiff(before: string, after: string): string[] {
  const directory = mkdtempSync(join(tmpdir(), "rollcall-diff-"));
  try {
    writeFileSync(join(directory, "now"), before, { mode: 0o600 });
    writeFileSync(join(directory, "then"), after, { mode: 0o600 });
    const { stdout, stderr, status, error } = spawnSync("diff", ["-u", "now", "then"], {
      cwd: directory,
      encoding: "utf8",
      maxBuffer: 64 * 1024 * 1024,
    });
    // 0: the same, 1: different, more: trouble.
    if (error ?? (status === null || status > 1))
      throw new Error(
        `the program diff (Debian package diffutils) did not do its work: ${error?.message ?? stderr}`,
      );
    return stdout.split("\n").slice(2, -1);
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

const textOf = ({ text, problem }: Rendered): string =>
  problem === null ? (text ?? "") : `(can't be served: ${problem})\n`;

function draw(differences: readonly Difference[], isFull: boolean): string {
  const machines = [...new Set(differences.map(({ machine }) => machine))];
  const [first] = machines;
  let drawn = "";
  for (const { machine, document, before, after } of differences) {
    const lines = unifiedDiff(textOf(before), textOf(after));
    const count = (sign: string) => lines.filter((line) => line.startsWith(sign)).length;
    drawn += `== ${machine} ${document}: ${count("+")} lines more, ${count("-")} less\n`;
    if (isFull || machine === first) drawn += `${lines.join("\n")}\n`;
  }
  if (machines.length > 1 && !isFull) drawn += `Shown whole for ${first}; --full shows every machine.\n`;
  return safeLines(drawn);
}

async function diff(
  session: Session,
  hostSet: string,
  target: string,
  document: string | undefined,
  options: DiffOptions,
): Promise<void> {
  const { items } = await session.client.post<{ items: Difference[] }>("/assignments/diff", {
    machines: hostSet,
    ...(await resolvedTarget(session, target, options.param)),
    ...(document !== undefined && { documents: [document] }),
  });
  session.show(items, () =>
    items.length === 0 ? "Nothing that is served would change.\n" : draw(items, options.full ?? false),
  );
}

export function diffCommand(program: Command, open: () => Session): void {
  program
    .command("diff <machines> <target> [document]")
    .description(
      "what would be served otherwise if this were assigned: each document line by line, secrets masked",
    )
    .addOption(new Option("--full", "every machine whole, not only the first"))
    .addOption(
      new Option("--param <name=value>", "parameter of the role").argParser(parameter).default([], "none"),
    )
    .addHelpText("after", "\nExamples:\n  boot diff lab225 worker\n  boot diff s4 rescue user-data")
    .action((hostSet: string, target: string, document: string | undefined, options: DiffOptions) =>
      diff(open(), hostSet, target, document, options),
    );
}
