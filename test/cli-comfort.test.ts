import { execFile, execFileSync } from "node:child_process";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { promisify } from "node:util";
import type { Command } from "commander";
import t from "tap";
import { colourPaint, mayColour } from "../server/cli/colour.ts";
import type { EventView } from "../server/cli/commands/event.ts";
import { overviewOf, overviewText } from "../server/cli/commands/overview.ts";
import type { MachineView } from "../server/cli/commands/status.ts";
import { complete, type NameKind, visibleOptions } from "../server/cli/completion.ts";
import { leafCommands, manualPage } from "../server/cli/manual.ts";
import { formatTable } from "../server/cli/output.ts";
import { buildProgram } from "../server/cli/program.ts";
import { boot, launcher } from "./support/boot-command.ts";
import { startServer } from "./support/http-fixture.ts";
import { temporaryDirectory } from "./support/samples.ts";

const machineView = (name: string, group: string | null, phase: string): MachineView => ({
  name,
  macs: [],
  group,
  seat: null,
  address: null,
  phase,
  role: "worker",
  roleProblem: null,
  runs: null,
  lastSeenAt: null,
  boot:
    phase === "booting"
      ? { id: "b_1", outcome: "running", verdict: null, lastStep: "kernel", startedAt: "" }
      : null,
  progress: null,
});
const now = Date.UTC(2026, 2, 2, 12);
const alarm = (agoMs: number, level: string, message: string): EventView => ({
  seq: 1,
  at: new Date(now - agoMs).toISOString(),
  type: "dhcp.conflict",
  level,
  machine: null,
  actor: null,
  message,
});

t.test("the overview counts rooms by phase, tells what is under way and what to type next", async (t) => {
  const overview = overviewOf(
    [
      machineView("s1", "lab225", "ready"),
      machineView("s2", "lab225", "booting"),
      machineView("s3", "lab225", "ready"),
      machineView("m-1", null, "discovered"),
      machineView("s9", "attic", "failed"),
    ],
    [
      alarm(3_600_001, "alarm", "too old"),
      alarm(60_000, "warning", "no alarm"),
      alarm(120_000, "alarm", "two servers\u001b[31m"),
    ],
    { name: "lab", state: "up", readyMasters: 1 },
    now,
  );
  t.same(
    overviewText(overview, now).split("\n"),
    `Rooms
  attic     1 machine: 1 failed
  lab225    3 machines: 2 ready, 1 booting
  no group  1 machine: 1 discovered

Under way
  s2  booting  kernel

Cluster
  lab: up, 1 master ready

Alarms of the last hour
  alarm two servers\ufffd[31m (2 min ago)

Next
  boot doctor s9                    why its boot failed, and what to do
  boot events                       what else happened
  boot machine accept m-1 --name s1  somebody new waits
  boot status --watch               see them through
  boot status                       the whole roll
  boot dashboard                    the same in a browser: a link that signs you in
  boot --help                       all commands, with examples
`
      .replaceAll(/^( {2}boot .*?) {2,}/gm, (_, command: string) => `${command.padEnd(37)}`)
      .split("\n"),
  );
  t.match(overviewText(overviewOf([], [], null, now), now), /^Next\n {2}boot machine add s1 --mac/);
});

