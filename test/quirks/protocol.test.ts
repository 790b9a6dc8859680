/** Statements of the DHCP RFCs that other tests do not show, over real sockets (docs/conformance.md). */
import { join } from "node:path";
import t from "tap";
import type { Lease } from "../../server/domain/lease.ts";
import type { Ipv4 } from "../../server/net/ipv4.ts";
import type { Mac } from "../../server/net/mac.ts";
import { ipv4Option, uint16Option } from "../../server/dhcp/wire/options.ts";
import { systemClock } from "../../server/platform/clock.ts";
import { openStore } from "../../server/store/open-store.ts";
import { createDhcpLab } from "../support/dhcp-lab.ts";
import { clientOptions, ip, macNumber } from "../support/dhcp-messages.ts";

t.test(
  "D-05: a reply copies xid, chaddr, flags, giaddr, htype and hlen; hops and secs are 0; siaddr is the boot server (table 3)",
  async (t) => {
    const { relay, dhcp } = await createDhcpLab(t);
    const shape = {
      mac: macNumber(7),
      xid: 0xdeadbeef,
      flags: 0x8000,
      secs: 12,
      hops: 3,
      options: clientOptions.ovmf,
    };
    const offer = await relay.ask({ type: "Discover", ...shape }, dhcp);
    const copied = {
      op: 2,
      htype: 1,
      hlen: 6,
      hops: 0,
      secs: 0,
      xid: 0xdeadbeef,
      flags: 0x8000,
      giaddr: "127.0.0.1",
    };
    t.match(offer, { ...copied, ciaddr: "0.0.0.0", siaddr: "127.0.0.1" });
    t.same(offer.chaddr.subarray(0, 16), Buffer.of(0x52, 0x54, 0, 0, 0, 7, ...Buffer.alloc(10)));
    const ack = await relay.ask(
      { type: "Request", ...shape, requested: offer.yiaddr, server: "127.0.0.1" },
      dhcp,
    );
    t.match(ack, { ...copied, yiaddr: offer.yiaddr, siaddr: "127.0.0.1" });
    const nak = await relay.ask(
      { type: "Request", ...shape, requested: "10.9.9.9", server: "127.0.0.1" },
      dhcp,
    );
    t.match(nak, { xid: 0xdeadbeef, yiaddr: "0.0.0.0", ciaddr: "0.0.0.0", siaddr: "0.0.0.0", file: "" });
  },
);

t.test(
  "D-08: on a host with two networks option 54 is the address of the one that heard the client",
  async (t) => {
    const addresses = ["127.0.0.1", "127.0.0.2"].map(ip);
    const lab = await createDhcpLab(t, { interfaces: addresses.map((address) => ({ address })) });
    const sockets = lab.server.addresses.filter(({ service }) => service === "dhcp");
    t.equal(sockets.length, 2);
    const offer = await lab.relay.ask({ type: "Discover" }, lab.dhcp);
    t.equal(ipv4Option(offer.options, 54), "127.0.0.1");
    const asked = await lab.relay.ask({ type: "Discover" }, sockets[1]?.port ?? 0, "127.0.0.2");
    t.equal(ipv4Option(asked.options, 54), "127.0.0.2");
  },
);

t.test(
  "D-12: OFFER and ACK have 51, 53 and 54 and never 50, 55, 57; a NAK has 53, 54, 56, 61 and 82 only (table 3)",
  async (t) => {
    const { relay, dhcp } = await createDhcpLab(t);
    for (const options of Object.values(clientOptions)) {
      const all = { ...options, 61: [1, 2, 3, 4], 82: [1, 1, 9] };
      const offer = await relay.ask({ type: "Discover", options: all }, dhcp);
      const ack = await relay.ask(
        { type: "Request", options: all, requested: offer.yiaddr, server: "127.0.0.1" },
        dhcp,
      );
      for (const reply of [offer, ack]) {
        const codes = new Set(reply.options.keys());
        for (const code of [51, 53, 54, 61, 82]) t.ok(codes.has(code), `has ${code}`);
        for (const code of [50, 55, 57, 93, 94]) t.notOk(codes.has(code), `has no ${code}`);
      }
      const nak = await relay.ask(
        { type: "Request", options: all, requested: "10.9.9.9", server: "127.0.0.1" },
        dhcp,
      );
      t.same([...nak.options.keys()], [53, 54, 56, 61, 82]);
    }
  },
);

