/** What `boot doctor` prints, what it knows, and what it keeps. */
import { readdirSync, readFileSync } from "node:fs";
import { join, resolve } from "node:path";
import t from "tap";
import type { Command } from "commander";
import { createSightings } from "../../server/boot/sightings.ts";
import { buildProgram } from "../../server/cli/program.ts";
import { catalogue, diagnose } from "../../server/doctor/diagnose.ts";
import type { Evidence } from "../../server/doctor/evidence.ts";
import type { Boot } from "../../server/domain/boot.ts";
import type { DhcpContact } from "../../server/domain/contact.ts";
import { boot } from "../support/boot-command.ts";
import { clientOptions } from "../support/dhcp-messages.ts";
import { doctorLab } from "../support/doctor-lab.ts";
import { addressOf, macOf, sampleMachine, sampleTime } from "../support/samples.ts";

t.test("boot doctor: one machine in full, several as a table, and as JSON", async (t) => {
  const lab = await doctorLab(t);
  await lab.add(1, "s1", { group: "lab" });
  await lab.add(2, "s2", { group: "lab" });
  await lab.step("offer", () => lab.dhcp(1, { type: "Discover", options: clientOptions.ovmf }));
  await lab.step("request", () =>
    lab.dhcp(1, { type: "Request", requested: "10.0.0.50", server: "10.0.0.2", options: clientOptions.ovmf }),
  );
  lab.later(30);
  const here = ["--data", lab.dataDir, "doctor"];
  const one = await boot([...here, "s1"]);
  t.match(one, {
    code: 0,
    out: /^s1 \(52:54:00:00:00:01\), furthest: asked for its boot file \(request\)\n\nProbably: s1 took its address from 10\.0\.0\.2 .*\[NEVER_CAME_TO_4011\]\n {2}It may be one of these:\n {2}- .*\n {4}To tell: [\s\S]*\n {2}Seen:\n {4}20\d\d-[\s\S]*\n {2}Do: Look whether UDP port 4011/,
  });
  const room = await boot([...here, "lab"]);
  t.match(
    room.out,
    /^MACHINE +STOPPED AT +CODE +WHY +DO\ns1 +request +NEVER_CAME_TO_4011 +Probably: .*\ns2 +- +NO_DISCOVER +Nothing was ever heard/,
  );
  t.match(JSON.parse((await boot([...here, "lab", "--output", "json"])).out), [
    { machine: "s1", stoppedAt: "request", fine: false, diagnoses: [{ code: "NEVER_CAME_TO_4011" }] },
    { machine: "s2" },
  ]);
  t.match(await boot([...here, macOf(9)]), { code: 0, out: /^52:54:00:00:00:09\n\nNothing was ever heard/ });
  t.match(await boot([...here, "s9"]), { code: 1, err: /^INVALID_HOST_SET/ });
});

t.test("every code stands once in the catalogue, and a test has it", (t) => {
  const codes = catalogue.map(({ code }) => code);
  t.same(codes, [...new Set(codes)]);
  const tests = readdirSync(import.meta.dirname).map((file) =>
    readFileSync(join(import.meta.dirname, file), "utf8"),
  );
  for (const code of codes)
    t.ok(
      tests.some((source) => new RegExp(`["' ]${code}["']`).test(source)),
      code,
    );
  for (const { code, sentence, advice } of catalogue) {
    t.match(sentence, /^([A-Z]|iPXE |kubeadm ).*\.$/, code);
    for (const text of advice) t.ok(text.length > 0 && text.length <= 320, `${code}: ${text}`);
  }
  t.end();
});

