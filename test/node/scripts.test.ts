import { execFile } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import t from "tap";
import { toShellScript } from "../../server/node/emit-shell.ts";
import { nodeTree } from "../../server/node/node-tree.ts";
import { runInLayer } from "../support/host-layer.ts";
import { allSamples } from "../support/node-samples.ts";

const run = promisify(execFile);

/** What a program finds in a script on its standard input; nothing when there is no fault. */
async function faultsOf(program: readonly string[], text: string, directory: string): Promise<string> {
  const path = join(directory, "script");
  writeFileSync(path, text);
  const [name = "", ...words] = program;
  return run(name, [...words, path]).then(
    ({ stdout, stderr }) => stdout + stderr,
    (error: { stdout?: string; stderr?: string }) => `${error.stdout}${error.stderr}` || "failed",
  );
}

t.test("every script is sh for dash and busybox, and shellcheck finds no fault in it", async (t) => {
  const directory = t.testdir();
  const scripts = new Map<string, string>();
  for (const { name, spec } of allSamples()) {
    scripts.set(toShellScript(spec), `${name}: the emitted script`);
    for (const { path, text, mode } of nodeTree(spec).files)
      if ((mode & 0o111) !== 0) scripts.set(text, `${name}: ${path}`);
  }
  for (const [text, name] of scripts)
    for (const program of [
      ["dash", "-n"],
      ["busybox", "ash", "-n"],
      ["shellcheck", "--shell=sh", "--severity=style"],
    ])
      t.equal(await faultsOf(program, text, directory), "", `${name}: ${program[0]}`);
});

t.test("systemd finds no fault in the units, in a system that has the node's files", async (t) => {
  for (const name of ["debian-worker", "alt-master", "fedora-coreos-worker", "flatcar-master"]) {
    const spec = allSamples().find((one) => one.name === name)?.spec;
    if (!spec) throw new Error(name);
    const directory = mkdtempSync(join(tmpdir(), "rollcall-units-"));
    t.teardown(() => rmSync(directory, { recursive: true, force: true }));
    writeFileSync(join(directory, "node.sh"), toShellScript(spec));
    const system = spec.units.filter(({ scope }) => scope === "system").map(({ name }) => name);
    const verify = (words: string) =>
      `chroot layer/root systemd-analyze ${words} 2>&1 || echo "it failed: $?"`;
    const { said } = await runInLayer(directory, [
      "mkdir -p layer/root/tmp",
      "cp node.sh layer/root/tmp/node.sh",
      "chroot layer/root sh /tmp/node.sh",
      // Programs are looked for of units that are named only.
      verify(`verify --man=no multi-user.target user@771.service ${system.join(" ")}`),
      `export XDG_RUNTIME_DIR=/tmp; ${verify("--user verify --man=no rootlesskit.service kubelet.service")}`,
    ]);
    const ours = said
      .split("\n")
      .filter((line) => /u7s|rootlesskit|rollcall|kubelet|failed|cycle/.test(line));
    t.same(ours, [], `${name}: ${said.slice(0, 300)}`);
  }
});
