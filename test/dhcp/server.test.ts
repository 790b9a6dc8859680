import { setTimeout as sleep } from "node:timers/promises";
import t from "tap";
import type { LeaseRepository } from "../../server/domain/lease.ts";
import { createCommitQueue } from "../../server/dhcp/commit-queue.ts";
import { type DhcpMessage, encodeMessage } from "../../server/dhcp/wire/message.ts";
import { silentLog } from "../../server/platform/logger.ts";
import { createUdp } from "../../server/platform/udp.ts";
import { clientOptions, defaultMac, ip, macNumber, requestMessage } from "../support/dhcp-messages.ts";
import { createDhcpLab, until } from "../support/dhcp-lab.ts";
import { typeOf } from "../support/dhcp-relay.ts";
import { ManualClock } from "../support/manual-clock.ts";
import { createMemoryLeases } from "../support/memory-leases.ts";
import { liveHeapBytes } from "../support/live-heap.ts";

t.test("one socket per interface and service; none in mode off", async (t) => {
  const { server } = await createDhcpLab(t);
  t.match(server.addresses, [
    { service: "dhcp", address: "127.0.0.1", port: Number },
    { service: "pxe", address: "127.0.0.1", port: Number },
  ]);
  t.strictSame((await createDhcpLab(t, { mode: "off" })).server.addresses, []);
  const [dhcp, pxe] = server.addresses.map(({ port }) => port) as [number, number];
  await server.stop();
  t.strictSame(server.addresses, []);
  const again = await createDhcpLab(t, { port: dhcp, pxePort: pxe });
  t.strictSame(
    again.server.addresses.map(({ port }) => port),
    [dhcp, pxe],
    "the ports that were asked for",
  );
});

t.test("a start that fails half way leaves no socket behind", async (t) => {
  const clock = new ManualClock();
  const udp = createUdp({ log: silentLog, clock });
  const held = await udp.bind({ address: "127.0.0.1", port: 0 });
  const free = await udp.bind({ address: "127.0.0.1", port: 0 });
  const port = free.local.port;
  await free.close();
  await t.rejects(createDhcpLab(t, { port, pxePort: held.local.port }), { code: "PORT_IN_USE" });
  const again = await udp.bind({ address: "127.0.0.1", port });
  await Promise.all([held.close(), again.close()]);
});

t.test("DISCOVER, OFFER, REQUEST, ACK: the lease is saved and each contact told", async (t) => {
  const { relay, dhcp, leases, contacts } = await createDhcpLab(t);
  const ack = await relay.lease({ options: clientOptions.bios }, dhcp);
  t.equal(typeOf(ack), "Ack");
  t.match(ack, { yiaddr: "10.0.0.10", file: "undionly.kpxe", giaddr: "127.0.0.1" });
  t.match(leases.saved, [{ mac: "52:54:00:00:00:01", address: "10.0.0.10", state: "bound" }]);
  t.match(contacts, [
    {
      message: "DISCOVER",
      reply: "OFFER",
      speaker: "firmware",
      firmware: { name: "bios" },
      address: "10.0.0.10",
      port: 67,
    },
    {
      message: "REQUEST",
      reply: "ACK",
      address: "10.0.0.10",
      bootfile: "undionly.kpxe",
      silence: undefined,
      serverMs: Number,
    },
  ]);
});

t.test(
  "port 4011 answers in proxy mode to the port that asked, and an ordinary DISCOVER is met by silence",
  async (t) => {
    const { relay, dhcp, pxe, contacts } = await createDhcpLab(t, { mode: "proxy", subnets: [] });
    t.match(await relay.ask({ type: "Request", ciaddr: "127.0.0.1", options: clientOptions.ovmf }, pxe), {
      file: "snponly.efi",
      yiaddr: "0.0.0.0",
    });
    t.match(await relay.ask({ type: "Discover", options: clientOptions.ipxe }, dhcp), {
      file: "http://127.0.0.1/boot.ipxe",
    });
    relay.send({ type: "Discover", options: clientOptions.linux }, dhcp);
    relay.send(
      { type: "Request", server: "10.0.0.9", requested: "10.0.0.44", options: clientOptions.ovmf },
      dhcp,
    );
    await until(() => contacts.length === 4, "four contacts");
    t.match(contacts, [
      { port: 4011, reply: "ACK", address: "127.0.0.1", bootfile: "snponly.efi" },
      { port: 67, reply: "OFFER", speaker: "ipxe", address: undefined },
      { reply: undefined, silence: "not a network boot client", speaker: "os" },
      { reply: undefined, silence: "chose another server", foreignServer: "10.0.0.9", address: "10.0.0.44" },
    ]);
    t.equal(relay.replies.length, 2);
  },
);

