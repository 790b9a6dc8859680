import { createSocket } from "node:dgram";
import { once } from "node:events";
import { readdirSync, readFileSync } from "node:fs";
import t, { type Test } from "tap";
import { systemClock } from "../../server/platform/clock.ts";
import type { BmcTarget } from "../../server/power/bmc.ts";
import { createIpmi } from "../../server/power/ipmi.ts";
import { startIpmiBoard } from "../support/ipmi-board.ts";
import { temporaryDirectory } from "../support/samples.ts";

const endless = new AbortController().signal;
const password = "canary-$PATH;id";

const targetAt = (port: number): BmcTarget => ({
  machine: "s4",
  address: "127.0.0.1",
  port,
  user: "admin",
  password,
  certificate: undefined,
  authority: undefined,
  system: undefined,
});

async function playing(t: Test) {
  const board = await startIpmiBoard(t, "admin", password);
  const privateDirectory = temporaryDirectory(t);
  // The simulator does not tell its ciphers, which ipmitool asks for in five seconds.
  const ipmi = createIpmi({ clock: systemClock, privateDirectory, options: ["-C", "3"] });
  return { board, ipmi, target: targetAt(board.port), privateDirectory };
}

t.test("a board switches its machine on and off, and tells which it is", async (t) => {
  const { board, ipmi, target, privateDirectory } = await playing(t);
  t.equal(await ipmi.status(target, endless), "off");
  t.equal(await ipmi.act(target, "on", endless), "on");
  t.equal(await ipmi.status(target, endless), "on");
  t.equal(await ipmi.act(target, "off", endless), "off");
  t.strictSame(board.orders(), ["set power 1", "set power 0"]);
  t.strictSame(readdirSync(privateDirectory), [], "no password stays behind");
});

t.test("a machine that is off is restarted by switching it on", async (t) => {
  const { board, ipmi, target } = await playing(t);
  t.equal(await ipmi.act(target, "cycle", endless), "on");
  t.strictSame(board.orders(), ["set power 1"]);
  board.set(true);
  t.equal(await ipmi.act(target, "cycle", endless), "on");
  t.equal(board.orders()[1], "set power 0", "one that is on loses its power first");
});

t.test("a wrong password and a wrong user switch nothing, and the error has no password in it", async (t) => {
  const { board, ipmi, target } = await playing(t);
  for (const wrong of [
    { ...target, password: "canary-wrong" },
    { ...target, user: "nobody" },
  ]) {
    const error = await ipmi.act(wrong, "on", endless).then(
      () => undefined,
      (error: unknown) => error as { code: string; message: string; details: unknown },
    );
    t.match(error?.code, /^BMC_(UNREACHABLE|REFUSED)$/);
    t.notMatch(JSON.stringify({ ...error, message: error?.message }), /canary/);
  }
  t.strictSame(board.orders(), []);
});

t.test(
  "a board that is silent is given up in time, and the password is in no list of processes meanwhile",
  async (t) => {
    const silent = createSocket("udp4");
    await new Promise<void>((resolve) => silent.bind(0, "127.0.0.1", resolve));
    t.teardown(() => silent.close());
    const privateDirectory = temporaryDirectory(t);
    const ipmi = createIpmi({ clock: systemClock, privateDirectory, limitMs: 1000 });
    const asked = once(silent, "message");
    const answer = t.rejects(ipmi.status(targetAt(silent.address().port), endless), {
      code: "BMC_UNREACHABLE",
      message: /no end within 1 s/,
    });
    await asked;
    const told = readdirSync("/proc")
      .filter((name) => /^[0-9]+$/.test(name) && Number(name) !== process.pid)
      .map((pid) => {
        try {
          const words = readFileSync(`/proc/${pid}/cmdline`, "utf8");
          return words.startsWith("ipmitool") ? words + readFileSync(`/proc/${pid}/environ`, "utf8") : "";
        } catch {
          return "";
        }
      });
    t.ok(
      told.some((words) => words.includes("lanplus")),
      "it is running",
    );
    t.notMatch(told.join("\n"), /canary/);
    await answer;
    t.strictSame(readdirSync(privateDirectory), []);
  },
);
