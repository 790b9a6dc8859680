import type { Event } from "../domain/event.ts";
import type { Candidate, Rule } from "./diagnosis.ts";
import { detailOf, eventsOf, type Reading, stepsNamed, stoppedAt } from "./evidence.ts";
import { unansweredOrder } from "./waking.ts";
import { plural, seenEvent, seenPacket, seenStep, span } from "./wording.ts";

/** A ROM asks at 0, 4, 12 and 28 s (PXE 2.1 s.2.2.3): whoever was first heard with so many seconds behind it was not heard before. */
const lateSeconds = 10;
/** A ROM's longest wait for an answer. */
const romPatienceMs = 35_000;
/** A network as a whole is looked at for so long before the boot. */
const networkMemoryMs = 2 * 3_600_000;

/** Some ROMs write `secs` in the other byte order: 4, 12 and 28 s come as 1024, 3072 and 7168. */
function trueSeconds(secs: number): number {
  return secs >= 1024 && secs % 256 === 0 ? secs / 256 : secs;
}

/** DISCOVERs of the firmware that were answered, and no REQUEST after them. */
function offeredInVain(reading: Reading): boolean {
  const offers = stepsNamed(reading, "offer");
  const first = offers[0];
  return first !== undefined && offers.length + repeatsOf(reading) >= 3 && stoppedAt(reading, "offer", 8000);
}

/** A row of equal packets is one step where the boot was read from packets. */
function repeatsOf({ boot, packetsOfBoot }: Reading): number {
  if (boot?.id !== "") return 0;
  return packetsOfBoot.reduce((sum, { times, reply }) => sum + (reply === "OFFER" ? times - 1 : 0), 0);
}

export const otherServerCandidate: Candidate = {
  code: "OTHER_DHCP_SERVER",
  what: "the other DHCP server names a boot file of its own, and the machine loads that one",
  tell: "the machine's screen names the server that it loads from; it is not this one's address",
};

const noDiscover: Rule = {
  code: "NO_DISCOVER",
  sentence: "Nothing of the machine was ever heard: no DHCP message and no request.",
  advice: [
    "Look whether it is on, whether the link light of its network card is, and whether network boot (PXE, IPv4) stands first in its firmware's boot order.",
    "Where it stands in another VLAN than this server: an `ip helper-address` of that VLAN's router has to lead here. A MAC with a slip in it is found by `boot machine list`.",
  ],
  find(reading) {
    const { boot, packets, machine, mac, mode, listensSince, now, seenAt } = reading;
    // That it was ordered to start says more.
    if (unansweredOrder(reading)) return undefined;
    if (boot || packets.length > 0 || machine?.lastSeenAt !== undefined || seenAt.requests.length > 0)
      return undefined;
    const since = { at: listensSince, what: `this server listens since ${span(now - listensSince)}` };
    if (mode === "off")
      return {
        certainty: "certain",
        what: `${mac} never asked for its script, and DHCP is off here (dhcp.mode), so that its DISCOVER can't be heard.`,
        seen: [since],
        advice: [
          "Look whether the DHCP server of its network names this server's boot file: `boot config dhcp-snippet` prints what it needs.",
          "Look whether the machine is on, its link light too, and network boot first in its boot order.",
        ],
      };
    return {
      certainty: "certain",
      what: `Nothing was ever heard of ${mac}: no DHCP message, no request.`,
      seen: [since],
    };
  },
};

const noDhcpServer: Rule = {
  code: "NO_DHCP_SERVER",
  sentence: "In proxy mode another DHCP server has to give the addresses, and none does.",
  advice: [
    "Start the DHCP server of this network, or look why its answers do not come here.",
    "Where there is none: `dhcp.mode: authoritative` with `dhcp.subnets` in this server's config.",
  ],
  find(reading) {
    const told = nobodyGives(reading);
    if (reading.mode !== "proxy" || !told || !stoppedAt(reading, "offer", 8000)) return undefined;
    return {
      certainty: "certain",
      what: `${reading.name} was offered its boot file and nobody gives it an address.`,
      seen: [...stepsNamed(reading, "discover", "offer").slice(0, 4).map(seenStep), seenEvent(told)],
    };
  },
};

