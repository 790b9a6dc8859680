import type { Clock, DurationMs, Ids, Log } from "../domain/capabilities.ts";
import { InternalError, MachineGone, StepTimedOut } from "../domain/error-catalogue.ts";
import { RollcallError } from "../domain/errors.ts";
import type { RecordEvent } from "../domain/event.ts";
import type { Machine } from "../domain/machine.ts";
import {
  cancelOperation,
  changeStep,
  dueSteps,
  endOperation,
  findStep,
  type Operation,
  type StepChange,
  type StepPlace,
} from "../domain/operation.ts";
import { createSlots } from "../domain/slots.ts";
import type { OperationRepository } from "../store/operations.ts";
import type { CommonContext, CommonStepName, Look, StepOf, StepTable } from "./step.ts";
import { tellEnd, tellStep } from "./telling.ts";

export interface RunnerLimits {
  /** Looks and orders at once: over all, and of each operation. */
  readonly atOnce: number;
  readonly perOperation: number;
  /** One look or order may take this long, ms. */
  readonly lookMs: DurationMs;
  /** What waits is looked at again after this, ms, and whenever its machine is heard of. */
  readonly pollMs: DurationMs;
  /** Tries of what fails, with a pause that doubles, ms. */
  readonly tries: number;
  readonly retryMs: DurationMs;
}
export const runnerLimits: RunnerLimits = {
  atOnce: 16,
  perOperation: 8,
  lookMs: 3 * 60_000,
  pollMs: 2000,
  tries: 3,
  retryMs: 5000,
};
/** After a store that could not be written, ms. */
const storeRetryMs = 5000;

export interface RunnerDeps {
  readonly clock: Clock;
  readonly ids: Ids;
  readonly random: () => number;
  readonly log: Pick<Log, "warn" | "error">;
  readonly record: RecordEvent;
  /** Tells watchers without keeping it. */
  readonly announce: RecordEvent;
  readonly operations: Pick<OperationRepository, "saveSteps" | "saveEnd">;
  readonly machineOf: (id: string) => Machine | undefined;
  /** Why a step is not done any more, asked before each look; undefined: nothing is in its way. */
  readonly refusal?: ((operation: Operation, place: StepPlace) => RollcallError | undefined) | undefined;
  readonly steps: StepTable;
  readonly limits?: RunnerLimits | undefined;
}

interface Active {
  operation: Operation;
  readonly controller: AbortController;
  /** What is worked on, by machine. */
  readonly busy: Map<string | undefined, Promise<void>>;
  readonly ended: PromiseWithResolvers<Operation>;
}

