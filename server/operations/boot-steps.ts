import { describeTarget, type Selection } from "../domain/assignment.ts";
import { type Boot, furthestStep } from "../domain/boot.ts";
import type { Clock, DurationMs, EpochMs } from "../domain/capabilities.ts";
import type { ClusterNode } from "../domain/cluster-node.ts";
import {
  BootFailed,
  HostKeyRefused,
  HostKeyUnknown,
  MachineNotBack,
  MachineUnreachable,
  PowerFailed,
  PowerNotConfigured,
  PowerNotPossible,
  PowerTooSoon,
  SshRefused,
} from "../domain/error-catalogue.ts";
import type { Machine } from "../domain/machine.ts";
import { findStep, type Operation, type OperationStep, type StepName } from "../domain/operation.ts";
import { firstPacketMs, type Power, type PowerAction } from "../domain/power.ts";
import { diagnose, inWords } from "./diagnosis.ts";
import type { Look, MachineContext, MachineStep } from "./step.ts";

export interface BootStepDeps {
  readonly clock: Pick<Clock, "now">;
  readonly power: Power;
  readonly select: (machine: Machine) => Selection;
  /** The newest boot, also one that has ended. */
  readonly bootOf: (machineId: string) => Boot | undefined;
  readonly nodeOf: (machineId: string) => ClusterNode | undefined;
  /** Its role ends in waiting for people: it never gets ready. */
  readonly waitsForPeople: (machine: Machine) => boolean;
  /** It did not come back. */
  readonly markLost: (machineId: string) => void;
  /** Others, for tests. */
  readonly limits?: BootLimits | undefined;
}

/** How long machines may take, ms. */
export interface BootLimits {
  /** To the first packet of its firmware. */
  readonly bootMs: DurationMs;
  /** Until somebody has walked there. */
  readonly byHandMs: DurationMs;
  readonly readyMs: DurationMs;
  /** A machine that failed may recover by itself within this. */
  readonly recoveryMs: DurationMs;
  /** After a restart in the middle of an order: if it was given, the machine begins a boot within this. */
  readonly orderGraceMs: DurationMs;
}
export const bootLimits: BootLimits = {
  bootMs: firstPacketMs,
  byHandMs: 4 * 3_600_000,
  readyMs: 30 * 60_000,
  recoveryMs: 2 * 60_000,
  orderGraceMs: 2 * 60_000,
};

/** Methods of an order beside those of the drivers. */
const byAgent = "agent";
const byHand = "hand";
/**
 * What a system says to an order by SSH while it goes down already: pam_nologin(8) lets nobody in, then nobody answers. And that there is no
 * other way to restart it: Wake-on-LAN alone, or SSH whose key it never told.
 */
const leavesItToAgent = [
  SshRefused,
  MachineUnreachable,
  PowerFailed,
  PowerNotConfigured,
  PowerNotPossible,
  HostKeyUnknown,
];

const stepOf = (operation: Operation, machine: Machine, name: StepName): OperationStep | undefined =>
  findStep(operation, { machineId: machine.id, name });
const actionOf = ({ order }: Operation): PowerAction => order.action ?? "cycle";
const methodOf = (operation: Operation, machine: Machine) =>
  stepOf(operation, machine, "power")?.facts["method"];

/** A boot that is newer than this comes of the order: an agent's reboot begins with the machine's way out of the cluster. */
export function orderedAt(operation: Operation, machine: Machine): EpochMs {
  const power = stepOf(operation, machine, "power");
  const first = power?.facts["method"] === byAgent ? stepOf(operation, machine, "drain") : power;
  return first?.startedAt ?? operation.startedAt;
}

/** Does a system run that the server knows nothing of? It may keep data on its disk, and is to end cleanly. */
const endsOnDisk = (boot: Boot | undefined): boolean =>
  boot?.outcome === "local" || boot?.outcome === "handed-over";

