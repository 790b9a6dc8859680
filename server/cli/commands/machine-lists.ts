import { readFileSync, statSync } from "node:fs";
import { type Command, Option } from "commander";
import { formatTable, safeText } from "../output.ts";
import type { Session } from "../session.ts";

interface Noted {
  readonly line: number;
  readonly problem: string;
}

interface ImportAnswer {
  readonly format: string;
  readonly applied: boolean;
  readonly counts: {
    readonly new: number;
    readonly changed: number;
    readonly same: number;
    readonly conflict: number;
  };
  readonly plan: readonly {
    readonly line: number;
    readonly action: string;
    readonly machine: string;
    readonly macs: readonly string[];
    readonly group: string | null;
    readonly seat: string | null;
    readonly address: string | null;
    readonly changes: Readonly<
      Record<string, { readonly before: string | null; readonly after: string | null }>
    >;
  }[];
  readonly problems: readonly Noted[];
  readonly notes: readonly Noted[];
  readonly ignored: readonly { readonly what: string; readonly count: number }[];
  readonly newGroups: readonly string[];
}

interface AcceptAnswer {
  readonly applied: boolean;
  readonly machines: readonly {
    readonly before: string;
    readonly name: string | null;
    readonly mac: string;
    readonly seat: string | null;
    readonly problem: string | null;
  }[];
}

/** What the server takes of a list, octets. */
const listLimitBytes = 1024 * 1024;

/** The text of a list: UTF-8, or the UTF-16 that some spreadsheets write. */
function readText(file: string, command: Command): string {
  const octets = readOctets(file, command);
  const isUtf16 = octets[0] === 0xff && octets[1] === 0xfe;
  try {
    return new TextDecoder(isUtf16 ? "utf-16le" : "utf-8", { fatal: true }).decode(octets);
  } catch {
    return command.error(
      `error: ${file} is not UTF-8; save it as "CSV UTF-8", or run: iconv -f WINDOWS-1252 -t UTF-8`,
    );
  }
}

function readOctets(file: string, command: Command): Buffer {
  let sizeBytes: number;
  try {
    sizeBytes = statSync(file).size;
    if (sizeBytes <= listLimitBytes) return readFileSync(file);
  } catch (error) {
    return command.error(
      `error: ${file} can't be read: ${error instanceof Error ? error.message : String(error)}`,
    );
  }
  return command.error(
    `error: ${file} has ${sizeBytes} octets, and a list has ${listLimitBytes} at most; import it in parts`,
  );
}

function changesInWords(changes: ImportAnswer["plan"][number]["changes"]): string {
  return Object.entries(changes)
    .map(([fact, { before, after }]) => `${fact} ${before ?? "-"} -> ${after ?? "-"}`)
    .join(", ");
}

function importInWords(file: string, answer: ImportAnswer, isDryRun: boolean): string {
  const { counts, plan, problems, notes, ignored, newGroups } = answer;
  const table = formatTable({
    columns: ["line", "machine", "plan", "macs", "group", "seat", "address", "changes"],
    rows: plan
      .filter(({ action }) => action !== "same")
      .map((one) => [
        one.line,
        one.machine,
        one.action,
        one.macs.join(" "),
        one.group,
        one.seat,
        one.address,
        changesInWords(one.changes) || null,
      ]),
    empty: "Nothing changes.",
  });
  const told = (title: string, lines: readonly Noted[]) =>
    lines.length === 0
      ? []
      : ["", title, ...lines.map(({ line, problem }) => safeText(`${file}:${line}: ${problem}`))];
  const sums = `${counts.new} new, ${counts.changed} changed, ${counts.same} the same`;
  return [
    table.trimEnd(),
    ...told("Worth a look:", notes),
    ...told("Problems:", problems),
    "",
    ...(ignored.length === 0
      ? []
      : [`Left out: ${safeText(ignored.map(({ what, count }) => `${what} (${count})`).join(", "))}`]),
    ...(newGroups.length === 0 ? [] : [`New groups: ${newGroups.join(", ")}`]),
    problems.length > 0
      ? `Nothing was imported. Mend what stands above in ${file}, and import it again.`
      : isDryRun
        ? `Would import: ${sums}. To do it, leave --dry-run away.`
        : `Imported: ${sums}.`,
    "",
  ].join("\n");
}

