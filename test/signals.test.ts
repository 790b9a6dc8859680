import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, openSync } from "node:fs";
import { join, resolve } from "node:path";
import { setTimeout as wait } from "node:timers/promises";
import t, { type Test } from "tap";
import { stopOnSignals } from "../server/stop-signals.ts";
import { createLan } from "./support/namespaces.ts";
import { temporaryDirectory } from "./support/samples.ts";

const launcher = resolve(import.meta.dirname, "../server/launch.mjs");

/** The server by its launcher, in a network of its own and with a full device for its log; resolves when it is up. */
async function startByLauncher(t: Test): Promise<{ child: ChildProcess; dataDir: string }> {
  const lan = createLan(t, { server: { s0: "lan 10.75.0.1/24" } });
  const dataDir = join(temporaryDirectory(t), "data");
  const words = [process.execPath, launcher, "serve", "--interface", "s0", "--data", dataDir];
  const child = spawn("ip", ["netns", "exec", lan.namespaceOf("server"), ...words], {
    // A process group of its own, as a terminal makes for each command.
    detached: true,
    stdio: ["ignore", "pipe", openSync("/dev/full", "w")],
  });
  t.teardown(() => {
    if (child.exitCode === null && child.signalCode === null) process.kill(-(child.pid ?? 0), "SIGKILL");
  });
  let output = "";
  await new Promise<void>((up, fail) => {
    child.stdout?.on("data", (chunk: Buffer) => {
      output += chunk.toString();
      if (output.includes("Try:")) up();
    });
    child.once("exit", (code) => fail(new Error(`ended with ${code}:\n${output}`)));
  });
  return { child, dataDir };
}

t.test("one Ctrl-C in a terminal reaches the server twice, and is a clean stop", async (t) => {
  const { child, dataDir } = await startByLauncher(t);
  const control = join(dataDir, "control.sock");
  t.ok(existsSync(control), "it is up, with nowhere to write its log to");
  const ended = once(child, "exit");
  // To the whole group, as the terminal does; the launcher passes its own on besides.
  process.kill(-(child.pid ?? 0), "SIGINT");
  t.same(await ended, [0, null]);
  t.notOk(existsSync(control), "the control socket is gone");
});

/** A process whose signals the test sends. */
function createProcess() {
  const listeners = new Map<string, () => void>();
  const exits: number[] = [];
  return {
    exits,
    on: (signal: string, listener: () => void) => void listeners.set(signal, listener),
    exit: (code: number) => void exits.push(code),
    send: (signal: string) => listeners.get(signal)?.(),
  };
}

t.test(
  "whatever signals come, the stop is begun once; Ctrl-C after a second more ends it by force",
  async (t) => {
    const process = createProcess();
    let stops = 0;
    let finish = () => {};
    const stop = () => {
      stops++;
      return new Promise<void>((resolve) => (finish = resolve));
    };
    const ended = stopOnSignals(process, stop, () => t.fail("it does not fail"));
    for (const signal of ["SIGINT", "SIGINT", "SIGTERM", "SIGHUP", "SIGINT"]) process.send(signal);
    t.equal(stops, 1);
    t.same(process.exits, []);
    await wait(1050);
    process.send("SIGTERM");
    t.same(process.exits, [], "systemd's signal is patient");
    process.send("SIGINT");
    t.same(process.exits, [130]);
    finish();
    t.equal(await ended, 0);
  },
);

t.test("a stop that fails is told, and is the exit code 1", async (t) => {
  const process = createProcess();
  const failures: unknown[] = [];
  const failure = new Error("a socket does not close");
  const ended = stopOnSignals(
    process,
    () => Promise.reject(failure),
    (error) => failures.push(error),
  );
  process.send("SIGHUP");
  t.equal(await ended, 1);
  t.same(failures, [failure]);
});
