import type { Clock, DurationMs } from "../domain/capabilities.ts";
import {
  BmcUnreachable,
  HostKeyUnknown,
  MachineUnreachable,
  PowerFailed,
  PowerNotConfigured,
  PowerNotPossible,
  PowerTooSoon,
} from "../domain/error-catalogue.ts";
import { RollcallError } from "../domain/errors.ts";
import type { RecordEvent } from "../domain/event.ts";
import type { Machine, Phase } from "../domain/machine.ts";
import type {
  Power,
  PowerAction,
  PowerMethod,
  PowerOutcome,
  PowerState,
  PowerWishes,
} from "../domain/power.ts";
import type { PowerSettings } from "../domain/power-settings.ts";
import { createSlots } from "../domain/slots.ts";
import type { Ipv4 } from "../net/ipv4.ts";
import type { Bmc, BmcTarget } from "./bmc.ts";
import { pause } from "./pause.ts";
import type { PowerSettingsService } from "./power-settings.ts";
import type { Ssh, SshTarget } from "./ssh.ts";
import type { SshTargets } from "./ssh-targets.ts";
import type { WakeOnLan } from "./wake-on-lan.ts";

export interface PowerDeps {
  readonly clock: Clock;
  readonly record: RecordEvent;
  readonly settings: Pick<PowerSettingsService, "of" | "passwordOf">;
  readonly targets: SshTargets;
  /** Where it was last seen. */
  readonly addressOf: (machine: Machine) => Ipv4 | undefined;
  readonly ssh: Ssh;
  readonly boards: Readonly<Record<"ipmi" | "redfish", Bmc>>;
  readonly wake: WakeOnLan;
  /** Before another try of what did not answer, ms. */
  readonly backoffMs?: readonly DurationMs[];
}

/** Orders under way: each may be a process of ipmitool, and a room's switch is not to see all machines start in one second. */
const atOnce = 16;
const usualBackoffMs = [1000, 3000] as const;
/** A machine is switched off or restarted so often: whoever may give orders must not keep a machine down with them. */
const betweenResetsMs = 60_000;
/** Phases in which a machine's system runs, or is about to. */
const upPhases: ReadonlySet<Phase> = new Set([
  "netbooting",
  "booting",
  "configuring",
  "joining",
  "ready",
  "failed",
]);
const words: Readonly<Record<PowerAction, string>> = {
  on: "switch it on",
  off: "switch it off",
  cycle: "restart it",
};

interface Way {
  readonly method: PowerMethod;
  run(signal: AbortSignal): Promise<PowerState>;
  /** Asked once those before have failed, with what they said. */
  isOpen?(failures: readonly RollcallError[]): boolean;
}

