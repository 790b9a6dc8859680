import { createSocket } from "node:dgram";
import t from "tap";
import type { UdpEndpoint } from "../../server/domain/capabilities.ts";
import type { FileRoute } from "../../server/tftp/file-routes.ts";
import type { Ipv4 } from "../../server/net/ipv4.ts";
import { encodePacket, type WireOption } from "../../server/tftp/wire/packet.ts";
import { loopbackUdp } from "../support/loopback-udp.ts";
import { lossyUdp, randomFates, seededRandom } from "../support/lossy-udp.ts";
import { ManualClock } from "../support/manual-clock.ts";
import { createTalker, fetchFile, readRequest } from "../support/tftp-client.ts";
import { eventually, filesRoute, fillPattern, patternRoute, startTftpLab } from "../support/tftp-lab.ts";

const small = Buffer.from(fillPattern(new Uint8Array(3000), 0));
const files = filesRoute({ small, "text.txt": Buffer.from("one\ntwo\r"), empty: new Uint8Array(0) });

async function talkerFor(t: { teardown(fn: () => Promise<void>): unknown }) {
  const talker = await createTalker();
  t.teardown(() => talker.close());
  return talker;
}

t.test("requests", async (t) => {
  const { address, contacts } = await startTftpLab(t, [files]);

  t.test(
    "a file arrives whole, from a new port of the address that was asked (RFC 1350 section 4)",
    async (t) => {
      const talker = await talkerFor(t);
      talker.say(readRequest("small"), address);
      const { packet, from } = await talker.hear();
      t.match(packet, { kind: "data", block: 1 });
      t.equal(from.address, address.address);
      t.not(from.port, address.port);
      t.ok((await fetchFile(address, "small")).content.equals(small));
      t.equal((await fetchFile(address, "empty")).content.length, 0);
    },
  );
  t.test(
    "a missing file is ERROR 1 at once, and the text tells nothing of this machine (RFC 1350 section 5)",
    async (t) => {
      const talker = await talkerFor(t);
      const began = performance.now();
      talker.say(readRequest("pxelinux.cfg/01-52-54-00-00-00-01"), address);
      t.match((await talker.hear()).packet, { kind: "error", code: 1, message: "file not found" });
      t.ok(performance.now() - began < 50);
      await eventually(() => contacts.some((contact) => contact.outcome === "not-found"));
    },
  );
  t.test("a write request is ERROR 2", async (t) => {
    const talker = await talkerFor(t);
    talker.say({ kind: "wrq", file: "small", mode: "octet", options: [] }, address);
    t.match((await talker.hear()).packet, { kind: "error", code: 2 });
  });
  t.test(
    "mail, an unknown mode and a malformed request are ERROR 4; what is no request has no answer",
    async (t) => {
      const talker = await talkerFor(t);
      talker.say(readRequest("small", [], "mail"), address);
      talker.say(readRequest("small", [], "binary"), address);
      talker.say(Uint8Array.of(0, 1, 65, 66), address);
      for (let n = 0; n < 3; n++) t.match((await talker.hear()).packet, { kind: "error", code: 4 });
      talker.say({ kind: "ack", block: 1 }, address);
      talker.say({ kind: "error", code: 4, message: "you first" }, address);
      talker.say({ kind: "data", block: 1, payload: small }, address);
      talker.say(Uint8Array.of(0, 99, 1, 2), address);
      t.ok(await talker.isSilent(50));
    },
  );
  t.test(
    "netascii is converted, and tsize is the size of what is sent (RFC 1350 section 1, RFC 2349)",
    async (t) => {
      const { content, granted } = await fetchFile(address, "text.txt", [["tsize", "0"]], {
        mode: "NetASCII",
      });
      t.equal(content.toString(), "one\r\ntwo\r\0");
      t.equal(granted?.["tsize"], "10");
    },
  );
  t.test(
    "blksize and windowsize are capped, and nothing is granted that was not asked (RFC 2347)",
    async (t) => {
      const asked: WireOption[] = [
        ["blksize", "9000"],
        ["windowsize", "64"],
        ["multicast", ""],
      ];
      const { content, granted } = await fetchFile(address, "small", asked);
      t.same(granted, { blksize: "1468", windowsize: "16" });
      t.ok(content.equals(small));
      t.equal((await fetchFile(address, "small")).granted, undefined);
    },
  );
  t.test(
    "EDK2's question for the size, ended by ERROR 8, is cancelled without noise (RFC 2347)",
    async (t) => {
      const talker = await talkerFor(t);
      talker.say(readRequest("small", [["tsize", "0"]]), address);
      const { packet, from } = await talker.hear();
      t.match(packet, { kind: "oack", options: [["tsize", "3000"]] });
      contacts.length = 0;
      talker.say({ kind: "error", code: 8, message: "User aborted the transfer" }, from);
      await eventually(() => contacts.length > 0);
      t.match(contacts, [{ outcome: "cancelled", sentBytes: 0, sizeBytes: 3000, file: "small" }]);
      t.ok(await talker.isSilent(30));
      talker.say(readRequest("small", [["blksize", "1468"]]), address);
      t.match((await talker.hear()).packet, { kind: "oack" }, "and the same port asks again");
    },
  );
  t.test("a stranger gets ERROR 5 and the transfer goes on (RFC 1350 section 4)", async (t) => {
    const [talker, stranger] = [await talkerFor(t), await talkerFor(t)];
    talker.say(readRequest("small"), address);
    const { from } = await talker.hear();
    stranger.say({ kind: "ack", block: 1 }, from);
    t.match((await stranger.hear()).packet, { kind: "error", code: 5 });
    stranger.say({ kind: "error", code: 0, message: "die" }, from);
    t.ok(await stranger.isSilent(20), "an ERROR is not answered by an ERROR");
    t.ok(talker.heard.length === 0);
    talker.say({ kind: "ack", block: 1 }, from);
    t.match((await talker.hear()).packet, { kind: "data", block: 2 });
    talker.say({ kind: "error", code: 0, message: "enough" }, from);
  });
  t.test(
    "the same request from the same port, while the first lives, opens no second transfer",
    async (t) => {
      const { address, server } = await startTftpLab(t, [files]);
      const talker = await talkerFor(t);
      for (let n = 0; n < 5; n++) talker.say(readRequest("small", [["tsize", "0"]]), address);
      const { from } = await talker.hear();
      t.ok(await talker.isSilent(50));
      t.equal(server.transferCount, 1);
      talker.say({ kind: "error", code: 0, message: "" }, from);
    },
  );
  t.test(
    "another request from the same port takes the place of the first: old ROMs have one port",
    async (t) => {
      const talker = await talkerFor(t);
      talker.say(readRequest("small", [["tsize", "0"]]), address);
      const first = await talker.hear();
      talker.say(readRequest("small", [["blksize", "1024"]]), address);
      const second = await talker.hear();
      t.match(second.packet, { kind: "oack", options: [["blksize", "1024"]] });
      t.not(second.from.port, first.from.port);
      talker.say({ kind: "error", code: 0, message: "" }, second.from);
    },
  );
  t.test("what is told at the end has sizes, times and the clean name", async (t) => {
    const { address, contacts } = await startTftpLab(t, [files]);
    await fetchFile(address, "small", [["blksize", "1000"]]);
    await t.rejects(fetchFile(address, "evil\x1b[2Jname"), /ERROR 1/);
    await eventually(() => contacts.length === 2);
    t.match(contacts[0], {
      outcome: "complete",
      sizeBytes: 3000,
      sentBytes: 3000,
      retransmissions: 0,
      file: "small",
    });
    t.match(contacts[0], { clientAddress: "127.0.0.1", durationMs: Number, serverMs: Number, at: Number });
    t.equal(contacts[1]?.file, "evil?[2Jname");
  });
});

