import type { BootStepName } from "../domain/boot.ts";
import { clusterRules } from "./cluster.ts";
import { certainties, type Diagnosis, type Finding, type Rule, type RuleGroup } from "./diagnosis.ts";
import { type Evidence, read, type Reading } from "./evidence.ts";
import { firmwareRules } from "./firmware.ts";
import { stateRules } from "./healthy.ts";
import { kernelRules } from "./kernel.ts";
import { loadingRules } from "./loading.ts";
import { networkRules } from "./network.ts";
import { type PartTime, partTimes } from "./room-times.ts";
import { bootLoop, lastRules, systemRules } from "./system.ts";
import { trustRules } from "./trust.ts";
import { wakingRules } from "./waking.ts";

/** By what they are about. What a machine comes to last stands first: of two findings that are as sure it is the nearer one. */
const rules: Readonly<Record<RuleGroup | "state", readonly Rule[]>> = {
  cluster: [...clusterRules, ...trustRules],
  system: systemRules,
  loading: [...kernelRules, ...loadingRules],
  firmware: firmwareRules,
  network: [...networkRules, ...wakingRules],
  state: stateRules,
};
const causes: readonly Rule[] = [
  ...rules.cluster,
  ...rules.system,
  ...rules.loading,
  ...rules.firmware,
  ...rules.network,
  bootLoop,
  ...lastRules,
];

/** Every diagnosis that there is, for docs/doctor.md. */
export const catalogue: readonly (Pick<Rule, "code" | "sentence" | "advice"> & { readonly group: string })[] =
  (
    Object.entries({ ...rules, system: [...rules.system, bootLoop, ...lastRules] }) as [
      string,
      readonly Rule[],
    ][]
  ).flatMap(([group, members]) =>
    members.map(({ code, sentence, advice }) => ({ group, code, sentence, advice })),
  );

/** What is to be said of one machine. */
export interface Verdict {
  /** The furthest station of its last boot; undefined: none. */
  readonly stoppedAt: BootStepName | undefined;
  /** It is where it should be, or waits for people. */
  readonly isFine: boolean;
  /** The surest first; there is always one. */
  readonly diagnoses: readonly Diagnosis[];
  readonly bootId: string | undefined;
  readonly parts: readonly PartTime[];
}

function toDiagnosis({ code, isFine, advice }: Rule, finding: Finding): Diagnosis {
  return { code, advice, candidates: [], ...finding, isFine: isFine === true };
}

/** Why a machine did not boot, by all that is recorded of it; pure. */
export function diagnose(evidence: Evidence): Verdict {
  const reading = read(evidence);
  const found = causes.flatMap((rule) => {
    const finding = rule.find(reading);
    return finding ? [{ rule, finding }] : [];
  });
  const hasCause = found.some(({ rule, finding }) => !rule.isGeneral && finding.certainty !== "noted");
  const telling = found
    .filter(({ rule, finding }) => !(rule.isGeneral && hasCause) || finding.certainty === "noted")
    .map(({ rule, finding }) => toDiagnosis(rule, finding))
    .toSorted((left, right) => certainties.indexOf(left.certainty) - certainties.indexOf(right.certainty));
  const isExplained = telling.some(({ certainty }) => certainty !== "noted");
  const diagnoses = isExplained ? telling : [...stateOf(reading), ...telling];
  const [first] = diagnoses;
  return {
    stoppedAt: reading.furthest,
    isFine: first?.isFine ?? false,
    diagnoses,
    bootId: reading.boot?.id || undefined,
    parts: first?.code === "HEALTHY" ? partTimes(reading) : [],
  };
}

function stateOf(reading: Reading): readonly Diagnosis[] {
  for (const rule of stateRules) {
    const finding = rule.find(reading);
    if (finding) return [toDiagnosis(rule, finding)];
  }
  return [];
}
