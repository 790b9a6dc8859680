import { execFile } from "node:child_process";
import { chmodSync, mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { promisify } from "node:util";
import { writeFiles } from "./boot-lab.ts";

/** Of Debian's package `ignition`, 2.14: it reads configs up to 3.3.0. */
const program = "/usr/lib/dracut/modules.d/30ignition/ignition";
export const validator = "/usr/bin/ignition-validate";
export const newestMinorOfDebian = 3;

/** What `ignition-validate` says of a config. */
export async function validate(path: string): Promise<{ isValid: boolean; said: string }> {
  try {
    const { stdout, stderr } = await promisify(execFile)(validator, [path]);
    return { isValid: true, said: stdout + stderr };
  } catch (error) {
    const { stdout = "", stderr = "" } = error as { stdout?: string; stderr?: string };
    return { isValid: false, said: stdout + stderr };
  }
}

/** The least that a system needs for Ignition to make users in it. */
function makeRoot(root: string): void {
  writeFiles(root, {
    "etc/passwd": "root:x:0:0:root:/root:/bin/bash\n",
    "etc/group": "root:x:0:\nsudo:x:27:\nusers:x:100:\nsystemd-journal:x:101:\n",
    "etc/shadow": "root:*:19000:0:99999:7:::\n",
    "etc/gshadow": "root:*::\nsudo:!::\nusers:*::\nsystemd-journal:!::\n",
    "etc/login.defs": "UID_MIN 1000\nGID_MIN 1000\nUSERGROUPS_ENAB yes\nCREATE_HOME yes\n",
    "etc/selinux/config": "SELINUX=disabled\nSELINUXTYPE=targeted\n",
    "etc/selinux/targeted/contexts/files/file_contexts": "",
    "etc/skel/.profile": "",
  });
  for (const folder of ["home", "tmp", "run", "var", "usr/bin", "usr/sbin", "proc", "dev"])
    mkdirSync(join(root, folder), { recursive: true });
  chmodSync(join(root, "etc/shadow"), 0o640);
}

/**
 * Runs the real Ignition as it runs in the initramfs of a machine: it finds its config's address on the kernel command line, fetches
 * it, and writes the new root. In a mount namespace of its own, so that the command line can be another one.
 * @returns what it logged
 */
export async function runIgnition(
  directory: string,
  configUrl: string,
): Promise<{ root: string; log: string }> {
  const root = join(directory, "root");
  makeRoot(root);
  const stubs = join(directory, "stubs");
  mkdirSync(stubs);
  // Debian builds Ignition with relabelling, and has no SELinux tools in its default system.
  writeFileSync(join(stubs, "setfiles"), "#!/bin/sh\nexit 0\n", { mode: 0o755 });
  const commandLine = join(directory, "cmdline");
  writeFileSync(
    commandLine,
    `ignition.firstboot ignition.platform.id=metal ignition.config.url=${configUrl}\n`,
  );
  const stage = (name: string) =>
    `'${program}' -platform metal -stage ${name} -root '${root}' -config-cache '${directory}/cache.json' -state-file '${directory}/state' -neednet '${directory}/neednet' -log-to-stdout`;
  const script = [
    "set -e",
    `mount --bind '${commandLine}' /proc/cmdline`,
    `PATH='${stubs}':$PATH`,
    ...["fetch-offline", "fetch", "files"].map(stage),
  ].join("\n");
  try {
    const { stdout, stderr } = await promisify(execFile)("unshare", ["--mount", "/bin/sh", "-c", script], {
      timeout: 60_000,
      maxBuffer: 64 * 1024 * 1024,
    });
    return { root, log: stdout + stderr };
  } catch (error) {
    const { stdout = "", stderr = "", message } = error as Error & { stdout?: string; stderr?: string };
    throw new Error(`ignition failed: ${message.slice(0, 200)}\n${(stdout + stderr).slice(-4000)}`);
  }
}
