import type { Section } from "../main.ts";
import { atMost, ours } from "../results.ts";
import { addMachines, importSampleImage, simulate, startRollcall } from "../rollcall.ts";
import { optional } from "./dhcp.ts";

const machines = 10_000;

export const building: Section = {
  name: "building",
  table: "boot",
  summary: "10,000 machines of all kinds switched on within 60 s, from DISCOVER to joined",
  async run({ lab, results, profile, turn }) {
    results.declare({
      id: "building failed",
      what: "10,000 machines within 60 s: failed",
      unit: "machines",
      better: "less",
      ...optional(atMost(0, "machines")),
    });
    results.declare({
      id: "building memory",
      what: "the same: server's most memory",
      unit: "MB",
      better: "less",
      ...optional(atMost(400, "MB")),
    });
    results.declare({
      id: "building script",
      what: "the same: p99 of a script",
      unit: "ms",
      better: "less",
      ...optional(atMost(50, "ms")),
    });
    results.declare({
      id: "building cpu",
      what: "the same: server's CPU time for one machine",
      unit: "ms",
      better: "less",
    });
    results.declare({ id: "building time", what: "the same: all done after", unit: "s", better: "less" });
    results.declare({
      id: "building load cpu",
      what: "the same: simulator's CPU time for one machine",
      unit: "ms",
      better: "less",
    });
    await turn(async () => {
      // Not on one core: there is no peer to be fair to, and a building's server has what a machine has.
      const server = await startRollcall(lab, { profile, isPinned: false });
      try {
        await importSampleImage(lab, server.client, { kernel: 65_536, initrd: 65_536, rootfs: 65_536 });
        await addMachines(server.client, machines);
        const before = server.cpuSeconds();
        const loadBefore = lab.clientCpuSeconds();
        const report = await simulate(lab, ["--machines", String(machines), "--within", "60"]);
        results.add("building failed", ours, report.failed);
        results.add("building memory", ours, server.peakMemoryBytes() / 1e6);
        results.add(
          "building script",
          ours,
          report.phases.find(({ phase }) => phase === "script")?.p99Ms ?? NaN,
        );
        results.add("building cpu", ours, ((server.cpuSeconds() - before) * 1000) / machines);
        results.add("building load cpu", ours, ((lab.clientCpuSeconds() - loadBefore) * 1000) / machines);
        results.add("building time", ours, report.durationMs / 1000);
        if (report.restarts > 0)
          results.note(`building: ${report.restarts} machines had to be switched off and on again`);
        for (const { phase, p50Ms, p99Ms, repeated } of report.phases)
          process.stdout.write(
            `    ${phase}: p50 ${p50Ms.toFixed(1)} ms, p99 ${p99Ms.toFixed(1)} ms, ${repeated} repeated\n`,
          );
        for (const { phase, reason, machines: count } of report.failures.slice(0, 5))
          results.note(`building: ${count} failed at ${phase}: ${reason}`);
      } finally {
        await server.stop();
      }
    });
  },
};
