import t from "tap";
import { Exchange, type Port } from "../../server/dhcp/exchange.ts";
import { decodeMessage, type DhcpMessage, encodeMessage } from "../../server/dhcp/wire/message.ts";
import type { NewEvent } from "../../server/domain/event.ts";
import { parseCidr } from "../../server/net/cidr.ts";
import type { Ipv4 } from "../../server/net/ipv4.ts";
import type { Mac } from "../../server/net/mac.ts";
import { silentLog } from "../../server/platform/logger.ts";
import { clientOptions, ip, macNumber, requestMessage, type RequestShape } from "../support/dhcp-messages.ts";
import { typeOf } from "../support/dhcp-relay.ts";
import { ManualClock } from "../support/manual-clock.ts";
import { createMemoryLeases } from "../support/memory-leases.ts";
import { liveHeapBytes } from "../support/live-heap.ts";

const server = ip("10.0.0.1");

/** The exchange without sockets: MACs from 1,000,000 on are registered. */
function exchangeLab({ last = "10.0.0.109", unknownShare = 0.5 } = {}) {
  const clock = new ManualClock();
  const leases = createMemoryLeases();
  const events: NewEvent[] = [];
  const replies: DhcpMessage[] = [];
  const reservations = new Map<Mac, Ipv4>();
  const subnet = parseCidr("10.0.0.0/16");
  if (!subnet) throw new Error("bad CIDR");
  const exchange = new Exchange({
    clock,
    leases,
    unknownShare,
    log: silentLog,
    mode: "authoritative",
    interfaces: [{ address: server }],
    subnets: [{ subnet, range: { from: ip("10.0.0.10"), to: ip(last) }, leaseSeconds: 3600 }],
    machines: {
      reservationOf: (mac) => reservations.get(mac),
      ownerOf: (address) => [...reservations].find(([, reserved]) => reserved === address)?.[0],
      mayNetboot: () => true,
      isRegistered: (mac) => mac >= macNumber(1_000_000),
    },
    nbp: { available: new Set(["snponly.efi"]) },
    urls: () => ({ script: "http://10.0.0.1/boot.ipxe", nbp: (name) => `http://10.0.0.1/nbp/${name}` }),
    onContact: () => {},
    record: (event) => events.push(event),
  });
  const port: Port = {
    service: "dhcp",
    device: "eth0",
    serverAddress: server,
    send: (datagram) => replies.push(decodeMessage(datagram)),
  };
  const hear = (shape: RequestShape): DhcpMessage | undefined => {
    replies.length = 0;
    exchange.receive(encodeMessage(requestMessage(shape)), { address: "0.0.0.0", port: 68 }, port);
    return replies[0];
  };
  const discover = (machine: number, more: Partial<RequestShape> = {}) =>
    hear({ type: "Discover", mac: macNumber(machine), ...more })?.yiaddr;
  async function take(machine: number, address: string): Promise<string | undefined> {
    hear({ type: "Request", mac: macNumber(machine), requested: address, server });
    await exchange.drain();
    return replies[0] && typeOf(replies[0]);
  }
  return { clock, leases, events, exchange, reservations, hear, discover, take };
}

t.test(
  "100,000 DISCOVERs of random MACs: 200 registered machines without a reservation get addresses all the same (S-05)",
  async (t) => {
    const { clock, discover, take, leases } = exchangeLab({ last: "10.0.1.255" });
    const offered = new Set<string>();
    const begunMs = performance.now();
    let slowestMs = 0;
    const heapBefore = liveHeapBytes();
    for (let n = 0; n < 100_000; n++) {
      const options = n % 2 ? clientOptions.ovmf : clientOptions.linux;
      const address = discover(n, { options, ...(n % 3 ? {} : { requested: `10.0.1.${n % 256}` }) });
      if (address) offered.add(address);
      if (n % 500 === 250) {
        const machine = 1_000_000 + Math.floor(n / 500);
        const askedMs = performance.now();
        const own = discover(machine);
        t.equal(own && (await take(machine, own)), "Ack", `registered machine ${machine}`);
        slowestMs = Math.max(slowestMs, performance.now() - askedMs);
      }
      // 60 s in all.
      if (n % 100 === 0) clock.advanceMs(60);
    }
    const grown = liveHeapBytes() - heapBefore;
    const tookMs = performance.now() - begunMs;
    t.comment(
      `${Math.round(tookMs)} ms, slowest registered ${slowestMs.toFixed(1)} ms, heap +${grown} octets`,
    );
    t.equal(new Set(leases.saved.map(({ address }) => address)).size, 200);
    t.ok(offered.size > 100, "strangers are served too");
    t.ok(tookMs < 30_000, "bounded time");
    t.ok(slowestMs < 1000);
    t.ok(grown < 60_000_000, "what is kept of a stranger is bounded");
  },
);

t.test(
  "strangers hold no more than their share by offers, leases and declined addresses together",
  async (t) => {
    const { clock, discover, take, hear, events } = exchangeLab();
    for (let n = 0; n < 20; n++) t.equal(await take(n, discover(n) ?? ""), "Ack");
    for (let n = 20; n < 40; n++) t.ok(discover(n), "offered");
    for (let n = 40; n < 50; n++) {
      const address = discover(n);
      t.ok(address);
      hear({ type: "Decline", mac: macNumber(n), requested: address ?? "", server });
    }
    t.equal(discover(50), undefined, "50 of 100");
    t.equal(discover(51, { requested: "10.0.0.105" }), undefined, "nor the one that it asks for");
    t.equal(await take(52, "10.0.0.105"), "Nak", "nor without an offer (RFC 2131 s.4.3.2)");
    t.equal(discover(3), "10.0.0.13", "who has a lease keeps it");
    t.ok(discover(1_000_000), "a registered machine");
    clock.advanceMs(61_000);
    for (let n = 60; n < 80; n++) t.ok(discover(n), "the 20 offers that nobody took are free again (D-14)");
    t.equal(discover(80), undefined);
    t.match(
      events.filter(({ type }) => type === "dhcp.exhausted")[0],
      { level: "alarm", data: { mac: macNumber(50) } },
      "people are told",
    );
    t.end();
  },
);