t.test(
  "ROM, iPXE, initramfs and OS of one machine get one address, whatever client id they send (firmware-quirk Q33)",
  async (t) => {
    const { relay, dhcp, leases } = await createDhcpLab(t);
    const programs = [
      { ...clientOptions.bios, 61: [0, 1, 2] },
      { ...clientOptions.ipxe, 61: [1, 82, 84, 0, 0, 0, 1] },
      { 61: [255, 9, 9, 9] },
      {},
    ];
    const addresses = [];
    for (const options of programs) addresses.push((await relay.lease({ options }, dhcp)).yiaddr);
    t.strictSame([...new Set(addresses)], ["10.0.0.10"]);
    t.equal([...leases.all()].length, 1);
  },
);

t.test(
  "a client's DISCOVERs are offered one address; an offer that nobody takes is free after 60 s (RFC 2131 s.3.1)",
  async (t) => {
    const { relay, dhcp, clock, log } = await createDhcpLab(t, { last: "10.0.0.11" });
    const discover = async (machine: number) =>
      (await relay.ask({ type: "Discover", mac: macNumber(machine) }, dhcp)).yiaddr;
    t.equal(await discover(1), "10.0.0.10");
    t.equal(await discover(1), "10.0.0.10");
    t.equal(await discover(2), "10.0.0.11");
    for (let repeat = 0; repeat < 3; repeat++) relay.send({ type: "Discover", mac: macNumber(3) }, dhcp);
    await until(() => log.entries.length > 0, "the warning");
    await sleep(20);
    t.match(log.entries, [{ level: "warn", message: "no free address in the subnet" }]);
    t.equal(log.entries.length, 1, "one warning, however many ask");
    clock.advanceMs(59_000);
    t.equal(await discover(2), "10.0.0.11", "still held");
    clock.advanceMs(2000);
    t.equal(await discover(3), "10.0.0.10", "free again");
  },
);

t.test(
  "an address goes back to its former holder, and to others only after its end; reservations are kept free",
  async (t) => {
    const { relay, dhcp, clock, reservations } = await createDhcpLab(t, { last: "10.0.0.12" });
    reservations.set(macNumber(9), ip("10.0.0.11"));
    t.equal((await relay.lease({ mac: macNumber(1) }, dhcp)).yiaddr, "10.0.0.10");
    t.equal(
      (await relay.lease({ mac: macNumber(2) }, dhcp)).yiaddr,
      "10.0.0.12",
      "the reserved one is passed over",
    );
    t.equal((await relay.lease({ mac: macNumber(9) }, dhcp)).yiaddr, "10.0.0.11");
    clock.advanceMs(3_601_000);
    t.equal(
      (await relay.lease({ mac: macNumber(2) }, dhcp)).yiaddr,
      "10.0.0.12",
      "its own, though the first of the pool is free",
    );
    t.equal((await relay.lease({ mac: macNumber(3) }, dhcp)).yiaddr, "10.0.0.10", "expired");
  },
);

t.test("two network cards of one machine share its reservation, one at a time", async (t) => {
  const { relay, dhcp, reservations, clock } = await createDhcpLab(t);
  reservations.set(macNumber(1), ip("10.0.0.77"));
  reservations.set(macNumber(2), ip("10.0.0.77"));
  t.equal((await relay.lease({ mac: macNumber(2) }, dhcp)).yiaddr, "10.0.0.77");
  t.not(
    (await relay.lease({ mac: macNumber(1) }, dhcp)).yiaddr,
    "10.0.0.77",
    "never one address to two clients",
  );
  clock.advanceMs(3_601_000);
  t.equal((await relay.lease({ mac: macNumber(1) }, dhcp)).yiaddr, "10.0.0.77");
});

