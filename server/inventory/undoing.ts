import {
  type Assignment,
  type AssignmentChange,
  type AssignmentChangeEntry,
  describeTarget,
  type PastChange,
  type Selection,
} from "../domain/assignment.ts";
import type { Clock, EpochMs } from "../domain/capabilities.ts";
import { NothingToUndo } from "../domain/error-catalogue.ts";
import type { RecordEvent } from "../domain/event.ts";
import { resolveHostSet } from "../domain/host-set.ts";
import type { Machine } from "../domain/machine.ts";
import type { AssignmentRepository } from "../store/assignments.ts";
import type { PlanLine, Within } from "./assigning.ts";
import type { Inventory } from "./inventory.ts";

export type FindAssignment = AssignmentRepository["find"];

/** What taking the last change back does: to which machines, and what of the change has been overtaken since. */
export interface UndoPlan {
  readonly change: AssignmentChange;
  readonly lines: readonly PlanLine[];
  /** `s4: assigned anew since` */
  readonly left: readonly string[];
}

/** Does the caller reach this machine or group? A change that goes beyond is none of theirs. */
export type MayTouch = (subject: Assignment["subject"]) => boolean;

/** What a caller may look back on. */
export interface HistoryReach {
  /** Whom the host set may name. */
  readonly within?: Within;
  readonly mayTouch?: MayTouch | undefined;
}

export interface UndoingDeps {
  readonly clock: Clock;
  readonly record: RecordEvent;
  readonly inventory: Pick<Inventory, "all" | "groupNames">;
  readonly assignments: Pick<AssignmentRepository, "find" | "changes" | "takeBack" | "history">;
  /** What a machine boots when the assignments are as `find` says. */
  readonly select: (machine: Machine, find?: FindAssignment) => Selection;
  readonly onChange: (machine: Machine) => void;
  /** When the last exam of a room began: what was assigned before is not taken back. */
  readonly examStart?: (room: string | undefined) => EpochMs | undefined;
}

/** Takes the last change of the assignments back, whole, as far as nothing newer stands in its place. */
export function createUndoing(deps: UndoingDeps) {
  const { clock, record, inventory, assignments, select, onChange, examStart = () => undefined } = deps;
  /** Of machines and groups as they are now; a change may be of a whole building, so each is looked up, not looked for. */
  function createNames(): (entry: AssignmentChangeEntry) => string | undefined {
    const machines = new Map(inventory.all().map(({ id, name }) => [id, name]));
    const groups = inventory.groupNames();
    return ({ subject }) =>
      subject.kind === "machine"
        ? machines.get(subject.machineId)
        : groups.has(subject.group)
          ? `group ${subject.group}`
          : undefined;
  }

  function createRooms(): (entry: AssignmentChangeEntry) => string | undefined {
    const rooms = new Map(inventory.all().map(({ id, group }) => [id, group]));
    return ({ subject }) => (subject.kind === "machine" ? rooms.get(subject.machineId) : subject.group);
  }

  /** Newest first; a change of which nothing is left, e.g. a boot that was used up, is no change to take back. */
  function findLast(mayTouch: MayTouch): {
    change: AssignmentChange;
    entries: AssignmentChangeEntry[];
    left: string[];
  } {
    const nameOf = createNames();
    const roomOf = createRooms();
    for (const change of assignments.changes()) {
      if (!change.entries.every(({ subject }) => mayTouch(subject))) continue;
      const left: string[] = [];
      const entries = change.entries.filter((entry) => {
        const name = nameOf(entry);
        const stands = assignments.find(entry.subject, entry.mode)?.id === entry.after?.id;
        const isBeforeExam = change.at <= (examStart(roomOf(entry)) ?? Number.NEGATIVE_INFINITY);
        if (name === undefined) left.push("a machine or group that was removed since");
        else if (!stands) left.push(`${name}: assigned anew or used up since`);
        else if (isBeforeExam) left.push(`${name}: its room had an exam since`);
        return name !== undefined && stands && !isBeforeExam;
      });
      if (entries.length > 0) return { change, entries, left };
    }
    throw NothingToUndo({});
  }

  function plan(mayTouch: MayTouch): UndoPlan & { entries: readonly AssignmentChangeEntry[] } {
    const { change, entries, left } = findLast(mayTouch);
    const key = (subject: Assignment["subject"], mode: string) =>
      `${mode} ${subject.kind} ${subject.kind === "group" ? subject.group : subject.machineId}`;
    const restored = new Map(entries.map((entry) => [key(entry.subject, entry.mode), entry.before]));
    const findThen: FindAssignment = (subject, mode) =>
      restored.has(key(subject, mode)) ? restored.get(key(subject, mode)) : assignments.find(subject, mode);
    const subjects = new Set(entries.map(({ subject }) => key(subject, "")));
    const touched = ({ id, group }: Machine) =>
      subjects.has(key({ kind: "machine", machineId: id }, "")) ||
      (group !== undefined && subjects.has(key({ kind: "group", group }, "")));
    const lines = inventory
      .all()
      .filter(touched)
      .map((machine) => {
        const before = select(machine);
        const { target, why } = select(machine, findThen);
        const changes = JSON.stringify(before.target) !== JSON.stringify(target);
        return { machine, before, after: { target, why }, changes };
      });
    return { change, entries, lines, left };
  }

  /** Changes of these machines or of their groups as they are now; of a limited caller's, those that touch nothing else. @throws InvalidHostSet */
  function history(hostSet: string | undefined, limit: number, seen: HistoryReach = {}): PastChange[] {
    const { within = inventory, mayTouch = () => true } = seen;
    const machines =
      hostSet === undefined ? undefined : resolveHostSet(hostSet, within.all(), within.groupNames());
    const ids = new Set(machines?.map(({ id }) => id));
    const groups = new Set(machines?.map(({ group }) => group));
    const touches = ({ subjects }: PastChange) =>
      machines === undefined ||
      subjects.some((one) => (one.kind === "machine" ? ids.has(one.machineId) : groups.has(one.group)));
    const found: PastChange[] = [];
    for (const change of assignments.history()) {
      if (touches(change) && change.subjects.every(mayTouch)) found.push(change);
      if (found.length >= limit) break;
    }
    return found;
  }

  return {
    history,
    /** @throws NothingToUndo */
    plan: (mayTouch: MayTouch = () => true): UndoPlan => plan(mayTouch),

    /** @throws NothingToUndo */
    async undo(actor: string, mayTouch: MayTouch = () => true): Promise<UndoPlan> {
      const planned = plan(mayTouch);
      const { change, entries, lines } = planned;
      // Somebody else was quicker: then there is another last change.
      if (!(await assignments.takeBack({ id: change.id, entries }, clock.now(), actor)))
        return this.undo(actor, mayTouch);
      for (const { machine, before, after } of lines) {
        onChange(machine);
        record({
          type: "assignment.undone",
          machineId: machine.id,
          actor,
          message: `${machine.name}: ${describeTarget(before.target)} -> ${describeTarget(after.target)}, what ${change.actor} did is taken back`,
          data: { before: before.target, after: after.target, change: change.message },
        });
      }
      return planned;
    },
  };
}
export type Undoing = ReturnType<typeof createUndoing>;
