import { type ChildProcess, execFile, execFileSync, spawn } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { cpus, tmpdir } from "node:os";
import { join } from "node:path";

/** Servers live at one end of a cable, clients at the other; nothing of it reaches the networks of the host. */
export const serverAddress = "10.66.0.1";
export const clientAddress = "10.66.0.2";
/** The network behind the clients' end, which is its relay agent. All its addresses are local there. */
export const roomNetwork = "10.128.0.0/9";
/** Four million: no server may run out of addresses before the load ends. */
export const roomFirst = "10.128.1.0";
export const roomLast = "10.191.255.255";
export const roomNetmask = "255.128.0.0";
export const relayAddress = "10.128.0.1";
export const serverDevice = "s0";
export const clientDevice = "c0";

export interface Running {
  readonly pid: number;
  readonly output: () => string;
  /** Most memory that it ever had, octets (VmHWM). */
  peakMemoryBytes(): number;
  /** From now on the peak is that of what follows (proc_pid_clear_refs(5)). */
  forgetPeakMemory(): void;
  /** User and system time so far, seconds. */
  cpuSeconds(): number;
  stop(): Promise<void>;
}

export interface BenchLab {
  readonly directory: string;
  /** An empty directory; gone with the lab. */
  scratch(name: string): string;
  /** Starts a server and waits until it says so (`ready`), or until it has been up for a moment. */
  serve(
    words: readonly string[],
    options?: {
      ready?: RegExp;
      environment?: NodeJS.ProcessEnv;
      /** False: on all cores, beside its clients. */
      isPinned?: boolean;
    },
  ): Promise<Running>;
  /** Runs a client to its end. @throws when it fails or takes longer than `limitMs` */
  client(words: readonly string[], limitMs?: number): Promise<string>;
  /** The same, and its exit code does not matter. */
  clientOutput(
    words: readonly string[],
    limitMs?: number,
  ): Promise<{ code: number; stdout: string; stderr: string }>;
  /** User and system time of all clients that have ended, seconds. */
  clientCpuSeconds(): number;
  /** Datagrams that get lost on the cable from now on, a share for each direction. */
  loseDatagrams(share: number): void;
  close(): Promise<void>;
}

/** A server has one core to itself, whoever wrote it; what loads it has the others. Else the kernel would move both about. */
const serverCore = "0";
const clientCores = cpus().length > 1 ? `1-${cpus().length - 1}` : "0";
/** A server that is up this long without a word is taken for ready. */
const settleMs = 700;
const readyLimitMs = 30_000;
/** CLK_TCK is 100 on every Linux that Debian ships. */
const ticksPerSecond = 100;

const ip = (...words: string[]) => execFileSync("ip", words, { stdio: ["ignore", "pipe", "pipe"] });