/** Chooses how each order is done: the first way that works. The rules stand in README.md. */
export function createPower(deps: PowerDeps): Power {
  const { clock, record, settings, targets, ssh, boards, wake, backoffMs = usualBackoffMs } = deps;
  const slots = createSlots({ atOnce });
  /** When a machine was last switched off or restarted, by its id. */
  const resets = new Map<string, DurationMs>();

  /** Tries again what did not answer; anything else is an answer. */
  async function retried<T>(signal: AbortSignal, run: () => Promise<T>): Promise<T> {
    for (const delayMs of backoffMs) {
      try {
        return await run();
      } catch (error) {
        if (!MachineUnreachable.is(error) && !BmcUnreachable.is(error)) throw error;
        await pause(clock, delayMs, signal);
      }
    }
    return run();
  }

  const bySsh = <T>(machine: Machine, signal: AbortSignal, use: (target: SshTarget) => Promise<T>) =>
    targets.reach(machine, (target) => retried(signal, () => use(target)));

  const sshWay = (machine: Machine, action: PowerAction): Way => ({
    method: "ssh",
    run: (signal) =>
      bySsh(machine, signal, async (target): Promise<PowerState> => {
        await ssh(target, action === "off" ? "off" : "reboot", signal);
        return action === "off" ? "off" : "on";
      }),
  });

  async function boardTarget(machine: Machine, own: PowerSettings): Promise<BmcTarget> {
    const { address = "", port, user, certificate, authority, system } = own;
    const password = await settings.passwordOf(machine, own);
    return { machine: machine.name, address, port, user, password, certificate, authority, system };
  }

  const boardWay = (
    machine: Machine,
    action: PowerAction,
    own: PowerSettings,
    method: "ipmi" | "redfish",
  ): Way => ({
    method,
    async run(signal) {
      const board = boards[method];
      const target = await boardTarget(machine, own);
      if (action !== "cycle") return retried(signal, () => board.act(target, action, signal));
      // An order to restart whose answer is lost may have been done: what is tried again is the question before it.
      await retried(signal, () => board.status(target, signal));
      return board.act(target, action, signal);
    },
  });

  const wakeWay = (machine: Machine, action: PowerAction): Way => ({
    method: "wol",
    // A machine that runs takes no notice of the packet, which would be told as done.
    isOpen: (failures) =>
      action === "on" ||
      failures.some(MachineUnreachable.is) ||
      (!upPhases.has(machine.phase) && failures.every(HostKeyUnknown.is)),
    async run(signal) {
      await wake(machine, deps.addressOf(machine) ?? machine.address, signal);
      return "unknown";
    },
  });

  function waysOf(machine: Machine, action: PowerAction, { prefersBoard }: PowerWishes): Way[] {
    const own = settings.of(machine);
    const method = own?.method;
    const board =
      own && (method === "ipmi" || method === "redfish") ? [boardWay(machine, action, own, method)] : [];
    // A system that runs ends cleanly by its own order; the board pulls the plug.
    const bySystem = method === "wol" || action === "on" ? [] : [sshWay(machine, action)];
    const first = prefersBoard ? [...board, ...bySystem] : [...bySystem, ...board];
    return [...first, ...(action === "off" ? [] : [wakeWay(machine, action)])];
  }

  async function firstThatWorks(
    machine: Machine,
    action: PowerAction,
    signal: AbortSignal,
    wishes: PowerWishes,
  ): Promise<PowerOutcome> {
    const failures: RollcallError[] = [];
    const tried: string[] = [];
    for (const { method, run, isOpen } of waysOf(machine, action, wishes)) {
      if (isOpen?.(failures) === false) continue;
      try {
        return { method, state: await run(signal) };
      } catch (error) {
        signal.throwIfAborted();
        if (!(error instanceof RollcallError)) throw error;
        failures.push(error);
        tried.push(`${method}: ${error.message}`);
      }
    }
    const [first, second] = failures;
    if (HostKeyUnknown.is(first) && !second && !settings.of(machine))
      throw PowerNotConfigured({ machine: machine.name });
    if (first && !second) throw first;
    if (first) throw PowerFailed({ machine: machine.name, action: words[action], tried });
    throw PowerNotPossible({
      machine: machine.name,
      action: words[action],
      problem: "it has Wake-on-LAN alone, which only wakes a machine that is off",
    });
  }

  /** @throws PowerTooSoon */
  function countReset(machine: Machine): void {
    const now = clock.monotonicMs();
    for (const [id, at] of resets) if (now - at >= betweenResetsMs) resets.delete(id);
    const last = resets.get(machine.id);
    if (last !== undefined)
      throw PowerTooSoon({
        machine: machine.name,
        seconds: Math.ceil((betweenResetsMs - (now - last)) / 1000),
      });
    resets.set(machine.id, now);
  }

  return {
    async act(machine, action, signal, wishes = {}) {
      signal.throwIfAborted();
      if (action !== "on") countReset(machine);
      try {
        const outcome = await slots.run(signal, () => firstThatWorks(machine, action, signal, wishes));
        record({
          type: "machine.power",
          machineId: machine.id,
          message: `${machine.name}: ${words[action]}: ordered by ${outcome.method}`,
          data: { action, method: outcome.method },
        });
        return outcome;
      } catch (error) {
        // What was not done may be tried at once.
        if (action !== "on") resets.delete(machine.id);
        if (error instanceof RollcallError)
          record({
            type: "machine.power",
            level: "warning",
            machineId: machine.id,
            message: error.message,
            data: { action, code: error.code },
          });
        throw error;
      }
    },

    status: (machine, signal) =>
      slots.run(signal, async (): Promise<PowerOutcome> => {
        const own = settings.of(machine);
        const method = own?.method;
        let failure: RollcallError | undefined;
        if (own && (method === "ipmi" || method === "redfish"))
          try {
            const target = await boardTarget(machine, own);
            return { method, state: await retried(signal, () => boards[method].status(target, signal)) };
          } catch (error) {
            signal.throwIfAborted();
            if (!(error instanceof RollcallError)) throw error;
            failure = error;
          }
        const canAsk = method !== "wol" && targets.isKnown(machine);
        if (!canAsk) {
          if (failure) throw failure;
          return { method: "wol", state: "unknown" };
        }
        try {
          await bySsh(machine, signal, (target) => ssh(target, "status", signal));
          return { method: "ssh", state: "on" };
        } catch (error) {
          signal.throwIfAborted();
          if (failure) throw failure;
          if (MachineUnreachable.is(error)) return { method: "ssh", state: "unknown" };
          throw error;
        }
      }),
  };
}
