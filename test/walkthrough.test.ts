import { execFile } from "node:child_process";
import { chmodSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import t from "tap";
import { startServer, type TestServer } from "./support/http-fixture.ts";
import { createFakePower, playBoot, quickLimits } from "./support/power-lab.ts";
import { temporaryDirectory } from "./support/samples.ts";

const checkout = resolve(import.meta.dirname, "..");
const page = readFileSync(join(checkout, "docs/walkthrough.md"), "utf8");

interface Step {
  /** In the page, from 1. */
  readonly line: number;
  readonly command: string;
  readonly expected: readonly string[];
}

/** Indented blocks of the page: a line that begins with `boot` is a command, what follows it is what it prints. */
function readSteps(text: string): Step[] {
  const steps: (Step & { expected: string[] })[] = [];
  let isShown = false;
  for (const [index, line] of text.split("\n").entries()) {
    const code = /^ {4}(.*)$/.exec(line)?.[1];
    if (code?.startsWith("boot ")) {
      steps.push({ line: index + 1, command: code, expected: [] });
      isShown = true;
    } else if (code !== undefined && isShown) steps.at(-1)?.expected.push(code);
    // An empty line may be of the output; prose ends it.
    else if (line !== "") isShown = false;
  }
  return steps;
}

/** The file that the page shows under this name: the block that follows the line which names it. */
function readShownFile(text: string, name: string): string {
  const block = new RegExp(`^\`${name}\`.*\\n\\n((?: {4}.*\\n)+)`, "m").exec(text)?.[1];
  if (block === undefined) throw new Error(`the page does not show ${name}`);
  return block.replaceAll(/^ {4}/gm, "");
}

/** Ids of the page, and what they are in this run. */
type Ids = Map<string, string>;
const idForm = /op_[a-z0-9]+/g;
/** Times, durations, shortened digests and ids differ from run to run. */
const variable =
  /\d{4}-\d\d-\d\dT[\d:.]+Z|\b\d+(?:\.\d)? (?:ms|s|min|minutes|h)\b(?: ago)?|\b[0-9a-f]{12}\b|\bop_[a-z0-9]+\b/g;
const masked = (line: string) => line.replaceAll(variable, "?").replaceAll(/ +/g, " ").trim();

/** Does a line of the page tell this line? `…` stands for anything. */
function tells(shown: string, printed: string): boolean {
  const parts = masked(shown).split("…");
  const pattern = parts.map((part) => part.replaceAll(/[.*+?^${}()|[\]\\]/g, "\\$&")).join(".*");
  return new RegExp(`^${pattern}$`).test(masked(printed));
}

/** The first line of the page that the output does not have in its place; a line of `…` alone stands for any lines. */
function firstDifference(expected: readonly string[], output: string, ids: Ids): string | undefined {
  const printed = output.split("\n").filter((line) => line.trim() !== "");
  let at = 0;
  let mayPass = false;
  for (const shown of expected) {
    if (shown.trim() === "…") {
      mayPass = true;
      continue;
    }
    const found = mayPass ? printed.findIndex((line, index) => index >= at && tells(shown, line)) : at;
    const line = printed[found];
    if (line === undefined || !tells(shown, line)) return shown;
    const shownIds = shown.match(idForm) ?? [];
    for (const [index, id] of (line.match(idForm) ?? []).entries()) {
      const name = shownIds[index];
      if (name !== undefined) ids.set(name, id);
    }
    at = found + 1;
    mayPass = false;
  }
  return mayPass || at === printed.length ? undefined : `(nothing more) ${printed[at]}`;
}

/** `boot` as a user's shell finds it. */
function createShell(t: Parameters<typeof temporaryDirectory>[0], dataDir: string) {
  const directory = temporaryDirectory(t);
  const programs = join(directory, "bin");
  const boot = join(programs, "boot");
  mkdirSync(programs);
  writeFileSync(
    boot,
    `#!/bin/sh\nexec '${process.execPath}' --disable-warning=ExperimentalWarning '${checkout}/server/cli/main.ts' "$@"\n`,
  );
  chmodSync(boot, 0o755);
  const env = {
    PATH: `${programs}:${process.env["PATH"]}`,
    ROLLCALL_DATA_DIR: dataDir,
    NODE_COMPILE_CACHE: join(checkout, "node_modules/.cache/compiled"),
  };
  return {
    directory,
    run: (command: string) =>
      new Promise<{ code: number; output: string }>((done) => {
        const child = execFile(
          "/bin/sh",
          ["-c", `exec 2>&1; ${command}`],
          { env, cwd: directory },
          (error, output) => done({ code: error ? Number(error.code ?? -1) : 0, output }),
        );
        child.stdin?.end();
      }),
  };
}

t.test("the walk-through does what it says, line by line", async (t) => {
  const at: { server?: TestServer; orders: number } = { orders: 0 };
  const room = Array.from({ length: 30 }, (_, index) => `s${index + 1}`);
  const isReady = (name: string) => at.server?.store.machines.get(name).phase === "ready";
  const power = createFakePower({
    method: "wol",
    obey: ({ name }) => {
      at.orders += 1;
      // The cable of s7 is out until somebody has looked.
      if (at.server && (name !== "s7" || at.orders > room.length))
        void playBoot(at.server, Number(name.slice(1)));
    },
  });
  const operationLimits = {
    ...quickLimits,
    /** Eight minutes for s7, and they are over when the others are there. */
    get bootMs() {
      return room.every((name) => name === "s7" || isReady(name)) ? 50 : quickLimits.bootMs;
    },
  };
  const server = await startServer(t, { orders: { power, operationLimits } });
  at.server = server;
  await server.addImage("7");
  const shell = createShell(t, server.dataDir);
  writeFileSync(join(shell.directory, "lab225.csv"), readShownFile(page, "lab225.csv"));

  const ids: Ids = new Map();
  const steps = readSteps(page);
  t.ok(steps.length >= 20, `${steps.length} commands were found on the page`);
  for (const { line, command, expected } of steps) {
    const words = command.replaceAll(idForm, (id) => ids.get(id) ?? id);
    const { code, output } = await shell.run(words);
    const difference = firstDifference(expected, output, ids);
    t.equal(difference, undefined, `docs/walkthrough.md:${line}: ${command}\n${difference ? output : ""}`);
    t.equal(code, 0, `docs/walkthrough.md:${line}: exit code; where it is another, the page shows it`);
  }
});
