import { once } from "node:events";
import { mkdirSync, readdirSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import t from "tap";
import { shareConnections } from "../server/domain/connection-shares.ts";
import { openFileLimit } from "../server/platform/open-file-limit.ts";
import { curl } from "./support/http-fixture.ts";
import { createLan } from "./support/namespaces.ts";
import { temporaryDirectory } from "./support/samples.ts";

const all = { https: true, endpoint: true, registry: true };
const none = { https: false, endpoint: false, registry: false };

t.test("all listeners together may open less than the process may", (t) => {
  t.same(shareConnections(1024, none), { http: 384, https: 0, endpoint: 0, registry: 0 });
  t.same(shareConnections(1024, { ...none, https: true }), {
    http: 256,
    https: 128,
    endpoint: 0,
    registry: 0,
  });
  t.same(shareConnections(1024, all), { http: 128, https: 64, endpoint: 64, registry: 42 });
  t.same(shareConnections(20_000, all), { http: 2650, https: 1325, endpoint: 1325, registry: 884 });
  const most = { http: 8192, https: 8192, endpoint: 8192, registry: 2730 };
  t.same(shareConnections(131_072, all), most, "what our unit asks for is enough for all");
  t.same(shareConnections(Number.POSITIVE_INFINITY, all), most);
  for (let openFiles = 64; openFiles < 100_000; openFiles += 997) {
    const { http, https, endpoint, registry } = shareConnections(openFiles, all);
    const left = openFiles - 2 * (http + https + endpoint + 3 * registry);
    if (left < Math.min(256, openFiles / 2)) t.fail(`of ${openFiles} are left ${left}`);
    if (Math.min(http, https, endpoint, registry) < 1) t.fail(`of ${openFiles} somebody gets none`);
  }
  t.end();
});

t.test("the limit is that of the process", (t) => {
  const file = join(temporaryDirectory(t), "limits");
  writeFileSync(file, "Limit  Soft  Hard  Units\nMax open files            1024       524288       files\n");
  t.equal(openFileLimit(file), 1024);
  writeFileSync(file, "Max open files            unlimited       unlimited       files\n");
  t.equal(openFileLimit(file), Number.POSITIVE_INFINITY);
  t.equal(openFileLimit(`${file}-nothing`), Number.POSITIVE_INFINITY);
  t.end();
});

/** Opens connections and keeps them; a line for each that is closed. */
const flood = `
const { connect } = require("node:net");
const [port, count] = process.argv.slice(1).map(Number);
for (let number = 0; number < count; number++) {
  const socket = connect({ host: "10.76.0.1", port, localAddress: "10.76.0." + (2 + (number % 4)) });
  socket.on("error", () => {});
  socket.on("close", () => console.log("closed"));
}`;

t.test("with all connections that there may be, health, database and DHCP go on", async (t) => {
  const openFiles = 256;
  const shares = shareConnections(openFiles, all);
  const lan = createLan(t, { server: { s0: "lan 10.76.0.1/24" }, client: { c0: "lan 10.76.0.2/24" } });
  for (const number of [3, 4, 5]) lan.run("client", "ip", "addr", "add", `10.76.0.${number}/24`, "dev", "c0");
  const work = temporaryDirectory(t);
  const [dataDir, config] = [join(work, "data"), join(work, "rollcall.yaml")];
  mkdirSync(dataDir);
  writeFileSync(
    config,
    `interfaces: [s0]
dhcp:
  mode: authoritative
  subnets: [{ subnet: 10.76.0.0/24, range: 10.76.0.100-10.76.0.200 }]
http: { port: 80 }
registry: { port: 5000, tlsPort: 5443 }
cluster: { kubernetesVersion: 1.20.2 }
`,
  );
  const program = resolve(import.meta.dirname, "../server/cli/main.ts");
  const child = lan.start("server", [
    "prlimit",
    `--nofile=${openFiles}:${openFiles}`,
    process.execPath,
    program,
    "serve",
    "--config",
    config,
    "--data",
    dataDir,
  ]);
  let output = "";
  child.stdout?.on("data", (chunk: Buffer) => (output += chunk.toString()));
  while (!output.includes("Try:"))
    await Promise.race([
      once(child.stdout ?? child, "data"),
      once(child, "exit").then(() => Promise.reject(new Error("the server ended"))),
    ]);

  /** @returns when all that has no place is closed */
  async function fill(port: number, share: number): Promise<void> {
    const count = openFiles;
    const words = [process.execPath, "-e", flood, String(port), String(count)];
    const flooding = lan.start("client", words);
    let closed = 0;
    while (closed < count - share)
      closed += String(await once(flooding.stdout ?? flooding, "data")).split("\n").length - 1;
    t.pass(`port ${port}: ${closed} of ${count} are closed, ${share} have a place`);
  }
  const address = () =>
    lan.run("client", "busybox", "udhcpc", "-i", "c0", "-n", "-q", "-f", "-s", "/bin/true");

  await fill(8443, shares.https);
  t.match(
    lan.run("client", "curl", "-s", "--max-time", "20", "http://10.76.0.1/healthz"),
    /"up"/,
    "HTTP goes on",
  );
  await fill(80, shares.http);
  const open = readdirSync(`/proc/${child.pid}/fd`).length;
  t.ok(open < openFiles - 2 * shares.endpoint, `${open} of ${openFiles} are open`);
  const control = ["--unix-socket", join(dataDir, "control.sock")];
  t.match(await curl(...control, "http://localhost/healthz"), /"up"/);
  t.match(await curl(...control, "http://localhost/readyz"), /"ready"/, "the database is written to");
  t.doesNotThrow(address, "DHCP gives an address");
});
