import { join } from "node:path";
import t from "tap";
import { classifyClient } from "../../server/dhcp/policy/classify-client.ts";
import { chooseBootfile } from "../../server/dhcp/policy/choose-bootfile.ts";
import { decideReply } from "../../server/dhcp/policy/decide-reply.ts";
import type { DhcpPolicy, Facts } from "../../server/dhcp/policy/decision.ts";
import { alternativesOf, pxeStrategies } from "../../server/dhcp/policy/pxe-strategies.ts";
import { countRound, countStep, judgeTrial } from "../../server/dhcp/policy/switch-strategy.ts";
import { StrategyBook } from "../../server/dhcp/strategy-book.ts";
import { encodePxeOptions } from "../../server/dhcp/wire/pxe-vendor.ts";
import { textFromOctets } from "../../server/dhcp/wire/options.ts";
import type { NewEvent } from "../../server/domain/event.ts";
import type { Mac } from "../../server/net/mac.ts";
import { silentLog } from "../../server/platform/logger.ts";
import { openStore } from "../../server/store/open-store.ts";
import {
  clientOptions,
  defaultMac,
  ip,
  macNumber,
  macOf,
  requestMessage,
  type RequestShape,
} from "../support/dhcp-messages.ts";
import { createDhcpLab, until } from "../support/dhcp-lab.ts";
import { ManualClock } from "../support/manual-clock.ts";

const piMac = macOf("b8:27:eb:2f:aa:eb");
/** A Raspberry Pi 3's own DISCOVER (raspberrypi/firmware#1265). */
const pi: RequestShape = {
  type: "Discover",
  mac: piMac,
  xid: 0x26f30339,
  options: {
    55: [43, 60, 191, 128, 129, 130, 131, 132, 133, 134, 135, 66, 1, 3],
    60: "PXEClient:Arch:00000:UNDI:002001",
    93: [0, 0],
    94: [1, 2, 1],
    97: [0, 235, 170, 47, 178, 235, 170, 47, 178, 235, 170, 47, 178, 235, 170, 47, 178],
  },
};
const uboot64 = { 60: "U-Boot.armv8", 93: [0, 22] };

const policy: DhcpPolicy = {
  mode: "proxy",
  subnets: [],
  serverAddresses: new Set([ip("10.0.0.1")]),
  availableNbps: new Set(["undionly.kpxe", "snponly.efi", "bootcode.bin"]),
  relayPort: 67,
  clientPort: 68,
  raspberryPiDelayMs: 1000,
};
const facts: Facts = {
  now: 0,
  reservation: undefined,
  lease: undefined,
  offered: undefined,
  isAvailable: () => true,
  nextFree: () => ip("10.0.0.100"),
  service: "dhcp",
  serverAddress: ip("10.0.0.1"),
  source: { address: "0.0.0.0", port: 68 },
  urls: { script: "http://10.0.0.1:8080/boot.ipxe", nbp: (name) => `http://10.0.0.1:8080/nbp/${name}` },
  mayNetboot: true,
  chainedBefore: false,
  declinedCount: 0,
};
function decide(shape: RequestShape, more: Partial<Facts> = {}, withPolicy = policy) {
  const request = requestMessage(shape);
  const client = classifyClient(request);
  if (!client) throw new Error("no client");
  return decideReply("DISCOVER", request, client, { ...facts, ...more }, withPolicy);
}
function boot(options: NonNullable<RequestShape["options"]>, names: readonly string[], mac?: Mac) {
  const client = classifyClient(requestMessage({ type: "Discover", options, ...(mac ? { mac } : {}) }));
  if (!client) throw new Error("no client");
  const { serverAddress, urls } = facts;
  return chooseBootfile({ client, available: new Set(names), serverAddress, urls, chainedBefore: false });
}