export function createBenchLab(): BenchLab {
  const directory = mkdtempSync(join(tmpdir(), "rollcall-bench-"));
  const [servers, clients] = [`rcb${process.pid}-s`, `rcb${process.pid}-c`];
  const running = new Set<Running>();
  let scratches = 0;
  for (const namespace of [servers, clients]) {
    ip("netns", "add", namespace);
    ip("-n", namespace, "link", "set", "lo", "up");
  }
  ip(
    "link",
    "add",
    serverDevice,
    "netns",
    servers,
    "type",
    "veth",
    "peer",
    "name",
    clientDevice,
    "netns",
    clients,
  );
  ip("-n", servers, "address", "add", `${serverAddress}/24`, "dev", serverDevice);
  ip("-n", clients, "address", "add", `${clientAddress}/24`, "dev", clientDevice);
  ip("-n", servers, "link", "set", serverDevice, "up");
  ip("-n", clients, "link", "set", clientDevice, "up");
  ip("-n", servers, "route", "add", roomNetwork, "via", clientAddress);
  // perfdhcp binds its socket to the device that has this address.
  ip("-n", clients, "address", "add", `${relayAddress}/32`, "dev", clientDevice);
  ip("-n", clients, "route", "add", "local", roomNetwork, "dev", "lo");

  const inside = (namespace: string, words: readonly string[], cores?: string) => [
    "netns",
    "exec",
    namespace,
    ...(cores === undefined ? [] : ["taskset", "--cpu-list", cores]),
    ...words,
  ];

  function clientOutput(words: readonly string[], limitMs = 120_000) {
    return new Promise<{ code: number; stdout: string; stderr: string }>((resolve) => {
      const before = childrenCpuSeconds();
      execFile(
        "ip",
        inside(clients, words, clientCores),
        { maxBuffer: 256 * 1024 * 1024, timeout: limitMs, killSignal: "SIGKILL" },
        (error, stdout, stderr) => {
          clientCpu += childrenCpuSeconds() - before;
          resolve({
            code: error === null ? 0 : typeof error.code === "number" ? error.code : -1,
            stdout,
            stderr,
          });
        },
      );
    });
  }

  let clientCpu = 0;

  return {
    directory,
    clientCpuSeconds: () => clientCpu,
    scratch(name) {
      const path = join(directory, `${name}-${scratches++}`);
      // Servers that drop their privileges write there too.
      mkdirSync(path, { mode: 0o777 });
      return path;
    },
    async serve(words, { ready, environment = {}, isPinned = true } = {}) {
      const child = spawn("ip", inside(servers, words, isPinned ? serverCore : undefined), {
        stdio: ["ignore", "pipe", "pipe"],
        env: { ...process.env, ...environment },
      });
      const server = watch(child);
      running.add(server);
      await becomeReady(child, server, ready);
      return { ...server, stop: () => server.stop().then(() => void running.delete(server)) };
    },
    async client(words, limitMs) {
      const { code, stdout, stderr } = await clientOutput(words, limitMs);
      if (code !== 0)
        throw new Error(`${words.join(" ").slice(0, 300)} ended with ${code}: ${stderr.slice(-1000)}`);
      return stdout;
    },
    clientOutput,
    loseDatagrams(share) {
      for (const namespace of [servers, clients]) {
        const nft = (...words: string[]) => execFileSync("ip", inside(namespace, ["nft", ...words]));
        nft("flush", "ruleset");
        if (share === 0) continue;
        const perTenThousand = Math.round(share * 10_000);
        nft("add table ip bench");
        nft("add chain ip bench input { type filter hook input priority 0 ; }");
        nft(`add rule ip bench input meta l4proto udp numgen random mod 10000 < ${perTenThousand} drop`);
      }
    },
    async close() {
      await Promise.all([...running].map((server) => server.stop()));
      for (const namespace of [servers, clients]) ip("netns", "delete", namespace);
      rmSync(directory, { recursive: true, force: true });
    },
  };
}

/** utime, stime, cutime and cstime of proc_pid_stat(5). */
function cpuTicksOf(pid: number | "self"): number[] {
  const fields = readFileSync(`/proc/${pid}/stat`, "utf8")
    .replace(/^.*\) /, "")
    .split(" ");
  return fields.slice(11, 15).map(Number);
}

/** Of all children that have ended. */
function childrenCpuSeconds(): number {
  const [, , user = 0, system = 0] = cpuTicksOf("self");
  return (user + system) / ticksPerSecond;
}

function watch(child: ChildProcess): Running {
  let output = "";
  const hear = (chunk: Buffer) => {
    output = (output + chunk.toString()).slice(-64 * 1024);
  };
  child.stdout?.on("data", hear);
  child.stderr?.on("data", hear);
  const exited = new Promise<void>((resolve) => child.once("exit", () => resolve()));
  const pid = child.pid ?? 0;
  return {
    pid,
    output: () => output,
    peakMemoryBytes: () =>
      Number(/VmHWM:\s+([0-9]+) kB/.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1] ?? 0) * 1024,
    forgetPeakMemory: () => writeFileSync(`/proc/${pid}/clear_refs`, "5"),
    cpuSeconds() {
      const [user = 0, system = 0] = cpuTicksOf(pid);
      return (user + system) / ticksPerSecond;
    },
    async stop() {
      if (child.exitCode === null && child.signalCode === null) child.kill("SIGTERM");
      const force = setTimeout(() => child.kill("SIGKILL"), 10_000);
      await exited;
      clearTimeout(force);
    },
  };
}

async function becomeReady(child: ChildProcess, server: Running, ready: RegExp | undefined): Promise<void> {
  const began = Date.now();
  for (;;) {
    await new Promise((resolve) => setTimeout(resolve, 50));
    if (child.exitCode !== null || child.signalCode !== null)
      throw new Error(
        `${child.spawnargs.join(" ").slice(0, 300)} ended at once:\n${server.output().slice(-2000)}`,
      );
    const waited = Date.now() - began;
    if (ready ? ready.test(server.output()) : waited > settleMs) return;
    if (waited > readyLimitMs)
      throw new Error(`no ${String(ready)} from ${child.spawnargs[4]}:\n${server.output()}`);
  }
}
