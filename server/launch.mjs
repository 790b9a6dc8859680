#!/usr/bin/env node
// Plain JavaScript that Node 18 can read: makes sure that the packages and a new enough Node are there, then hands over to the
// command. It runs before anything imports better-sqlite3, which crashes an older Node in place of refusing it.
import { spawn, spawnSync } from "node:child_process";
import { existsSync, readFileSync, realpathSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const root = join(dirname(fileURLToPath(import.meta.url)), "..");
const [minimumMajor, minimumMinor] = [22, 19];

function isNewEnough(version) {
  const [major, minor] = version.split(".").map(Number);
  return major > minimumMajor || (major === minimumMajor && minor >= minimumMinor);
}

/** Is what package-lock.json names installed? npm keeps its own list of what it put into node_modules. */
function isInstalled({ dev }) {
  const read = (file) => JSON.parse(readFileSync(join(root, file), "utf8")).packages;
  try {
    const installed = read("node_modules/.package-lock.json");
    return Object.entries(read("package-lock.json")).every(
      ([path, entry]) =>
        path === "" ||
        entry.optional ||
        entry.devOptional ||
        (entry.dev && !dev) ||
        installed[path]?.version === entry.version,
    );
  } catch {
    return false;
  }
}

/** Installs what package-lock.json names, unless it is there. */
export function ensurePackages({ dev }) {
  if (isInstalled({ dev })) return;
  process.stderr.write("Installing the packages of package-lock.json (about half a minute)...\n");
  const npm = ["ci", "--no-audit", "--no-fund", "--loglevel=error", ...(dev ? [] : ["--omit=dev"])];
  const { status } = spawnSync("npm", npm, { cwd: root, stdio: ["ignore", "ignore", "inherit"] });
  if (status === 0) return;
  process.stderr.write("npm ci failed; the lines above say why.\n");
  process.exit(1);
}

/** Runs a TypeScript file of ours with a Node that can: this one, or the one that came with the packages. */
export function runWithNode(file, args) {
  const bundled = join(root, `node_modules/node-linux-${process.arch}/bin/node`);
  const node = isNewEnough(process.versions.node) ? process.execPath : bundled;
  if (!existsSync(node)) {
    process.stderr.write(
      `Rollcall needs Node ${minimumMajor}.${minimumMinor} or newer, and this is ${process.versions.node}.\n` +
        "Run `npm ci` (it brings a Node for Linux on x64 and arm64), or install a newer Node.\n",
    );
    process.exit(1);
  }
  const child = spawn(node, ["--disable-warning=ExperimentalWarning", join(root, file), ...args], {
    stdio: "inherit",
    // Halves the time that a command takes to start; where it can't be written, Node goes on without it.
    env: { NODE_COMPILE_CACHE: join(root, "node_modules/.cache/compiled"), ...process.env },
  });
  for (const signal of ["SIGTERM", "SIGINT", "SIGHUP"]) process.on(signal, () => child.kill(signal));
  child.on("exit", (code, signal) => process.exit(code ?? (signal === "SIGINT" ? 130 : 143)));
}

if (process.argv[1] && fileURLToPath(import.meta.url) === realpathSync(process.argv[1])) {
  const [command, ...rest] = process.argv.slice(2);
  ensurePackages({ dev: false });
  runWithNode(
    "server/cli/main.ts",
    command === "start" ? ["serve", "--first-start", ...rest] : process.argv.slice(2),
  );
}
