import { execFile } from "node:child_process";
import { createHash } from "node:crypto";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type Client, createClient } from "../../server/cli/client.ts";
import { importImage } from "../../server/cli/put-image.ts";
import { type LabServer, startLabServer } from "../../server/demo/lab-server.ts";
import { createVirtualLab, type VirtualLab } from "../../server/demo/virtual-lab.ts";
import { root } from "../../server/platform/checkout.ts";
import type { SimulationReport } from "../../server/simulate/report.ts";

export interface SimulationLab {
  readonly lab: VirtualLab;
  readonly server: LabServer;
  readonly client: Client;
  /** Makes these machines known and gives them the role `worker`. */
  addMachines(first: number, count: number): Promise<void>;
  /** Runs `boot simulate` in the room; `--server` and `--network` are those of the lab unless given. */
  simulate(...words: string[]): Promise<{ exitCode: number; report: SimulationReport; errors: string }>;
  close(): Promise<void>;
}

export const serverAddress = "10.77.0.1";
/** The room behind the relay agent: 62,000 addresses. */
const roomNetwork = "10.50.0.0/16";
const room = { address: "10.77.0.2", mac: "02:00:00:00:00:02" };

export const simulationConfig = `
interfaces: [br0]
dhcp:
  mode: authoritative
  subnets:
    - subnet: ${roomNetwork}
      range: 10.50.1.0-10.50.250.255
log: { level: warn }
`;

interface Ended {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs a program to its end, whatever that is. */
function run([program = "", ...words]: readonly string[]): Promise<Ended> {
  return new Promise((resolve) => {
    execFile(program, words, { maxBuffer: 64 * 1024 * 1024 }, (error, stdout, stderr) => {
      resolve({ code: typeof error?.code === "number" ? error.code : error ? -1 : 0, stdout, stderr });
    });
  });
}

/** As `boot simulate` numbers them. */
function macOf(index: number): string {
  const hex = index.toString(16).padStart(6, "0");
  return `02:53:49:${hex.slice(0, 2)}:${hex.slice(2, 4)}:${hex.slice(4)}`;
}

/** An image that is small, and an image all the same. */
async function importSmallImage(client: Client, work: string): Promise<void> {
  const directory = join(work, "image");
  mkdirSync(directory);
  const files: Record<string, { name: string; sha256: string; sizeBytes: number }> = {};
  for (const name of ["kernel", "initrd", "rootfs"]) {
    const content = Buffer.alloc(64 * 1024, name);
    writeFileSync(join(directory, name), content);
    files[name] = {
      name,
      sha256: createHash("sha256").update(content).digest("hex"),
      sizeBytes: content.length,
    };
  }
  const image = { name: "debian-node", version: "1", arch: "x86_64", files };
  writeFileSync(join(directory, "image.json"), JSON.stringify(image));
  await importImage(client, directory, false);
}

/**
 * A server in a virtual lab and a room behind a relay agent: a network namespace of its own, in which `boot simulate` runs.
 * The server has a route to the room, as it would to any network behind a router.
 */
export async function createSimulationLab(
  namespace: string,
  { config = simulationConfig, nodeOptions = "" } = {},
): Promise<SimulationLab> {
  const lab = await createVirtualLab(namespace);
  try {
    await lab.addBridge("br0", `${serverAddress}/24`);
    const inner = await lab.addHost("room", "br0", room.mac, `${room.address}/24`);
    await lab.run("ip", "route", "add", roomNetwork, "via", room.address);
    const before = process.env["NODE_OPTIONS"];
    if (nodeOptions !== "") process.env["NODE_OPTIONS"] = nodeOptions;
    const server = await startLabServer(lab, { dataDir: join(lab.directory, "data"), config });
    if (before === undefined) delete process.env["NODE_OPTIONS"];
    else process.env["NODE_OPTIONS"] = before;
    const client = createClient({ server: undefined, token: undefined, dataDirs: [server.dataDir] });
    await importSmallImage(client, lab.directory);
    await client.post("/groups", { name: "room" });
    await client.put("/groups/room/role", { role: "worker" });
    return {
      lab,
      server,
      client,
      async addMachines(first, count) {
        let next = first;
        const add = async () => {
          for (let index = next++; index < first + count; index = next++)
            await client.post("/machines", { name: `v${index}`, macs: [macOf(index)], group: "room" });
        };
        await Promise.all(Array.from({ length: 16 }, add));
      },
      async simulate(...words) {
        const program = [
          process.execPath,
          "--disable-warning=ExperimentalWarning",
          join(root, "server/cli/main.ts"),
          "simulate",
          "--output",
          "json",
        ];
        const place = [
          ...(words.includes("--server") ? [] : ["--server", serverAddress]),
          ...(words.includes("--network") ? [] : ["--network", roomNetwork]),
        ];
        const { stdout, stderr, code } = await run([
          "ip",
          "netns",
          "exec",
          inner,
          ...program,
          ...place,
          ...words,
        ]);
        if (!stdout.startsWith("{")) throw new Error(`boot simulate ended with ${code}: ${stderr}`);
        return { exitCode: code, report: JSON.parse(stdout) as SimulationReport, errors: stderr };
      },
      async close() {
        await server.stop();
        await client.close();
        await lab.close();
      },
    };
  } catch (error) {
    await lab.close();
    throw error;
  }
}
