import { execFile, spawn } from "node:child_process";
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { promisify } from "node:util";
import t, { type Test } from "tap";
import { ensureImage } from "../support/e2e-lab.ts";

const root = resolve(import.meta.dirname, "../..");
const run = promisify(execFile);

interface Ended {
  readonly code: number | null;
  readonly out: string;
  readonly err: string;
}

/** Runs `boot demo`; what it prints is told as it comes. */
function demo(t: Test, ...words: string[]): Promise<Ended> {
  const main = join(root, "server/cli/main.ts");
  const child = spawn(process.execPath, ["--disable-warning=ExperimentalWarning", main, "demo", ...words], {
    stdio: ["ignore", "pipe", "pipe"],
  });
  t.teardown(() => child.kill());
  let out = "";
  let err = "";
  child.stdout.on("data", (chunk: Buffer) => {
    out += chunk.toString();
    for (const line of chunk.toString().split("\n")) if (/^ +\d+ s /.test(line)) t.comment(line.trim());
  });
  child.stderr.on("data", (chunk: Buffer) => (err += chunk.toString()));
  return new Promise((done) => child.once("close", (code) => done({ code, out, err })));
}

/** Processes that have these words on their command line. */
function processesWith(text: string): string[] {
  return readdirSync("/proc").filter((name) => {
    if (!/^\d+$/.test(name)) return false;
    try {
      return readFileSync(`/proc/${name}/cmdline`, "utf8").includes(text);
    } catch {
      return false; // It ended meanwhile.
    }
  });
}

t.test(
  "boot demo --until-ready boots its machine into its role, ends with 0 and leaves nothing behind",
  async (t) => {
    const image = await ensureImage(t);
    // Not t.testdir: a Unix socket's path, and the server has one there, is 107 octets at most.
    const data = mkdtempSync(join(tmpdir(), "rcdemo-"));
    t.teardown(() => rmSync(data, { recursive: true, force: true }));
    const { code, out, err } = await demo(
      t,
      "--machines",
      "1",
      "--image",
      image,
      "--until-ready",
      "--screens",
      "--data",
      data,
    );
    if (code !== 0) t.comment(err.slice(-3000));
    t.equal(code, 0, "exit code 0");
    t.match(out, /All ready, \d+ s after power-on\./, "it says that all are ready");
    const spans = [...out.matchAll(/^(firmware|first stage|kernel|root|system|configured).* (\d+\.\d)$/gm)];
    t.equal(spans.length, 8, "and where the time went, by phase");
    for (const [line] of spans) t.comment(line);
    t.match(out, /Switching on a diskless machine\.\.\./, "one machine, as was asked");
    t.match(
      out,
      /^Its dashboard: http:\/\/\S+:8080\/dashboard\/sign-in#link=\S+$/m,
      "a link into its dashboard",
    );
    t.notMatch(out, /Building the Debian image/, "the image that was named is not built again");
    const lines = out.split("\n").filter((line) => /^ +\d+ s +master1 /.test(line));
    // It is netbooting for a tenth of a second, which may be too short for a line.
    for (const phase of ["booting", "configuring", "ready"])
      t.ok(
        lines.some((line) => line.includes(` ${phase} `)),
        `its line passes through ${phase}`,
      );
    // The login prompt may come after the callback, when the demo has ended already.
    t.match(err, /^master1\| .*Linux version/m, "--screens shows what stands on its screen");

    t.notMatch((await run("ip", ["netns", "list"])).stdout, /rollcall-demo/, "its network namespace is gone");
    await t.rejects(
      run("ip", ["link", "show", "rollcall-demo0"]),
      /does not exist/,
      "so is its cable to the host",
    );
    t.same(processesWith("52:54:00:99:00:01"), [], "so is its machine");
    t.same(processesWith(join(data, "demo")), [], "and so is its server");
    t.notOk(existsSync(join(data, "demo/control.sock")), "nobody waits on its socket");
  },
);

t.test("boot demo refuses a number of machines that it does not have", async (t) => {
  const { code, err } = await demo(t, "--machines", "4");
  t.equal(code, 2, "exit code 2");
  t.match(err, /--machines <count>.*1, 2 or 3/, "it says what it takes");
});
