import { execFile } from "node:child_process";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { promisify } from "node:util";
import t, { type Test } from "tap";
import { completionScripts } from "../server/cli/completion.ts";
import { launcher } from "./support/boot-command.ts";
import { startServer } from "./support/http-fixture.ts";
import { temporaryDirectory } from "./support/samples.ts";

const run = promisify(execFile);
/** Only what never ends is cut off by it. */
const patienceMs = 300_000;

/** A shell's surroundings: the real `boot` of a server that knows two machines and a group, and no file of whoever runs the test. */
async function surroundings(t: Test) {
  const server = await startServer(t);
  await server.add(1, "kiosk1", { group: "lab225" });
  await server.add(2, "kiosk2", { group: "lab225" });
  const home = temporaryDirectory(t);
  const programs = join(home, "bin");
  mkdirSync(programs);
  const start = `#!/bin/sh\nexec '${process.execPath}' '${launcher}' "$@"\n`;
  writeFileSync(join(programs, "boot"), start, { mode: 0o755 });
  const env = {
    PATH: `${programs}:/usr/bin:/bin`,
    HOME: home,
    LC_ALL: "C.UTF-8",
    TERM: "vt100",
    ROLLCALL_DATA_DIR: server.dataDir,
  };
  return { home, env };
}

t.test(
  "fish completes commands, options, roles, groups and host sets with what the server knows",
  async (t) => {
    const { home, env } = await surroundings(t);
    const completions = join(home, ".config/fish/completions");
    mkdirSync(completions, { recursive: true });
    writeFileSync(join(completions, "boot.fish"), completionScripts.fish);
    const lines = [
      "boot kiosk1 resc",
      "boot group show la",
      "boot 'kiosk1 kiosk2' --dry",
      "boot status kiosk1,kiosk",
    ];
    const script = lines
      .map((line) => `complete -C ${JSON.stringify(line)} | sort | cut -f 1; echo .`)
      .join("\n");
    const { stdout, stderr } = await run("fish", ["-c", script], { env, timeout: patienceMs });
    t.equal(stderr, "");
    t.same(stdout.split("\n.\n"), ["rescue", "lab225", "--dry-run", "kiosk1,kiosk1\nkiosk1,kiosk2", ""]);
  },
);

/**
 * Types into an interactive zsh on a terminal of its own. ^X^B shows the line as it then is.
 * @param load what loads the completion
 */
const zshSession = (load: string, lines: readonly string[]) => `
  zmodload zsh/zpty
  zpty shell zsh -f -i
  zpty -w shell 'PS1="> "; unsetopt beep; autoload -U compinit; fpath=($HOME/functions $fpath); compinit -u -D
    ${load}
    show() { print -r -- "<<$BUFFER>>" }; zle -N show; bindkey "^X^B" show
    print -r -- RE""ADY'
  zpty -r -m shell seen '*READY*' || exit 1
  ${lines
    .map(
      (line) => `
  zpty -w -n shell $'\x15${line.replaceAll("'", "\\'")}\t\x18\x02'
  zpty -r -m shell seen '*<<*>>*' || exit 1
  print -r -- "\${\${seen##*<<}%%>>*}"`,
    )
    .join("\n")}
  zpty -d shell
`;

t.test("zsh completes the same at a terminal, as a function of $fpath and when it is sourced", async (t) => {
  const { home, env } = await surroundings(t);
  const functions = join(home, "functions");
  mkdirSync(functions);
  writeFileSync(join(functions, "_boot"), completionScripts.zsh);
  writeFileSync(join(home, "boot.zsh"), completionScripts.zsh);
  const typed = async (load: string, lines: readonly string[]) => {
    const { stdout } = await run("zsh", ["-f", "-c", zshSession(load, lines)], { env, timeout: patienceMs });
    return stdout.split("\n").slice(0, -1);
  };
  const [autoloaded, sourced] = await Promise.all([
    typed(":", [
      "boot kiosk1 resc",
      "boot group show la",
      "boot 'kiosk1 kiosk2' --dry",
      "boot status kiosk1,kiosk2,la",
    ]),
    typed("source ~/boot.zsh", ["boot group li"]),
  ]);
  t.same(autoloaded, [
    "boot kiosk1 rescue ",
    "boot group show lab225 ",
    "boot 'kiosk1 kiosk2' --dry-run ",
    "boot status kiosk1,kiosk2,lab225 ",
  ]);
  t.same(sourced, ["boot group list "]);
  const { stderr } = await run("zsh", ["-f", join(home, "boot.zsh")], { env, timeout: patienceMs });
  t.match(stderr, /run compinit before this/, "without compinit it says what is missing");
});
