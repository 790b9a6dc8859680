import type { EpochMs } from "../domain/capabilities.ts";
import type { Reading } from "./evidence.ts";

/** How sure it is that this is why the machine got no further. `noted`: it is so, and need not be the cause. */
export const certainties = ["certain", "probable", "noted"] as const;
export type Certainty = (typeof certainties)[number];

/** Which part of a boot a rule is about; each has a file of its rules. */
export type RuleGroup = "network" | "firmware" | "loading" | "system" | "cluster";

/** Something that was seen, with its time. */
export interface Seen {
  readonly at: EpochMs;
  readonly what: string;
}

/** One of the causes that the same evidence speaks for. */
export interface Candidate {
  readonly code: string;
  readonly what: string;
  /** How to tell it from the others. */
  readonly tell: string;
}

/** What a rule found. */
export interface Finding {
  readonly certainty: Certainty;
  /** One sentence, with names and numbers. */
  readonly what: string;
  readonly seen: readonly Seen[];
  /** In place of the rule's own advice. */
  readonly advice?: readonly string[];
  /** Where it is only probable: what else it may be. */
  readonly candidates?: readonly Candidate[];
}

/** A cause that can be told by what is recorded. Pure: the same evidence gives the same finding. */
export interface Rule {
  /** Stable. */
  readonly code: string;
  /** One sentence without names, for the catalogue. */
  readonly sentence: string;
  /** What to do next: one or two actions. */
  readonly advice: readonly [string, ...string[]];
  /** It is no fault: the machine is where it should be, or waits for people. */
  readonly isFine?: true;
  /** Says less than the others: left out where one of them has found the cause. */
  readonly isGeneral?: true;
  readonly find: (reading: Reading) => Finding | undefined;
}

export interface Diagnosis extends Finding {
  readonly code: string;
  readonly isFine: boolean;
  readonly advice: readonly string[];
  readonly candidates: readonly Candidate[];
}
