/**
 * What `GET /api/v1/live` tells, in types alone, for both of its ends. The stream begins with one `snapshot`; each later message
 * says what has changed since, whole entries at a time. A stream that is opened anew begins with a snapshot again.
 */
import type { SelectionSource } from "../../domain/assignment.ts";
import type { BootOutcome, BootStepName } from "../../domain/boot.ts";
import type { Phase } from "../../domain/machine.ts";
import type { OperationKind, OperationState } from "../../domain/operation.ts";
import type { PowerAction } from "../../domain/power.ts";

/** What a machine is downloading: by the server's sight, or else by its own report. */
export interface ProgressLive {
  /** Name of the file, as it is in its image; of a machine's own report the step, e.g. `rootfs`. */
  readonly file: string;
  readonly bytes: number;
  readonly total: number;
}

/** What a seat shows; the rest is behind `GET /machines/{id}`. Times are in ISO 8601. */
export interface MachineLive {
  readonly id: string;
  readonly name: string;
  readonly group: string | null;
  /** Where it sits in its group's plan, spelled as there or, from before the plan was drawn, with other cases of letters. */
  readonly seat: string | null;
  readonly phase: Phase;
  /** What its next boot makes of it, and who said so. */
  readonly role: string;
  readonly roleSource: SelectionSource;
  /** What the boot that is under way or done has made of it. */
  readonly runs: string | null;
  /** Its reservation. */
  readonly address: string | null;
  /** Where it was last seen. */
  readonly currentAddress: string | null;
  readonly lastSeenAt: string | null;
  readonly boot: {
    readonly id: string;
    readonly startedAt: string;
    readonly outcome: BootOutcome;
    readonly lastStep: BootStepName | null;
  } | null;
  /** Its state in the cluster in this boot, e.g. `ready`. */
  readonly cluster: string | null;
  /** One sentence on what is wrong: the verdict on its boot, or what keeps it out of the cluster. */
  readonly problem: string | null;
  readonly progress: ProgressLive | null;
}

/** A room, or another group. Who is in it says each machine's `group`. */
export interface GroupLive {
  readonly name: string;
  readonly description: string;
  /** What is assigned to the group; null: nothing. */
  readonly role: string | null;
  readonly exam: {
    readonly role: string;
    readonly startedBy: string;
    readonly startedAt: string;
    readonly endsAt: string | null;
  } | null;
  /** Rows of seats from the front, each from left to right; null where nobody sits. */
  readonly plan: { readonly seats: readonly (readonly (string | null)[])[] } | null;
}

/** Long work on machines. One that has ended is told once more, with its end, and is in no later snapshot. */
export interface OperationLive {
  readonly id: string;
  readonly kind: OperationKind;
  readonly action: PowerAction | null;
  readonly target: string | null;
  readonly actor: string;
  readonly state: OperationState;
  readonly startedAt: string;
  readonly endedAt: string | null;
  /** Machines that are through with it, well or not. */
  readonly done: number;
  readonly failed: number;
  readonly total: number;
}

/** `event: snapshot`; also the answer to a request that asks for JSON. */
export interface SnapshotMessage {
  /** The server's time. */
  readonly at: string;
  readonly machines: readonly MachineLive[];
  readonly groups: readonly GroupLive[];
  /** Those under way. */
  readonly operations: readonly OperationLive[];
}
/** `event: machines`; `removed` by id: gone, or in none of the caller's rooms any more. */
export interface MachinesMessage {
  readonly changed: readonly MachineLive[];
  readonly removed: readonly string[];
}
/** `event: groups`; `removed` by name. */
export interface GroupsMessage {
  readonly changed: readonly GroupLive[];
  readonly removed: readonly string[];
}
/** `event: operations`; `removed` by id: not to be seen any more by the caller. */
export interface OperationsMessage {
  readonly changed: readonly OperationLive[];
  readonly removed: readonly string[];
}
/** `event: beat`: nothing else may have changed for hours, and whoever hears none knows that the connection is dead. */
export interface BeatMessage {
  /** The server's time. */
  readonly at: string;
}

/** The messages by the name of their event. */
export interface LiveMessages {
  readonly snapshot: SnapshotMessage;
  readonly machines: MachinesMessage;
  readonly groups: GroupsMessage;
  readonly operations: OperationsMessage;
  readonly beat: BeatMessage;
}
