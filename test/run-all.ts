import { spawn, spawnSync } from "node:child_process";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { homedir } from "node:os";
import { join, resolve } from "node:path";
import { parseArgs } from "node:util";

/** The parts of `npm test`, in order. A part that can't run here is a failure, unless it was left out by name. */
const partNames = ["check", "unit", "e2e", "slow", "cluster"] as const;
type Part = (typeof partNames)[number];
/** Run when they are named only: `npm run test:slow`, `npm run test:cluster`. */
const extraParts: readonly Part[] = ["slow", "cluster"];

const root = resolve(import.meta.dirname, "..");
const node = process.execPath;
/** The same as that of `boot` (server/launch.mjs). */
const compileCache = join(root, "node_modules/.cache/compiled");
const bin = (name: string) => join(root, "node_modules/.bin", name);

/** What the tests need of Debian: program -> package. */
const debianPackages: Readonly<Record<Part, Readonly<Record<string, string>>>> = {
  check: {},
  unit: {
    "/usr/bin/gpg": "gpg",
    "/usr/bin/gpgv": "gpgv",
    "/usr/bin/gpg-agent": "gpg-agent",
    "/usr/bin/gpgconf": "gpgconf",
    "/usr/bin/skopeo": "skopeo",
    "/usr/bin/podman": "podman",
    "/usr/bin/docker-registry": "docker-registry",
    "/usr/bin/htpasswd": "apache2-utils",
    "/usr/bin/xz": "xz-utils",
    "/usr/bin/bsdtar": "libarchive-tools",
    "/usr/bin/curl": "curl",
    "/usr/bin/wget": "wget",
    "/usr/bin/jq": "jq",
    "/usr/sbin/useradd": "passwd",
    "/usr/bin/busybox": "busybox",
    "/usr/bin/tftp": "tftp-hpa",
    "/usr/bin/atftp": "atftp",
    "/usr/sbin/dnsmasq": "dnsmasq-base",
    "/sbin/dhclient": "isc-dhcp-client",
    "/usr/sbin/dhcpd": "isc-dhcp-server",
    "/usr/sbin/dhcpcd": "dhcpcd-base",
    "/usr/sbin/nft": "nftables",
    "/usr/bin/unshare": "util-linux",
    "/sbin/ip": "iproute2",
    "/usr/bin/tcpdump": "tcpdump",
    "/usr/bin/docker-compose": "docker-compose",
    "/usr/bin/systemd-analyze": "systemd",
    "/usr/bin/ignition-validate": "ignition",
    "/usr/bin/cloud-init": "cloud-init",
    "/usr/bin/openssl": "openssl",
    "/usr/bin/kubectl": "kubernetes-client",
    "/bin/ping": "iputils-ping",
    "/usr/sbin/iptables": "iptables",
    "/usr/sbin/haproxy": "haproxy",
    "/usr/sbin/keepalived": "keepalived",
    "/usr/sbin/sshd": "openssh-server",
    "/usr/bin/ssh-keygen": "openssh-client",
    "/usr/bin/ipmitool": "ipmitool",
    "/usr/bin/ipmi_sim": "openipmi",
    "/usr/bin/etcd": "etcd-server",
    "/usr/bin/etcdctl": "etcd-client",
    "/usr/bin/cpio": "cpio",
    "/usr/bin/shellcheck": "shellcheck",
    "/usr/bin/zsh": "zsh",
    "/usr/bin/fish": "fish",
    "/usr/bin/rootlesskit": "rootlesskit",
    "/usr/bin/slirp4netns": "slirp4netns",
    "/usr/bin/newuidmap": "uidmap",
    "/usr/bin/containerd": "containerd",
    "/usr/bin/crun": "crun",
    "/usr/lib/cni/bridge": "containernetworking-plugins",
    "/sbin/mkfs.ext4": "e2fsprogs",
    "/usr/bin/python3": "python3",
    "/lib/systemd/systemd": "systemd",
    "/lib/systemd/systemd-logind": "systemd",
    "/usr/bin/dbus-daemon": "dbus",
    "/usr/lib/systemd/user/dbus.socket": "dbus-user-session",
    "/usr/share/pam-configs/systemd": "libpam-systemd",
  },
  e2e: {
    "/usr/bin/gpg": "gpg",
    "/usr/bin/ssh": "openssh-client",
    "/usr/bin/qemu-system-x86_64": "qemu-system-x86",
    "/usr/bin/qemu-system-aarch64": "qemu-system-arm",
    "/usr/lib/ipxe/qemu/efi-virtio.rom": "ipxe-qemu",
    "/usr/share/OVMF/OVMF_CODE_4M.fd": "ovmf",
    "/usr/share/AAVMF/AAVMF_CODE.fd": "qemu-efi-aarch64",
    "/usr/lib/u-boot/qemu_arm64/u-boot.bin": "u-boot-qemu",
    "/usr/bin/chromium": "chromium",
    "/usr/bin/mmdebstrap": "mmdebstrap",
    "/usr/bin/mksquashfs": "squashfs-tools",
    "/usr/sbin/dnsmasq": "dnsmasq-base",
    "/usr/bin/curl": "curl",
    "/usr/sbin/nft": "nftables",
    "/usr/bin/busybox": "busybox",
    "/sbin/dhclient": "isc-dhcp-client",
    "/usr/sbin/dhcpcd": "dhcpcd-base",
    "/usr/bin/unshare": "util-linux",
    "/sbin/ip": "iproute2",
  },
  slow: {
    "/usr/bin/ssh": "openssh-client",
    "/usr/bin/ipmitool": "ipmitool",
    "/usr/bin/ipmi_sim": "openipmi",
    "/usr/bin/python3": "python3",
    "/usr/bin/qemu-system-x86_64": "qemu-system-x86",
    "/usr/bin/mmdebstrap": "mmdebstrap",
    "/usr/bin/mksquashfs": "squashfs-tools",
    "/sbin/ip": "iproute2",
  },
  cluster: {
    "/usr/bin/qemu-system-x86_64": "qemu-system-x86",
    "/usr/lib/ipxe/qemu/efi-virtio.rom": "ipxe-qemu",
    "/usr/bin/mmdebstrap": "mmdebstrap",
    "/usr/bin/mksquashfs": "squashfs-tools",
    "/sbin/ip": "iproute2",
    "/usr/bin/etcd": "etcd-server",
    "/usr/bin/etcdctl": "etcd-client",
    "/usr/sbin/iptables": "iptables",
    "/usr/sbin/conntrack": "conntrack",
    "/usr/bin/busybox": "busybox",
  },
};

