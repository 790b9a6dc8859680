import type { DurationMs, EpochMs } from "../domain/capabilities.ts";
import type { RollcallError } from "../domain/errors.ts";
import type { Machine } from "../domain/machine.ts";
import type { Operation, OperationStep, StepName } from "../domain/operation.ts";

/** What a look at the world came to. What is thrown is tried again, unless the person who asked has to change something first. */
export type Look =
  | { readonly state: "done"; readonly message: string; readonly facts?: OperationStep["facts"] }
  | { readonly state: "skipped"; readonly message: string }
  /** Nothing to do but wait; it is looked at again. */
  | { readonly state: "waiting"; readonly message: string }
  | { readonly state: "failed"; readonly error: RollcallError; readonly facts?: OperationStep["facts"] };

/** What a step of an operation itself knows. */
export interface CommonContext {
  readonly operation: Operation;
  readonly step: OperationStep;
  /** When the step began: an order is not older than this. */
  readonly startedAt: EpochMs;
  /** How long this process has been at this step. */
  readonly elapsedMs: DurationMs;
  /** The server ended in the middle of this step: nobody knows whether its order was given. */
  readonly isResumed: boolean;
  /** How often this process tried the step and failed; what failed may have been done all the same. */
  readonly failures: number;
  readonly signal: AbortSignal;
}
export interface MachineContext extends CommonContext {
  readonly machine: Machine;
}

/**
 * A step looks at the world first and acts only where that is still needed, so it may be begun any number of times: after a fault, after
 * a restart of the server, or because somebody asked again.
 */
export interface StepOf<Context> {
  readonly look: (context: Context) => Promise<Look>;
  /** It may take this long; undefined: for ever. */
  readonly limitMs: (context: Context) => DurationMs | undefined;
  /** What is told when it took longer; it may note it elsewhere too. */
  readonly timedOut: (context: Context) => RollcallError;
}
export type CommonStep = StepOf<CommonContext>;
export type MachineStep = StepOf<MachineContext>;

export type CommonStepName = Extract<StepName, "students" | "cluster">;
export interface StepTable {
  readonly common: Readonly<Record<CommonStepName, CommonStep>>;
  readonly machine: Readonly<Record<Exclude<StepName, CommonStepName>, MachineStep>>;
}
