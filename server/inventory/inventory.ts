import { type PreferencesInput, withPreferences } from "../domain/boot-preferences.ts";
import type { Clock, Ids, Log } from "../domain/capabilities.ts";
import {
  GroupNotFound,
  InvalidMac,
  InvalidRequest,
  MachineNotFound,
  SeatNotInRoom,
} from "../domain/error-catalogue.ts";
import type { RecordEvent } from "../domain/event.ts";
import type { Firmware } from "../domain/firmware.ts";
import { type Hardware, hardwareChanges, type ReportedHardware } from "../domain/hardware.ts";
import { isMachineName, type Machine, type Phase } from "../domain/machine.ts";
import { advance } from "../domain/machine-lifecycle.ts";
import { ramAfterReport } from "../domain/ram-budget.ts";
import { faultOfPlan, planInWords, type RoomPlan, seatMeant } from "../domain/room.ts";
import type { Ipv4 } from "../net/ipv4.ts";
import { isUnusableMac, type Mac } from "../net/mac.ts";
import { parseUuid } from "../net/uuid.ts";
import type { AssignmentRepository } from "../store/assignments.ts";
import type { ClaimRepository } from "../store/claims.ts";
import type { ClusterRepository } from "../store/cluster.ts";
import type { Group, GroupRepository } from "../store/groups.ts";
import type { HardwareRepository } from "../store/hardware.ts";
import type { MachineRepository } from "../store/machines.ts";
import {
  type MachineFacts,
  type MachineInput,
  needsMac,
  newMachine,
  readMacs,
  replacedBy,
  withFacts,
  withInput,
} from "./machine-input.ts";
import { createListImport } from "./importing.ts";
import { createNaming } from "./naming.ts";
import { createSharedUuids } from "./shared-uuids.ts";
import { createUnknownMachines } from "./unknown-machines.ts";

/** What a person says of a group. `undefined` leaves it as it is, `null` takes it away. */
export interface GroupInput extends PreferencesInput {
  readonly description?: string | undefined;
  readonly plan?: RoomPlan | null | undefined;
}

const tooMany = "too many unknown machines, this one is not recorded";

export interface InventoryDeps {
  readonly clock: Clock;
  readonly ids: Ids;
  readonly log: Pick<Log, "warn">;
  readonly record: RecordEvent;
  readonly machines: MachineRepository;
  readonly groups: GroupRepository;
  readonly hardware: HardwareRepository;
  readonly assignments: Pick<AssignmentRepository, "find" | "forget">;
  readonly claims: Pick<ClaimRepository, "forgetMachine">;
  readonly cluster: Pick<ClusterRepository, "forgetMachine">;
  /** Called when a machine is removed. */
  readonly forgetBoots: (machineId: string) => void;
  /** The machine may have a role now that it had not, or none any more: its group changed, or it was accepted. */
  readonly onChange: (machine: Machine) => void;
}

