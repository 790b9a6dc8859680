import type { Clock, DurationMs, Log, Udp, UdpSocket } from "../domain/capabilities.ts";
import type { Ipv4 } from "../net/ipv4.ts";
import type { Mac } from "../net/mac.ts";

/** Addresses that are probed before their turn comes; the kernel's neighbour table holds 1024. */
const aheadCount = 64;
/** ... so many at a time, each of them an ARP broadcast. */
const batch = 16;
/** A host on the same network answers ARP well within this. */
const answerMs: DurationMs = 250;
/** With nothing to probe, this often it is looked for. */
const idleMs: DurationMs = 2000;
/** The kernel makes sure of an old entry within 8 s (delay_first_probe_time, ucast_solicit). */
const confirmMs: DurationMs = 12_000;
/** How long a result counts. */
const freeMs: DurationMs = 10 * 60_000;
const takenMs: DurationMs = 2 * 60_000;
/** One host that answers for more addresses than this is a router with proxy ARP. */
const maximumPerHost = 4;
/** Nobody listens there, and a host that does throws the datagram away (RFC 863). */
const discardPort = 9;

type Probe =
  | { readonly state: "asked"; readonly atMs: number; readonly before: Mac | undefined }
  | { readonly state: "suspected"; readonly atMs: number; readonly holder: Mac }
  | { readonly state: "taken"; readonly atMs: number; readonly holder: Mac }
  | { readonly state: "free"; readonly atMs: number };

export interface AddressProberDeps {
  readonly udp: Udp;
  readonly clock: Clock;
  readonly log: Log;
  readonly device: string | undefined;
  /** The kernel's neighbour table: complete entries only. */
  neighbours(): ReadonlyMap<string, Mac>;
  /** The addresses that are given next. */
  upcoming(count: number): readonly Ipv4[];
  /** A MAC that had the address from us, by its last lease: no stranger. */
  formerHolder(address: Ipv4): Mac | undefined;
  onTaken(address: Ipv4, holder: Mac): void;
  onProxyArp(holder: Mac): void;
}

/**
 * Looks whether somebody uses an address before it is offered for the first time (RFC 2131 s.3.1), without raw sockets: a
 * datagram to the address makes the kernel ask by ARP, and its neighbour table says who answered. It is done ahead of time,
 * so that no OFFER waits for it; an address whose turn comes sooner is offered as it is, and DECLINE is there for the rest.
 */
export function createAddressProber(deps: AddressProberDeps) {
  const { clock, udp, device } = deps;
  const probes = new Map<Ipv4, Probe>();
  const perHost = new Map<Mac, Set<Ipv4>>();
  let socket: UdpSocket | undefined;
  let cancel = (): void => {};

  /** An old entry may be of a host that went away: only when the kernel has asked anew it counts. */
  function judge(address: Ipv4, probe: Probe, neighbours: ReadonlyMap<string, Mac>): Probe | undefined {
    const nowMs = clock.monotonicMs();
    const ageMs = nowMs - probe.atMs;
    const holder = neighbours.get(address);
    switch (probe.state) {
      case "asked":
        if (ageMs < answerMs) return probe;
        if (holder === undefined) return { state: "free", atMs: nowMs };
        if (holder === probe.before) return { state: "suspected", atMs: nowMs, holder };
        return taken(address, holder, nowMs);
      case "suspected":
        if (ageMs < confirmMs) return probe;
        return holder === undefined ? { state: "free", atMs: nowMs } : taken(address, holder, nowMs);
      case "free":
        return ageMs < freeMs ? probe : undefined;
      case "taken":
        return ageMs < takenMs ? probe : undefined;
    }
  }

  function taken(address: Ipv4, holder: Mac, atMs: number): Probe {
    const addresses = perHost.get(holder) ?? new Set();
    perHost.set(holder, addresses.add(address));
    if (addresses.size > maximumPerHost) {
      if (addresses.size === maximumPerHost + 1) deps.onProxyArp(holder);
      return { state: "free", atMs };
    }
    if (deps.formerHolder(address) !== holder) deps.onTaken(address, holder);
    return { state: "taken", atMs, holder };
  }

  function look(): void {
    const neighbours = deps.neighbours();
    for (const [address, probe] of probes) {
      const judged = judge(address, probe, neighbours);
      if (judged) probes.set(address, judged);
      else {
        probes.delete(address);
        if (probe.state === "taken") perHost.get(probe.holder)?.delete(address);
      }
    }
    const unknown = deps.upcoming(aheadCount).filter((address) => !probes.has(address));
    for (const address of unknown.slice(0, batch)) {
      probes.set(address, {
        state: "asked",
        atMs: clock.monotonicMs(),
        before: neighbours.get(address),
      });
      socket?.send(new Uint8Array(1), { address, port: discardPort });
    }
    cancel = clock.after(unknown.length > 0 ? answerMs : idleMs, look);
  }

  return {
    async start(): Promise<void> {
      try {
        socket = await udp.bind({ port: 0, ...(device === undefined ? {} : { device }) });
      } catch (error) {
        deps.log.debug({ device, err: error }, "addresses are offered without a probe: no socket for it");
        return;
      }
      look();
    },
    async stop(): Promise<void> {
      cancel();
      await socket?.close();
    },
    /** Who answered for the address; undefined when nobody did, or nobody was asked. */
    holderOf(address: Ipv4): Mac | undefined {
      const probe = probes.get(address);
      if (probe?.state !== "taken" && probe?.state !== "suspected") return undefined;
      return (perHost.get(probe.holder)?.size ?? 0) > maximumPerHost ? undefined : probe.holder;
    },
  };
}
export type AddressProber = ReturnType<typeof createAddressProber>;
