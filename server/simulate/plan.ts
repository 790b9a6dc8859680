import type { DurationMs } from "../domain/capabilities.ts";
import { type Cidr, cidrContains, formatCidr, parseCidr } from "../net/cidr.ts";
import { type Ipv4, ipv4FromNumber, isUnicast, parseIpv4 } from "../net/ipv4.ts";
import type { Mac } from "../net/mac.ts";
import type { Impairments } from "./line.ts";
import { profileNames, type ProfileName, profileOf } from "./profiles.ts";
import { type Random, randomUint32, seededRandom, seedOf } from "./random.ts";

/** Where a machine has arrived and the simulation of it ends, in the order of a boot. */
export const goals = ["offer", "address", "first-stage", "script", "boot", "joined"] as const;
export type Goal = (typeof goals)[number];

/** What is done with kernel, initrd and root file system: nothing, ask for their size, load them. */
export const assetModes = ["none", "head", "full"] as const;
export type AssetMode = (typeof assetModes)[number];

/** As the command line gives them. */
export interface SimulationOptions {
  readonly machines: number;
  readonly withinSeconds: number;
  readonly profiles: readonly string[];
  /** DHCP servers that the relay agent forwards to, or on a device: where TFTP is asked when DHCP does not say. */
  readonly servers: readonly string[];
  readonly device: string | undefined;
  readonly network: string | undefined;
  /** Networks that this host stands in itself. */
  readonly ownNetworks: readonly Cidr[];
  readonly relay: string | undefined;
  readonly goal: string | undefined;
  readonly assets: string;
  readonly loss: number;
  readonly duplicate: number;
  readonly reorder: number;
  readonly seed: number;
  readonly speed: number;
  readonly attempts: number;
  readonly limitSeconds: number;
  /** Number of the first machine, so that two runs can play different ones. */
  readonly first: number;
  readonly dhcpPort: number;
  readonly pxePort: number;
  readonly tftpPort: number;
}

export type Way =
  | { readonly kind: "relay"; readonly address: Ipv4; readonly network: Cidr | undefined }
  | { readonly kind: "device"; readonly device: string; readonly network: Cidr | undefined };

export interface PlannedMachine {
  readonly index: number;
  readonly mac: Mac;
  readonly uuid: Uint8Array;
  readonly serial: string;
  readonly profile: ProfileName;
  /** After the start of the simulation, real time. */
  readonly powerOnMs: DurationMs;
  readonly seed: number;
}

export interface Plan {
  readonly machines: readonly PlannedMachine[];
  readonly servers: readonly Ipv4[];
  readonly way: Way;
  readonly goal: Goal;
  readonly assets: AssetMode;
  readonly impairments: Impairments;
  readonly speed: number;
  readonly attempts: number;
  /** Of one machine, from its power-on, real time. */
  readonly limitMs: DurationMs;
  readonly ports: { readonly dhcp: number; readonly pxe: number; readonly tftp: number };
}

/** An option that can't be meant; its message is for the person who wrote it. */
export class SimulationInvalid extends Error {
  constructor(message: string) {
    super(message);
    this.name = "SimulationInvalid";
  }
}

const maximumMachines = 65_536;
const secondsOfDay = 86_400;
/** The largest network that a site has: 10.0.0.0/8. */
const shortestPrefix = 8;

/** @throws SimulationInvalid */
export function readPlan(options: SimulationOptions): Plan {
  const { servers, seed, speed, attempts, limitSeconds, withinSeconds } = options;
  atLeast("--machines", options.machines, 1, maximumMachines);
  atLeast("--within", withinSeconds, 0, secondsOfDay);
  atLeast("--speed", speed, 0.01);
  atLeast("--attempts", attempts, 1);
  atLeast("--limit", limitSeconds, 0.001, secondsOfDay);
  for (const name of ["loss", "duplicate", "reorder"] as const) atLeast(`--${name}`, options[name], 0, 1);
  // A MAC has room for so many numbers.
  atLeast("--first", options.first, 0, 0x1000000 - options.machines);
  for (const name of ["dhcp", "pxe", "tftp"] as const)
    atLeast(`--${name}-port`, options[`${name}Port`], 1, 65_535);
  const way = readWay(options);
  const names = options.profiles.length > 0 ? options.profiles : defaultMix();
  return {
    machines: planMachines(options, names.map(readProfile), seededRandom(seed)),
    servers: servers.map((text) => readAddress("--server", text)),
    way,
    goal: readWord("--until", options.goal ?? (way.kind === "device" ? "address" : "joined"), goals),
    assets: readWord("--assets", options.assets, assetModes),
    impairments: { loss: options.loss, duplicate: options.duplicate, reorder: options.reorder },
    speed,
    attempts,
    limitMs: limitSeconds * 1000,
    ports: { dhcp: options.dhcpPort, pxe: options.pxePort, tftp: options.tftpPort },
  };
}

