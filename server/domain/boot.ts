import type { Mac } from "../net/mac.ts";
import type { DurationMs, EpochMs } from "./capabilities.ts";
import type { Phase } from "./machine.ts";

/**
 * The stations of a boot, in the order in which a machine passes them. One boot may pass a station several times
 * (retransmissions, retries) and skip others (UEFI HTTP boot knows no TFTP).
 */
export const bootSteps = [
  "discover", // first DHCPDISCOVER of the firmware
  "offer", // our answer to it
  "request", // DHCPREQUEST of the firmware, on 67 or 4011
  "nbp", // first-stage binary sent by TFTP or HTTP
  "ipxe-dhcp", // DHCP of iPXE
  "contact", // /boot.ipxe or autoexec.ipxe
  "script", // the machine's own script
  "wait", // it waits for a role
  "pick", // a role was chosen from its menu
  "kernel",
  "node", // the initrd that makes it a node of the cluster
  "initrd",
  "network", // initramfs has an address
  "rootfs", // initramfs loads the root file system
  "verify",
  "switch-root",
  "config", // cloud-init or Ignition fetched its config
  "callback", // the machine reported that it is done
  "failed", // the machine reported that it is not
] as const;
export type BootStepName = (typeof bootSteps)[number];

export interface BootStep {
  readonly at: EpochMs;
  readonly step: BootStepName;
  /** How long the server took from the request's arrival to the first octet of its answer; undefined: no request of ours. */
  readonly serverMs: DurationMs | undefined;
  readonly detail: Readonly<Record<string, string | number>>;
}

/** `local`: its disk, or a system that never reports. `handed-over`: a script of somebody else's, of which nothing is seen here. */
export type BootOutcome = "running" | "ready" | "failed" | "abandoned" | "local" | "handed-over";

/** One boot attempt: from the first DISCOVER, or first contact, to `ready` or to whatever ended it. */
export interface Boot {
  readonly id: string;
  readonly machineId: string;
  readonly mac: Mac;
  readonly startedAt: EpochMs;
  readonly endedAt: EpochMs | undefined;
  readonly outcome: BootOutcome;
  /** Role or URL that the script was made for. */
  readonly target: string | undefined;
  readonly phases: readonly { readonly phase: Phase; readonly at: EpochMs }[];
  readonly steps: readonly BootStep[];
  /** One sentence on why it ended as it did, when it did not end in `ready`. */
  readonly verdict: string | undefined;
}

const order = new Map<BootStepName, number>(bootSteps.map((step, index) => [step, index]));

/** The furthest station that the boot has passed. */
export function furthestStep(boot: Boot): BootStepName | undefined {
  let furthest: BootStepName | undefined;
  for (const { step } of boot.steps) {
    if (furthest === undefined || (order.get(step) ?? 0) > (order.get(furthest) ?? 0)) furthest = step;
  }
  return furthest;
}

function isPast(boot: Boot, step: BootStepName): boolean {
  const furthest = furthestStep(boot);
  return furthest !== undefined && (order.get(furthest) ?? 0) >= (order.get(step) ?? 0);
}

/**
 * The machine was sent to a script by its URL, and did not come back as it does when it can't load it: what follows is between it and
 * whoever wrote the script.
 */
export function isHandedOver(boot: Boot): boolean {
  // The name of a role has no colon.
  const isUrl = boot.target?.includes("://") ?? false;
  return boot.outcome === "running" && isUrl && furthestStep(boot) === "script";
}

/** It loaded a first-stage binary, and nothing more was seen of it: for all we know its firmware refused to start it. */
export function endedAtFirstStage(boot: Boot | undefined): boolean {
  return boot?.outcome === "running" && furthestStep(boot) === "nbp";
}

/** A firmware that repeats its DISCOVER for longer than this was switched off and on in between. */
export const sameBootWindowMs: DurationMs = 5 * 60_000;

/** Who got in touch, and how: DHCP of the firmware, of iPXE or of an operating system, or iPXE asking for its script. */
export type Contact = "firmware" | "ipxe" | "os" | "script";

/**
 * Does this contact begin a new boot? A firmware never speaks again once it handed over to iPXE, so its DISCOVER after that is a new
 * power-on; iPXE's DHCP never comes again once a kernel was asked for. Its script may: a kernel that could not be loaded is asked for
 * again by way of the script, so only a request after the initramfs spoke is a new power-on.
 */
export function startsNewBoot(current: Boot | undefined, speaker: Contact, now: EpochMs): boolean {
  if (!current || current.outcome !== "running") return speaker !== "os";
  const last = current.steps.at(-1)?.at ?? current.startedAt;
  switch (speaker) {
    case "firmware":
      return isPast(current, "nbp") || now - last > sameBootWindowMs;
    case "ipxe":
      return isPast(current, "kernel");
    case "script":
      return isPast(current, "network");
    case "os":
      return false;
  }
}

/** Sum of the server's own response times over the boot, in ms. */
export function serverTimeMs(boot: Boot): DurationMs {
  return boot.steps.reduce((sum, step) => sum + (step.serverMs ?? 0), 0);
}