export function importCommand(machine: Command, open: () => Session): void {
  machine
    .command("import <file>")
    .description("machines from CSV, an ISC dhcpd.conf or dnsmasq's dhcp-host lines: all of them or none")
    .addOption(
      new Option("--format <format>", "of the file (default: by its look)").choices([
        "csv",
        "isc",
        "dnsmasq",
      ]),
    )
    .option("--group <name>", "room of the machines whose line names none")
    .option("--dry-run", "only show what would be done")
    .addHelpText("after", "\nExample:\n  boot machine import room225.csv --group lab225 --dry-run")
    .action(
      async (
        file: string,
        { dryRun = false, ...options }: { format?: string; group?: string; dryRun?: boolean },
        command: Command,
      ) => {
        const text = readText(file, command);
        const session = open();
        const ask = (dryRun: boolean) =>
          session.client.post<ImportAnswer>("/machines/import", { text, ...options, dryRun });
        const plan = await ask(true);
        const isRefused = plan.problems.length > 0;
        const answer = dryRun || isRefused ? plan : await ask(false);
        session.show(answer, () => importInWords(file, answer, dryRun));
        if (isRefused) process.exitCode = 1;
      },
    );
}

export function acceptCommand(machine: Command, open: () => Session): void {
  machine
    .command("accept [machines]")
    .description("accept discovered machines, and name them")
    .option("--all", "all that nobody accepted yet, in the order in which they were met")
    .option("--name <name>", "name, or a pattern: pc{n:02}, lab225-{seat}, {serial}, {mac6}, {switch}-{port}")
    .option("--start <number>", "{n} of the first one", "1")
    .option("--dry-run", "only show the names")
    .addHelpText(
      "after",
      "\nExamples:\n  boot machine accept 52:54:00:00:00:04 --name s4\n  boot machine accept --all --name 'pc{n:02}' --dry-run",
    )
    .action(
      async (
        hostSet: string | undefined,
        options: { all?: boolean; name?: string; start: string; dryRun?: boolean },
        command: Command,
      ) => {
        if ((hostSet === undefined) === (options.all !== true))
          command.error("error: name the machines, or say --all for all that nobody accepted yet");
        if (!/^[0-9]{1,6}$/.test(options.start)) command.error("error: --start is a whole number, like 11");
        const session = open();
        const ask = (dryRun: boolean) =>
          session.client.post<AcceptAnswer>("/machines/accept", {
            ...(hostSet === undefined ? {} : { machines: hostSet }),
            ...(options.name === undefined ? {} : { name: options.name }),
            start: Number(options.start),
            dryRun,
          });
        const plan = await ask(true);
        const isRefused = plan.machines.some(({ problem }) => problem !== null);
        const answer = options.dryRun === true || isRefused ? plan : await ask(false);
        session.show(answer, () => acceptInWords(answer, isRefused));
        if (isRefused) process.exitCode = 1;
      },
    );
}

function acceptInWords({ applied, machines }: AcceptAnswer, isRefused: boolean): string {
  const [one] = machines;
  if (applied && one && machines.length === 1) return `Accepted ${one.name}.\n`;
  const table = formatTable({
    columns: ["machine", "mac", "seat", "name", ...(isRefused ? ["problem"] : [])],
    rows: machines.map(({ before, mac, seat, name, problem }) => [
      before,
      mac,
      seat,
      name,
      ...(isRefused ? [problem ?? ""] : []),
    ]),
    empty: "",
  });
  const end = isRefused
    ? "Nothing was accepted. Choose another pattern, or another first number with --start."
    : applied
      ? `Accepted ${machines.length} machines.`
      : "Nothing was accepted yet. To do it, leave --dry-run away.";
  return `${table}\n${end}\n`;
}
