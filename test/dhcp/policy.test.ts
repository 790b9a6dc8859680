import fc from "fast-check";
import t from "tap";
import { type Cidr, parseCidr } from "../../server/net/cidr.ts";
import { type Ipv4, ipv4FromNumber } from "../../server/net/ipv4.ts";
import { chooseAddress, createAddressPool, isAssignable } from "../../server/dhcp/policy/allocate-address.ts";
import { type BootUrls, chooseBootfile, nbpNames } from "../../server/dhcp/policy/choose-bootfile.ts";
import { uefiLoaders } from "../../server/domain/uefi-loaders.ts";
import { type Client, classifyClient, userClasses } from "../../server/dhcp/policy/classify-client.ts";
import { pxeStrategies, pxeStrategy } from "../../server/dhcp/policy/pxe-strategies.ts";
import { replyDestination } from "../../server/dhcp/policy/reply-destination.ts";
import {
  hasAnswerableAddresses,
  isRelayTrusted,
  type Subnet,
  subnetOf,
} from "../../server/dhcp/policy/subnet.ts";
import { textToOctets } from "../../server/dhcp/wire/options.ts";
import {
  clientOptions,
  defaultMac,
  ip,
  machineId,
  requestMessage,
  type RequestShape,
} from "../support/dhcp-messages.ts";

const server = ip("10.0.0.1");
const urls: BootUrls = {
  script: "http://10.0.0.1:8080/boot.ipxe",
  nbp: (name) => `http://10.0.0.1:8080/nbp/${name}`,
};
const allNames = new Set([...nbpNames.bios, ...Object.values(uefiLoaders).flatMap(({ ipxe }) => ipxe)]);

function clientOf(options: RequestShape["options"], more: Partial<RequestShape> = {}): Client {
  const client = classifyClient(requestMessage({ type: "Discover", ...more, options: { ...options } }));
  if (!client) throw new Error("not a client");
  return client;
}
function bootOf(
  options: RequestShape["options"],
  available: ReadonlySet<string> = allNames,
  chainedBefore = false,
) {
  return chooseBootfile({ client: clientOf(options), available, serverAddress: server, urls, chainedBefore });
}

t.test("who speaks is told by options 60, 77, 93, 97 and 175 (RFC 4578)", (t) => {
  t.match(clientOf(clientOptions.bios), {
    speaker: "firmware",
    netboot: "PXEClient",
    firmware: { name: "bios" },
    mac: defaultMac,
  });
  t.match(clientOf(clientOptions.ovmf), { speaker: "firmware", firmware: { name: "uefi-x86_64" } });
  t.match(clientOf(clientOptions.ovmfHttp), {
    speaker: "firmware",
    netboot: "HTTPClient",
    firmware: { kind: "uefi-http" },
  });
  t.match(clientOf(clientOptions.ipxe), {
    speaker: "ipxe",
    netboot: "PXEClient",
    uuid: "00112233-4455-6677-0809-0a0b0c0d0e0f",
  });
  t.match(clientOf(clientOptions.linux), { speaker: "os", netboot: undefined, firmware: undefined });
  t.end();
});

t.test("iPXE is known by its user class, bare or as RFC 3004 has it, and by option 175 alone", (t) => {
  t.strictSame(userClasses(textToOctets("iPXE")), ["iPXE"]);
  t.strictSame(userClasses(Uint8Array.of(4, ...textToOctets("iPXE"), 3, ...textToOctets("lab"))), [
    "iPXE",
    "lab",
  ]);
  t.strictSame(userClasses(undefined), []);
  t.strictSame(userClasses(Uint8Array.of(0)), ["\0"], "a length of zero is no list");
  for (const options of [{ 77: "iPXE" }, { 77: [4, 105, 80, 88, 69] }, { 175: [19, 1, 1] }]) {
    t.match(
      clientOf({ 93: [0, 0], ...options }),
      { speaker: "ipxe", netboot: "PXEClient" },
      JSON.stringify(options),
    );
  }
  t.equal(
    clientOf({ ...clientOptions.bios, 77: "gPXE" }).speaker,
    "firmware",
    "its forebear is a ROM like any other",
  );
  t.end();
});

