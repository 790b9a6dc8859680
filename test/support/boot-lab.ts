import { mkdirSync, writeFileSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { createAddressBook } from "../../server/boot/address-book.ts";
import { type BootServiceDeps, createBootService } from "../../server/boot/boot-service.ts";
import { createAskerGate } from "../../server/boot/asker-gate.ts";
import { createClaims } from "../../server/boot/claims.ts";
import { createImageHolds } from "../../server/boot/image-holds.ts";
import { createBootTracker } from "../../server/boot/tracker.ts";
import { type AssignedTarget, type AssignmentMode, withoutExam } from "../../server/domain/assignment.ts";
import type { ServedKind } from "../../server/domain/role.ts";
import type { Ids } from "../../server/domain/capabilities.ts";
import type { DhcpContact, FirstStageProgress, TftpContact } from "../../server/domain/contact.ts";
import type { Event, NewEvent } from "../../server/domain/event.ts";
import { firmwareByCode } from "../../server/domain/firmware.ts";
import type { Machine } from "../../server/domain/machine.ts";
import type { Operation } from "../../server/domain/operation.ts";
import type { Mac } from "../../server/net/mac.ts";
import { createAssigning } from "../../server/inventory/assigning.ts";
import { createExams } from "../../server/inventory/exams.ts";
import { createUndoing } from "../../server/inventory/undoing.ts";
import { createInventory } from "../../server/inventory/inventory.ts";
import type { MachineFacts } from "../../server/inventory/machine-input.ts";
import { silentLog } from "../../server/platform/logger.ts";
import { createRenderer, loadStandardTemplates } from "../../server/render/documents.ts";
import { loadRoles } from "../../server/render/load-roles.ts";
import { openStore } from "../../server/store/open-store.ts";
import { ManualClock } from "./manual-clock.ts";
import {
  addressOf,
  macOf,
  sampleImage,
  sampleTime,
  temporaryDirectory,
  neighbourTable,
  sampleNumbers,
} from "./samples.ts";

const templates = resolve(import.meta.dirname, "../../templates");
export const serverUrl = "http://10.1.0.1:8080";

/** Writes `files` (path -> text) below a directory. */
export function writeFiles(directory: string, files: Readonly<Record<string, string>>): void {
  for (const [path, text] of Object.entries(files)) {
    mkdirSync(dirname(join(directory, path)), { recursive: true });
    writeFileSync(join(directory, path), text);
  }
}

type Overrides = Partial<
  Pick<BootServiceDeps, "unknownMachines" | "defaultRole" | "hearsDhcp" | "localBoot" | "nodes">
> & {
  /** Roles beside the shipped ones: `name/role.yaml` -> text. */
  readonly roles?: Readonly<Record<string, string>>;
  /** Neighbour table, read anew for each question. */
  readonly neighbours?: () => string;
};

/** Each machine stands at its own address. */
const everyoneAtHome = () =>
  neighbourTable(sampleNumbers.map((number) => [addressOf(number), macOf(number)]));

/** The boot room on a store in memory and a clock that stands still, with an image that exists by its word only. */
export async function createBootLab(
  t: { teardown(fn: () => void): unknown },
  {
    unknownMachines = "discover",
    defaultRole,
    hearsDhcp = true,
    localBoot = "exit",
    roles = {},
    neighbours = everyoneAtHome,
    nodes,
  }: Overrides = {},
) {
  const clock = new ManualClock(sampleTime);
  let made = 0;
  const ids: Ids = { secret: () => `secret${++made}`, id: (prefix) => `${prefix}_${++made}` };
  const store = openStore(":memory:", clock);
  t.teardown(() => store.close());
  await store.images.save(sampleImage("1"));
  const rolesDir = temporaryDirectory(t);
  writeFiles(rolesDir, roles);
  const allRoles = () => loadRoles([join(templates, "roles"), rolesDir]);

  const events: NewEvent[] = [];
  const steps: Event[] = [];
  const record = (event: NewEvent) => void events.push(event);
  store.events.subscribe((event) => steps.push(event));
  const log = silentLog;
  const makeTracker = () =>
    createBootTracker({
      clock,
      ids,
      log,
      machines: store.machines,
      boots: store.boots,
      record,
      announce: store.events.announce,
    });
  const tracker = makeTracker();
  const onChange = (machine: Machine) => {
    const hasRole = boots.select(machine).source !== "unknown-policy";
    tracker.advance(machine.id, hasRole ? "role.assigned" : "role.released");
  };
  const inventory = createInventory({
    clock,
    ids,
    log,
    record,
    ...store,
    forgetBoots: tracker.forget,
    onChange,
  });
  const addresses = createAddressBook(clock);
  const gate = createAskerGate({ record, addresses, readNeighbourTable: neighbours });
  const claims = createClaims({
    clock,
    ids,
    claims: store.claims,
    record,
    judgeAddress: (address, { mac, machineId }) =>
      gate.judge(address, [mac, ...(store.machines.find(machineId)?.macs ?? [])]),
  });
  const missing = new Set<string>();
  const progresses: [Mac, FirstStageProgress][] = [];
  const operations: Operation[] = [];
  const exams = createExams({
    clock,
    record,
    exams: store.exams,
    inventory,
    check: (target) => boots.check(target),
    findRole: (role) => allRoles().roles.get(role),
    targetWithoutExam: (machine) => withoutExam(boots.select(machine)),
    operations: () => operations,
    onChange,
  });
  const boots = createBootService({
    exams,
    ids,
    log,
    record,
    inventory,
    claims,
    tracker,
    addresses,
    unknownMachines,
    defaultRole,
    hearsDhcp,
    localBoot,
    nodes,
    onProgress: (mac, progress) => void progresses.push([mac, progress]),
    renderer: createRenderer(loadStandardTemplates(templates)),
    roles: allRoles,
    assignments: store.assignments,
    images: store.images,
    gate,
    holds: createImageHolds(clock, store.claims),
    hasContent: async (sha256) => !missing.has(sha256),
  });
  const assigning = createAssigning({
    clock,
    ids,
    record,
    inventory,
    assignments: store.assignments,
    select: boots.select,
    check: boots.check,
    bootOf: (role) => allRoles().roles.get(role)?.boot,
    onChange,
  });

  const undoing = createUndoing({
    clock,
    record,
    inventory,
    assignments: store.assignments,
    select: boots.select,
    onChange,
    examStart: exams.lastStart,
  });

  const lab = {
    clock,
    progresses,
    store,
    tracker,
    inventory,
    claims,
    addresses,
    boots,
    assigning,
    undoing,
    record,
    exams,
    /** Those under way, as an exam that begins finds them. */
    operations,
    events,
    steps,
    missing,
    rolesDir,
    /** A tracker as after a restart. */
    makeTracker,
    /** Everything that is on its way to the store has arrived, and what follows from it too. */
    async settle(): Promise<void> {
      for (let round = 0; round < 4; round++) await store.probe();
    },
    add: (number: number, name: string) => inventory.add({ name, macs: [macOf(number)] }, "anna"),
    async assign(machines: string, role: string | AssignedTarget, mode: AssignmentMode = "always") {
      const target = typeof role === "string" ? ({ kind: "role", role, params: {} } as const) : role;
      const plan = await assigning.assign({ machines, target, mode, actor: "anna" });
      await lab.settle();
      return plan;
    },
    dhcp: (number: number, contact: Partial<DhcpContact> = {}) =>
      boots.dhcpContact({
        at: clock.now(),
        mac: macOf(number),
        speaker: "firmware",
        firmware: firmwareByCode(7),
        uuid: undefined,
        message: "DISCOVER",
        xid: 1,
        secs: 0,
        port: 67,
        reply: "OFFER",
        silence: undefined,
        address: addressOf(number),
        foreignServer: undefined,
        bootfile: "snponly.efi",
        device: "eth0",
        serverMs: 0.5,
        ...contact,
      }),
    tftp: (number: number, contact: Partial<TftpContact> = {}) =>
      boots.tftpContact({
        at: clock.now(),
        clientAddress: addressOf(number),
        file: "snponly.efi",
        outcome: "complete",
        sizeBytes: 1000,
        sentBytes: 1000,
        retransmissions: 0,
        durationMs: 10,
        serverMs: 0.5,
        ...contact,
      }),
    script: (
      number: number,
      { from = number, facts = {}, pick }: { from?: number; facts?: MachineFacts; pick?: string } = {},
    ) => boots.script({ mac: macOf(number), address: addressOf(from), serverUrl, facts, pick }),
    /** The script of an image, and the claim in it. */
    async claim(number: number): Promise<string> {
      const { script } = await lab.script(number);
      const claim = /\/callback\/([a-z0-9]+)/.exec(script)?.[1];
      if (!claim) throw new Error(`no claim in the script:\n${script}`);
      return claim;
    },
    config: (
      claim: string,
      from: number,
      kind: Exclude<ServedKind, "ipxe"> = "user-data",
      ignitionMinor?: number,
    ) => boots.config({ secret: claim, address: addressOf(from), kind, serverUrl, ignitionMinor }),
    machine: (name: string) => inventory.get(name),
    boot: (name: string) => {
      const boot = tracker.current(inventory.get(name).id);
      if (!boot) throw new Error(`${name} has no boot`);
      return boot;
    },
    stepsOf: (name: string) => lab.boot(name).steps.map(({ step }) => step),
    of: (type: NewEvent["type"]) => events.filter((event) => event.type === type),
    alarms: () => events.filter(({ level }) => level === "alarm"),
  };
  return lab;
}
export type BootLab = Awaited<ReturnType<typeof createBootLab>>;
