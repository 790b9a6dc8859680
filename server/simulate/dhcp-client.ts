import { type Ipv4, UnspecifiedAddress } from "../net/ipv4.ts";
import { type DhcpMessage, encodeMessage } from "../dhcp/wire/message.ts";
import { OptionCode } from "../dhcp/wire/option-codes.ts";
import { ipv4Option } from "../dhcp/wire/options.ts";
import {
  type BootFile,
  bootFileOf,
  forbidsProxyWait,
  isBootFileAtOnce,
  isForNetboot,
  replyType,
} from "./dhcp-messages.ts";
import type { DhcpHabits } from "./profiles.ts";
import { randomUint32 } from "./random.ts";
import { decodeReply } from "./segment.ts";
import { converse, type Hear } from "./conversation.ts";
import { bindOwn, type Station, Stopped } from "./station.ts";

export interface Lease {
  readonly address: Ipv4;
  /** Undefined where an operating system asked, or where only the offers were wanted. */
  readonly boot: BootFile | undefined;
}

/** The names under which this client's exchanges are measured. */
export interface DhcpPhases {
  readonly offer: "offer" | "ipxe-offer" | "os-offer";
  readonly ack: "ack" | "ipxe-ack" | "os-ack";
}

interface Choice {
  /** The offer that the address comes from; undefined: only its proxy has answered. */
  readonly address: DhcpMessage | undefined;
  /** The offer that the boot file comes from. */
  readonly boot: DhcpMessage | undefined;
}

/** DISCOVER, OFFER, REQUEST, ACK, and port 4011 where this client asks there. @throws Stopped */
export async function obtainLease(station: Station, habits: DhcpHabits, phases: DhcpPhases): Promise<Lease> {
  for (let naks = 0; ; naks++) {
    const xid = randomUint32(station.random);
    const choice = await discover(station, habits, phases, xid);
    if (station.plan.goal === "offer" || !choice.address)
      return { address: choice.address?.yiaddr ?? UnspecifiedAddress, boot: undefined };
    const ack = await request(station, habits, phases, xid, choice.address);
    if (ack === "NAK") {
      if (naks === 3) throw new Stopped(phases.ack, "NAK after NAK");
      station.record.repeated(phases.offer);
      continue;
    }
    const address = ack.yiaddr;
    const holder = station.record.holds(address, station.machine);
    if (holder) throw new Stopped(phases.ack, `was given ${address}, which ${holder.mac} holds`);
    if (station.plan.goal === "address" || habits.architecture === undefined)
      return { address, boot: undefined };
    return { address, boot: await bootOf(station, habits, address, ack, choice) };
  }
}

async function discover(
  station: Station,
  habits: DhcpHabits,
  { offer: phase }: DhcpPhases,
  xid: number,
): Promise<Choice> {
  const { timeline, record, plan } = station;
  const beganMs = timeline.nowMs();
  let address: DhcpMessage | undefined;
  let combined: DhcpMessage | undefined;
  let proxy: DhcpMessage | undefined;
  const isBootClient = habits.architecture !== undefined;
  const complete = (): Choice | undefined => {
    if (combined) return { address: combined, boot: combined };
    if (address && !isBootClient) return { address, boot: undefined };
    if (address && proxy && habits.mergesOffers) return { address, boot: proxy };
    return address && forbidsProxyWait(address) ? { address, boot: undefined } : undefined;
  };
  const chosen = await converse<Choice>(station, {
    phase,
    waits: habits.discoverMs,
    open: onSegment(station, xid),
    message: (secs) => ({ ...wayOf(station), type: "Discover", xid, secs }),
    habits,
    take(reply) {
      if (replyType(reply) !== "OFFER") return undefined;
      if (!address && !proxy) record.took(phase, timeline.nowMs() - beganMs);
      const boots =
        isBootClient && isForNetboot(reply, habits.vendorClass) && bootFileOf(reply, habits) !== undefined;
      if (reply.yiaddr === UnspecifiedAddress) {
        if (isForNetboot(reply, habits.vendorClass)) proxy ??= reply;
      } else {
        address ??= reply;
        if (boots) combined ??= reply;
      }
      if (plan.goal === "offer" && (address || proxy)) return { address, boot: proxy };
      // With the address alone as goal nothing is to be booted.
      if (plan.goal === "address" && address) return { address, boot: undefined };
      return habits.choosesOffer === "timeout" ? undefined : complete();
    },
    atWaitEnd: complete,
    ...(typeof habits.choosesOffer === "number"
      ? { late: { afterMs: habits.choosesOffer, take: () => address && { address, boot: undefined } } }
      : {}),
  });
  if (chosen) return chosen;
  if (address && proxy)
    throw new Stopped(phase, "address and boot file came in two offers, which it does not merge");
  if (address) throw new Stopped(phase, "offers had an address and no boot file");
  if (proxy) throw new Stopped(phase, "offers had a boot file and no address");
  throw new Stopped(phase, `no OFFER to ${habits.discoverMs.length} DISCOVERs`);
}

