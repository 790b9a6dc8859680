/** Firmware-quirks of identity, leases and odd machines: one test a row, packets over real sockets (docs/conformance.md). */
import t from "tap";
import type { NewEvent } from "../../server/domain/event.ts";
import { subnetSchema } from "../../server/config/schema.ts";
import { encodeMessage } from "../../server/dhcp/wire/message.ts";
import { createDhcpLab, until } from "../support/dhcp-lab.ts";
import { clientOptions, machineId, macNumber, macOf, requestMessage } from "../support/dhcp-messages.ts";
import { typeOf } from "../support/dhcp-relay.ts";
import { macOf as sampleMac } from "../support/samples.ts";
import { startServer } from "../support/http-fixture.ts";
import { createBootLab } from "../support/boot-lab.ts";

t.test(
  "Q27: the reply goes to the relay agent, keeps the broadcast flag and ends with option 82 as it came",
  async (t) => {
    const { relay, dhcp } = await createDhcpLab(t);
    const circuit = Uint8Array.of(1, 4, 0, 1, 2, 255, 99, 2, 7, 7);
    const options = { ...clientOptions.bios, 82: circuit };
    for (const flags of [0x8000, 0])
      for (const type of ["Discover", "Request"] as const) {
        const reply = await relay.ask(
          { type, flags, options, requested: "10.0.0.99", server: "127.0.0.1" },
          dhcp,
        );
        t.match(reply, { giaddr: "127.0.0.1", flags, hops: 0 }, `${typeOf(reply)}, flags ${flags}`);
        const octets = Buffer.from(relay.datagrams.at(-1)?.octets ?? []);
        const end = octets.subarray(240).lastIndexOf(255) + 240;
        t.same(octets.subarray(end - 12, end), Buffer.of(82, 10, ...circuit), "82 is the last before END");
      }
    const nak = await relay.ask(
      { type: "Request", options, requested: "10.9.9.9", server: "127.0.0.1" },
      dhcp,
    );
    t.match(nak, { flags: 0x8000, giaddr: "127.0.0.1" }, "a NAK is to be broadcast (RFC 2131 s.4.3.2)");
    t.same(nak.options.get(82), circuit);
  },
);

t.test(
  "Q28: no reply is shorter than 300 octets: OFFER, ACK, NAK, of each client and on port 4011",
  async (t) => {
    const { relay, dhcp, pxe } = await createDhcpLab(t);
    for (const options of Object.values(clientOptions)) {
      await relay.ask({ type: "Discover", options }, dhcp);
      await relay.ask({ type: "Request", options, requested: "10.9.9.9", server: "127.0.0.1" }, dhcp);
      await relay.lease({ options }, dhcp);
      await relay.ask({ type: "Inform", options, ciaddr: "10.0.0.9" }, dhcp);
    }
    await relay.ask({ type: "Request", options: clientOptions.ovmf }, pxe);
    const seen = new Set(relay.replies.map(typeOf));
    t.same([...seen].sort(), ["Ack", "Nak", "Offer"]);
    const lengths = relay.datagrams.map(({ octets }) => octets.length);
    t.ok(Math.min(...lengths) >= 300, `the shortest of ${lengths.length} has ${Math.min(...lengths)} octets`);
    t.ok(Math.max(...lengths) <= 1472, "and the longest fits a frame");
  },
);

