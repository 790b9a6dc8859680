import { type ChildProcess, execFile } from "node:child_process";
import { chmodSync, readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join, resolve } from "node:path";
import { createInterface } from "node:readline";
import { setTimeout as sleep } from "node:timers/promises";
import { promisify } from "node:util";
import t, { type Test } from "tap";
import type { DhcpContact } from "../../server/domain/contact.ts";
import { decodeMessage, encodeMessage } from "../../server/dhcp/wire/message.ts";
import { ipv4Option, octetOption } from "../../server/dhcp/wire/options.ts";
import { clientOptions, macOf, requestMessage } from "../support/dhcp-messages.ts";
import type { DhcpProcessOptions } from "../support/dhcp-server-process.ts";
import { createLan, type Lan } from "../support/namespaces.ts";
import { createUdpProbe } from "../support/udp-probe-client.ts";
import { temporaryDirectory } from "../support/samples.ts";

const serverScript = resolve(import.meta.dirname, "../support/dhcp-server-process.ts");
const everybody = { address: "255.255.255.255", port: 67 };
const { parse } = createRequire(import.meta.url)("dhcp/lib/protocol.js") as {
  parse(datagram: Buffer): { yiaddr: string; siaddr: string; file: string; options: Record<number, unknown> };
};

/** What udhcpc and dhclient call with the result: it keeps the environment, and gives the device its address. */
const script = `#!/bin/sh
env >> "$RESULT"
if [ "$1" = bound ] && [ -n "$ip" ]; then ip addr replace "$ip/$mask" dev "$interface"; fi
if [ "$reason" = BOUND ]; then ip addr replace "$new_ip_address/24" dev "$interface"; fi
exit 0
`;

interface Running {
  readonly contacts: DhcpContact[];
  contact(fits: (contact: DhcpContact) => boolean, what: string): Promise<DhcpContact>;
  stop(): Promise<number | null>;
}

async function until<T>(value: () => T | undefined, what: string): Promise<T> {
  for (let turn = 0; turn < 400; turn++) {
    const found = value();
    if (found !== undefined) return found;
    await sleep(20);
  }
  throw new Error(`waited in vain for ${what}`);
}

/** Our server in the namespace of the host `server`. */
async function startServer(lan: Lan, options: DhcpProcessOptions): Promise<Running> {
  const child = lan.start("server", [process.execPath, serverScript, JSON.stringify(options)]);
  const contacts: DhcpContact[] = [];
  let isReady = false;
  if (!child.stdout) throw new Error("no standard output");
  createInterface(child.stdout).on("line", (line) => {
    const said = JSON.parse(line) as { ready?: unknown; contact?: DhcpContact };
    if (said.ready) isReady = true;
    if (said.contact) contacts.push(said.contact);
  });
  await until(() => isReady || undefined, "the server");
  return {
    contacts,
    contact: (fits, what) => until(() => contacts.find(fits), what),
    stop() {
      child.stdin?.end();
      return new Promise((done) => child.once("exit", done));
    },
  };
}

function scriptIn(t: Test): { path: string; result: string } {
  const directory = t.testdir({ "script.sh": script, result: "" });
  const path = join(directory, "script.sh");
  chmodSync(path, 0o755);
  return { path, result: join(directory, "result") };
}

/** Runs udhcpc until it has a lease. @returns the variables that its script was given */
async function udhcpc(t: Test, lan: Lan, ...words: string[]): Promise<Record<string, string>> {
  const { path, result } = scriptIn(t);
  const command = [
    "netns",
    "exec",
    lan.namespaceOf("client"),
    "busybox",
    "udhcpc",
    "-i",
    "c0",
    "-f",
    "-q",
    "-n",
    "-t",
    "20",
    "-T",
    "1",
    "-s",
    path,
  ];
  await promisify(execFile)("ip", [...command, ...words], { env: { ...process.env, RESULT: result } });
  const lines = readFileSync(result, "utf8")
    .split("\n")
    .filter((line) => line.includes("="));
  return Object.fromEntries(
    lines.map((line) => [line.slice(0, line.indexOf("=")), line.slice(line.indexOf("=") + 1)]),
  );
}

const clientMac = (lan: Lan): string => lan.run("client", "cat", "/sys/class/net/c0/address").trim();
const isGone = async (child: ChildProcess): Promise<void> => {
  if (child.exitCode === null && child.signalCode === null)
    await new Promise((done) => child.once("exit", done));
};