t.test("DECLINE sets an address aside for ten minutes, RELEASE frees it at once", async (t) => {
  const { relay, dhcp, clock, leases, log, contacts } = await createDhcpLab(t, { last: "10.0.0.11" });
  const [one, two] = [macNumber(1), macNumber(2)];
  for (const address of ["10.0.0.10", "10.0.0.11"]) {
    t.equal((await relay.lease({ mac: one }, dhcp)).yiaddr, address);
    relay.send({ type: "Decline", mac: one, requested: address, server: "127.0.0.1" }, dhcp);
    await until(() => leases.findByMac(one)?.state === "declined", "the declined lease");
  }
  t.match(log.entries[0], {
    message: "another host uses an address that was leased",
    fields: { address: "10.0.0.10" },
  });
  t.equal(log.entries.length, 1);
  clock.advanceMs(2000);
  relay.send({ type: "Discover", mac: two }, dhcp);
  await until(() => contacts.at(-1)?.silence === "no free address", "the silence: both are set aside");
  clock.advanceMs(600_000);
  t.equal((await relay.lease({ mac: one }, dhcp)).yiaddr, "10.0.0.10", "probation over");
  relay.send({ type: "Release", mac: one, ciaddr: "10.0.0.10", server: "127.0.0.1" }, dhcp);
  await until(() => leases.findByMac(one)?.state === "released", "the release");
  t.equal((await relay.lease({ mac: two, requested: "10.0.0.10" }, dhcp)).yiaddr, "10.0.0.10", "released");
});

t.test(
  "a lease that is being given back is neither confirmed from memory nor lost (RFC 2131 s.4.3.4)",
  async (t) => {
    const { relay, dhcp, leases, server, contacts } = await createDhcpLab(t, { last: "10.0.0.10" });
    const [one, two] = [macNumber(1), macNumber(2)];
    const { yiaddr } = await relay.lease({ mac: one }, dhcp);
    leases.block();
    relay.send({ type: "Release", mac: one, ciaddr: yiaddr, server: "127.0.0.1" }, dhcp);
    relay.send({ type: "Request", mac: one, requested: yiaddr, server: "127.0.0.1", xid: 901 }, dhcp);
    await until(() => server.counters.received === 4, "RELEASE and REQUEST");
    leases.release();
    await until(() => relay.replies.length === 3, "the ACK");
    t.equal(leases.findByMac(one)?.state, "bound", "what the client was told is what is stored");
    relay.send({ type: "Discover", mac: two }, dhcp);
    await until(() => contacts.at(-1)?.silence === "no free address", "the silence: it is in use");
  },
);

t.test(
  "no ACK before the lease is on stable storage, and a repeated REQUEST makes no second one (RFC 2131 s.3.1)",
  async (t) => {
    const { relay, dhcp, leases, server } = await createDhcpLab(t);
    const offer = await relay.ask({ type: "Discover" }, dhcp);
    leases.block();
    const request = { type: "Request", requested: offer.yiaddr, server: "127.0.0.1", xid: 77 } as const;
    for (let repeat = 0; repeat < 3; repeat++) relay.send(request, dhcp);
    await until(() => server.counters.received === 4, "the REQUESTs");
    await sleep(20);
    t.equal(relay.replies.length, 1, "the OFFER only");
    leases.release();
    await until(() => relay.replies.length === 2, "the ACK");
    await sleep(20);
    t.equal(relay.replies.length, 2);
    t.equal(leases.saved.length, 1);
    t.equal(server.counters.duplicates, 2);
    t.equal(typeOf(await relay.ask(request, dhcp)), "Ack", "repeated later: the same ACK again");
  },
);

t.test("an address on its way to the disk is nobody else's", async (t) => {
  const { relay, dhcp, leases, server, clock } = await createDhcpLab(t, { last: "10.0.0.10" });
  const offer = await relay.ask({ type: "Discover", mac: macNumber(1) }, dhcp);
  leases.block();
  relay.send({ type: "Request", mac: macNumber(1), requested: offer.yiaddr, server: "127.0.0.1" }, dhcp);
  await until(() => server.counters.received === 2, "the REQUEST");
  clock.advanceMs(61_000);
  relay.send({ type: "Discover", mac: macNumber(2) }, dhcp);
  await until(() => server.counters.received === 3, "the other's DISCOVER");
  leases.release();
  await until(() => relay.replies.length === 2, "the ACK");
  t.strictSame(relay.replies.map(typeOf), ["Offer", "Ack"]);
});

