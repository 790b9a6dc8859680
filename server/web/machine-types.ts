import type { Machine } from "./api-types.ts";

/** What the API tells of one machine: times in ISO 8601, absent facts null. */

export interface MachineFacts extends Machine {
  readonly uuid: string | null;
  readonly arch: string | null;
  readonly firmware: string | null;
  readonly secureBoot: boolean | null;
  readonly labels: Readonly<Record<string, string>>;
  readonly address: string | null;
  readonly ramBytes: number | null;
  readonly runs: string | null;
}

export interface HardwareAnswer {
  readonly sharesUuidWith: readonly string[];
  readonly hardware: {
    readonly reportedAt: string | null;
    readonly cpu: { readonly model: string | null; readonly cores: number | null };
    readonly memoryBytes: number | null;
    readonly disks: readonly {
      readonly name: string;
      readonly sizeBytes: number;
      readonly model: string | null;
    }[];
    readonly nics: readonly {
      readonly name: string;
      readonly mac: string;
      readonly driver: string | null;
      readonly speedMbit: number | null;
      readonly neighbour: { readonly systemName: string | null; readonly portId: string } | null;
    }[];
  } | null;
}

export interface Explanation {
  readonly role: string;
  readonly why: string;
  readonly instead: readonly { readonly role: string; readonly source: string }[];
  readonly roleProblem: string | null;
}

export interface DoctorAnswer {
  readonly fine: boolean;
  readonly station: string | null;
  readonly diagnoses: readonly {
    readonly code: string;
    readonly fine: boolean;
    readonly certainty: string;
    readonly what: string;
    readonly evidence: readonly { readonly at: string | null; readonly what: string }[];
    readonly advice: string;
  }[];
}

export interface TimelinePart {
  readonly part: string;
  readonly what: string;
  /** After the boot's first packet, ms; below 0 before it. */
  readonly startMs: number;
  readonly medianMs: number | null;
  /** Boots of the room that the median is of. */
  readonly medianOf: number;
}

export interface BootSummary {
  readonly id: string;
  readonly startedAt: string;
  readonly endedAt: string | null;
  readonly outcome: "running" | "ready" | "failed" | "abandoned" | "local" | "handed-over";
  readonly target: string | null;
  readonly verdict: string | null;
}

export interface Timeline {
  readonly compared: number;
  readonly boot: BootSummary | null;
  readonly parts: readonly (TimelinePart & { readonly ms: number })[];
  readonly underWay: TimelinePart | null;
}

export interface LogAnswer {
  readonly items: readonly { readonly at: string; readonly message: string; readonly text: string | null }[];
}

export interface Documents {
  readonly items: readonly { readonly kind: string; readonly problem: string | null }[];
}
