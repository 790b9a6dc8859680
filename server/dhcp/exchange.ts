import { LRUCache } from "lru-cache";
import type { Clock, EpochMs, Log, UdpEndpoint } from "../domain/capabilities.ts";
import type { Driver } from "../domain/boot-preferences.ts";
import type { BootStrategyRepository } from "../domain/boot-strategy.ts";
import type { DhcpContact, FirstStageProgress } from "../domain/contact.ts";
import type { RecordEvent } from "../domain/event.ts";
import type { Lease, LeaseRepository } from "../domain/lease.ts";
import { type Ipv4, UnspecifiedAddress } from "../net/ipv4.ts";
import type { Mac } from "../net/mac.ts";
import { AddressTable, type DhcpMachines } from "./address-table.ts";
import { type CommitOutcome, type CommitQueue, createCommitQueue } from "./commit-queue.ts";
import { type BootUrls, driverOf } from "./policy/choose-bootfile.ts";
import { classifyClient, type Client } from "./policy/classify-client.ts";
import { type ClientMessageType, clientMessageType, decideReply } from "./policy/decide-reply.ts";
import type { Decision, DhcpMode, DhcpPolicy, Facts, Reply, Silence } from "./policy/decision.ts";
import { hasAnswerableAddresses, type Subnet } from "./policy/subnet.ts";
import { createNotices, type Notices } from "./notices.ts";
import { StrategyBook } from "./strategy-book.ts";
import { MalformedPacket } from "./wire/malformed-packet.ts";
import { decodeMessage, type DhcpMessage, encodeMessage } from "./wire/message.ts";

export interface ExchangeDeps {
  readonly clock: Clock;
  readonly log: Log;
  readonly mode: DhcpMode;
  readonly interfaces: readonly { readonly address: Ipv4 }[];
  readonly subnets: readonly Subnet[];
  readonly leases: Pick<LeaseRepository, "findByMac" | "findByAddress" | "all" | "save">;
  readonly machines: DhcpMachines;
  readonly nbp: { readonly available: ReadonlySet<string> };
  urls(serverAddress: Ipv4): BootUrls;
  onContact(contact: DhcpContact): void;
  readonly record?: RecordEvent | undefined;
  readonly strategies?: BootStrategyRepository | undefined;
  readonly raspberryPiDelayMs?: number | undefined;
  readonly unknownShare?: number | undefined;
  /** The host that answered when an address was probed. */
  holderOf?(address: Ipv4): Mac | undefined;
  /** A MAC of our own, in whose name we look for other servers. */
  readonly probeMac?: Mac | undefined;
  readonly relayPort?: number;
  readonly clientPort?: number;
}

/** The socket that a datagram came in by. */
export interface Port {
  readonly service: "dhcp" | "pxe";
  readonly device: string | undefined;
  readonly serverAddress: Ipv4;
  send(datagram: Uint8Array, to: UdpEndpoint): void;
}

export interface DhcpCounters {
  received: number;
  /** No DHCP message at all. */
  malformed: number;
  /** DHCP, but not from a client we can answer: replies of other servers, BOOTP, other hardware than Ethernet, addresses of no host. */
  ignored: number;
  replies: number;
  /** REQUESTs that were repeated while their lease was on the way to the disk. */
  duplicates: number;
  /** REQUESTs without answer because too many were waiting for the disk. */
  droppedCommits: number;
  failedCommits: number;
}

interface Packet {
  readonly port: Port;
  readonly type: ClientMessageType;
  readonly request: DhcpMessage;
  readonly client: Client;
  readonly arrivedMs: number;
}

/** An iPXE without HTTP that comes back within this time is in a loop, and not switched on anew. */
const chainWindowMs = 60_000;
/** Loads of ours after which nothing but the old iPXE was heard: once may be a hand at the switch. */
const chainLoads = 2;
/** Exchanges, where the loads are out of our sight: some may be replies that were lost. */
const chainTries = 8;
/** An iPXE without HTTP that was sent to our own build. */
interface Chain {
  readonly xid: number;
  readonly atMs: number;
  /** Exchanges in which it was sent there. */
  readonly tries: number;
  readonly loads: number;
}
const chainMemory = 10_000;
/** Replies that wait for their time. */
const maximumDelayed = 1000;