t.test("a lease that can't be saved is not granted, and the server goes on", async (t) => {
  const { relay, dhcp, leases, log, contacts, server } = await createDhcpLab(t);
  const offer = await relay.ask({ type: "Discover" }, dhcp);
  leases.fail(new Error("disk full"));
  for (const xid of [5, 6, 7])
    relay.send({ type: "Request", requested: offer.yiaddr, server: "127.0.0.1", xid }, dhcp);
  await until(() => server.counters.failedCommits === 3, "the failures");
  t.equal(relay.replies.length, 1, "no ACK");
  t.match(log.entries, [{ level: "warn", message: "failed to save a lease" }]);
  t.equal(log.entries.length, 1, "one warning");
  t.match(contacts.at(-1), {
    message: "REQUEST",
    reply: undefined,
    address: undefined,
    silence: "the lease could not be saved",
  });
  leases.fail(undefined);
  t.equal(
    typeOf(await relay.ask({ type: "Request", requested: offer.yiaddr, server: "127.0.0.1" }, dhcp)),
    "Ack",
  );
});

t.test("when the disk stands still the oldest REQUESTs give way, and what waits is bounded", async (t) => {
  const leases = createMemoryLeases();
  leases.block();
  const queue = createCommitQueue({ save: (lease) => leases.save(lease), inFlightLimit: 2, waitingLimit: 3 });
  const outcomes: string[] = [];
  for (let n = 1; n <= 7; n++) {
    const lease = {
      mac: macNumber(n),
      address: ip(`10.0.0.${n}`),
      grantedAt: 0,
      expiresAt: 1,
      state: "bound",
    } as const;
    queue.submit(lease, ({ kind }) => outcomes.push(`${n} ${kind}`));
  }
  t.strictSame(outcomes, ["3 dropped", "4 dropped"]);
  leases.release();
  await queue.idle();
  t.strictSame(outcomes.slice(2), ["1 saved", "2 saved", "5 saved", "6 saved", "7 saved"]);
  t.strictSame(
    leases.saved.map(({ address }) => address),
    ["10.0.0.1", "10.0.0.2", "10.0.0.5", "10.0.0.6", "10.0.0.7"],
    "in order",
  );
});

t.test(
  "stop sends the ACKs whose leases are on the way, and does not wait for ever for a disk that stands still",
  async (t) => {
    const { relay, dhcp, leases, server, clock } = await createDhcpLab(t);
    const offer = await relay.ask({ type: "Discover" }, dhcp);
    leases.block();
    relay.send({ type: "Request", requested: offer.yiaddr, server: "127.0.0.1" }, dhcp);
    await until(() => server.counters.received === 2, "the REQUEST");
    const stopping = server.stop();
    leases.release();
    await stopping;
    await until(() => relay.replies.length === 2, "the ACK");
    t.equal(clock.pendingTimers, 0);

    const stuck = await createDhcpLab(t);
    stuck.leases.block();
    stuck.relay.send({ type: "Request", requested: "10.0.0.10", server: "127.0.0.1" }, stuck.dhcp);
    await until(() => stuck.server.counters.received === 1, "the REQUEST");
    const ending = stuck.server.stop();
    stuck.clock.advanceMs(2000);
    await ending;
    stuck.leases.release();
    await sleep(20);
    t.equal(stuck.server.counters.replies, 0, "nothing is sent any more");
  },
);

t.test("a step of the wall clock ends no lease", async (t) => {
  let stepMs = 0;
  const manual = new ManualClock();
  const clock = {
    now: () => manual.now() + stepMs,
    monotonicMs: () => manual.monotonicMs(),
    after: manual.after.bind(manual),
  };
  const { relay, dhcp } = await createDhcpLab(t, { clock, last: "10.0.0.10" });
  await relay.lease({ mac: macNumber(1) }, dhcp);
  stepMs = 2 * 3_600_000;
  relay.send({ type: "Discover", mac: macNumber(2) }, dhcp);
  t.equal((await relay.lease({ mac: macNumber(1) }, dhcp)).yiaddr, "10.0.0.10");
  t.equal(relay.replies.length, 4, "the second machine was offered nothing");
});

t.test("an iPXE without HTTP is given ours, and not for ever", async (t) => {
  const { server, relay, dhcp, clock } = await createDhcpLab(t);
  const discover = async () =>
    (await relay.ask({ type: "Discover", options: clientOptions.ipxeWithoutHttp }, dhcp)).file;
  const ack = await relay.lease({ options: clientOptions.ipxeWithoutHttp, xid: 4711 }, dhcp);
  t.equal(ack.file, "tftp://127.0.0.1/undionly.kpxe", "in the OFFER and the ACK of one exchange");
  t.equal(await discover(), "tftp://127.0.0.1/undionly.kpxe", "a reply that was lost is asked for anew");
  server.machineProgressed(defaultMac, "loaded");
  t.equal(await discover(), "tftp://127.0.0.1/undionly.kpxe", "somebody may have switched it off and on");
  server.machineProgressed(defaultMac, "loaded");
  t.equal(await discover(), "", "it loaded ours twice and came back: no loop");
  clock.advanceMs(61_000);
  for (let round = 0; round < 8; round++)
    t.equal(await discover(), "tftp://127.0.0.1/undionly.kpxe", "a later boot");
  t.equal(await discover(), "", "what it loads may be out of our sight: eight times is a loop as well");
  await relay.ask({ type: "Discover", options: clientOptions.ipxe }, dhcp);
  t.equal(await discover(), "tftp://127.0.0.1/undionly.kpxe", "ours was heard: no loop");
});

