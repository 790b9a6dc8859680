#!/usr/bin/env node
// Plain JavaScript that Node 18 can read: makes sure that the packages and a new enough Node are there, then hands over to the
// command. It runs before anything imports better-sqlite3, which crashes an older Node in place of refusing it.
import { spawn, spawnSync } from "node:child_process";
import {
  copyFileSync,
  existsSync,
  linkSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  realpathSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
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

/** One command at a time installs: its process id stands in here. */
const lock = join(root, ".installing");
const pause = new Int32Array(new SharedArrayBuffer(4));

function isAlive(pid) {
  try {
    return process.kill(pid, 0);
  } catch (error) {
    return error.code === "EPERM";
  }
}

/** Waits while another command installs. @returns false when that one has installed what was wanted */
function takeLock(wanted) {
  const own = `${lock}.${process.pid}`;
  for (let told = 0; ;) {
    try {
      // A link appears with its content in it.
      writeFileSync(own, String(process.pid));
      linkSync(own, lock);
      return true;
    } catch (error) {
      if (error.code !== "EEXIST") throw error;
    } finally {
      rmSync(own, { force: true });
    }
    const holder = existsSync(lock) ? Number(readFileSync(lock, "utf8")) : 0;
    if (holder > 0 && !isAlive(holder)) rmSync(lock, { force: true });
    else if (holder > 0 && told !== holder) {
      process.stderr.write(
        `Another command is installing the packages (process ${holder}); waiting for it.\n`,
      );
      told = holder;
    }
    Atomics.wait(pause, 0, 0, 300);
    if (!existsSync(lock) && isInstalled(wanted)) return false;
  }
}

/**
 * Installs what package-lock.json names, unless it is there. npm removes what there is before it installs; a server that runs in this
 * checkout would lose the packages that it has not loaded yet, so they are made ready beside the old ones, and change places at the end.
 */
export function ensurePackages({ dev }) {
  if (isInstalled({ dev }) || !takeLock({ dev })) return;
  const stage = join(root, ".packages");
  try {
    process.stderr.write("Installing the packages of package-lock.json (about half a minute)...\n");
    rmSync(stage, { recursive: true, force: true });
    mkdirSync(stage);
    for (const file of ["package.json", "package-lock.json", ".npmrc"])
      copyFileSync(join(root, file), join(stage, file));
    const npm = ["ci", "--no-audit", "--no-fund", "--loglevel=error", ...(dev ? [] : ["--omit=dev"])];
    const { status } = spawnSync("npm", npm, { cwd: stage, stdio: ["ignore", "ignore", "inherit"] });
    if (status !== 0) {
      process.stderr.write("npm ci failed; the lines above say why.\n");
      process.exitCode = 1;
    } else {
      if (existsSync(join(root, "node_modules"))) renameSync(join(root, "node_modules"), join(stage, "old"));
      renameSync(join(stage, "node_modules"), join(root, "node_modules"));
    }
  } finally {
    rmSync(stage, { recursive: true, force: true });
    rmSync(lock, { force: true });
  }
  if (process.exitCode) process.exit();
}

/** When something below a path was changed last, ms; a file that was taken away changes its directory. 0: there is nothing. */
function changedAt(path) {
  const entry = statSync(path, { throwIfNoEntry: false });
  if (entry === undefined) return 0;
  const inside = entry.isDirectory() ? readdirSync(path).map((name) => changedAt(join(path, name))) : [];
  return Math.max(entry.mtimeMs, ...inside);
}

/** What the pages are built of: the domain's types of events and phases are in them too. */
const dashboardSources = ["server/web", "server/domain", "server/build-dashboard.mjs", "package-lock.json"];

/**
 * Builds the pages of the dashboard where they are missing or older than their sources. Without them, or with older ones, the server
 * boots machines all the same. @returns false when that failed
 */
export function ensureDashboard() {
  if (!existsSync(join(root, "server/web/index.html"))) return existsSync(join(root, "dist/web/index.html"));
  const sources = Math.max(...dashboardSources.map((path) => changedAt(join(root, path))));
  if (changedAt(join(root, "dist/web/index.html")) >= sources) return true;
  process.stderr.write("Building the dashboard (some seconds)...\n");
  const { status } = spawnSync(findNode(), [join(root, "server/build-dashboard.mjs")], {
    cwd: root,
    stdio: ["ignore", "ignore", "inherit"],
  });
  if (status !== 0)
    process.stderr.write(
      "The dashboard could not be built; the lines above say why. The server works without it.\n",
    );
  return status === 0;
}

/** @returns a Node that reads TypeScript: this one, or the one that came with the packages */
function findNode() {
  const bundled = join(root, `node_modules/node-linux-${process.arch}/bin/node`);
  const node = isNewEnough(process.versions.node) ? process.execPath : bundled;
  if (existsSync(node)) return node;
  process.stderr.write(
    `Rollcall needs Node ${minimumMajor}.${minimumMinor} or newer, and this is ${process.versions.node}.\n` +
      "Run `npm ci` (it brings a Node for Linux on x64 and arm64), or install a newer Node.\n",
  );
  return process.exit(1);
}

/** Runs a TypeScript file of ours. */
export function runWithNode(file, args) {
  const node = findNode();
  // Shorter pauses, and less memory held by a server that boots a building (docs/performance.md).
  const isServer = args.includes("serve");
  const flags = ["--disable-warning=ExperimentalWarning", ...(isServer ? ["--max-semi-space-size=8"] : [])];
  const child = spawn(node, [...flags, join(root, file), ...args], {
    stdio: "inherit",
    env: {
      // Halves the time that a command takes to start; where it can't be written, Node goes on without it.
      NODE_COMPILE_CACHE: join(root, "node_modules/.cache/compiled"),
      ...(isServer ? { MALLOC_ARENA_MAX: "1" } : {}),
      ...process.env,
    },
  });
  for (const signal of ["SIGTERM", "SIGINT", "SIGHUP"]) process.on(signal, () => child.kill(signal));
  child.on("exit", (code, signal) => process.exit(code ?? (signal === "SIGINT" ? 130 : 143)));
}

if (process.argv[1] && fileURLToPath(import.meta.url) === realpathSync(process.argv[1])) {
  const [command, ...rest] = process.argv.slice(2);
  ensurePackages({ dev: false });
  if (["start", "serve", "demo", "assets"].includes(command)) ensureDashboard();
  runWithNode(
    "server/cli/main.ts",
    command === "start" ? ["serve", "--first-start", ...rest] : process.argv.slice(2),
  );
}