t.test("option 43 of every strategy, octet by octet (PXE 2.1 s.2.4; firmware-quirks Q3, Q4, Q29)", (t) => {
  const atOnce = "060108";
  const prompt = "0a0400505845";
  const raspberry = `060103${prompt}09140000115261737062657272792050692042 6f6f74`.replace(" ", "");
  const padded = `060103${prompt}0917000014${Buffer.from("Raspberry Pi Boot   ").toString("hex")}`;
  const expected: Record<string, string> = {
    "proxy-bios": atOnce,
    "proxy-bios-full": atOnce + prompt,
    "proxy-bios-4011": "",
    "proxy-uefi": "",
    "proxy-uefi-prompt": atOnce + prompt,
    "proxy-uefi-full": atOnce + prompt,
    "proxy-uefi-http": "",
    "proxy-ipxe": "",
    "proxy-raspberry-pi": raspberry,
    "proxy-raspberry-pi-padded": padded,
    "proxy-raspberry-pi-slow": raspberry,
    "proxy-uboot": "",
    "full-bios": atOnce,
    "full-bios-prompt": atOnce + prompt,
    "full-bios-plain": "",
    "full-uefi": atOnce,
    "full-uefi-prompt": atOnce + prompt,
    "full-uefi-4011": "",
    "full-uefi-http": "",
    "full-ipxe": "",
    "full-raspberry-pi": raspberry,
    "full-raspberry-pi-padded": padded,
    "full-raspberry-pi-slow": raspberry,
    "full-uboot": "",
    "boot-server-bios": atOnce,
    "boot-server-uefi": "",
    "boot-server-uefi-http": "",
    "boot-server-ipxe": "",
    "boot-server-raspberry-pi": raspberry,
    "boot-server-uboot": "",
  };
  const actual = Object.fromEntries(
    Object.values(pxeStrategies)
      .flatMap((kinds) => Object.values(kinds).flat())
      .map(({ name, vendorOptions }) => [
        name,
        vendorOptions.length === 0 ? "" : Buffer.from(encodePxeOptions(vendorOptions)).toString("hex"),
      ]),
  );
  const ended = Object.entries(expected).map(([name, hex]) => [name, hex === "" ? "" : `${hex}ff`]);
  t.strictSame(actual, Object.fromEntries(ended), "and no name twice");
  t.strictSame(
    alternativesOf("proxy-uefi-full").map(({ name }) => name),
    ["proxy-uefi", "proxy-uefi-prompt", "proxy-uefi-full"],
  );
  t.strictSame(alternativesOf("of an older version"), []);
  t.end();
});

t.test(
  "a Raspberry Pi says that it is a PC and gets its own menu, its own files and no PC's program (firmware-quirk Q29)",
  (t) => {
    const offer = decide(pi);
    if (offer.kind !== "reply") throw new Error(offer.reason);
    t.equal(
      Buffer.from(offer.packet.options.get(43) ?? []).toString("latin1"),
      "\x06\x01\x03\x0a\x04\x00PXE\x09\x14\x00\x00\x11Raspberry Pi Boot\xff",
    );
    t.equal(textFromOctets(offer.packet.options.get(66) ?? new Uint8Array()), "10.0.0.1", "Q9: it reads 66");
    t.match(offer, { bootfile: "bootcode.bin", strategy: "proxy-raspberry-pi", delayMs: 1000 });
    t.match(offer.packet, { siaddr: "10.0.0.1", yiaddr: "0.0.0.0" });
    t.match(decide(pi, { strategy: "proxy-raspberry-pi-slow" }), { delayMs: 2000 });
    t.match(boot(pi.options ?? {}, ["undionly.kpxe", "ipxe.pxe"], piMac), {
      kind: "none",
      reason: "none of bootcode.bin, start4.elf, config.txt is in the data directory's tftp/",
    });
    const efi = { 60: "PXEClient:Arch:00011:UNDI:003000", 93: [0, 11] };
    t.match(boot(efi, ["snponly-arm64.efi"], piMac), { bootfile: "snponly-arm64.efi" }, "UEFI on a Pi");
    t.match(boot({ 77: "iPXE", 93: [0, 0] }, [], piMac), { client: "ipxe" }, "iPXE on a Pi");
    t.match(boot(clientOptions.bios, ["undionly.kpxe"]), { client: "bios" }, "a PC is a PC");
    t.end();
  },
);

