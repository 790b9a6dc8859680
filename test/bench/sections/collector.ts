import { join } from "node:path";
import Sqlite from "better-sqlite3";
import { type BenchLab, serverAddress } from "../bench-lab.ts";
import type { ImageLoad, ImageLoadResult } from "../loads/image-load.ts";
import type { Bench, Section } from "../main.ts";
import { atMost, ours, type Results } from "../results.ts";
import { startRollcall, type Rollcall } from "../rollcall.ts";
import { runLoad } from "./registry-server.ts";

const clients = 16;
const images = 64;
const layerBytes = 16 * 1024;
const seconds = 6;

interface Collected {
  blobCount: number;
  manifestCount: number;
}

function declare(results: Results): void {
  const pull = `one request of a pull, ${clients} pull and ${clients} push`;
  for (const [id, what] of [
    ["off", `${pull}, no collection`],
    ["on", "the same while garbage is collected"],
  ] as const)
    for (const part of ["p50", "p99", "longest"])
      results.declare({ id: `${part} ${id}`, what: `${what}: ${part}`, unit: "ms", better: "less" });
  results.declare({
    id: "added",
    what: "added to the p99 by the collection",
    unit: "ms",
    better: "less",
    bar: atMost(50, "ms")!,
  });
  results.declare({ id: "collected", what: "blobs collected meanwhile", unit: "per s", better: "more" });
}

/** Makes all that was pushed as old as if its leases were over: no lease ends before five minutes. Nobody pushes meanwhile. */
function age({ dataDir }: Rollcall): void {
  const db = new Sqlite(join(dataDir, "data", "rollcall.db"));
  try {
    db.pragma("busy_timeout = 5000");
    db.exec(`DELETE FROM registry_lease; UPDATE registry_blob SET used_at_ms = 0;
      UPDATE registry_manifest SET created_at_ms = 0;`);
  } finally {
    db.close();
  }
}

/** Collects over and over until the work is done. */
async function collectDuring<T>({ client }: Rollcall, work: Promise<T>) {
  let isOver = false;
  const done = work.finally(() => (isOver = true));
  let blobs = 0;
  while (!isOver) blobs += (await client.post<Collected>("/registry/collect", {})).blobCount;
  return { blobs, result: await done };
}

async function measure(lab: BenchLab, results: Results, rounds: number, profile?: string): Promise<void> {
  const rollcall = await startRollcall(lab, { profile, registry: "graceSeconds: 0" });
  try {
    const { token } = await rollcall.client.post<{ token: string }>("/tokens", {
      name: "bench",
      scope: "imagemaker",
    });
    const origin = `http://${serverAddress}:80`;
    const run = (more: Partial<ImageLoad> = {}) =>
      runLoad<ImageLoadResult>(lab, "image-load", {
        ...{ origin, token, pushers: clients, pullers: clients, images, layerBytes, seconds },
        ...{ isFirst: false, ...more },
      } satisfies ImageLoad);
    await run({ isFirst: true, seconds: 2 });
    const runOn = async () => {
      age(rollcall);
      const beganMs = performance.now();
      const { blobs, result } = await collectDuring(rollcall, run());
      results.add("collected", ours, blobs / ((performance.now() - beganMs) / 1000));
      return result;
    };
    for (let round = 1; round <= rounds; round++) {
      process.stdout.write(`  round ${round} of ${rounds}\n`);
      // Each is the first one in turn: what was pushed before is more each time.
      const first = round % 2 === 1 ? await run() : await runOn();
      const second = round % 2 === 1 ? await runOn() : await run();
      const [off, on] = round % 2 === 1 ? [first, second] : [second, first];
      for (const [id, one] of Object.entries({ off, on })) {
        results.add(`p50 ${id}`, ours, one.p50Ms);
        results.add(`p99 ${id}`, ours, one.p99Ms);
        results.add(`longest ${id}`, ours, one.maxMs);
      }
      results.add("added", ours, on.p99Ms - off.p99Ms);
    }
    const { damagedCount } = await rollcall.client.post<{ damagedCount: number }>("/registry/check", {
      deep: true,
    });
    if (damagedCount > 0) throw new Error(`${damagedCount} blobs were lost`);
  } finally {
    await rollcall.stop();
  }
}

export const collector: Section = {
  name: "collector",
  table: "collector",
  summary: "pulls of images while the registry's garbage is collected, and while it is not",
  async run({ lab, results, rounds, profile, turn }: Bench) {
    declare(results);
    await turn(() => measure(lab, results, rounds, profile));
  },
};
