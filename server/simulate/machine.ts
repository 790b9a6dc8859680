import { type Ipv4, UnspecifiedAddress } from "../net/ipv4.ts";
import { uuidFromClientMachineId } from "../net/uuid.ts";
import { type Lease, obtainLease } from "./dhcp-client.ts";
import { type BootFile, sharedUuid } from "./dhcp-messages.ts";
import {
  createHttpClient,
  type HttpAnswer,
  type HttpClient,
  HttpFailed,
  type HttpRequest,
} from "./http-client.ts";
import { type Effect, type Ending, IpxeScript } from "./ipxe-script.ts";
import { bootOperatingSystem } from "./operating-system.ts";
import { type Goal, hasReached } from "./plan.ts";
import { type DhcpHabits, ipxeTftp, type Profile, profileOf } from "./profiles.ts";
import { type Phase, type Station, Stopped } from "./station.ts";
import { fetchByTftp } from "./tftp-client.ts";

/** How a machine's boot ended well. */
export type Arrival = Goal | "local" | "waiting";

/** A script that waits is asked for again so often before the machine counts as waiting. */
const waitingRounds = 3;
/** A script that tells an error is obeyed so often before the machine counts as failed. */
const errorRounds = 3;
/** Scripts that chain to scripts end here. */
const maximumChain = 40;
/** What our server's error scripts print first, and any other's that follow it. */
const errorLine = /^Rollcall: ([A-Z][A-Z0-9_]{3,})$/;

/** One power-on. @throws Stopped */
export async function bootMachine(station: Station): Promise<Arrival> {
  const { plan, machine } = station;
  const profile: Profile = profileOf(machine.profile);
  const reached = (goal: Goal) => hasReached(plan.goal, goal);
  const isIpxe = profile.ipxe !== undefined && profile.firstStage === undefined;
  const lease = await obtainLease(
    station,
    profile.dhcp,
    isIpxe ? { offer: "ipxe-offer", ack: "ipxe-ack" } : { offer: "offer", ack: "ack" },
  );
  if (reached("address") || profile.ipxe === undefined) return plan.goal === "offer" ? "offer" : "address";
  const boot = lease.boot;
  if (!boot) throw new Stopped(isIpxe ? "ipxe-ack" : "ack", "an address, and no boot file");
  if (isIpxe) return runIpxe(station, lease.address, boot, profile.dhcp);
  await loadFirstStage(station, profile, lease.address, boot);
  if (reached("first-stage")) return "first-stage";
  if (profile.ipxe.loadsAutoexec) {
    const { content } = await fetchByTftp(station, "contact", ipxeTftp, {
      address: lease.address,
      server: boot.server,
      file: "autoexec.ipxe",
      isKept: true,
    });
    return runScripts(station, lease.address, Buffer.from(content).toString(), boot.server);
  }
  return startIpxe(station, lease, profile.ipxe.dhcp);
}

/** iPXE asks for itself, and must get the address that its firmware got (firmware-quirk Q33). */
async function startIpxe(station: Station, before: Lease, habits: DhcpHabits): Promise<Arrival> {
  const lease = await obtainLease(station, habits, { offer: "ipxe-offer", ack: "ipxe-ack" });
  if (lease.address !== before.address)
    station.record.remark("iPXE got another address than its firmware", station.machine);
  if (!lease.boot) throw new Stopped("ipxe-ack", "iPXE got an address and no boot file");
  return runIpxe(station, lease.address, lease.boot, habits);
}

