import type { Phase } from "./machine.ts";

export type LifecycleEvent =
  | "machine.accepted"
  | "role.assigned"
  | "role.released"
  /** Its firmware asked for a boot file, or iPXE for its script, and it has a role. */
  | "netboot.begun"
  /** It loads or runs its kernel. */
  | "kernel.requested"
  | "config.served"
  | "join.begun"
  /** It called back: done with all that its role asks for. */
  | "boot.completed"
  | "boot.failed"
  | "boot.timed-out"
  | "machine.retired";

/** Each power-on of a diskless machine is a new boot, whatever it was doing before. */
const anyBoot = { "netboot.begun": "netbooting", "machine.retired": "retired" } as const;
const failing = { "boot.failed": "failed", "boot.timed-out": "lost" } as const;

/**
 * Phase of a machine -> event -> next phase. A pair that is not listed changes nothing: reports arrive twice and late,
 * and the event is recorded all the same.
 */
export const machineLifecycle: Readonly<Record<Phase, Partial<Record<LifecycleEvent, Phase>>>> = {
  discovered: { "machine.accepted": "accepted", "role.assigned": "assigned", ...anyBoot },
  accepted: { "role.assigned": "assigned", ...anyBoot },
  // It was switched on, and was not heard of.
  assigned: { "role.released": "accepted", "boot.timed-out": "lost", ...anyBoot },
  netbooting: {
    "kernel.requested": "booting",
    "config.served": "configuring",
    "join.begun": "joining",
    "boot.completed": "ready",
    ...failing,
    ...anyBoot,
  },
  booting: {
    "config.served": "configuring",
    "join.begun": "joining",
    "boot.completed": "ready",
    ...failing,
    ...anyBoot,
  },
  configuring: { "join.begun": "joining", "boot.completed": "ready", ...failing, ...anyBoot },
  joining: { "boot.completed": "ready", ...failing, ...anyBoot },
  ready: { ...anyBoot, "boot.timed-out": "lost", "boot.failed": "failed" },
  failed: {
    "kernel.requested": "booting",
    "config.served": "configuring",
    "join.begun": "joining",
    "boot.completed": "ready",
    ...anyBoot,
  },
  lost: {
    "kernel.requested": "booting",
    "config.served": "configuring",
    "join.begun": "joining",
    "boot.completed": "ready",
    ...anyBoot,
  },
  retired: { "machine.accepted": "accepted" },
};

/** The phase after `event`, or undefined when the event changes nothing in this phase. */
export function advance(phase: Phase, event: LifecycleEvent): Phase | undefined {
  const next = machineLifecycle[phase][event];
  return next === phase ? undefined : next;
}