t.test("U-Boot gets a script for its architecture or a reason, never another one's program (P-02)", (t) => {
  const all = ["undionly.kpxe", "snponly.efi", "snponly-arm64.efi"];
  t.match(boot(uboot64, all), { kind: "none", reason: /boot-arm64.scr.uimg, boot.scr.uimg/ });
  t.match(boot(uboot64, [...all, "boot-arm32.scr.uimg"]), { kind: "none" });
  t.match(boot(uboot64, [...all, "boot.scr.uimg"]), { bootfile: "boot.scr.uimg", client: "uboot" });
  t.match(boot({ 60: "U-Boot.armv7", 93: [0, 21] }, ["boot-arm32.scr.uimg"]), {
    bootfile: "boot-arm32.scr.uimg",
  });
  t.match(boot({ 60: "U-Boot", 93: [0, 0] }, all), { kind: "none" }, "U-Boot on a PC");
  t.match(boot({ 60: "U-Boot.armv8" }, all), { kind: "none" }, "no architecture");
  t.match(boot({ 60: "HTTPClient", 93: [0, 24] }, ["boot-arm64.scr.uimg"]), {
    bootfile: "http://10.0.0.1:8080/nbp/boot-arm64.scr.uimg",
    client: "uefi-http",
  });
  t.match(decide({ type: "Discover", options: uboot64 }), {
    kind: "silence",
    reason: "U-Boot knows no proxyDHCP",
  });
  t.end();
});

t.test(
  "U-Boot as UEFI says what EDK2 says and is known by not asking for option 43: it gets GRUB, for iPXE sleeps for ever there (sidero#806)",
  (t) => {
    const arm64 = { 60: "PXEClient:Arch:00011:UNDI:003000", 93: [0, 11] };
    const uboot = { ...arm64, 55: [1, 3, 6, 12, 17] };
    const edk2 = { ...arm64, 55: [1, 3, 43, 54, 60, 66, 67, 97] };
    const all = ["ipxe-arm64.efi", "grubaa64.efi", "snponly.efi"];
    t.match(boot(uboot, all), { bootfile: "grubaa64.efi", client: "uboot" });
    const firmwareOf = (options: typeof uboot) =>
      classifyClient(requestMessage({ type: "Discover", options }))?.firmware?.name;
    t.equal(firmwareOf(uboot), "uboot-arm64", "both of its questions are one machine's");
    t.equal(firmwareOf(edk2), "uefi-arm64");
    t.match(boot(edk2, all), { bootfile: "ipxe-arm64.efi", client: "uefi" });
    t.match(boot(arm64, all), { bootfile: "ipxe-arm64.efi", client: "uefi" }, "who asks for nothing by name");
    t.match(boot(uboot, ["ipxe-arm64.efi"]), {
      kind: "none",
      reason: "none of snp-uboot-arm64.efi, grubaa64.efi is in boot-assets",
    });
    t.match(
      boot(uboot, [...all, "snp-uboot-arm64.efi"]),
      { bootfile: "snp-uboot-arm64.efi" },
      "an iPXE made for it",
    );
    t.match(boot({ 60: "PXEClient:Arch:00007:UNDI:003016", 93: [0, 7], 55: [1, 3] }, all), {
      bootfile: "snponly.efi",
      client: "uefi",
    });
    t.match(
      decide({ type: "Discover", options: uboot }),
      { kind: "silence", reason: "U-Boot knows no proxyDHCP" },
      "an OFFER without an address would be the end of its boot",
    );
    t.end();
  },
);