/** Machines and groups: who is there, what is known of them. */
export function createInventory(deps: InventoryDeps) {
  const { clock, ids, log, record, machines, groups } = deps;

  async function ensureGroup(name: string | null | undefined, actor: string): Promise<void> {
    if (typeof name === "string" && !groups.find(name)) await addGroup(name, "", actor);
  }
  async function addGroup(name: string, description: string, actor: string | undefined): Promise<void> {
    if (!isMachineName(name))
      throw InvalidRequest({
        problem: `group ${JSON.stringify(name.slice(0, 70))}: a name is lower-case letters, digits and hyphens`,
        advice: "Write it like lab225 or second-floor.",
      });
    await groups.save({ ...blankGroup(name), ...groups.find(name), description });
    tellGroup(name, actor);
  }
  const blankGroup = (name: string): Group => ({
    name,
    description: "",
    localBoot: undefined,
    driver: undefined,
    ramCheck: undefined,
    plan: undefined,
    createdAt: clock.now(),
  });
  const tellGroup = (name: string, actor: string | undefined): void =>
    record({ type: "group.added", actor, message: `group ${name} added`, data: { group: name } });
  /** @param names asked inside the commit, after what was asked for before */
  async function addGroups(names: () => readonly string[], actor: string): Promise<void> {
    let added: readonly string[] = [];
    await groups.saveAll(() => (added = names()).map(blankGroup));
    for (const name of added) tellGroup(name, actor);
  }

  /**
   * The machine at a seat of its room as the plan spells it; a room without a plan has any seat. Asked when somebody puts it there, so
   * that another plan leaves it where it was. @throws SeatNotInRoom
   */
  function seated(machine: Machine, before?: Machine): Machine {
    const { group, seat } = machine;
    if (group === undefined || seat === undefined) return machine;
    if (before?.group === group && before.seat === seat) return machine;
    const plan = groups.find(group)?.plan;
    if (!plan) return machine;
    const meant = seatMeant(plan, seat);
    if (meant === undefined) throw SeatNotInRoom({ seat, group, seats: planInWords(plan) });
    return { ...machine, seat: meant };
  }

  /** Lets the machine's phase follow its role. @returns the machine as it is then */
  async function settleRole(machine: Machine): Promise<Machine> {
    deps.onChange(machine);
    return (await machines.update(machine.id, (settled) => settled)) ?? machine;
  }

  /** Discoveries under way, so that two packets of one machine make one machine. */
  const meeting = new Map<Mac, Promise<Machine>>();
  /** Machines that are being removed to make room. */
  const leaving = new Set<string>();
  const unknown = createUnknownMachines(deps);
  const uuids = createSharedUuids(deps);
  const lists = createListImport({ ...deps, addGroups, settleRole });
  const naming = createNaming({ ...deps, settleRole });

  return {
    all: () => machines.all(),
    findByMac: (mac: Mac) => machines.findByMac(mac),
    get: (nameOrMac: string) => machines.get(nameOrMac),
    find: (id: string) => machines.find(id),
    reservationOf: (mac: Mac): Ipv4 | undefined => machines.findByMac(mac)?.address,
    /** The MACs that a reserved address is for. */
    ownerOf: (address: Ipv4): Mac | undefined => machines.findByAddress(address)?.macs[0],
    groupNames: () => groups.names(),
    groups: () => groups.all(),
    /** Other machines that say the same UUID of themselves. */
    sharersOf: uuids.sharersOf,
    groupOf: (machine: Machine) => (machine.group === undefined ? undefined : groups.find(machine.group)),
    addGroup,
    lists,
    naming,

    /**
     * The machine with this MAC; one that nobody knows is recorded as discovered. What it says of itself is noted.
     * @throws MachineNotFound when it is unknown and too many unknown ones were met already
     */
    async meet(mac: Mac, facts: MachineFacts): Promise<Machine> {
      const known = machines.findByMac(mac);
      if (known) return (await noteFacts(known, facts)) ?? known;
      const underWay = meeting.get(mac);
      if (underWay) return underWay;
      const discovered = discover(mac, facts).finally(() => meeting.delete(mac));
      meeting.set(mac, discovered);
      return discovered;
    },

    /** Whether a machine that nobody knows would be recorded; said in the log when not. */
    mayMeet(mac: Mac): boolean {
      if (meeting.has(mac) || unknown.hasRoom(meeting.size) || unknown.findReplaceable(leaving) !== undefined)
        return true;
      log.warn({ mac, unaccepted: machines.unaccepted().size }, tooMany);
      return false;
    },

    noteFirmware(machine: Machine, firmware: Firmware): void {
      if (machine.firmware === firmware.name) return;
      machines
        .updateNow(machine.id, (before) => ({ ...before, firmware: firmware.name, arch: firmware.arch }))
        .catch((error: unknown) => log.warn({ err: error }, "failed to note a machine's firmware"));
    },

    /** The RAM that its own system has told, for the next boot. */
    noteReportedRam({ id, ramBytes }: Machine, reported: number): void {
      const next = ramAfterReport(ramBytes, reported);
      if (next === ramBytes) return;
      machines
        .update(id, (before) => ({ ...before, ramBytes: next }))
        .catch((error: unknown) => log.warn({ err: error }, "failed to note a machine's RAM"));
    },

    hardwareOf: ({ id }: Machine): ReportedHardware | undefined => deps.hardware.find(id),

    /** What its own system found in it. What differs from the report before is an event: a DIMM may have left the room. */
    async noteHardware(machine: Machine, found: Hardware): Promise<void> {
      const before = deps.hardware.find(machine.id);
      await deps.hardware.save(machine.id, { ...found, reportedAt: clock.now() });
      await noteFacts(machine, {
        uuid: machine.uuid ?? parseUuid(found.uuid ?? ""),
        serial: machine.serial ?? found.serial,
        manufacturer: machine.manufacturer ?? found.vendor,
        product: machine.product ?? found.product,
      });
      const changes = before ? hardwareChanges(before, found) : [];
      if (changes.length === 0) return;
      record({
        type: "machine.hardware",
        level: "warning",
        machineId: machine.id,
        message: `${machine.name} has other hardware than before: ${changes.join(", ")}`,
        data: { changes },
      });
    },

    /** What it said of its Secure Boot seems to hold no longer. */
    forgetSecureBoot(machine: Machine): void {
      machines
        .update(machine.id, (before) => ({ ...before, secureBoot: undefined }))
        .catch((error: unknown) => log.warn({ err: error }, "failed to note a machine's Secure Boot"));
    },

    async add(input: MachineInput, actor: string): Promise<Machine> {
      const macs = readMacs(input.macs ?? []);
      const [first] = macs;
      if (!first) throw needsMac();
      await ensureGroup(input.group, actor);
      const machine = seated(
        withInput(
          {
            ...newMachine(ids.id("m"), first, clock.now()),
            macs,
            phase: "accepted",
            acceptedAt: clock.now(),
            lastSeenAt: undefined,
          },
          input,
        ),
      );
      await machines.add(machine);
      record({
        type: "machine.added",
        machineId: machine.id,
        actor,
        message: `${machine.name} added`,
        data: { macs },
      });
      return settleRole(machine);
    },

    async edit(id: string, input: MachineInput, actor: string): Promise<Machine> {
      await ensureGroup(input.group, actor);
      let former: Machine | undefined;
      const next = await machines.update(id, (before) => {
        former = before;
        return seated(withInput(before, input), before);
      });
      if (!next) throw MachineNotFound({ name: id });
      record({
        type: "machine.edited",
        machineId: id,
        actor,
        message: `${next.name} edited`,
        data: { ...input, before: former && replacedBy(former, input) },
      });
      return next.group === former?.group ? next : settleRole(next);
    },

    async accept(id: string, name: string | undefined, actor: string): Promise<Machine> {
      let formerPhase: Phase | undefined;
      const next = await machines.update(id, (before) => {
        formerPhase = before.phase;
        const renamed = name === undefined ? before : withInput(before, { name });
        const accepted = { ...renamed, acceptedAt: before.acceptedAt ?? clock.now() };
        return { ...accepted, phase: advance(before.phase, "machine.accepted") ?? before.phase };
      });
      if (!next) throw MachineNotFound({ name: id });
      record({ type: "machine.accepted", machineId: id, actor, message: `${next.name} accepted`, data: {} });
      if (next.phase !== formerPhase)
        record({
          type: "machine.phase",
          machineId: id,
          message: `${next.name}: ${formerPhase} -> ${next.phase}`,
          data: { from: formerPhase, to: next.phase, because: "machine.accepted" },
        });
      return settleRole(next);
    },

    remove,

    /** @throws GroupNotFound */
    async editGroup(name: string, input: GroupInput, actor: string): Promise<void> {
      const group = groups.find(name);
      if (!group) throw GroupNotFound({ group: name });
      const fault = input.plan && faultOfPlan(input.plan);
      if (fault !== undefined && fault !== null)
        throw InvalidRequest({
          problem: `the plan of ${name}: ${fault}`,
          advice:
            "Write it like 4x6, or row by row like 'A1 A2 . A3 / B1 B2 . B3'; a dot is a place without a seat.",
        });
      await groups.save({
        ...group,
        description: input.description ?? group.description,
        plan: input.plan === undefined ? group.plan : (input.plan ?? undefined),
        ...withPreferences(group, input),
      });
      record({
        type: "group.edited",
        actor,
        message: `group ${name} edited`,
        data: { group: name, ...input, before: replacedBy(group, input) },
      });
    },

    async removeGroup(name: string, actor: string): Promise<void> {
      const members = await Promise.all(
        machines
          .all()
          .filter((machine) => machine.group === name)
          .map(({ id }) => machines.update(id, (before) => ({ ...before, group: undefined }))),
      );
      await groups.remove(name);
      deps.assignments.forget({ kind: "group", group: name });
      for (const machine of members) if (machine) deps.onChange(machine);
      record({ type: "group.removed", actor, message: `group ${name} removed`, data: { group: name } });
    },
  };

  async function discover(mac: Mac, facts: MachineFacts): Promise<Machine> {
    if (isUnusableMac(mac)) throw InvalidMac({ text: mac });
    await makeRoom(mac);
    const machine = await machines.add(withFacts(newMachine(ids.id("m"), mac, clock.now()), facts));
    record({
      type: "machine.discovered",
      machineId: machine.id,
      message: `${machine.name} discovered${machine.product ? `: ${machine.manufacturer ?? ""} ${machine.product}` : ""}`,
      data: { mac },
    });
    uuids.tell(machine);
    return machine;
  }

  /** @throws MachineNotFound when there are too many machines that nobody accepted, and all of them were seen of late */
  async function makeRoom(mac: Mac): Promise<void> {
    if (unknown.hasRoom(meeting.size)) return;
    const oldest = unknown.findReplaceable(leaving);
    if (!oldest) {
      log.warn({ mac, unaccepted: machines.unaccepted().size }, tooMany);
      throw MachineNotFound({ name: mac });
    }
    leaving.add(oldest.id);
    await remove(oldest, undefined).finally(() => leaving.delete(oldest.id));
  }

  /** @param actor undefined: it made room for another */
  async function remove(machine: Machine, actor: string | undefined): Promise<void> {
    await machines.remove(machine.id);
    deps.assignments.forget({ kind: "machine", machineId: machine.id });
    deps.claims.forgetMachine(machine.id);
    deps.cluster.forgetMachine(machine.id);
    deps.hardware.forgetMachine(machine.id);
    deps.forgetBoots(machine.id);
    const why = actor === undefined ? ": unknown, silent for over an hour, it made room for another" : "";
    record({
      type: "machine.removed",
      actor,
      message: `${machine.name} removed${why}`,
      data: { name: machine.name, macs: machine.macs },
    });
  }

  async function noteFacts(known: Machine, facts: MachineFacts): Promise<Machine | undefined> {
    const next = withFacts(known, facts);
    const isSame = (Object.keys(next) as (keyof Machine)[]).every((key) => next[key] === known[key]);
    if (isSame) return known;
    const noted = await machines.update(known.id, (before) => withFacts(before, facts));
    if (noted && noted.uuid !== known.uuid) uuids.tell(noted);
    return noted;
  }
}

export type Inventory = ReturnType<typeof createInventory>;
