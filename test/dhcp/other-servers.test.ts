import { setTimeout as sleep } from "node:timers/promises";
import t from "tap";
import type { Udp, UdpEndpoint } from "../../server/domain/capabilities.ts";
import type { NewEvent } from "../../server/domain/event.ts";
import type { Mac } from "../../server/net/mac.ts";
import { createNotices } from "../../server/dhcp/notices.ts";
import { createAddressProber } from "../../server/dhcp/probe-addresses.ts";
import { createServerProbe, probeMacOf } from "../../server/dhcp/probe-servers.ts";
import { BroadcastFlag, decodeMessage, encodeMessage } from "../../server/dhcp/wire/message.ts";
import { silentLog } from "../../server/platform/logger.ts";
import { clientOptions, ip, macNumber, macOf, requestMessage } from "../support/dhcp-messages.ts";
import { createDhcpLab, until } from "../support/dhcp-lab.ts";
import { startDhcpProcess } from "../support/dhcp-process.ts";
import { ManualClock } from "../support/manual-clock.ts";
import { createUdpProbe } from "../support/udp-probe-client.ts";
import { createLan } from "../support/namespaces.ts";

const eventsOf = (events: readonly NewEvent[], type: NewEvent["type"]) =>
  events.filter((event) => event.type === type);

t.test("proxy: the server that clients choose is told once an hour, as what is expected", async (t) => {
  const events: NewEvent[] = [];
  const { relay, dhcp, clock, contacts } = await createDhcpLab(t, {
    mode: "proxy",
    subnets: [],
    record: (event) => events.push(event),
  });
  for (let n = 1; n <= 20; n++)
    relay.send(
      { type: "Request", mac: macNumber(n), server: "10.0.0.9", requested: `10.0.0.${n + 20}` },
      dhcp,
    );
  await until(() => contacts.length === 20, "the REQUESTs");
  t.match(eventsOf(events, "dhcp.other-server"), [{ level: "info", data: { server: "10.0.0.9" } }]);
  clock.advanceMs(3_601_000);
  relay.send({ type: "Request", server: "10.0.0.9", requested: "10.0.0.20" }, dhcp);
  await until(() => contacts.length === 21, "the REQUEST");
  t.equal(eventsOf(events, "dhcp.other-server").length, 2);
});

t.test("authoritative: another server that a client chose is an alarm (firmware-quirk Q37)", async (t) => {
  const events: NewEvent[] = [];
  const { relay, dhcp, contacts } = await createDhcpLab(t, { record: (event) => events.push(event) });
  for (let n = 1; n <= 40; n++)
    relay.send({ type: "Request", mac: macNumber(n), server: `10.9.0.${n}`, requested: "10.0.0.20" }, dhcp);
  await until(() => contacts.length === 40, "the REQUESTs");
  const told = eventsOf(events, "dhcp.other-server");
  t.match(told[0], { level: "alarm", data: { server: "10.9.0.1", how: "chosen by a client" } });
  t.equal(told.length, 16, "who makes up server addresses does not fill the log");
});

t.test(
  "proxy: machines ask and nobody gives addresses: one warning an hour; none where somebody does",
  (t) => {
    const clock = new ManualClock();
    const events: NewEvent[] = [];
    const notices = createNotices({
      clock,
      log: silentLog,
      mode: "proxy",
      record: (event) => events.push(event),
    });
    notices.addressAsked();
    clock.advanceMs(4000);
    notices.addressAsked();
    clock.advanceMs(8000);
    notices.addressAsked();
    t.equal(events.length, 0, "another server may be slow");
    clock.advanceMs(20_000);
    for (let n = 0; n < 100; n++) notices.addressAsked();
    t.match(events, [{ type: "dhcp.no-server", level: "warning", data: { times: 4 } }]);
    clock.advanceMs(3_600_000);
    notices.otherServer(ip("10.0.0.9"), undefined, "chosen by a client");
    for (let n = 0; n < 10; n++) {
      notices.addressAsked();
      clock.advanceMs(10_000);
    }
    t.equal(eventsOf(events, "dhcp.no-server").length, 1);
    t.end();
  },
);

