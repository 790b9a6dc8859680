import { type PreferencesInput, withPreferences } from "../domain/boot-preferences.ts";
import type { Clock, EpochMs, Ids, Log } from "../domain/capabilities.ts";
import { GroupNotFound, InvalidMac, InvalidRequest, MachineNotFound } from "../domain/error-catalogue.ts";
import type { RecordEvent } from "../domain/event.ts";
import type { Arch, Firmware } from "../domain/firmware.ts";
import { isMachineName, type Machine, nameFromMac, type Phase } from "../domain/machine.ts";
import { advance } from "../domain/machine-lifecycle.ts";
import { ramAfterReport } from "../domain/ram-budget.ts";
import { type Ipv4, parseIpv4 } from "../net/ipv4.ts";
import { isUnusableMac, type Mac, parseMac } from "../net/mac.ts";
import { isUsableUuid, type Uuid } from "../net/uuid.ts";
import type { AssignmentRepository } from "../store/assignments.ts";
import type { ClaimRepository } from "../store/claims.ts";
import type { ClusterRepository } from "../store/cluster.ts";
import type { GroupRepository } from "../store/groups.ts";
import type { MachineRepository } from "../store/machines.ts";
import { createUnknownMachines } from "./unknown-machines.ts";

/** What a machine says of itself: hostile input, cut to length, for display and inventory only. */
export interface MachineFacts {
  readonly uuid?: Uuid | undefined;
  readonly serial?: string | undefined;
  readonly manufacturer?: string | undefined;
  readonly product?: string | undefined;
  readonly firmware?: Firmware | undefined;
  readonly arch?: Arch | undefined;
  readonly secureBoot?: boolean | undefined;
  readonly ramBytes?: number | undefined;
}

/** What a person says of a machine. `undefined` leaves a fact as it is, `null` takes it away. */
export interface MachineInput extends PreferencesInput {
  readonly name?: string | undefined;
  readonly macs?: readonly string[] | undefined;
  readonly group?: string | null | undefined;
  readonly seat?: string | null | undefined;
  readonly address?: string | null | undefined;
  readonly labels?: Readonly<Record<string, string>> | undefined;
}

const tooMany = "too many unknown machines, this one is not recorded";

export interface InventoryDeps {
  readonly clock: Clock;
  readonly ids: Ids;
  readonly log: Pick<Log, "warn">;
  readonly record: RecordEvent;
  readonly machines: MachineRepository;
  readonly groups: GroupRepository;
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

  function blank(mac: Mac, now: EpochMs): Machine {
    return {
      id: ids.id("m"),
      name: nameFromMac(mac),
      macs: [mac],
      uuid: undefined,
      serial: undefined,
      manufacturer: undefined,
      product: undefined,
      arch: undefined,
      firmware: undefined,
      secureBoot: undefined,
      group: undefined,
      seat: undefined,
      labels: {},
      address: undefined,
      ramBytes: undefined,
      localBoot: undefined,
      driver: undefined,
      ramCheck: undefined,
      phase: "discovered",
      createdAt: now,
      acceptedAt: undefined,
      lastSeenAt: now,
    };
  }