t.test("every command and config key that an advice names exists", (t) => {
  const server = resolve(import.meta.dirname, "../../server/doctor");
  const sources = readdirSync(server).map((file) => readFileSync(join(server, file), "utf8"));
  const program = buildProgram();
  const sub = ({ commands }: Command, name: string) => commands.find((one) => one.name() === name);
  for (const [, words = ""] of sources.join("\n").matchAll(/`boot ([a-zN][^`$]*)`/g)) {
    const [first = "", second = ""] = words.split(" ");
    const command = sub(program, first) ?? (words.startsWith("NAME ") ? sub(program, "assign") : undefined);
    const inner = command && command.commands.length > 0 ? sub(command, second) : command;
    t.ok(inner, `boot ${words}`);
    for (const [option] of words.matchAll(/--[a-z-]+/g))
      t.ok(
        inner?.options.some(({ long }) => long === option),
        `boot ${words}`,
      );
  }
  t.end();
});

const packet = (number: number, facts: Partial<DhcpContact> = {}): DhcpContact => ({
  at: sampleTime,
  mac: macOf(number),
  speaker: "firmware",
  firmware: undefined,
  uuid: undefined,
  message: "DISCOVER",
  xid: 1,
  secs: 0,
  port: 67,
  reply: "OFFER",
  silence: undefined,
  address: undefined,
  foreignServer: undefined,
  bootfile: undefined,
  device: undefined,
  serverMs: 1,
  ...facts,
});

t.test("what is seen is bounded for each machine, and strangers do not hide those of the room", (t) => {
  const sightings = createSightings({
    clock: { now: () => sampleTime },
    isKnown: (mac) => mac === macOf(1),
    macAt: (address) => (address === addressOf(1) ? macOf(1) : undefined),
  });
  for (const secs of [0, 4, 12]) sightings.packet(packet(1, { secs, at: sampleTime + secs * 1000 }));
  sightings.refusal(addressOf(1), { method: "GET", url: "/x?secret=1", status: 404, code: "NOT_FOUND" });
  for (let number = 2; number < 2000; number++) {
    sightings.packet(packet(number));
    sightings.refusal(addressOf(number), { method: "GET", url: "/", status: 404, code: "NOT_FOUND" });
  }
  t.match(
    sightings.packetsOf(macOf(1)),
    [{ times: 3, at: sampleTime, lastAt: sampleTime + 12_000 }],
    "a row is one",
  );
  t.match(sightings.at(addressOf(1)).requests, [{ path: "/x", status: 404 }], "without its query");
  t.strictSame(sightings.packetsOf(macOf(2)), [], "the oldest of the strangers gave way");
  for (let index = 0; index < 100; index++)
    sightings.packet(packet(1, { reply: index % 2 ? "OFFER" : "ACK" }));
  t.equal(sightings.packetsOf(macOf(1)).length, 16);
  for (const url of [
    "/callback/sec-ret/join",
    "//boot//claims/sec-ret/ignition.json",
    "/boot/claims/sec-ret",
  ])
    sightings.refusal(addressOf(1), { method: "GET", url, status: 403, code: "CLAIM_REFUSED" });
  t.notMatch(JSON.stringify(sightings.at(addressOf(1))), /sec-ret/, "a claim is a secret");
  t.end();
});

const bootOf = (steps: Boot["steps"], facts: Partial<Boot> = {}): Boot => ({
  id: "b_1",
  machineId: "m_1",
  mac: macOf(1),
  startedAt: sampleTime,
  endedAt: undefined,
  outcome: "running",
  target: undefined,
  phases: [],
  steps,
  verdict: undefined,
  ...facts,
});
const step = (
  name: Boot["steps"][number]["step"],
  atS: number,
  detail: Boot["steps"][number]["detail"] = {},
) => ({
  at: sampleTime + atS * 1000,
  step: name,
  serverMs: undefined,
  detail,
});
const evidence = (facts: Partial<Evidence>): Evidence => ({
  now: sampleTime + 3_600_000,
  listensSince: sampleTime - 3_600_000,
  mode: "proxy",
  mac: macOf(1),
  machine: sampleMachine(1, { name: "s1" }),
  next: undefined,
  boots: [],
  packets: [],
  seenAt: { requests: [], handshakes: [] },
  events: [],
  networkEvents: [],
  cluster: undefined,
  firstLoadBytes: undefined,
  roomBoots: [],
  roomWakes: [],
  ...facts,
});
const codes = (facts: Partial<Evidence>) =>
  diagnose(evidence(facts)).diagnoses.map(({ code, certainty }) => `${certainty} ${code}`);

t.test('by recorded evidence: "IPXE_NO_SECOND_OFFER" is certain where our offer left too late', (t) => {
  const asked = { ...packet(1, { speaker: "ipxe" }), lastAt: sampleTime, times: 1, firmware: undefined };
  const packets = [
    { ...asked, serverMs: 2500 },
    { ...asked, message: "REQUEST" as const, reply: undefined, foreignServer: addressOf(2) },
  ];
  const boots = [bootOf([step("ipxe-dhcp", 0), step("ipxe-dhcp", 3, { server: "10.0.0.2" })])];
  t.same(codes({ boots, packets }), ["certain IPXE_NO_SECOND_OFFER"]);
  t.end();
});

t.test("by recorded evidence: what was given up, retired, declined, lost, or can't be told", (t) => {
  const ended = {
    outcome: "abandoned",
    endedAt: sampleTime + 60_000,
    verdict: "switched off or reset after the step contact",
  } as const;
  t.same(codes({ boots: [bootOf([step("contact", 1)], ended)] }), [
    "probable NO_CAUSE_FOUND",
    "noted SWITCHED_OFF",
  ]);
  t.match(codes({ machine: sampleMachine(1, { phase: "retired", lastSeenAt: sampleTime }) }), [
    "certain RETIRED",
  ]);
  t.same(codes({ machine: sampleMachine(1, { lastSeenAt: sampleTime }) }), ["probable NOT_BOOTED_YET"]);
  const event = {
    seq: 1,
    level: "warning",
    bootId: undefined,
    actor: undefined,
    machineId: "m_1",
    data: {},
  } as const;
  const declined = {
    ...event,
    type: "dhcp.conflict",
    at: sampleTime + 2000,
    message: "s1 declined 10.0.0.9",
  } as const;
  t.match(codes({ boots: [bootOf([step("discover", 0), step("offer", 0)])], events: [declined] }), [
    "probable ADDRESS_CONFLICT",
  ]);
  const refused = {
    ...event,
    type: "script.failed",
    at: sampleTime + 9000,
    message: "s1: busy",
    data: { code: "SERVER_BUSY" },
  } as const;
  t.match(codes({ boots: [bootOf([step("script", 9, { code: "SERVER_BUSY" })])], events: [refused] }), [
    "certain SCRIPT_REFUSED",
  ]);
  t.end();
});

t.test(
  'by recorded evidence: "JOIN_FAILED", "NODE_NOT_READY" and "NODE_LOST" stand in the machine\'s row',
  (t) => {
    const row = (state: string, facts: object = {}) =>
      ({
        state: "up",
        endpoint: "api.lab:6443",
        readyMasters: 1,
        unarmedMasters: [],
        node: {
          bootId: "b_1",
          state,
          since: sampleTime,
          problem: undefined,
          tries: 0,
          sequence: 3,
          ...facts,
        },
      }) as unknown as Evidence["cluster"];
    const boots = [bootOf([step("callback", 9)])];
    t.match(
      codes({ boots, cluster: row("failed", { problem: "kubeadm ended with 1: no disk", tries: 3 }) }),
      ["certain JOIN_FAILED"],
    );
    t.match(codes({ boots, cluster: row("registered") }), ["probable NODE_NOT_READY"]);
    t.match(codes({ boots, cluster: row("lost") }), ["certain NODE_LOST"]);
    t.end();
  },
);

t.test(
  "by recorded evidence: how long a firmware may take is learned from the room's other machines",
  (t) => {
    const order = (data: object, atS = 0): Evidence["events"][number] => ({
      seq: 1,
      type: "machine.power",
      level: "info",
      bootId: undefined,
      actor: undefined,
      machineId: "m_1",
      at: sampleTime + atS * 1000,
      message: "s1: switch it on",
      data: { action: "on", method: "redfish", ...data },
    });
    const asked = (facts: Partial<Evidence>, afterS = 180) =>
      codes({ now: sampleTime + afterS * 1000, ...facts });
    const events = [order({})];
    t.same(asked({ events }), ["certain WAKING"]);
    t.same(asked({ events, roomWakes: [20_000, 20_000] }), ["certain WAKING"], "two are too few");
    t.same(asked({ events, roomWakes: [20_000, 21_000, 400_000] }), ["probable WOKEN_NOT_SEEN"]);
    t.same(asked({ events, roomWakes: [50_000, 50_000, 50_000] }), ["certain WAKING"], "servers are slow");
    t.same(asked({ events: [order({ code: "POWER_FAILED" })] }), ["certain NO_DISCOVER"], "nobody got it");
    t.same(asked({ events: [...events, order({ action: "off" }, 1)] }), ["certain NO_DISCOVER"]);
    const ready = {
      machine: sampleMachine(1, { name: "s1", phase: "ready", lastSeenAt: sampleTime - 9000 }),
      boots: [
        bootOf([{ ...step("callback", 0), at: sampleTime - 9000 }], {
          startedAt: sampleTime - 60_000,
          outcome: "ready",
        }),
      ],
    };
    t.same(
      asked({ ...ready, events: [order({ method: "wol" })] }, 900),
      ["certain HEALTHY", "noted WOKEN_NOT_SEEN"],
      "it may have been on all the time",
    );
    t.same(asked({ ...ready, events }, 900), ["probable WOKEN_NOT_SEEN"], "its board has switched it on");
    t.end();
  },
);

t.test("by recorded evidence: how long a part of a boot may take is learned in the same role", (t) => {
  const loaded = [step("script", 1), step("kernel", 2), step("initrd", 3)];
  const other = (networkS: number, target = "worker") =>
    bootOf([...loaded, step("network", networkS, { reported: 1 })], { target, outcome: "ready" });
  const silent = (afterS: number, roomBoots: readonly Boot[]) =>
    codes({
      now: sampleTime + afterS * 1000,
      boots: [bootOf(loaded, { target: "worker" })],
      roomBoots,
    });
  t.same(silent(250, []), ["certain UNDER_WAY"], "5 minutes, where nobody knows");
  t.same(silent(310, []), ["probable KERNEL_SILENT"]);
  const quick = [other(20), other(22), other(30)];
  t.same(silent(100, quick), ["certain UNDER_WAY"]);
  t.same(silent(130, quick), ["probable KERNEL_SILENT"]);
  t.same(silent(130, quick.slice(1)), ["certain UNDER_WAY"], "two are too few");
  t.same(silent(130, [...quick.slice(1), other(5, "desktop")]), ["certain UNDER_WAY"], "of another role");
  const slow = [other(203), other(203), other(203)];
  t.same(silent(600, slow), ["certain UNDER_WAY"]);
  t.same(silent(900, slow), ["probable KERNEL_SILENT"]);
  t.end();
});

t.test("some ROMs write secs in the other byte order: 28 s come as 7168", (t) => {
  const late = (secs: number) => codes({ boots: [bootOf([step("discover", 0, { secs })])] });
  t.match(late(28), ["probable SPANNING_TREE_DELAY"]);
  t.match(late(28 * 256), ["probable SPANNING_TREE_DELAY"]);
  for (const secs of [0, 4, 4 * 256, 40_001]) t.notMatch(late(secs), /SPANNING_TREE/, String(secs));
  t.end();
});
