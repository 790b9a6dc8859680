import fc from "fast-check";
import t from "tap";
import { parseCidr } from "../../server/net/cidr.ts";
import type { Lease } from "../../server/domain/lease.ts";
import { BroadcastFlag } from "../../server/dhcp/wire/message.ts";
import { decodeMessage, encodeMessage } from "../../server/dhcp/wire/message.ts";
import { textFromOctets } from "../../server/dhcp/wire/options.ts";
import { classifyClient } from "../../server/dhcp/policy/classify-client.ts";
import {
  type ClientMessageType,
  clientMessageType,
  decideReply,
} from "../../server/dhcp/policy/decide-reply.ts";
import type { Decision, DhcpPolicy, Facts, Reply, Silence } from "../../server/dhcp/policy/decision.ts";
import type { Subnet } from "../../server/dhcp/policy/subnet.ts";
import {
  clientOptions,
  defaultMac,
  ip,
  machineId,
  requestMessage,
  type RequestShape,
} from "../support/dhcp-messages.ts";

const server = ip("10.0.0.1");
const now = 1_700_000_000_000;
const subnet = parseCidr("10.0.0.0/24");
if (!subnet) throw new Error("bad CIDR");
const lab: Subnet = {
  subnet,
  range: { from: ip("10.0.0.100"), to: ip("10.0.0.199") },
  router: ip("10.0.0.254"),
  dns: [ip("10.0.0.53"), ip("10.0.0.54")],
  domain: "lab.test",
  leaseSeconds: 3600,
};
const authoritative: DhcpPolicy = {
  mode: "authoritative",
  subnets: [lab],
  serverAddresses: new Set([server, ip("10.1.0.1")]),
  availableNbps: new Set(["undionly.kpxe", "snponly.efi", "snponly-arm64.efi"]),
  relayPort: 67,
  clientPort: 68,
};
const proxy: DhcpPolicy = { ...authoritative, mode: "proxy", subnets: [] };
const quiet: Facts = {
  now,
  reservation: undefined,
  lease: undefined,
  offered: undefined,
  isAvailable: () => true,
  nextFree: () => ip("10.0.0.100"),
  service: "dhcp",
  serverAddress: server,
  source: { address: "0.0.0.0", port: 68 },
  urls: { script: "http://10.0.0.1:8080/boot.ipxe", nbp: (name) => `http://10.0.0.1:8080/nbp/${name}` },
  mayNetboot: true,
  chainedBefore: false,
  declinedCount: 0,
};
const leaseOf = (address: string, more: Partial<Lease> = {}): Lease => ({
  mac: defaultMac,
  address: ip(address),
  grantedAt: now - 1000,
  expiresAt: now + 1000,
  state: "bound",
  ...more,
});

function decide(shape: RequestShape, facts: Partial<Facts> = {}, policy = authoritative): Decision {
  const request = requestMessage(shape);
  const type = clientMessageType(request);
  const client = classifyClient(request);
  if (!type || !client) throw new Error("not a client's message");
  return decideReply(type, request, client, { ...quiet, ...facts }, policy);
}
function replyTo(shape: RequestShape, facts: Partial<Facts> = {}, policy = authoritative): Reply {
  const decision = decide(shape, facts, policy);
  if (decision.kind !== "reply") throw new Error(`silence: ${decision.reason}`);
  return decision;
}
function silenceOn(shape: RequestShape, facts: Partial<Facts> = {}, policy = authoritative): Silence {
  const decision = decide(shape, facts, policy);
  if (decision.kind !== "silence") throw new Error(`answered with ${decision.message}`);
  return decision;
}
const codes = ({ packet }: Reply): number[] => [...packet.options.keys()];
const text = ({ packet }: Reply, code: number): string =>
  textFromOctets(packet.options.get(code) ?? new Uint8Array());
const octets = ({ packet }: Reply, code: number): number[] => [...(packet.options.get(code) ?? [])];

t.test(
  "what no client sends is not answered: replies, BOOTP, packets that go in circles (RFC 2131 s.2, RFC 1542 s.4.1.1)",
  (t) => {
    const discover = requestMessage({ type: "Discover" });
    t.equal(clientMessageType(discover), "DISCOVER");
    t.equal(clientMessageType({ ...discover, op: 2 }), undefined);
    t.equal(clientMessageType({ ...discover, options: new Map() }), undefined);
    t.equal(clientMessageType(requestMessage({ type: "Offer" })), undefined);
    t.equal(clientMessageType(requestMessage({ type: "Inform" })), undefined, "without ciaddr (s.4.4.3)");
    t.equal(clientMessageType(requestMessage({ type: "Discover", hops: 16 })), "DISCOVER");
    t.equal(clientMessageType(requestMessage({ type: "Discover", hops: 17 })), undefined);
    t.end();
  },
);