/** Brings operations to their end: what is due is read off their rows, and each transition is on the disk before anything follows from it. */
export function createRunner(deps: RunnerDeps) {
  const { clock, log, operations, random } = deps;
  const limits = deps.limits ?? runnerLimits;
  const slots = createSlots({ atOnce: limits.atOnce, perOwner: limits.perOperation });
  const active = new Map<string, Active>();
  /** Those that wait, by machine. */
  const sleepers = new Map<string, Set<() => void>>();
  let isStopped = false;

  const isLive = ({ operation }: Active) => !isStopped && operation.state === "running";
  const spread = (ms: DurationMs): DurationMs => Math.round(ms * (0.75 + random() / 2));

  /** Until the time is up, the machine is heard of, or the operation ends. */
  function pause({ controller }: Active, machineId: string | undefined, ms: DurationMs): Promise<void> {
    const { signal } = controller;
    if (signal.aborted) return Promise.resolve();
    return new Promise((resolve) => {
      const wake = () => {
        cancel();
        signal.removeEventListener("abort", wake);
        const others = sleepers.get(machineId ?? "");
        others?.delete(wake);
        if (others?.size === 0) sleepers.delete(machineId ?? "");
        resolve();
      };
      const cancel = clock.after(ms, wake);
      signal.addEventListener("abort", wake, { once: true });
      const set = sleepers.get(machineId ?? "") ?? new Set();
      sleepers.set(machineId ?? "", set.add(wake));
    });
  }

  async function commit(one: Active, place: StepPlace, change: StepChange): Promise<void> {
    const { operation } = one;
    await operations.saveSteps(changeStep(operation, place, change, clock.now()), place.machineId);
    // Cancelled meanwhile: its end is written already.
    if (one.operation.state !== "running") return;
    one.operation = changeStep(one.operation, place, change, clock.now());
    const { event, isKept } = tellStep(one.operation, place);
    (isKept ? deps.record : deps.announce)(event);
  }

  /** What is only told while a step goes on; it is written down with its next transition. */
  function note(one: Active, place: StepPlace, message: string, code?: string): void {
    const step = findStep(one.operation, place);
    if (step?.message === message && step.code === code) return;
    one.operation = changeStep(one.operation, place, { state: "running", message, code }, clock.now());
    deps.announce(tellStep(one.operation, place).event);
  }

  function advance(one: Active): void {
    if (!isLive(one)) return;
    for (const place of dueSteps(one.operation)) {
      const { machineId } = place;
      if (one.busy.has(machineId)) continue;
      const working = work(one, place)
        .catch(async (error: unknown) => {
          log.warn(
            { err: error, operation: one.operation.id, step: place.name },
            "a step could not be noted",
          );
          await pause(one, machineId, storeRetryMs);
        })
        .finally(() => {
          one.busy.delete(machineId);
          advance(one);
        });
      one.busy.set(machineId, working);
    }
    if (one.busy.size === 0) void end(one);
  }

  async function end(one: Active): Promise<void> {
    const ended = endOperation(one.operation, clock.now());
    if (!ended) return;
    one.operation = ended;
    for (;;) {
      try {
        await operations.saveEnd(ended);
        break;
      } catch (error) {
        log.warn({ err: error, operation: ended.id }, "the end of an operation could not be noted");
        if (isStopped) return;
        await pause(one, undefined, storeRetryMs);
      }
    }
    settle(one);
  }

  function settle(one: Active): void {
    active.delete(one.operation.id);
    deps.record(tellEnd(one.operation));
    one.ended.resolve(one.operation);
  }

  /** One step, to its end. */
  async function work(one: Active, place: StepPlace): Promise<void> {
    const begunMs = clock.monotonicMs();
    const isResumed = findStep(one.operation, place)?.state === "running";
    if (!isResumed) await commit(one, place, { state: "running" });
    for (let failures = 0; isLive(one);) {
      const found = await lookInTurn(one, place, { begunMs, isResumed, failures });
      if (!isLive(one) || found === undefined) return;
      if ("thrown" in found) {
        const error = asKnown(found.thrown, place);
        failures += 1;
        if (error.kind === "user" || failures >= limits.tries) return fail(one, place, error);
        note(one, place, `${error.message}; it is tried again`, error.code);
        await pause(one, undefined, spread(limits.retryMs * 2 ** (failures - 1)));
      } else if (found.state === "waiting") {
        note(one, place, found.message);
        await pause(one, place.machineId, spread(limits.pollMs));
      } else if (found.state === "failed") return fail(one, place, found.error, found.facts);
      else {
        const { state, message } = found;
        return commit(one, place, { state, message, facts: found.state === "done" ? found.facts : {} });
      }
    }
  }

  const fail = (one: Active, place: StepPlace, error: RollcallError, facts = {}): Promise<void> =>
    commit(one, place, { state: "failed", message: error.message, code: error.code, facts });

  /** @returns undefined when the operation came to its end first */
  async function lookInTurn(
    one: Active,
    place: StepPlace,
    { begunMs, ...before }: { begunMs: DurationMs } & Pick<CommonContext, "isResumed" | "failures">,
  ): Promise<Look | { thrown: unknown } | undefined> {
    const step = findStep(one.operation, place);
    if (!step) return undefined;
    const { signal } = one.controller;
    const leave = await slots.take(signal, one.operation.id).catch(() => undefined);
    if (!leave) return undefined;
    const limit = new AbortController();
    const stopLimit = clock.after(limits.lookMs, () =>
      limit.abort(StepTimedOut({ problem: `${place.name} gave no answer for ${inMinutes(limits.lookMs)}` })),
    );
    try {
      const context: CommonContext = {
        operation: one.operation,
        step,
        startedAt: step.startedAt ?? clock.now(),
        elapsedMs: clock.monotonicMs() - begunMs,
        ...before,
        signal: AbortSignal.any([signal, limit.signal]),
      };
      return await Promise.race([judge(place, context), untilAborted(context.signal)]);
    } catch (thrown) {
      return { thrown };
    } finally {
      stopLimit();
      leave();
    }
  }

  /** The look, unless the step has taken too long. */
  async function judge(place: StepPlace, context: CommonContext): Promise<Look> {
    const refused = deps.refusal?.(context.operation, place);
    if (refused) return { state: "failed", error: refused };
    if (place.machineId === undefined)
      return within(deps.steps.common[place.name as CommonStepName], context);
    const machine = deps.machineOf(place.machineId);
    if (!machine) return { state: "failed", error: MachineGone({ machine: nameOf(place, context) }) };
    return within(deps.steps.machine[place.name as Exclude<typeof place.name, CommonStepName>], {
      ...context,
      machine,
    });
  }

  async function within<Context extends CommonContext>(
    step: StepOf<Context>,
    context: Context,
  ): Promise<Look> {
    const found = await step.look(context);
    const limitMs = found.state === "waiting" ? step.limitMs(context) : undefined;
    if (limitMs === undefined || context.elapsedMs < limitMs) return found;
    return { state: "failed", error: step.timedOut(context) };
  }

  function asKnown(thrown: unknown, { name }: StepPlace): RollcallError {
    if (thrown instanceof RollcallError) return thrown;
    const reference = deps.ids.id("e");
    log.error({ err: thrown, reference, step: name }, "a step of an operation broke");
    return InternalError({ reference });
  }

  return {
    /** Begins or goes on with an operation that stands in the store. */
    run(operation: Operation): void {
      const one: Active = {
        operation,
        controller: new AbortController(),
        busy: new Map(),
        ended: Promise.withResolvers(),
      };
      active.set(operation.id, one);
      advance(one);
    },
    running: (): Operation[] => [...active.values()].map(({ operation }) => operation),
    find: (id: string): Operation | undefined => active.get(id)?.operation,
    /** When it has ended; undefined: it is not under way. A server that stops ends no operation. */
    ended: (id: string): Promise<Operation> | undefined => active.get(id)?.ended.promise,
    /** Something happened to a machine: what waits for it looks again. */
    nudge(machineId: string): void {
      for (const wake of sleepers.get(machineId) ?? []) wake();
    },
    /** @returns undefined: it is not under way */
    async cancel(id: string): Promise<Operation | undefined> {
      const one = active.get(id);
      // One that was cancelled and could not be written down is still here, and may be cancelled again.
      if (one?.operation.state !== "running" && one?.operation.state !== "cancelled") return undefined;
      const cancelled =
        one.operation.state === "running" ? cancelOperation(one.operation, clock.now()) : one.operation;
      one.operation = cancelled;
      one.controller.abort();
      await operations.saveEnd(cancelled);
      if (active.has(id)) settle(one);
      return cancelled;
    },
    /** Nothing is begun any more; what is under way is taken up at the next start. */
    async stop(): Promise<void> {
      isStopped = true;
      const all = [...active.values()];
      for (const { controller } of all) controller.abort();
      await Promise.all(all.flatMap(({ busy }) => [...busy.values()]));
    },
  };
}
export type Runner = ReturnType<typeof createRunner>;

const nameOf = ({ machineId }: StepPlace, { operation }: CommonContext): string =>
  operation.machines.find((machine) => machine.machineId === machineId)?.name ?? machineId ?? "";

const inMinutes = (ms: DurationMs): string => `${Math.round(ms / 60_000)} minutes`;

function untilAborted(signal: AbortSignal): Promise<never> {
  return new Promise((_, reject) => {
    const refuse = () => reject(signal.reason as Error);
    if (signal.aborted) refuse();
    else signal.addEventListener("abort", refuse, { once: true });
  });
}
