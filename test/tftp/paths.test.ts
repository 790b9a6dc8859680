/** Programs of Debian and our server, on networks that are not kind to TFTP. Needs root. */
import { execFile } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { promisify } from "node:util";
import t from "tap";
import type { TftpContact } from "../../server/domain/contact.ts";
import type { FallbackNotice } from "../../server/tftp/fallback.ts";
import { createLan, type Lan } from "../support/namespaces.ts";
import { eventually, fillPattern } from "../support/tftp-lab.ts";
import { tftpPrograms } from "../support/tftp-programs.ts";
import { type TftpProcess, tftpProcessWords } from "../support/tftp-server-process.ts";

const run = promisify(execFile);
const folder = mkdtempSync(join(tmpdir(), "tftp-paths-"));
t.teardown(() => rmSync(folder, { recursive: true }));
const content = Buffer.from(fillPattern(new Uint8Array(200_001), 0));
writeFileSync(join(folder, "file"), content);
const target = join(folder, "got");

const serverAddress = "10.73.0.1";
const direct = { server: { s0: `lan ${serverAddress}/24` }, client: { c0: "lan 10.73.0.2/24" } };

interface Told {
  readonly contacts: TftpContact[];
  readonly fallbacks: FallbackNotice[];
}

/** Starts our server in the namespace `server`, and keeps what it tells. */
async function startServer(lan: Lan, settings: Partial<TftpProcess> = {}): Promise<Told> {
  const what = { root: folder, device: "s0", address: serverAddress, tells: true, ...settings };
  const child = lan.start("server", [process.execPath, ...tftpProcessWords(what)]);
  const told: Told = { contacts: [], fallbacks: [] };
  if (child.stdout === null) throw new Error("no output");
  const lines = createInterface(child.stdout);
  await new Promise<void>((resolve, reject) => {
    lines.on("line", (line) => {
      if (line === "listening") return resolve();
      const said = JSON.parse(line) as TftpContact & { fallback?: FallbackNotice };
      if (said.fallback === undefined) told.contacts.push(said);
      else told.fallbacks.push(said.fallback);
    });
    child.once("exit", () => reject(new Error("the server ended at once")));
  });
  return told;
}

/** Runs a client in a namespace; it is ended by SIGTERM after `limitMs`. @returns whether the file arrived whole */
async function fetched(lan: Lan, host: string, words: readonly string[], limitMs = 20_000): Promise<boolean> {
  rmSync(target, { force: true });
  const inside = ["netns", "exec", lan.namespaceOf(host), ...words];
  const isDone = await run("ip", inside, { timeout: limitMs }).then(
    () => true,
    () => false,
  );
  return isDone && readFileSync(target).equals(content);
}

const words = ({ program, args }: (typeof tftpPrograms)[number], file = "file") => [
  program,
  ...args(serverAddress, "69", file, target),
];
const named = (name: string) => {
  const found = tftpPrograms.find((one) => one.name === name);
  if (found === undefined) throw new Error(name);
  return found;
};

function rules(lan: Lan, host: string, ...lines: string[]): void {
  lan.run(host, "nft", "flush", "ruleset");
  for (const line of lines) lan.run(host, "nft", line);
}

t.test("single-port mode answers from the port that was asked, so a NAT lets it through", async (t) => {
  const lan = createLan(t, {
    server: { s0: `lan ${serverAddress}/24` },
    router: { r0: "lan 10.73.0.9/24", r1: "home 10.74.0.1/24" },
    client: { c0: "home 10.74.0.2/24" },
  });
  lan.run("router", "sysctl", "-qw", "net.ipv4.ip_forward=1");
  lan.run("client", "ip", "route", "add", "default", "via", "10.74.0.1");
  rules(
    lan,
    "router",
    "add table ip nat",
    "add chain ip nat out { type nat hook postrouting priority 100 ; }",
    "add rule ip nat out oifname r0 masquerade",
  );
  await startServer(lan, { singlePort: true });
  for (const one of tftpPrograms)
    t.test(one.name, async (t) => void t.ok(await fetched(lan, "client", words(one))));
  t.test("three at once, from one address", async (t) => {
    const all = await Promise.all(
      ["a", "b", "c"].map((name) => {
        const own = join(folder, name);
        const one = named("curl, blksize 1468");
        const line = [one.program, ...one.args(serverAddress, "69", "file", own)];
        return run("ip", ["netns", "exec", lan.namespaceOf("client"), ...line]).then(() => readFileSync(own));
      }),
    );
    t.ok(all.every((got) => got.equals(content)));
  });
});

t.test("a port for each transfer does not pass that NAT: the mode is what helps", async (t) => {
  const lan = createLan(t, direct);
  rules(
    lan,
    "client",
    "add table ip wall",
    "add chain ip wall in { type filter hook input priority 0 ; policy drop ; }",
    "add rule ip wall in udp sport 69 accept",
  );
  await startServer(lan);
  t.notOk(await fetched(lan, "client", words(named("curl, blksize 1468")), 1500));
});