t.test(
  "DISCOVER of an ordinary client: address, lease, network, nothing of booting (RFC 2131 table 3)",
  (t) => {
    const offer = replyTo({ type: "Discover", secs: 7, flags: BroadcastFlag, options: clientOptions.linux });
    t.match(offer, {
      message: "OFFER",
      address: "10.0.0.100",
      commit: undefined,
      to: { address: "255.255.255.255", port: 68 },
    });
    t.match(offer.packet, {
      op: 2,
      hops: 0,
      secs: 0,
      flags: BroadcastFlag,
      yiaddr: "10.0.0.100",
      ciaddr: "0.0.0.0",
      siaddr: "0.0.0.0",
      file: "",
    });
    t.strictSame(
      codes(offer),
      [53, 54, 51, 1, 28, 3, 15, 6, 61],
      "asked for first and in the client's order",
    );
    t.strictSame(octets(offer, 61), clientOptions.linux[61], "61 echoed unaltered (RFC 6842)");
    t.strictSame(octets(offer, 6), [10, 0, 0, 53, 10, 0, 0, 54]);
    t.end();
  },
);

t.test(
  "only what was asked for is sent, beside what is mandatory; a client without option 55 gets all",
  (t) => {
    t.strictSame(codes(replyTo({ type: "Discover", options: { 55: [6] } })), [53, 54, 51, 6, 1]);
    t.strictSame(codes(replyTo({ type: "Discover" })), [53, 54, 51, 1, 3, 6, 15, 28, 58, 59]);
    const timers = replyTo({ type: "Discover", options: { 55: [59, 58] } });
    t.strictSame(
      [octets(timers, 58), octets(timers, 59), octets(timers, 51)],
      [
        [0, 0, 7, 8],
        [0, 0, 12, 78],
        [0, 0, 14, 16],
      ],
      "T1 < T2 < lease (s.4.4.5)",
    );
    const forEver = { ...authoritative, subnets: [{ ...lab, leaseSeconds: 0xffffffff }] };
    const endless = replyTo({ type: "Discover", options: { 55: [58, 59] } }, {}, forEver);
    t.strictSame(
      [codes(endless), octets(endless, 51)],
      [
        [53, 54, 51, 1],
        [255, 255, 255, 255],
      ],
      "a lease without end has no timers",
    );
    t.end();
  },
);

t.test(
  "boot options of an authoritative server: file, siaddr, 66, 67, 60, 97, 43.6 (firmware-quirks Q6, Q8, Q9)",
  (t) => {
    for (const [options, bootfile] of [
      [clientOptions.bios, "undionly.kpxe"],
      [clientOptions.ovmf, "snponly.efi"],
    ] as const) {
      const offer = replyTo({ type: "Discover", options });
      t.match(offer, { bootfile, packet: { siaddr: "10.0.0.1", sname: "10.0.0.1", file: bootfile } });
      t.equal(text(offer, 60), "PXEClient");
      t.equal(text(offer, 66), "10.0.0.1");
      t.equal(text(offer, 67), `${bootfile}\0`, "a NUL for ROMs that read a C string");
      t.strictSame(octets(offer, 43), [6, 1, 8, 255]);
      t.strictSame(octets(offer, 97), [...machineId]);
      t.equal(codes(offer).at(-1), 67);
      t.notOk(codes(offer).includes(175));
    }
    t.end();
  },
);

t.test("iPXE gets the script and need not wait for a proxy: 175.176 = 1 (firmware-quirk Q13)", (t) => {
  const offer = replyTo({ type: "Discover", options: clientOptions.ipxe });
  t.match(offer, { bootfile: quiet.urls.script, packet: { file: quiet.urls.script, siaddr: "10.0.0.1" } });
  t.strictSame(octets(offer, 175), [176, 1, 1]);
  t.equal(text(offer, 67), `${quiet.urls.script}\0`);
  t.end();
});

t.test("UEFI HTTP boot: URL and HTTPClient, nothing of TFTP (firmware-quirk Q10)", (t) => {
  for (const [policy, yiaddr] of [
    [authoritative, "10.0.0.100"],
    [proxy, "0.0.0.0"],
  ] as const) {
    const offer = replyTo({ type: "Discover", options: clientOptions.ovmfHttp }, {}, policy);
    t.match(offer, { bootfile: "http://10.0.0.1:8080/nbp/snponly.efi", packet: { yiaddr } });
    t.equal(text(offer, 60), "HTTPClient");
    t.equal(text(offer, 67), "http://10.0.0.1:8080/nbp/snponly.efi\0");
    t.notOk(codes(offer).includes(66) || codes(offer).includes(43));
  }
  t.end();
});

