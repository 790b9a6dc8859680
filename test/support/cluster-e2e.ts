import { execFile } from "node:child_process";
import { appendFileSync, mkdirSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { promisify } from "node:util";
import type { Test } from "tap";
import { createE2eLab, type E2eLab } from "./e2e-lab.ts";
import { kubernetesProgram } from "./kubernetes-programs.ts";

const run = promisify(execFile);

/** What the screens of the machines showed, kept after the test: test/artifacts/cluster/<machine>.log. */
const screens = resolve(import.meta.dirname, "../artifacts/cluster");

/** Emulated machines join in minutes; this is the limit, not an expectation. */
const joinLimitMs = 25 * 60_000;

export interface ClusterRow {
  machine: string;
  role: string;
  state: string;
  problem: string | null;
}
export interface ClusterAnswer {
  state: string;
  generation: number;
  nodes: ClusterRow[];
}

export interface ClusterMachine {
  readonly name: string;
  readonly mac: string;
  readonly role: "master" | "worker";
  readonly memoryMiB: number;
}

/** A lab whose server keeps a cluster of the version that ROLLCALL_KUBERNETES has, with one image for all machines. */
export async function createClusterE2e(
  t: Test,
  { config, image, machines }: { config: string; image: string; machines: readonly ClusterMachine[] },
) {
  const e2e = await createE2eLab(t, { config, bridges: { br0: "10.77.0.1/24" } });
  mkdirSync(screens, { recursive: true });
  await e2e.boot("image", "import", image);
  for (const { name, mac, role } of machines) {
    await e2e.boot("machine", "add", name, "--mac", mac, "--group", "lab1");
    await e2e.boot(name, role);
  }
  const running = new Map<string, Awaited<ReturnType<E2eLab["lab"]["powerOn"]>>>();
  for (const { name } of machines) writeFileSync(join(screens, `${name}.log`), "");

  const cluster = {
    e2e,
    async powerOn(name: string): Promise<void> {
      const machine = machines.find((one) => one.name === name);
      if (!machine) throw new Error(`no machine ${name}`);
      running.set(
        name,
        await e2e.lab.powerOn({
          name,
          mac: machine.mac,
          firmware: "bios",
          memoryMiB: machine.memoryMiB,
          onScreen: (text) => appendFileSync(join(screens, `${name}.log`), text),
        }),
      );
    },
    async powerOff(name: string): Promise<void> {
      await running.get(name)?.powerOff();
      running.delete(name);
    },
    show: async (): Promise<ClusterAnswer> =>
      JSON.parse(await e2e.boot("cluster", "show", "--output", "json")) as ClusterAnswer,
    /** Resolves with the first event from now on, or before, that says that this machine is ready in another boot than `before`. */
    async becomesReady(name: string, before?: string): Promise<{ bootId: string | null }> {
      const id = (JSON.parse(await e2e.boot("machine", "show", name, "--output", "json")) as { id: string })
        .id;
      const event = await e2e.waitForEvent(
        `${name} ready in the cluster`,
        (one) =>
          one.type === "node.state" &&
          one.data["to"] === "ready" &&
          (one.machine === name || one.machine === id) &&
          one.boot !== (before ?? ""),
        joinLimitMs,
      );
      return { bootId: event.boot };
    },
    /** How long server and kubeadm took in the newest boot, s: from the last claim to the last Node that is Ready. */
    async joinSeconds(): Promise<number> {
      const steps = JSON.parse(await e2e.boot("cluster", "log", "--output", "json")) as {
        at: string;
        to: string;
        cause: string;
      }[];
      const last = (fits: (step: { to: string; cause: string }) => boolean) =>
        Math.max(...steps.filter(fits).map(({ at }) => Date.parse(at)));
      return Math.round((last(({ to }) => to === "ready") - last(({ cause }) => cause === "claimed")) / 1000);
    },
    /** kubectl as an administrator on a machine of their own has it: with the kubeconfig that the command prints, and nothing else. */
    async kubectl(...words: string[]): Promise<string> {
      const file = join(e2e.lab.directory, "kubeconfig");
      writeFileSync(file, await e2e.boot("cluster", "kubeconfig"), { mode: 0o600 });
      const { stdout } = await run(
        "ip",
        ["netns", "exec", e2e.lab.namespace, kubernetesProgram("kubectl"), "--kubeconfig", file, ...words],
        { maxBuffer: 64 * 1024 * 1024 },
      );
      return stdout;
    },
  };
  return {
    ...cluster,
    async apply(objects: readonly object[]): Promise<void> {
      const file = join(e2e.lab.directory, "objects.json");
      writeFileSync(file, JSON.stringify({ apiVersion: "v1", kind: "List", items: objects }));
      await cluster.kubectl("apply", "-f", file);
    },
    /** Whether so many requests in a row are answered, from the lab's network, once the first one is. */
    async answers(url: string, count: number): Promise<boolean> {
      const ask = async () =>
        (
          await e2e.lab
            .run(
              "curl",
              "--silent",
              "--max-time",
              "20",
              "--output",
              "/dev/null",
              "--write-out",
              "%{http_code}",
              url,
            )
            .catch(() => ({ stdout: "" }))
        ).stdout === "200";
      const limit = Date.now() + joinLimitMs;
      while (!(await ask())) {
        if (Date.now() > limit) return false;
        await delay(2000);
      }
      for (let request = 1; request < count; request++) if (!(await ask())) return false;
      return true;
    },
  };
}
export type ClusterE2e = Awaited<ReturnType<typeof createClusterE2e>>;
