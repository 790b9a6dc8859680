import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import type { Test } from "tap";
import { type Client, createClient } from "../../server/cli/client.ts";
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
  steps: { step: string; afterMs: number; serverMs: number | null; detail: Record<string, string | number> }[];
}

export interface E2eLab {
  readonly lab: VirtualLab;
  readonly server: LabServer;
  readonly client: Client;
  /** Resolves with the first event, past or future, that fits. @throws with the events so far when the time is up */
  waitForEvent(what: string, fits: (event: EventView) => boolean, limitMs?: number): Promise<EventView>;
  /** Resolves when the machine's current boot has passed this step. */
  waitForStep(machine: string, step: string, limitMs?: number): Promise<BootView>;
  newestBoot(machine: string): Promise<BootView>;
  /** Runs the `boot` command against this server. */
  boot(...words: string[]): Promise<string>;
}

let labs = 0;

/** Emulated machines are slow; this is the limit for one station of a boot, not an expectation. */
const stationLimitMs = 6 * 60_000;

/** A lab of its own with a server in it, ended and cleaned up with the test. */
export async function createE2eLab(t: Test, { config, bridges }: { config: string; bridges: Record<string, string> }): Promise<E2eLab> {
  const lab = await createVirtualLab(`rct${process.pid}x${labs++}`);
  t.teardown(() => lab.close());
  for (const [name, address] of Object.entries(bridges)) await lab.addBridge(name, address);
  const server = await startLabServer(lab, { dataDir: join(lab.directory, "data"), config });
  t.teardown(() => server.stop());
  const client = createClient({ server: undefined, token: undefined, dataDirs: [server.dataDir] });

  const events: EventView[] = [];
  const listeners = new Set<() => void>();
  const stop = new AbortController();
  t.teardown(() => stop.abort());
  void (async () => {
    try {
      for await (const event of client.events("/events?since=0&limit=1000", stop.signal)) {
        events.push(event as unknown as EventView);
        for (const listener of listeners) listener();
      }
    } catch {
      // The server ended: so does the stream.
    }
  })();

  const tail = () => events.slice(-25).map((event) => `  ${event.type}: ${event.message}`).join("\n");
  const waitForEvent: E2eLab["waitForEvent"] = (what, fits, limitMs = stationLimitMs) =>
    new Promise((done, fail) => {
      const limit = setTimeout(() => {
        listeners.delete(look);
        fail(new Error(`${what} did not come within ${limitMs / 1000} s; the last events:\n${tail()}\nserver:\n${server.output.slice(-2000)}`));
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
  const newestBoot = async (machine: string): Promise<BootView> => {
    const { items } = await client.get<{ items: BootView[] }>(`/machines/${machine}/boots?limit=1`);
    const [newest] = items;
    if (!newest) throw new Error(`${machine} has not booted`);
    return newest;
  };
  return {
    lab,
    server,
    client,
    waitForEvent,
    newestBoot,
    async waitForStep(machine, step, limitMs = stationLimitMs) {
      await waitForEvent(`the step ${step} of ${machine}`, (event) => event.type === "boot.step" && event.machine === machine && event.data["step"] === step, limitMs);
      return newestBoot(machine);
    },
    async boot(...words) {
      const { stdout } = await lab.run(process.execPath, "--disable-warning=ExperimentalWarning", join(root, "server/cli/main.ts"), "--data", server.dataDir, ...words);
      return stdout;
    },
  };
}

function digestOfRecipe(directory: string): string {
  const hash = createHash("sha256");
  const visit = (path: string) => {
    for (const entry of readdirSync(path, { withFileTypes: true }).sort((left, right) => (left.name < right.name ? -1 : 1))) {
      const inner = join(path, entry.name);
      if (entry.isDirectory()) visit(inner);
      else hash.update(`${inner}\0`).update(readFileSync(inner));
    }
  };
  visit(directory);
  return hash.digest("hex");
}

/** Our Debian image, built by the real builder once for each state of server/image. @returns its directory */
export async function ensureImage(t: Test): Promise<string> {
  const directory = join(artifacts, "image");
  const stamp = join(directory, "recipe.sha256");
  const digest = digestOfRecipe(join(root, "server/image"));
  if (existsSync(stamp) && readFileSync(stamp, "utf8") === digest) return directory;
  mkdirSync(directory, { recursive: true });
  const began = Date.now();
  t.comment("building the Debian image");
  await buildImage({ recipeDir: join(root, "server/image/recipes/debian-node"), outputDir: directory });
  t.comment(`built in ${Math.round((Date.now() - began) / 1000)} s`);
  writeFileSync(stamp, digest);
  return directory;
}
