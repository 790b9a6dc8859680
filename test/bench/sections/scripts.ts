import { join } from "node:path";
import { serverAddress } from "../bench-lab.ts";
import type { ScriptLoad, ScriptLoadResult } from "../loads/script-load.ts";
import type { Section } from "../main.ts";
import { atLeast, ours } from "../results.ts";
import { addMachines, importSampleImage, macOf, node, simulate, startRollcall } from "../rollcall.ts";
import { optional } from "./dhcp.ts";

const machines = 200;
const asking = 32;
const seconds = 4;

export const scripts: Section = {
  name: "scripts",
  table: "boot",
  summary: "machines' own scripts: rendered from the store, with a claim each, our server on one core",
  async run({ lab, results, rounds, profile, turn }) {
    results.declare({
      id: "scripts",
      what: `scripts of machines, ${asking} connections, one core`,
      unit: "per s",
      better: "more",
      ...optional(atLeast(5000, "per s")),
    });
    results.declare({ id: "scripts p99", what: "the same: p99", unit: "ms", better: "less" });
    results.declare({
      id: "scripts cpu",
      what: "the same: CPU time of the server for each",
      unit: "µs",
      better: "less",
    });
    for (let round = 1; round <= rounds; round++)
      await turn(async () => {
        process.stdout.write(`  round ${round} of ${rounds}\n`);
        const server = await startRollcall(lab, { profile });
        try {
          await importSampleImage(lab, server.client, { kernel: 4096, initrd: 4096, rootfs: 4096 });
          await addMachines(server.client, machines);
          const leased = await simulate(lab, [
            "--profile",
            "bios",
            "--until",
            "address",
            "--machines",
            String(machines),
            "--within",
            "1",
          ]);
          if (leased.failed > 0) throw new Error(`${leased.failed} machines got no address`);
          // The address of a machine is what the server says it leased: a script is for nobody else.
          const { items } = await server.client.get<{
            items: { macs: string[]; currentAddress: string | null }[];
          }>("/machines?limit=500");
          const known = new Map(items.map(({ macs, currentAddress }) => [macs[0], currentAddress]));
          const load: ScriptLoad = {
            origin: `http://${serverAddress}:8080`,
            seconds,
            machines: Array.from({ length: asking }, (_, index) => ({
              mac: macOf(index + 1),
              address: known.get(macOf(index + 1)) ?? "",
            })),
          };
          const program = join(import.meta.dirname, "../loads/script-load.ts");
          const before = server.cpuSeconds();
          const output = await lab.client([...node, program, JSON.stringify(load)]);
          const result = JSON.parse(output) as ScriptLoadResult;
          if (result.failed > 0)
            results.note(
              `scripts: ${result.failed} failed in round ${round}, the last one: ${result.sample.slice(0, 300).replaceAll("\n", " / ")}`,
            );
          results.add("scripts", ours, result.perSecond);
          results.add("scripts p99", ours, result.p99Ms);
          const cpuSeconds = server.cpuSeconds() - before;
          results.add("scripts cpu", ours, (cpuSeconds * 1e6) / (result.perSecond * seconds));
        } finally {
          await server.stop();
        }
      });
  },
};
