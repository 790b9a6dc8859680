import { spawn } from "node:child_process";
import { once } from "node:events";
import { readFileSync, writeFileSync } from "node:fs";
import { cpus, release, totalmem } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { root } from "../../server/platform/checkout.ts";
import { type BenchLab, createBenchLab } from "./bench-lab.ts";
import { ensurePeers } from "./packages.ts";
import { createResults, type Results } from "./results.ts";
import { building } from "./sections/building.ts";
import { collector } from "./sections/collector.ts";
import { dashboard } from "./sections/dashboard.ts";
import { dhcp } from "./sections/dhcp.ts";
import { http } from "./sections/http.ts";
import { proxy } from "./sections/proxy.ts";
import { registry } from "./sections/registry.ts";
import { scripts } from "./sections/scripts.ts";
import { tftp } from "./sections/tftp.ts";

/** Tables of docs/performance.md, each between marks of its own. */
type TableName = "boot" | "registry" | "collector" | "dashboard";

/** One part of the benchmarks. Each round runs all servers one after another, so that what disturbs one disturbs all. */
export interface Section {
  readonly name: string;
  readonly summary: string;
  /** The table that it makes a part of. */
  readonly table: TableName;
  run(bench: Bench): Promise<void>;
}

export interface Bench {
  readonly lab: BenchLab;
  readonly results: Results;
  readonly rounds: number;
  /** Directory for CPU profiles of our server. */
  readonly profile: string | undefined;
  /** Measures one server; nobody else who takes turns by the same file measures meanwhile. */
  turn<T>(work: () => Promise<T>): Promise<T>;
}

/** Runs `work` while this process has the file's lock (flock(1)). */
async function withTurn<T>(file: string | undefined, work: () => Promise<T>): Promise<T> {
  if (file === undefined) return work();
  const holder = spawn("flock", [file, "sh", "-c", "echo mine; exec cat"], {
    stdio: ["pipe", "pipe", "inherit"],
  });
  await once(holder.stdout, "data");
  try {
    return await work();
  } finally {
    holder.stdin.end();
    await once(holder, "exit");
  }
}

const sections: readonly Section[] = [
  dhcp,
  proxy,
  tftp,
  http,
  scripts,
  building,
  registry,
  collector,
  dashboard,
];
const page = join(root, "docs/performance.md");
const marksOf = (table: TableName) =>
  [
    `<!-- the table "${table}", made by npm run bench -- --write -->`,
    `<!-- end of the table "${table}" -->`,
  ] as const;

function describeMachine(): string {
  const [cpu] = cpus();
  const load = readFileSync("/proc/loadavg", "utf8").split(" ").slice(0, 3).join(" ");
  const memory = Math.round(totalmem() / 1e9);
  return `${cpus().length} cores (${cpu?.model.trim() ?? "unknown"}), ${memory} GB, Linux ${release()}, Node ${process.versions.node}; load average at the end ${load}`;
}

function writePage(name: TableName, command: string, table: string): void {
  const text = readFileSync(page, "utf8");
  const marks = marksOf(name);
  const [begin, end] = [text.indexOf(marks[0]), text.indexOf(marks[1])];
  if (begin < 0 || end < begin) throw new Error(`${page} has no place for the table: ${marks.join(" ... ")}`);
  const made = [
    marks[0],
    "",
    `\`${command}\` on ${new Date().toISOString().slice(0, 10)}: ${describeMachine()}`,
    "",
    table,
    "",
  ];
  writeFileSync(page, `${text.slice(0, begin)}${made.join("\n")}\n${text.slice(end)}`);
}

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    rounds: { type: "string", default: "5" },
    write: { type: "boolean", default: false },
    profile: { type: "string" },
    turns: { type: "string" },
    help: { type: "boolean", short: "h", default: false },
  },
});
const rounds = Number(values.rounds);
const chosen =
  positionals.length === 0 ? sections : sections.filter(({ name }) => positionals.includes(name));
const unknown = positionals.filter((name) => !sections.some((section) => section.name === name));
if (values.help || unknown.length > 0 || !(rounds >= 1)) {
  process.stdout.write(
    `npm run bench -- [section...] [--rounds 5] [--write] [--profile DIR] [--turns FILE]\n${unknown.map((name) => `There is no section ${name}.\n`).join("")}\n` +
      sections.map(({ name, summary }) => `  ${name.padEnd(10)} ${summary}\n`).join(""),
  );
  process.exit(values.help ? 0 : 2);
}

ensurePeers();
const tables = new Map(chosen.map(({ table }) => [table, createResults()]));
const lab = createBenchLab();
let failed = 0;
const interrupt = () => void lab.close().finally(() => process.exit(130));
process.once("SIGINT", interrupt).once("SIGTERM", interrupt);
try {
  for (const section of chosen) {
    process.stdout.write(`\n== ${section.name}: ${section.summary}\n`);
    try {
      await section.run({
        lab,
        results: tables.get(section.table) ?? createResults(),
        rounds,
        profile: values.profile,
        turn: (work) => withTurn(values.turns, work),
      });
    } catch (error) {
      failed++;
      process.stdout.write(
        `FAILED: ${section.name}: ${error instanceof Error ? error.stack : String(error)}\n`,
      );
    }
  }
} finally {
  await lab.close();
}
process.stdout.write(`\nMedians of ${rounds} interleaved rounds. ${describeMachine()}\n`);
for (const [name, results] of tables) {
  process.stdout.write(`\n${results.table()}`);
  const asked = positionals.length === 0 ? [] : chosen.filter(({ table }) => table === name);
  const words = [...asked.map((section) => section.name), "--rounds", values.rounds];
  if (values.write) writePage(name, `npm run bench -- ${words.join(" ")}`, results.markdown());
}
process.exit(failed === 0 ? 0 : 1);
