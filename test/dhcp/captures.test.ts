import { readdirSync, readFileSync } from "node:fs";
import { join, resolve } from "node:path";
import fc from "fast-check";
import t from "tap";
import { classifyClient } from "../../server/dhcp/policy/classify-client.ts";
import { clientMessageType, decideReply } from "../../server/dhcp/policy/decide-reply.ts";
import type { DhcpPolicy, Facts } from "../../server/dhcp/policy/decision.ts";
import { BootReply, decodeMessage, type DhcpMessage, encodeMessage } from "../../server/dhcp/wire/message.ts";
import { parseCidr } from "../../server/net/cidr.ts";
import { ip } from "../support/dhcp-messages.ts";
import { type CapturedDatagram, readPcap, writePcap } from "../support/pcap.ts";

/** What stands beside a capture. */
interface Sidecar {
  readonly hardware: string;
  readonly recorded: string;
  readonly mode: "authoritative" | "proxy";
  /** One entry for each message of a client, in order. */
  readonly expected: readonly Record<string, unknown>[];
}

const fixtures = resolve(import.meta.dirname, "../fixtures/captures");
const names = readdirSync(fixtures)
  .filter((name) => name.endsWith(".pcap"))
  .map((name) => name.slice(0, -".pcap".length));
const subnet = parseCidr("10.77.0.0/24");
if (!subnet) throw new Error("bad CIDR");
const server = ip("10.77.0.1");

function decide({ payload, from, to }: CapturedDatagram, mode: Sidecar["mode"]) {
  const request = decodeMessage(payload);
  const type = clientMessageType(request);
  const client = type && classifyClient(request);
  if (!type || !client || !subnet) return undefined;
  const policy: DhcpPolicy = {
    mode,
    subnets: [{ subnet, range: { from: ip("10.77.0.100"), to: ip("10.77.0.199") }, leaseSeconds: 3600 }],
    serverAddresses: new Set([server]),
    availableNbps: new Set(["undionly.kpxe", "snponly.efi", "ipxe.efi", "ipxe-arm64.efi", "grubaa64.efi"]),
    relayPort: 67,
    clientPort: 68,
  };
  const facts: Facts = {
    now: 0,
    reservation: undefined,
    lease: undefined,
    offered: undefined,
    isAvailable: () => true,
    nextFree: () => ip("10.77.0.100"),
    service: to.port === 4011 ? "pxe" : "dhcp",
    serverAddress: server,
    source: from,
    urls: { script: `http://${server}:8080/boot.ipxe`, nbp: (name) => `http://${server}:8080/nbp/${name}` },
    mayNetboot: true,
    chainedBefore: false,
    declinedCount: 0,
  };
  return { type, client, port: to.port, decision: decideReply(type, request, client, facts, policy) };
}

function describe(datagram: CapturedDatagram, mode: Sidecar["mode"]): Record<string, unknown> | undefined {
  const made = decide(datagram, mode);
  if (!made) return undefined;
  const { type, client, port, decision } = made;
  const said = { message: type, port, speaker: client.speaker, firmware: client.firmware?.name };
  return decision.kind === "silence"
    ? { ...said, silence: decision.reason, foreignServer: decision.foreignServer }
    : { ...said, reply: decision.message, bootfile: decision.bootfile, strategy: decision.strategy };
}

/** What decides whether firmware goes on with a reply. */
const essence = ({ file, siaddr, sname, options }: DhcpMessage) => ({
  file,
  siaddr,
  sname,
  ...Object.fromEntries(
    [43, 53, 60, 66, 67, 97, 175].map((code) => [code, Buffer.from(options.get(code) ?? []).toString("hex")]),
  ),
});

t.ok(names.length >= 5, "the captures are there");
for (const name of names) {
  const sidecar = JSON.parse(readFileSync(join(fixtures, `${name}.json`), "utf8")) as Sidecar;
  const datagrams = readPcap(readFileSync(join(fixtures, `${name}.pcap`)));
  t.test(`${name}: each message of ${sidecar.hardware} is decided as expected`, (t) => {
    const decisions = datagrams.map((datagram) => describe(datagram, sidecar.mode)).filter((one) => one);
    t.strictSame(JSON.parse(JSON.stringify(decisions)), sidecar.expected);
    t.end();
  });
  t.test(`${name}: our reply says what the firmware went on with when it was recorded`, (t) => {
    for (const recorded of datagrams) {
      const reply = decodeMessage(recorded.payload);
      if (reply.op !== BootReply || recorded.from.address !== server) continue;
      const asked = datagrams
        .filter(({ atMs, payload }) => atMs < recorded.atMs && decodeMessage(payload).xid === reply.xid)
        .findLast(
          ({ payload, to }) =>
            decodeMessage(payload).op !== BootReply && (to.port === 4011) === (recorded.from.port === 4011),
        );
      const decision = asked && decide(asked, sidecar.mode)?.decision;
      if (decision?.kind !== "reply") {
        t.fail("what was answered then is not answered now");
        continue;
      }
      t.strictSame(essence(decodeMessage(encodeMessage(decision.packet))), essence(reply));
    }
    t.end();
  });
}

t.test("a capture is the same after write and read", (t) => {
  const endpoint = fc.record({
    address: fc.ipV4(),
    port: fc.integer({ min: 0, max: 65_535 }),
  });
  const datagram = fc.record({
    atMs: fc.integer({ min: 0, max: 4_000_000_000_000 }),
    from: endpoint,
    to: endpoint,
    payload: fc.uint8Array({ maxLength: 1400 }),
  });
  fc.assert(
    fc.property(fc.array(datagram, { maxLength: 5 }), (datagrams) => {
      const read = readPcap(writePcap(datagrams));
      const text = (all: readonly CapturedDatagram[]) =>
        all.map(({ payload, ...rest }) => JSON.stringify([rest, [...payload]])).join("\n");
      t.equal(text(read), text(datagrams));
    }),
    { numRuns: 50 },
  );
  t.throws(() => readPcap(new Uint8Array(10)), /not a pcap/);
  t.end();
});
