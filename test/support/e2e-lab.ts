import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import type { Test } from "tap";
import { type Client, createClient } from "../../server/cli/client.ts";
import type { OperationView } from "../../server/cli/follow-operation.ts";
import { type LabServer, startLabServer } from "../../server/demo/lab-server.ts";
import { createVirtualLab, type VirtualLab } from "../../server/demo/virtual-lab.ts";
import { buildImage } from "../../server/image/build-image.ts";

const root = resolve(import.meta.dirname, "../..");
const artifacts = join(root, "test/artifacts");

export interface EventView {
  seq: number;
  type: string;
  level: string;
  machine: string | null;
  boot: string | null;
  message: string;
  data: Record<string, unknown>;
}

export interface BootView {
  id: string;
  outcome: string;
  target: string | null;
  serverMs: number;
  durationMs: number;
  phases: { phase: string; afterMs: number }[];
  steps: {
    step: string;
    afterMs: number;
    serverMs: number | null;
    detail: Record<string, string | number>;
  }[];
}

export interface E2eLab {
  readonly lab: VirtualLab;
  /** The server that runs now: after {@link E2eLab.restart} another process. */
  readonly server: LabServer;
  readonly client: Client;
  /** Resolves with the first event, past or future, that fits. @throws with the events so far when the time is up */
  waitForEvent(what: string, fits: (event: EventView) => boolean, limitMs?: number): Promise<EventView>;
  /** Resolves when the machine's current boot has passed this step. */
  waitForStep(machine: string, step: string, limitMs?: number): Promise<BootView>;
  newestBoot(machine: string): Promise<BootView>;
  /** All boots of the machine, the newest first. */
  boots(machine: string): Promise<BootView[]>;
  /** Runs the `boot` command against this server. */
  boot(...words: string[]): Promise<string>;
  /** Ends the server as a power cut would, and starts it again on the same data. */
  restart(): Promise<void>;
}

/** Kernel start within this much of the server's own time (sum of response times on the timeline), ms. */
const serverTimeLimitMs = 1000;

/** Prints and checks the server's own time from power-on to kernel. */
export function checkServerTime(t: Test, boot: BootView): void {
  const kernel = boot.steps.findIndex(({ step }) => step === "kernel");
  t.ok(kernel >= 0, "the timeline has the kernel");
  const path = boot.steps.slice(0, kernel + 1);
  for (const step of ["contact", "script", "kernel"])
    t.ok(
      path.some((entry) => entry.step === step && entry.serverMs !== null),
      `the answer to ${step} was timed`,
    );
  const serverMs = path.reduce((sum, step) => sum + (step.serverMs ?? 0), 0);
  t.comment(`server's own time from power-on to kernel: ${serverMs.toFixed(1)} ms in ${path.length} steps`);
  t.ok(serverMs < serverTimeLimitMs, "the server's own time up to the kernel is under a second");
}

/** Puts the image into the store and machines on the roll, all in the group lab1. */
export async function prepare(e2e: E2eLab, image: string, machines: Record<string, string>): Promise<void> {
  await e2e.boot("image", "import", image);
  for (const [name, mac] of Object.entries(machines))
    await e2e.boot("machine", "add", name, "--mac", mac, "--group", "lab1");
}

/** The report of the operation that began last. @throws where there was none */
export async function newestOperation({ client }: E2eLab): Promise<OperationView> {
  const [newest] = await client.list<{ id: string }>("/operations");
  if (!newest) throw new Error("no operation was begun");
  return client.get<OperationView>(`/operations/${newest.id}`);
}

let labs = 0;

/** Emulated machines are slow; this is the limit for one station of a boot, not an expectation. */
const stationLimitMs = 6 * 60_000;

