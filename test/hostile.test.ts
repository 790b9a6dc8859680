import { readFileSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import t from "tap";
import { startLabServer } from "../server/demo/lab-server.ts";
import { createVirtualLab } from "../server/demo/virtual-lab.ts";
import { authoritativeConfig } from "./support/lab-configs.ts";

const root = resolve(import.meta.dirname, "..");
const datagramsPerPort = 10_000;
/** What the process may grow by, for buffers and JIT code; a leak of one datagram each would be 15 MB and more. */
const growthLimitBytes = 40 * 1024 * 1024;

/** Random and mutated datagrams, from a fixed seed, to each port; run inside the namespace of an attacker. */
const attack = `
const socket = require("node:dgram").createSocket("udp4");
let state = 20261121;
const random = () => (state = (Math.imul(state, 1664525) + 1013904223) >>> 0) / 2 ** 32;
const discover = Buffer.alloc(300);
discover.set([1, 1, 6, 0]);
discover.set([99, 130, 83, 99, 53, 1, 1, 60, 9, ...Buffer.from("PXEClient"), 93, 2, 0, 7, 255], 236);
const request = Buffer.from("\\0\\x01snponly.efi\\0octet\\0blksize\\x001432\\0tsize\\x000\\0", "latin1");
function datagram(base) {
  if (random() < 0.3) return Buffer.from(Array.from({ length: Math.floor(random() * 600) }, () => random() * 256));
  const copy = Buffer.from(base.subarray(0, Math.floor(random() * base.length) + 1));
  for (let n = random() * 20; n > 0; n--) copy[Math.floor(random() * copy.length)] = random() * 256;
  return copy;
}
const bases = { 67: discover, 4011: discover, 69: request };
(async () => {
  for (let sent = 0; sent < ${datagramsPerPort}; sent += 50) {
    await Promise.all(Object.entries(bases).flatMap(([port, base]) =>
      Array.from({ length: 50 }, () => new Promise((done) => socket.send(datagram(base), Number(port), "10.77.0.1", done)))));
  }
  socket.close();
})();
`;

function residentBytes(pid: number): number {
  return Number(/VmRSS:\s+(\d+) kB/.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1] ?? 0) * 1024;
}

t.test(`after ${datagramsPerPort} random datagrams on each of 67, 4011 and 69 the server answers as before, memory flat`, async (t) => {
  const lab = await createVirtualLab(`rch${process.pid}`);
  t.teardown(() => lab.close());
  await lab.addBridge("br0", "10.77.0.1/24");
  const server = await startLabServer(lab, { dataDir: join(lab.directory, "data"), config: authoritativeConfig });
  const attacker = await lab.addHost("attacker", "br0", "02:00:00:00:00:66", "10.77.0.66/24");
  const client = await lab.addHost("client", "br0", "02:00:00:00:00:01");

  // What udhcpc was given comes to its script as environment.
  const script = join(lab.directory, "given.sh");
  writeFileSync(script, '#!/bin/sh\n[ "$1" = bound ] && env\nexit 0\n', { mode: 0o755 });
  const udhcpc = (...words: string[]) => lab.execIn(client, "busybox", "udhcpc", "-i", "eth0", "-n", "-q", "-t", "5", "-T", "1", "-s", script, ...words);
  const askAll = async () => {
    t.match((await udhcpc()).stdout, /ip=10\.77\.0\.1\d\d/, "an ordinary client gets its lease");
    const rom = await udhcpc("-V", "PXEClient:Arch:00007:UNDI:003016", "-x", "0x5d:0007", "-x", "0x5e:010310", "-O", "bootfile");
    t.match(rom.stdout, /boot_?file=snponly\.efi/, "a PXE client gets its first stage");
    await lab.execIn(attacker, "curl", "-s", "-o", join(lab.directory, "nbp"), "tftp://10.77.0.1/snponly.efi");
    t.same(readFileSync(join(lab.directory, "nbp")), readFileSync(join(root, "boot-assets/snponly.efi")), "TFTP sends the file whole");
    const contact = await lab.execIn(attacker, "curl", "-s", "http://10.77.0.1:8080/boot.ipxe");
    t.match(contact.stdout, /^#!ipxe/, "HTTP answers");
  };
  await askAll();
  // Warm up first: the first thousands of packets compile code and fill pools, which is growth of another kind.
  await lab.execIn(attacker, process.execPath, "-e", attack);
  await askAll();
  const before = residentBytes(server.pid);
  await lab.execIn(attacker, process.execPath, "-e", attack);
  await askAll();
  const grown = residentBytes(server.pid) - before;
  t.comment(`resident memory ${(residentBytes(server.pid) / 1e6).toFixed(0)} MB, grown by ${(grown / 1e6).toFixed(1)} MB`);
  t.ok(grown < growthLimitBytes, "memory is flat");
  t.equal(await server.stop(), 0, "and it ends in order");
});