t.test("a fault in a contact's consumer or in the lease store's reads stops nothing", async (t) => {
  const broken: Pick<LeaseRepository, "findByMac" | "findByAddress" | "all" | "save"> = {
    ...createMemoryLeases(),
    findByMac: (mac) => {
      if (mac === macNumber(666)) throw new Error("broken store");
      return undefined;
    },
  };
  const { relay, dhcp, log } = await createDhcpLab(t, {
    leases: broken,
    onContact: () => {
      throw new Error("broken consumer");
    },
  });
  relay.send({ type: "Discover", mac: macNumber(666) }, dhcp);
  t.equal(typeOf(await relay.lease({}, dhcp)), "Ack");
  t.match(log.entries[0], { level: "error", message: "failed to handle a DHCP packet" });
  t.match(log.entries[1], { level: "error", message: "failed to record a DHCP contact" });
});

t.test("10,000 random datagrams on both ports: the server lives, its memory is flat", async (t) => {
  const { relay, dhcp, pxe, server } = await createDhcpLab(t, { last: "10.0.255.250", onContact: () => {} });
  const valid = encodeMessage(
    requestMessage({ type: "Discover", giaddr: "127.0.0.1", options: clientOptions.ovmf }),
  );
  let seed = 42;
  // xorshift: the same datagrams in each run.
  function random(below: number): number {
    seed ^= seed << 13;
    seed ^= seed >>> 17;
    seed ^= seed << 5;
    return (seed >>> 0) % below;
  }
  async function flood(count: number): Promise<void> {
    const before = server.counters.received;
    for (let n = 0; n < count; n++) {
      const octets = random(2)
        ? valid.slice(0, 200 + random(valid.length - 199))
        : new Uint8Array(random(600));
      for (let change = random(12); change > 0; change--) octets[random(octets.length + 1)] = random(256);
      relay.sendRaw(octets, random(2) ? dhcp : pxe);
      if (n % 250 === 249) await until(() => server.counters.received === before + n + 1, "the datagrams");
    }
    relay.replies.length = 0;
  }
  await flood(3000);
  const heapBefore = liveHeapBytes();
  await flood(7000);
  const grownBytes = liveHeapBytes() - heapBefore;
  t.ok(grownBytes < 8_000_000, `${grownBytes} octets more after 7000`);
  t.ok(server.counters.malformed > 1000 && server.counters.ignored > 0, JSON.stringify(server.counters));
  t.equal(typeOf(await relay.lease({ mac: macNumber(1) }, dhcp)), "Ack", "healthy");
  t.match(await relay.ask({ type: "Request", ciaddr: "127.0.0.1", options: clientOptions.ovmf }, pxe), {
    file: "snponly.efi",
  });
});

t.test("1000 machines at once: 1000 different addresses, offers cost no write", async (t) => {
  const { relay, dhcp, leases } = await createDhcpLab(t, { last: "10.0.255.250" });
  const count = 1000;
  const offers: DhcpMessage[] = [];
  for (let machine = 0; machine < count; machine += 100) {
    offers.push(
      ...(await Promise.all(
        Array.from({ length: 100 }, (_, n) =>
          relay.ask({ type: "Discover", mac: macNumber(machine + n) }, dhcp),
        ),
      )),
    );
  }
  t.equal(new Set(offers.map(({ yiaddr }) => yiaddr)).size, count);
  t.equal(leases.saved.length, 0);
  const acks = await Promise.all(
    offers.map(({ yiaddr }, machine) =>
      relay.ask({ type: "Request", mac: macNumber(machine), requested: yiaddr, server: "127.0.0.1" }, dhcp),
    ),
  );
  t.ok(acks.every((ack, machine) => typeOf(ack) === "Ack" && ack.yiaddr === offers[machine]?.yiaddr));
  t.equal(new Set(leases.saved.map(({ address }) => address)).size, count);
});