const offersNotMerged: Rule = {
  code: "OFFERS_NOT_MERGED",
  sentence:
    "Its firmware does not put the address of one server and the boot file of the other (proxy) together.",
  advice: [
    "Let the server that gives the addresses name the boot file: `boot config dhcp-snippet` prints what it needs.",
    "Or give the addresses here: `dhcp.mode: authoritative`, and no other DHCP server in that network.",
  ],
  find(reading) {
    const { mode, name } = reading;
    if (mode !== "proxy") return undefined;
    const told = eventsOf(reading, "boot.offers-ignored").at(-1);
    const offers = stepsNamed(reading, "offer");
    if (!stoppedAt(reading, "offer", 8000)) return undefined;
    const seen = [...stepsNamed(reading, "discover").slice(0, 1), ...offers.slice(-4)].map(seenStep);
    if (told)
      return {
        certainty: "certain",
        what: `${name} asked ${plural(Number(told.data["rounds"] ?? offers.length), "time")} and took neither the other server's address nor our boot file.`,
        seen: [...seen, seenEvent(told)],
      };
    if (!offeredInVain(reading) || nobodyGives(reading)) return undefined;
    return {
      certainty: "probable",
      what: `${name} was offered its boot file ${plural(offers.length + repeatsOf(reading), "time")} and never asked for an address.`,
      seen,
      candidates: [
        {
          code: "OFFERS_NOT_MERGED",
          what: "its firmware does not put two offers together",
          tell: "other machines in the same network do boot, and `boot events --type boot.offers-ignored` will name this one after its fourth DISCOVER",
        },
        {
          code: "NO_DHCP_SERVER",
          what: "no DHCP server gives it an address",
          tell: "no machine in that network gets an address, an installed system neither",
        },
      ],
    };
  },
};

const otherDhcpServer: Rule = {
  code: "OTHER_DHCP_SERVER",
  sentence: "Another DHCP server has answered the machine, and it boots what that one says, or nothing.",
  advice: [
    "Find the server by the address that is named (its MAC: `ip neigh`), and take it off this network or take its boot options away.",
    "Where that server is to give the addresses, set `dhcp.mode: proxy` here.",
  ],
  find(reading) {
    const { mode, name, furthest } = reading;
    const chosen = stepsNamed(reading, "request", "ipxe-dhcp").filter(
      (step) => step.detail["server"] !== undefined,
    );
    const last = chosen.at(-1);
    // It may have come back to this server.
    const newest = stepsNamed(reading, "request", "ipxe-dhcp").at(-1);
    const stopped =
      (furthest === "request" || furthest === "ipxe-dhcp") && stoppedAt(reading, furthest, romPatienceMs);
    if (mode !== "authoritative" || !last || last !== newest || !stopped) return undefined;
    const server = detailOf(last, "server");
    return {
      certainty: "certain",
      what: `${name} took the address of another DHCP server, ${server}, though this server gives the addresses here.`,
      seen: [
        ...chosen.slice(-3).map(seenStep),
        ...networkEvents(reading, "dhcp.other-server").slice(-1).map(seenEvent),
      ],
    };
  },
};

const noAddressFree: Rule = {
  code: "NO_ADDRESS_FREE",
  sentence: "The pool of its subnet has no address left for it.",
  advice: [
    "Make the range of the subnet larger (`dhcp.subnets`), or its `leaseSeconds` shorter.",
    "Accept the machine (`boot machine accept`): those that nobody accepted share a part of the pool (dhcp.unknownSharePercent).",
  ],
  find(reading) {
    const refused = reading.packetsOfBoot.filter(({ silence }) => silence === "no free address");
    const told = eventsOf(reading, "dhcp.exhausted");
    if ((refused.length === 0 && told.length === 0) || !stoppedAt(reading, "discover", 0)) return undefined;
    return {
      certainty: "certain",
      what: `${reading.name} asked for an address and none is free.`,
      seen: [...refused.slice(-3).map(seenPacket), ...told.slice(-1).map(seenEvent)],
    };
  },
};