t.test(
  "Q29: a Raspberry Pi gets its menu octet by octet, its own file, and not before its ROM listens",
  async (t) => {
    const { relay, dhcp, clock, server } = await createDhcpLab(t, {
      mode: "proxy",
      nbp: { available: new Set(["bootcode.bin", "undionly.kpxe"]) },
      raspberryPiDelayMs: 1000,
    });
    const pi = {
      type: "Discover",
      mac: macOf("b8:27:eb:2f:aa:eb"),
      xid: 0x26f30339,
      options: { 60: "PXEClient:Arch:00000:UNDI:002001", 93: [0, 0], 94: [1, 2, 1], 97: machineId },
    } as const;
    const waiting = relay.ask(pi, dhcp);
    await until(() => server.counters.received === 1, "the DISCOVER");
    clock.advanceMs(999);
    t.equal(server.counters.replies, 0);
    clock.advanceMs(1);
    const offer = await waiting;
    t.equal(
      Buffer.from(offer.options.get(43) ?? []).toString("latin1"),
      "\x06\x01\x03\x0a\x04\x00PXE\x09\x14\x00\x00\x11Raspberry Pi Boot\xff",
    );
    t.match(offer, { file: "bootcode.bin", siaddr: "127.0.0.1" });
    t.same(Buffer.from(offer.options.get(66) ?? []).toString(), "127.0.0.1", "Q9: it reads 66 and not sname");
    const again = relay.ask(pi, dhcp);
    await until(() => server.counters.received === 2, "the DISCOVER");
    clock.advanceMs(1000);
    t.match(await again, { xid: 0x26f30339 }, "its xid is always the same, and no reason to be silent");
  },
);

t.test(
  "Q31: behind a port that spanning tree blocks a machine is heard late, and its boot says how late",
  async (t) => {
    const lab = await createBootLab(t);
    await lab.add(1, "s1");
    await lab.dhcp(1, { secs: 37, message: "DISCOVER" });
    await lab.settle();
    const machine = lab.inventory.findByMac(sampleMac(1));
    t.match(lab.tracker.current(machine?.id ?? "")?.steps, [{ step: "discover", detail: { secs: 37 } }]);
    const { relay, dhcp } = await createDhcpLab(t);
    const offer = await relay.ask({ type: "Discover", secs: 37, options: clientOptions.bios }, dhcp);
    t.match(offer, { file: "undionly.kpxe" }, "and it is served like any other");
  },
);

t.test(
  "Q32: a lease lasts an hour unless the config says otherwise, and a machine that loads for long renews it",
  async (t) => {
    t.match(subnetSchema.properties.leaseSeconds, { default: 3600 });
    const { relay, dhcp, clock, leases } = await createDhcpLab(t);
    const { yiaddr } = await relay.lease({ options: clientOptions.ipxe }, dhcp);
    const expiresAt = leases.saved.at(-1)?.expiresAt ?? 0;
    clock.advanceMs(1800_000);
    const renewed = await relay.ask({ type: "Request", ciaddr: yiaddr, options: clientOptions.linux }, dhcp);
    t.match(renewed, { yiaddr, ciaddr: yiaddr });
    t.equal((leases.saved.at(-1)?.expiresAt ?? 0) - expiresAt, 1800_000, "for a whole hour from now");
  },
);

t.test(
  "Q33: ROM, iPXE, initramfs and OS send different client identifiers and keep one address",
  async (t) => {
    const { relay, dhcp, leases, clock } = await createDhcpLab(t);
    const identifiers = [
      undefined,
      machineId,
      Uint8Array.of(1, 82, 84, 0, 0, 0, 1),
      Uint8Array.of(255, 1, 2, 3, 4, 0, 1, 9, 9),
    ];
    const kinds = [clientOptions.bios, clientOptions.ipxe, clientOptions.linux, clientOptions.linux];
    const addresses = [];
    for (const [index, identifier] of identifiers.entries()) {
      const options = { ...kinds[index], ...(identifier ? { 61: identifier } : {}) };
      const ack = await relay.lease({ options }, dhcp);
      addresses.push(ack.yiaddr);
      if (identifier) t.same(ack.options.get(61), identifier, "it is echoed (RFC 6842)");
      clock.advanceMs(10_000);
    }
    t.same(new Set(addresses).size, 1);
    t.equal([...leases.all()].length, 1, "one lease");
  },
);

