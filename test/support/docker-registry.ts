import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { createInterface } from "node:readline";

interface Scope {
  teardown(fn: () => void | Promise<void>): unknown;
}

/** Debian's docker-registry on a free port of loopback. @param port of an earlier one that is to come back */
export async function startDockerRegistry(t: Scope, directory: string, port = 0) {
  mkdirSync(join(directory, "content"), { recursive: true });
  const config = join(directory, "config.yml");
  writeFileSync(
    config,
    JSON.stringify({
      version: 0.1,
      log: { level: "info" },
      storage: { filesystem: { rootdirectory: join(directory, "content") } },
      http: { addr: `127.0.0.1:${port}` },
    }),
  );
  const child: ChildProcess = spawn("/usr/bin/docker-registry", ["serve", config], {
    stdio: ["ignore", "ignore", "pipe"],
  });
  const ended = once(child, "exit");
  const stop = async () => {
    if (child.exitCode === null && child.signalCode === null) child.kill("SIGKILL");
    await ended;
  };
  t.teardown(stop);
  if (!child.stderr) throw new Error("docker-registry has no standard error");
  for await (const line of createInterface(child.stderr)) {
    const found = /listening on 127\.0\.0\.1:(\d+)/.exec(line)?.[1];
    if (found === undefined) continue;
    child.stderr.resume();
    return { address: `127.0.0.1:${found}`, port: Number(found), stop };
  }
  throw new Error("docker-registry ended before it listened");
}
