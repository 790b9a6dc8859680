/** What is recorded of one machine, gathered from all rooms for `boot doctor`. */
import type { BootService } from "./boot/boot-service.ts";
import type { Sightings } from "./boot/sightings.ts";
import type { BootTracker } from "./boot/tracker.ts";
import type { ClusterService } from "./cluster/cluster-service.ts";
import type { Config } from "./config/schema.ts";
import { diagnose, type Verdict } from "./doctor/diagnose.ts";
import type { ClusterEvidence, Evidence, NextTarget } from "./doctor/evidence.ts";
import { describeTarget } from "./domain/assignment.ts";
import type { Boot } from "./domain/boot.ts";
import type { Clock, DurationMs } from "./domain/capabilities.ts";
import { RollcallError } from "./domain/errors.ts";
import type { Event } from "./domain/event.ts";
import { eventInRoom } from "./domain/event-in-room.ts";
import type { Machine } from "./domain/machine.ts";
import { firstPacketMs } from "./domain/power.ts";
import type { Inventory } from "./inventory/inventory.ts";
import { type Mac, parseMac } from "./net/mac.ts";
import type { Store } from "./store/open-store.ts";

/** Of a machine, the newest ones. */
const machineEvents = 300;
const machineBoots = 12;
/** Events that name no machine count among so many of the newest: what is older says nothing of this boot. */
const searchedEvents = 20_000;
const foundEvents = 200;
const machineOrders = 10;
/** A boot that begins later was begun by somebody else. */
const longestWakeMs: DurationMs = 2 * firstPacketMs;
/** The room that a machine is compared with. */
const roomMachines = 60;
/** Whoever asks for a whole room asks for each machine: what is the same for all is looked up once in this time. */
const memoryMs: DurationMs = 2000;

export interface KeptDoctorDeps {
  readonly config: Pick<Config, "dhcp">;
  readonly clock: Clock;
  readonly store: Pick<Store, "boots" | "claims" | "events">;
  readonly boots: Pick<BootService, "addressOf" | "select" | "check">;
  readonly tracker: Pick<BootTracker, "current" | "flush">;
  readonly inventory: Pick<Inventory, "all" | "findByMac">;
  readonly sightings: Sightings;
  readonly cluster: { readonly service: ClusterService } | undefined;
}

type Sees = (machineId: string) => boolean;