/** Sockets by hand: what they sent, and what they hear. */
function handUdp(refuse = false) {
  const sent: { datagram: Uint8Array; to: UdpEndpoint }[] = [];
  const open = new Set<number>();
  let hear = (_datagram: Uint8Array): void => {};
  const udp: Udp = {
    async bind({ port }) {
      if (refuse) throw new Error("in use");
      open.add(port);
      return {
        local: { address: "0.0.0.0", port },
        send: (datagram, to) => void sent.push({ datagram, to }),
        onMessage: (handler) => (hear = (datagram) => handler(datagram, { address: "10.0.0.9", port: 67 })),
        close: async () => void open.delete(port),
      };
    },
  };
  return { udp, sent, open, hear: (datagram: Uint8Array) => hear(datagram) };
}

t.test(
  "the probe for servers asks at the start and every ten minutes, and holds port 68 only meanwhile",
  async (t) => {
    const clock = new ManualClock();
    const { udp, sent, open, hear } = handUdp();
    const found: string[] = [];
    const mac = probeMacOf(ip("10.0.0.1"));
    const probe = createServerProbe({
      udp,
      clock,
      log: silentLog,
      device: "eth0",
      mac,
      serverAddresses: new Set([ip("10.0.0.1")]),
      serverPort: 67,
      clientPort: 68,
      onServer: (address) => found.push(address),
    });
    await probe.start();
    t.strictSame([...open], [68]);
    const discover = decodeMessage(sent[0]?.datagram ?? new Uint8Array());
    t.match(discover, { flags: BroadcastFlag, giaddr: "0.0.0.0", ciaddr: "0.0.0.0" });
    t.equal(mac, "02:52:0a:00:00:01", "locally administered (IEEE 802 s.8.2)");
    const offer = (server: string, yiaddr: string, xid = discover.xid) =>
      encodeMessage({
        ...requestMessage({ type: "Offer", server, xid }),
        op: 2,
        yiaddr: ip(yiaddr),
      });
    hear(offer("10.0.0.9", "10.0.0.50"));
    hear(offer("10.0.0.1", "10.0.0.51"));
    hear(offer("10.0.0.8", "0.0.0.0"));
    hear(offer("10.0.0.7", "10.0.0.52", 1));
    hear(Uint8Array.of(1, 2, 3));
    t.strictSame(found, ["10.0.0.9"], "not ourselves, no proxy, no answer to somebody else");
    clock.advanceMs(4000);
    t.equal(sent.length, 2, "repeated once");
    await Promise.resolve();
    t.equal(open.size, 0);
    clock.advanceMs(596_000);
    await Promise.resolve();
    await Promise.resolve();
    t.equal(sent.length, 3);
    await probe.stop();
    t.equal(open.size, 0);
    t.equal(clock.pendingTimers, 0);
  },
);

t.test("where a DHCP client of the host has port 68 it is left alone", async (t) => {
  const clock = new ManualClock();
  const debugged: string[] = [];
  const probe = createServerProbe({
    udp: handUdp(true).udp,
    clock,
    log: { ...silentLog, debug: (_fields, message) => debugged.push(message) },
    device: "eth0",
    mac: probeMacOf(ip("10.0.0.1")),
    serverAddresses: new Set(),
    serverPort: 67,
    clientPort: 68,
    onServer: () => t.fail("nobody was asked"),
  });
  await probe.start();
  t.match(debugged, [/client port is taken/]);
  await probe.stop();
  t.equal(clock.pendingTimers, 0);
});

/** A prober over a neighbour table by hand. */
async function proberLab(former: Readonly<Record<string, Mac>> = {}) {
  const clock = new ManualClock();
  const hand = handUdp();
  const neighbours = new Map<string, Mac>();
  const taken: string[] = [];
  const routers: Mac[] = [];
  const pool = Array.from({ length: 100 }, (_, n) => ip(`10.0.0.${n + 10}`));
  const prober = createAddressProber({
    udp: hand.udp,
    clock,
    log: silentLog,
    device: "eth0",
    neighbours: () => neighbours,
    upcoming: (count) => pool.slice(0, count),
    formerHolder: (address) => former[address],
    onTaken: (address, holder) => taken.push(`${address} ${holder}`),
    onProxyArp: (holder) => routers.push(holder),
  });
  await prober.start();
  const probed = () => new Set(hand.sent.map(({ to }) => to.address));
  return { ...hand, clock, neighbours, taken, routers, prober, probed };
}
const stranger = macOf("02:00:00:00:00:99");

