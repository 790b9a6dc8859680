import { type BootStepName, isHandedOver } from "../domain/boot.ts";
import { medianOf } from "../domain/boot-spans.ts";
import type { DurationMs } from "../domain/capabilities.ts";
import type { Rule } from "./diagnosis.ts";
import { patienceAt } from "./patience.ts";
import { waking } from "./waking.ts";
import { seenStep, span } from "./wording.ts";

/** What the furthest station of a boot was, for people. */
export const stationWords: Readonly<Record<BootStepName, string>> = {
  discover: "asked for an address",
  offer: "was offered a boot file",
  request: "asked for its boot file",
  nbp: "loaded its first-stage program",
  "ipxe-dhcp": "iPXE asked for an address",
  contact: "came for its first script",
  script: "got its script",
  wait: "waits for a role",
  pick: "chose from its menu",
  kernel: "loaded the kernel",
  node: "loaded the node's initrd",
  initrd: "loaded the initrd",
  network: "the initramfs has an address",
  rootfs: "loads the root file system",
  verify: "checked the root file system",
  "switch-root": "started the system on its root",
  config: "got its config",
  callback: "called back",
  failed: "reported a fault",
};

/** A machine that spoke so lately is on its way. */
const underWayMs: DurationMs = 2 * 60_000;

const healthy: Rule = {
  code: "HEALTHY",
  sentence: "The machine's last boot came through; each part of it is shown beside the room's median.",
  advice: ["Nothing: it is as it should be."],
  isFine: true,
  find({ boot, isThrough, name, now }) {
    if (!boot || !isThrough || boot.outcome !== "ready") return undefined;
    const endedAt = boot.endedAt ?? now;
    return {
      certainty: "certain",
      what: `${name} is ready since ${span(now - endedAt)}: its boot took ${span(endedAt - boot.startedAt)}.`,
      seen: boot.steps.slice(-1).map(seenStep),
    };
  },
};

const atItsDisk: Rule = {
  code: "AT_ITS_DISK",
  sentence:
    "The machine was sent to its local disk, or to a system that never reports: nothing more is seen of it here.",
  advice: ["Nothing, where that is what it is assigned; `boot explain NAME` says why it is."],
  isFine: true,
  find({ boot, isThrough, name, now }) {
    if (!boot || !isThrough || boot.outcome !== "local") return undefined;
    return {
      certainty: "certain",
      what: `${name} was sent on ${span(now - (boot.endedAt ?? now))} ago (${boot.target ?? "local"}), and nothing more is seen of it here.`,
      seen: boot.steps.slice(-1).map(seenStep),
    };
  },
};

const handedOver: Rule = {
  code: "HANDED_OVER",
  sentence:
    "The machine was sent to a script of somebody's own, and did not come back: what follows is not seen here.",
  advice: ["Ask whoever wrote the script; `boot explain NAME` says who assigned it."],
  isFine: true,
  find({ boot, name }) {
    if (!boot || !(boot.outcome === "handed-over" || isHandedOver(boot))) return undefined;
    return {
      certainty: "certain",
      what: `${name} was sent to ${boot.target ?? "another script"}.`,
      seen: boot.steps.slice(-1).map(seenStep),
    };
  },
};

const underWay: Rule = {
  code: "UNDER_WAY",
  sentence: "The machine is booting right now, and nothing speaks for a fault.",
  advice: ["Wait, or watch it: `boot status NAME --watch`."],
  isFine: true,
  find(reading) {
    const { boot, name, silentMs, furthest, now, roomBoots } = reading;
    if (boot?.outcome !== "running" || furthest === undefined || silentMs === undefined) return undefined;
    // The rule that judges the silence after a station has not had its time.
    if (silentMs > Math.max(underWayMs, patienceAt(reading, furthest))) return undefined;
    const whole = medianOf(roomBoots.map(({ startedAt, endedAt }) => (endedAt ?? startedAt) - startedAt));
    const room = whole === undefined ? "" : `; the room's other machines took ${span(whole)}`;
    return {
      certainty: "certain",
      what: `${name} is booting since ${span(now - boot.startedAt)} and ${stationWords[furthest]}${room}.`,
      seen: boot.steps.slice(-2).map(seenStep),
    };
  },
};

const notBootedYet: Rule = {
  code: "NOT_BOOTED_YET",
  sentence: "The machine was heard of, and no boot of it is recorded.",
  advice: ["Switch it on with network boot first in its boot order, then ask again."],
  find({ boot, name, now, silentMs, seenAt, mac }) {
    if (boot) return undefined;
    const last = seenAt.requests.at(-1)?.at ?? now - (silentMs ?? 0);
    return {
      certainty: "probable",
      what: `${name} was heard of, and no boot of it is recorded here.`,
      seen: [{ at: last, what: `the last sign of ${mac}` }],
    };
  },
};

const noCause: Rule = {
  code: "NO_CAUSE_FOUND",
  sentence: "The machine stopped, and nothing that is recorded says why.",
  advice: [
    "Look at its screen, or switch it on anew and ask again: a boot from its beginning shows more.",
    "`boot machine show NAME` has the timeline, `boot events --machine NAME` what else happened.",
  ],
  find({ boot, name, furthest, now }) {
    if (!boot) return undefined;
    const last = boot.steps.at(-1);
    return {
      certainty: "probable",
      what: `${name} ${furthest === undefined ? "began a boot" : stationWords[furthest]} ${span(now - (last?.at ?? boot.startedAt))} ago, and nothing came after that.`,
      seen: last ? [seenStep(last)] : [],
    };
  },
};

/** Where a machine stands when no rule found why it should not; the first that fits. */
export const stateRules: readonly Rule[] = [
  waking,
  healthy,
  atItsDisk,
  handedOver,
  underWay,
  notBootedYet,
  noCause,
];
