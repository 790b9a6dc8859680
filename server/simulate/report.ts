import type { DurationMs } from "../domain/capabilities.ts";
import type { Ipv4 } from "../net/ipv4.ts";
import type { LineCounts } from "./line.ts";
import type { Arrival } from "./machine.ts";
import type { PlannedMachine } from "./plan.ts";
import { type Phase, phases, type Recorder, type Stopped } from "./station.ts";

export interface Percentiles {
  readonly count: number;
  readonly p50Ms: DurationMs;
  readonly p90Ms: DurationMs;
  readonly p99Ms: DurationMs;
  readonly maxMs: DurationMs;
}

export interface PhaseReport extends Percentiles {
  readonly phase: Phase | "whole boot";
  /** Packets and requests that had to be sent again. */
  readonly repeated: number;
}

/** A reason and the machines that it hit. */
export interface Group {
  readonly phase: Phase;
  readonly reason: string;
  readonly machines: number;
  readonly examples: readonly string[];
}

export interface SimulationReport {
  readonly machines: number;
  readonly durationMs: DurationMs;
  readonly arrived: Readonly<Partial<Record<Arrival, number>>>;
  readonly failed: number;
  /** Power-ons beyond the first of each machine. */
  readonly restarts: number;
  readonly phases: readonly PhaseReport[];
  readonly failures: readonly Group[];
  readonly remarks: readonly Omit<Group, "phase">[];
  readonly datagrams: LineCounts;
  /** Most that this process, not the server, had in use. */
  readonly simulatorMemoryBytes: number;
}

const keptExamples = 3;

/** Nearest rank: each percentile is a value that was measured. */
export function percentilesOf(values: readonly number[]): Percentiles {
  const sorted = Float64Array.from(values).sort();
  const rank = (share: number) => round(sorted[Math.max(0, Math.ceil(share * sorted.length) - 1)] ?? 0);
  return {
    count: sorted.length,
    p50Ms: rank(0.5),
    p90Ms: rank(0.9),
    p99Ms: rank(0.99),
    maxMs: rank(1),
  };
}

/** Machines that are not where they were to go: they failed, or stand and wait for a role. */
export function shortOfGoal({ failed, arrived }: Pick<SimulationReport, "failed" | "arrived">): number {
  return failed + (arrived.waiting ?? 0);
}

function round(ms: DurationMs): DurationMs {
  return Math.round(ms * 100) / 100;
}

interface Counted {
  machines: number;
  readonly examples: string[];
}

/** Collects what happens to all machines. */
export function createRecords() {
  const took = new Map<Phase, number[]>();
  const repeated = new Map<Phase, number>();
  const failures = new Map<string, Counted & { phase: Phase; reason: string }>();
  const remarks = new Map<string, Counted & { reason: string }>();
  const holders = new Map<Ipv4, PlannedMachine>();
  const arrived = new Map<Arrival, number>();
  const wholes: number[] = [];
  let restarts = 0;

  function count(entry: Counted, machine: PlannedMachine): void {
    entry.machines++;
    if (entry.examples.length < keptExamples) entry.examples.push(`${machine.mac} (${machine.profile})`);
  }

  const recorder: Recorder = {
    took(phase, ms) {
      const values = took.get(phase);
      if (values) values.push(ms);
      else took.set(phase, [ms]);
    },
    repeated: (phase) => void repeated.set(phase, (repeated.get(phase) ?? 0) + 1),
    remark(reason, machine) {
      const text = withoutNames(reason);
      let entry = remarks.get(text);
      if (!entry) remarks.set(text, (entry = { reason: text, machines: 0, examples: [] }));
      count(entry, machine);
    },
    holds(address, machine) {
      const holder = holders.get(address);
      if (holder && holder !== machine) return holder;
      holders.set(address, machine);
      return undefined;
    },
  };

  return {
    recorder,
    restarted: () => void restarts++,
    arrivedAt(arrival: Arrival, wholeMs: DurationMs) {
      arrived.set(arrival, (arrived.get(arrival) ?? 0) + 1);
      wholes.push(wholeMs);
    },
    failed(machine: PlannedMachine, { phase, message }: Stopped) {
      const reason = withoutNames(message);
      const key = `${phase} ${reason}`;
      let entry = failures.get(key);
      if (!entry) failures.set(key, (entry = { phase, reason, machines: 0, examples: [] }));
      count(entry, machine);
    },
    counts: () => ({
      arrived: [...arrived.values()].reduce((sum, one) => sum + one, 0),
      failed: [...failures.values()].reduce((sum, one) => sum + one.machines, 0),
    }),
    report(
      machines: number,
      durationMs: DurationMs,
      datagrams: LineCounts,
      simulatorMemoryBytes: number,
    ): SimulationReport {
      const byCount = <T extends Counted>(entries: Iterable<T>) =>
        [...entries].sort((left, right) => right.machines - left.machines);
      return {
        machines,
        durationMs: round(durationMs),
        arrived: Object.fromEntries(arrived),
        failed: this.counts().failed,
        restarts,
        phases: [
          ...phases.flatMap((phase) => {
            const values = took.get(phase);
            if (!values && !repeated.has(phase)) return [];
            return [{ phase, ...percentilesOf(values ?? []), repeated: repeated.get(phase) ?? 0 }];
          }),
          {
            phase: "whole boot" as const,
            ...percentilesOf(wholes),
            repeated: [...repeated.values()].reduce((sum, one) => sum + one, 0),
          },
        ],
        failures: byCount(failures.values()),
        remarks: byCount(remarks.values()),
        datagrams: { ...datagrams },
        simulatorMemoryBytes,
      };
    },
  };
}
export type Records = ReturnType<typeof createRecords>;

/** Addresses, names and claims out, so that the same fault of many machines is one line. */
function withoutNames(reason: string): string {
  return reason
    .replaceAll(/\b[0-9]{1,3}(\.[0-9]{1,3}){3}\b/g, "<address>")
    .replaceAll(/\b[0-9a-f]{2}([:-][0-9a-f]{2}){5}\b/g, "<mac>")
    .replaceAll(/\b(callback|claims)\/[a-z0-9]+/g, "$1/<claim>")
    .replaceAll(/\b(pc|machine)-?[0-9a-f]{6,12}\b/g, "<machine>");
}
