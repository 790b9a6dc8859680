import { readFileSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import t from "tap";
import { createClient } from "../server/cli/client.ts";
import { type LabServer, startLabServer } from "../server/demo/lab-server.ts";
import { createVirtualLab } from "../server/demo/virtual-lab.ts";
import { authoritativeConfig } from "./support/lab-configs.ts";

const root = resolve(import.meta.dirname, "..");
const datagramsPerPort = 10_000;
const ports = [67, 4011, 69];
/**
 * A leak of 1.5 kB, which is one datagram with its object, would be 3 ports x 10,000 datagrams x 1.5 kB = 45 MB in one flood.
 * The limit is two thirds of it, 30 MB; without a leak the third flood adds 3 to 15 MB.
 */
const leakedBytesPerDatagram = 1500;
const growthLimitBytes = (ports.length * datagramsPerPort * leakedBytesPerDatagram * 2) / 3;
/** As many as an inventory takes of machines that nobody accepted (server/inventory). */
const maximumUnaccepted = 2000;
/** A machine that is met: discovered, its boot begun, its phase; nothing else of a flood is worth a row. */
const eventsPerMachine = 3;
/** Datagrams that the kernel dropped because nobody took them in time were not tried. */
const dropLimit = 0.01;

/**
 * Sends the flood: by turns well-formed messages with random contents, the same ones mutated, and noise. Runs in a process of its own
 * inside the attacker's namespace from this function's text, so it may use nothing from outside itself.
 */
async function flood(seed: number, count: number, serverPid: number): Promise<void> {
  const { createSocket } = await import("node:dgram");
  const { readFileSync } = await import("node:fs");
  let state = seed;
  const random = () => (state = (Math.imul(state, 1664525) + 1013904223) >>> 0) / 2 ** 32;
  const below = (limit: number) => Math.floor(random() * limit);
  const oneOf = <T>(choices: readonly T[]): T => choices[below(choices.length)] as T;
  const octets = (length: number) => Buffer.from(Array.from({ length }, () => below(256)));
  const letters = "abcdefghijklmnopqrstuvwxyz0123456789-./%\u00e4'".split("");
  const word = () => Array.from({ length: 1 + below(20) }, () => oneOf(letters)).join("");
  /** Some machines speak many times, most only once. */
  const regulars = Array.from({ length: 50 }, () => Buffer.from([0x52, ...octets(5)]));
  const mac = () => (random() < 0.2 ? oneOf(regulars) : Buffer.from([below(128) * 2, ...octets(5)]));
  const address = () => Buffer.from([10, 77, below(3) ? 0 : below(256), below(256)]);
  const option = (code: number, value: Uint8Array) => Buffer.from([code, value.length, ...value]);

  function dhcp(): Buffer {
    const fixed = Buffer.alloc(236);
    fixed.set([1, 1, 6, 0, ...octets(4), 0, below(60), random() < 0.5 ? 0x80 : 0, 0]);
    if (random() < 0.2) address().copy(fixed, 12); // ciaddr
    if (random() < 0.02) address().copy(fixed, 24); // giaddr: a relay that is none
    mac().copy(fixed, 28);
    const options = [option(53, Buffer.from([oneOf([1, 1, 1, 1, 3, 3, 3, 4, 4, 7, 8])]))];
    const maybe = (chance: number, code: number, value: () => Uint8Array) =>
      void (random() < chance && options.push(option(code, value())));
    maybe(0.5, 50, address);
    maybe(0.5, 54, () => (random() < 0.7 ? Buffer.from([10, 77, 0, 1]) : address()));
    maybe(0.7, 60, () =>
      Buffer.from(oneOf(["PXEClient", "PXEClient:Arch:00007:UNDI:003016", "HTTPClient:Arch:00016", word()])),
    );
    maybe(0.5, 93, () => Buffer.from([0, below(40)]));
    maybe(0.4, 97, () => Buffer.from([0, ...octets(16)]));
    maybe(0.3, 12, () => Buffer.from(word()));
    maybe(0.3, 55, () => octets(1 + below(30)));
    maybe(0.2, 77, () => Buffer.from(oneOf(["iPXE", word()])));
    maybe(0.1, 175, () => Buffer.from([0x13, 1, 1, 0x16, 1, below(2), ...octets(below(6))]));
    maybe(0.3, 61, () => octets(2 + below(20)));
    maybe(0.2, oneOf([43, 82, 118, 121, 224, 255]), () => octets(below(40)));
    return Buffer.concat([fixed, Buffer.from([99, 130, 83, 99]), ...options, Buffer.from([255])]);
  }
  function readRequest(): Buffer {
    const names = [
      "snponly.efi",
      "undionly.kpxe",
      "ipxe.efi",
      "autoexec.ipxe",
      "../../../etc/passwd",
      "boot\\snponly.efi",
      word(),
      word(),
    ];
    const words = [oneOf(names), oneOf(["octet", "octet", "netascii", "mail", "OcTeT"])];
    const options = ["blksize", "tsize", "timeout", "windowsize", "utimeout", word()];
    for (let left = below(5); left > 0; left--)
      words.push(oneOf(options), random() < 0.8 ? String(below(70_000)) : word());
    return Buffer.concat([
      Buffer.from([0, random() < 0.9 ? 1 : 1 + below(6)]),
      Buffer.from(`${words.join("\0")}\0`, "latin1"),
    ]);
  }
  function datagram(make: () => Buffer): Buffer {
    const kind = random();
    if (kind < 0.1) return octets(below(1400));
    const whole = make();
    if (kind < 0.65) return whole;
    const mutated = random() < 0.5 ? whole : whole.subarray(0, 1 + below(whole.length));
    for (let left = 1 + below(20); left > 0; left--) mutated[below(mutated.length)] = below(256);
    return mutated;
  }

  /** In the longest receive queue of the server's network namespace. */
  const waitingBytes = () =>
    readFileSync(`/proc/${serverPid}/net/udp`, "utf8")
      .split("\n")
      .reduce(
        (most, line) => Math.max(most, Number.parseInt(line.trim().split(/[\s:]+/)[7] ?? "0", 16) || 0),
        0,
      );

  // From many ports: the server lets one client address have a few transfers only, and one port one.
  const sockets = Array.from({ length: 32 }, () => createSocket("udp4"));
  const send = (port: number, make: () => Buffer) =>
    new Promise<void>((done) => oneOf(sockets).send(datagram(make), port, "10.77.0.1", () => done()));
  const burst = 20;
  for (let sent = 0; sent < count; sent += burst) {
    const all = Array.from({ length: burst }, () => [
      send(67, dhcp),
      send(4011, dhcp),
      send(69, readRequest),
    ]);
    await Promise.all(all.flat());
    // As fast as the server takes them: when its queues fill up, the kernel drops the rest and nothing is tried by it.
    while (waitingBytes() > 50_000) await new Promise((done) => setTimeout(done, 2));
  }
  for (const socket of sockets) socket.close();
}

function residentBytes(pid: number): number {
  return Number(/VmRSS:\s+(\d+) kB/.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1] ?? 0) * 1024;
}

