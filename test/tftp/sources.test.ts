/** What a source gets that never answers (it may be forged), and what is left when it is gone. */
import { readdirSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import t from "tap";
import type { UdpSocket } from "../../server/domain/capabilities.ts";
import { type ServedInterface, tftpClients } from "../../server/served-networks.ts";
import { loadConfig } from "../../server/config/load.ts";
import type { Config } from "../../server/config/schema.ts";
import { type Cidr, formatCidr, networkOf, parseCidr } from "../../server/net/cidr.ts";
import type { Ipv4 } from "../../server/net/ipv4.ts";
import { createSources } from "../../server/tftp/sources.ts";
import { encodePacket, type WireOption } from "../../server/tftp/wire/packet.ts";
import { liveHeapBytes } from "../support/live-heap.ts";
import { loopbackUdp } from "../support/loopback-udp.ts";
import { ManualClock } from "../support/manual-clock.ts";
import { createTalker, fetchFile, readRequest } from "../support/tftp-client.ts";
import { eventually, filesRoute, fillPattern, startTftpLab } from "../support/tftp-lab.ts";

const small = Buffer.from(fillPattern(new Uint8Array(3000), 0));
const files = filesRoute({ small, tiny: Buffer.from("#!ipxe") });

/** Lets time pass until no transfer is left. */
async function passTime(clock: ManualClock, server: { transferCount: number }): Promise<void> {
  await eventually(() => {
    clock.advanceMs(100);
    return server.transferCount === 0;
  }, 30_000);
}

t.test("a plain request of a silent source brings two packets, and no more", async (t) => {
  const clock = new ManualClock();
  const { address, server, contacts } = await startTftpLab(t, [files], { clock });
  const talker = await createTalker();
  t.teardown(() => talker.close());
  talker.say(readRequest("small"), address);
  await talker.hear();
  await passTime(clock, server);
  t.match(await talker.hear(), { packet: { kind: "data", block: 1 } });
  t.ok(await talker.isSilent(30));
  t.match(contacts, [{ outcome: "timed-out", retransmissions: 1, durationMs: 3000 }]);
});

t.test("where four packets are small beside the request, four are sent", async (t) => {
  for (const [file, options] of [
    ["tiny", []],
    ["small", [["tsize", "0"]]],
  ] as const) {
    const clock = new ManualClock();
    const { address, server } = await startTftpLab(t, [files], { clock });
    const talker = await createTalker();
    t.teardown(() => talker.close());
    const request = encodePacket(readRequest(file, options));
    talker.say(request, address);
    await talker.hear();
    await passTime(clock, server);
    const packets = [{ bytes: 0 }];
    while (!(await talker.isSilent(30))) packets.push(await talker.hear());
    t.equal(packets.length, 4);
  }
});

for (const options of [[], [["tsize", "0"]]] as const satisfies readonly (readonly WireOption[])[]) {
  t.test(
    `1000 requests ${options.length > 0 ? "with options" : "without options"} of a silent source bring back less than ten times their octets`,
    async (t) => {
      const clock = new ManualClock();
      const { address, server } = await startTftpLab(t, [files], { clock });
      let heardBytes = 0;
      let saidBytes = 0;
      const request = encodePacket(readRequest("small", options));
      const sockets = await Promise.all(Array.from({ length: 50 }, () => loopbackUdp.bind({ port: 0 })));
      t.teardown(() => Promise.all(sockets.map((socket) => socket.close())));
      for (const socket of sockets) socket.onMessage((datagram) => void (heardBytes += datagram.length));
      for (let n = 0; n < 1000; n++) {
        saidBytes += request.length;
        sockets[n % 50]?.send(request, address);
        if (n % 20 === 19) {
          await sleep(1);
          clock.advanceMs(100);
          if (server.transferCount > 8) t.fail("more than 8 transfers for one client");
        }
      }
      await passTime(clock, server);
      await sleep(20);
      t.ok(heardBytes > 0 && heardBytes <= 10 * saidBytes, `${heardBytes} for ${saidBytes}`);
      t.equal(clock.pendingTimers, 0);
      clock.advanceMs(60_000);
      t.ok((await fetchFile(address, "small")).content.equals(small), "a minute later it is served");
    },
  );
}

t.test("a silent source is ignored for the rest of a minute; one that answers never is", (t) => {
  const clock = new ManualClock();
  const sources = createSources(clock, undefined, 3);
  for (let n = 0; n < 3; n++) {
    t.ok(sources.mayBegin("192.0.2.1"));
    sources.noteEnd("192.0.2.1", false);
  }
  t.notOk(sources.mayBegin("192.0.2.1"));
  t.ok(sources.mayBegin("192.0.2.2"), "others are not");
  clock.advanceMs(60_000);
  t.ok(sources.mayBegin("192.0.2.1"));
  for (let n = 0; n < 100; n++) {
    sources.noteEnd("192.0.2.1", false);
    sources.noteEnd("192.0.2.1", true);
  }
  t.ok(sources.mayBegin("192.0.2.1"), "an answer shows that it is there");
  for (let n = 0; n < 10_000; n++) sources.noteEnd(`10.${n >> 16}.${(n >> 8) & 255}.${n & 255}`, false);
  sources.noteEnd("192.0.2.9", false);
  t.ok(sources.mayBegin("10.0.0.1"), "the oldest are forgotten");
  t.end();
});

t.test("only the named networks are served", (t) => {
  const networks = ["10.0.0.0/8", "192.0.2.0/25"].map(parseCidr).filter((cidr) => cidr !== undefined);
  const sources = createSources(new ManualClock(), networks, 3);
  for (const address of ["10.255.0.1", "192.0.2.127"]) t.ok(sources.isServed(address));
  for (const address of ["11.0.0.1", "192.0.2.128", "127.0.0.1"]) t.notOk(sources.isServed(address));
  t.ok(createSources(new ManualClock(), undefined, 3).isServed("198.51.100.1"), "all where none is named");
  t.end();
});

t.test("by default TFTP knows its networks only where this server gives the addresses", (t) => {
  const { config } = loadConfig({
    defaultFiles: [],
    environment: {
      ROLLCALL_DHCP__MODE: "authoritative",
      ROLLCALL_DHCP__SUBNETS: JSON.stringify([{ subnet: "10.0.0.0/24" }, { subnet: "10.9.0.0/16" }]),
    },
    overrides: [],
  });
  const interfaces = [{ address: "192.0.2.5" as Ipv4, networks: [networkOf("192.0.2.5/24") as Cidr] }];
  const shown = (it: Pick<Config, "dhcp" | "tftp">, served = interfaces as readonly ServedInterface[]) =>
    tftpClients(it, served)?.map(formatCidr);
  t.same(shown(config), ["192.0.2.0/24", "10.0.0.0/24", "10.9.0.0/16"], "relayed subnets too");
  t.equal(shown(config, [{ address: "192.0.2.5" as Ipv4 }]), undefined);
  for (const mode of ["proxy", "off"] as const)
    t.equal(shown({ ...config, dhcp: { ...config.dhcp, mode } }), undefined, `${mode}: all`);
  const named = { ...config, tftp: { ...config.tftp, clients: ["172.16.0.0/12"] } };
  t.same(shown(named), ["172.16.0.0/12"], "and what is named counts alone");
  t.end();
});

t.test(
  "10,000 abandoned requests leave sockets, timers and memory as they were",
  { timeout: 120_000 },
  async (t) => {
    const clock = new ManualClock();
    const { address, server } = await startTftpLab(t, [files], { clock });
    const openFiles = () => readdirSync("/proc/self/fd").length;
    const sockets: UdpSocket[] = await Promise.all(
      Array.from({ length: 200 }, (_, n) => loopbackUdp.bind({ address: `127.0.1.${n + 1}`, port: 0 })),
    );
    t.teardown(() => Promise.all(sockets.map((socket) => socket.close())));
    const request = encodePacket(readRequest("small", [["blksize", "1468"]]));
    const abandon = async (rounds: number) => {
      for (let round = 0; round < rounds; round++) {
        for (const socket of sockets) socket.send(request, address);
        await eventually(() => server.transferCount > 0, 30_000);
        await sleep(5);
        await passTime(clock, server);
        clock.advanceMs(60_000);
      }
    };
    // Compiled code and the tables of known sources grow first, up to their bounds.
    await abandon(25);
    const before = { files: openFiles(), heap: liveHeapBytes() };
    await abandon(50);
    t.equal(server.transferCount, 0);
    t.equal(clock.pendingTimers, 0);
    await eventually(() => openFiles() <= before.files, 30_000);
    const grownBytes = (liveHeapBytes() - before.heap) / 10_000;
    t.ok(grownBytes < 1400, `${grownBytes.toFixed(0)} octets for each request, less than a block`);
  },
);