interface Result {
  passed: number;
  failed: number;
}

const say = (text: string) => process.stdout.write(`${text}\n`);

/** Runs a program; its output goes to the screen. @returns its exit code */
function run(
  program: string,
  words: readonly string[],
  environment: NodeJS.ProcessEnv = {},
): Promise<number> {
  return new Promise((done) => {
    const child = spawn(program, words, {
      cwd: root,
      stdio: "inherit",
      env: { ...process.env, ...environment },
    });
    child.on("error", (error) => {
      say(`${program}: ${error.message}`);
      done(127);
    });
    child.on("exit", (code) => done(code ?? 1));
  });
}

/** One step that passes or fails as a whole. */
async function step(name: string, program: string, words: readonly string[]): Promise<Result> {
  const began = Date.now();
  const code = await run(program, words);
  say(`${code === 0 ? "ok" : "FAILED"}: ${name} (${((Date.now() - began) / 1000).toFixed(1)} s)`);
  return code === 0 ? { passed: 1, failed: 0 } : { passed: 0, failed: 1 };
}

/** Runs test files one after another or two at a time; a file prints TAP, of which the failures are shown. */
async function runFiles(
  files: readonly string[],
  atOnce: number,
  environment: NodeJS.ProcessEnv,
  isVerbose: boolean,
  limitMs = fileLimitMs,
): Promise<Result> {
  const result = { passed: 0, failed: 0 };
  const waiting = [...files];
  const worker = async () => {
    for (let file = waiting.shift(); file !== undefined; file = waiting.shift()) {
      const counted = await runFile(file, environment, isVerbose, limitMs);
      result.passed += counted.passed;
      result.failed += counted.failed;
    }
  };
  await Promise.all(Array.from({ length: atOnce }, worker));
  return result;
}

