import type { EpochMs } from "../domain/capabilities.ts";
import { isMachineName, type Machine } from "../domain/machine.ts";
import { advance } from "../domain/machine-lifecycle.ts";
import { defaultSeatName, planInWords, type RoomPlan, seatAt, seatMeant } from "../domain/room.ts";
import { parseIpv4 } from "../net/ipv4.ts";
import { isUnusableMac, type Mac, parseMac } from "../net/mac.ts";
import { isUsableUuid, parseUuid, type Uuid } from "../net/uuid.ts";
import { clashesOf } from "./import-clashes.ts";
import type { HostList, ListedHost, ListProblem } from "./lists/listed-host.ts";
import { newMachine } from "./machine-input.ts";

/** One host of a list beside the machine that it is. */
export interface ImportLine {
  readonly line: number;
  readonly action: "new" | "changed" | "same" | "conflict";
  /** As it would be; undefined: the line can't be read as a machine. */
  readonly next: Machine | undefined;
  readonly before: Machine | undefined;
  /** What is listed, for people, where there is no machine to be named. */
  readonly listed: string;
}

export interface ImportPlan {
  readonly lines: readonly ImportLine[];
  /** All of them, in the list's order; with one, nothing is imported. */
  readonly problems: readonly ListProblem[];
  /** What is worth a look and stops nothing. */
  readonly notes: readonly ListProblem[];
  readonly ignored: ReadonlyMap<string, number>;
  readonly newGroups: readonly string[];
}

export interface ImportSurroundings {
  readonly machines: readonly Machine[];
  /** Undefined: there is no such group; null: it has no plan. */
  readonly planOf: (group: string) => RoomPlan | null | undefined;
  /** For hosts whose line names none. */
  readonly group: string | undefined;
  readonly newId: (line: number) => string;
  readonly now: EpochMs;
}

/** Facts that a list can change, as the plan shows them. */
const comparedFacts = [
  "name",
  "macs",
  "address",
  "group",
  "seat",
  "serial",
  "uuid",
  "labels",
  "acceptedAt",
] as const;

/** The facts that differ, as texts; `acceptedAt` is told as accepted or not. */
export function changesOf({ before, next }: Pick<ImportLine, "before" | "next">) {
  const changes: Record<string, { before: string | null; after: string | null }> = {};
  if (!before || !next) return changes;
  for (const fact of comparedFacts) {
    if (fact === "acceptedAt") {
      if (before.acceptedAt === undefined && next.acceptedAt !== undefined)
        changes["accepted"] = { before: "no", after: "yes" };
    } else if (asText(before[fact]) !== asText(next[fact]))
      changes[fact] = { before: asText(before[fact]), after: asText(next[fact]) };
  }
  return changes;
}

function asText(value: Machine[(typeof comparedFacts)[number]]): string | null {
  if (value === undefined) return null;
  if (typeof value === "string" || typeof value === "number") return String(value);
  if (Array.isArray(value)) return value.join(" ");
  return Object.entries(value)
    .map(([name, label]) => `${name}=${String(label)}`)
    .sort()
    .join(" ");
}

/** What an import of the list would do. Judged on the room as it would be afterwards, so that two machines may change places. */
export function planImport(list: HostList, surroundings: ImportSurroundings): ImportPlan {
  const byMac = new Map(surroundings.machines.flatMap((one) => one.macs.map((mac) => [mac, one] as const)));
  const byName = new Map(surroundings.machines.map((one) => [one.name, one] as const));
  const problems = [...list.problems];
  const notes: ListProblem[] = [];
  const newGroups = new Set<string>();

  const lines = list.hosts.map((host): ImportLine => {
    const faults: string[] = [];
    const read = readHost(host, surroundings, faults);
    const before = matching(read, faults);
    const listed = host.name ?? host.macs[0] ?? "?";
    const [mac] = read.macs;
    if (!before && mac === undefined && faults.length === 0)
      faults.push(`there is no machine called ${listed}, and a new one needs a MAC`);
    for (const problem of faults) problems.push({ line: host.line, problem });
    if (faults.length > 0 || (!before && mac === undefined))
      return { line: host.line, action: "conflict", next: undefined, before, listed };
    const next = merge(before ?? blankOf(host.line, mac as Mac), read, before !== undefined, host.line);
    if (next.group !== undefined && surroundings.planOf(next.group) === undefined) newGroups.add(next.group);
    const isSame = before && Object.keys(changesOf({ before, next })).length === 0;
    return { line: host.line, action: !before ? "new" : isSame ? "same" : "changed", next, before, listed };
  });
  const clashes = clashesOf(lines, surroundings.machines);
  const clashing = new Set(clashes.map(({ line }) => line));
  problems.push(...clashes);
  return {
    lines: lines.map((one) => (clashing.has(one.line) ? { ...one, action: "conflict" } : one)),
    problems: problems.sort((left, right) => left.line - right.line),
    notes,
    ignored: list.ignored,
    newGroups: [...newGroups].sort(),
  };

  function blankOf(line: number, mac: Mac): Machine {
    return {
      ...newMachine(surroundings.newId(line), mac, surroundings.now),
      phase: "accepted",
      lastSeenAt: undefined,
    };
  }

  /** The machine that has one of these MACs, or, where none is listed, this name. */
  function matching(read: ReadHost, faults: string[]): Machine | undefined {
    const owners = [...new Set(read.macs.flatMap((mac) => byMac.get(mac) ?? []))];
    if (owners.length > 1)
      faults.push(`its MACs belong to different machines: ${owners.map(({ name }) => name).join(" and ")}`);
    if (owners.length > 0) return owners[0];
    const named = read.name === undefined ? undefined : byName.get(read.name);
    if (named && read.macs.length > 0) {
      // Another line may be that machine and give it another name; what is left of it is a clash of names.
      return undefined;
    }
    return named;
  }

  function merge(machine: Machine, read: ReadHost, isKnown: boolean, line: number): Machine {
    if (isKnown) tellDifference(machine, read, line);
    return {
      ...machine,
      name: read.name ?? machine.name,
      // A list takes no MAC away: a machine may have been heard by one that nobody wrote down.
      macs: isKnown ? [...new Set([...machine.macs, ...read.macs])] : read.macs,
      address: read.address ?? machine.address,
      group: read.group ?? machine.group,
      seat: read.seat ?? machine.seat,
      serial: machine.serial ?? read.serial,
      uuid: machine.uuid ?? read.uuid,
      labels: { ...machine.labels, ...read.labels },
      acceptedAt: machine.acceptedAt ?? surroundings.now,
      phase: advance(machine.phase, "machine.accepted") ?? machine.phase,
    };
  }

  /** The machine's own word counts. */
  function tellDifference(machine: Machine, read: ReadHost, line: number): void {
    for (const fact of ["serial", "uuid"] as const)
      if (machine[fact] !== undefined && read[fact] !== undefined && machine[fact] !== read[fact])
        notes.push({
          line,
          problem: `the list says ${fact} ${read[fact]}, and ${machine.name} itself says ${machine[fact]}: is it that machine?`,
        });
  }
}