t.test("a bootfile too long for the header goes into option 67 alone", (t) => {
  const script = `http://10.0.0.1/${"x".repeat(120)}`;
  const offer = replyTo(
    { type: "Discover", options: clientOptions.ipxe },
    { urls: { ...quiet.urls, script } },
    proxy,
  );
  t.equal(offer.packet.file, "");
  t.equal(text(offer, 67), `${script}\0`);
  t.end();
});

t.test(
  "a reply is no longer than the client takes; the boot file is never left out (RFC 2132 s.9.10)",
  (t) => {
    const domain = "d".repeat(250);
    const wide = { ...authoritative, subnets: [{ ...lab, domain }] };
    const options = { ...clientOptions.bios, 61: new Uint8Array(60).fill(1) };
    const small = replyTo({ type: "Discover", options: { ...options, 57: [2, 64] } }, {}, wide);
    t.ok(encodeMessage(small.packet).length <= 548, "576 with IP and UDP");
    t.notOk(codes(small).includes(15));
    t.equal(small.packet.file, "undionly.kpxe");
    t.ok(codes(small).includes(67));
    t.ok(
      codes(replyTo({ type: "Discover", options: { ...options, 57: [5, 220] } }, {}, wide)).includes(15),
      "1500",
    );
    t.ok(
      encodeMessage(replyTo({ type: "Discover", options: { ...options, 57: [255, 255] } }, {}, wide).packet)
        .length <= 1472,
      "one Ethernet frame",
    );
    t.end();
  },
);

t.test("option 82 comes back octet by octet and last, in OFFER, ACK and NAK (RFC 3046 s.2.2)", (t) => {
  const options = { ...clientOptions.bios, 82: [1, 3, 0, 255, 9, 250, 2, 7, 7] };
  const giaddr = "10.0.0.254";
  const replies = [
    replyTo({ type: "Discover", giaddr, options }),
    replyTo({ type: "Request", giaddr, options, server, requested: "10.0.0.100" }),
    replyTo({ type: "Request", giaddr, options, requested: "172.16.0.1" }),
  ];
  t.strictSame(
    replies.map(({ message }) => message),
    ["OFFER", "ACK", "NAK"],
  );
  for (const reply of replies) {
    t.equal(codes(reply).at(-1), 82);
    t.strictSame(octets(reply, 82), options[82]);
    t.match(reply, { to: { address: giaddr, port: 67 }, packet: { giaddr } });
  }
  t.end();
});

t.test(
  "no free address: silence and an alarm; a reservation is served all the same (RFC 2131 s.4.3.1)",
  (t) => {
    const full = { nextFree: () => undefined };
    t.match(silenceOn({ type: "Discover" }, full), { alarm: "pool-exhausted" });
    t.equal(replyTo({ type: "Discover" }, { ...full, reservation: ip("10.0.0.5") }).address, "10.0.0.5");
    t.end();
  },
);

t.test("where no subnet is configured there is silence", (t) => {
  t.match(silenceOn({ type: "Discover" }, { serverAddress: ip("172.20.0.1") }), {
    reason: "no subnet is configured for where it came from",
  });
  t.match(silenceOn({ type: "Discover", giaddr: "192.0.2.1" }), { reason: "relay agent is not configured" });
  t.end();
});

t.test(
  "SELECTING us: ACK with the offered address, and a lease to be written before (RFC 2131 s.4.3.2)",
  (t) => {
    const ack = replyTo(
      { type: "Request", server, requested: "10.0.0.120", options: clientOptions.linux },
      { offered: ip("10.0.0.120") },
    );
    t.match(ack, {
      message: "ACK",
      address: "10.0.0.120",
      packet: { yiaddr: "10.0.0.120", ciaddr: "0.0.0.0" },
    });
    t.strictSame(ack.commit, {
      mac: defaultMac,
      address: "10.0.0.120",
      grantedAt: now,
      expiresAt: now + 3_600_000,
      state: "bound",
      hostname: "seat-1",
    });
    t.match(
      replyTo({ type: "Request", server: "10.1.0.1", requested: "10.0.0.120" }),
      { message: "ACK" },
      "any of our addresses is us",
    );
    t.end();
  },
);

t.test("a host name is kept for display, printable and short", (t) => {
  const ack = replyTo({
    type: "Request",
    server,
    requested: "10.0.0.120",
    options: { 12: `a\x1b[2J\nb${"c".repeat(100)}` },
  });
  t.equal(ack.commit?.hostname, `a[2Jb${"c".repeat(58)}`);
  t.end();
});