t.test("option 93 may list several architectures, the first known one counts (RFC 4578 s.2.1)", (t) => {
  t.match(clientOf({ 60: "PXEClient", 93: [0, 99, 0, 9, 0, 7] }), {
    architectures: [99, 9, 7],
    firmware: { code: 9, name: "uefi-x86_64" },
  });
  t.match(
    clientOf({ 60: "PXEClient:Arch:00011:UNDI:003000" }),
    { architectures: [11], firmware: { name: "uefi-arm64" } },
    "no option 93",
  );
  t.match(
    clientOf({ 60: "PXEClient", 93: [0, 0, 7] }),
    { architectures: [], firmware: undefined },
    "odd length",
  );
  t.end();
});

t.test(
  "option 97 is echoed when it is 17 octets of type 0; without it a client boots all the same (firmware-quirk Q6)",
  (t) => {
    t.strictSame(clientOf(clientOptions.bios).machineId, machineId);
    for (const value of [machineId.subarray(1), Uint8Array.of(1, ...machineId.subarray(1))]) {
      t.match(clientOf({ ...clientOptions.bios, 97: value }), {
        netboot: "PXEClient",
        machineId: undefined,
        uuid: undefined,
      });
    }
    t.end();
  },
);

t.test("a client is an Ethernet machine with a MAC of its own", (t) => {
  const message = requestMessage({ type: "Discover" });
  t.ok(classifyClient(message));
  t.notOk(classifyClient({ ...message, htype: 32, hlen: 0 }), "InfiniBand");
  t.notOk(classifyClient({ ...message, chaddr: new Uint8Array(16) }), "no MAC");
  t.notOk(classifyClient({ ...message, chaddr: new Uint8Array(16).fill(255) }), "broadcast");
  t.end();
});

t.test("each architecture gets its own first-stage binary (firmware-quirk Q10 for HTTP)", (t) => {
  const table: [RequestShape["options"], string][] = [
    [clientOptions.bios, "undionly.kpxe"],
    [clientOptions.ovmf, "snponly.efi"],
    [clientOptions.ovmfArm64, "snponly-arm64.efi"],
    [{ 60: "PXEClient", 93: [0, 9] }, "snponly.efi"],
    [{ 60: "PXEClient", 93: [0, 6] }, "snponly-i386.efi"],
    [{ 60: "PXEClient", 93: [0, 10] }, "snponly-arm32.efi"],
    [{ 60: "PXEClient", 93: [0, 27] }, "snponly-riscv64.efi"],
    [clientOptions.ovmfHttp, "http://10.0.0.1:8080/nbp/snponly.efi"],
    [{ 60: "HTTPClient", 93: [0, 19] }, "http://10.0.0.1:8080/nbp/snponly-arm64.efi"],
    [clientOptions.ipxe, urls.script],
  ];
  for (const [options, bootfile] of table) t.match(bootOf(options), { kind: "boot", bootfile }, bootfile);
  t.end();
});

t.test("only binaries that exist are named, with ipxe.efi in the place of snponly.efi", (t) => {
  t.match(bootOf(clientOptions.ovmf, new Set(["ipxe.efi"])), { bootfile: "ipxe.efi" });
  t.match(bootOf(clientOptions.ovmf, new Set(["undionly.kpxe"])), {
    kind: "none",
    reason: "none of snponly.efi, ipxe.efi is in boot-assets",
  });
  t.match(
    bootOf({ 60: "PXEClient", 93: [0, 11, 0, 7] }, new Set(["snponly.efi"])),
    { bootfile: "snponly.efi" },
    "the second architecture",
  );
  t.end();
});