  async function ensureGroup(name: string | null | undefined, actor: string): Promise<void> {
    if (typeof name === "string" && !groups.find(name)) await addGroup(name, "", actor);
  }
  async function addGroup(name: string, description: string, actor: string | undefined): Promise<void> {
    if (!isMachineName(name))
      throw InvalidRequest({
        problem: `group ${JSON.stringify(name.slice(0, 70))}: a name is lower-case letters, digits and hyphens`,
        advice: "Write it like lab225 or second-floor.",
      });
    const blank = {
      name,
      localBoot: undefined,
      driver: undefined,
      ramCheck: undefined,
      createdAt: clock.now(),
    };
    await groups.save({ ...blank, ...groups.find(name), description });
    record({ type: "group.added", actor, message: `group ${name} added`, data: { group: name } });
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
    groupOf: (machine: Machine) => (machine.group === undefined ? undefined : groups.find(machine.group)),
    addGroup,

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
      const machine = apply(
        {
          ...blank(first, clock.now()),
          macs,
          phase: "accepted",
          acceptedAt: clock.now(),
          lastSeenAt: undefined,
        },
        input,
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
        return apply(before, input);
      });
      if (!next) throw MachineNotFound({ name: id });
      record({
        type: "machine.edited",
        machineId: id,
        actor,
        message: `${next.name} edited`,
        data: { ...input, before: former && before(former, input) },
      });
      return next.group === former?.group ? next : settleRole(next);
    },

    async accept(id: string, name: string | undefined, actor: string): Promise<Machine> {
      let formerPhase: Phase | undefined;
      const next = await machines.update(id, (before) => {
        formerPhase = before.phase;
        const renamed = name === undefined ? before : apply(before, { name });
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
    async editGroup(
      name: string,
      input: PreferencesInput & { readonly description?: string | undefined },
      actor: string,
    ): Promise<void> {
      const group = groups.find(name);
      if (!group) throw GroupNotFound({ group: name });
      await groups.save({
        ...group,
        description: input.description ?? group.description,
        ...withPreferences(group, input),
      });
      record({
        type: "group.edited",
        actor,
        message: `group ${name} edited`,
        data: { group: name, ...input, before: before(group, input) },
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
    const machine = await machines.add(withFacts(blank(mac, clock.now()), facts));
    record({
      type: "machine.discovered",
      machineId: machine.id,
      message: `${machine.name} discovered${machine.product ? `: ${machine.manufacturer ?? ""} ${machine.product}` : ""}`,
      data: { mac },
    });
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
    return isSame ? known : machines.update(known.id, (before) => withFacts(before, facts));
  }
}

export type Inventory = ReturnType<typeof createInventory>;

/** Control characters out, 120 characters at most; empty is unknown. */
function cut(text: string | undefined): string | undefined {
  const clean = text?.replaceAll(/\p{C}/gu, "").trim().slice(0, 120);
  return clean === "" ? undefined : clean;
}

function withFacts(machine: Machine, facts: MachineFacts): Machine {
  return {
    ...machine,
    uuid: facts.uuid && isUsableUuid(facts.uuid) ? facts.uuid : machine.uuid,
    serial: cut(facts.serial) ?? machine.serial,
    manufacturer: cut(facts.manufacturer) ?? machine.manufacturer,
    product: cut(facts.product) ?? machine.product,
    arch: facts.firmware?.arch ?? facts.arch ?? machine.arch,
    firmware: facts.firmware?.name ?? machine.firmware,
    secureBoot: facts.secureBoot ?? machine.secureBoot,
    ramBytes: facts.ramBytes ?? machine.ramBytes,
  };
}

/** What stood in the place of what was changed. */
function before<T extends object>(former: T, input: object): Partial<T> {
  const changed = Object.entries(former).filter(([key]) => key in input);
  return Object.fromEntries(changed) as Partial<T>;
}

function readMacs(texts: readonly string[]): Mac[] {
  const macs = texts.map((text) => {
    const mac = parseMac(text);
    if (!mac || isUnusableMac(mac)) throw InvalidMac({ text });
    return mac;
  });
  return [...new Set(macs)];
}

function needsMac() {
  return InvalidRequest({
    problem: "a machine needs at least one MAC",
    advice:
      "Name it with --mac: `boot machine add s4 --mac 52:54:00:00:00:04`. It stands on the machine's label and on its screen while it boots.",
  });
}

/** @throws InvalidRequest, InvalidMac */
function apply(machine: Machine, input: MachineInput): Machine {
  if (input.name !== undefined && !isMachineName(input.name))
    throw InvalidRequest({
      problem: `name ${JSON.stringify(input.name.slice(0, 70))}: a name is lower-case letters, digits and inner hyphens, at most 63`,
      advice: "Write it like s4 or master-1: it is the machine's host name.",
    });
  const address = typeof input.address === "string" ? parseIpv4(input.address) : undefined;
  if (typeof input.address === "string" && !address)
    throw InvalidRequest({
      problem: `address ${JSON.stringify(input.address.slice(0, 40))} is not an IPv4 address`,
      advice: "Write it like 10.0.0.14.",
    });
  const macs = input.macs === undefined ? machine.macs : readMacs(input.macs);
  if (macs.length === 0) throw needsMac();
  return {
    ...machine,
    name: input.name ?? machine.name,
    macs,
    group: input.group === undefined ? machine.group : (input.group ?? undefined),
    seat: input.seat === undefined ? machine.seat : (input.seat ?? undefined),
    address: input.address === undefined ? machine.address : address,
    labels: input.labels ?? machine.labels,
    ...withPreferences(machine, input),
  };
}