t.test("silence and limits", async (t) => {
  t.test(
    "a client that vanishes is given 4 packets, then its place is free and no timer is left (RFC 1123)",
    async (t) => {
      const clock = new ManualClock();
      const { address, contacts, server } = await startTftpLab(t, [files], { clock });
      const talker = await talkerFor(t);
      talker.say(readRequest("small", [["tsize", "0"]]), address);
      await talker.hear();
      for (let n = 0; n < 3; n++) {
        clock.advanceMs(200 * 2 ** n);
        t.match((await talker.hear()).packet, { kind: "oack" });
      }
      clock.advanceMs(1600);
      await eventually(() => server.transferCount === 0);
      t.match(contacts, [{ outcome: "timed-out", retransmissions: 3, durationMs: 3000 }]);
      t.equal(clock.pendingTimers, 0);
      t.ok(await talker.isSilent(20));
    },
  );
  t.test("a client that falls silent half way is dropped within 30 s", async (t) => {
    const clock = new ManualClock();
    const { address, contacts, server } = await startTftpLab(t, [files], { clock });
    const talker = await talkerFor(t);
    talker.say(readRequest("small"), address);
    const { from } = await talker.hear();
    talker.say({ kind: "ack", block: 1 }, from);
    await talker.hear();
    clock.advanceMs(30_000);
    await eventually(() => server.transferCount === 0);
    t.match(contacts, [{ outcome: "timed-out", sentBytes: 1024 }]);
    t.equal(clock.pendingTimers, 0);
  });
  t.test(
    "a machine that was switched off and on asks the same from the same port, and is served",
    async (t) => {
      const clock = new ManualClock();
      const { address } = await startTftpLab(t, [files], { clock });
      const talker = await talkerFor(t);
      talker.say(readRequest("small"), address);
      const { from } = await talker.hear();
      talker.say({ kind: "ack", block: 1 }, from);
      await talker.hear();
      clock.advanceMs(1001);
      await eventually(() => talker.heard.length > 0);
      talker.heard.length = 0;
      talker.say(readRequest("small"), address);
      t.match((await talker.hear()).packet, { kind: "data", block: 1 });
    },
  );
  t.test("when all transfers are taken a request waits a little for one to end", async (t) => {
    const { address } = await startTftpLab(t, [files], { limits: { transfers: 2, waitingMs: 500 } });
    const all = await Promise.all(Array.from({ length: 8 }, () => fetchFile(address, "small")));
    t.ok(all.every(({ content }) => content.equals(small)));
  });
  t.test("where forged sources hold every place, the oldest that never answered gives way", async (t) => {
    const clock = new ManualClock();
    const limits = { transfers: 2, transfersPerClient: 4 };
    const { address, contacts } = await startTftpLab(t, [files], { clock, limits });
    const [heard, forged, late] = [await talkerFor(t), await talkerFor(t), await talkerFor(t)];
    heard.say(readRequest("small"), address);
    const { from } = await heard.hear();
    heard.say({ kind: "ack", block: 1 }, from);
    t.match((await heard.hear()).packet, { kind: "data", block: 2 });
    forged.say(readRequest("small"), address);
    await forged.hear();
    late.say(readRequest("small"), address);
    t.ok(await late.isSilent(50), "it may still answer");
    clock.advanceMs(200);
    late.say(readRequest("small"), address);
    t.match((await late.hear()).packet, { kind: "data", block: 1 });
    t.match(contacts, [{ outcome: "cancelled", sentBytes: 512 }]);
    heard.heard.length = 0;
    heard.say({ kind: "ack", block: 2 }, from);
    t.match((await heard.hear()).packet, { kind: "data", block: 3 }, "who was heard keeps its place");
  });
  t.test("stop ends transfers with an ERROR, closes every socket and leaves no timer", async (t) => {
    const clock = new ManualClock();
    const { address, contacts, server } = await startTftpLab(t, [files], { clock });
    const talker = await talkerFor(t);
    talker.say(readRequest("small"), address);
    await talker.hear();
    await server.stop();
    t.match((await talker.hear()).packet, { kind: "error", code: 0 });
    t.match(contacts, [{ outcome: "cancelled" }]);
    t.equal(clock.pendingTimers, 0);
    t.same(server.addresses, []);
    await server.start();
    const [again] = server.addresses;
    talker.say(readRequest("small"), again as UdpEndpoint);
    t.match((await talker.hear()).packet, { kind: "data" }, "and it can start again");
  });
});