/** Longest time of one file, ms: a hanging test must not eat the time of the rest. */
const fileLimitMs = 15 * 60_000;
/** Hundreds of ends of the server, and its starts after them. */
const slowLimitMs = 60 * 60_000;
/** Three emulated machines that boot twice and make a cluster. */
const clusterLimitMs = 90 * 60_000;

function runFile(
  file: string,
  environment: NodeJS.ProcessEnv,
  isVerbose: boolean,
  limitMs: number,
): Promise<Result> {
  return new Promise((done) => {
    const began = Date.now();
    const child = spawn(node, ["--disable-warning=ExperimentalWarning", file], {
      cwd: root,
      stdio: ["ignore", "pipe", "inherit"],
      env: {
        // What was compiled, and stripped of its types, for one file is there for the next one.
        NODE_COMPILE_CACHE: compileCache,
        ...process.env,
        ...environment,
        TAP_TIMEOUT: String(limitMs / 1000),
      },
    });
    let output = "";
    let line = "";
    child.stdout.on("data", (chunk: Buffer) => {
      output += chunk.toString();
      if (!isVerbose) return;
      // Long tests tell what they are doing in TAP comments.
      line += chunk.toString();
      const lines = line.split("\n");
      line = lines.pop() ?? "";
      for (const text of lines) if (/^\s*# (?!time=|Subtest|\{)/.test(text)) say(`  ${text.trim()}`);
    });
    const limit = setTimeout(() => child.kill("SIGKILL"), limitMs);
    child.on("exit", (code, signal) => {
      clearTimeout(limit);
      const counts = /^# \{ total: (\d+)(?:, pass: (\d+))?(?:, fail: (\d+))?(?:, skip: (\d+))?/m.exec(output);
      const passed = Number(counts?.[2] ?? 0);
      // A file that ends badly without saying that anything failed has failed all the same, and so has one without any test.
      const failed = Math.max(Number(counts?.[3] ?? 0), code === 0 && passed > 0 ? 0 : 1);
      say(
        `${failed === 0 ? "ok" : "FAILED"}: ${file}: ${passed} passed, ${failed} failed (${((Date.now() - began) / 1000).toFixed(1)} s)${signal ? `, ended by ${signal}` : ""}`,
      );
      if (failed > 0) say(failuresOf(output));
      done({ passed, failed });
    });
  });
}

/** The failed tests of a TAP text with their diagnostics. */
function failuresOf(output: string): string {
  const lines = output.split("\n");
  const shown: string[] = [];
  lines.forEach((line, index) => {
    if (!/^\s*not ok /.test(line)) return;
    const indent = /^\s*/.exec(line)?.[0].length ?? 0;
    shown.push(line);
    for (const following of lines.slice(index + 1, index + 60)) {
      if (following.trim() === "..." || (/\S/.exec(following)?.index ?? 99) < indent + 1) break;
      shown.push(following);
    }
  });
  return shown.length > 0 ? shown.join("\n") : lines.slice(-40).join("\n");
}

function testFiles(directory: string, ...exclude: string[]): string[] {
  return readdirSync(join(root, directory), { withFileTypes: true })
    .flatMap((entry) => {
      const path = `${directory}/${entry.name}`;
      if (exclude.includes(path)) return [];
      return entry.isDirectory() ? testFiles(path, ...exclude) : path.endsWith(".test.ts") ? [path] : [];
    })
    .sort();
}

/** As root on Debian the missing packages are installed; elsewhere they are named. @returns false when something is missing */
function ensureDebianPackages(parts: readonly Part[]): boolean {
  const missing = [
    ...new Set(
      parts.flatMap((part) =>
        Object.entries(debianPackages[part])
          .filter(([file]) => !existsSync(file))
          .map(([, name]) => name),
      ),
    ),
  ];
  if (missing.length === 0) return true;
  const isDebian = existsSync("/etc/debian_version");
  if (process.getuid?.() !== 0 || !isDebian) {
    say(`The tests need these Debian packages: ${missing.join(" ")}`);
    say(
      "Run them as root on Debian, where they are installed for you, or install them, or leave parts out: npm test -- --without e2e",
    );
    return false;
  }
  say(`Installing the Debian packages that the tests need: ${missing.join(" ")}`);
  const options = {
    stdio: ["ignore", "ignore", "inherit"] as const,
    env: { ...process.env, DEBIAN_FRONTEND: "noninteractive" },
  };
  spawnSync("apt-get", ["update", "-q"], { ...options, stdio: ["ignore", "ignore", "inherit"] });
  const { status } = spawnSync("apt-get", ["install", "-y", "-q", "--no-install-recommends", ...missing], {
    ...options,
    stdio: ["ignore", "ignore", "inherit"],
  });
  return status === 0;
}

const partRunners: Readonly<Record<Part, (updateGoldens: boolean) => Promise<Result>>> = {
  async check() {
    const results = [
      await step("types", bin("tsc"), ["--noEmit"]),
      await step("types of the dashboard", bin("tsc"), ["--noEmit", "--project", "server/web"]),
      await step("lint", bin("oxlint"), ["--type-aware", "--quiet", "server", "test"]),
      await step("format", bin("prettier"), ["--check", "--log-level", "warn", "."]),
    ];
    return results.reduce((sum, one) => ({
      passed: sum.passed + one.passed,
      failed: sum.failed + one.failed,
    }));
  },
  unit: (updateGoldens) =>
    runFiles(
      testFiles("test", "test/cluster", "test/e2e", "test/slow"),
      2,
      updateGoldens ? { UPDATE_GOLDENS: "1" } : {},
      false,
    ),
  e2e: () => runFiles(testFiles("test/e2e"), 1, {}, true),
  slow: () => runFiles(testFiles("test/slow"), 1, { NODE_OPTIONS: "--expose-gc" }, true, slowLimitMs),
  async cluster() {
    // What was built for a run before is taken; a directory of one's own has any version.
    const cache = join(process.env["XDG_CACHE_HOME"] ?? join(homedir(), ".cache"), "rollcall/kubernetes");
    const programs = process.env["ROLLCALL_KUBERNETES"] ?? join(cache, "bin");
    if (process.env["ROLLCALL_KUBERNETES"] === undefined) {
      const built = await step("Kubernetes", "sh", [join(root, "test/cluster/build-kubernetes.sh"), cache]);
      if (built.failed > 0) return built;
    }
    return runFiles(testFiles("test/cluster"), 1, { ROLLCALL_KUBERNETES: programs }, true, clusterLimitMs);
  },
};

const { values } = parseArgs({
  options: {
    without: { type: "string", multiple: true, default: [] },
    only: { type: "string", multiple: true, default: [] },
    "update-goldens": { type: "boolean", default: false },
  },
});
for (const name of [...values.without, ...values.only]) {
  if (!(partNames as readonly string[]).includes(name)) {
    say(`There is no part ${name}; there are ${partNames.join(", ")}.`);
    process.exit(2);
  }
}
const chosen = partNames.filter(
  (part) =>
    !values.without.includes(part) &&
    (values.only.length === 0 ? !extraParts.includes(part) : values.only.includes(part)),
);
const began = Date.now();
const total: Result = { passed: 0, failed: 0 };
if (!ensureDebianPackages(chosen)) total.failed++;
const filled = await run(node, [
  "--disable-warning=ExperimentalWarning",
  join(root, "server/cli/main.ts"),
  "assets",
  "fill",
]);
if (filled !== 0) total.failed++;
if (chosen.some((part) => part !== "check")) {
  const built = await step("dashboard", node, [join(root, "server/build-dashboard.mjs")]);
  total.failed += built.failed;
}
for (const part of chosen) {
  say(`\n== ${part}`);
  const result = await partRunners[part](values["update-goldens"]);
  total.passed += result.passed;
  total.failed += result.failed;
}
const left = partNames.filter((part) => !chosen.includes(part) && !extraParts.includes(part));
say(
  `\nRollcall ${(JSON.parse(readFileSync(join(root, "package.json"), "utf8")) as { version: string }).version}, Node ${process.versions.node}, ${Math.round((Date.now() - began) / 1000)} s`,
);
if (left.length > 0) say(`Left out by name: ${left.join(", ")}`);
say(`${total.passed} passed, ${total.failed} failed`);
process.exit(total.failed === 0 ? 0 : 1);
