import {
  type AssignedTarget,
  type Assignment,
  type AssignmentMode,
  describeActor,
  describeTarget,
  type Selection,
} from "../domain/assignment.ts";
import type { Clock, Ids } from "../domain/capabilities.ts";
import { GroupNotFound, InvalidRequest, OnceNeverUsedUp } from "../domain/error-catalogue.ts";
import type { RecordEvent } from "../domain/event.ts";
import { resolveHostSet } from "../domain/host-set.ts";
import type { Machine } from "../domain/machine.ts";
import type { RoleBoot } from "../domain/role.ts";
import type { AssignmentRepository } from "../store/assignments.ts";
import type { Inventory } from "./inventory.ts";

/** One line of a plan: what a machine boots now, what it would boot, and why. */
export interface PlanLine {
  readonly machine: Machine;
  readonly before: Selection;
  readonly after: { readonly target: AssignedTarget; readonly why: string };
  readonly changes: boolean;
}

export interface AssignRequest {
  readonly machines: string;
  readonly target: AssignedTarget;
  readonly mode: AssignmentMode;
  readonly actor: string;
  /** Whom the host set may name, for a caller that does not see all; all machines unless given. */
  readonly within?: Within;
}

export type Within = Pick<Inventory, "all" | "groupNames">;

export interface AssigningDeps {
  readonly clock: Clock;
  readonly ids: Ids;
  readonly record: RecordEvent;
  readonly inventory: Pick<Inventory, "all" | "groupNames">;
  readonly assignments: AssignmentRepository;
  readonly select: (machine: Machine) => Selection;
  /** Throws what a machine with this target would show on its screen. */
  readonly check: (target: AssignedTarget) => void;
  /** How a machine of this role boots; undefined: there is no such role. */
  readonly bootOf: (role: string) => RoleBoot | undefined;
  /** The machine may have a role now that it had not, or none any more. */
  readonly onChange: (machine: Machine) => void;
}