t.test("faults", async (t) => {
  t.test("a route that fails is ERROR 0 without its reason, and the server goes on", async (t) => {
    const broken: FileRoute = {
      name: "broken",
      open: async ({ file }) => {
        if (file === "bad") throw new Error("EIO /srv/secret/place");
        return { sizeBytes: 5000, read: () => Promise.reject(new Error("/srv/secret")), close() {} };
      },
    };
    const { address, contacts } = await startTftpLab(t, [files, broken]);
    await t.rejects(fetchFile(address, "bad"), { message: "ERROR 0 file can't be read" });
    await t.rejects(fetchFile(address, "unreadable"), { message: "ERROR 0 file changed or can't be read" });
    t.ok((await fetchFile(address, "small")).content.equals(small));
    await eventually(() => contacts.length === 3);
    t.same(contacts.map(({ outcome }) => outcome).sort(), ["complete", "refused", "refused"]);
  });
  t.test("a port in use stops the start and leaves nothing open", async (t) => {
    const { address } = await startTftpLab(t, [files]);
    const before = openSockets();
    const both = [0, address.port].map((port) => ({ address: "127.0.0.1" as Ipv4, port }));
    await t.rejects(startTftpLab({ teardown: () => undefined }, [files], { bindings: both }), {
      code: "PORT_IN_USE",
    });
    await eventually(() => openSockets() <= before);
  });
  t.test(
    "without a socket for the transfer, or with a listener that throws, the server lives on",
    async (t) => {
      let isBroken = false;
      const udp = {
        bind: (binding: Parameters<typeof loopbackUdp.bind>[0]) =>
          isBroken ? Promise.reject(new Error("EMFILE")) : loopbackUdp.bind(binding),
      };
      const onContact = () => {
        throw new Error("store is down");
      };
      const { address, server } = await startTftpLab(t, [files], { udp, onContact });
      const talker = await talkerFor(t);
      isBroken = true;
      talker.say(readRequest("small"), address);
      t.ok(await talker.isSilent(30));
      isBroken = false;
      t.ok((await fetchFile(address, "small")).content.equals(small));
      await eventually(() => server.transferCount === 0);
    },
  );
  t.test("10,000 random datagrams leave it healthy, with no socket and no memory lost", async (t) => {
    const { address, server } = await startTftpLab(t, [files], { timings: { firstRetransmitMs: 20 } });
    const random = seededRandom(7);
    const socket = createSocket("udp4");
    t.teardown(() => socket.close());
    const openBefore = openSockets();
    const throwDatagrams = async (count: number) => {
      for (let n = 0; n < count; n++) {
        const bytes = Uint8Array.from({ length: Math.floor(random() * 80) }, () =>
          Math.floor(random() * 256),
        );
        // Half of them look like something at first.
        if (n % 2 === 0) bytes.set([0, Math.floor(random() * 8)].slice(0, bytes.length));
        if (n % 10 === 0) bytes.set(encodePacket(readRequest("small")).subarray(0, bytes.length));
        socket.send(bytes, address.port, address.address);
        if (n % 50 === 49) await new Promise(setImmediate);
      }
    };
    await throwDatagrams(2000);
    const heapBefore = process.memoryUsage().heapUsed;
    await throwDatagrams(8000);
    t.ok((await fetchFile(address, "small")).content.equals(small));
    const grownMiB = (process.memoryUsage().heapUsed - heapBefore) / 2 ** 20;
    t.ok(grownMiB < 30, `${grownMiB.toFixed(1)} MiB`);
    await eventually(() => server.transferCount === 0, 5000);
    t.ok(openSockets() <= openBefore);
  });
});