/** Everything between a datagram's arrival and its reply: decode, facts, decide, commit, send, record. */
export class Exchange {
  readonly counters: DhcpCounters = {
    received: 0,
    malformed: 0,
    ignored: 0,
    replies: 0,
    duplicates: 0,
    droppedCommits: 0,
    failedCommits: 0,
  };
  readonly #deps: ExchangeDeps;
  readonly #policy: DhcpPolicy;
  readonly #table: AddressTable;
  readonly #commits: CommitQueue;
  readonly #strategies: StrategyBook;
  /** Replies that wait for their time. */
  readonly #delayed = new Set<() => void>();
  readonly notices: Notices;
  /** REQUESTs whose lease is on the way to the disk, by MAC and xid. */
  readonly #committing = new Set<string>();
  readonly #chained = new LRUCache<Mac, Chain>({ max: chainMemory });
  /** Leases are reckoned by a clock that no step of the wall clock moves: one hour forth and all would have expired. */
  readonly #now: () => EpochMs;
  #hasEnded = false;

  constructor(deps: ExchangeDeps) {
    const { clock, leases, machines, subnets } = deps;
    const epochAtZeroMs = clock.now() - clock.monotonicMs();
    const now = (): EpochMs => Math.round(epochAtZeroMs + clock.monotonicMs());
    const serverAddresses = new Set(deps.interfaces.map(({ address }) => address));
    this.#deps = deps;
    this.#now = now;
    const { identify } = machines;
    this.notices = createNotices({ ...deps, ...(identify ? { identify } : {}) });
    this.#strategies = new StrategyBook({
      ...deps,
      strategies: deps.strategies,
      onSwitch: this.notices.strategySwitched,
      onDriverSwitch: this.notices.driverSwitched,
      // Where this server gives the addresses, too, there is but one offer to take.
      ...(deps.mode === "proxy" ? { onIgnored: this.notices.offersIgnored } : {}),
    });
    this.#table = new AddressTable({
      leases,
      machines,
      subnets,
      serverAddresses,
      unknownShare: deps.unknownShare ?? 1,
      holderOf: (address) => deps.holderOf?.(address),
      now,
      monotonicMs: () => clock.monotonicMs(),
    });
    this.#commits = createCommitQueue({ save: (lease) => leases.save(lease) });
    this.#policy = {
      mode: deps.mode,
      subnets,
      serverAddresses,
      get availableNbps() {
        return deps.nbp.available;
      },
      relayPort: deps.relayPort ?? 67,
      clientPort: deps.clientPort ?? 68,
      raspberryPiDelayMs: deps.raspberryPiDelayMs,
    };
  }

  /** Addresses that will be offered next: to be probed before. */
  upcoming(subnet: Subnet, count: number): Ipv4[] {
    return this.#table.upcoming(subnet, count);
  }

  /** The machine loads a file of ours: what it was told its boot file by has worked. */
  machineProgressed(mac: Mac, progress: FirstStageProgress): void {
    const chain = this.#chained.peek(mac);
    if (chain && progress === "loaded") this.#chained.set(mac, { ...chain, loads: chain.loads + 1 });
    this.#strategies.onProgress(mac, progress);
  }

  /** The driver that a machine gets since it hung in another one. */
  driverFor(mac: Mac): Driver | undefined {
    return this.#strategies.driverFor(mac);
  }

  /** One datagram; never throws, whatever is in it. */
  receive(datagram: Uint8Array, from: UdpEndpoint, port: Port): void {
    if (this.#hasEnded) return;
    const { clock, log } = this.#deps;
    const arrivedMs = clock.monotonicMs();
    this.counters.received++;
    try {
      const request = decodeMessage(datagram);
      const type = hasAnswerableAddresses(request, this.#policy.subnets)
        ? clientMessageType(request)
        : undefined;
      const client = type && classifyClient(request);
      if (!type || !client || client.mac === this.#deps.probeMac) {
        this.counters.ignored++;
        return;
      }
      const packet: Packet = { port, type, request, client, arrivedMs };
      if (client.speaker === "firmware" && type === "DISCOVER") this.#strategies.onDiscover(client.mac);
      this.#act(packet, decideReply(type, request, client, this.#factsFor(packet, from), this.#policy));
    } catch (error) {
      const fields = { from: from.address, device: port.device };
      if (error instanceof MalformedPacket) {
        this.counters.malformed++;
        log.debug({ ...fields, reason: error.reason }, "dropped a malformed DHCP packet");
      } else log.error({ ...fields, err: error }, "failed to handle a DHCP packet");
    }
  }

  /** Resolves when every lease on the way to the disk is there and its reply is sent. */
  drain(): Promise<void> {
    return this.#commits.idle();
  }

  /** From now on nothing is sent. */
  end(): void {
    this.#hasEnded = true;
    for (const cancel of this.#delayed) cancel();
    this.#delayed.clear();
  }

  #factsFor({ port, request, client }: Packet, source: UdpEndpoint): Facts {
    const { machines, leases, clock } = this.#deps;
    const table = this.#table;
    const { mac } = client;
    const chain = this.#chained.peek(mac);
    const choice = machines.driverOf?.(mac) ?? "auto";
    const lease = leases.findByMac(mac);
    return {
      now: this.#now(),
      reservation: machines.reservationOf(mac),
      lease,
      isBeingSaved: lease !== undefined && table.isHeld(lease.address),
      offered: table.offered(mac),
      isAvailable: (address) => table.isAvailable(mac, address),
      nextFree: (subnet) => table.nextFree(mac, subnet),
      service: port.service,
      serverAddress: port.serverAddress,
      source,
      urls: this.#deps.urls(port.serverAddress),
      mayNetboot: machines.mayNetboot(mac),
      chainedBefore:
        chain !== undefined &&
        (chain.loads >= chainLoads || chain.tries >= chainTries) &&
        chain.xid !== request.xid &&
        clock.monotonicMs() - chain.atMs < chainWindowMs,
      declinedCount: table.declinedCount(mac),
      secureBoot: machines.identify?.(mac)?.secureBoot,
      strategy: this.#strategies.strategyFor(mac),
      driver: choice === "auto" ? this.#strategies.driverFor(mac) : choice,
    };
  }

  #act(packet: Packet, decision: Decision): void {
    if (decision.kind === "silence") return this.#staySilent(packet, decision);
    if (decision.commit) return this.#commitAndReply(packet, decision, decision.commit);
    if (decision.message === "OFFER" && decision.address)
      this.#table.offer(packet.client.mac, decision.address);
    this.#replyInTime(packet, decision, encodeMessage(decision.packet));
  }

  #staySilent(packet: Packet, decision: Silence): void {
    const { mac } = packet.client;
    const { commit, alarm, reason, address } = decision;
    // Until it is written the lease is neither confirmed from memory nor given to anybody else.
    if (commit) this.#table.hold(mac, commit.address);
    if (decision.withdrawsOffer) this.#table.withdraw(mac);
    if (commit) {
      if (commit.state === "declined") this.#table.decline(mac, commit.address);
      this.#commits.submit(commit, (outcome) => {
        this.#table.letGo(commit.address);
        this.#noteFailure(outcome, mac);
      });
    }
    if (alarm) this.notices.alarm(alarm, { mac, address, reason });
    this.#record(packet, decision);
  }

  #commitAndReply(packet: Packet, decision: Reply, lease: Lease): void {
    const key = `${lease.mac} ${packet.request.xid}`;
    if (this.#committing.has(key)) {
      this.counters.duplicates++;
      return;
    }
    // Before the commit: a reply that can't be written must not leave a lease behind.
    const datagram = encodeMessage(decision.packet);
    this.#committing.add(key);
    this.#table.hold(lease.mac, lease.address);
    this.#commits.submit(lease, (outcome) => {
      this.#committing.delete(key);
      this.#table.letGo(lease.address);
      if (outcome.kind === "saved") {
        this.#table.withdraw(lease.mac);
        this.#reply(packet, decision, datagram);
      } else {
        this.#noteFailure(outcome, lease.mac);
        this.#record(packet, decision, "the lease could not be saved");
      }
    });
  }

  #noteFailure(outcome: CommitOutcome, mac: Mac): void {
    if (outcome.kind === "dropped") {
      this.counters.droppedCommits++;
      this.notices.warn({ mac }, "dropped a lease: too many wait for the disk");
    } else if (outcome.kind === "failed") {
      this.counters.failedCommits++;
      this.notices.warn({ mac, err: outcome.error }, "failed to save a lease");
    }
  }

  #replyInTime(packet: Packet, decision: Reply, datagram: Uint8Array): void {
    if (decision.delayMs === 0) return this.#reply(packet, decision, datagram);
    // Anybody can name a Raspberry Pi's MAC: what waits is bounded, and what is too much comes at once.
    if (this.#delayed.size >= maximumDelayed) return this.#reply(packet, decision, datagram);
    const cancel = this.#deps.clock.after(decision.delayMs, () => {
      this.#delayed.delete(cancel);
      this.#reply(packet, decision, datagram);
    });
    this.#delayed.add(cancel);
  }

  #reply(packet: Packet, decision: Reply, datagram: Uint8Array): void {
    if (this.#hasEnded) return;
    const { mac, architectures } = packet.client;
    packet.port.send(datagram, decision.to);
    this.counters.replies++;
    if (decision.isChainload) this.#rememberChain(packet);
    const { noBootReason: reason } = decision;
    if (reason !== undefined && this.#deps.machines.mayNetboot(mac)) {
      this.notices.alarm("no-boot-file", { mac, architectures, reason });
    }
    this.#record(packet, decision);
  }

  #rememberChain({ client, request }: Packet): void {
    const chained = this.#chained;
    const before = chained.peek(client.mac);
    if (before?.xid === request.xid) return;
    const atMs = this.#deps.clock.monotonicMs();
    const isSameBoot = before !== undefined && atMs - before.atMs < chainWindowMs;
    chained.set(client.mac, {
      xid: request.xid,
      atMs,
      tries: isSameBoot ? before.tries + 1 : 1,
      loads: isSameBoot ? before.loads : 0,
    });
  }

  /** What the message says of the network and of the strategy that its sender is served by. */
  #watch({ client, type, port, request }: Packet, decision: Decision): void {
    const { mac, speaker } = client;
    const foreignServer = decision.kind === "silence" ? decision.foreignServer : undefined;
    if (foreignServer) this.notices.otherServer(foreignServer, port.device, "chosen by a client");
    else if (type === "DISCOVER") this.notices.addressAsked();
    else if (request.ciaddr !== UnspecifiedAddress) this.notices.addressSeen();
    if (speaker === "ipxe") this.#strategies.onProgress(mac, "started");
    // Ours runs: the chain has ended well.
    if (speaker === "ipxe" && client.ipxeFeatures?.has("http")) this.#chained.delete(mac);
    if (speaker !== "firmware") return;
    if (type === "REQUEST") this.#strategies.onRequest(mac);
    else if (decision.kind === "reply" && decision.message === "OFFER" && decision.strategy) {
      this.#strategies.onOffer(mac, decision.strategy);
      const driver =
        decision.bootfile && driverOf(decision.bootfile.slice(decision.bootfile.lastIndexOf("/") + 1));
      // What people chose is not switched.
      const isAuto = (this.#deps.machines.driverOf?.(mac) ?? "auto") === "auto";
      if (driver && isAuto) this.#strategies.onProgram(mac, driver, decision.drivers);
    }
  }

  #record(packet: Packet, decision: Decision, failure?: string): void {
    const { port, type, request, client, arrivedMs } = packet;
    const { clock, log } = this.#deps;
    const isReply = decision.kind === "reply" && failure === undefined;
    this.#watch(packet, decision);
    const contact: DhcpContact = {
      at: clock.now(),
      mac: client.mac,
      speaker: client.speaker,
      firmware: client.firmware,
      uuid: client.uuid,
      message: type,
      xid: request.xid,
      secs: request.secs,
      port: port.service === "pxe" ? 4011 : 67,
      reply: isReply ? decision.message : undefined,
      silence: failure ?? (decision.kind === "silence" ? decision.reason : undefined),
      address: failure === undefined ? decision.address : undefined,
      foreignServer: decision.kind === "silence" ? decision.foreignServer : undefined,
      bootfile: isReply ? decision.bootfile : undefined,
      strategy: isReply ? decision.strategy : undefined,
      device: port.device,
      serverMs: clock.monotonicMs() - arrivedMs,
    };
    const { mac, message, reply, silence, address, bootfile, xid, device } = contact;
    log.debug({ mac, message, reply, silence, address, bootfile, xid, device }, "DHCP exchange");
    try {
      this.#deps.onContact(contact);
    } catch (error) {
      log.error({ err: error, mac }, "failed to record a DHCP contact");
    }
  }
}