const authoritative: DhcpProcessOptions = {
  mode: "authoritative",
  device: "s0",
  address: "10.72.0.1",
  subnet: {
    cidr: "10.72.0.0/24",
    from: "10.72.0.100",
    to: "10.72.0.120",
    router: "10.72.0.1",
    dns: ["10.72.0.1", "10.72.0.2"],
    domain: "lab.test",
    leaseSeconds: 3600,
  },
};

t.test("authoritative: udhcpc, dhclient and a ROM's packets get leases and boot files", async (t) => {
  const lan = createLan(t, {
    server: { s0: "lan 10.72.0.1/24", other: "campus 10.75.0.1/24" },
    client: { c0: "lan" },
    stranger: { c0: "campus" },
  });
  const server = await startServer(lan, authoritative);
  const mac = clientMac(lan);

  t.match(
    await udhcpc(t, lan),
    {
      ip: "10.72.0.100",
      mask: "24",
      router: "10.72.0.1",
      dns: "10.72.0.1 10.72.0.2",
      domain: "lab.test",
      lease: "3600",
      serverid: "10.72.0.1",
    },
    "an ordinary udhcpc",
  );
  t.match(await server.contact(({ reply }) => reply === "ACK", "the ACK"), {
    mac,
    speaker: "os",
    address: "10.72.0.100",
    device: "s0",
  });

  const rom = await udhcpc(
    t,
    lan,
    "-V",
    "PXEClient",
    "-x",
    "0x5d:0000",
    "-x",
    "0x5e:010201",
    "-O",
    "66",
    "-O",
    "67",
  );
  t.match(
    rom,
    {
      ip: "10.72.0.100",
      siaddr: "10.72.0.1",
      boot_file: "undionly.kpxe",
      tftp: "10.72.0.1",
      bootfile: "undionly.kpxe",
      sname: "10.72.0.1",
    },
    "udhcpc as a ROM",
  );
  t.match(
    await server.contact(({ reply, bootfile }) => reply === "ACK" && bootfile !== undefined, "the ROM's ACK"),
    { firmware: { name: "bios" }, speaker: "firmware" },
  );

  await t.test("dhclient gets the same address and gives it back", async (t) => {
    const { path, result } = scriptIn(t);
    const words = [
      "-4",
      "-v",
      "-sf",
      path,
      "-lf",
      `${result}.leases`,
      "-pf",
      `${result}.pid`,
      "-e",
      `RESULT=${result}`,
      "c0",
    ];
    const child = lan.start("client", ["dhclient", "-d", "-1", ...words], ["ignore", "ignore", "ignore"]);
    const bound = await until(
      () =>
        readFileSync(result, "utf8").includes("reason=BOUND") ? readFileSync(result, "utf8") : undefined,
      "dhclient",
    );
    t.match(bound, /^new_ip_address=10\.72\.0\.100$/m);
    t.match(bound, /^new_dhcp_server_identifier=10\.72\.0\.1$/m);
    t.match(bound, /^new_domain_name=lab\.test$/m);
    lan.run("client", "dhclient", "-r", ...words);
    await isGone(child);
    t.match(await server.contact(({ message }) => message === "RELEASE", "the RELEASE"), {
      mac,
      silence: "released",
      address: "10.72.0.100",
    });
  });

  await t.test("a firmware's packets, read by another implementation (npm dhcp)", async (t) => {
    const probe = createUdpProbe(lan, "client");
    const { socket } = await probe.bind({ device: "c0", port: 68, broadcast: true });
    const ask = async (options: Parameters<typeof requestMessage>[0]["options"]) => {
      await probe.send(
        socket,
        encodeMessage(requestMessage({ type: "Discover", mac: macOf(mac), options: { ...options } })),
        everybody,
      );
      const [reply] = await probe.received(socket, 1);
      return { ...parse(reply?.datagram ?? Buffer.alloc(0)), from: reply?.from };
    };
    const http = await ask(clientOptions.ovmfHttp);
    t.match(http, {
      yiaddr: "10.72.0.100",
      from: { address: "10.72.0.1", port: 67 },
      options: { 53: 2, 54: "10.72.0.1", 51: 3600 },
    });
    t.match(http.options[67], /^http:\/\/10\.72\.0\.1:8080\/nbp\/snponly\.efi/);
    t.match(await ask(clientOptions.ovmf), { siaddr: "10.72.0.1", file: /^snponly\.efi/ });
  });

  await t.test("on the other network of the server there is silence", async (t) => {
    const probe = createUdpProbe(lan, "stranger");
    const { socket } = await probe.bind({ device: "c0", port: 68, broadcast: true });
    const before = server.contacts.length;
    await probe.send(
      socket,
      encodeMessage(requestMessage({ type: "Discover", options: clientOptions.bios })),
      everybody,
    );
    t.strictSame(await probe.received(socket), []);
    t.equal(server.contacts.length, before, "nothing was heard");
  });
  t.equal(await server.stop(), 0, "and the process ends by itself");
});

