import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, readdirSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

/** Programs and their Debian packages. */
const installed: Readonly<Record<string, string>> = {
  "/usr/sbin/kea-dhcp4": "kea-dhcp4-server",
  "/usr/sbin/perfdhcp": "kea-admin",
  "/usr/sbin/dnsmasq": "dnsmasq-base",
  "/usr/bin/atftp": "atftp",
  "/usr/sbin/nginx": "nginx-light",
  "/usr/bin/docker-registry": "docker-registry",
  "/usr/bin/wrk": "wrk",
  "/usr/bin/gpg": "gpg",
  "/usr/bin/gpg-agent": "gpg-agent",
  "/usr/sbin/nft": "nftables",
  "/usr/bin/curl": "curl",
  "/usr/sbin/ip": "iproute2",
};

/** Packages that exclude each other: unpacked side by side, and nothing of them is started by Debian's scripts. */
const unpacked: Readonly<Record<string, string>> = { atftpd: "atftpd", "in.tftpd": "tftpd-hpa" };
const tree = join(tmpdir(), "rollcall-bench-packages");

/** Where a program of an unpacked package lies. */
export function conflicting(program: string): string {
  return join(tree, "usr/sbin", program);
}

function run(program: string, words: readonly string[], cwd?: string): boolean {
  const { status } = spawnSync(program, words, {
    stdio: ["ignore", "ignore", "inherit"],
    env: { ...process.env, DEBIAN_FRONTEND: "noninteractive" },
    ...(cwd === undefined ? {} : { cwd }),
  });
  return status === 0;
}

/** Installs what is missing. @throws when this is not Debian or not root */
export function ensurePeers(): void {
  const missing = Object.entries(installed)
    .filter(([path]) => !existsSync(path))
    .map(([, name]) => name);
  const toUnpack = Object.entries(unpacked).filter(([program]) => !existsSync(conflicting(program)));
  if (process.getuid?.() !== 0) throw new Error("the benchmarks make network namespaces, which takes root");
  if (missing.length === 0 && toUnpack.length === 0) return;
  if (!existsSync("/etc/debian_version"))
    throw new Error(`the benchmarks need ${missing.join(" ")} of Debian`);
  process.stdout.write(
    `Installing for the benchmarks: ${[...missing, ...toUnpack.map(([, name]) => name)].join(" ")}\n`,
  );
  run("apt-get", ["update", "-q"]);
  // RUNLEVEL=1: Debian's scripts then leave the servers stopped that they would start otherwise.
  const install = [
    "RUNLEVEL=1",
    "apt-get",
    "install",
    "-y",
    "-q",
    "--no-install-recommends",
    "libwrap0",
    ...missing,
  ];
  if (!run("env", install)) throw new Error("apt-get install failed");
  mkdirSync(tree, { recursive: true });
  for (const [, name] of toUnpack) {
    if (!run("apt-get", ["download", "-q", name], tree)) throw new Error(`apt-get download ${name} failed`);
    const archive = readdirSync(tree).find((file) => file.startsWith(`${name}_`) && file.endsWith(".deb"));
    if (archive === undefined || !run("dpkg-deb", ["-x", archive, "."], tree))
      throw new Error(`can't unpack ${name}`);
  }
}