t.test("networks and load", async (t) => {
  const large = patternRoute("large", 200_000);
  const wanted = Buffer.from(fillPattern(new Uint8Array(200_000), 0));

  for (const windowsize of ["1", "8"]) {
    t.test(
      `1 % loss each way, doubles and reordering, window ${windowsize}: right octets in a second or two`,
      async (t) => {
        const udp = lossyUdp(loopbackUdp, randomFates(42, { drop: 0.01, duplicate: 0.01, delay: 0.005 }));
        const { address } = await startTftpLab(t, [large], { udp });
        const began = performance.now();
        const options: WireOption[] = [
          ["blksize", "512"],
          ["windowsize", windowsize],
        ];
        const { content } = await fetchFile(address, "large", options, { repeatMs: 1000 });
        t.ok(content.equals(wanted));
        t.ok(udp.counts.sent.drop + udp.counts.received.drop > 0, "something was lost");
        t.ok(performance.now() - began < 2500, `${Math.round(performance.now() - began)} ms`);
      },
    );
  }
  t.test(
    "duplicates alone make nothing be sent again: Sorcerer's Apprentice (RFC 1123 section 4.2.3.1)",
    async (t) => {
      const udp = lossyUdp(loopbackUdp, (direction) => (direction === "received" ? "duplicate" : "pass"));
      const { address, contacts } = await startTftpLab(t, [large], { udp });
      const { content, dataPackets } = await fetchFile(address, "large");
      t.ok(content.equals(wanted));
      t.equal(dataPackets, Math.floor(200_000 / 512) + 1);
      await eventually(() => contacts.length === 1);
      t.match(contacts, [{ retransmissions: 0 }]);
    },
  );
  t.test("50 transfers at the same time all arrive", async (t) => {
    const { address, contacts } = await startTftpLab(t, [large], { limits: { transfersPerClient: 50 } });
    const options: WireOption[] = [
      ["blksize", "1432"],
      ["windowsize", "4"],
    ];
    const all = await Promise.all(Array.from({ length: 50 }, () => fetchFile(address, "large", options)));
    t.ok(all.every(({ content }) => content.equals(wanted)));
    await eventually(() => contacts.length === 50);
    t.ok(contacts.every(({ outcome }) => outcome === "complete"));
  });
  t.test("two bindings listen each on its own", async (t) => {
    const bindings = ["127.0.0.1", "127.0.0.2"].map((address) => ({ address: address as Ipv4, port: 0 }));
    const { server } = await startTftpLab(t, [files], { bindings });
    for (const address of server.addresses) {
      const talker = await talkerFor(t);
      talker.say(readRequest("small"), address);
      t.equal((await talker.hear()).from.address, address.address);
    }
  });
});

function openSockets(): number {
  return process.getActiveResourcesInfo().filter((name) => name === "UDPWrap" || name === "UDPWRAP").length;
}
