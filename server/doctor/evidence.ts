import type { Boot, BootStep, BootStepName } from "../domain/boot.ts";
import { furthestStep } from "../domain/boot.ts";
import type { DurationMs, EpochMs } from "../domain/capabilities.ts";
import type { ClusterNode } from "../domain/cluster-node.ts";
import type { ClusterState } from "../domain/cluster-record.ts";
import type { Event, EventType } from "../domain/event.ts";
import { firmwares, type Firmware } from "../domain/firmware.ts";
import type { Machine } from "../domain/machine.ts";
import type { AddressSightings, SeenPacket } from "../domain/sighting.ts";
import type { Mac } from "../net/mac.ts";

/** What its next script would be made for, by what is assigned now. */
export interface NextTarget {
  readonly name: string;
  /** Why no script can be made of it; undefined: nothing is known. */
  readonly problem: { readonly code: string; readonly message: string; readonly advice: string } | undefined;
}

/** The cluster, as far as one machine's way into it depends on it. */
export interface ClusterEvidence {
  readonly state: ClusterState;
  readonly endpoint: string;
  /** Masters whose API server answers. */
  readonly readyMasters: number;
  /** Masters that wait for an operator. */
  readonly unarmedMasters: readonly string[];
  /** Where the machine stands; undefined: it has not called back to join. */
  readonly node: ClusterNode | undefined;
}

/** All that is recorded of one machine, as the rim has gathered it. Lists are in order of time, but for `boots`. */
export interface Evidence {
  readonly now: EpochMs;
  /** When this server began to listen. */
  readonly listensSince: EpochMs;
  readonly mode: "off" | "proxy" | "authoritative";
  readonly mac: Mac;
  /** Undefined: nobody added it, and it was never met. */
  readonly machine: Machine | undefined;
  readonly next: NextTarget | undefined;
  /** Newest first. */
  readonly boots: readonly Boot[];
  readonly packets: readonly SeenPacket[];
  /** Of the addresses that the machine was last seen at. */
  readonly seenAt: AddressSightings;
  /** Of this machine, and those of its addresses that name no machine. */
  readonly events: readonly Event[];
  /** Of the network as a whole: other DHCP servers, none at all. */
  readonly networkEvents: readonly Event[];
  readonly cluster: ClusterEvidence | undefined;
  /** Octets that firmware loads of the image in question: kernel and initrd. */
  readonly firstLoadBytes: number | undefined;
  /** The newest boot that came through of each of the room's other machines. */
  readonly roomBoots: readonly Boot[];
  /** From an order to start to the first packet: of those boots that were begun by one. */
  readonly roomWakes: readonly DurationMs[];
}

/** The evidence, and what each rule would work out of it again. */
export interface Reading extends Evidence {
  /** The boot under way, or the last one. */
  readonly boot: Boot | undefined;
  readonly furthest: BootStepName | undefined;
  readonly firmware: Firmware | undefined;
  /** What people call it. */
  readonly name: string;
  /** Events since the boot began. */
  readonly recent: readonly Event[];
  /** DHCP messages of this boot. */
  readonly packetsOfBoot: readonly SeenPacket[];
  readonly requestsOfBoot: AddressSightings["requests"];
  /** How long nothing was heard of it; undefined: nothing ever was. */
  readonly silentMs: DurationMs | undefined;
  /** The boot came to what it was for. */
  readonly isThrough: boolean;
}

/**
 * A boot that nothing but DHCP messages speaks for: that of a machine which is not recorded, or of one that was ready and starts anew, of
 * which the tracker makes no boot before it has come for a file.
 */
