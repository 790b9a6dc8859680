import { createHash } from "node:crypto";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type Client, createClient } from "../../server/cli/client.ts";
import { importImage } from "../../server/cli/put-image.ts";
import { root } from "../../server/platform/checkout.ts";
import type { SimulationReport } from "../../server/simulate/report.ts";
import {
  type BenchLab,
  roomFirst,
  roomLast,
  roomNetwork,
  type Running,
  serverAddress,
  serverDevice,
} from "./bench-lab.ts";

export const node = [process.execPath, "--disable-warning=ExperimentalWarning"];
const cli = join(root, "server/cli/main.ts");

export interface Rollcall extends Running {
  readonly client: Client;
  readonly dataDir: string;
}

/** @param isPinned to one core, as its peers are */
export async function startRollcall(
  lab: BenchLab,
  {
    mode = "authoritative",
    profile,
    isPinned = true,
    registry = "enabled: true",
  }: {
    mode?: "authoritative" | "proxy";
    profile?: string | undefined;
    isPinned?: boolean;
    /** More keys of that section. */
    registry?: string;
  } = {},
): Promise<Rollcall> {
  const dataDir = lab.scratch("rollcall");
  const config = join(dataDir, "rollcall.yaml");
  const subnets = `  subnets:\n    - subnet: ${roomNetwork}\n      range: ${roomFirst}-${roomLast}\n`;
  writeFileSync(
    config,
    `interfaces: [${serverDevice}]\ndhcp:\n  mode: ${mode}\n${mode === "proxy" ? "" : subnets}log: { level: warn }\nregistry: { insecurePush: true, ${registry} }\n`,
  );
  const profiling = profile === undefined ? [] : ["--cpu-prof", `--cpu-prof-dir=${profile}`];
  // As the service starts it.
  const asService = ["--max-semi-space-size=8"];
  const words = [...node, ...asService, ...profiling, cli, "serve", "--config", config];
  const running = await lab.serve([...words, "--data", join(dataDir, "data")], {
    ready: /Rollcall is up/,
    isPinned,
    environment: { MALLOC_ARENA_MAX: "1" },
  });
  const client = createClient({ server: undefined, token: undefined, dataDirs: [join(dataDir, "data")] });
  return {
    ...running,
    client,
    dataDir,
    async stop() {
      await client.close();
      await running.stop();
    },
  };
}

/** Runs `boot simulate` at the clients' end. */
export async function simulate(
  lab: BenchLab,
  words: readonly string[],
  limitMs = 600_000,
): Promise<SimulationReport> {
  const isBroadcast = words.includes("--device");
  const place = isBroadcast ? [] : ["--network", roomNetwork];
  const { stdout, stderr } = await lab.clientOutput(
    [...node, cli, "simulate", "--output", "json", "--server", serverAddress, ...place, ...words],
    limitMs,
  );
  if (!stdout.startsWith("{")) throw new Error(`boot simulate failed: ${stderr.slice(-1000)}`);
  return JSON.parse(stdout) as SimulationReport;
}

/** An image of these sizes, in the store of a running server. @returns the paths of its files */
export async function importSampleImage(
  lab: BenchLab,
  client: Client,
  sizes: { kernel: number; initrd: number; rootfs: number },
): Promise<Record<keyof typeof sizes, string>> {
  const directory = lab.scratch("image");
  mkdirSync(directory, { recursive: true });
  const files: Record<string, { name: string; sha256: string; sizeBytes: number }> = {};
  for (const [name, sizeBytes] of Object.entries(sizes)) {
    const content = Buffer.alloc(sizeBytes, `${name} of a benchmark. `);
    writeFileSync(join(directory, name), content);
    files[name] = { name, sha256: createHash("sha256").update(content).digest("hex"), sizeBytes };
  }
  const image = { name: "debian-node", version: "1", arch: "x86_64", files };
  writeFileSync(join(directory, "image.json"), JSON.stringify(image));
  await importImage(client, directory, false);
  const path = (name: string) => `/assets/${files[name]?.sha256}/${name}`;
  return { kernel: path("kernel"), initrd: path("initrd"), rootfs: path("rootfs") };
}

/** As `boot simulate` numbers its machines. */
export function macOf(index: number): string {
  const hex = index.toString(16).padStart(6, "0");
  return `02:53:49:${hex.slice(0, 2)}:${hex.slice(2, 4)}:${hex.slice(4)}`;
}

/** Machines with the role `worker`. */
export async function addMachines(client: Client, count: number): Promise<void> {
  await client.post("/groups", { name: "room" });
  await client.put("/groups/room/role", { role: "worker" });
  let next = 1;
  const add = async () => {
    for (let index = next++; index <= count; index = next++)
      await client.post("/machines", { name: `v${index}`, macs: [macOf(index)], group: "room" });
  };
  await Promise.all(Array.from({ length: 32 }, add));
}