/** What a book decides over DISCOVERs at these times, s. */
function strategiesAt(times: readonly number[], act: (at: number, book: StrategyBook) => void = () => {}) {
  const clock = new ManualClock();
  const switches: string[] = [];
  const book = new StrategyBook({
    clock,
    log: silentLog,
    strategies: undefined,
    onDriverSwitch: () => {},
    onSwitch: (_mac, { to, isWrapped }) => switches.push(isWrapped ? `${to} again` : to),
  });
  const used = times.map((at) => {
    clock.advanceMs(at * 1000 - clock.monotonicMs());
    book.onDiscover(defaultMac);
    const strategy = book.strategyFor(defaultMac) ?? "proxy-uefi";
    book.onOffer(defaultMac, strategy);
    act(at, book);
    return strategy;
  });
  return { used, switches };
}

t.test("three DISCOVERs over 8 s without a next step: the next strategy; after the last the first", (t) => {
  t.strictSame(
    strategiesAt([0, 4, 12, 28]).used,
    ["proxy-uefi", "proxy-uefi", "proxy-uefi-prompt", "proxy-uefi-prompt"],
    "EDK2's rhythm, old firmware that never merges offers (firmware-quirk Q1)",
  );
  t.strictSame(strategiesAt([0, 4, 12, 28, 60, 64, 72, 88]).switches, [
    "proxy-uefi-prompt",
    "proxy-uefi-full",
    "proxy-uefi again",
  ]);
  t.strictSame(strategiesAt([0, 1, 2, 3, 4, 5, 6, 7]).switches, [], "not before 8 s");
  t.strictSame(strategiesAt([0, 0.1, 0.2, 9, 9.1]).switches, [], "duplicates are one round");
  t.strictSame(strategiesAt([0, 400, 800, 1200]).switches, [], "a machine that was switched off begins anew");
  t.end();
});

t.test("a step further counts once: who asks and asks and loads nothing gets nowhere too (Q4)", (t) => {
  const requests = strategiesAt([0, 4, 12, 28], (_at, book) => book.onRequest(defaultMac));
  t.strictSame(requests.used.at(2), "proxy-uefi", "the REQUEST was a step");
  t.strictSame(requests.switches, ["proxy-uefi-prompt"], "...and no further one came");
  const loads = strategiesAt([0, 20, 40, 60, 80], (_at, book) => book.onProgress(defaultMac, "started"));
  t.strictSame(loads.switches, [], "a boot loop of a machine that loads its file is no matter of DHCP");
  t.end();
});

t.test("the rule is pure: the same trial and time, the same verdict", (t) => {
  const first = countRound(undefined, "full-uefi", 0);
  const second = countRound(first, "full-uefi", 4000);
  t.match(judgeTrial(second, 12_000), {
    from: "full-uefi",
    to: "full-uefi-prompt",
    rounds: 3,
    forMs: 12_000,
  });
  t.equal(judgeTrial(second, 7999), undefined);
  t.equal(judgeTrial(countStep(second, "loaded"), 12_000), undefined);
  t.equal(judgeTrial(countRound(first, "full-uefi-http", 0), 12_000), undefined);
  const only = countRound(countRound(undefined, "full-ipxe", 0), "full-ipxe", 4000);
  t.equal(judgeTrial(only, 12_000), undefined, "nothing else to try");
  t.equal(judgeTrial({ ...second, strategy: "of an older version" }, 12_000), undefined);
  t.end();
});

t.test("a flood of MACs that get nowhere: what is told and what is kept is bounded", (t) => {
  const clock = new ManualClock();
  let told = 0;
  const book = new StrategyBook({
    clock,
    log: silentLog,
    strategies: undefined,
    onSwitch: () => told++,
    onDriverSwitch: () => {},
  });
  for (let round = 0; round < 3; round++) {
    for (let n = 0; n < 9000; n++) {
      book.onDiscover(macNumber(n));
      book.onOffer(macNumber(n), "proxy-uefi");
    }
    clock.advanceMs(5000);
  }
  t.equal(told, 60, "a minute");
  t.equal(book.strategyFor(macNumber(8999)), "proxy-uefi-prompt", "served all the same");
  t.end();
});

