import { join } from "node:path";
import Sqlite from "better-sqlite3";
import { percentilesOf } from "../../../server/simulate/report.ts";
import { type BenchLab, serverAddress } from "../bench-lab.ts";
import type { ImageLoad, ImageLoadResult } from "../loads/image-load.ts";
import type { Bench, Section } from "../main.ts";
import { atMost, ours, type Results } from "../results.ts";
import { startRollcall, type Rollcall } from "../rollcall.ts";
import { runLoad } from "./registry-server.ts";

const clients = 16;
const images = 64;
const layerBytes = 16 * 1024;
const seconds = 3;
/** In each round, so that neither is always the later one and what disturbs one disturbs the other. */
const parts = ["off", "on", "on", "off"] as const;

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
    for (const part of ["p50", "p99"])
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
        origin,
        token,
        pushers: clients,
        pullers: clients,
        images,
        layerBytes,
        seconds,
        isFirst: false,
        ...more,
      } satisfies ImageLoad);
    await run({ isFirst: true, seconds: 2 });
    for (let round = 1; round <= rounds; round++) {
      process.stdout.write(`  round ${round} of ${rounds}\n`);
      const tookMs: Record<(typeof parts)[number], number[]> = { off: [], on: [] };
      const collected = { blobs: 0, seconds: 0 };
      for (const part of parts) {
        if (part === "on") age(rollcall);
        const beganMs = performance.now();
        const work = run();
        const { blobs, result } =
          part === "on" ? await collectDuring(rollcall, work) : { blobs: 0, result: await work };
        tookMs[part].push(...result.tookMs);
        if (part === "off") continue;
        collected.blobs += blobs;
        collected.seconds += (performance.now() - beganMs) / 1000;
      }
      const [off, on] = [percentilesOf(tookMs.off), percentilesOf(tookMs.on)];
      for (const [id, one] of Object.entries({ off, on })) {
        results.add(`p50 ${id}`, ours, one.p50Ms);
        results.add(`p99 ${id}`, ours, one.p99Ms);
      }
      results.add("added", ours, on.p99Ms - off.p99Ms);
      results.add("collected", ours, collected.blobs / collected.seconds);
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