/** The boot file of an iPXE is a script, or once another iPXE. */
async function runIpxe(
  station: Station,
  address: Ipv4,
  boot: BootFile,
  habits: DhcpHabits,
): Promise<Arrival> {
  if (boot.name.startsWith("http://")) {
    const contact = await timed(station, "contact", () => loadScript(station, address, boot.name, "contact"));
    return runScripts(station, address, contact, boot.server);
  }
  if (habits.ipxeFeatures?.includes(19))
    throw new Stopped("ipxe-ack", `iPXE is told to load ${boot.name}, and would go in circles`);
  const [, host, name] = /^tftp:\/\/([0-9.]+)\/(.*)$/.exec(boot.name) ?? [];
  const server = (host ?? boot.server) as Ipv4;
  await timed(station, "first-stage", () =>
    fetchByTftp(station, "first-stage", ipxeTftp, {
      address,
      server,
      file: name ?? boot.name,
      isKept: false,
    }),
  );
  const full = { ...habits, ipxeFeatures: [...(habits.ipxeFeatures ?? []), 19] };
  return startIpxe(station, { address, boot }, full);
}

async function loadFirstStage(
  station: Station,
  { firstStage }: Profile,
  address: Ipv4,
  boot: BootFile,
): Promise<void> {
  const phase = "first-stage";
  if (firstStage?.by === "tftp") {
    const target = { address, server: boot.server, file: boot.name, isKept: false };
    if (boot.name.includes("://")) throw new Stopped(phase, `a ROM is told to load ${boot.name}`);
    await timed(station, phase, () => fetchByTftp(station, phase, firstStage.tftp, target));
    return;
  }
  if (!boot.name.startsWith("http://"))
    throw new Stopped(phase, `UEFI HTTP boot is told to load ${boot.name}`);
  const http = createHttpClient(address);
  try {
    await timed(station, phase, async () => {
      const head = await ask(http, phase, { method: "HEAD", url: boot.name, isKept: false });
      const size = Number(head.headers.get("content-length"));
      if (!(size > 0)) throw new Stopped(phase, "HEAD says no Content-Length");
      const { bodyBytes } = await ask(http, phase, { method: "GET", url: boot.name, isKept: false });
      if (bodyBytes !== size) throw new Stopped(phase, `HEAD said ${size} octets, GET brought ${bodyBytes}`);
    });
  } finally {
    http.close();
  }
}

async function loadScript(station: Station, address: Ipv4, url: string, phase: Phase): Promise<string> {
  const http = createHttpClient(address);
  try {
    return (await ask(http, phase, { method: "GET", url, isKept: true })).body;
  } finally {
    http.close();
  }
}

/** @throws Stopped for no answer and for one that is no success */
async function ask(http: HttpClient, phase: Phase, request: HttpRequest): Promise<HttpAnswer> {
  const where = `${request.method} ${request.url.replace(/\?.*/, "")}`;
  try {
    const answer = await http.send(request);
    if (answer.status >= 300) throw new Stopped(phase, `${where}: status ${answer.status}`);
    return answer;
  } catch (error) {
    throw error instanceof HttpFailed ? new Stopped(phase, `${where}: ${error.message}`) : error;
  }
}

/** Measures what worked. */
export async function timed<T>(
  { timeline, record }: Station,
  phase: Phase,
  work: () => Promise<T>,
): Promise<T> {
  const beganMs = timeline.nowMs();
  const result = await work();
  record.took(phase, timeline.nowMs() - beganMs);
  return result;
}

function settingsOf({ machine, plan }: Station, address: Ipv4, server: Ipv4): Map<string, string> {
  const uuid = profileOf(machine.profile).dhcp.machineId === "shared" ? sharedUuid : machine.uuid;
  return new Map([
    ["netX/mac", machine.mac],
    ["netX/ip", address],
    ["ip", address],
    ["mac", machine.mac],
    ["next-server", server],
    ["netX/next-server", server],
    ["uuid", uuidFromClientMachineId(Uint8Array.of(0, ...uuid)) ?? ""],
    ["serial", machine.serial],
    ["manufacturer", "Rollcall"],
    ["product", `simulated ${machine.profile}`],
    ["asset", ""],
    ["platform", (profileOf(machine.profile).dhcp.architecture ?? 0) >= 6 ? "efi" : "pcbios"],
    ["buildarch", (profileOf(machine.profile).dhcp.architecture ?? 0) >= 6 ? "x86_64" : "i386"],
    ["version", "1.21.1"],
    ["dhcp-server", plan.servers[0] ?? UnspecifiedAddress],
  ]);
}