t.test(
  "SELECTING another server: silent, the offer is free again, and we learn where the machine is",
  (t) => {
    for (const policy of [authoritative, proxy]) {
      const options = policy.mode === "proxy" ? clientOptions.bios : clientOptions.linux;
      t.match(
        silenceOn({ type: "Request", server: "10.0.0.9", requested: "10.0.0.44", options }, {}, policy),
        {
          foreignServer: "10.0.0.9",
          address: "10.0.0.44",
          withdrawsOffer: policy.mode === "authoritative",
        },
      );
    }
    t.end();
  },
);

t.test(
  "SELECTING us with an address that is another's or none of ours: NAK with 53, 54, 56, 61 only (table 3)",
  (t) => {
    const taken = replyTo(
      { type: "Request", server, requested: "10.0.0.120", options: clientOptions.linux },
      { isAvailable: () => false },
    );
    t.match(taken, {
      message: "NAK",
      commit: undefined,
      address: undefined,
      packet: { yiaddr: "0.0.0.0", ciaddr: "0.0.0.0" },
    });
    t.strictSame(codes(taken), [53, 54, 56, 61]);
    t.equal(
      replyTo({ type: "Request", server, requested: "10.0.0.7" }).message,
      "NAK",
      "outside of the range",
    );
    t.equal(
      replyTo({ type: "Request", server, requested: "10.0.0.7" }, { reservation: ip("10.0.0.7") }).message,
      "ACK",
      "but reserved for it",
    );
    t.equal(replyTo({ type: "Request", server, requested: "192.0.2.7" }).message, "NAK");
    t.equal(silenceOn({ type: "Request", server }).reason, "REQUEST without an address");
    t.end();
  },
);

t.test(
  "INIT-REBOOT: right address ACK, wrong one NAK, a lost lease is taken over if free (RFC 2131 s.4.3.2)",
  (t) => {
    const reboot = (requested: string, facts: Partial<Facts> = {}) =>
      replyTo({ type: "Request", requested }, facts).message;
    t.equal(reboot("10.0.0.120", { lease: leaseOf("10.0.0.120") }), "ACK");
    t.equal(reboot("10.0.0.120", { lease: leaseOf("10.0.0.130") }), "NAK", "another address than its lease");
    t.equal(
      reboot("10.0.0.120", { reservation: ip("10.0.0.5"), lease: leaseOf("10.0.0.120") }),
      "NAK",
      "a reservation waits",
    );
    t.equal(reboot("192.168.1.7"), "NAK", "wrong network");
    t.equal(reboot("10.0.0.120"), "ACK", "unknown and free");
    t.equal(reboot("10.0.0.120", { isAvailable: () => false }), "NAK");
    t.match(
      replyTo({ type: "Request", requested: "192.168.1.7", giaddr: "10.0.0.254" }).packet,
      { flags: BroadcastFlag },
      "the relay broadcasts it",
    );
    t.end();
  },
);

t.test(
  "RENEWING and REBINDING: ACK to the client's address, NAK if it is not its own (RFC 2131 s.4.3.2)",
  (t) => {
    const ack = replyTo({ type: "Request", ciaddr: "10.0.0.120" }, { lease: leaseOf("10.0.0.120") });
    t.match(ack, {
      message: "ACK",
      to: { address: "10.0.0.120", port: 68 },
      packet: { ciaddr: "10.0.0.120", yiaddr: "10.0.0.120" },
    });
    t.equal(ack.commit?.expiresAt, now + 3_600_000);
    t.match(replyTo({ type: "Request", ciaddr: "10.0.0.120" }, { isAvailable: () => false }), {
      message: "NAK",
      to: { address: "255.255.255.255" },
    });
    t.equal(
      replyTo({ type: "Request", ciaddr: "10.0.0.7" }, { lease: leaseOf("10.0.0.7") }).message,
      "ACK",
      "the range was changed since",
    );
    t.equal(
      replyTo({ type: "Request", ciaddr: "192.168.1.7" }, { lease: leaseOf("192.168.1.7") }).message,
      "NAK",
      "the network was",
    );
    t.equal(
      replyTo(
        { type: "Request", ciaddr: "10.0.0.120" },
        { lease: leaseOf("10.0.0.120"), reservation: ip("10.0.0.5") },
      ).message,
      "ACK",
      "a running machine keeps its address",
    );
    t.end();
  },
);

