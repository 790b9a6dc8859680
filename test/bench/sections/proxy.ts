import type { Running } from "../bench-lab.ts";
import type { Bench, Section } from "../main.ts";
import { startDnsmasqProxy } from "../peers.ts";
import { atLeastTimes, ours } from "../results.ts";
import { startRollcall } from "../rollcall.ts";
import { measureDhcpLoad, optional } from "./dhcp.ts";

const servers: Readonly<Record<string, (bench: Bench) => Promise<Running>>> = {
  [ours]: ({ lab, profile }) => startRollcall(lab, { mode: "proxy", profile }),
  dnsmasq: ({ lab }) => startDnsmasqProxy(lab),
};

export const proxy: Section = {
  name: "proxy",
  table: "boot",
  summary: "proxyDHCP: boot offers per second, against dnsmasq",
  async run(bench) {
    const { lab, results, rounds } = bench;
    results.declare({
      id: "proxy offers",
      what: "proxyDHCP offers, 32 under way",
      unit: "per s",
      better: "more",
      ...optional(atLeastTimes(2, "dnsmasq")),
    });
    results.declare({
      id: "proxy cpu",
      what: "the same: CPU time of the server for each",
      unit: "µs",
      better: "less",
    });
    for (let round = 1; round <= rounds; round++) {
      process.stdout.write(`  round ${round} of ${rounds}\n`);
      for (const [who, start] of Object.entries(servers))
        await bench.turn(async () => {
          const server = await start(bench);
          try {
            const { perSecond, cpuMicroseconds } = await measureDhcpLoad(lab, server, {
              kind: "offer",
              inFlight: 32,
            });
            results.add("proxy offers", who, perSecond);
            results.add("proxy cpu", who, cpuMicroseconds);
          } finally {
            await server.stop();
          }
        });
    }
  },
};