/** Datagrams to each port that were dropped because the server was too slow. */
function droppedByPort({ pid }: LabServer): number[] {
  const lines = readFileSync(`/proc/${pid}/net/udp`, "utf8")
    .split("\n")
    .map((line) => line.trim().split(/\s+/));
  return ports.map((port) =>
    lines
      .filter((fields) => Number.parseInt(fields[1]?.split(":")[1] ?? "", 16) === port)
      .reduce((sum, fields) => sum + Number(fields.at(-1)), 0),
  );
}

/** What is kept of the flood. */
async function rows({ dataDir }: LabServer): Promise<{ machines: number; events: number }> {
  const client = createClient({ server: undefined, token: undefined, dataDirs: [dataDir] });
  const machines = await client.list<{ name: string }>("/machines");
  const newest = await client.get<{ items: { seq: number }[] }>("/events?limit=1");
  await client.close();
  return { machines: machines.length, events: newest.items.at(-1)?.seq ?? 0 };
}

t.test(
  `after ${datagramsPerPort} hostile datagrams on each of 67, 4011 and 69 the server answers as before, memory and rows bounded`,
  async (t) => {
    const lab = await createVirtualLab(`rch${process.pid}`);
    t.teardown(() => lab.close());
    await lab.addBridge("br0", "10.77.0.1/24");
    const server = await startLabServer(lab, {
      dataDir: join(lab.directory, "data"),
      config: authoritativeConfig,
    });
    t.teardown(() => server.stop());
    const attacker = await lab.addHost("attacker", "br0", "02:00:00:00:00:66", "10.77.0.66/24");
    const client = await lab.addHost("client", "br0", "02:00:00:00:00:01");
    // The attacker's own address has used up its transfers for the moment, as it should.
    const reader = await lab.addHost("reader", "br0", "02:00:00:00:00:67", "10.77.0.67/24");

    // What udhcpc was given comes to its script as environment.
    const script = join(lab.directory, "given.sh");
    writeFileSync(script, '#!/bin/sh\n[ "$1" = bound ] && env\nexit 0\n', { mode: 0o755 });
    const udhcpc = (...words: string[]) =>
      lab.execIn(
        client,
        "busybox",
        "udhcpc",
        "-i",
        "eth0",
        "-n",
        "-q",
        "-t",
        "5",
        "-T",
        "1",
        "-s",
        script,
        ...words,
      );
    const askAll = async () => {
      const plain = (await udhcpc()).stdout;
      t.match(plain, /ip=10\.77\.0\.1\d\d/, "an ordinary client gets its lease");
      const rom = await udhcpc(
        "-V",
        "PXEClient:Arch:00007:UNDI:003016",
        "-x",
        "0x5d:0007",
        "-x",
        "0x5e:010310",
        "-O",
        "bootfile",
      );
      t.match(rom.stdout, /boot_?file=shimx64\.efi/, "a PXE client gets its first stage");
      await lab.execIn(
        reader,
        "curl",
        "-s",
        "-o",
        join(lab.directory, "nbp"),
        "tftp://10.77.0.1/snponly.efi",
      );
      t.same(
        readFileSync(join(lab.directory, "nbp")),
        readFileSync(join(root, "boot-assets/snponly.efi")),
        "TFTP sends the file whole",
      );
      const contact = await lab.execIn(reader, "curl", "-s", "http://10.77.0.1:8080/boot.ipxe");
      t.match(contact.stdout, /^#!ipxe/, "HTTP answers");
      return /^ip=(.*)$/m.exec(plain)?.[1];
    };
    const floodWith = async (seed: number) => {
      const before = droppedByPort(server);
      await lab.execIn(
        attacker,
        process.execPath,
        "-e",
        `(${flood.toString()})(${seed}, ${datagramsPerPort}, ${server.pid})`,
      );
      const dropped = droppedByPort(server).map((count, index) => count - (before[index] ?? 0));
      t.ok(
        dropped.every((count) => count < dropLimit * datagramsPerPort),
        `the server took them; dropped of those to ${ports.join(", ")}: ${dropped.join(", ")}`,
      );
    };

    const address = await askAll();
    // Warm up first: for two floods code is compiled, pools and the roll fill up, and the heap finds its size, growth of another kind.
    for (const seed of [20261121, 19840229]) await floodWith(seed);
    t.equal(await askAll(), address, "nobody took the client's address");
    const before = { bytes: residentBytes(server.pid), ...(await rows(server)) };
    t.comment(
      `after the warm-up: ${before.machines} machines, ${before.events} events, ${(before.bytes / 1e6).toFixed(0)} MB`,
    );
    t.equal(
      before.machines,
      maximumUnaccepted,
      "the flood was well-formed enough to fill the roll, which takes no more",
    );
    t.ok(before.events <= eventsPerMachine * before.machines, "events are bounded");

    // The heap breathes by tens of MB, now and then; a leak grows with every flood. So the calmest of a few floods is the measure.
    let calmest = Number.POSITIVE_INFINITY;
    let last = before.bytes;
    for (const seed of [11211938, 27182818, 31415926]) {
      await floodWith(seed);
      const bytes = residentBytes(server.pid);
      t.comment(
        `after another flood: ${(bytes / 1e6).toFixed(0)} MB, grown by ${((bytes - last) / 1e6).toFixed(1)} MB`,
      );
      calmest = Math.min(calmest, bytes - last);
      last = bytes;
      if (calmest < growthLimitBytes) break;
    }
    t.equal(await askAll(), address, "nobody took the client's address in the last flood");
    const after = await rows(server);
    t.ok(calmest < growthLimitBytes, `memory is flat: a flood adds less than ${growthLimitBytes / 1e6} MB`);
    t.equal(after.machines, before.machines, "no machine more");
    t.ok(after.events - before.events < 100, "hardly an event more");
    t.equal(await server.stop(), 0, "and it ends in order");
  },
);
