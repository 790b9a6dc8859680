/** What the API answers, as far as the dashboard reads it: times in ISO 8601, absent facts null. */

import type { Phase } from "../domain/machine.ts";
import type { OperationKind, OperationState, StepState, MachineVerdict } from "../domain/operation.ts";
import type { PowerAction, PowerMethod } from "../domain/power.ts";
import type { RoleParameter } from "../domain/role.ts";
import type { TokenScope } from "../domain/api-token.ts";

export interface Session {
  /** Of the token that it was opened with. */
  readonly name: string;
  readonly scope: TokenScope;
  /** Null: all rooms, and what is of the whole server. */
  readonly rooms: readonly string[] | null;
  readonly expiresAt: string | null;
}

export interface SeatPlace {
  readonly seat: string;
  /** From 1, from the front. */
  readonly row: number;
  /** From 1, from the left. */
  readonly column: number;
}

export interface Plan {
  readonly rows: number;
  readonly columns: number;
  readonly seats: readonly SeatPlace[];
}

export interface Group {
  readonly name: string;
  readonly description: string;
  /** Of the group itself; null: none. */
  readonly role: string | null;
  readonly machines: readonly string[];
  readonly plan: Plan | null;
}

export interface Exam {
  readonly room: string;
  readonly role: string;
  readonly startedAt: string;
  readonly startedBy: string;
  /** Null: until somebody ends it. */
  readonly endsAt: string | null;
}

export interface Role {
  readonly name: string;
  readonly description: string;
  readonly parameters: Readonly<Record<string, RoleParameter>>;
}

export interface Machine {
  readonly id: string;
  readonly name: string;
  readonly macs: readonly string[];
  readonly group: string | null;
  readonly seat: string | null;
  readonly phase: Phase;
  readonly role: string;
  readonly manufacturer: string | null;
  readonly product: string | null;
  readonly serial: string | null;
  readonly currentAddress: string | null;
  readonly lastSeenAt: string | null;
  readonly power: { readonly method: PowerMethod } | null;
}

/** One machine of a plan that nobody carried out yet. */
export interface AssignmentLine {
  readonly machine: string;
  readonly before: string;
  readonly after: string;
  readonly why: string;
  readonly changes: boolean;
  readonly changedParameters: readonly string[];
}

export interface AssignmentAnswer {
  readonly dryRun: boolean;
  /** Absent in a plan. */
  readonly operation?: string;
  readonly plan: readonly AssignmentLine[];
}

export interface ResetPlan {
  readonly dryRun: true;
  /** Done once, before any machine. */
  readonly steps: readonly string[];
  readonly plan: readonly {
    readonly machine: string;
    readonly role: string;
    readonly power: { readonly method: PowerMethod } | null;
    readonly steps: readonly string[];
  }[];
}

export interface PowerState {
  readonly machine: string;
  readonly method: PowerMethod | null;
  readonly state: string;
  readonly problem: string | null;
}

export type OperationCounts = Readonly<Record<MachineVerdict, number>>;

export interface OperationSummary {
  readonly id: string;
  readonly kind: OperationKind;
  readonly action: PowerAction | null;
  /** In words; null: none. */
  readonly target: string | null;
  readonly actor: string;
  readonly state: OperationState;
  readonly startedAt: string;
  readonly endedAt: string | null;
  readonly counts: OperationCounts;
}

export interface OperationStep {
  readonly name: string;
  readonly state: StepState;
  readonly startedAt: string | null;
  readonly at: string | null;
  readonly message: string | null;
  readonly code: string | null;
}

export interface Operation extends OperationSummary {
  readonly steps: readonly OperationStep[];
  readonly machines: readonly {
    readonly machine: string;
    readonly seat: string | null;
    readonly state: MachineVerdict;
    readonly steps: readonly OperationStep[];
  }[];
}

/** What begins an operation answers at least this. */
export interface OperationBegun {
  readonly operation: string;
}
