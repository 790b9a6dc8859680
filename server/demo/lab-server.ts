import type { ChildProcess } from "node:child_process";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { root } from "../platform/checkout.ts";
import type { VirtualLab } from "./virtual-lab.ts";

export interface LabServerOptions {
  readonly dataDir: string;
  /** Text of its config file. */
  readonly config: string;
  /** What it prints, as it comes. */
  readonly onOutput?: (text: string) => void;
}

export interface LabServer {
  readonly dataDir: string;
  readonly pid: number;
  /** All that it printed so far. */
  readonly output: string;
  /** Ends it as systemd would. @returns its exit code */
  stop(): Promise<number | null>;
  /** Ends it as a power cut would. */
  kill(): Promise<void>;
}

/** Starts `boot serve` inside a virtual lab. Resolves when it is up. @throws with what it printed when it ends before */
export async function startLabServer(lab: VirtualLab, options: LabServerOptions): Promise<LabServer> {
  const { dataDir, config, onOutput } = options;
  mkdirSync(dataDir, { recursive: true });
  const file = join(lab.directory, "rollcall.yaml");
  writeFileSync(file, config);
  const words = [process.execPath, "--disable-warning=ExperimentalWarning", join(root, "server/cli/main.ts")];
  const child = lab.spawn([...words, "serve", "--config", file, "--data", dataDir], { cwd: lab.directory });
  let output = "";
  const exited = new Promise<number | null>((resolve) => child.once("exit", (code) => resolve(code)));
  await new Promise<void>((resolve, reject) => {
    const hear = (chunk: Buffer) => {
      output += chunk.toString();
      onOutput?.(chunk.toString());
      if (output.includes("Rollcall is up")) resolve();
    };
    child.stdout?.on("data", hear);
    child.stderr?.on("data", hear);
    void exited.then((code) => reject(new Error(`the server ended with ${code}:\n${output}`)));
  });
  return {
    dataDir,
    pid: child.pid ?? 0,
    get output() {
      return output;
    },
    stop: () => end(child, "SIGTERM", exited),
    async kill() {
      await end(child, "SIGKILL", exited);
    },
  };
}

function end(
  child: ChildProcess,
  signal: NodeJS.Signals,
  exited: Promise<number | null>,
): Promise<number | null> {
  child.kill(signal);
  return exited;
}