export function keepDoctor(deps: KeptDoctorDeps) {
  const { config, clock, store, boots, tracker, inventory, sightings } = deps;
  const listensSince = clock.now();
  const unnamed = remembered(clock, () => ({
    network: searchNewest("dhcp"),
    refusals: [...searchNewest("image.unsigned-pull"), ...searchNewest("claim.refused")],
  }));
  const room = remembered(clock, (group: string | undefined) =>
    inventory
      .all()
      .filter((machine) => machine.group === group)
      .slice(0, roomMachines)
      .flatMap(({ id }) => {
        const boot = newestReady(id);
        return boot ? [{ boot, wokenInMs: wokenIn(boot) }] : [];
      }),
  );

  function searchNewest(type: string): readonly Event[] {
    const [last] = store.events.list({ limit: 1, newest: true });
    const since = Math.max(0, (last?.seq ?? 0) - searchedEvents);
    return store.events.list({ since, type, limit: foundEvents, newest: true });
  }
  function newestReady(machineId: string): Boot | undefined {
    const current = tracker.current(machineId);
    if (current?.outcome === "ready") return current;
    return store.boots.ofMachine(machineId, 4).find(({ outcome }) => outcome === "ready");
  }

  /** The newest boots that came through of the other machines of its room. */
  const othersOf = ({ id, group }: Machine) => room(group).filter(({ boot }) => boot.machineId !== id);
  const roomBoots = (machine: Machine): readonly Boot[] => othersOf(machine).map(({ boot }) => boot);

  /** From the order to the first packet of a boot that one has begun. */
  function wokenIn({ machineId, startedAt }: Boot): DurationMs | undefined {
    const order = store.events
      .list({ machineId, type: "machine.power", limit: machineOrders, newest: true })
      .findLast(({ at, data }) => at <= startedAt && data["code"] === undefined);
    const isItsOrder = order?.data["action"] === "on" && startedAt - order.at <= longestWakeMs;
    return isItsOrder ? startedAt - order.at : undefined;
  }

  function bootsOf({ id }: Machine): readonly Boot[] {
    tracker.flush();
    const current = tracker.current(id);
    const stored = store.boots.ofMachine(id, machineBoots);
    return current ? [current, ...stored.filter((boot) => boot.id !== current.id)] : stored;
  }

  function nextOf(machine: Machine): NextTarget {
    const { target } = boots.select(machine);
    const name = describeTarget(target);
    try {
      boots.check(target, machine);
      return { name, problem: undefined };
    } catch (error) {
      if (!(error instanceof RollcallError)) throw error;
      const { code, message, advice } = error;
      return { name, problem: { code, message, advice } };
    }
  }

  function clusterOf(machine: Machine | undefined, sees: Sees): ClusterEvidence | undefined {
    const cluster = deps.cluster?.service;
    if (!cluster) return undefined;
    const { host, port } = cluster.cluster.endpoint;
    return {
      state: cluster.record.state,
      endpoint: `${host}:${port}`,
      readyMasters: cluster.readyMasters(),
      unarmedMasters: cluster
        .nodes()
        .flatMap(({ state, name, machineId }) => (state === "unarmed" && sees(machineId) ? [name] : [])),
      node: machine && cluster.node(machine.id),
    };
  }

  function evidenceOf(mac: Mac, machine: Machine | undefined, sees: Sees = () => true): Evidence {
    const claim = machine && store.claims.ofMachine(machine.id);
    const cluster = clusterOf(machine, sees);
    const addresses = new Set(
      [machine && boots.addressOf(machine), claim?.address, cluster?.node?.address].flatMap(
        (one) => one ?? [],
      ),
    );
    const ofAddress = ({ machineId, data }: Event) =>
      machineId === undefined && addresses.has(String(data["address"]) as never);
    const { kernel, initrd } = claim?.image?.files ?? {};
    const seen = [...addresses].map((address) => sightings.at(address));
    const others = machine ? othersOf(machine) : [];
    return {
      now: clock.now(),
      listensSince,
      mode: config.dhcp.mode,
      mac,
      machine,
      next: machine && nextOf(machine),
      boots: machine ? bootsOf(machine) : [],
      packets: inOrder((machine?.macs ?? [mac]).flatMap((one) => sightings.packetsOf(one))),
      seenAt: {
        requests: inOrder(seen.flatMap(({ requests }) => requests)),
        handshakes: inOrder(seen.flatMap(({ handshakes }) => handshakes)),
      },
      events: inOrder([
        ...(machine ? store.events.list({ machineId: machine.id, limit: machineEvents, newest: true }) : []),
        ...unnamed(undefined).refusals.filter(ofAddress),
      ]),
      networkEvents: unnamed(undefined).network,
      cluster,
      firstLoadBytes: kernel && kernel.sizeBytes + (initrd?.sizeBytes ?? 0),
      roomBoots: others.map(({ boot }) => boot),
      roomWakes: others.flatMap(({ wokenInMs }) => wokenInMs ?? []),
    };
  }

  return {
    roomBoots,
    /**
     * Why this machine did not boot; of one that nobody recorded, by what was heard of its MAC.
     * @param sees for whoever sees some machines alone: no other one is named in the evidence
     */
    async examine(mac: Mac, machine: Machine | undefined, sees?: Sees): Promise<Verdict> {
      await store.events.settled();
      const evidence = evidenceOf(mac, machine, sees);
      return diagnose(sees ? withoutOthers(evidence) : evidence);
    },
  };
}
export type KeptDoctor = ReturnType<typeof keepDoctor>;

/** Without events' words on other machines, and what one asked for that had the address before. */
function withoutOthers(evidence: Evidence): Evidence {
  const { machine, events, seenAt } = evidence;
  const requests = seenAt.requests.filter(({ path }) => {
    const asked = parseMac(/^\/boot\/([^/]+)/.exec(path)?.[1] ?? "");
    return asked === undefined || machine?.macs.includes(asked);
  });
  return { ...evidence, events: events.map(eventInRoom), seenAt: { ...seenAt, requests } };
}

function inOrder<T extends { readonly at: number }>(items: readonly T[]): readonly T[] {
  return items.toSorted((left, right) => left.at - right.at);
}

/** The last answer to the last question, while it is fresh. */
function remembered<Q, A>(clock: Pick<Clock, "monotonicMs">, look: (question: Q) => A): (question: Q) => A {
  let last: { readonly question: Q; readonly answer: A; readonly untilMs: number } | undefined;
  return (question) => {
    if (!last || last.question !== question || clock.monotonicMs() >= last.untilMs)
      last = { question, answer: look(question), untilMs: clock.monotonicMs() + memoryMs };
    return last.answer;
  };
}