t.test("an unknown architecture gets no boot file, never another one's", (t) => {
  t.match(bootOf({ 60: "PXEClient", 93: [0, 99] }), { kind: "none", reason: "unknown architecture 99" });
  t.match(bootOf({ 60: "PXEClient" }), { kind: "none", reason: "client names no architecture" });
  t.end();
});

t.test("the chain ends: ROM, our iPXE, script; an iPXE without HTTP is sent to ours once (RFC 3004)", (t) => {
  t.match(bootOf(clientOptions.ipxeWithoutHttp), {
    bootfile: "tftp://10.0.0.1/undionly.kpxe",
    client: "ipxe",
    isChainload: true,
  });
  t.match(bootOf(clientOptions.ipxeWithoutHttp, allNames, true), { kind: "none" });
  t.match(bootOf(clientOptions.ipxe, allNames, true), { bootfile: urls.script, isChainload: false });
  t.match(bootOf({ 77: "iPXE" }), { bootfile: urls.script }, "features unknown: the default build has HTTP");
  t.end();
});

t.test("a strategy is a row of data, and one machine may have another", (t) => {
  t.equal(pxeStrategy("proxy", "uefi").name, "proxy-uefi");
  t.equal(pxeStrategy("proxy", "uefi", "proxy-uefi-full").name, "proxy-uefi-full");
  t.equal(pxeStrategy("proxy", "uefi", "proxy-bios").name, "proxy-uefi", "another kind's is none of its own");
  for (const rows of Object.values(pxeStrategies)) {
    for (const { vendorClass } of rows["uefi-http"])
      t.equal(vendorClass, "HTTPClient", "UEFI HTTP takes no offer without its own word");
    for (const { vendorClass } of rows.uefi) t.equal(vendorClass, "PXEClient");
  }
  t.end();
});

const noAddress = "0.0.0.0";
const destination = {
  service: "dhcp",
  source: { address: noAddress, port: 68 },
  relayPort: 67,
  clientPort: 68,
} as const;
t.test("where a reply goes (RFC 2131 s.4.1)", (t) => {
  const to = (message: "OFFER" | "ACK" | "NAK", giaddr: string, ciaddr: string) => {
    const { address, port } = replyDestination({
      ...destination,
      message,
      giaddr: ip(giaddr),
      ciaddr: ip(ciaddr),
    });
    return `${address}:${port}`;
  };
  t.equal(
    to("OFFER", "10.9.0.1", noAddress),
    "10.9.0.1:67",
    "relayed: to the relay agent, on the server port",
  );
  t.equal(to("ACK", "10.9.0.1", "10.9.0.7"), "10.9.0.1:67", "relayed, even when the client has an address");
  t.equal(to("ACK", noAddress, "10.0.0.7"), "10.0.0.7:68", "renewal: to the client");
  t.equal(
    to("OFFER", noAddress, noAddress),
    "255.255.255.255:68",
    "a client without address is broadcast to, whatever its flag",
  );
  t.equal(
    to("NAK", noAddress, "10.0.0.7"),
    "255.255.255.255:68",
    "a NAK is broadcast even when ciaddr is set (s.4.3.2)",
  );
  t.equal(to("NAK", "10.9.0.1", "10.0.0.7"), "10.9.0.1:67", "a NAK to a relay goes to the relay");
  t.end();
});

t.test("the boot server answers to where the packet came from (PXE 2.1, iPXE dhcp.c)", (t) => {
  const pxe = {
    ...destination,
    message: "ACK",
    service: "pxe",
    giaddr: ip("10.9.0.1"),
    ciaddr: ip("10.0.0.7"),
  } as const;
  t.strictSame(replyDestination({ ...pxe, source: { address: "10.0.0.9", port: 1068 } }), {
    address: "10.0.0.9",
    port: 1068,
  });
  t.strictSame(replyDestination(pxe), { address: "255.255.255.255", port: 68 });
  t.end();
});

