import { execFile } from "node:child_process";
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { promisify } from "node:util";

/**
 * Runs commands of sh in this host's system with a layer over it that takes all that is written, in namespaces of its own for mounts and
 * the host's name. They stand in `directory`, and the system is `layer/root` there.
 * @returns the layer: what was written; and what was said
 */
export async function runInLayer(
  directory: string,
  commands: readonly string[],
): Promise<{ written: string; said: string }> {
  for (const folder of ["layer", "copy"]) mkdirSync(join(directory, folder), { recursive: true });
  const script = [
    "set -e",
    `cd '${directory}'`,
    // An overlay's upper layer can't lie on another overlay, which a container's root may be.
    "mount -t tmpfs tmpfs layer",
    "mkdir layer/upper layer/work layer/root",
    "mount -t overlay overlay -o lowerdir=/,upperdir=layer/upper,workdir=layer/work layer/root",
    "mount -t proc proc layer/root/proc || mount --rbind /proc layer/root/proc",
    "mount --rbind /dev layer/root/dev",
    "mount --rbind /sys layer/root/sys",
    "mount -t tmpfs tmpfs layer/root/run",
    ...commands,
    // Out of the namespace, whose mounts end with it.
    "cp -a layer/upper/. copy/",
  ].join("\n");
  try {
    const { stdout, stderr } = await promisify(execFile)(
      "unshare",
      ["--mount", "--uts", "--fork", "--kill-child", "/bin/sh", "-c", script],
      { timeout: 120_000, maxBuffer: 64 * 1024 * 1024 },
    );
    return { written: join(directory, "copy"), said: stdout + stderr };
  } catch (error) {
    const { stdout = "", stderr = "", message } = error as Error & { stdout?: string; stderr?: string };
    throw new Error(`failed: ${message.slice(0, 200)}\n${(stdout + stderr).slice(-4000)}`);
  }
}