t.test(
  "a lease of a moment ago is confirmed with the time that is left, and not written again (RFC 2131 s.4.3.1)",
  (t) => {
    const request = { type: "Request", server, requested: "10.0.0.120" } as const;
    const fresh = leaseOf("10.0.0.120", { grantedAt: now - 20_000, expiresAt: now + 3_580_000 });
    const ack = replyTo(request, { lease: fresh });
    t.match(ack, { message: "ACK", commit: undefined, packet: { yiaddr: "10.0.0.120" } });
    t.same(octets(ack, 51), [0, 0, 13, 252], "3,580 s");
    const written = (facts: Partial<Facts>, shape: Partial<RequestShape> = {}) =>
      replyTo({ ...request, ...shape }, facts).commit?.expiresAt;
    const whole = now + 3_600_000;
    t.equal(written({ lease: fresh, isBeingSaved: true }), whole, "it is not on the disk yet");
    t.equal(
      written({ lease: leaseOf("10.0.0.120", { grantedAt: now - 60_000, expiresAt: now + 3_540_000 }) }),
      whole,
      "it is a minute old",
    );
    t.equal(written({ lease: { ...fresh, hostname: "other" } }), whole, "the client has another name");
    t.equal(written({ lease: { ...fresh, expiresAt: now + 5000 } }), whole, "the subnet's time was changed");
    t.equal(written({ lease: { ...fresh, state: "released" } }), whole, "it was given back");
    t.equal(written({ lease: { ...fresh, grantedAt: now + 5 } }), whole, "the clock went back");
    t.equal(written({ lease: leaseOf("10.0.0.7", { ...fresh, address: ip("10.0.0.7") }) }), whole);
    t.end();
  },
);

t.test("DECLINE by the owner sets the address aside, by others it does nothing (RFC 2131 s.4.3.3)", (t) => {
  const decline = (facts: Partial<Facts>, shape: Partial<RequestShape> = {}) =>
    silenceOn({ type: "Decline", server, requested: "10.0.0.120", ...shape }, facts);
  t.match(decline({ offered: ip("10.0.0.120") }), {
    commit: { address: "10.0.0.120", state: "declined", expiresAt: now + 600_000 },
    withdrawsOffer: true,
    alarm: "address-conflict",
  });
  t.match(decline({ lease: leaseOf("10.0.0.120") }), { commit: { state: "declined" } });
  for (const [why, facts, shape] of [
    ["not its own", { lease: leaseOf("10.0.0.130") }, {}],
    ["to another server", { lease: leaseOf("10.0.0.120") }, { server: "10.0.0.9" }],
    ["again", { lease: leaseOf("10.0.0.120", { state: "declined" }) }, {}],
    ["too often: a flood can't empty the pool", { lease: leaseOf("10.0.0.120"), declinedCount: 4 }, {}],
  ] as const) {
    t.match(decline(facts, shape), { commit: undefined, alarm: undefined }, why);
  }
  t.end();
});

t.test("RELEASE by the holder ends the lease and keeps its record (RFC 2131 s.4.3.4)", (t) => {
  const release = (lease: Lease | undefined) =>
    silenceOn({ type: "Release", server, ciaddr: "10.0.0.120" }, { lease }).commit;
  t.match(release(leaseOf("10.0.0.120")), { state: "released", address: "10.0.0.120", expiresAt: now });
  t.equal(release(leaseOf("10.0.0.130")), undefined);
  t.equal(release(leaseOf("10.0.0.120", { expiresAt: now - 1 })), undefined);
  t.equal(release(undefined), undefined);
  t.end();
});

t.test("INFORM: parameters to the client's address, no lease and no 51 (RFC 2131 s.4.3.5)", (t) => {
  const ack = replyTo({ type: "Inform", ciaddr: "10.0.0.44" });
  t.match(ack, {
    message: "ACK",
    commit: undefined,
    to: { address: "10.0.0.44", port: 68 },
    packet: { yiaddr: "0.0.0.0", ciaddr: "10.0.0.44" },
  });
  t.strictSame(codes(ack), [53, 54, 1, 3, 6, 15, 28]);
  t.equal(silenceOn({ type: "Inform", ciaddr: "192.0.2.1" }).commit, undefined, "no strangers");
  t.end();
});

t.test(
  "a machine that may not boot from the network gets an ordinary lease, and silence from the proxy",
  (t) => {
    for (const options of [clientOptions.bios, clientOptions.ovmfHttp, clientOptions.ipxe]) {
      const offer = replyTo({ type: "Discover", options }, { mayNetboot: false });
      t.match(offer, { bootfile: undefined, packet: { file: "", siaddr: "0.0.0.0" } });
      for (const code of [43, 60, 66, 67, 97, 175]) t.notOk(codes(offer).includes(code), `no ${code}`);
      t.match(silenceOn({ type: "Discover", options }, { mayNetboot: false }, proxy), { alarm: undefined });
      t.match(silenceOn({ type: "Request", options }, { mayNetboot: false, service: "pxe" }, proxy), {
        alarm: undefined,
      });
    }
    t.end();
  },
);