function cidr(text: string): Cidr {
  const parsed = parseCidr(text);
  if (!parsed) throw new Error(`not a CIDR: ${text}`);
  return parsed;
}
const lab: Subnet = {
  subnet: cidr("10.0.0.0/24"),
  range: { from: ip("10.0.0.100"), to: ip("10.0.0.199") },
  router: ip("10.0.0.150"),
  dns: [ip("10.0.0.151")],
  leaseSeconds: 3600,
};

t.test(
  "an address is chosen: reservation, lease, offer, former lease, wish, pool (RFC 2131 s.4.3.1)",
  (t) => {
    const now = 1000;
    const lease = (last: number, state: "bound" | "released" | "declined" = "bound", expiresAt = 2000) =>
      ({ mac: defaultMac, address: ip(`10.0.0.${last}`), grantedAt: 0, expiresAt, state }) as const;
    const facts = {
      now,
      reservation: undefined,
      lease: undefined,
      offered: undefined,
      isAvailable: () => true,
      nextFree: () => ip("10.0.0.199"),
    };
    const all = { ...facts, reservation: ip("10.0.0.5"), lease: lease(110), offered: ip("10.0.0.120") };
    const wish = ip("10.0.0.130");
    t.equal(chooseAddress(all, lab, wish), "10.0.0.5", "a reservation need not be in the range");
    t.equal(
      chooseAddress({ ...all, reservation: ip("10.7.0.5") }, lab, wish),
      "10.0.0.110",
      "a reservation elsewhere is none here",
    );
    t.equal(
      chooseAddress({ ...all, isAvailable: (a) => a !== "10.0.0.5" }, lab, wish),
      "10.0.0.110",
      "another host sits on it",
    );
    t.equal(
      chooseAddress({ ...facts, lease: lease(110, "released", 0), offered: ip("10.0.0.120") }, lab, wish),
      "10.0.0.120",
    );
    t.equal(
      chooseAddress({ ...facts, lease: lease(110, "bound", 0) }, lab, wish),
      "10.0.0.110",
      "its former address",
    );
    t.equal(
      chooseAddress({ ...facts, lease: lease(110, "declined") }, lab, wish),
      "10.0.0.130",
      "not the one it declined",
    );
    t.equal(chooseAddress(facts, lab, wish), "10.0.0.130");
    t.equal(chooseAddress(facts, lab, ip("10.0.0.7")), "10.0.0.199", "a wish outside of the range");
    t.equal(chooseAddress({ ...facts, isAvailable: () => false }, lab, wish), "10.0.0.199");
    t.end();
  },
);

t.test("network, broadcast, router and resolvers are nobody's", (t) => {
  for (const last of [0, 150, 151, 255]) t.notOk(isAssignable(lab, ip(`10.0.0.${last}`)), `10.0.0.${last}`);
  t.ok(isAssignable(lab, ip("10.0.0.1")));
  t.ok(isAssignable({ ...lab, subnet: cidr("10.0.0.0/31") }, ip("10.0.0.0")), "a /31 has neither (RFC 3021)");
  t.end();
});

t.test("the pool finds every free address and looks at each once in a walk", (t) => {
  fc.assert(
    fc.property(fc.uniqueArray(fc.integer({ min: 0, max: 49 })), (freeOffsets) => {
      const base = 0x0a000064;
      const free = new Set(freeOffsets.map((offset) => ipv4FromNumber(base + offset)));
      const pool = createAddressPool({ from: ipv4FromNumber(base), to: ipv4FromNumber(base + 49) });
      const found = new Set<Ipv4>();
      for (
        let address = pool.next((a) => free.has(a), 0);
        address;
        address = pool.next((a) => free.has(a), 0)
      ) {
        found.add(address);
        free.delete(address);
      }
      return found.size === freeOffsets.length;
    }),
    { numRuns: 100 },
  );
  const pool = createAddressPool({ from: ip("10.0.0.0"), to: ip("10.0.255.255") });
  let looks = 0;
  const none = () => (looks++, false);
  for (let packet = 0; packet < 1000; packet++) pool.next(none, packet);
  t.ok(looks <= 2 * 65536, `${looks} looks for 1000 packets in a second on a full pool of 65536`);
  t.equal(
    pool.next((a) => a === "10.0.0.9", 60_000),
    "10.0.0.9",
    "freed behind the cursor, found by the next walk",
  );
  t.equal(
    pool.next((a) => a === "10.0.0.9", 60_000),
    "10.0.0.9",
    "and given until it is taken",
  );
  t.end();
});

