import type { Database } from "better-sqlite3";
import type { DriverChoice, LocalBootMethod, RamCheck } from "../domain/boot-preferences.ts";
import type { Arch } from "../domain/firmware.ts";
import {
  AddressTaken,
  MachineNameTaken,
  MachineNotFound,
  MacTaken,
  SeatTaken,
} from "../domain/error-catalogue.ts";
import type { Machine, Phase } from "../domain/machine.ts";
import type { Ipv4 } from "../net/ipv4.ts";
import { type Mac, parseMac } from "../net/mac.ts";
import type { Uuid } from "../net/uuid.ts";
import type { CommitQueue } from "./commit-queue.ts";

interface Row {
  id: string;
  name: string;
  uuid: string | null;
  serial: string | null;
  manufacturer: string | null;
  product: string | null;
  arch: string | null;
  firmware: string | null;
  secure_boot: number | null;
  group_name: string | null;
  seat: string | null;
  labels: string;
  address: string | null;
  ram_bytes: number | null;
  local_boot: string | null;
  driver: string | null;
  ram_check: string | null;
  phase: string;
  created_at_ms: number;
  accepted_at_ms: number | null;
  seen_at_ms: number | null;
}

function fromRow(row: Row, macs: readonly Mac[]): Machine {
  return {
    id: row.id,
    name: row.name,
    macs,
    uuid: (row.uuid ?? undefined) as Uuid | undefined,
    serial: row.serial ?? undefined,
    manufacturer: row.manufacturer ?? undefined,
    product: row.product ?? undefined,
    arch: (row.arch ?? undefined) as Arch | undefined,
    firmware: row.firmware ?? undefined,
    secureBoot: row.secure_boot === null ? undefined : row.secure_boot === 1,
    group: row.group_name ?? undefined,
    seat: row.seat ?? undefined,
    labels: JSON.parse(row.labels) as Record<string, string>,
    address: (row.address ?? undefined) as Ipv4 | undefined,
    ramBytes: row.ram_bytes ?? undefined,
    localBoot: (row.local_boot ?? undefined) as LocalBootMethod | undefined,
    driver: (row.driver ?? undefined) as DriverChoice | undefined,
    ramCheck: (row.ram_check ?? undefined) as RamCheck | undefined,
    phase: row.phase as Phase,
    createdAt: row.created_at_ms,
    acceptedAt: row.accepted_at_ms ?? undefined,
    lastSeenAt: row.seen_at_ms ?? undefined,
  };
}

function toRow(machine: Machine): Row {
  return {
    id: machine.id,
    name: machine.name,
    uuid: machine.uuid ?? null,
    serial: machine.serial ?? null,
    manufacturer: machine.manufacturer ?? null,
    product: machine.product ?? null,
    arch: machine.arch ?? null,
    firmware: machine.firmware ?? null,
    secure_boot: machine.secureBoot === undefined ? null : Number(machine.secureBoot),
    group_name: machine.group ?? null,
    seat: machine.seat ?? null,
    labels: JSON.stringify(machine.labels),
    address: machine.address ?? null,
    ram_bytes: machine.ramBytes ?? null,
    local_boot: machine.localBoot ?? null,
    driver: machine.driver ?? null,
    ram_check: machine.ramCheck ?? null,
    phase: machine.phase,
    created_at_ms: machine.createdAt,
    accepted_at_ms: machine.acceptedAt ?? null,
    seen_at_ms: machine.lastSeenAt ?? null,
  };
}

/** The commands after which `mac` is free for another machine, or that one is what was meant. */
function howToTake(mac: Mac, owner: Machine, newName: string | undefined): string {
  const { name } = owner;
  const kept = owner.macs.filter((other) => other !== mac);
  if (kept.length > 0)
    return `To take it from ${name}: \`boot machine edit ${name} --mac ${kept.join(" ")}\`; then do this again.`;
  const verb = owner.acceptedAt === undefined ? "accept" : "edit";
  const isSame =
    newName === undefined
      ? ""
      : `If this is that machine, give it the name: \`boot machine ${verb} ${name} --name ${newName}\`. Else: `;
  return `${isSame}\`boot machine remove ${name}\` takes that one, which has no other MAC, off the roll; then do this again.`;
}