t.test("an unknown architecture gets an ordinary lease and a reason, and silence from the proxy", (t) => {
  const options = { 60: "PXEClient", 93: [0, 99] };
  t.match(replyTo({ type: "Discover", options }), {
    bootfile: undefined,
    noBootReason: "unknown architecture 99",
    packet: { file: "" },
  });
  t.match(silenceOn({ type: "Discover", options }, {}, proxy), {
    reason: "unknown architecture 99",
    alarm: "no-boot-file",
  });
  t.end();
});

t.test(
  "proxy: PXE clients, HTTP clients and iPXE are offered a boot file, others nothing (PXE 2.1 s.2.2)",
  (t) => {
    const bios = replyTo({ type: "Discover", options: clientOptions.bios }, {}, proxy);
    t.strictSame(codes(bios), [53, 54, 43, 60, 97], "nothing that the other server gives");
    t.match(bios, {
      message: "OFFER",
      commit: undefined,
      address: undefined,
      packet: { yiaddr: "0.0.0.0", siaddr: "10.0.0.1", file: "undionly.kpxe" },
    });
    t.strictSame(octets(bios, 43), [6, 1, 8, 255], "boot as told, no menu and no port 4011");
    const uefi = replyTo({ type: "Discover", options: clientOptions.ovmf }, {}, proxy);
    t.strictSame(codes(uefi), [53, 54, 60, 97], "no 43: UEFI then asks port 4011 (firmware-quirk Q3)");
    t.match(uefi.packet, { siaddr: "10.0.0.1", file: "snponly.efi" });
    const ipxe = replyTo({ type: "Discover", options: clientOptions.ipxe }, {}, proxy);
    t.match(
      ipxe.packet,
      { siaddr: "10.0.0.1", file: quiet.urls.script },
      "with siaddr iPXE needs no port 4011",
    );
    t.equal(text(ipxe, 60), "PXEClient");
    t.equal(
      silenceOn({ type: "Discover", options: clientOptions.linux }, {}, proxy).reason,
      "not a network boot client",
    );
    t.end();
  },
);

t.test(
  "proxy: ACK to a client that chose us or looks for its boot server, silence to leases of others",
  (t) => {
    const options = clientOptions.bios;
    t.match(replyTo({ type: "Request", server, requested: "10.0.0.44", options }, {}, proxy), {
      message: "ACK",
      packet: { yiaddr: "0.0.0.0" },
    });
    const seeking = { ...options, 43: [71, 4, 0, 0, 0, 0, 255] };
    t.match(replyTo({ type: "Request", ciaddr: "10.0.0.44", options: seeking }, {}, proxy), {
      message: "ACK",
      to: { address: "10.0.0.44", port: 68 },
    });
    for (const renewing of [
      clientOptions.bios,
      clientOptions.ovmf,
      clientOptions.ovmfHttp,
      clientOptions.ipxe,
    ])
      t.equal(
        silenceOn({ type: "Request", ciaddr: "10.0.0.44", options: renewing }, {}, proxy).reason,
        "leases are another server's",
        "RENEWING and REBINDING",
      );
    t.equal(
      silenceOn({ type: "Request", requested: "10.0.0.44", options }, {}, proxy).reason,
      "leases are another server's",
      "INIT-REBOOT",
    );
    t.ok(
      silenceOn({ type: "Request", requested: "10.0.0.44", ciaddr: "10.0.0.44", options }, {}, proxy),
      "both addresses: no state of RFC 2131",
    );
    t.equal(
      silenceOn({ type: "Request", ciaddr: "10.0.0.44", options: clientOptions.linux }, {}, proxy).reason,
      "not a network boot client",
    );
    for (const type of ["Decline", "Release", "Inform"] as const) {
      t.equal(
        silenceOn({ type, ciaddr: "10.0.0.44", options }, {}, proxy).reason,
        "leases are another server's",
      );
    }
    t.end();
  },
);

