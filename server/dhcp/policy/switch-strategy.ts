import type { DurationMs } from "../../domain/capabilities.ts";
import { alternativesOf } from "./pxe-strategies.ts";

/** How far a machine got with what it was offered. Monotonic times. */
export interface StrategyTrial {
  /** What it is offered. */
  readonly strategy: string;
  /** DISCOVERs that were answered with it since the machine last got further. */
  readonly rounds: number;
  readonly firstMs: number;
  readonly lastMs: number;
  readonly furthest: TrialStep;
}

/** What comes after an offer, in order; `loaded` is a file of ours, or a program that only a file of ours can have started. */
export const trialSteps = ["offered", "requested", "loaded"] as const;
export type TrialStep = (typeof trialSteps)[number];

/** A strategy that so many rounds went nowhere with gives way to the next one. */
export const roundsToSwitch = 3;
/** ... but not before: a ROM may ask a few times while another server makes up its mind. */
export const minimumTrialMs: DurationMs = 8000;
/** DISCOVERs closer than this are one round: a duplicate, or two relay agents. */
const sameRoundMs: DurationMs = 1000;
/** A machine that was silent for longer was switched off in between: its rounds count anew. */
const forgetMs: DurationMs = 5 * 60_000;

export interface StrategySwitch {
  readonly from: string;
  readonly to: string;
  readonly rounds: number;
  readonly forMs: DurationMs;
  readonly furthest: TrialStep;
  /** All alternatives were tried; it begins again with the first. */
  readonly isWrapped: boolean;
}

/** What a DISCOVER says of the offers before it: whether another strategy is due. Pure. */
export function judgeTrial(trial: StrategyTrial, nowMs: number): StrategySwitch | undefined {
  const { strategy, rounds, firstMs, lastMs, furthest } = trial;
  if (nowMs - lastMs > forgetMs || nowMs - lastMs < sameRoundMs) return undefined;
  // This DISCOVER is a round of its own: the offers before it were not what the machine waits for.
  if (rounds + 1 < roundsToSwitch || nowMs - firstMs < minimumTrialMs) return undefined;
  const alternatives = alternativesOf(strategy);
  const next = (alternatives.findIndex(({ name }) => name === strategy) + 1) % (alternatives.length || 1);
  const to = alternatives[next]?.name;
  if (to === undefined || to === strategy) return undefined;
  return { from: strategy, to, rounds: rounds + 1, forMs: nowMs - firstMs, furthest, isWrapped: next === 0 };
}

/** The trial after an OFFER with this strategy has left. */
export function countRound(trial: StrategyTrial | undefined, strategy: string, nowMs: number): StrategyTrial {
  const isNew = !trial || trial.strategy !== strategy || nowMs - trial.lastMs > forgetMs;
  if (isNew) return { strategy, rounds: 1, firstMs: nowMs, lastMs: nowMs, furthest: "offered" };
  if (nowMs - trial.lastMs < sameRoundMs) return trial;
  // A file was loaded, and it asks again: a new boot, with what has worked.
  if (trial.furthest === "loaded")
    return { ...trial, rounds: 1, firstMs: nowMs, lastMs: nowMs, furthest: "offered" };
  return { ...trial, rounds: trial.rounds + 1, lastMs: nowMs };
}

/**
 * The trial after a step of the machine. Each step counts once in a trial: a ROM that asks and asks and never loads
 * anything gets nowhere too.
 */
export function countStep(trial: StrategyTrial, step: TrialStep): StrategyTrial {
  if (trialSteps.indexOf(step) <= trialSteps.indexOf(trial.furthest)) return trial;
  return { ...trial, furthest: step, rounds: 0, firstMs: trial.lastMs };
}
