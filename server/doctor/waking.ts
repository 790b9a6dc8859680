import type { Event } from "../domain/event.ts";
import type { Candidate, Rule } from "./diagnosis.ts";
import type { Reading } from "./evidence.ts";
import { wakePatience } from "./patience.ts";
import { seenEvent, span } from "./wording.ts";

/** The last order after which the machine should start, where nothing was heard of it since. */
export function unansweredOrder({
  events,
  now,
  silentMs,
  cluster,
}: Pick<Reading, "events" | "now" | "silentMs" | "cluster">): Event | undefined {
  // An order that failed was given to nobody.
  const last = events.findLast(({ type, data }) => type === "machine.power" && data["code"] === undefined);
  if (!last || last.data["action"] === "off" || cluster?.node?.state === "ready") return undefined;
  return silentMs !== undefined && now - silentMs >= last.at ? undefined : last;
}

/** It runs its role, by all that is known: Wake-on-LAN goes unnoticed then. */
const isUp = ({ machine, isThrough }: Reading): boolean => isThrough && machine?.phase === "ready";

const fromDisk: Candidate = {
  code: "BOOTS_FROM_DISK",
  what: "it is on and starts from its disk, or its firmware waits on its screen",
  tell: "its screen shows something; network boot (PXE, IPv4) is not first in its boot order",
};
const noLink: Candidate = {
  code: "CABLE_OR_PORT",
  what: "its cable, its switch port or its VLAN is another one than it should be",
  tell: "the link light of its network card is dark, with the machine on too; or the switch has its MAC in another VLAN (`boot machine show NAME` has the MAC)",
};
const asleep: readonly Candidate[] = [
  {
    code: "WAKE_ON_LAN_OFF",
    what: "Wake-on-LAN is off in its firmware, or energy saving (ErP, EuP, deep sleep) cuts the card's power",
    tell: "its link light is dark while it is off; the power button starts it and it boots as it should",
  },
  {
    code: "POWER_WAS_LOST",
    what: "it has had no power since it last ran: many cards wake only after their system was up once",
    tell: "others of the room that had no power do not wake either; the power button starts it, and the next wake works. `After power loss: on` in its firmware spares the walk",
  },
  noLink,
];
const already: Candidate = {
  code: "WAS_ON_ALREADY",
  what: "it was on, and a machine that runs takes no notice of the packet",
  tell: "it can be pinged or logged into; `boot power cycle NAME` restarts it",
};

function candidatesOf(reading: Reading, method: unknown): readonly Candidate[] {
  if (method === "wol") return [...(isUp(reading) ? [already] : []), ...asleep, fromDisk];
  if (method !== "ssh") return [fromDisk, noLink];
  return [
    {
      code: "HANGS_AT_RESTART",
      what: "its system hangs on its way down",
      tell: "its screen shows what it waits for, or stands still; a hard reset starts it",
    },
    fromDisk,
  ];
}

const wokenNotSeen: Rule = {
  code: "WOKEN_NOT_SEEN",
  sentence:
    "The machine was ordered to start, and nothing was heard of it since: no DHCP message, no request.",
  advice: [
    "Press its power button once. Where it boots then, Wake-on-LAN is what fails: switch it on in its firmware, and `ErP` or deep sleep off. Where nothing is heard then either, look at its cable and its boot order.",
    "A machine behind a router hears magic packets only where the router passes on broadcasts to its network (docs/power.md).",
  ],
  find(reading) {
    const order = unansweredOrder(reading);
    const { now, name } = reading;
    const patience = wakePatience(reading);
    if (!order || now - order.at < patience.ms) return undefined;
    const { method } = order.data;
    const how = order.data["action"] === "on" ? "switch on" : "restart";
    return {
      certainty: method === "wol" && isUp(reading) ? "noted" : "probable",
      what: `${name} was ordered to ${how} (${String(method)}) ${span(now - order.at)} ago, and nothing was heard of it since.`,
      seen: [
        seenEvent(order),
        { at: now, what: `no packet came within ${span(patience.ms)} of the order: ${patience.why}` },
      ],
      candidates: candidatesOf(reading, method),
    };
  },
};

/** A state, not a cause: the time of its firmware is not over. */
export const waking: Rule = {
  code: "WAKING",
  sentence:
    "The machine was ordered to start a moment ago, and its firmware tests memory and devices before it speaks.",
  advice: ["Wait, or watch it: `boot status NAME --watch`."],
  isFine: true,
  find(reading) {
    const order = unansweredOrder(reading);
    const patience = wakePatience(reading);
    if (!order || reading.now - order.at >= patience.ms) return undefined;
    return {
      certainty: "certain",
      what: `${reading.name} was ordered to start ${span(reading.now - order.at)} ago; its first packet may take ${span(patience.ms)}.`,
      seen: [seenEvent(order)],
    };
  },
};

export const wakingRules: readonly Rule[] = [wokenNotSeen];
