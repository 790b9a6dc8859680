import { execFile } from "node:child_process";
import { promisify } from "node:util";
import { writeFiles } from "./boot-lab.ts";
import { runInLayer } from "./host-layer.ts";

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
cloud_init_modules: [bootcmd, write-files, set_hostname, users-groups]
cloud_config_modules: [runcmd]
cloud_final_modules: [write-files-deferred, scripts-vendor, scripts-user, phone-home]
`;

/**
 * Runs the real cloud-init as at a first boot with its config at `seedUrl`, in a layer over this host's system.
 * @returns the layer: what was written; and cloud-init's log
 */
export async function runCloudInit(
  directory: string,
  seedUrl: string,
): Promise<{ written: string; log: string }> {
  writeFiles(directory, { "99_test.cfg": settings });
  const { written, said } = await runInLayer(directory, [
    "rm -rf layer/root/var/lib/cloud",
    "cp 99_test.cfg layer/root/etc/cloud/cloud.cfg.d/99_test.cfg",
    ...["init", "modules --mode=config", "modules --mode=final"].map(
      // In a container cloud-init takes the words of its first process for the kernel's, so it is told what those are.
      (stage) =>
        `DEBUG_PROC_CMDLINE='ds=nocloud-net;s=${seedUrl}' chroot layer/root /usr/bin/cloud-init ${stage}`,
    ),
    "cp layer/root/var/log/cloud-init.log log || true",
  ]);
  return { written, log: said };
}