t.test(
  "port 4011: a REQUEST is ACKed with the boot file, in either mode (firmware-quirks Q3, Q4, Q7)",
  (t) => {
    const asks: Partial<Facts> = { service: "pxe", source: { address: "10.0.0.44", port: 4011 } };
    for (const policy of [proxy, authoritative]) {
      const ack = replyTo(
        { type: "Request", ciaddr: "10.0.0.44", options: clientOptions.ovmf },
        asks,
        policy,
      );
      t.match(ack, {
        message: "ACK",
        commit: undefined,
        address: "10.0.0.44",
        to: { address: "10.0.0.44", port: 4011 },
      });
      t.match(ack.packet, { siaddr: "10.0.0.1", sname: "10.0.0.1", file: "snponly.efi", yiaddr: "0.0.0.0" });
      t.strictSame(codes(ack), [53, 54, 60, 97]);
      t.equal(
        replyTo({ type: "Inform", ciaddr: "10.0.0.44", options: clientOptions.ovmf }, asks, policy).message,
        "ACK",
      );
      t.ok(silenceOn({ type: "Discover", options: clientOptions.ovmf }, asks, policy));
      t.ok(silenceOn({ type: "Request", options: clientOptions.linux }, asks, policy));
    }
    const item = { ...clientOptions.bios, 43: [71, 4, 0, 0, 0, 0, 255] };
    t.strictSame(
      octets(replyTo({ type: "Request", options: item }, asks, proxy), 43),
      [6, 1, 8, 71, 4, 0, 0, 0, 0, 255],
      "the boot item is repeated",
    );
    t.end();
  },
);

t.test("port 4011: a question to another boot server is not answered", (t) => {
  const asks: Partial<Facts> = { service: "pxe", source: { address: "10.0.0.44", port: 4011 } };
  const options = clientOptions.ovmf;
  for (const policy of [proxy, authoritative])
    for (const type of ["Request", "Inform"] as const) {
      const question = { type, ciaddr: "10.0.0.44", options };
      t.equal(
        silenceOn({ ...question, server: "10.0.0.9" }, asks, policy).reason,
        "asks another boot server",
      );
      t.equal(replyTo({ ...question, server }, asks, policy).message, "ACK", "named by one of our addresses");
    }
  t.end();
});

t.test("mode off answers nothing", (t) => {
  for (const service of ["dhcp", "pxe"] as const) {
    t.equal(
      silenceOn(
        { type: "Discover", options: clientOptions.bios },
        { service },
        { ...authoritative, mode: "off" },
      ).reason,
      "DHCP is off",
    );
  }
  t.end();
});

t.test(
  "for any client message: the proxy never gives 1, 3, 51, yiaddr or NAK; NAK never gives an address; all replies fit",
  (t) => {
    const address = fc.constantFrom(
      "0.0.0.0",
      "10.0.0.1",
      "10.0.0.100",
      "10.0.0.150",
      "10.0.0.9",
      "192.0.2.1",
    );
    const optional = fc.option(address, { nil: undefined });
    const shape = fc.record({
      type: fc.constantFrom("Discover", "Request", "Decline", "Release", "Inform" as const),
      ciaddr: address,
      giaddr: address,
      requested: optional,
      server: optional,
      options: fc.oneof(
        fc.constantFrom(...Object.values(clientOptions)),
        fc.dictionary(
          fc
            .integer({ min: 1, max: 254 })
            .filter((code) => code !== 53)
            .map(String),
          fc.uint8Array({ maxLength: 300 }),
        ),
      ),
    });
    const facts = fc.record({
      lease: fc.option(
        fc.constantFrom("10.0.0.100", "10.0.0.150").map((a) => leaseOf(a)),
        { nil: undefined },
      ),
      reservation: fc.constantFrom(undefined, ip("10.0.0.5")),
      service: fc.constantFrom("dhcp", "pxe" as const),
      isAvailable: fc.boolean().map((is) => () => is),
      mayNetboot: fc.boolean(),
      source: address.map((from) => ({ address: from, port: 68 })),
    });
    const seen = new Set<string>();
    fc.assert(
      fc.property(shape, facts, fc.constantFrom(proxy, authoritative), (request, known, policy) => {
        const { requested, server: chosen, ...rest } = request;
        if (rest.type === "Inform" && rest.ciaddr === "0.0.0.0") return true;
        const decision = decide(
          {
            ...rest,
            ...(requested ? { requested } : {}),
            ...(chosen ? { server: chosen } : {}),
          } as RequestShape,
          known,
          policy,
        );
        seen.add(decision.kind === "reply" ? `${policy.mode} ${decision.message}` : policy.mode);
        if (decision.kind === "silence") return true;
        const { packet, message, commit } = decision;
        const isBare = packet.yiaddr === "0.0.0.0" && !packet.options.has(51);
        if (
          policy.mode === "proxy" &&
          (message === "NAK" || !isBare || commit || packet.options.has(1) || packet.options.has(3))
        )
          return false;
        if (message === "NAK" && (!isBare || packet.options.has(67) || packet.file !== "")) return false;
        if (
          (message === "ACK") !== (commit !== undefined) &&
          packet.yiaddr !== "0.0.0.0" &&
          message !== "OFFER"
        )
          return false;
        return (
          packet.xid === 0x3903f326 &&
          packet.options.has(53) &&
          packet.options.has(54) &&
          encodeMessage(packet).length <= 1472
        );
      }),
      { numRuns: 1500 },
    );
    t.strictSame(
      [...seen].sort(),
      [
        "authoritative",
        "authoritative ACK",
        "authoritative NAK",
        "authoritative OFFER",
        "proxy",
        "proxy ACK",
        "proxy OFFER",
      ],
      "all kinds came up",
    );
    t.end();
  },
);