t.test(
  "a path that drops large packets: the client gets smaller blocks when it asks again (Q22)",
  async (t) => {
    const lan = createLan(t, direct);
    rules(
      lan,
      "client",
      "add table ip tunnel",
      "add chain ip tunnel in { type filter hook input priority 0 ; }",
      "add rule ip tunnel in meta length > 1100 drop",
    );
    const told = await startServer(lan);
    const one = words(named("atftp, window 8, blksize 1428"));
    t.notOk(await fetched(lan, "client", one, 3000), "the first time nothing comes through");
    t.ok(await fetched(lan, "client", one), "the second time it does");
    await eventually(() => told.fallbacks.length > 0);
    t.match(told.fallbacks, [
      {
        client: "10.73.0.2",
        from: { maxBlockSizeBytes: 1468, maxWindowBlocks: 16 },
        to: { maxBlockSizeBytes: 1024, maxWindowBlocks: 1 },
      },
    ]);
    t.ok(await fetched(lan, "client", one), "and it is remembered");
    t.equal(told.fallbacks.length, 1);
  },
);

t.test("a request that was broadcast is ignored (RFC 1123 section 4.2.3.5)", async (t) => {
  const lan = createLan(t, direct);
  const told = await startServer(lan);
  for (const address of ["10.73.0.255", "255.255.255.255"]) lan.run("client", ...requestOf(address));
  t.ok(await fetched(lan, "client", words(named("atftp, lockstep"))));
  await eventually(() => told.contacts.length > 0);
  t.match(told.contacts, [{ outcome: "complete" }]);
  t.equal(told.contacts.length, 1);
});

t.test("who is in none of the networks of tftp.clients hears nothing, not even an ERROR", async (t) => {
  const lan = createLan(t, direct);
  await startServer(lan, { clients: ["10.99.0.0/16", "10.73.0.64/26"] });
  countAnswers(lan);
  for (const file of ["file", "missing"]) lan.run("client", ...requestOf(serverAddress, file));
  t.notOk(await fetched(lan, "client", words(named("curl, blksize 1468")), 500));
  t.equal(answers(lan), 0);
  lan.run("client", "ip", "address", "del", "10.73.0.2/24", "dev", "c0");
  lan.run("client", "ip", "address", "add", "10.73.0.65/24", "dev", "c0");
  t.ok(await fetched(lan, "client", words(named("curl, blksize 1468"))), "a served address is answered");
});

t.test("3 % lost each way: every client gets its file whole", async (t) => {
  const lan = createLan(t, direct);
  for (const host of ["server", "client"])
    rules(
      lan,
      host,
      "add table ip loss",
      "add chain ip loss in { type filter hook input priority 0 ; }",
      "add rule ip loss in meta l4proto udp numgen random mod 100 < 3 drop",
    );
  const told = await startServer(lan);
  for (const one of tftpPrograms)
    t.test(one.name, { timeout: 60_000 }, async (t) => {
      // atftp 0.8 gives up when its ACK of an OACK is lost and the OACK comes again ("unexpected OACK").
      let isWhole = false;
      for (let n = 0; n < 4 && !isWhole; n++) isWhole = await fetched(lan, "client", words(one), 50_000);
      t.ok(isWhole);
    });
  t.test(
    "and something was sent twice",
    async (t) => void t.ok(told.contacts.some(({ retransmissions }) => retransmissions > 0)),
  );
});

t.test("a device that can't cut a burst: what exceeds its MTU goes out in fragments", async (t) => {
  const lan = createLan(t, direct);
  lan.run("server", "ip", "link", "set", "s0", "mtu", "1280");
  const told = await startServer(lan);
  t.ok(await fetched(lan, "client", words(named("atftp, window 8, blksize 1428"))));
  await eventually(() => told.contacts.length === 1);
  t.match(told.contacts, [{ outcome: "complete" }]);
});

/** Sends one read request and does not wait for an answer. */
function requestOf(address: string, file = "file"): string[] {
  const script = `const s = require("dgram").createSocket("udp4"); s.bind(() => { s.setBroadcast(true); s.send("\\0\\1${file}\\0octet\\0", 69, "${address}", () => s.close()); });`;
  return [process.execPath, "-e", script];
}

function countAnswers(lan: Lan): void {
  rules(
    lan,
    "server",
    "add table ip count",
    "add chain ip count out { type filter hook output priority 0 ; }",
    "add rule ip count out meta l4proto udp counter",
  );
}

function answers(lan: Lan): number {
  return Number(/packets ([0-9]+)/.exec(lan.run("server", "nft", "list", "ruleset"))?.[1]);
}
