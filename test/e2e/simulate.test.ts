import t from "tap";
import { createSimulationLab } from "../support/simulation-lab.ts";

t.test("500 machines of every kind boot against a real server", async (t) => {
  const machines = 500;
  const lab = await createSimulationLab(`rcs${process.pid}`);
  t.teardown(() => lab.close());
  // Firmware's waits are shortened, or the machine behind a blocked switch port would take a minute. The server's own time is not, so
  // that on a busy host a ROM gives up that would have waited: it is switched on again as often as it takes.
  const pace = ["--within", "8", "--speed", "5", "--attempts", "100"];
  const common = ["--machines", String(machines), ...pace];
  const failuresOf = (run: Awaited<ReturnType<typeof lab.simulate>>) =>
    JSON.stringify(run.report.failures, null, 1);

  await t.test("all arrive", async (t) => {
    await lab.addMachines(1, machines);
    const run = await lab.simulate(...common);
    t.same(run.report.arrived, { joined: machines }, failuresOf(run));
    t.equal(run.exitCode, 0);
    t.match(run.errors, /[0-9]+ of 500 switched on/, "it tells how far it is");
    const measured = new Set(run.report.phases.map(({ phase }) => phase));
    for (const phase of [
      "offer",
      "ack",
      "boot-server",
      "first-stage",
      "ipxe-ack",
      "script",
      "root",
      "config",
      "joined",
    ] as const)
      t.ok(measured.has(phase), `it measured ${phase}`);
    t.same(run.report.remarks, [], "nothing odd happened");
    const { items } = await lab.client.get<{ items: { phase: string }[] }>("/machines?limit=1000");
    t.equal(items.filter(({ phase }) => phase === "ready").length, machines, "the server says so too");
  });

  await t.test("all arrive although 5 % is lost each way, doubled or late", async (t) => {
    await lab.addMachines(1001, machines);
    const bad = ["--loss", "0.05", "--duplicate", "0.05", "--reorder", "0.05", "--first", "1001"];
    const run = await lab.simulate(...common, ...bad, "--seed", "3");
    t.same(run.report.arrived, { joined: machines }, failuresOf(run));
    t.ok(run.report.datagrams.lost > 100 && run.report.datagrams.duplicated > 100, "the network was bad");
  });

  await t.test(
    "a server that answers nothing is reported with the station where the machines stopped",
    async (t) => {
      const nobody = [
        "--server",
        "10.77.0.9",
        "--machines",
        "5",
        "--speed",
        "500",
        "--attempts",
        "1",
        "--within",
        "0",
      ];
      const { exitCode, report } = await lab.simulate(...nobody, "--profile", "uefi,ipxe");
      t.equal(exitCode, 1);
      t.equal(report.failed, 5);
      t.match(report.failures, [
        {
          phase: "offer",
          reason: "no OFFER to 4 DISCOVERs",
          machines: 3,
          examples: [/^02:53:49:00:00:01 \(uefi\)$/],
        },
        { phase: "ipxe-offer", machines: 2 },
      ]);
    },
  );

  await t.test("what is wrong at the server is reported in its words", async (t) => {
    await lab.client.put("/groups/room/role", { role: "worker" });
    await lab.client.post("/machines", { name: "odd", macs: ["02:53:49:00:0f:a0"] });
    await lab.client.put("/machines/odd/role", { url: "http://10.77.0.1:8080/nothing-here.ipxe" });
    const { exitCode, report } = await lab.simulate(
      "--machines",
      "1",
      "--first",
      "4000",
      "--speed",
      "50",
      "--profile",
      "ipxe",
      "--attempts",
      "1",
    );
    t.equal(exitCode === 0, report.failed === 0 && !report.arrived.waiting);
    t.match(report.remarks[0]?.reason, /nothing-here\.ipxe: status 404/);
  });
});