t.test("every type of client message has a decision", (t) => {
  const types: ClientMessageType[] = ["DISCOVER", "REQUEST", "DECLINE", "RELEASE", "INFORM"];
  for (const type of types) {
    const shape = {
      ciaddr: "10.0.0.44",
      type: `${type.charAt(0)}${type.slice(1).toLowerCase()}`,
    } as RequestShape;
    t.ok(["reply", "silence"].includes(decide(shape).kind), type);
  }
  t.end();
});

t.test(
  "an OS that takes 576 octets gets its long options by overload, a network boot ROM never does (RFC 2132 s.9.3)",
  (t) => {
    const wide = { ...authoritative, subnets: [{ ...lab, domain: "d".repeat(110) }] };
    const options = {
      ...clientOptions.linux,
      61: new Uint8Array(120).fill(1),
      82: new Uint8Array(60).fill(1),
    };
    const os = replyTo({ type: "Discover", options: { ...options, 57: [2, 64] } }, {}, wide);
    t.strictSame(codes(os).slice(0, 2), [53, 52]);
    t.equal(codes(os).at(-1), 82, "82 is the last one always (RFC 3046 s.2.2)");
    const read = decodeMessage(encodeMessage(os.packet));
    t.equal(textFromOctets(read.options.get(15) ?? new Uint8Array()).length, 110);
    t.ok(encodeMessage(os.packet).length <= 548);
    const rom = { ...clientOptions.bios, 61: new Uint8Array(120).fill(1), 82: new Uint8Array(60).fill(1) };
    const reply = replyTo({ type: "Discover", options: { ...rom, 57: [2, 64] } }, {}, wide);
    t.notOk(codes(reply).includes(52));
    t.equal(reply.packet.file, "undionly.kpxe");
    t.equal(codes(reply).at(-1), 82);
    t.end();
  },
);

t.test(
  "several subnets behind relay agents: giaddr picks one, 82.5 of a listed agent another (RFC 3527)",
  (t) => {
    const other = parseCidr("10.2.0.0/24");
    const third = parseCidr("10.3.0.0/24");
    if (!other || !third) throw new Error("bad CIDR");
    const subnets: Subnet[] = [
      lab,
      {
        subnet: other,
        range: { from: ip("10.2.0.10"), to: ip("10.2.0.20") },
        router: ip("10.2.0.1"),
        leaseSeconds: 600,
        relay: [ip("10.2.0.1")],
      },
      {
        subnet: third,
        range: { from: ip("10.3.0.10"), to: ip("10.3.0.20") },
        router: ip("10.3.0.1"),
        leaseSeconds: 600,
        relay: [ip("10.3.0.1")],
      },
    ];
    const several = { ...authoritative, subnets };
    const facts: Partial<Facts> = {
      nextFree: ({ range }) => range?.from,
      source: { address: "10.2.0.1", port: 67 },
    };
    const relayed = { type: "Discover", giaddr: "10.2.0.1", flags: BroadcastFlag } as const;
    const first = replyTo({ ...relayed, options: { 82: [1, 2, 9, 9] } }, facts, several);
    t.match(first, { address: "10.2.0.10", to: { address: "10.2.0.1", port: 67 } });
    t.strictSame(octets(first, 3), [10, 2, 0, 1]);
    t.equal(first.packet.flags, BroadcastFlag, "kept (firmware-quirk Q27)");
    const selected = replyTo(
      { ...relayed, options: { 82: [1, 2, 9, 9, 5, 4, 10, 3, 0, 0] } },
      facts,
      several,
    );
    t.match(selected, { address: "10.3.0.10", to: { address: "10.2.0.1", port: 67 } });
    t.strictSame(octets(selected, 82), [1, 2, 9, 9, 5, 4, 10, 3, 0, 0], "back octet by octet");
    t.equal(codes(selected).at(-1), 82);
    t.equal(
      silenceOn({ ...relayed, giaddr: "10.2.0.7" }, facts, several).reason,
      "relay agent is not configured",
    );
    t.end();
  },
);