t.test(
  "Q34: machines with the same or a senseless UUID are as many machines as they have MACs",
  async (t) => {
    const junk = [
      "00000000-0000-0000-0000-000000000000",
      "ffffffff-ffff-ffff-ffff-ffffffffffff",
      "03000200-0400-0500-0006-000700080009",
    ];
    const same = "4c4c4544-0035-3010-8031-b4c04f4d3132";
    const server = await startServer(t);
    for (const [index, uuid] of [...junk, same, same].entries()) {
      const { status } = await server.script(index + 1, { query: `?uuid=${uuid}` });
      t.equal(status, 200);
    }
    const { items } = (await server.api("GET", "/machines?limit=50")).json as unknown as {
      items: { macs: string[]; uuid: string | null }[];
    };
    t.equal(items.length, 5, "five MACs are five machines");
    t.same(
      items.map(({ uuid }) => uuid).filter((uuid) => uuid !== null && junk.includes(uuid)),
      [],
      "a UUID that whole production runs share is not written down",
    );
    const { relay, dhcp } = await createDhcpLab(t);
    const leased = [];
    for (const number of [1, 2, 3]) {
      const zero = { ...clientOptions.bios, 97: new Uint8Array(17) };
      leased.push((await relay.lease({ mac: macNumber(number), options: zero }, dhcp)).yiaddr);
    }
    t.equal(new Set(leased).size, 3, "and each gets its own address");
  },
);

t.test("Q42: a machine has several MACs, and BOOTIF names the one that it boots from", async (t) => {
  const server = await startServer(t);
  await server.addImage();
  await server.api("POST", "/machines", { name: "s1", macs: [sampleMac(1), sampleMac(2)] });
  await server.assign("s1", "worker");
  for (const number of [1, 2]) {
    const { text } = await server.script(number);
    t.match(text, new RegExp(`BOOTIF=01-${sampleMac(number).replaceAll(":", "-")}( |$)`, "m"));
  }
});

t.test("P-12: a machine that asks once a second for three minutes is answered each time", async (t) => {
  const events: NewEvent[] = [];
  const { relay, dhcp, clock } = await createDhcpLab(t, { record: (event) => events.push(event) });
  for (let second = 0; second < 180; second++) {
    const offer = await relay.ask({ type: "Discover", secs: second, options: clientOptions.ipxe }, dhcp);
    t.equal(offer.yiaddr, "10.0.0.10");
    clock.advanceMs(1000);
  }
});

t.test(
  "D-01: what is no DHCP request is dropped without a word and counted, and the next one is answered",
  async (t) => {
    const { relay, dhcp, server } = await createDhcpLab(t);
    const good = encodeMessage(requestMessage({ type: "Discover", giaddr: "127.0.0.1" }));
    const [ciaddrAt, giaddrAt] = [12, 24];
    const changed = (at: number, ...octets: number[]) => {
      const copy = Uint8Array.from(good);
      copy.set(octets, at);
      return copy;
    };
    const bad = [
      good.subarray(0, 239),
      new Uint8Array(0),
      changed(236, 0, 0, 0, 0),
      changed(2, 17),
      changed(0, 2),
      changed(0, 7),
      changed(240, 0, 0, 0),
      changed(3, 17),
      // An INFORM without an address; what would be answered to a whole network.
      changed(242, 8),
      ...[giaddrAt, ciaddrAt].flatMap((at) =>
        [
          [10, 0, 0, 0],
          [10, 0, 255, 255],
          [255, 255, 255, 255],
          [224, 0, 0, 1],
          [0, 0, 0, 9],
        ].map((address) => changed(at, ...address)),
      ),
    ];
    for (const datagram of bad) relay.sendRaw(datagram, dhcp);
    await until(() => server.counters.received === bad.length, "all of them");
    const { malformed, ignored, replies } = server.counters;
    t.equal(malformed + ignored, bad.length, `${malformed} malformed, ${ignored} ignored`);
    t.equal(replies, 0);
    t.match(await relay.ask({ type: "Discover" }, dhcp), { yiaddr: "10.0.0.10" });
  },
);