export function hasReached(goal: Goal, station: Goal): boolean {
  return goals.indexOf(station) >= goals.indexOf(goal);
}

function defaultMix(): ProfileName[] {
  return profileNames.filter((name) => !profileOf(name).isSpecial);
}

function planMachines(
  { machines, withinSeconds, first, seed }: SimulationOptions,
  mix: readonly ProfileName[],
  random: Random,
): PlannedMachine[] {
  return Array.from({ length: machines }, (_, place) => {
    const index = first + place;
    return {
      index,
      mac: macOf(index),
      uuid: uuidOf(index),
      serial: `SIM${String(index).padStart(6, "0")}`,
      profile: mix[place % mix.length] ?? "bios",
      powerOnMs: random() * withinSeconds * 1000,
      seed: seedOf(seed, randomUint32(random)),
    };
  });
}

/** Locally administered, "SI" as its second and third octet, then the number: the same machine has the same MAC in each run. */
function macOf(index: number): Mac {
  const hex = (index & 0xffffff).toString(16).padStart(6, "0");
  return `02:53:49:${hex.slice(0, 2)}:${hex.slice(2, 4)}:${hex.slice(4)}` as Mac;
}

function uuidOf(index: number): Uint8Array {
  const octets = new TextEncoder().encode("rollcall-sim....");
  octets.set([(index >>> 24) & 255, (index >>> 16) & 255, (index >>> 8) & 255, index & 255], 12);
  return octets;
}

/** Every address of it becomes local to this host, which must not cost the host its own network. */
function readNetwork(text: string, { machines, ownNetworks }: SimulationOptions): Cidr {
  const cidr = parseCidr(text);
  if (!cidr || cidr.prefixLength < shortestPrefix || !isUnicast(cidr.network))
    throw new SimulationInvalid(`--network ${text} is no network of a room such as 10.50.0.0/16`);
  // Without the network's own address, its broadcast address and the relay agent's.
  const room = cidr.last - cidr.first - 2;
  if (machines > room)
    throw new SimulationInvalid(
      `--network ${text} has room for ${Math.max(0, room)} machines beside the relay agent, and --machines is ${machines}`,
    );
  // An address alone (/32), such as that of the relay agent, is local already and has no neighbours to lose.
  const own = ownNetworks.find(({ first, last }) => first < last && first <= cidr.last && last >= cidr.first);
  if (own)
    throw new SimulationInvalid(
      `--network ${text} would make this host's own network ${formatCidr(own)} local to it and cut it off; name one that nobody uses`,
    );
  return cidr;
}

function readWay(options: SimulationOptions): Way {
  const { device, network, relay, servers } = options;
  const cidr = network === undefined ? undefined : readNetwork(network, options);
  if (device !== undefined) {
    if (relay !== undefined) throw new SimulationInvalid("--device and --relay exclude each other");
    return { kind: "device", device, network: cidr };
  }
  if (servers.length === 0)
    throw new SimulationInvalid("--server ADDRESS is needed: which server boots the machines?");
  if (relay === undefined && !cidr)
    throw new SimulationInvalid(
      "say how the machines reach the server: --network 10.50.0.0/16 (a room behind this host, which is its relay agent) or --device eth1 (broadcasts)",
    );
  // The first address of the network is the relay agent's, as a router's usually is.
  const address =
    relay === undefined ? ipv4FromNumber((cidr?.first ?? 0) + 1) : readAddress("--relay", relay);
  const isInside = servers.find((text) => cidr && cidrContains(cidr, readAddress("--server", text)));
  if (isInside !== undefined && !isInside.startsWith("127."))
    throw new SimulationInvalid(
      `the server ${isInside} is inside --network ${network}, which becomes local to this host`,
    );
  return { kind: "relay", address, network: cidr };
}

function readProfile(name: string): ProfileName {
  return readWord("--profile", name, profileNames);
}

function readWord<Word extends string>(option: string, text: string, words: readonly Word[]): Word {
  const word = words.find((candidate) => candidate === text);
  if (word === undefined) throw new SimulationInvalid(`${option} ${text}: there are ${words.join(", ")}`);
  return word;
}

function readAddress(option: string, text: string): Ipv4 {
  // The `--server` of the other commands is a URL, and people will write one here too.
  const host = /^https?:\/\/([^/:]+)/.exec(text)?.[1] ?? text;
  const address = parseIpv4(host);
  if (!address || !isUnicast(address))
    throw new SimulationInvalid(`${option} ${text} is no IPv4 address of a host`);
  return address;
}

function atLeast(option: string, value: number, from: number, to = Infinity): void {
  if (!(value >= from && value <= to))
    throw new SimulationInvalid(`${option} ${value}: from ${from}${to === Infinity ? "" : ` to ${to}`}`);
}