/** One seat of one room as a key; undefined: it has none. Seats are told apart as people read them, A1 is a1. */
function seatOf(machine: Machine | undefined): string | undefined {
  if (machine?.group === undefined || machine.seat === undefined) return undefined;
  return `${machine.group} ${machine.seat.toLowerCase()}`;
}

export function createMachineRepository(db: Database, queue: CommitQueue) {
  const byId = new Map<string, Machine>();
  const byMac = new Map<Mac, Machine>();
  const byName = new Map<string, Machine>();
  const byAddress = new Map<Ipv4, Machine>();
  /** More than one only in rooms from before a seat held one machine. */
  const bySeat = new Map<string, readonly Machine[]>();
  const unaccepted = new Map<string, Machine>();

  const columns = Object.keys(toRow({ labels: {} } as Machine));
  const upsert = db.prepare(
    `INSERT INTO machines (${columns.join(", ")}) VALUES (${columns.map((name) => `@${name}`).join(", ")})
     ON CONFLICT (id) DO UPDATE SET ${columns
       .filter((name) => name !== "id")
       .map((name) => `${name} = excluded.${name}`)
       .join(", ")}`,
  );
  const deleteMacs = db.prepare("DELETE FROM machine_macs WHERE machine_id = ?");
  const insertMac = db.prepare("INSERT INTO machine_macs (mac, machine_id, position) VALUES (?, ?, ?)");
  // Ids are no names, so a machine that is written anew holds nobody's.
  const setAside = db.prepare("UPDATE machines SET name = id, address = NULL WHERE id = ?");
  const deleteMachine = db.prepare("DELETE FROM machines WHERE id = ?");

  const macsOf = new Map<string, Mac[]>();
  const macRows = db.prepare("SELECT mac, machine_id FROM machine_macs ORDER BY position").all();
  for (const { mac, machine_id } of macRows as { mac: Mac; machine_id: string }[]) {
    macsOf.set(machine_id, [...(macsOf.get(machine_id) ?? []), mac]);
  }
  for (const row of db.prepare("SELECT * FROM machines").all() as Row[])
    index(fromRow(row, macsOf.get(row.id) ?? []));

  function index(machine: Machine): void {
    byId.set(machine.id, machine);
    byName.set(machine.name, machine);
    for (const mac of machine.macs) byMac.set(mac, machine);
    if (machine.address) byAddress.set(machine.address, machine);
    const seat = seatOf(machine);
    if (seat !== undefined) bySeat.set(seat, [...othersAt(seat, machine), machine]);
    if (machine.acceptedAt === undefined) unaccepted.set(machine.id, machine);
  }
  function unindex(machine: Machine): void {
    byId.delete(machine.id);
    unaccepted.delete(machine.id);
    byName.delete(machine.name);
    for (const mac of machine.macs) byMac.delete(mac);
    if (machine.address) byAddress.delete(machine.address);
    const seat = seatOf(machine);
    if (seat === undefined) return;
    const others = othersAt(seat, machine);
    if (others.length > 0) bySeat.set(seat, others);
    else bySeat.delete(seat);
  }
  function othersAt(seat: string, { id }: Machine): readonly Machine[] {
    return bySeat.get(seat)?.filter((other) => other.id !== id) ?? [];
  }
  function refuseClashes(machine: Machine, before: Machine | undefined): void {
    const sameName = byName.get(machine.name);
    if (sameName && sameName.id !== machine.id) throw MachineNameTaken({ name: machine.name });
    for (const mac of machine.macs) {
      const owner = byMac.get(mac);
      if (owner && owner.id !== machine.id)
        throw MacTaken({
          mac,
          machine: owner.name,
          advice: howToTake(mac, owner, byId.has(machine.id) ? undefined : machine.name),
        });
    }
    const owner = machine.address && byAddress.get(machine.address);
    if (machine.address && owner && owner.id !== machine.id)
      throw AddressTaken({ address: machine.address, machine: owner.name });
    // Asked of newcomers only: rooms from before this rule may have two machines on one seat.
    const seat = seatOf(machine);
    const [sitting] = seat !== undefined && seat !== seatOf(before) ? othersAt(seat, machine) : [];
    if (sitting)
      throw SeatTaken({ seat: machine.seat ?? "", group: machine.group ?? "", machine: sitting.name });
  }

  /** Inside a transaction: writes `next` over `before`. */
  function write(before: Machine | undefined, next: Machine, onRollback: (undo: () => void) => void): void {
    refuseClashes(next, before);
    upsert.run(toRow(next));
    if (!before || before.macs.join() !== next.macs.join()) {
      deleteMacs.run(next.id);
      next.macs.forEach((mac, position) => insertMac.run(mac, next.id, position));
    }
    if (before) unindex(before);
    index(next);
    onRollback(() => {
      unindex(next);
      if (before) index(before);
    });
  }

  /** Inside a transaction: writes many machines, which may change names, addresses and seats among each other. */
  function writeAll(changed: readonly Machine[], onRollback: (undo: () => void) => void): void {
    const befores = changed.flatMap(({ id }) => byId.get(id) ?? []);
    for (const { id } of befores) {
      setAside.run(id);
      deleteMacs.run(id);
    }
    const formerly = new Map(befores.map((before) => [before.id, before]));
    befores.forEach(unindex);
    const written: Machine[] = [];
    onRollback(() => {
      written.forEach(unindex);
      befores.forEach(index);
    });
    for (const next of changed) {
      refuseClashes(next, formerly.get(next.id));
      upsert.run(toRow(next));
      next.macs.forEach((mac, position) => insertMac.run(mac, next.id, position));
      index(next);
      written.push(next);
    }
  }

  /** Changed in memory and not written yet. */
  const unwritten = new Set<string>();
  let writing: Promise<void> | undefined;
  function writeUnwritten(): Promise<void> {
    return queue.runLater(({ onRollback }) => {
      writing = undefined;
      const ids = [...unwritten];
      unwritten.clear();
      onRollback(() => ids.forEach((id) => unwritten.add(id)));
      for (const id of ids) {
        const machine = byId.get(id);
        if (machine) upsert.run(toRow(machine));
      }
    });
  }

  return {
    all: (): Machine[] => [...byId.values()],
    count: (): number => byId.size,
    /** Those that nobody added or accepted. */
    unaccepted: (): ReadonlyMap<string, Machine> => unaccepted,
    find: (id: string): Machine | undefined => byId.get(id),
    findByMac: (mac: Mac): Machine | undefined => byMac.get(mac),
    findByAddress: (address: Ipv4): Machine | undefined => byAddress.get(address),
    /** By name, MAC in any form, or id. */
    findByNameOrMac(text: string): Machine | undefined {
      const mac = parseMac(text);
      return (mac && byMac.get(mac)) ?? byName.get(text) ?? byId.get(text);
    },
    /** @throws MachineNotFound */
    get(text: string): Machine {
      const machine = this.findByNameOrMac(text);
      if (!machine) throw MachineNotFound({ name: text });
      return machine;
    },
    /** @throws MachineNameTaken, MacTaken, AddressTaken, SeatTaken */
    add: (machine: Machine): Promise<Machine> =>
      queue.run(({ onRollback }) => {
        write(undefined, machine, onRollback);
        return machine;
      }),
    /** Adds and changes many at once, all or none; `change` is asked inside the commit. @throws MachineNameTaken, MacTaken, AddressTaken, SeatTaken */
    saveAll: (change: () => readonly Machine[]): Promise<void> =>
      queue.run(({ onRollback }) => writeAll(change(), onRollback)),
    /** Changes one machine inside the commit, so that changes made at the same time do not undo each other. Undefined: it is gone. */
    update: (id: string, change: (current: Machine) => Machine): Promise<Machine | undefined> =>
      queue.run(({ onRollback }) => {
        const before = byId.get(id);
        if (!before) return undefined;
        const next = change(before);
        if (next !== before) write(before, next, onRollback);
        return next;
      }),
    /**
     * Changes what a machine does, not what it is called: its phase, when it was seen. In memory at once; written once for all
     * that came in a tenth of a second. The promise is for the writing, and a change whose writing fails stays in memory.
     */
    updateNow(id: string, change: (current: Machine) => Machine): Promise<void> {
      const before = byId.get(id);
      const next = before && change(before);
      if (next === undefined || next === before) return writing ?? Promise.resolve();
      index(next);
      unwritten.add(id);
      return (writing ??= writeUnwritten());
    },
    remove: (id: string): Promise<void> =>
      queue.run(({ onRollback }) => {
        const before = byId.get(id);
        if (!before) return;
        deleteMachine.run(id);
        unindex(before);
        onRollback(() => index(before));
      }),
  };
}
export type MachineRepository = ReturnType<typeof createMachineRepository>;