/** A lab of its own with a server in it, ended and cleaned up with the test. */
export async function createE2eLab(
  t: Test,
  { config, bridges }: { config: string; bridges: Record<string, string> },
): Promise<E2eLab> {
  const lab = await createVirtualLab(`rct${process.pid}x${labs++}`);
  t.teardown(() => lab.close());
  for (const [name, address] of Object.entries(bridges)) await lab.addBridge(name, address);
  const start = () => startLabServer(lab, { dataDir: join(lab.directory, "data"), config });
  let server = await start();
  t.teardown(() => server.stop());
  const client = createClient({ server: undefined, token: undefined, dataDirs: [server.dataDir] });

  const events: EventView[] = [];
  const listeners = new Set<() => void>();
  const stop = new AbortController();
  t.teardown(() => stop.abort());
  // Until the server ends: then so does the stream.
  const listen = async (since: number): Promise<void> => {
    try {
      for await (const event of client.events(`/events?since=${since}&limit=1000`, stop.signal)) {
        events.push(event as unknown as EventView);
        for (const listener of listeners) listener();
      }
    } catch {
      // It was cut off in the middle of an event.
    }
  };
  void listen(0);

  const tail = () =>
    events
      .slice(-25)
      .map((event) => `  ${event.type}: ${event.message}`)
      .join("\n");
  const waitForEvent: E2eLab["waitForEvent"] = (what, fits, limitMs = stationLimitMs) =>
    new Promise((done, fail) => {
      const limit = setTimeout(() => {
        listeners.delete(look);
        fail(
          new Error(
            `${what} did not come within ${limitMs / 1000} s; the last events:\n${tail()}\nserver:\n${server.output.slice(-2000)}`,
          ),
        );
      }, limitMs);
      const look = () => {
        const found = events.find(fits);
        if (!found) return;
        clearTimeout(limit);
        listeners.delete(look);
        done(found);
      };
      listeners.add(look);
      look();
    });
  const boots: E2eLab["boots"] = (machine) => client.list<BootView>(`/machines/${machine}/boots`);
  const newestBoot = async (machine: string): Promise<BootView> => {
    const [newest] = await boots(machine);
    if (!newest) throw new Error(`${machine} has not booted`);
    return newest;
  };
  return {
    lab,
    get server() {
      return server;
    },
    client,
    waitForEvent,
    newestBoot,
    boots,
    async waitForStep(machine, step, limitMs = stationLimitMs) {
      await waitForEvent(
        `the step ${step} of ${machine}`,
        (event) => event.type === "boot.step" && event.machine === machine && event.data["step"] === step,
        limitMs,
      );
      return newestBoot(machine);
    },
    async boot(...words) {
      const { stdout } = await lab.run(
        process.execPath,
        "--disable-warning=ExperimentalWarning",
        join(root, "server/cli/main.ts"),
        "--data",
        server.dataDir,
        ...words,
      );
      return stdout;
    },
    async restart() {
      await server.kill();
      server = await start();
      void listen(events.reduce((seq, event) => Math.max(seq, event.seq), 0));
    },
  };
}

function digestOfRecipe(directory: string): string {
  const hash = createHash("sha256");
  const visit = (path: string) => {
    for (const entry of readdirSync(path, { withFileTypes: true }).sort((left, right) =>
      left.name < right.name ? -1 : 1,
    )) {
      const inner = join(path, entry.name);
      if (entry.isDirectory()) visit(inner);
      else hash.update(`${inner}\0`).update(readFileSync(inner));
    }
  };
  visit(directory);
  return hash.digest("hex");
}

/** An image of ours, built by the real builder once for each state of server/image. @returns its directory */
export async function ensureImage(t: Test, recipe = "debian-node"): Promise<string> {
  const directory = join(artifacts, recipe === "debian-node" ? "image" : recipe);
  const stamp = join(directory, "recipe.sha256");
  const digest = digestOfRecipe(join(root, "server/image"));
  if (existsSync(stamp) && readFileSync(stamp, "utf8") === digest) return directory;
  mkdirSync(directory, { recursive: true });
  const began = Date.now();
  t.comment(`building the image ${recipe}`);
  await buildImage({ recipeDir: join(root, "server/image/recipes", recipe), outputDir: directory });
  t.comment(`built in ${Math.round((Date.now() - began) / 1000)} s`);
  writeFileSync(stamp, digest);
  return directory;
}
