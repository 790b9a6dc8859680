import { execFile } from "node:child_process";
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { promisify } from "node:util";
import { writeFiles } from "./boot-lab.ts";

const run = promisify(execFile);

/** What `cloud-init schema` says of a cloud-config. */
export async function checkCloudConfig(path: string): Promise<{ isValid: boolean; said: string }> {
  try {
    const { stdout, stderr } = await run("cloud-init", ["schema", "--config-file", path]);
    return { isValid: true, said: stdout + stderr };
  } catch (error) {
    const { stdout = "", stderr = "" } = error as { stdout?: string; stderr?: string };
    return { isValid: false, said: stdout + stderr };
  }
}

/** What cloud-init makes of a network-config for systemd-networkd: file name -> text. */
export async function convertNetworkConfig(path: string, directory: string, mac: string): Promise<string> {
  const words = `devel net-convert --kind yaml --output-kind networkd --distro debian --mac eth0,${mac}`;
  await run("cloud-init", [...words.split(" "), "--network-data", path, "--directory", directory]);
  const { stdout } = await run("sh", ["-c", `cat ${directory}/etc/systemd/network/*.network`]);
  return stdout;
}

/** Only modules that stay inside a root file system: no network, no packages, no services. */
const settings = `datasource_list: [NoCloud]
network: { config: disabled }
disable_root: false
manual_cache_clean: false
cloud_init_modules: [write-files, set_hostname, users-groups]
cloud_config_modules: [runcmd]
cloud_final_modules: [scripts-vendor, scripts-user, phone-home]
`;

/**
 * Runs the real cloud-init as at a first boot with its config at `seedUrl`, in this host's system with a layer over it that takes all
 * that is written; in namespaces of its own for mounts and the host's name.
 * @returns the layer: what was written; and cloud-init's log
 */
export async function runCloudInit(
  directory: string,
  seedUrl: string,
): Promise<{ written: string; log: string }> {
  mkdirSync(join(directory, "layer"), { recursive: true });
  writeFiles(directory, {
    "99_test.cfg": settings,
    "copy/.keep": "",
  });
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
    "rm -rf layer/root/var/lib/cloud",
    "cp 99_test.cfg layer/root/etc/cloud/cloud.cfg.d/99_test.cfg",
    ...["init", "modules --mode=config", "modules --mode=final"].map(
      // In a container cloud-init takes the words of its first process for the kernel's, so it is told what those are.
      (stage) =>
        `DEBUG_PROC_CMDLINE='ds=nocloud-net;s=${seedUrl}' chroot layer/root /usr/bin/cloud-init ${stage}`,
    ),
    // Out of the namespace, whose mounts end with it.
    "cp -a layer/upper/. copy/",
    "cp layer/root/var/log/cloud-init.log log || true",
  ].join("\n");
  try {
    const { stdout, stderr } = await run("unshare", ["--mount", "--uts", "--fork", "/bin/sh", "-c", script], {
      timeout: 120_000,
      maxBuffer: 64 * 1024 * 1024,
    });
    return { written: join(directory, "copy"), log: stdout + stderr };
  } catch (error) {
    const { stdout = "", stderr = "", message } = error as Error & { stdout?: string; stderr?: string };
    throw new Error(`cloud-init failed: ${message.slice(0, 200)}\n${(stdout + stderr).slice(-4000)}`);
  }
}
