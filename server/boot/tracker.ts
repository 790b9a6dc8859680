import {
  type Boot,
  type BootOutcome,
  type BootStep,
  type BootStepName,
  furthestStep,
  isHandedOver,
  type Contact,
  startsNewBoot,
} from "../domain/boot.ts";
import type { Clock, Ids, Log } from "../domain/capabilities.ts";
import type { RecordEvent } from "../domain/event.ts";
import type { Machine } from "../domain/machine.ts";
import { advance, type LifecycleEvent } from "../domain/machine-lifecycle.ts";
import type { Mac } from "../net/mac.ts";
import type { BootRepository } from "../store/boots.ts";
import type { MachineRepository } from "../store/machines.ts";

/** What a machine is loading right now, by its own report. */
export interface BootProgress {
  readonly step: string;
  readonly doneBytes: number;
  readonly totalBytes: number;
}

/** A boot without any sign of life for this long is lost. */
const silenceLimitMs = 15 * 60_000;
/** Steps are written at most this often; phases at once. */
const writeDelayMs = 2000;
/** A machine in a loop must not fill the disk: beyond this only what is new in this boot is noted. */
const maximumSteps = 200;
const maximumPhases = 100;
/** `lastSeenAt` is written at most this often per machine. */
const seenResolutionMs = 10_000;

interface Running {
  boot: Boot;
  progress: BootProgress | undefined;
  lastSign: number;
  cancelWrite: (() => void) | undefined;
}

/** A pending boot is forgotten after this long without the machine itself. */
const pendingLifeMs = 5 * 60_000;
/** Forged DISCOVERs of known machines are bounded by the inventory; this bounds the rest. */
const maximumPending = 5000;
const dhcpSteps: ReadonlySet<BootStepName> = new Set<BootStepName>([
  "discover",
  "offer",
  "request",
  "ipxe-dhcp",
]);

/** A boot that a forged packet must not end: it has its kernel, or the machine is through with it. */
function isSettledBoot(boot: Boot): boolean {
  if (boot.outcome === "ready") return true;
  return boot.outcome === "running" && boot.steps.some(({ step }) => step === "kernel" || step === "initrd");
}

export interface TrackerDeps {
  readonly clock: Clock;
  readonly ids: Ids;
  readonly log: Log;
  readonly machines: Pick<MachineRepository, "find" | "updateNow">;
  readonly boots: Pick<BootRepository, "save" | "running" | "ofMachine">;
  readonly record: RecordEvent;
  /** Tells watchers without keeping it. */
  readonly announce: RecordEvent;
}