/** Who boots what: plans, assignments and releases for host sets. */
export function createAssigning(deps: AssigningDeps) {
  const { clock, ids, record, inventory, assignments, select } = deps;

  function machinesOf(hostSet: string, within: Within = inventory): Machine[] {
    return resolveHostSet(hostSet, within.all(), within.groupNames());
  }

  function plan({ machines, target, mode, actor, within }: AssignRequest): PlanLine[] {
    refuseUnsafeUrl(target);
    deps.check(target);
    // What is assigned for one boot is used up by its end, and a wait has none.
    if (mode === "once" && target.kind === "role" && deps.bootOf(target.role) === "wait")
      throw OnceNeverUsedUp({ role: target.role });
    return machinesOf(machines, within).map((machine) => {
      const before = select(machine);
      const isExam = before.source === "exam";
      // A permanent assignment waits behind one for the next boot.
      const waits = isExam || (mode === "always" && before.source === "once");
      const after = waits
        ? { target: before.target, why: `${before.why}; then ${describeTarget(target)}` }
        : {
            target,
            why: `assigned by ${describeActor(actor)}${mode === "once" ? ", for one boot" : ""}`,
          };
      return {
        machine,
        before,
        after,
        changes:
          JSON.stringify(before.target) !== JSON.stringify(after.target) ||
          before.source === "unknown-policy",
      };
    });
  }

  /** So many names that one knows which change it was. */
  function inWords(machines: readonly Machine[]): string {
    const names = machines.map(({ name }) => name);
    return names.length <= 4
      ? names.join(", ")
      : `${names.slice(0, 3).join(", ")} and ${names.length - 3} more`;
  }
  const change = (actor: string, message: string) => ({ id: ids.id("ch"), at: clock.now(), actor, message });

  function assignment(
    subject: Assignment["subject"],
    { target, mode, actor }: Omit<AssignRequest, "machines">,
  ): Assignment {
    return { id: ids.id("as"), subject, target, mode, assignedAt: clock.now(), assignedBy: actor };
  }

  return {
    machinesOf,
    plan,

    async assign(request: AssignRequest): Promise<PlanLine[]> {
      const lines = plan(request);
      await assignments.saveAll(
        lines.map(({ machine }) => assignment({ kind: "machine", machineId: machine.id }, request)),
        change(
          request.actor,
          `${inWords(lines.map(({ machine }) => machine))} -> ${describeTarget(request.target)}${request.mode === "once" ? ", for one boot" : ""}`,
        ),
      );
      for (const { machine, before } of lines) {
        deps.onChange(machine);
        record({
          type: "assignment.set",
          machineId: machine.id,
          actor: request.actor,
          message: `${machine.name}: ${describeTarget(before.target)} -> ${describeTarget(request.target)}${request.mode === "once" ? ", for one boot" : ""}`,
          data: { before: before.target, after: request.target, mode: request.mode },
        });
      }
      return lines;
    },

    /** Takes both kinds of assignment back. @returns the machines that had one */
    async release(hostSet: string, actor: string, within?: Within): Promise<Machine[]> {
      const released = machinesOf(hostSet, within).filter((machine) => {
        const subject = { kind: "machine", machineId: machine.id } as const;
        return assignments.find(subject, "always") ?? assignments.find(subject, "once");
      });
      const before = new Map(released.map((machine) => [machine, select(machine).target]));
      await assignments.removeAll(
        released.flatMap((machine) => {
          const subject = { kind: "machine", machineId: machine.id } as const;
          return [
            { subject, mode: "always" as const },
            { subject, mode: "once" as const },
          ];
        }),
        change(actor, `${inWords(released)} released`),
      );
      for (const machine of released) {
        deps.onChange(machine);
        record({
          type: "assignment.released",
          machineId: machine.id,
          actor,
          message: `${machine.name}: released, boots ${describeTarget(select(machine).target)}`,
          data: { before: before.get(machine), after: select(machine).target },
        });
      }
      return released;
    },

    async assignGroup(group: string, target: AssignedTarget, actor: string): Promise<void> {
      if (!inventory.groupNames().has(group)) throw GroupNotFound({ group });
      refuseUnsafeUrl(target);
      deps.check(target);
      const before = assignments.find({ kind: "group", group }, "always")?.target;
      await assignments.saveAll(
        [assignment({ kind: "group", group }, { target, mode: "always", actor })],
        change(actor, `group ${group} -> ${describeTarget(target)}`),
      );
      for (const machine of inventory.all()) if (machine.group === group) deps.onChange(machine);
      record({
        type: "assignment.set",
        actor,
        message: `group ${group} -> ${describeTarget(target)}`,
        data: { group, before, after: target },
      });
    },

    async releaseGroup(group: string, actor: string): Promise<void> {
      if (!inventory.groupNames().has(group)) throw GroupNotFound({ group });
      const before = assignments.find({ kind: "group", group }, "always")?.target;
      await assignments.removeAll(
        [{ subject: { kind: "group", group }, mode: "always" }],
        change(actor, `group ${group} released`),
      );
      for (const machine of inventory.all()) if (machine.group === group) deps.onChange(machine);
      record({
        type: "assignment.released",
        actor,
        message: `group ${group}: released`,
        data: { group, before },
      });
    },
  };
}
export type Assigning = ReturnType<typeof createAssigning>;

/** iPXE loads http, https and tftp; anything that iPXE would not take as one word is refused when it is assigned. @throws InvalidRequest */
function refuseUnsafeUrl(target: AssignedTarget): void {
  if (target.kind !== "url") return;
  if (!/^(https?|tftp):\/\/[A-Za-z0-9._:/@=+,%~?&;-]+$/.test(target.url) || target.url.length > 1000)
    throw InvalidRequest({
      problem: `${JSON.stringify(target.url.slice(0, 100))} is not an http, https or tftp address that iPXE can load`,
      advice: "Write it like http://10.0.0.1/my.ipxe, without blanks, quotes, $ or #.",
    });
}