t.test("a switch outlives the server, and is forgotten when the rule's turn comes again", async (t) => {
  const file = join(t.testdir(), "rollcall.db");
  const clock = new ManualClock();
  const openBook = () => {
    const store = openStore(file, clock);
    const { bootStrategies: strategies } = store;
    return {
      store,
      book: new StrategyBook({
        clock,
        log: silentLog,
        strategies,
        onSwitch: () => {},
        onDriverSwitch: () => {},
      }),
    };
  };
  const round = (book: StrategyBook) => {
    book.onDiscover(defaultMac);
    book.onOffer(defaultMac, book.strategyFor(defaultMac) ?? "proxy-uefi");
    clock.advanceMs(5000);
  };
  const one = openBook();
  for (let n = 0; n < 3; n++) round(one.book);
  await one.store.probe();
  one.store.close();
  const two = openBook();
  t.equal(two.book.strategyFor(defaultMac), "proxy-uefi-prompt");
  t.match(
    [...two.store.bootStrategies.all()],
    [
      {
        mac: defaultMac,
        strategy: "proxy-uefi-prompt",
        because: "asked 3 times in 10 s and it took no offer",
      },
    ],
  );
  for (let n = 0; n < 6; n++) round(two.book);
  await two.store.probe();
  t.equal(two.book.strategyFor(defaultMac), undefined);
  t.strictSame([...two.store.bootStrategies.all()], []);
  two.store.close();
});

t.test("on the wire: the third DISCOVER is answered in another way, and people are told", async (t) => {
  const events: NewEvent[] = [];
  const { relay, dhcp, clock, server, contacts } = await createDhcpLab(t, {
    mode: "proxy",
    record: (event) => events.push(event),
  });
  const discover = async () =>
    [...(await relay.ask({ type: "Discover", options: clientOptions.ovmf }, dhcp)).options.keys()].includes(
      43,
    );
  const answers = [];
  for (const waitMs of [0, 4000, 8000, 16_000]) {
    clock.advanceMs(waitMs);
    answers.push(await discover());
  }
  t.strictSame(answers, [false, false, true, true]);
  t.match(
    events.find(({ type }) => type === "boot.strategy"),
    {
      level: "info",
      message:
        "52:54:00:00:00:01: boot strategy proxy-uefi -> proxy-uefi-prompt: asked 3 times in 12 s and it took no offer",
      data: { mac: defaultMac, from: "proxy-uefi", to: "proxy-uefi-prompt", rounds: 3 },
    },
  );
  t.equal(contacts.at(-1)?.strategy, "proxy-uefi-prompt");
  server.machineProgressed(defaultMac, "loaded");
  for (const waitMs of [60_000, 4000, 1000]) {
    clock.advanceMs(waitMs);
    t.ok(await discover(), "what has worked stays");
  }
});

t.test("a Raspberry Pi's OFFER waits for its time, and one that waits at the end is not sent", async (t) => {
  const { relay, dhcp, clock, server } = await createDhcpLab(t, {
    mode: "proxy",
    nbp: { available: new Set(["bootcode.bin"]) },
    raspberryPiDelayMs: 1000,
  });
  relay.send(pi, dhcp);
  await until(() => server.counters.received === 1, "the DISCOVER");
  clock.advanceMs(999);
  t.equal(server.counters.replies, 0);
  clock.advanceMs(1);
  t.equal(server.counters.replies, 1);
  relay.send(pi, dhcp);
  await until(() => server.counters.received === 2, "the DISCOVER");
  await server.stop();
  t.equal(clock.pendingTimers, 0);
  t.equal(server.counters.replies, 1);
});