/** Follows each machine's boot from its first DISCOVER to its callback: steps, phases, outcome. */
export function createBootTracker({ clock, ids, log, machines, boots, record, announce }: TrackerDeps) {
  const current = new Map<string, Running>();
  /** Boots that only a DHCP packet speaks for, which anybody can send: begun in earnest when the machine itself comes for a file. */
  const pending = new Map<string, Running>();
  for (const boot of boots.running()) current.set(boot.machineId, follow(boot));

  function follow(boot: Boot): Running {
    return { boot, progress: undefined, lastSign: clock.monotonicMs(), cancelWrite: undefined };
  }

  /** The boot under way or the last one, also one of before the server's start. */
  function find(machineId: string): Running | undefined {
    const known = current.get(machineId);
    if (known) return known;
    const [newest] = boots.ofMachine(machineId, 1);
    if (!newest) return undefined;
    const running = follow(newest);
    current.set(machineId, running);
    return running;
  }

  function pendingOf(machineId: string): Running | undefined {
    const waiting = pending.get(machineId);
    if (!waiting || clock.monotonicMs() - waiting.lastSign < pendingLifeMs) return waiting;
    pending.delete(machineId);
    return undefined;
  }

  /** The machine itself came: the boot that its DHCP announced takes the place of the one before. */
  function confirm(machineId: string): void {
    const waiting = pendingOf(machineId);
    if (!waiting) return;
    pending.delete(machineId);
    endAsReset(current.get(machineId));
    begin(waiting);
  }

  function endAsReset(running: Running | undefined): void {
    if (running?.boot.outcome !== "running") return;
    const { verdict } = running.boot;
    const last = furthestStep(running.boot) ?? "nothing";
    end(running, verdict ? "failed" : "abandoned", verdict ?? `switched off or reset after the step ${last}`);
  }

  function begin(running: Running): void {
    const { id, machineId, mac } = running.boot;
    current.set(machineId, running);
    write(running);
    const name = machines.find(machineId)?.name ?? machineId;
    record({ type: "boot.started", machineId, bootId: id, message: `${name}: boot begun`, data: { mac } });
  }

  function write(running: Running): void {
    running.cancelWrite?.();
    running.cancelWrite = undefined;
    boots
      .save(running.boot)
      .catch((error: unknown) => log.warn({ err: error, bootId: running.boot.id }, "failed to save a boot"));
  }
  function writeSoon(running: Running): void {
    running.cancelWrite ??= clock.after(writeDelayMs, () => write(running));
  }

  function change(machineId: string, update: (machine: Machine) => Machine): void {
    machines
      .updateNow(machineId, update)
      .catch((error: unknown) => log.warn({ err: error, machineId }, "failed to save a machine"));
  }

  function end(running: Running, outcome: BootOutcome, verdict?: string): void {
    running.boot = {
      ...running.boot,
      outcome,
      endedAt: clock.now(),
      verdict: verdict ?? running.boot.verdict,
    };
    running.progress = undefined;
    write(running);
    const { id, machineId } = running.boot;
    const name = machines.find(machineId)?.name ?? machineId;
    record({
      type: "boot.ended",
      machineId,
      bootId: id,
      message: `${name}: boot ended: ${verdict ?? outcome}`,
      data: { outcome },
    });
  }

  const tracker = {
    /** The boot under way, or the last one that ended since the server's start. */
    current: (machineId: string): Boot | undefined => current.get(machineId)?.boot,
    /** Takes a boot up again that was given up for its silence: the machine showed its claim. */
    revive(machineId: string, bootId: string): void {
      const running = find(machineId);
      if (running?.boot.id === bootId && running.boot.outcome === "abandoned")
        running.boot = { ...running.boot, outcome: "running", endedAt: undefined, verdict: undefined };
    },
    /** A sign of life that came another way, such as by the cluster that the machine joins. */
    keepAlive(machineId: string, bootId: string): void {
      tracker.revive(machineId, bootId);
      const running = find(machineId);
      if (running?.boot.id !== bootId) return;
      running.lastSign = clock.monotonicMs();
      tracker.seen(machineId);
    },
    progress: (machineId: string): BootProgress | undefined => current.get(machineId)?.progress,

    /**
     * The boot that a contact belongs to; a new one begins where the contact can't belong to the current one. A DHCP packet alone does
     * not end a boot that runs or is ready. @returns undefined where a script is asked for by a machine that was not seen to start anew
     */
    contact(machine: Machine, mac: Mac, speaker: Contact, mayStartUnseen = false): Boot | undefined {
      const now = clock.now();
      tracker.seen(machine.id);
      if (speaker === "script") confirm(machine.id);
      const running = find(machine.id);
      if (!startsNewBoot(running?.boot, speaker, now)) {
        if (running) running.lastSign = clock.monotonicMs();
        return running?.boot;
      }
      const isSettled = running !== undefined && isSettledBoot(running.boot);
      if (isSettled && speaker === "script" && !mayStartUnseen) return undefined;
      const waiting = pendingOf(machine.id);
      if (isSettled && speaker !== "script" && waiting && !startsNewBoot(waiting.boot, speaker, now))
        return waiting.boot;
      const boot: Boot = {
        id: ids.id("b"),
        machineId: machine.id,
        mac,
        startedAt: now,
        endedAt: undefined,
        outcome: "running",
        target: undefined,
        phases: [{ phase: machine.phase, at: now }],
        steps: [],
        verdict: undefined,
      };
      const started = follow(boot);
      if (isSettled && speaker !== "script") {
        if (pending.size < maximumPending) pending.set(machine.id, started);
        return boot;
      }
      endAsReset(running);
      begin(started);
      return boot;
    },

    /** True while a boot waits for the machine itself to come for a file. */
    isPending: (machineId: string): boolean => pendingOf(machineId) !== undefined,

    /** Adds a step to the machine's current boot. */
    step(machineId: string, step: BootStepName, serverMs?: number, detail: BootStep["detail"] = {}): void {
      const waiting = pendingOf(machineId);
      if (waiting && !dhcpSteps.has(step)) confirm(machineId);
      const running = waiting && dhcpSteps.has(step) ? waiting : current.get(machineId);
      if (!running || running.boot.outcome !== "running") return;
      running.lastSign = clock.monotonicMs();
      tracker.seen(machineId);
      if (running.boot.steps.length >= maximumSteps && tracker.hasStep(machineId, step)) return;
      const entry: BootStep = { at: clock.now(), step, serverMs, detail };
      running.boot = { ...running.boot, steps: [...running.boot.steps, entry] };
      if (running === waiting && pending.has(machineId)) return;
      writeSoon(running);
      const name = machines.find(machineId)?.name ?? machineId;
      announce({
        type: "boot.step",
        machineId,
        bootId: running.boot.id,
        message: `${name}: ${step}`,
        data: { step, ...detail },
      });
    },

    hasStep: (machineId: string, step: BootStepName): boolean =>
      (pendingOf(machineId) ?? current.get(machineId))?.boot.steps.some((entry) => entry.step === step) ??
      false,

    /** True when the machine itself told of this step already: the server's own sight of it does not count. */
    hasReport: (machineId: string, step: BootStepName): boolean =>
      current
        .get(machineId)
        ?.boot.steps.some((entry) => entry.step === step && entry.detail["reported"] === 1) ?? false,

    /** What the machine's script was made for. */
    target(machineId: string, target: string): void {
      const running = current.get(machineId);
      if (!running || running.boot.target === target) return;
      running.boot = { ...running.boot, target };
      writeSoon(running);
    },

    /** Moves the machine's phase along; an event that changes nothing in its phase is no fault. */
    advance(machineId: string, event: LifecycleEvent): void {
      const machine = machines.find(machineId);
      if (!machine || !advance(machine.phase, event)) return;
      change(machineId, (before) => {
        const phase = advance(before.phase, event);
        if (!phase) return before;
        const running = current.get(machineId);
        if (running?.boot.outcome === "running" && running.boot.phases.length < maximumPhases) {
          running.boot = { ...running.boot, phases: [...running.boot.phases, { phase, at: clock.now() }] };
          writeSoon(running);
        }
        record({
          type: "machine.phase",
          machineId,
          bootId: running?.boot.id,
          message: `${before.name}: ${before.phase} -> ${phase}`,
          data: { from: before.phase, to: phase, because: event },
        });
        return { ...before, phase };
      });
    },

    report(machineId: string, progress: BootProgress | undefined): void {
      const running = current.get(machineId);
      if (!running) return;
      running.progress = progress;
      running.lastSign = clock.monotonicMs();
      tracker.seen(machineId);
    },

    /** The machine reported a fault; it may still go on by itself, so the boot is not over. */
    fault(machineId: string, verdict: string): void {
      const running = current.get(machineId);
      if (running) {
        running.boot = { ...running.boot, verdict };
        write(running);
      }
      tracker.advance(machineId, "boot.failed");
    },

    complete(machineId: string, outcome: "ready" | "local" | "handed-over"): void {
      tracker.advance(machineId, "boot.completed");
      const running = current.get(machineId);
      // A machine that was silent for too long and calls back after all was not lost.
      if (running?.boot.outcome === "running" || running?.boot.outcome === "abandoned") {
        running.boot = { ...running.boot, outcome: "running", endedAt: undefined, verdict: undefined };
        end(running, outcome);
      }
    },

    seen(machineId: string): void {
      const now = clock.now();
      const before = machines.find(machineId)?.lastSeenAt;
      if (before === undefined || now - before > seenResolutionMs)
        change(machineId, (machine) => ({ ...machine, lastSeenAt: now }));
    },

    /** Ends what has been silent for too long; called from time to time. */
    sweep(): void {
      for (const [machineId, running] of current) {
        if (running.boot.outcome !== "running" || clock.monotonicMs() - running.lastSign < silenceLimitMs)
          continue;
        if (isHandedOver(running.boot)) {
          tracker.complete(machineId, "handed-over");
          continue;
        }
        const last = furthestStep(running.boot) ?? "nothing";
        tracker.advance(machineId, "boot.timed-out");
        end(
          running,
          "abandoned",
          `no sign of life for ${silenceLimitMs / 60_000} minutes after the step ${last}`,
        );
      }
    },

    forget(machineId: string): void {
      current.get(machineId)?.cancelWrite?.();
      current.delete(machineId);
      pending.delete(machineId);
    },

    /** Writes what is not written yet. */
    flush(): void {
      for (const running of current.values()) if (running.cancelWrite) write(running);
    },
  };

  return tracker;
}
export type BootTracker = ReturnType<typeof createBootTracker>;
