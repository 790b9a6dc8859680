import { spawn, spawnSync } from "node:child_process";
import { existsSync, mkdirSync, readdirSync, symlinkSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import t from "tap";
import { makePrivateDirectory, sweepPrivateDirectories } from "../../server/power/private-files.ts";
import { startServer } from "../support/http-fixture.ts";
import { temporaryDirectory } from "../support/samples.ts";

const runProgram = resolve(import.meta.dirname, "../../server/power/run-program.ts");
/** A server that is killed in the middle of a call of a program that was given a secret. */
const server = (place: string) => `
  import { runProgram } from ${JSON.stringify(runProgram)};
  await runProgram({
    program: "sh", package: "dash", privateDirectory: ${JSON.stringify(place)}, signal: new AbortController().signal,
    privateFiles: { password: "canary-5d1e" },
    words: (fileOf) => ["-c", "kill -9 $PPID", "sh", fileOf("password")],
  });`;

/** The number of a process that has ended. */
const endedPid = () => spawnSync("true").pid;

t.test("what a killed server left of its secrets is gone after the next start", async (t) => {
  const place = temporaryDirectory(t);
  const words = ["--input-type=module", "--disable-warning=ExperimentalWarning", "-e"];
  const child = spawn(process.execPath, [...words, server(place)], { stdio: "ignore" });
  const [, signal] = await new Promise<[number | null, string | null]>((done) =>
    child.once("exit", (code, name) => done([code, name])),
  );
  t.equal(signal, "SIGKILL");
  const [left = ""] = readdirSync(place);
  t.ok(existsSync(join(place, left, "password")), "the secret lies there");
  t.equal(await sweepPrivateDirectories(place), 1);
  t.strictSame(readdirSync(place), []);
});

t.test("nothing else is touched: what lives, what is not ours, and what only looks like it", async (t) => {
  const place = temporaryDirectory(t);
  const outside = temporaryDirectory(t);
  writeFileSync(join(outside, "kept"), "");
  await makePrivateDirectory(place);
  const dead = endedPid();
  mkdirSync(join(place, `rollcall-${process.ppid}-aaaaaa`), { mode: 0o700 });
  mkdirSync(join(place, `rollcall-${dead}-bbbbbb`), { mode: 0o755 });
  mkdirSync(join(place, `rollcall-${dead}-cccccc.d`), { mode: 0o700 });
  mkdirSync(join(place, `other-${dead}-dddddd`), { mode: 0o700 });
  writeFileSync(join(place, `rollcall-${dead}-eeeeee`), "", { mode: 0o700 });
  symlinkSync(outside, join(place, `rollcall-${dead}-ffffff`));
  const before = readdirSync(place);
  t.equal(await sweepPrivateDirectories(place), 0);
  t.strictSame(readdirSync(place), before);
  mkdirSync(join(place, `rollcall-${dead}-gggggg`), { mode: 0o700 });
  symlinkSync(outside, join(place, `rollcall-${dead}-gggggg`, "link"));
  t.equal(await sweepPrivateDirectories(place), 1);
  t.ok(existsSync(join(outside, "kept")), "no link is followed");
  t.equal(await sweepPrivateDirectories(join(place, "none")), 0);
});

t.test("a server sweeps where its programs read their secrets", async (t) => {
  const left = `/dev/shm/rollcall-${endedPid()}-Abc123`;
  mkdirSync(left, { mode: 0o700 });
  writeFileSync(join(left, "password"), "canary-5d1e");
  await startServer(t);
  t.notOk(existsSync(left));
});
