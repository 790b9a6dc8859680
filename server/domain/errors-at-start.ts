import { defineError } from "./errors.ts";

/** What stops a server from starting, or from keeping what it was told. */

export const ConfigInvalid = defineError("CONFIG_INVALID", {
  kind: "user",
  httpStatus: 400,
  message: (d: { problems: string[]; advice?: string }) => d.problems.join("\n"),
  advice:
    "Each line says the place, the key and what is allowed there: correct these. docs/configuration.md describes every key.",
});
export interface RefusedPort {
  readonly protocol: "udp" | "tcp";
  readonly port: number;
  readonly address?: string | undefined;
  readonly device?: string | undefined;
  /** Config key that sets it. */
  readonly key?: string | undefined;
}
export const PortInUse = defineError("PORT_IN_USE", {
  kind: "operational",
  httpStatus: 500,
  message: (d: RefusedPort | { ports: readonly RefusedPort[] }) =>
    `in use by another program: ${namePorts("ports" in d ? d.ports : [d], "here")}`,
  advice:
    "Find the program with `ss -tulpn` and stop it, or give this server another port by the config key. Firmware asks for DHCP and TFTP at ports 67, 4011 and 69 only: there the other program has to go.",
});
export const PortNotPermitted = defineError("PORT_NOT_PERMITTED", {
  kind: "operational",
  httpStatus: 500,
  message: (
    d:
      | RefusedPort
      | {
          ports: readonly RefusedPort[];
          /** Refused for the other reason. */ inUse?: readonly RefusedPort[];
        },
  ) =>
    [
      `this process may not open ${namePorts("ports" in d ? d.ports : [d])}: ports below 1024 need a privilege`,
      ...("inUse" in d && d.inUse && d.inUse.length > 0
        ? [`in use by another program besides: ${namePorts(d.inUse, "here")}`]
        : []),
    ].join("; "),
  advice:
    "There are two ways to get them. Run the server as the service docs/deployment/rollcall.service, which has the privilege for these ports (CAP_NET_BIND_SERVICE) and no other. Or open the ports to every program of this machine: `sudo sysctl net.ipv4.ip_unprivileged_port_start=67`.",
});
/** `udp port 67 (config key dhcp.port)`, each port once; where it was asked for matters only if somebody else has it. */
function namePorts(ports: readonly RefusedPort[], place?: "here"): string {
  const names = ports.map(({ protocol, port, address, device, key }) => {
    const where = [device, address].filter((part) => part !== undefined && part !== "0.0.0.0").join(" ");
    return `${protocol} port ${port}${place && where ? ` on ${where}` : ""}${key ? ` (config key ${key})` : ""}`;
  });
  return [...new Set(names)].join(", ");
}
export const DataDirInUse = defineError("DATA_DIR_IN_USE", {
  kind: "operational",
  httpStatus: 500,
  message: (d: { directory: string; lock: string }) =>
    `another Rollcall server is using ${d.directory} (it holds ${d.lock})`,
  advice:
    "Two servers on the same data would destroy each other's. Stop the other one (`systemctl stop rollcall`, or Ctrl-C where it runs; `fuser -v` on the lock file names its process), or give this one a directory of its own with --data DIR. The lock ends with its process: the file need not be removed.",
});
export const NotReady = defineError("NOT_READY", {
  kind: "operational",
  httpStatus: 503,
  message: () => "the server is starting or stopping: not every port is open",
  advice: "Ask again in a moment; if it stays so, the server's log says what it waits for.",
});
export const DeviceNotFound = defineError("DEVICE_NOT_FOUND", {
  kind: "operational",
  httpStatus: 500,
  message: (d: { device: string; known: string[] }) =>
    `there is no network interface ${d.device} with an IPv4 address; this machine has: ${d.known.join(", ") || "none"}`,
  advice: "Name one of them with --interface, or in the config under `interfaces`.",
});
export const DeviceBindingUnavailable = defineError("DEVICE_BINDING_UNAVAILABLE", {
  kind: "operational",
  httpStatus: 500,
  message: (d: { device: string; reason: string }) =>
    `can't bind a socket to the interface ${d.device} (${d.reason}), so packets of other interfaces would be answered too`,
  advice:
    "Install the optional dependency koffi (`npm ci`), or let systemd hand over the sockets (docs/deployment/README.md), or run it on a machine with one interface.",
});
export const BootAssetMissing = defineError("BOOT_ASSET_MISSING", {
  kind: "operational",
  httpStatus: 503,
  message: (d: { name: string }) => `the first-stage binary ${d.name} is not in boot-assets/`,
  advice:
    "Fill the folder with `npm run boot-assets` (from Debian's packages), or `npm run boot-assets -- --from DIR`.",
});
export const BootAssetDigestMismatch = defineError("BOOT_ASSET_DIGEST_MISMATCH", {
  kind: "operational",
  httpStatus: 500,
  message: (d: { name: string; expected: string[]; actual: string }) =>
    `boot-assets/${d.name} has sha256 ${d.actual}, and the manifest knows ${d.expected.join(" or ") || "no digest of it"}`,
  advice:
    "Fetch the file again, or, if you trust it, record it with `npm run boot-assets -- --from DIR --trust`.",
});
export const BootManifestInvalid = defineError("BOOT_MANIFEST_INVALID", {
  kind: "operational",
  httpStatus: 500,
  message: (d: { file: string; problem: string }) => `${d.file} can't be read: ${d.problem}`,
  advice:
    "No first-stage binary is served without it. Get manifest.json back with `git checkout boot-assets`; manifest.local.json may be removed and made anew with `npm run boot-assets -- --from DIR --trust`.",
});
export const StoreFailed = defineError("STORE_FAILED", {
  kind: "operational",
  httpStatus: 503,
  message: (d: { reason: string }) => `the database could not be written: ${d.reason}`,
  advice:
    "Free some space in the data directory (`df -h`); the server goes on by itself when writing works again.",
});
export const DatabaseRefused = defineError("DATABASE_REFUSED", {
  kind: "operational",
  httpStatus: 500,
  message: (d: { problem: string }) => `the database can't be used: ${d.problem}`,
  advice:
    "A database that a newer version wrote is opened by that version or a later one; nothing was changed in it. Start the newer version again, or put a backup of the data directory from before in its place.",
});
export const KeyFileRefused = defineError("KEY_FILE_REFUSED", {
  kind: "operational",
  httpStatus: 500,
  message: (d: { file: string; problem: string }) => `${d.file}: ${d.problem}`,
  advice:
    "The file seals the keys of the cluster: nobody but the server's user may read it (`chmod 0600`). Bring a lost one back from the backup: nothing else opens the keys.",
});
export const SealBroken = defineError("SEAL_BROKEN", {
  kind: "operational",
  httpStatus: 500,
  message: (d: { what: string }) =>
    `${d.what} can't be opened: another key or passphrase sealed it, or it was changed`,
  advice:
    "Bring the key file that belongs to these data back from the backup, or give the right passphrase. Without it a new cluster has to be made.",
});
