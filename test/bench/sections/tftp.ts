import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type BenchLab, type Running, serverAddress } from "../bench-lab.ts";
import type { Bench, Section } from "../main.ts";
import { tftpPeers } from "../peers.ts";
import { atLeastTimes, bestOf, type Measure, ours } from "../results.ts";
import { optional } from "./dhcp.ts";
import { startTftpRollcall } from "./tftp-server.ts";

const blockSizeBytes = 1432;

interface Case {
  readonly id: string;
  readonly what: string;
  readonly clients: number;
  readonly window: number;
  readonly file: keyof typeof files;
  readonly loss: number;
  readonly bar: Measure["bar"];
  /** Whether the server's processor time is told too: unlike the rate, it does not depend on what else the machine does. */
  readonly tellsCpu?: true;
}

/** Octets: long enough to measure, short enough for five rounds of four servers. */
const files = { big: 64 * 1024 * 1024, middle: 4 * 1024 * 1024, small: 512 * 1024 };

const fullGigabit: Measure["bar"] = {
  text: "118 MB/s or 0.5 x the best peer",
  isMet: (value, peers) => value >= Math.min(118, 0.5 * (bestOf(peers, "more") ?? Infinity)),
};

const cases: readonly Case[] = [
  {
    id: "tftp 1 w1",
    what: "TFTP, 1 client, window 1",
    clients: 1,
    window: 1,
    file: "big",
    loss: 0,
    bar: atLeastTimes(1),
    tellsCpu: true,
  },
  {
    id: "tftp 1 w8",
    what: "TFTP, 1 client, window 8",
    clients: 1,
    window: 8,
    file: "big",
    loss: 0,
    bar: atLeastTimes(3),
    tellsCpu: true,
  },
  {
    id: "tftp 64 w8",
    what: "TFTP, 64 clients at once, window 8",
    clients: 64,
    window: 8,
    file: "middle",
    loss: 0,
    bar: atLeastTimes(1),
    tellsCpu: true,
  },
  {
    id: "tftp 64 w1",
    what: "TFTP, 64 clients at once, window 1",
    clients: 64,
    window: 1,
    file: "middle",
    loss: 0,
    bar: fullGigabit,
  },
  {
    id: "tftp loss",
    what: "TFTP, 1 client, window 1, 1 % lost each way",
    clients: 1,
    window: 1,
    file: "small",
    loss: 0.01,
    bar: atLeastTimes(5),
  },
];

/** The same client for all servers: Debian's atftp. @returns MB/s of all clients together, and how many failed */
async function download(
  lab: BenchLab,
  { clients, window, file }: Case,
): Promise<{ rate: number; failed: number }> {
  // One shell starts all of them, so that their start costs little; it counts those that failed.
  const options = `--option "blksize ${blockSizeBytes}" --option "windowsize ${window}" --option "timeout 1"`;
  const one = `atftp ${options} --get --remote-file ${file}.bin --local-file /dev/null ${serverAddress} 69 >/dev/null 2>&1 || echo failed`;
  const script = `for i in $(seq ${clients}); do (${one}) & done; wait`;
  const beganMs = performance.now();
  const output = await lab.client(["sh", "-c", script], 300_000);
  const seconds = (performance.now() - beganMs) / 1000;
  const failed = output.split("\n").filter((line) => line === "failed").length;
  return { rate: ((clients - failed) * files[file]) / 1e6 / seconds, failed };
}

export const tftp: Section = {
  name: "tftp",
  table: "boot",
  summary:
    "first stages: one client and 64 at once, with and without loss, against atftpd, tftpd-hpa and dnsmasq",
  async run({ lab, results, rounds, profile }: Bench) {
    for (const { id, what, bar } of cases)
      results.declare({
        id,
        what: `${what}, blksize ${blockSizeBytes}`,
        unit: "MB/s",
        better: "more",
        ...optional(bar),
      });
    for (const { id, what } of cases.filter(({ tellsCpu }) => tellsCpu))
      results.declare({
        id: `${id} cpu`,
        what: `${what}: processor time of the server`,
        unit: "s/GB",
        better: "less",
      });
    results.declare({
      id: "tftp failed",
      what: "TFTP transfers without loss that failed",
      unit: "transfers",
      better: "less",
      bar: { text: "none", isMet: (value) => value === 0 },
    });
    const root = lab.scratch("tftp");
    mkdirSync(root, { recursive: true });
    for (const [name, size] of Object.entries(files))
      writeFileSync(join(root, `${name}.bin`), Buffer.alloc(size, name), { mode: 0o644 });
    const servers: Record<string, () => Promise<Running>> = {
      [ours]: () => startTftpRollcall(lab, root, profile),
      ...Object.fromEntries(Object.entries(tftpPeers).map(([who, start]) => [who, () => start(lab, root)])),
    };
    for (let round = 1; round <= rounds; round++) {
      process.stdout.write(`  round ${round} of ${rounds}\n`);
      const failures = new Map(Object.keys(servers).map((who) => [who, 0]));
      // The servers take turns in each case: what disturbs one disturbs all.
      for (const one of cases) {
        for (const [who, start] of Object.entries(servers)) {
          const { rate, failed, cpuSecondsPerGB } = await measure(lab, await start(), one);
          results.add(one.id, who, rate);
          // A server that forks has its time in processes that are gone.
          if (one.tellsCpu && cpuSecondsPerGB > 0.1) results.add(`${one.id} cpu`, who, cpuSecondsPerGB);
          // With loss a client may give up by itself: atftp does when an OACK comes twice.
          if (one.loss === 0) failures.set(who, (failures.get(who) ?? 0) + failed);
        }
      }
      for (const [who, failed] of failures) results.add("tftp failed", who, failed);
    }
  },
};

/** Takes a server that has just started, and stops it. */
async function measure(lab: BenchLab, server: Running, one: Case) {
  try {
    // A server that has been up for a while: its code is compiled, the files are in memory.
    await download(lab, { ...one, clients: 4, file: "middle" });
    lab.loseDatagrams(one.loss);
    const before = server.cpuSeconds();
    const { rate, failed } = await download(lab, one);
    const gigabytes = (one.clients * files[one.file]) / 1e9;
    return { rate, failed, cpuSecondsPerGB: (server.cpuSeconds() - before) / gigabytes };
  } finally {
    lab.loseDatagrams(0);
    await server.stop();
  }
}
