import type { Clock, Log, UdpEndpoint } from "../domain/capabilities.ts";
import type { DhcpContact } from "../domain/contact.ts";
import type { Lease, LeaseRepository } from "../domain/lease.ts";
import type { Ipv4 } from "../net/ipv4.ts";
import type { Mac } from "../net/mac.ts";
import { createAddressTable, type DhcpMachines } from "./address-table.ts";
import { type CommitOutcome, createCommitQueue } from "./commit-queue.ts";
import type { BootUrls } from "./policy/choose-bootfile.ts";
import { classifyClient, type Client } from "./policy/classify-client.ts";
import { type ClientMessageType, clientMessageType, decideReply } from "./policy/decide-reply.ts";
import { declinedMs } from "./policy/decide-authoritative.ts";
import type { Decision, DhcpMode, DhcpPolicy, Facts, Reply, Silence } from "./policy/decision.ts";
import type { Subnet } from "./policy/subnet.ts";
import { createRateLimitedLog } from "./rate-limited-log.ts";
import { MalformedPacket } from "./wire/malformed-packet.ts";
import { decodeMessage, type DhcpMessage, encodeMessage } from "./wire/message.ts";

export interface ExchangeDeps {
  readonly clock: Clock;
  readonly log: Log;
  readonly mode: DhcpMode;
  readonly interfaces: readonly { readonly address: Ipv4 }[];
  readonly subnets: readonly Subnet[];
  readonly leases: Pick<LeaseRepository, "findByMac" | "findByAddress" | "save">;
  readonly machines: DhcpMachines;
  readonly nbp: { readonly available: ReadonlySet<string> };
  urls(serverAddress: Ipv4): BootUrls;
  onContact(contact: DhcpContact): void;
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
  /** DHCP, but not from a client we can serve: replies of other servers, BOOTP, other hardware than Ethernet. */
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

const warnIntervalMs = 60_000;
/** An iPXE without HTTP that comes back within this time is in a loop, and not switched on anew. */
const chainWindowMs = 60_000;
const chainMemory = 10_000;

/** Everything between a datagram's arrival and its reply: decode, facts, decide, commit, send, record. */
export function createExchange(deps: ExchangeDeps) {
  const { clock, log, leases, machines, subnets } = deps;
  const warnings = createRateLimitedLog(log, clock, warnIntervalMs);
  const counters: DhcpCounters = {
    received: 0,
    malformed: 0,
    ignored: 0,
    replies: 0,
    duplicates: 0,
    droppedCommits: 0,
    failedCommits: 0,
  };
  // Leases are reckoned by a clock that no step of the wall clock moves: one hour forth and all would have expired.
  const startedAt = clock.now() - clock.monotonicMs();
  const now = (): number => Math.round(startedAt + clock.monotonicMs());
  const serverAddresses = new Set(deps.interfaces.map(({ address }) => address));
  const table = createAddressTable({ leases, machines, serverAddresses, now, monotonicMs: () => clock.monotonicMs() });
  const commits = createCommitQueue({ save: (lease) => leases.save(lease) });
  const committing = new Set<string>();
  const chained = new Map<Mac, { readonly xid: number; readonly atMs: number }>();
  let hasEnded = false;
  const policy: DhcpPolicy = {
    mode: deps.mode,
    subnets,
    serverAddresses,
    availableNbps: deps.nbp.available,
    relayPort: deps.relayPort ?? 67,
    clientPort: deps.clientPort ?? 68,
  };

  function factsFor({ port, request, client }: Packet, source: UdpEndpoint): Facts {
    const { mac } = client;
    const chain = chained.get(mac);
    return {
      now: now(),
      reservation: machines.reservationOf(mac),
      lease: leases.findByMac(mac),
      offered: table.offered(mac),
      isAvailable: (address) => table.isAvailable(mac, address),
      nextFree: (subnet) => table.nextFree(mac, subnet),
      service: port.service,
      serverAddress: port.serverAddress,
      source,
      urls: deps.urls(port.serverAddress),
      mayNetboot: machines.mayNetboot(mac),
      chainedBefore: chain !== undefined && chain.xid !== request.xid && clock.monotonicMs() - chain.atMs < chainWindowMs,
      declinedCount: table.declinedCount(mac),
    };
  }

  function act(packet: Packet, decision: Decision): void {
    if (decision.kind === "silence") actOnSilence(packet, decision);
    else if (decision.commit) commitAndReply(packet, decision, decision.commit);
    else {
      if (decision.message === "OFFER" && decision.address) table.offer(packet.client.mac, decision.address);
      reply(packet, decision, encodeMessage(decision.packet));
    }
  }

  function actOnSilence(packet: Packet, decision: Silence): void {
    const { mac } = packet.client;
    if (decision.withdrawsOffer) table.withdraw(mac);
    if (decision.commit) {
      if (decision.commit.state === "declined") table.decline(mac, decision.commit.address);
      commits.submit(decision.commit, (outcome) => noteFailure(outcome, mac));
    }
    if (decision.alarm === "pool-exhausted") warnings.warn({ mac, serverAddress: packet.port.serverAddress }, "no free address in the subnet");
    if (decision.alarm === "address-conflict") {
      warnings.warn({ mac, address: decision.address, setAsideMs: declinedMs }, "another host uses an address that was leased");
    }
    record(packet, decision);
  }

  function commitAndReply(packet: Packet, decision: Reply, lease: Lease): void {
    const key = `${lease.mac} ${packet.request.xid}`;
    if (committing.has(key)) {
      counters.duplicates++;
      return;
    }
    // Before the commit: what can't be written must not become a lease.
    const datagram = encodeMessage(decision.packet);
    committing.add(key);
    table.hold(lease.mac, lease.address);
    commits.submit(lease, (outcome) => {
      committing.delete(key);
      table.letGo(lease.address);
      if (outcome.kind === "saved") {
        table.withdraw(lease.mac);
        reply(packet, decision, datagram);
      } else {
        noteFailure(outcome, lease.mac);
        record(packet, decision, "the lease could not be saved");
      }
    });
  }

  function noteFailure(outcome: CommitOutcome, mac: Mac): void {
    if (outcome.kind === "dropped") {
      counters.droppedCommits++;
      warnings.warn({ mac }, "dropped a lease: too many wait for the disk");
    } else if (outcome.kind === "failed") {
      counters.failedCommits++;
      warnings.warn({ mac, err: outcome.error }, "failed to save a lease, so it was not granted");
    }
  }

  function reply(packet: Packet, decision: Reply, datagram: Uint8Array): void {
    if (hasEnded) return;
    packet.port.send(datagram, decision.to);
    counters.replies++;
    if (decision.isChainload) rememberChain(packet);
    if (decision.noBootReason !== undefined) warnNoBoot(packet, decision.noBootReason);
    record(packet, decision);
  }

  function rememberChain({ client, request }: Packet): void {
    const before = chained.get(client.mac);
    if (before?.xid === request.xid) return;
    chained.delete(client.mac);
    chained.set(client.mac, { xid: request.xid, atMs: clock.monotonicMs() });
    const oldest = chained.size > chainMemory ? chained.keys().next().value : undefined;
    if (oldest !== undefined) chained.delete(oldest);
  }

  function warnNoBoot({ client }: Packet, reason: string): void {
    if (!machines.mayNetboot(client.mac)) return;
    warnings.warn({ mac: client.mac, architectures: client.architectures, reason }, "no boot file for this client");
  }

  function record({ port, type, request, client, arrivedMs }: Packet, decision: Decision, failure?: string): void {
    const isReply = decision.kind === "reply" && failure === undefined;
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
      device: port.device,
      serverMs: clock.monotonicMs() - arrivedMs,
    };
    const { mac, message, reply: replied, silence, address, bootfile, xid } = contact;
    log.debug({ mac, message, reply: replied, silence, address, bootfile, xid, device: port.device }, "DHCP exchange");
    try {
      deps.onContact(contact);
    } catch (error) {
      log.error({ err: error, mac }, "failed to record a DHCP contact");
    }
  }

  return {
    counters,

    /** One datagram; never throws, whatever is in it. */
    receive(datagram: Uint8Array, from: UdpEndpoint, port: Port): void {
      if (hasEnded) return;
      counters.received++;
      const arrivedMs = clock.monotonicMs();
      try {
        const request = decodeMessage(datagram);
        const type = clientMessageType(request);
        const client = type && classifyClient(request);
        if (!type || !client) {
          counters.ignored++;
          return;
        }
        const packet: Packet = { port, type, request, client, arrivedMs };
        const decision = decideReply(type, request, client, factsFor(packet, from), policy);
        if (decision.kind === "silence" && port.service === "dhcp") warnIfNoBoot(packet, decision);
        act(packet, decision);
      } catch (error) {
        if (error instanceof MalformedPacket) {
          counters.malformed++;
          log.debug({ from: from.address, reason: error.reason, device: port.device }, "dropped a malformed DHCP packet");
        } else log.error({ err: error, from: from.address, device: port.device }, "failed to handle a DHCP packet");
      }
    },

    /** Resolves when every lease on the way to the disk is there and its reply is sent. */
    drain: (): Promise<void> => commits.idle(),
    /** From now on nothing is sent. */
    end(): void {
      hasEnded = true;
    },
  };
}
