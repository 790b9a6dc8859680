import { type PreferencesInput, withPreferences } from "../domain/boot-preferences.ts";
import type { EpochMs } from "../domain/capabilities.ts";
import { InvalidMac, InvalidRequest } from "../domain/error-catalogue.ts";
import type { Arch, Firmware } from "../domain/firmware.ts";
import { isMachineName, type Machine, nameFromMac } from "../domain/machine.ts";
import { parseIpv4 } from "../net/ipv4.ts";
import { isUnusableMac, type Mac, parseMac } from "../net/mac.ts";
import { isUsableUuid, type Uuid } from "../net/uuid.ts";

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

/** A machine that was met just now, and nothing else is known of it. */
export function newMachine(id: string, mac: Mac, now: EpochMs): Machine {
  return {
    id,
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

/** Control characters out, 120 characters at most; empty is unknown. */
function cut(text: string | undefined): string | undefined {
  const clean = text?.replaceAll(/\p{C}/gu, "").trim().slice(0, 120);
  return clean === "" ? undefined : clean;
}

/** The machine with what it says of itself; a UUID that many boards share says nothing. */
export function withFacts(machine: Machine, facts: MachineFacts): Machine {
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
export function replacedBy<T extends object>(former: T, input: object): Partial<T> {
  const changed = Object.entries(former).filter(([key]) => key in input);
  return Object.fromEntries(changed) as Partial<T>;
}

/** @throws InvalidMac */
export function readMacs(texts: readonly string[]): Mac[] {
  const macs = texts.map((text) => {
    const mac = parseMac(text);
    if (!mac || isUnusableMac(mac)) throw InvalidMac({ text });
    return mac;
  });
  return [...new Set(macs)];
}

export function needsMac() {
  return InvalidRequest({
    problem: "a machine needs at least one MAC",
    advice:
      "Name it with --mac: `boot machine add s4 --mac 52:54:00:00:00:04`. It stands on the machine's label and on its screen while it boots.",
  });
}

/** The machine with what a person says of it. @throws InvalidRequest, InvalidMac */
export function withInput(machine: Machine, input: MachineInput): Machine {
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