t.test(
  "D-15: 10,000 clients at once, over a restart in their middle: no address is anybody else's",
  async (t) => {
    const directory = t.testdir({});
    const clients = 10_000;
    const held = new Map<Mac, Ipv4>();
    let store = openStore(join(directory, "leases.db"), systemClock);
    let lab = await createDhcpLab(t, { last: "10.0.60.0", leases: store.leases });
    async function lease(number: number): Promise<void> {
      const mac = macNumber(number);
      const ack = await lab.relay.lease({ mac, options: clientOptions.bios }, lab.dhcp);
      t.equal(held.get(mac) ?? ack.yiaddr, ack.yiaddr, "its own again");
      held.set(mac, ack.yiaddr);
    }
    /** So many at a time: more than that are lost in the socket's buffer, and would have to ask again. */
    async function leaseAll(numbers: readonly number[]): Promise<void> {
      const waiting = [...numbers];
      const worker = async () => {
        for (let number = waiting.pop(); number !== undefined; number = waiting.pop()) await lease(number);
      };
      await Promise.all(Array.from({ length: 200 }, worker));
    }
    const numbers = Array.from({ length: clients }, (_, index) => index + 1);
    await leaseAll(numbers.slice(0, clients / 2));
    await lab.server.stop();
    store.close();
    store = openStore(join(directory, "leases.db"), systemClock);
    t.teardown(() => store.close());
    lab = await createDhcpLab(t, { last: "10.0.60.0", leases: store.leases });
    await leaseAll([...numbers.slice(clients / 2), ...numbers.slice(0, 500)]);
    t.equal(held.size, clients);
    t.equal(new Set(held.values()).size, clients, "as many addresses as clients");
    const stored = new Map([...store.leases.all()].map(({ mac, address }: Lease) => [mac, address]));
    t.same(
      [...held].filter(([mac, address]) => stored.get(mac) !== address),
      [],
      "and the disk says the same",
    );
  },
);

t.test(
  "R-05: a client identifier comes back as it was, whatever its length and octets, and only to whoever sent it (RFC 6842)",
  async (t) => {
    const { relay, dhcp } = await createDhcpLab(t);
    for (const length of [2, 3, 17, 128, 255]) {
      const identifier = Buffer.from(Array.from({ length }, (_, index) => (index * 37) & 255));
      const options = { ...clientOptions.linux, 61: identifier };
      const offer = await relay.ask({ type: "Discover", options }, dhcp);
      t.same(offer.options.get(61), identifier, `${length} octets`);
      const nak = await relay.ask(
        { type: "Request", options, requested: "10.9.9.9", server: "127.0.0.1" },
        dhcp,
      );
      t.same(nak.options.get(61), identifier);
    }
    t.notOk((await relay.ask({ type: "Discover", options: clientOptions.bios }, dhcp)).options.has(61));
  },
);

t.test(
  "P-06: where address and boot file are one server's, offer, ACK and port 4011 say the same",
  async (t) => {
    const { relay, dhcp, pxe } = await createDhcpLab(t);
    for (const options of [clientOptions.bios, clientOptions.ovmf]) {
      const offer = await relay.ask({ type: "Discover", options }, dhcp);
      const ack = await relay.lease({ options }, dhcp);
      const boot = await relay.ask({ type: "Request", options, ciaddr: "10.0.0.10" }, pxe);
      for (const reply of [ack, boot]) t.match(reply, { file: offer.file, siaddr: offer.siaddr });
      t.equal(uint16Option(boot.options, 93), undefined, "93 is the client's to send");
    }
  },
);