async function request(
  station: Station,
  habits: DhcpHabits,
  { ack: phase }: DhcpPhases,
  xid: number,
  offer: DhcpMessage,
): Promise<DhcpMessage | "NAK"> {
  const { timeline, record } = station;
  const beganMs = timeline.nowMs();
  const server = ipv4Option(offer.options, OptionCode.ServerId);
  if (!server) throw new Stopped(phase, "the OFFER has no server identifier");
  const answer = await converse<DhcpMessage | "NAK">(station, {
    phase,
    waits: habits.requestMs,
    open: onSegment(station, xid),
    message: (secs) => ({ ...wayOf(station), type: "Request", xid, secs, requested: offer.yiaddr, server }),
    habits,
    take(reply) {
      const type = replyType(reply);
      // A proxy confirms too, and has no address to give.
      if (type === "ACK" && reply.yiaddr !== UnspecifiedAddress) return reply;
      return type === "NAK" ? "NAK" : undefined;
    },
  });
  if (!answer) throw new Stopped(phase, `no ACK to ${habits.requestMs.length} REQUESTs`);
  record.took(phase, timeline.nowMs() - beganMs);
  return answer;
}

function onSegment({ segment, line }: Station, xid: number) {
  return (hear: Hear) => segment.open(xid, (reply) => line.carry(() => hear(reply.decode())));
}

/** What the relay agent, or the client on a device, puts into the header. */
function wayOf({ segment: { giaddr, hops, flags } }: Station) {
  return { giaddr, hops, flags };
}

async function bootOf(
  station: Station,
  habits: DhcpHabits,
  address: Ipv4,
  ack: DhcpMessage,
  { address: offer, boot }: Choice,
): Promise<BootFile | undefined> {
  const isProxy = boot !== undefined && boot !== offer;
  const told = isProxy
    ? bootFileOf(boot, habits)
    : (bootFileOf(ack, habits) ?? (offer && bootFileOf(offer, habits)));
  const isIpxe = habits.userClass !== undefined;
  const isUefi = (habits.architecture ?? 0) >= 6;
  // UEFI does not look at 43.6 and asks; BIOS boots what the offer names when 43.6 says so (firmware-quirk Q3).
  const isTold = told !== undefined && (!isProxy || isIpxe || (!isUefi && isBootFileAtOnce(boot)));
  if (habits.asksBootServer === "never" || (habits.asksBootServer === "when-needed" && isTold)) return told;
  const server = (boot && ipv4Option(boot.options, OptionCode.ServerId)) ?? told?.server;
  if (!server || (isIpxe && !isProxy)) return told;
  return askBootServer(station, habits, address, server);
}

/** PXE 2.1 s.2.2.4: a REQUEST to port 4011 of the boot server, from the machine's own address. */
async function askBootServer(
  station: Station,
  habits: DhcpHabits,
  address: Ipv4,
  server: Ipv4,
): Promise<BootFile> {
  const { timeline, record, line, plan } = station;
  const phase = "boot-server";
  const beganMs = timeline.nowMs();
  const xid = randomUint32(station.random);
  const socket = await bindOwn(station, phase, address, 68);
  try {
    const ack = await converse<DhcpMessage>(station, {
      phase,
      waits: habits.bootServerMs,
      open(hear) {
        socket.onMessage((datagram) => line.carry(() => hear(decodeReply(datagram))));
        return {
          send: (message) => socket.send(encodeMessage(message), { address: server, port: plan.ports.pxe }),
          close() {},
        };
      },
      message: (secs) => ({ type: "Request", xid, secs, ciaddr: address }),
      habits,
      take: (reply) => (reply.xid === xid && replyType(reply) === "ACK" ? reply : undefined),
    });
    if (!ack) throw new Stopped(phase, `no answer of ${server} on port ${plan.ports.pxe}`);
    record.took(phase, timeline.nowMs() - beganMs);
    const boot = bootFileOf(ack, habits);
    if (!boot) throw new Stopped(phase, "the boot server names no boot file");
    return boot;
  } finally {
    await socket.close();
  }
}
