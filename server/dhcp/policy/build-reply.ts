import { type Ipv4, UnspecifiedAddress } from "../../net/ipv4.ts";
import {
  BootReply,
  BroadcastFlag,
  type DhcpMessage,
  FileOctets,
  HeaderOctets,
  SnameOctets,
} from "../wire/message.ts";
import { OptionCode } from "../wire/option-codes.ts";
import { fitOptions, orderOptions, spreadOptions, uint16Option } from "../wire/options.ts";
import { type BootChoice, chooseBootfile } from "./choose-bootfile.ts";
import type { Client } from "./classify-client.ts";
import type { DhcpPolicy, Facts, Reply } from "./decision.ts";
import { fitsFile, isUrl, type ReplyContext, writeOptions } from "./option-writers.ts";
import { type PxeRole, pxeStrategy } from "./pxe-strategies.ts";
import { replyDestination } from "./reply-destination.ts";
import type { Lease } from "../../domain/lease.ts";
import type { Subnet } from "./subnet.ts";

export interface ReplyInput {
  readonly message: Reply["message"];
  readonly request: DhcpMessage;
  readonly client: Client;
  readonly facts: Facts;
  readonly policy: DhcpPolicy;
  /** The address given; undefined where none is: INFORM, proxy, NAK. */
  readonly yiaddr?: Ipv4;
  /** The address the client has already, for the record. */
  readonly clientAddress?: Ipv4 | undefined;
  readonly subnet?: Subnet;
  /** What is left of a lease; undefined: all of the subnet's time. */
  readonly leaseSeconds?: number;
  readonly commit?: Lease;
  readonly boot?: BootChoice | undefined;
  readonly role?: PxeRole;
  readonly refusal?: string;
}

/** Most octets of a DHCP message that a client must take when it does not say more (RFC 2131 s.2): 576 with IP and UDP. */
const defaultDatagramOctets = 576;
/** An Ethernet frame; a reply is never fragmented, since ROMs do not put fragments together. */
const maximumDatagramOctets = 1500;
const ipAndUdpOctets = 28;

/** What is never left out of a reply that is too long. */
const essential: ReadonlySet<number> = new Set([
  OptionCode.MessageType,
  OptionCode.Overload,
  OptionCode.ServerId,
  OptionCode.LeaseTime,
  OptionCode.SubnetMask,
  OptionCode.ClientId,
  OptionCode.VendorClass,
  OptionCode.ClientMachineId,
  OptionCode.VendorSpecific,
  OptionCode.TftpServerName,
  OptionCode.BootfileName,
  OptionCode.RelayAgentInformation,
]);

/** What the client is to boot; undefined when it does not ask to boot, or may not. */
export function bootChoice(client: Client, facts: Facts, policy: DhcpPolicy): BootChoice | undefined {
  if (!client.netboot) return undefined;
  if (!facts.mayNetboot) return { kind: "none", reason: "network boot is off for this machine" };
  const { serverAddress, urls, chainedBefore, driver, secureBoot } = facts;
  return chooseBootfile({
    client,
    available: policy.availableNbps,
    serverAddress,
    urls,
    chainedBefore,
    driver,
    secureBoot,
  });
}

/** A reply with its header (RFC 2131 table 3), its options and where it goes. */
export function buildReply(input: ReplyInput): Reply {
  const { message, request, client, facts, policy, boot: choice } = input;
  const boot =
    choice?.kind === "boot"
      ? {
          bootfile: choice.bootfile,
          strategy: pxeStrategy(input.role ?? "authoritative", choice.client, facts.strategy),
        }
      : undefined;
  const piDelayMs =
    (choice?.kind === "boot" && choice.client === "raspberry-pi" && policy.raspberryPiDelayMs) || 0;
  const context: ReplyContext = {
    message,
    request,
    client,
    serverAddress: facts.serverAddress,
    subnet: input.subnet,
    leaseSeconds: input.yiaddr === undefined ? undefined : (input.leaseSeconds ?? input.subnet?.leaseSeconds),
    boot,
    refusal: input.refusal,
  };
  const isRelayed = request.giaddr !== UnspecifiedAddress;
  const { giaddr, ciaddr } = request;
  return {
    kind: "reply",
    message,
    packet: {
      op: BootReply,
      htype: request.htype,
      hlen: request.hlen,
      hops: 0,
      xid: request.xid,
      secs: 0,
      // The relay agent is told to broadcast a NAK, since the client has no address that would be right (s.4.3.2).
      flags: message === "NAK" && isRelayed ? request.flags | BroadcastFlag : request.flags,
      ciaddr: message === "ACK" ? ciaddr : UnspecifiedAddress,
      yiaddr: input.yiaddr ?? UnspecifiedAddress,
      siaddr: boot ? facts.serverAddress : UnspecifiedAddress,
      giaddr,
      chaddr: request.chaddr,
      sname: boot?.strategy.hasServerName && !isUrl(boot.bootfile) ? facts.serverAddress : "",
      file: boot && fitsFile(boot.bootfile) ? boot.bootfile : "",
      ...optionsOf(context),
    },
    to: replyDestination({
      message,
      giaddr,
      ciaddr,
      service: facts.service,
      source: facts.source,
      relayPort: policy.relayPort,
      clientPort: policy.clientPort,
    }),
    address: input.yiaddr ?? input.clientAddress,
    commit: input.commit,
    bootfile: boot?.bootfile,
    isChainload: choice?.kind === "boot" && choice.isChainload,
    strategy: boot?.strategy.name,
    drivers: (choice?.kind === "boot" && choice.drivers) || [],
    delayMs: message === "OFFER" ? (boot?.strategy.offerDelayMs ?? piDelayMs) : 0,
    noBootReason: choice?.kind === "none" ? choice.reason : undefined,
  };
}

/**
 * The options, spread over the text fields where the client takes no longer message. Network boot ROMs get none there: many
 * do not know option 52 and would take what stands in `file` for a name.
 */
function optionsOf(context: ReplyContext): Pick<DhcpMessage, "options" | "overload"> {
  const asked = uint16Option(context.request.options, OptionCode.MaximumMessageSize) ?? 0;
  const datagramOctets = Math.min(Math.max(asked, defaultDatagramOctets), maximumDatagramOctets);
  const ordered = orderOptions(writeOptions(context), context.client.requested);
  const maximumOctets = datagramOctets - ipAndUdpOctets - HeaderOctets;
  const isFree = context.client.netboot === undefined;
  const room = isFree ? { file: FileOctets, sname: SnameOctets } : { file: 0, sname: 0 };
  const { options, file, sname } = spreadOptions(ordered, maximumOctets, room);
  return {
    options: fitOptions(options, maximumOctets, essential),
    overload: file || sname ? { file, sname } : undefined,
  };
}