t.test("proxy: beside a real DHCP server, which gives the addresses", async (t) => {
  const lan = createLan(t, {
    server: { s0: "lan 10.72.0.1/24" },
    foreign: { f0: "lan 10.72.0.9/24" },
    client: { c0: "lan" },
  });
  const server = await startServer(lan, { mode: "proxy", device: "s0", address: "10.72.0.1" });
  lan.start(
    "foreign",
    [
      "dnsmasq",
      "--keep-in-foreground",
      "--conf-file=/dev/null",
      "--port=0",
      "--interface=f0",
      "--no-ping",
      "--user=root",
      "--dhcp-range=10.72.0.50,10.72.0.60,1h",
      // A place of its own: the script of udhcpc makes the test's directory anew while dnsmasq starts.
      `--dhcp-leasefile=${join(temporaryDirectory(t), "leases")}`,
      "--pid-file=",
      "--log-facility=/dev/null",
    ],
    ["ignore", "ignore", "ignore"],
  );
  const mac = clientMac(lan);

  const lease = await udhcpc(t, lan);
  t.match(lease, { serverid: "10.72.0.9", lease: "3600" }, "udhcpc has its lease from dnsmasq");
  t.match(
    await server.contact(({ foreignServer }) => foreignServer !== undefined, "the overheard REQUEST"),
    {
      mac,
      foreignServer: "10.72.0.9",
      address: lease["ip"],
      message: "REQUEST",
      silence: "chose another server",
    },
    "and we know its address",
  );
  t.equal(
    server.contacts.filter(({ reply }) => reply !== undefined).length,
    0,
    "an ordinary client was answered nothing",
  );

  const probe = createUdpProbe(lan, "client");
  const { socket } = await probe.bind({ device: "c0", port: 68, broadcast: true });
  const shape = { mac: macOf(mac), options: clientOptions.ovmf };
  await probe.send(socket, encodeMessage(requestMessage({ type: "Discover", ...shape })), everybody);
  const offers = (await probe.received(socket, 2)).map(({ datagram }) => decodeMessage(datagram));
  const from = (server: string) => offers.find(({ options }) => ipv4Option(options, 54) === server);
  t.match(from("10.72.0.9"), { yiaddr: lease["ip"] }, "dnsmasq offers the address");
  t.match(
    from("10.72.0.1"),
    { yiaddr: "0.0.0.0", siaddr: "10.72.0.1", file: "snponly.efi" },
    "we offer the boot file",
  );
  t.equal(offers.length, 2);

  const ip = lease["ip"] as string;
  const { socket: pxeSocket } = await probe.bind({ device: "c0", port: 4011 });
  await probe.send(pxeSocket, encodeMessage(requestMessage({ type: "Request", ciaddr: ip, ...shape })), {
    address: "10.72.0.1",
    port: 4011,
  });
  const [ack] = await probe.received(pxeSocket, 1);
  t.match(ack?.from, { address: "10.72.0.1", port: 4011 }, "from port 4011, which iPXE insists on");
  const message = decodeMessage(ack?.datagram ?? Buffer.alloc(0));
  t.match(message, { file: "snponly.efi", siaddr: "10.72.0.1", yiaddr: "0.0.0.0", ciaddr: ip });
  t.equal(octetOption(message.options, 53), 5);
  t.match(await server.contact(({ port }) => port === 4011, "the contact on 4011"), {
    reply: "ACK",
    address: ip,
    bootfile: "snponly.efi",
  });
});