function bootOfPackets({ packets, boots, mac, machine, cluster }: Evidence): Boot | undefined {
  const last = boots[0];
  const isAtWork = cluster?.node?.state === "ready" || last?.outcome === "running";
  if (isAtWork) return undefined;
  const since = Math.max(last?.endedAt ?? 0, last?.steps.at(-1)?.at ?? 0);
  const begin = packets.findIndex(
    ({ at, speaker, message }) => at > since && speaker === "firmware" && message === "DISCOVER",
  );
  const first = packets[begin];
  if (!first) return undefined;
  const steps = packets.slice(begin).flatMap((packet): BootStep[] => {
    const { at, lastAt, speaker, message, port, secs, firmware, reply, silence, foreignServer } = packet;
    if (speaker === "os") return [];
    const step = (name: BootStepName, when: EpochMs, detail: BootStep["detail"]): BootStep => ({
      at: when,
      step: name,
      serverMs: undefined,
      detail: { port, ...detail },
    });
    const server = foreignServer === undefined ? {} : { server: foreignServer };
    const said = { ...server, ...(silence === undefined ? {} : { silence }) };
    if (speaker === "ipxe") return [step("ipxe-dhcp", lastAt, { message, ...said })];
    if (message !== "DISCOVER") return [step("request", lastAt, said)];
    const bootfile = packet.bootfile === undefined ? {} : { bootfile: packet.bootfile };
    return [
      step("discover", at, { secs, ...(firmware === undefined ? {} : { firmware }) }),
      ...(reply === undefined ? [] : [step("offer", at, bootfile)]),
    ];
  });
  return {
    id: "",
    machineId: machine?.id ?? "",
    mac,
    startedAt: first.at,
    endedAt: undefined,
    outcome: "running",
    target: undefined,
    phases: [],
    steps,
    verdict: undefined,
  };
}

/** A boot begins with its first packet, and what belongs to it may be written a moment before. */
const beforeBootMs: DurationMs = 5000;

export function read(evidence: Evidence): Reading {
  const { now, boots, machine, packets, events, seenAt, mac } = evidence;
  const boot = bootOfPackets(evidence) ?? boots[0];
  const since = boot ? boot.startedAt - beforeBootMs : 0;
  const signs = [
    machine?.lastSeenAt,
    boot?.steps.at(-1)?.at,
    packets.at(-1)?.lastAt,
    seenAt.requests.at(-1)?.at,
  ];
  const lastSign = Math.max(...signs.map((at) => at ?? 0));
  const firmwareName = String(
    boot?.steps.find(({ step }) => step === "discover")?.detail["firmware"] ?? machine?.firmware ?? "",
  );
  return {
    ...evidence,
    boot,
    name: machine?.name ?? mac,
    furthest: boot && furthestStep(boot),
    firmware: firmwares.find(({ name }) => name === firmwareName),
    recent: events.filter(({ at, bootId }) => (bootId === undefined ? at >= since : bootId === boot?.id)),
    packetsOfBoot: packets.filter(({ lastAt }) => lastAt >= since),
    requestsOfBoot: seenAt.requests.filter(({ at }) => at >= since),
    silentMs: lastSign === 0 ? undefined : Math.max(0, now - lastSign),
    isThrough:
      boot !== undefined &&
      boot.verdict === undefined &&
      ["ready", "local", "handed-over"].includes(boot.outcome),
  };
}

/** Steps of the boot by this name, in order of time. */
export function stepsNamed({ boot }: Pick<Reading, "boot">, ...names: BootStepName[]): readonly BootStep[] {
  return boot?.steps.filter(({ step }) => names.includes(step)) ?? [];
}

export function eventsOf({ recent }: Pick<Reading, "recent">, ...types: EventType[]): readonly Event[] {
  return recent.filter(({ type }) => types.includes(type));
}

/** The boot ended at this station, or nothing came after it for so long. */
export function stoppedAt(reading: Reading, step: BootStepName, patienceMs: DurationMs): boolean {
  const { boot, furthest, isThrough, now } = reading;
  if (!boot || furthest !== step || isThrough) return false;
  if (boot.outcome !== "running") return true;
  // A machine that repeats itself is not silent, and gets no further all the same.
  const first = stepsNamed(reading, step)[0];
  return first !== undefined && now - first.at >= patienceMs;
}

/** The system went on after this: what it said then is no longer what stops it. */
export function wentOnAfter(reading: Pick<Reading, "boot">, { at }: BootStep): boolean {
  return stepsNamed(reading, "verify", "switch-root", "config", "callback").some((step) => step.at > at);
}

/** Text of a detail of a step. */
export function detailOf({ detail }: BootStep, key: string): string {
  return String(detail[key] ?? "");
}

/** What a machine sent of its log in this boot. */
export function logTails(
  reading: Pick<Reading, "recent">,
): readonly { readonly at: EpochMs; readonly text: string }[] {
  return eventsOf(reading, "machine.log").flatMap(({ at, data }) =>
    typeof data["tail"] === "string" ? [{ at, text: data["tail"] }] : [],
  );
}
