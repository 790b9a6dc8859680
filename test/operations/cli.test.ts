import { spawn } from "node:child_process";
import t from "tap";
import { PowerNotConfigured } from "../../server/domain/error-catalogue.ts";
import { boot, launcher } from "../support/boot-command.ts";
import { plain, startServer, type TestServer } from "../support/http-fixture.ts";
import { createFakePower, numberOf, playBoot, quickLimits } from "../support/power-lab.ts";

t.test("the boot command and operations", async (t) => {
  const at: { server?: TestServer; boots: boolean } = { boots: true };
  const power = createFakePower({
    refuse: ({ name }) => (name === "s9" ? PowerNotConfigured({ machine: name }) : undefined),
    obey: (machine, action) => {
      if (at.server && at.boots && action !== "off") void playBoot(at.server, numberOf(machine));
    },
  });
  const server = await startServer(t, { orders: { power, operationLimits: quickLimits } });
  at.server = server;
  await server.addImage();
  for (const number of [1, 2, 9]) await server.add(number, `s${number}`, { group: "lab225" });
  const local = ["--data", server.dataDir];

  t.test("an assignment with power is followed until the machines are ready", async (t) => {
    const { code, out } = await boot([...local, "s[1-2]", "worker", "--power", "cycle"]);
    t.equal(code, 0, out);
    t.match(out, /s1: power done: power-cycled by redfish\n/);
    t.match(out, /s2: ready done: ready as worker after \d+ s\n/);
    t.match(out, /worker for 2 machines: done, 2 of 2 done\.\n$/);
    t.notMatch(out, "\u001b", "no colours into a pipe");
  });

  t.test("a plan with power tells what would be switched", async (t) => {
    const plans = ["wake", "cycle"].map((how) =>
      boot([...local, "s1", "rescue", "--power", how, "--dry-run"]),
    );
    const [wake, cycle] = await Promise.all(plans);
    t.match(
      wake?.out,
      /Nothing was changed \(--dry-run\)\. For real it also switches on those that are off\.\n$/,
    );
    t.match(cycle?.out, /\. For real it also restarts all of them, and switches on those that are off\.\n$/);
  });

  t.test("a reset asks, and where nobody can answer it wants --yes", async (t) => {
    const asked = await boot([...local, "reset", "s[1-2]"]);
    t.match([asked.code, asked.err], [2, /restarts 2 machines .*: s1, s2\. If it is meant, add --yes\./]);
    const tried = await boot([...local, "reset", "s[1-2]", "--dry-run"]);
    t.match(
      [tried.code, tried.out],
      [
        0,
        /s1 +worker +SSH while it runs, Wake-on-LAN while it is off +drain, revoke, power, boot, ready, proof\n/,
      ],
    );
    const { code, out } = await boot([...local, "reset", "s[1-2]", "--yes"]);
    t.match([code, out], [0, /s1: proof done: debian-node 1, root [0-9a-f]{12} in RAM, .*claim spent\n/]);
  });

  t.test("a machine that fails makes the exit code 1, and the report says what to do", async (t) => {
    const { code, out } = await boot([...local, "power", "off", "lab225"]);
    t.equal(code, 1);
    t.match(
      out,
      /power off of 3 machines: failed, 2 of 3 done, 1 failed\.\ns9: power failed: .*s9.*\n {4}Switch it by hand/,
    );
    const status = await boot([...local, "power", "status", "s1"]);
    t.match([status.code, status.out], [0, /s1 +unknown +redfish/]);
    const json = await boot([...local, "--output", "json", "power", "off", "s1"]);
    t.match(JSON.parse(json.out), { kind: "power", state: "done" });
  });

  t.test("Ctrl-C leaves the operation running and says how to see it again", async (t) => {
    at.boots = false;
    const child = spawn(process.execPath, [launcher, ...local, "reset", "s1", "--yes"], { stdio: "pipe" });
    let told = "";
    let shown = "";
    child.stderr.on("data", (chunk) => (told += String(chunk)));
    await new Promise<void>((resolve) => {
      child.stdout.on("data", (chunk) => {
        shown += String(chunk);
        if (shown.includes("boot running")) resolve();
      });
    });
    child.kill("SIGINT");
    const code = await new Promise((resolve) => child.on("close", resolve));
    const [id = ""] = /op_[a-z0-9]+/.exec(told) ?? [];
    t.match(
      [code, told],
      [130, /The operation goes on\. See it again: boot operation show op_\S+ --follow\n$/],
    );
    t.match((await server.api("GET", `/operations/${id}`)).json, { state: "running" });

    t.match(
      (await boot([...local, "status"])).out,
      `Under way: reset of 1 machine, 0 of 1 done: boot operation show ${id}`,
    );
    t.match(
      (await boot([...local, "operation", "list"])).out,
      new RegExp(`${id} +reset of 1 machine +running`),
    );
    t.match(
      (await boot([...local, "operation", "show", id])).out,
      /s1 .*running +boot .*waits for its firmware/,
    );
    const cancelled = await boot([...local, "operation", "cancel", id]);
    t.match([cancelled.code, cancelled.out], [0, /^Cancelled: reset of 1 machine/]);
    const again = await boot([...local, "operation", "show", id, "--follow"]);
    t.match([again.code, again.out], [1, /cancelled/]);
    t.match(plain((await server.api("GET", "/operations")).items[0]?.["state"]), "cancelled");
  });
});