/** What a client is told nothing for, and what helps. */
const silences: Readonly<Record<string, string>> = {
  "relay agent is not configured":
    "Name the relay agent's address (the router's, in that VLAN) under `dhcp.subnets[].relay`: from any other nobody is answered.",
  "no subnet is configured for where it came from":
    "Add a subnet for the network it is in to `dhcp.subnets`, with its `relay` where it comes by a router.",
  "declined too many addresses":
    "It declined address after address as taken: look for a second host with its MAC, or a switch that loops.",
  "U-Boot knows no proxyDHCP":
    "U-Boot takes the first offer: let the server that gives the addresses name the boot file (`boot config dhcp-snippet`), or set `dhcp.mode: authoritative`.",
};

/** Why there is no boot file for a client that asked for one, in the words of dhcp/policy. */
export function isBootFileReason(silence: string | undefined): boolean {
  return /^(none of |unknown architecture|client names no|no script for U-Boot|iPXE without HTTP|network boot is off)/.test(
    silence ?? "",
  );
}

const notAnswered: Rule = {
  code: "DHCP_NOT_ANSWERED",
  sentence: "Its DISCOVER was heard, and this server had a reason to stay silent.",
  advice: [
    "Read the reason in the evidence: it says what this server took the message for. `boot config show` has the subnets and relay agents that are served.",
  ],
  find(reading) {
    const silent = reading.packetsOfBoot.filter(
      ({ speaker, message, silence }) =>
        speaker === "firmware" && message === "DISCOVER" && silence !== undefined,
    );
    const last = silent.at(-1);
    const isAnswered = reading.packetsOfBoot.some(
      ({ reply, at }) => reply !== undefined && at >= (last?.lastAt ?? 0),
    );
    if (!last || isAnswered || !stoppedAt(reading, "discover", 0)) return undefined;
    if (last.silence === "no free address" || isBootFileReason(last.silence)) return undefined;
    const advice = silences[last.silence ?? ""];
    return {
      certainty: "certain",
      what: `${reading.name} asked for a boot file and got no answer: ${last.silence}.`,
      seen: silent.slice(-3).map(seenPacket),
      ...(advice === undefined ? {} : { advice: [advice] }),
    };
  },
};

const addressConflict: Rule = {
  code: "ADDRESS_CONFLICT",
  sentence: "Another host uses the address that the machine was given, so it sent it back.",
  advice: [
    "Find the other host by that address (`ip neigh`), and give it another one, or leave the address out of the pool.",
  ],
  find(reading) {
    const told = eventsOf(reading, "dhcp.conflict").filter(({ machineId }) => machineId !== undefined);
    const isStopped = (["discover", "offer", "request"] as const).some((step) =>
      stoppedAt(reading, step, romPatienceMs),
    );
    if (told.length === 0 || !isStopped) return undefined;
    return {
      certainty: "probable",
      what: `${reading.name} declined an address that another host uses.`,
      seen: told.slice(-3).map(seenEvent),
      candidates: [
        {
          code: "ADDRESS_CONFLICT",
          what: "a second host has that address",
          tell: "`ping` it while the machine is off",
        },
        {
          code: "SWITCH_LOOP",
          what: "a loop, or a switch that answers ARP for others, sends the machine's own question back",
          tell: "nobody answers the ping, and other machines of that switch decline addresses too",
        },
      ],
    };
  },
};