t.test(
  "the next addresses of a pool are probed ahead, a batch at a time; one that answers is taken (RFC 2131 s.3.1)",
  async (t) => {
    const { clock, neighbours, taken, prober, probed, sent } = await proberLab();
    t.equal(probed().size, 16, "at once");
    t.ok(
      sent.every(({ to }) => to.port === 9),
      "discard (RFC 863)",
    );
    neighbours.set("10.0.0.12", stranger);
    clock.advanceMs(250);
    t.strictSame(taken, [`10.0.0.12 ${stranger}`]);
    t.equal(prober.holderOf(ip("10.0.0.12")), stranger);
    t.equal(prober.holderOf(ip("10.0.0.11")), undefined);
    clock.advanceMs(2000);
    t.equal(probed().size, 64, "no more than the kernel's table bears");
    neighbours.clear();
    clock.advanceMs(125_000);
    t.equal(prober.holderOf(ip("10.0.0.12")), undefined, "it went away");
    await prober.stop();
    t.equal(clock.pendingTimers, 0);
  },
);

t.test("an old entry of the neighbour table counts when the kernel has made sure of it", async (t) => {
  const { clock, neighbours, taken, prober } = await proberLab({ "10.0.0.30": stranger });
  // Before its turn in the second batch.
  neighbours.set("10.0.0.27", stranger);
  neighbours.set("10.0.0.28", stranger);
  neighbours.set("10.0.0.30", stranger);
  clock.advanceMs(500);
  t.strictSame(taken, [], "nothing is said yet");
  t.equal(prober.holderOf(ip("10.0.0.28")), stranger, "but it is not offered meanwhile");
  neighbours.delete("10.0.0.27");
  clock.advanceMs(15_000);
  t.equal(prober.holderOf(ip("10.0.0.27")), undefined);
  t.strictSame(
    taken,
    [`10.0.0.28 ${stranger}`],
    "whose lease it was is no stranger, though its address is kept",
  );
  t.equal(prober.holderOf(ip("10.0.0.30")), stranger);
  await prober.stop();
});

t.test("a router that answers ARP for everybody does not empty the pool", async (t) => {
  const { clock, neighbours, taken, routers, prober } = await proberLab();
  for (let n = 10; n < 110; n++) neighbours.set(`10.0.0.${n}`, stranger);
  clock.advanceMs(20_000);
  t.strictSame(routers, [stranger], "said once");
  t.equal(taken.length, 4);
  for (let n = 10; n < 74; n++) t.equal(prober.holderOf(ip(`10.0.0.${n}`)), undefined);
  await prober.stop();
});

t.test("on a real network: a real other server is found, and an address in use is not offered", async (t) => {
  const lan = createLan(t, {
    server: { s0: "lan 10.72.0.1/24" },
    campus: { e0: "lan 10.72.0.254/24" },
    squatter: { q0: "lan 10.72.0.100/24" },
    client: { c0: "lan" },
  });
  lan.start("campus", [
    "dnsmasq",
    "--no-daemon",
    "--conf-file=/dev/null",
    "--port=0",
    "--interface=e0",
    "--bind-interfaces",
    "--dhcp-range=10.72.0.200,10.72.0.220,1h",
    `--dhcp-leasefile=${t.testdir()}/leases`,
  ]);
  await sleep(1000);
  const server = await startDhcpProcess(lan, {
    mode: "authoritative",
    device: "s0",
    address: "10.72.0.1",
    subnet: { cidr: "10.72.0.0/24", from: "10.72.0.100", to: "10.72.0.120", leaseSeconds: 3600 },
  });
  const other = await server.event((event) => event.type === "dhcp.other-server", "the other server");
  t.match(other, { level: "alarm", data: { server: "10.72.0.254", device: "s0", how: "answered a probe" } });
  const conflict = await server.event((event) => event.type === "dhcp.conflict", "the address in use");
  const squatter = lan.run("squatter", "cat", "/sys/class/net/q0/address").trim();
  t.match(conflict, { level: "warning", data: { address: "10.72.0.100", holder: squatter } });
  const probe = createUdpProbe(lan, "client");
  const { socket } = await probe.bind({ device: "c0", port: 68, broadcast: true });
  const discover = encodeMessage(
    requestMessage({ type: "Discover", flags: BroadcastFlag, options: clientOptions.linux }),
  );
  await probe.send(socket, discover, { address: "255.255.255.255", port: 67 });
  const contact = await server.contact(({ message }) => message === "DISCOVER", "the DISCOVER");
  t.equal(contact.address, "10.72.0.101", "the first of the pool is passed over; our own probe is no client");
});