t.test("the subnet is the relay agent's, else the client's, else ours (RFC 2131 s.4.3.1, RFC 3527)", (t) => {
  const far: Subnet = { ...lab, subnet: cidr("10.9.0.0/24"), relay: [ip("10.9.0.1"), ip("172.16.0.1")] };
  const open: Subnet = { ...lab, subnet: cidr("10.8.0.0/24") };
  const find = (shape: Partial<RequestShape>) =>
    subnetOf(requestMessage({ type: "Discover", ...shape }), server, [lab, far, open])?.subnet.network;
  t.equal(find({}), "10.0.0.0");
  t.equal(find({ giaddr: "10.9.0.1" }), "10.9.0.0");
  t.equal(find({ giaddr: "172.16.0.1" }), "10.9.0.0", "a relay agent outside of its subnet, by the list");
  t.equal(find({ giaddr: "10.9.0.2" }), undefined, "not the one that is listed");
  t.equal(find({ giaddr: "10.8.0.2" }), "10.8.0.0", "no list: any in the subnet");
  t.equal(find({ giaddr: "192.0.2.1" }), undefined);
  t.equal(find({ ciaddr: "10.8.0.9" }), "10.8.0.0", "a renewal that was routed to us");
  const linkSelection = { 82: [5, 4, 10, 8, 0, 0] };
  t.equal(find({ giaddr: "10.9.0.1", options: linkSelection }), "10.8.0.0");
  t.equal(
    find({ giaddr: "10.8.0.2", options: { 82: [5, 4, 10, 9, 0, 0] } }),
    "10.8.0.0",
    "from an unlisted relay it is not believed (RFC 3046 s.5)",
  );
  t.end();
});

t.test(
  "a relay agent or client whose address is no host's is not answered: giaddr and ciaddr are sent to",
  (t) => {
    const pair: Subnet = { ...lab, subnet: cidr("10.8.0.0/31") };
    const answerable = (address: string) =>
      (["giaddr", "ciaddr"] as const).map((field) =>
        hasAnswerableAddresses(requestMessage({ type: "Inform", [field]: address }), [lab, pair]),
      );
    for (const host of [
      "0.0.0.0",
      "10.0.0.1",
      "10.0.0.254",
      "192.0.2.255",
      "127.0.0.1",
      "10.8.0.0",
      "10.8.0.1",
    ])
      t.strictSame(answerable(host), [true, true], host);
    for (const none of ["10.0.0.0", "10.0.0.255", "255.255.255.255", "224.0.0.1", "240.0.0.1", "0.0.0.1"])
      t.strictSame(answerable(none), [false, false], none);
    t.end();
  },
);

t.test(
  "a relay agent is listed, or in a subnet, or the sender itself: nobody is made to send to strangers",
  (t) => {
    const trusted = (giaddr: string, source: string, subnets: Subnet[] = [lab]) =>
      isRelayTrusted(requestMessage({ type: "Discover", giaddr }), source, subnets);
    t.ok(trusted("0.0.0.0", "10.0.0.7"));
    t.ok(trusted("10.0.0.7", "10.3.0.1"));
    t.ok(trusted("192.0.2.1", "192.0.2.1"));
    t.notOk(trusted("192.0.2.1", "10.0.0.7"));
    t.notOk(trusted("10.0.0.7", "10.3.0.1", [{ ...lab, relay: [ip("10.0.0.2")] }]));
    t.notOk(
      trusted("10.0.0.7", "10.0.0.7", [{ ...lab, relay: [ip("10.0.0.2")] }]),
      "the list is the last word in its subnet",
    );
    t.end();
  },
);