t.test(
  "registered machines find every address that is free, and theirs do not count for the strangers",
  (t) => {
    const { discover } = exchangeLab({ last: "10.0.0.29" });
    for (let n = 0; n < 10; n++) t.ok(discover(1_000_000 + n));
    for (let n = 0; n < 5; n++) t.ok(discover(n), "half of the ten that are left");
    t.equal(discover(5), undefined);
    for (let n = 10; n < 15; n++) t.ok(discover(1_000_000 + n));
    t.equal(discover(1_000_015), undefined, "the pool is empty");
    t.end();
  },
);

t.test("a share of 100 % is no limit, one of 0 % leaves strangers without an address", (t) => {
  const open = exchangeLab({ last: "10.0.0.19", unknownShare: 1 });
  for (let n = 0; n < 10; n++) t.ok(open.discover(n));
  t.equal(open.discover(10), undefined);
  const closed = exchangeLab({ unknownShare: 0 });
  t.equal(closed.discover(1), undefined);
  t.ok(closed.discover(1_000_000));
  t.end();
});

t.test("pool empty: no OFFER, one alarm, reservations are served (D-13, RFC 2131 s.4.3.1)", (t) => {
  const { discover, reservations, events } = exchangeLab({ last: "10.0.0.11", unknownShare: 1 });
  reservations.set(macNumber(1_000_009), ip("10.0.0.77"));
  t.strictSame([discover(1), discover(2)], ["10.0.0.10", "10.0.0.11"]);
  for (let n = 3; n < 100; n++) t.equal(discover(n), undefined);
  t.equal(discover(1_000_009), "10.0.0.77");
  t.strictSame(
    events.map(({ type }) => type),
    ["dhcp.exhausted"],
  );
  t.end();
});

t.test("one client, 1000 DISCOVERs: one address, one entry (D-14, RFC 2131 s.2.2)", (t) => {
  const { discover } = exchangeLab({ last: "10.0.0.11", unknownShare: 1 });
  for (let n = 0; n < 1000; n++) t.equal(discover(1, { xid: n }), "10.0.0.10");
  t.equal(discover(2), "10.0.0.11", "the other address is free");
  t.end();
});

t.test(
  "a flood of DECLINE from one MAC sets four addresses aside and no more (D-21, RFC 2131 s.4.3.3)",
  async (t) => {
    const { discover, hear, leases, exchange, events } = exchangeLab({ unknownShare: 1 });
    for (let n = 0; n < 50; n++) {
      const address = discover(1);
      if (address) hear({ type: "Decline", mac: macNumber(1), requested: address, server });
      hear({ type: "Decline", mac: macNumber(2), requested: `10.0.0.${10 + n}`, server });
    }
    await exchange.drain();
    t.equal(leases.saved.filter(({ state }) => state === "declined").length, 4);
    t.ok(discover(3), "others are served");
    t.match(events[0], { type: "dhcp.conflict", level: "alarm", data: { address: "10.0.0.10" } });
    t.end();
  },
);

t.test(
  "a wall clock that steps an hour either way ends no lease and puts none into the past (D-27)",
  async (t) => {
    const manual = new ManualClock();
    let stepMs = 0;
    const clock = {
      now: () => manual.now() + stepMs,
      monotonicMs: () => manual.monotonicMs(),
      after: manual.after.bind(manual),
    };
    const leases = createMemoryLeases();
    const subnet = parseCidr("10.0.0.0/24");
    if (!subnet) throw new Error("bad CIDR");
    const replies: DhcpMessage[] = [];
    const exchange = new Exchange({
      clock,
      leases,
      log: silentLog,
      mode: "authoritative",
      interfaces: [{ address: server }],
      subnets: [{ subnet, range: { from: ip("10.0.0.10"), to: ip("10.0.0.10") }, leaseSeconds: 3600 }],
      machines: { reservationOf: () => undefined, ownerOf: () => undefined, mayNetboot: () => true },
      nbp: { available: new Set() },
      urls: () => ({ script: "", nbp: () => "" }),
      onContact: () => {},
    });
    const hear = async (shape: RequestShape) => {
      replies.length = 0;
      const send = (datagram: Uint8Array) => void replies.push(decodeMessage(datagram));
      exchange.receive(
        encodeMessage(requestMessage(shape)),
        { address: "0.0.0.0", port: 68 },
        { service: "dhcp", device: "eth0", serverAddress: server, send },
      );
      await exchange.drain();
      return replies[0] && typeOf(replies[0]);
    };
    for (const hours of [0, 1, -1, 2, -3]) {
      stepMs = hours * 3_600_000;
      manual.advanceMs(60_000);
      const renewal = { type: "Request", mac: macNumber(1), ciaddr: "10.0.0.10" } as const;
      t.equal(await hear(renewal), "Ack", `clock ${hours} h off`);
      const lease = leases.findByMac(macNumber(1));
      t.equal((lease?.expiresAt ?? 0) - (lease?.grantedAt ?? 0), 3_600_000);
      t.equal(lease?.grantedAt, manual.now(), "reckoned by what never jumps");
      t.equal(await hear({ type: "Discover", mac: macNumber(2) }), undefined, "still the first one's");
    }
    manual.advanceMs(3_600_001);
    t.equal(await hear({ type: "Discover", mac: macNumber(2) }), "Offer", "an hour that really passed");
  },
);