interface ReadHost {
  readonly name: string | undefined;
  readonly macs: readonly Mac[];
  readonly address: Machine["address"];
  readonly group: string | undefined;
  readonly seat: string | undefined;
  readonly serial: string | undefined;
  readonly uuid: Uuid | undefined;
  readonly labels: Readonly<Record<string, string>>;
}

const quoted = (text: string) => JSON.stringify(text.slice(0, 60));

function readHost(
  host: ListedHost,
  { planOf, group: otherwise }: ImportSurroundings,
  faults: string[],
): ReadHost {
  const macs = new Set<Mac>();
  for (const text of host.macs) {
    const mac = parseMac(text);
    if (mac && !isUnusableMac(mac)) macs.add(mac);
    else faults.push(`${quoted(text)} is ${mac ? "no MAC of a single machine" : "not a MAC address"}`);
  }
  if (macs.size > 16) faults.push("a machine has 16 MACs at most");
  // Lists of other programs have names with a domain, and capitals.
  const name = host.name?.toLowerCase().split(".")[0];
  if (name !== undefined && !isMachineName(name))
    faults.push(`${quoted(host.name ?? "")} is no host name: letters, digits and inner hyphens, at most 63`);
  const address = host.address === undefined ? undefined : parseIpv4(host.address);
  if (host.address !== undefined && !address) faults.push(`${quoted(host.address)} is not an IPv4 address`);
  const group = host.group?.toLowerCase() ?? otherwise;
  if (group !== undefined && !isMachineName(group))
    faults.push(`${quoted(host.group ?? group)} is no name of a group: letters, digits and hyphens`);
  const uuid = host.uuid === undefined ? undefined : parseUuid(host.uuid.replaceAll(/[{}]/g, ""));
  if (host.uuid !== undefined && !uuid) faults.push(`${quoted(host.uuid)} is not a UUID`);
  return {
    name,
    macs: [...macs],
    address,
    group,
    seat: seatOf(host, (group !== undefined && planOf(group)) || undefined, group, faults),
    serial: host.serial?.slice(0, 120),
    uuid: uuid && isUsableUuid(uuid) ? uuid : undefined,
    labels: host.labels ?? {},
  };
}

/** 2 for `2` and for `B`. */
function numberOf(text: string): number | undefined {
  if (/^[0-9]{1,3}$/.test(text)) return Number(text);
  return /^[A-Za-z]$/.test(text) ? text.toUpperCase().charCodeAt(0) - 64 : undefined;
}

function seatOf(
  host: ListedHost,
  plan: RoomPlan | undefined,
  group: string | undefined,
  faults: string[],
): string | undefined {
  let seat = host.seat;
  if (seat === undefined && (host.row ?? host.column) !== undefined) {
    const row = numberOf(host.row ?? "");
    const column = numberOf(host.column ?? "");
    if (row === undefined || column === undefined)
      faults.push("row and column go together, each a number or a letter");
    else seat = (plan && seatAt(plan, { row, column })) ?? defaultSeatName({ row, column });
  }
  if (seat === undefined) return undefined;
  if (seat.length > 120) faults.push("its seat has more than 120 characters");
  if (!plan) return seat;
  const meant = seatMeant(plan, seat);
  if (meant === undefined)
    faults.push(`${group} has no seat ${quoted(seat)}; its seats are ${planInWords(plan)}`);
  return meant;
}
