import { type BenchLab, serverAddress } from "../bench-lab.ts";
import type { DashboardLoad, DashboardLoadResult } from "../loads/dashboard-load.ts";
import type { Bench, Section } from "../main.ts";
import { atMost, ours, type Results } from "../results.ts";
import {
  addMachines,
  importSampleImage,
  macOf,
  type Rollcall,
  simulate,
  startRollcall,
} from "../rollcall.ts";
import { runLoad } from "./registry-server.ts";

const machines = 300;
const seconds = 10;
/** Dashboards that are open; in each round one after the other, so that what disturbs one disturbs all. */
const audiences = [0, 1, 5] as const;
type Audience = (typeof audiences)[number];

const share = (watchers: Audience) => `share with ${watchers}`;
const added = (watchers: Audience) => `added by ${watchers}`;

function declare(results: Results): void {
  const what = `${machines} machines that change once a second`;
  const percent = { unit: "% of a core", better: "less" } as const;
  const bar = atMost(5, "% of a core");
  results.declare({ id: share(0), what: `${what}, nobody watches: CPU time of the server`, ...percent });
  for (const watchers of [1, 5] as const) {
    const who = watchers === 1 ? "one dashboard watches" : `${watchers} dashboards watch`;
    results.declare({ id: share(watchers), what: `the same, ${who}`, ...percent });
    results.declare({
      id: added(watchers),
      what: `the same, ${who}: for telling them`,
      ...percent,
      ...(bar ? { bar } : {}),
    });
  }
  results.declare({ id: "told", what: "machines told to each dashboard", unit: "per s", better: "more" });
  results.declare({ id: "bytes", what: "octets to each dashboard", unit: "KiB/s", better: "less" });
}

/** Machines with an address each, as the server leased it: a script, and the claim in it, is for nobody else. */
async function bootRoom(lab: BenchLab, { client }: Rollcall): Promise<DashboardLoad["machines"]> {
  await importSampleImage(lab, client, { kernel: 4096, initrd: 4096, rootfs: 4096 });
  await addMachines(client, machines);
  const asked = ["--profile", "bios", "--until", "address", "--within", "1"];
  const leased = await simulate(lab, [...asked, "--machines", String(machines)]);
  if (leased.failed > 0) throw new Error(`${leased.failed} machines got no address`);
  const { items } = await client.get<{ items: { macs: string[]; currentAddress: string | null }[] }>(
    "/machines?limit=1000",
  );
  const known = new Map(items.map(({ macs, currentAddress }) => [macs[0], currentAddress]));
  return Array.from({ length: machines }, (_, index) => {
    const mac = macOf(index + 1);
    return { mac, address: known.get(mac) ?? "" };
  });
}

async function measure(lab: BenchLab, results: Results, rounds: number, profile?: string): Promise<void> {
  const rollcall = await startRollcall(lab, { profile });
  try {
    const room = await bootRoom(lab, rollcall);
    const { token } = await rollcall.client.post<{ token: string }>("/tokens", {
      name: "bench",
      scope: "viewer",
    });
    const origin = `http://${serverAddress}:8080`;
    const run = (load: Pick<DashboardLoad, "machines" | "watchers" | "seconds">) =>
      runLoad<DashboardLoadResult>(lab, "dashboard-load", { origin, token, ...load } satisfies DashboardLoad);
    const { claims } = await run({ machines: room, watchers: 0, seconds: 0 });
    const booting = room.map((machine, index) => ({ ...machine, claim: claims[index] ?? "" }));
    await run({ machines: booting, watchers: 5, seconds: 3 });
    for (let round = 1; round <= rounds; round++) {
      process.stdout.write(`  round ${round} of ${rounds}\n`);
      const shares = new Map<Audience, number>();
      for (const watchers of round % 2 === 1 ? audiences : audiences.toReversed()) {
        const before = rollcall.cpuSeconds();
        const result = await run({ machines: booting, watchers, seconds });
        const percent = ((rollcall.cpuSeconds() - before) / seconds) * 100;
        if (result.failed > 0) throw new Error(`${result.failed} reports were refused`);
        shares.set(watchers, percent);
        results.add(share(watchers), ours, percent);
        if (watchers !== 5) continue;
        results.add("told", ours, result.machinesTold / watchers / seconds);
        results.add("bytes", ours, result.bytes / watchers / seconds / 1024);
      }
      for (const watchers of [1, 5] as const)
        results.add(added(watchers), ours, (shares.get(watchers) ?? NaN) - (shares.get(0) ?? NaN));
    }
  } finally {
    await rollcall.stop();
  }
}

export const dashboard: Section = {
  name: "dashboard",
  table: "dashboard",
  summary: "a room of machines that change all the time, with dashboards that watch it and without",
  async run({ lab, results, rounds, profile, turn }: Bench) {
    declare(results);
    await turn(() => measure(lab, results, rounds, profile));
  },
};