/** Runs script after script until one boots, ends, or only waits. */
async function runScripts(station: Station, address: Ipv4, first: string, server: Ipv4): Promise<Arrival> {
  const { plan, machine } = station;
  const lacks = profileOf(machine.profile).ipxe?.lacks;
  const http = createHttpClient(address);
  let text = first;
  let waits = 0;
  let errors = 0;
  try {
    for (let round = 0; round < maximumChain; round++) {
      const script = new IpxeScript(text, settingsOf(station, address, server), new Set(lacks));
      const { ending, next, slept } = await play(station, http, script, round === 0);
      const error = script.screen.map((line) => errorLine.exec(line)?.[1]).find((code) => code !== undefined);
      if (next === undefined) return endScripts(station, address, ending, script);
      if (round > 0 && error === undefined && hasReached(plan.goal, "script")) return "script";
      if (error !== undefined && ++errors === errorRounds)
        throw new Stopped("script", `${error}: ${screenOf(script)}`);
      if (error === undefined && slept && ++waits === waitingRounds) {
        station.record.remark(`it waits; screen: ${screenOf(script)}`, station.machine);
        return "waiting";
      }
      text = next;
    }
    throw new Stopped("script", "scripts chain to scripts without end");
  } finally {
    http.close();
  }
}

function screenOf({ screen }: IpxeScript): string {
  return screen.join(" / ").slice(0, 300);
}

async function endScripts(
  station: Station,
  address: Ipv4,
  ending: Ending,
  script: IpxeScript,
): Promise<Arrival> {
  const { goal } = station.plan;
  if (ending.kind === "error") throw new Stopped("script", `${ending.reason}; screen: ${screenOf(script)}`);
  if (hasReached(goal, "script")) return "script";
  if (ending.kind === "reboot") throw new Stopped("script", `it starts anew; screen: ${screenOf(script)}`);
  if (ending.kind !== "boot") return "local";
  if (hasReached(goal, "boot")) return "boot";
  await bootOperatingSystem(station, address, ending.commandLine);
  return "joined";
}

interface Played {
  readonly ending: Ending;
  /** The text of the script that it chained to. */
  readonly next: string | undefined;
  readonly slept: boolean;
}

async function play(
  station: Station,
  http: HttpClient,
  script: IpxeScript,
  isContact: boolean,
): Promise<Played> {
  let next: string | undefined;
  let slept = false;
  const run = script.run();
  let turn = run.next();
  while (!turn.done) {
    const effect = turn.value;
    let isDone = true;
    if (effect.kind === "sleep") {
      slept = true;
      await station.timeline.sleep(effect.seconds * 1000);
    } else if (effect.kind === "load" || effect.kind === "chain") {
      const loaded = await load(station, http, effect);
      isDone = loaded !== undefined;
      if (isDone && effect.kind === "chain") next = loaded;
      // The first script has done its work: what it slept through is no waiting for a role.
      if (isDone && isContact) slept = false;
    }
    turn = run.next(isDone);
  }
  return { ending: turn.value, next, slept };
}

/** @returns the text of a script, an empty text of what is not kept, undefined when it failed */
async function load(
  station: Station,
  http: HttpClient,
  effect: Extract<Effect, { kind: "load" | "chain" }>,
): Promise<string | undefined> {
  const { assets } = station.plan;
  const isScript = effect.kind === "chain";
  const phase = isScript ? "script" : effect.what === "kernel" ? "kernel" : "initrd";
  if (!isScript && assets === "none") return "";
  const method = !isScript && assets === "head" ? "HEAD" : "GET";
  try {
    const { body } = await timed(station, phase, () =>
      ask(http, phase, { method, url: effect.url, isKept: isScript }),
    );
    return body;
  } catch (error) {
    if (!(error instanceof Stopped)) throw error;
    station.record.repeated(phase);
    station.record.remark(`${phase}: ${error.message}`, station.machine);
    return undefined;
  }
}