t.test("colours are for terminals, and whoever asks for them or refuses them is heard", async (t) => {
  const cases: [boolean, Record<string, string>, boolean][] = [
    [true, {}, true],
    [false, {}, false],
    [true, { NO_COLOR: "1" }, false],
    [true, { NO_COLOR: "" }, true],
    [true, { TERM: "dumb" }, false],
    [false, { FORCE_COLOR: "1" }, true],
    [true, { FORCE_COLOR: "0" }, false],
    [true, { FORCE_COLOR: "1", NO_COLOR: "1" }, true],
  ];
  for (const [isTerminal, environment, expected] of cases)
    t.equal(mayColour(isTerminal, environment), expected, JSON.stringify([isTerminal, environment]));
  const table = {
    columns: ["machine", "phase", "role"],
    rows: [
      ["ready", "ready", "ready"],
      ["s10", "accepted", "constructor"],
    ],
    empty: "",
  };
  const coloured = formatTable(table, colourPaint);
  t.equal(coloured.split("\n")[1], "ready    \u001b[32mready   \u001b[0m  ready");
  t.equal(coloured.replaceAll(/\u001b\[[0-9]+m/g, ""), formatTable(table), "the columns stay where they are");
});

t.test("on a terminal long cells go on below, in whole words, and their columns stay where they are", (t) => {
  const table = {
    columns: ["machine", "why", "do"],
    rows: [
      [
        "s4",
        "nobody gives it an address on this network",
        "look at http://10.0.0.1/a-long-path-that-is-whole",
      ],
      ["s5", "fine", ""],
    ],
    empty: "",
  };
  const lines = formatTable(table, undefined, 60).trimEnd().split("\n");
  t.equal(lines[0], `MACHINE  ${"WHY".padEnd(24)}  DO`);
  t.ok(lines.every((line) => line.length <= 60 || line.includes("http://")));
  t.equal(
    lines
      .map((line) => line.slice(9, 33).trim())
      .join(" ")
      .replace(/ +/g, " "),
    "WHY nobody gives it an address on this network fine",
  );
  t.ok(lines.some((line) => line.endsWith("  http://10.0.0.1/a-long-path-that-is-whole")));
  t.equal(formatTable(table).trimEnd().split("\n").length, 3, "for programs each row is one line");
  t.equal(formatTable(table, undefined, 300), formatTable(table), "and where there is room");
  t.end();
});

const names: Record<NameKind, string[]> = {
  machines: ["s1", "s2", "status-board", "$(reboot)"],
  groups: ["lab225", "lab226"],
  roles: ["worker", "rescue"],
  schedules: ["noon"],
};

t.test("what may stand at the end of a line is completed", async (t) => {
  const program = buildProgram();
  const cases: [string[], string[]][] = [
    [
      ["machine", "a"],
      ["add", "accept"],
    ],
    [["sta"], ["status", "status-board"]],
    [["s1", "w"], ["worker"]],
    [
      ["lab225", "--o"],
      ["--once", "--override-exam", "--output"],
    ],
    [
      ["status", "l"],
      ["lab225", "lab226"],
    ],
    [
      ["status", "s1,-l"],
      ["s1,-lab225", "s1,-lab226"],
    ],
    [
      ["machine", "show", "s"],
      ["s1", "s2", "status-board"],
    ],
    [["machine", "show", "--output", "j"], ["json"]],
    [["--output", "yaml", "role", "sh"], ["show"]],
    [
      ["machine", "edit", "s1", "--group", "lab"],
      ["lab225", "lab226"],
    ],
    [["machine", "add", "s1", "--local-boot", "s"], ["sanboot"]],
    [["events", "--machine", "s1"], ["s1"]],
    [
      ["group", "release", ""],
      ["lab225", "lab226"],
    ],
    [["group", "add", "l"], []],
    [["schedule", "show", ""], ["noon"]],
    [
      ["completion", ""],
      ["bash", "zsh", "fish"],
    ],
    [
      ["release", "--", "-s"],
      ["-s1", "-s2", "-status-board"],
    ],
    [["__c"], []],
    [["machine", "show", "$"], []],
  ];
  for (const [words, expected] of cases) {
    const found = await complete(program, words, async (kind) => names[kind]);
    t.same(
      found.map(({ word }) => word).filter((word) => words.at(-1) !== "--o" || word.startsWith("--o")),
      expected,
      words.join(" "),
    );
  }
});

t.test("every command and option of the tree is completed where it stands", async (t) => {
  const program = buildProgram();
  for (const { path, command } of leafCommands(program)) {
    const words = path.split(" ");
    const commands = await complete(program, words, async () => []);
    t.ok(
      commands.some(({ word }) => word === words.at(-1)),
      path,
    );
    const options = await complete(program, [...words, "-"], async () => []);
    for (const { long } of visibleOptions(command))
      t.ok(
        options.some(({ word }) => word === long),
        `${path} ${long}`,
      );
  }
});

t.test("bash completes with what the server knows", async (t) => {
  const server = await startServer(t);
  await server.add(1, "kiosk1", { group: "lab225" });
  await server.add(2, "kiosk2", { group: "lab225" });
  const directory = temporaryDirectory(t);
  const program = join(directory, "boot");
  writeFileSync(program, `#!/bin/sh\nexec '${process.execPath}' '${launcher}' "$@"\n`, { mode: 0o755 });
  writeFileSync(join(directory, "completion"), (await boot(["completion", "bash"])).out);
  const script = `
    source '${directory}/completion'
    for line in 'machine show kios' 'kiosk1 resc' 'group li' 'status --wa'; do
      COMP_WORDS=('${program}' $line); COMP_CWORD=$((\${#COMP_WORDS[@]} - 1)); COMPREPLY=()
      _boot; echo "\${COMPREPLY[*]}"
    done`;
  const { stdout } = await promisify(execFile)("bash", ["-c", script], {
    env: { PATH: process.env["PATH"], ROLLCALL_DATA_DIR: server.dataDir },
  });
  t.equal(stdout, "kiosk1 kiosk2\nrescue\nlist\n--watch\n");
  const unreachable = await boot(["--data", directory, "__complete", "--", "machine", "show", ""]);
  t.match(unreachable, { code: 0, out: "", err: "" }, "nobody is disturbed where no server answers");
});

/** The page as a reader sees it, on one line. */
function readable(page: string): string {
  const { stdout } = {
    stdout: execFileSync("groff", ["-man", "-Tutf8", "-P-cbou", "-rLL=4000n"], { input: page }),
  };
  return stdout.toString().replaceAll(/\s+/g, " ");
}

t.test("the manual page holds the tree of commands, and groff has nothing to say against it", async (t) => {
  const program = buildProgram();
  const page = manualPage(program, "1.0");
  const file = join(temporaryDirectory(t), "boot.1");
  writeFileSync(file, page);
  const { stdout, stderr } = await promisify(execFile)("groff", ["-man", "-ww", "-z", "-Tutf8", file]);
  t.same([stdout, stderr], ["", ""]);
  const text = readable(page);
  const has = (words: string) => t.ok(text.includes(words.replaceAll(/\s+/g, " ").trim()), words);
  const described = (command: Command, path: string): void => {
    has(`boot ${path}`);
    has(command.description().slice(1));
    for (const option of visibleOptions(command).filter(({ long }) => long !== "--help")) {
      has(option.flags);
      has(option.description.slice(1));
    }
  };
  const leaves = leafCommands(program);
  t.ok(leaves.length > 50);
  for (const { path, command } of leaves) described(command, path);
  t.notMatch(text, /__complete/);
  t.equal((page.match(/^\.SS /gm) ?? []).length, leaves.length, "and nothing besides");
});

t.test("`boot` alone says what is going on, and a slip in a name is told what is near", async (t) => {
  const server = await startServer(t);
  const local = ["--data", server.dataDir];
  await server.add(1, "kiosk1", { group: "lab225" });
  const [bare, json, coloured, machine, set, role, group, nowhere] = await Promise.all([
    boot(local),
    boot([...local, "--output", "json"]),
    boot(local, { FORCE_COLOR: "1" }),
    boot([...local, "machine", "show", "kisok1"]),
    boot([...local, "lab252", "discover"]),
    boot([...local, "kiosk1", "wroker"]),
    boot([...local, "group", "assign", "lba225", "worker"]),
    boot(["--data", temporaryDirectory(t)]),
  ]);
  t.match(bare.out, /^Rooms\n {2}lab225 {2}1 machine: 1 accepted\n\nNext\n {2}boot kiosk1 worker +it has no/);
  t.match(JSON.parse(json.out), { rooms: [{ group: "lab225", phases: { accepted: 1 } }], cluster: null });
  t.equal(coloured.out, bare.out, "accepted has no colour");
  t.match([machine.code, machine.err], [1, /\nDid you mean kiosk1\?\n$/]);
  t.match(set.err, /\nDid you mean lab225\?\n$/);
  t.match(role.err, /\nDid you mean worker\?\n$/);
  t.match(group.err, /\nDid you mean lab225\?\n$/);
  t.match([nowhere.code, nowhere.out], [3, /^Usage: boot /]);
});