const offerNotTaken: Rule = {
  code: "OFFER_NOT_TAKEN",
  sentence: "It was offered an address again and again and did not take it.",
  advice: [
    "Capture on the machine's switch port, or look at the router's relay agent: does our OFFER (UDP 67 to 68) arrive there?",
    "Look for another DHCP server: `boot events --type dhcp.other-server`.",
  ],
  find(reading) {
    if (reading.mode !== "authoritative" || !offeredInVain(reading)) return undefined;
    const offers = stepsNamed(reading, "offer");
    const others = networkEvents(reading, "dhcp.other-server");
    return {
      certainty: "probable",
      what: `${reading.name} was offered an address ${plural(offers.length + repeatsOf(reading), "time")} and did not take it.`,
      seen: [
        ...stepsNamed(reading, "discover").slice(0, 1).map(seenStep),
        ...offers.slice(-4).map(seenStep),
        ...others.slice(-1).map(seenEvent),
      ],
      candidates: [
        {
          code: "OFFER_LOST",
          what: "our OFFER does not reach it: DHCP snooping, a firewall, a relay agent that drops it",
          tell: "the screen of the machine says that no DHCP offers were received (PXE-E51, PXE-E16)",
        },
        {
          ...otherServerCandidate,
          what: "it prefers the offer of another DHCP server",
          tell: "it has an address all the same, of another server",
        },
      ],
    };
  },
};

const spanningTree: Rule = {
  code: "SPANNING_TREE_DELAY",
  sentence:
    "The switch port forwards nothing for the first half minute (spanning tree), and the firmware has given up or lost time by then.",
  advice: [
    "Make the machine's switch port an edge port (PortFast, `spanning-tree portfast`): it then forwards at once.",
    "Until then: switch the machine on and restart it warm, where the link stays up.",
  ],
  find(reading) {
    const { boot, listensSince, name, isThrough } = reading;
    const first = boot?.steps.find(({ step, detail }) => step === "discover" && detail["secs"] !== undefined);
    if (!boot || !first) return undefined;
    const secs = trueSeconds(Number(first.detail["secs"]));
    // Some ROMs count from their power-on, or write what they like.
    if (secs < lateSeconds || secs > 180) return undefined;
    // What it sent before this server was up could not be heard.
    if (first.at - secs * 1000 < listensSince) return undefined;
    const hasGoneOn = isThrough || !["discover", "offer", "request"].includes(reading.furthest ?? "");
    const what = `${name} was first heard when it had asked for ${secs} s already: what it sent before was lost on the way.`;
    return {
      certainty: hasGoneOn ? "noted" : "probable",
      what,
      seen: [seenStep(first)],
      candidates: [
        {
          code: "SPANNING_TREE_DELAY",
          what: "the switch port was not forwarding yet (spanning tree)",
          tell: "it happens at each power-on and not at a warm restart; the port's light changes its colour about 30 s after the link is up",
        },
        {
          code: "PACKETS_LOST",
          what: "the first packets were lost elsewhere: a relay agent, an uplink, a loose cable",
          tell: "it is so only now and then, or with all machines of a VLAN at the same time",
        },
      ],
    };
  },
};

/** That there is no server was told in this boot, and none has shown itself since. What was told before may be mended. */
function nobodyGives(reading: Reading): Event | undefined {
  const told = networkEvents(reading, "dhcp.no-server").at(-1);
  if (!told || told.at < (reading.boot?.startedAt ?? 0)) return undefined;
  return networkEvents(reading, "dhcp.other-server").some(({ at }) => at > told.at) ? undefined : told;
}

function networkEvents({ networkEvents: events, boot, now }: Reading, type: string) {
  const since = (boot?.startedAt ?? now) - networkMemoryMs;
  return events.filter((event) => event.type === type && event.at >= since);
}

export const networkRules: readonly Rule[] = [
  noAddressFree,
  notAnswered,
  noDhcpServer,
  offersNotMerged,
  otherDhcpServer,
  offerNotTaken,
  addressConflict,
  spanningTree,
  noDiscover,
];