/** The steps by which a machine gets from an order to its role. */
export function createBootSteps(deps: BootStepDeps): Record<"power" | "boot" | "ready", MachineStep> {
  const { clock, power, bootOf } = deps;
  const limits = deps.limits ?? bootLimits;

  function bootSince(machine: Machine, since: EpochMs): Boot | undefined {
    const boot = bootOf(machine.id);
    return boot !== undefined && boot.startedAt >= since ? boot : undefined;
  }

  /** A machine that waits for its role is on, and begins by itself: what counts is that it asked again since the order. */
  function hasBegun(machine: Machine, operation: Operation): Boot | undefined {
    const since = orderedAt(operation, machine);
    const anew = bootSince(machine, since);
    if (anew || actionOf(operation) !== "on") return anew;
    const boot = bootOf(machine.id);
    const target = describeTarget(deps.select(machine).target);
    const asked = boot?.steps.some(({ step, at }) => step === "script" && at >= since);
    return boot?.outcome === "running" && boot.target === target && asked ? boot : undefined;
  }

  async function give(context: MachineContext): Promise<Look> {
    const { machine, operation, signal } = context;
    const action = actionOf(operation);
    const role = describeTarget(deps.select(machine).target);
    if (operation.order.kind === "assign" && action === "on") {
      const before = await power.status(machine, signal).catch(() => undefined);
      // What it can't tell is found out by the order.
      if (before?.state === "on")
        return {
          state: "done",
          message: "is on already",
          facts: { method: before.method, state: "on", before: "on", role },
        };
    }
    const isResetNode = operation.order.kind === "reset" && deps.nodeOf(machine.id)?.state === "rebooting";
    const rebootedByAgent: Look = {
      state: "done",
      message: "its agent reboots it",
      facts: { method: byAgent, role },
    };
    try {
      const isProven = operation.order.kind === "reset" && !endsOnDisk(bootOf(machine.id));
      const { method, state } = await power.act(machine, action, signal, { prefersBoard: isProven });
      // Woken is what does not answer any more: it is on its way down.
      if (isResetNode && method === "wol") return rebootedByAgent;
      const done = action === "cycle" ? "power-cycled" : `switched ${action}`;
      return { state: "done", message: `${done} by ${method}`, facts: { method, state, role } };
    } catch (error) {
      // A minute is waited for, not left to a person.
      if (PowerTooSoon.is(error)) return { state: "waiting", message: `${error.message}: it waits` };
      // Asked again it is the same other key; what is to be done stands in the advice.
      if (HostKeyRefused.is(error)) return { state: "failed", error };
      // The order that its agent has is as good, and mostly it comes first.
      if (isResetNode && leavesItToAgent.some((refusal) => refusal.is(error))) return rebootedByAgent;
      if (operation.order.kind !== "reset" || !PowerNotConfigured.is(error)) throw error;
      const message = "it has no power method: switch it off and on by hand";
      return { state: "done", message, facts: { method: byHand, role } };
    }
  }

  return {
    power: {
      async look(context) {
        const { machine, operation, startedAt, isResumed, failures, elapsedMs } = context;
        const action = actionOf(operation);
        const role = describeTarget(deps.select(machine).target);
        // Only where an order may have been given: a boot that begins before it is none of ours, and what runs on the machine can feign one.
        const mayBeOrdered = isResumed || failures > 0;
        if (mayBeOrdered && action !== "off" && bootSince(machine, startedAt))
          return { state: "done", message: "it boots", facts: { role } };
        // To switch on or off twice is the same as once. A cycle that was given is not given again while its boot may still come.
        if (action === "cycle" && isResumed && elapsedMs < limits.orderGraceMs)
          return {
            state: "waiting",
            message: "the server ended while it ordered this: it waits for a boot before it orders it again",
          };
        return give(context);
      },
      limitMs: () => undefined,
      timedOut: ({ machine }) => MachineNotBack({ problem: `${machine.name}: no order was given` }),
    },

    boot: {
      async look({ machine, operation }) {
        const since = orderedAt(operation, machine);
        const boot = hasBegun(machine, operation);
        if (boot)
          return {
            state: "done",
            message: `boots ${inWords(Math.max(0, boot.startedAt - since))} after the order`,
            facts: { boot: boot.id },
          };
        const wasOn = stepOf(operation, machine, "power")?.facts["before"] === "on";
        if (wasOn && bootOf(machine.id)?.outcome !== "running")
          return { state: "skipped", message: "it is on: it boots this at its next start" };
        if (methodOf(operation, machine) === byHand)
          return { state: "waiting", message: "switch it off and on by hand" };
        return { state: "waiting", message: "waits for its firmware" };
      },
      limitMs: ({ machine, operation }) =>
        methodOf(operation, machine) === byHand ? limits.byHandMs : limits.bootMs,
      timedOut: (context) => notBack(context),
    },

    ready: {
      async look({ machine, operation }) {
        if (stepOf(operation, machine, "boot")?.state === "skipped")
          return { state: "skipped", message: "it did not boot anew" };
        const since = orderedAt(operation, machine);
        const boot = hasBegun(machine, operation) ?? bootSince(machine, since);
        const newest = boot ?? bootOf(machine.id);
        if (!newest) return { state: "waiting", message: "waits for its firmware" };
        return judgeBoot(newest, machine, since);
      },
      limitMs: () => limits.readyMs,
      timedOut: (context) => notBack(context),
    },
  };

  function judgeBoot(boot: Boot, machine: Machine, since: EpochMs): Look {
    const facts = { boot: boot.id, role: boot.target ?? "", seconds: secondsOf(boot, clock.now()) };
    const failed = () => BootFailed({ problem: diagnose(machine.name, boot, { since, now: clock.now() }) });
    switch (boot.outcome) {
      case "ready":
        return { state: "done", message: `ready as ${boot.target ?? "?"} after ${facts.seconds} s`, facts };
      case "local":
        return { state: "done", message: "starts a system that reports nothing", facts };
      case "handed-over":
        return { state: "done", message: "has its script, which reports nothing", facts };
      case "abandoned":
        return { state: "failed", error: failed(), facts };
      case "failed":
      case "running": {
        if (boot.steps.some(({ step }) => step === "wait") && deps.waitsForPeople(machine))
          return { state: "done", message: `waits for a role, as ${boot.target ?? "its role"} does`, facts };
        const fault = boot.steps.findLast(({ step }) => step === "failed");
        if (fault && machine.phase === "failed" && clock.now() - fault.at > limits.recoveryMs)
          return { state: "failed", error: failed(), facts };
        return {
          state: "waiting",
          message: boot.verdict ?? `${machine.phase}: ${furthestStep(boot) ?? "begun"}`,
        };
      }
    }
  }

  function notBack({ machine, operation }: MachineContext) {
    const since = orderedAt(operation, machine);
    // It may have been on all the while: Wake-on-LAN can't tell, and wakes nothing then.
    if (actionOf(operation) !== "on" || machine.phase !== "ready") deps.markLost(machine.id);
    return MachineNotBack({
      problem: diagnose(machine.name, bootOf(machine.id), { since, now: clock.now() }),
    });
  }
}

function secondsOf(boot: Boot, now: EpochMs): number {
  const ms: DurationMs = (boot.endedAt ?? now) - boot.startedAt;
  return Math.round(ms / 1000);
}
