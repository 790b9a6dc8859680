import { type ChildProcess, execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { promisify } from "node:util";
import t, { type Test } from "tap";
import { parse } from "yaml";
import { configKeys } from "../server/config/schema.ts";

const run = promisify(execFile);
const root = resolve(import.meta.dirname, "..");
const read = (name: string) => readFileSync(join(root, name), "utf8");
const defaultOf = (key: string) => configKeys.find(({ name }) => name === key)?.default;

/** What the server listens on with the embedded defaults: config key -> protocol. */
const listeners = {
  "dhcp.port": "udp",
  "dhcp.pxePort": "udp",
  "tftp.port": "udp",
  "http.port": "tcp",
  "registry.port": "tcp",
  "registry.tlsPort": "tcp",
  "lookaside.port": "tcp",
} as const;
const defaultPorts = Object.entries(listeners).map(([key, protocol]) => `${defaultOf(key)}/${protocol}`);

const unitFile = join(root, "docs/deployment/rollcall.service");
/** All values of a key of the unit. */
const unit = (key: string) =>
  [...readFileSync(unitFile, "utf8").matchAll(new RegExp(`^${key}=(.*)$`, "gm"))].map(
    ([, value = ""]) => value,
  );
const unitEnvironment = unit("Environment").flatMap((words) => words.split(" "));

/** Each instruction of the Dockerfile with its arguments, continued lines joined. */
const dockerfile = read("Dockerfile")
  .replaceAll(/^\s*#.*\n/gm, "")
  .replaceAll(/\\\n/g, " ")
  .split("\n")
  .filter((line) => line.trim() !== "")
  .map((line) => ({ word: line.split(" ")[0] ?? "", rest: line.slice(line.indexOf(" ") + 1).trim() }));
const instruction = (word: string) => dockerfile.filter((line) => line.word === word).map(({ rest }) => rest);

interface ComposeService {
  network_mode: string;
  privileged?: boolean;
  user?: string;
  read_only: boolean;
  restart: string;
  cap_drop: string[];
  cap_add: string[];
  security_opt: string[];
  volumes: string[];
  stop_grace_period: string;
  healthcheck: { test: string[] };
}

t.test("docker-compose.yml: accepted by docker-compose, and agrees with the Dockerfile", async (t) => {
  const { stdout } = await run("docker-compose", ["--file", join(root, "docker-compose.yml"), "config"]);
  const service = (parse(stdout) as { services: { rollcall: ComposeService } }).services.rollcall;
  t.equal(service.network_mode, "host", "DHCP broadcasts reach it");
  t.equal(service.read_only, true, "its root is read-only");
  t.equal(service.restart, "unless-stopped");
  t.equal(service.stop_grace_period, "15s", "longer than the server takes to end");
  t.notOk(service.privileged);
  t.strictSame(service.cap_drop, ["ALL"]);
  t.strictSame(service.cap_add, ["NET_BIND_SERVICE", "NET_RAW", "SETGID", "SETPCAP", "SETUID"]);
  t.strictSame(service.security_opt, ["no-new-privileges:true"]);
  t.strictSame(service.volumes, [`data:${instruction("VOLUME")[0]}:rw`], "the data directory is the volume");
  const [, check = "[]"] = /CMD (\[.*\])$/.exec(instruction("HEALTHCHECK")[0] ?? "") ?? [];
  t.strictSame(
    service.healthcheck.test,
    ["CMD", ...(JSON.parse(check) as string[])],
    "one health check in both files",
  );
});

t.test(
  "Dockerfile: made of Debian and npm packages only, with the ports and the data directory of the config",
  (t) => {
    for (const from of instruction("FROM")) t.match(from, /^debian:bookworm-slim( AS \w+)?$/);
    for (const step of instruction("RUN"))
      t.notMatch(step, /\b(curl|wget|https?:)/, "fetches nothing by hand");
    t.strictSame(instruction("ADD"), []);
    t.match(instruction("RUN").join("\n"), /npm ci --omit=dev/);
    t.strictSame(instruction("EXPOSE").join(" ").split(" ").sort(), defaultPorts.toSorted());
    t.match(instruction("ENV").join(" "), `ROLLCALL_DATA_DIR=${instruction("VOLUME")[0]}`);
    const check = instruction("HEALTHCHECK")[0] ?? "";
    t.match(check, "/readyz");
    t.match(check, `?? ${defaultOf("http.port")})`);
    t.end();
  },
);

t.test(".dockerignore: lets through what the Dockerfile copies and nothing else", (t) => {
  const [all, ...exceptions] = read(".dockerignore")
    .split("\n")
    .filter((line) => line !== "" && !line.startsWith("#"));
  t.equal(all, "*", "what is not named stays outside");
  const allowed = exceptions.map((line) => line.slice(1));
  const copied = instruction("COPY")
    .filter((words) => !words.startsWith("--from"))
    .flatMap((words) => words.split(" ").slice(0, -1));
  for (const name of copied)
    t.ok(
      allowed.some((path) => path === name || path.startsWith(`${name}/`)),
      name,
    );
  for (const path of allowed)
    t.ok(
      copied.some((name) => path === name || path.startsWith(`${name}/`)),
      path,
    );
  t.end();
});

t.test("boot in the container: gives up root and every capability but the one for ports below 1024", (t) => {
  const script = read("docs/deployment/boot-in-container");
  for (const option of ["--reuid=rollcall", "--regid=rollcall", "--clear-groups", "--no-new-privs"])
    t.match(script, option);
  for (const set of ["bounding-set", "inh-caps", "ambient-caps"])
    t.match(script, `--${set}=-all,+net_bind_service`);
  t.end();
});

t.test("however the server is started, it is told to be sparing with memory", (t) => {
  for (const file of [
    "server/launch.mjs",
    "docs/deployment/rollcall.service",
    "docs/deployment/boot-in-container",
    "test/bench/rollcall.ts",
  ]) {
    t.match(read(file), "--max-semi-space-size=8", file);
    t.match(read(file), /MALLOC_ARENA_MAX(=1|: "1")/, file);
  }
  t.end();
});

t.test("rollcall.service: verified by systemd, exposure at most 3.0, two capabilities", async (t) => {
  const { stderr } = await run("systemd-analyze", ["verify", unitFile]);
  t.equal(stderr, "", "systemd-analyze verify has nothing to say");
  const { stdout } = await run("systemd-analyze", ["security", "--offline=true", "--no-pager", unitFile]);
  const [, exposure = "10"] = /Overall exposure level for rollcall\.service: ([\d.]+)/.exec(stdout) ?? [];
  t.ok(Number(exposure) <= 3, `exposure ${exposure}`);
  t.strictSame(unit("AmbientCapabilities"), ["CAP_NET_BIND_SERVICE CAP_NET_RAW"]);
  t.strictSame(unit("CapabilityBoundingSet"), ["CAP_NET_BIND_SERVICE CAP_NET_RAW"]);
  t.ok(
    unitEnvironment.includes(`ROLLCALL_DATA_DIR=/var/lib/${unit("StateDirectory")[0]}`),
    "its data is in its state directory",
  );
});

t.test("README.md: its table names every port with protocol and config key", (t) => {
  const page = read("docs/deployment/README.md");
  for (const [key, protocol] of Object.entries(listeners))
    t.match(
      page,
      new RegExp(`^\\| ${defaultOf(key)} *\\| ${protocol} *\\| .* \\| \`${key}\` *\\|$`, "m"),
      key,
    );
  t.end();
});

const address = "10.77.0.1";
const http = `http://${address}:${String(defaultOf("http.port"))}`;
/** Nobody in particular, as systemd's own dynamic users. */
const userId = "61184";
let networks = 0;

/** A network namespace with one interface that has the default route. @returns its name */
async function createNetwork(t: Test): Promise<string> {
  const name = `rcdep${process.pid}x${networks++}`;
  const ip = (...words: string[]) => run("ip", words);
  await ip("netns", "add", name);
  t.teardown(() => ip("netns", "delete", name));
  await ip("-n", name, "link", "set", "lo", "up");
  await ip("-n", name, "link", "add", "lan0", "type", "bridge");
  await ip("-n", name, "address", "add", `${address}/24`, "dev", "lan0");
  await ip("-n", name, "link", "set", "lan0", "up");
  await ip("-n", name, "route", "add", "default", "dev", "lan0");
  return name;
}

interface Service {
  readonly process: ChildProcess;
  /** Resolves when it has printed this. @throws with all that it printed when it ends before */
  printed(text: string): Promise<void>;
  readonly ended: Promise<{ code: number | null; output: string }>;
}

/**
 * Starts the command of rollcall.service as systemd would as far as rights go: a user without any, the given capabilities,
 * the checkout read-only in /opt/rollcall, an empty state directory. All mounts are the process's own and end with it.
 */
function startService(t: Test, network: string, capabilities: "none" | "of the unit"): Service {
  const [ambient = ""] = capabilities === "none" ? [] : unit("AmbientCapabilities");
  const granted = ambient.split(" ").filter((name) => name !== "");
  const sets = ["-all", ...granted.map((name) => `+${name.replace("CAP_", "").toLowerCase()}`)].join(",");
  const setpriv = ["setpriv", `--reuid=${userId}`, `--regid=${userId}`, "--clear-groups", "--no-new-privs"];
  const rights = ["bounding-set", "inh-caps", "ambient-caps"].map((set) => `--${set}=${sets}`);
  const surroundings = `
    mount -t tmpfs -o mode=0755 tmpfs /opt && mkdir /opt/rollcall && mount --bind "$1" /opt/rollcall && mount -o remount,bind,ro /opt/rollcall
    mount -t tmpfs -o mode=0755 tmpfs /var/lib && mkdir -m 0700 /var/lib/rollcall && chown "$2:$2" /var/lib/rollcall
    cd /var/lib/rollcall && shift 2 && exec "$@"`;
  const command = (unit("ExecStart")[0] ?? "").split(" ");
  const words = [
    "netns",
    "exec",
    network,
    "unshare",
    "--mount",
    "sh",
    "-ec",
    surroundings,
    "sh",
    root,
    userId,
  ];
  const child = spawn(
    "ip",
    [...words, ...setpriv, ...rights, "env", "--ignore-environment", ...unitEnvironment, ...command],
    {
      stdio: ["ignore", "pipe", "pipe"],
    },
  );
  t.teardown(() => child.kill("SIGKILL"));
  let output = "";
  const ended = once(child, "close").then(([code]) => ({ code: code as number | null, output }));
  for (const stream of [child.stdout, child.stderr])
    stream.on("data", (chunk: Buffer) => (output += chunk.toString()));
  return {
    process: child,
    ended,
    printed: (text) =>
      new Promise((done, fail) => {
        const look = () => output.includes(text) && done();
        child.stdout.on("data", look);
        look();
        void ended.then(({ code }) =>
          fail(new Error(`ended with ${code} before it printed "${text}":\n${output}`)),
        );
      }),
  };
}

/** The answer's status, or what curl says when there is none. */
async function statusOf(network: string, url: string): Promise<string> {
  const { stdout } = await run("ip", [
    "netns",
    "exec",
    network,
    "curl",
    "--silent",
    "--max-time",
    "5",
    "--output",
    "/dev/null",
    "--write-out",
    "%{http_code}",
    url,
  ]);
  return stdout;
}

async function openPorts(network: string): Promise<string[]> {
  const { stdout } = await run("ip", [
    "netns",
    "exec",
    network,
    "ss",
    "--listening",
    "--udp",
    "--tcp",
    "--numeric",
    "--no-header",
  ]);
  return stdout
    .trim()
    .split("\n")
    .map((line) => line.split(/\s+/))
    .map(([protocol = "", , , , local = ""]) => `${local.slice(local.lastIndexOf(":") + 1)}/${protocol}`)
    .sort();
}

t.test(
  "the service needs no more than its two capabilities, and SIGTERM ends it within 10 seconds",
  async (t) => {
    const network = await createNetwork(t);
    const service = startService(t, network, "of the unit");
    await service.printed("Rollcall is up");
    t.equal(await statusOf(network, `${http}/readyz`), "200", "ready");
    t.strictSame(await openPorts(network), defaultPorts.toSorted(), "every port is open, and no other");
    const status = readFileSync(`/proc/${service.process.pid}/status`, "utf8");
    t.match(status, new RegExp(`^Uid:\t${userId}\t${userId}\t${userId}\t${userId}$`, "m"), "not root");
    t.match(status, /^NoNewPrivs:\t1$/m);
    for (const set of ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"])
      t.match(
        status,
        new RegExp(`^${set}:\t0000000000002400$`, "m"),
        `${set} is CAP_NET_BIND_SERVICE and CAP_NET_RAW`,
      );
    const beganMs = performance.now();
    service.process.kill("SIGTERM");
    t.equal((await service.ended).code, 0);
    t.ok(performance.now() - beganMs < 10_000, "within 10 s");
  },
);

t.test(
  "without any privilege it names every port that it can't have and both ways to get them, and ends",
  async (t) => {
    const network = await createNetwork(t);
    const { code, output } = await startService(t, network, "none").ended;
    t.equal(code, 1);
    t.match(
      output,
      /^PORT_NOT_PERMITTED: this process may not open udp port 67 \(config key dhcp\.port\), udp port 69 \(config key tftp\.port\), tcp port 80 \(config key registry\.port\), tcp port 443 \(config key registry\.tlsPort\), tcp port 81 \(config key lookaside\.port\): /m,
    );
    t.match(output, "docs/deployment/rollcall.service", "the first way");
    t.match(output, "sysctl net.ipv4.ip_unprivileged_port_start=67", "the second way");
    t.notMatch(output, "    at ", "no stack trace");
  },
);

t.test("the second way works: with the ports open to everyone it needs no capability at all", async (t) => {
  const network = await createNetwork(t);
  const setting = "echo 67 >/proc/sys/net/ipv4/ip_unprivileged_port_start";
  await run("ip", ["netns", "exec", network, "sh", "-c", setting]);
  const service = startService(t, network, "none");
  await service.printed("Rollcall is up");
  t.equal(await statusOf(network, `${http}/readyz`), "200", "ready");
  service.process.kill("SIGTERM");
  t.equal((await service.ended).code, 0);
});

t.test("ports of other programs are named, all of them, with their config keys", async (t) => {
  const network = await createNetwork(t);
  const holder = `
    const udp = require("node:dgram").createSocket("udp4").bind(67, () =>
      require("node:net").createServer().listen(8080, () => console.log("held")));`;
  const other = spawn("ip", ["netns", "exec", network, process.execPath, "--eval", holder]);
  t.teardown(() => other.kill("SIGKILL"));
  await once(other.stdout, "data");
  const { code, output } = await startService(t, network, "of the unit").ended;
  t.equal(code, 1);
  t.match(
    output,
    /^PORT_IN_USE: in use by another program: tcp port 8080 \(config key http\.port\), udp port 67 on lan0 \(config key dhcp\.port\)$/m,
  );
  t.match(output, "ss -tulpn", "how to find the program");
});
