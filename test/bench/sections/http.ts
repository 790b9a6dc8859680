import { createHash } from "node:crypto";
import { mkdirSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { type BenchLab, type Running, serverAddress } from "../bench-lab.ts";
import type { Section } from "../main.ts";
import { startNginx } from "../peers.ts";
import { ours } from "../results.ts";
import { importSampleImage, startRollcall } from "../rollcall.ts";

const assetBytes = 500 * 1000 * 1000;
const scriptBytes = 4096;
const origin = `http://${serverAddress}:8080`;

/** MB/s of one download. */
async function download(lab: BenchLab, path: string): Promise<number> {
  const text = await lab.client([
    "curl",
    "-sS",
    "--fail",
    "-o",
    "/dev/null",
    "-w",
    "%{size_download} %{time_total}",
    `${origin}${path}`,
  ]);
  const [octets = 0, seconds = 1] = text.split(" ").map(Number);
  if (octets !== assetBytes) throw new Error(`${octets} octets of ${assetBytes} came`);
  return octets / 1e6 / seconds;
}

async function requestsPerSecond(lab: BenchLab, path: string): Promise<number> {
  const text = await lab.client(["wrk", "-t1", "-c16", "-d3s", `${origin}${path}`]);
  if (text.includes("Non-2xx")) throw new Error(`wrk got errors for ${path}:\n${text}`);
  return Number(/Requests\/sec:\s+([0-9.]+)/.exec(text)?.[1]);
}

async function measured(
  server: Running,
  work: () => Promise<number>,
): Promise<{ value: number; cpuSeconds: number }> {
  const before = server.cpuSeconds();
  const value = await work();
  return { value, cpuSeconds: server.cpuSeconds() - before };
}

export const http: Section = {
  name: "http",
  table: "boot",
  summary: "assets: a 500 MB file and 4 KB files, against nginx with one worker",
  async run({ lab, results, rounds, profile, turn }) {
    results.declare({ id: "http 500 MB", what: "HTTP, one 500 MB asset", unit: "MB/s", better: "more" });
    results.declare({
      id: "http 4 KB",
      what: "HTTP, 4 KB asset, 16 connections",
      unit: "per s",
      better: "more",
    });
    results.declare({
      id: "http 500 MB cpu",
      what: "server's CPU time for the 500 MB asset",
      unit: "s",
      better: "less",
    });
    for (let round = 1; round <= rounds; round++)
      await turn(async () => {
        process.stdout.write(`  round ${round} of ${rounds}\n`);
        const server = await startRollcall(lab, { profile });
        let paths: Awaited<ReturnType<typeof importSampleImage>>;
        try {
          paths = await importSampleImage(lab, server.client, {
            kernel: scriptBytes,
            initrd: scriptBytes + 1,
            rootfs: assetBytes,
          });
          // Once for the page cache.
          await download(lab, paths.rootfs);
          const big = await measured(server, () => download(lab, paths.rootfs));
          results.add("http 500 MB", ours, big.value);
          results.add("http 500 MB cpu", ours, big.cpuSeconds);
          results.add("http 4 KB", ours, await requestsPerSecond(lab, paths.kernel));
        } finally {
          await server.stop();
        }
        const root = lab.scratch("www");
        for (const [path, size] of [
          [paths.rootfs, assetBytes],
          [paths.kernel, scriptBytes],
        ] as const) {
          const file = join(root, path);
          mkdirSync(dirname(file), { recursive: true });
          writeFileSync(file, Buffer.alloc(size, createHash("sha256").update(path).digest()));
        }
        const nginx = await startNginx(lab, root);
        try {
          await download(lab, paths.rootfs);
          results.add("http 500 MB", "nginx", await download(lab, paths.rootfs));
          results.add("http 4 KB", "nginx", await requestsPerSecond(lab, paths.kernel));
        } finally {
          await nginx.stop();
        }
      });
  },
};
