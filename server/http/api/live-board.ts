import type { BootService } from "../../boot/boot-service.ts";
import type { BootTracker } from "../../boot/tracker.ts";
import type { ClusterService } from "../../cluster/cluster-service.ts";
import { describeTarget } from "../../domain/assignment.ts";
import type { Boot } from "../../domain/boot.ts";
import type { ClusterNode } from "../../domain/cluster-node.ts";
import type { Exam } from "../../domain/exam.ts";
import type { Machine } from "../../domain/machine.ts";
import { type Operation, verdictOf } from "../../domain/operation.ts";
import type { Exams } from "../../inventory/exams.ts";
import type { Inventory } from "../../inventory/inventory.ts";
import type { Operations } from "../../operations/operations.ts";
import type { AssignmentRepository } from "../../store/assignments.ts";
import type { Group } from "../../store/groups.ts";
import type { Downloads } from "../downloads.ts";
import type { GroupLive, MachineLive, OperationLive, ProgressLive } from "./live-messages.ts";
import { isoTime, nodeInBoot, runsOf } from "./views.ts";

export interface LiveBoardDeps {
  readonly inventory: Pick<Inventory, "all" | "groups">;
  readonly boots: Pick<BootService, "select" | "addressOf">;
  readonly tracker: Pick<BootTracker, "current" | "progress">;
  /** Undefined: no cluster is configured. */
  readonly cluster: Pick<ClusterService, "node"> | undefined;
  readonly exams: Pick<Exams, "list">;
  readonly assignments: Pick<AssignmentRepository, "find">;
  readonly operations: Pick<Operations, "running" | "get">;
  readonly downloads: Pick<Downloads, "of">;
}

/** Something that is told as a whole, written once for all. */
export interface Told {
  readonly key: string;
  /** The room that it is in; a group is in itself. */
  readonly room: string | undefined;
  readonly json: string;
}
/** One thing between two looks; undefined: it was not there, or is gone. */
export interface Change {
  readonly before: Told | undefined;
  readonly after: Told | undefined;
}
export interface ToldOperation extends Told {
  readonly operation: Operation;
}

/** Progress alone is told at every so many looks; its beginning and end at once. */
const looksPerProgress = 4;

/** Facts that were the same objects at the last look make the same entry: values of the domain are never changed in place. */
function isSame(left: readonly unknown[], right: readonly unknown[]): boolean {
  return left.every((value, index) => value === right[index]);
}

/** Things by their key, each made anew only where one of its facts is another than before. */
function createShelf() {
  const known = new Map<string, Told & { facts: readonly unknown[]; look: number }>();
  let look = 0;
  let changes: Change[] = [];
  return {
    values: (): Iterable<Told> => known.values(),
    begin(): void {
      look++;
      changes = [];
    },
    put(key: string, room: string | undefined, facts: readonly unknown[], make: () => object): void {
      const before = known.get(key);
      if (before && isSame(before.facts, facts)) return void (before.look = look);
      const json = JSON.stringify(make());
      const after = { key, room, json, facts, look };
      known.set(key, after);
      if (before?.json !== json) changes.push({ before, after });
    },
    /** What has changed since `begin`; what was not put since then is gone. */
    end(count: number): readonly Change[] {
      if (known.size > count)
        for (const before of known.values())
          if (before.look !== look) {
            known.delete(before.key);
            changes.push({ before, after: undefined });
          }
      return changes;
    },
  };
}

/**
 * All that a dashboard shows of the lab, looked at again and again: each look finds what is other than at the last one, by the facts
 * themselves, so that nothing that changes them has to say so.
 */
export function createLiveBoard(deps: LiveBoardDeps) {
  const { inventory, boots, tracker, cluster, exams, assignments, operations } = deps;
  const machines = createShelf();
  const groups = createShelf();
  let running = new Map<string, ToldOperation>();
  const progress = new Map<string, ProgressLive>();
  let looks = 0;

  /** @returns the same object as at the last look where nothing is to be told of it */
  function progressOf(machineId: string): ProgressLive | null {
    const before = progress.get(machineId);
    const now = deps.downloads.of(machineId) ?? reported(machineId);
    if (!now) {
      progress.delete(machineId);
      return null;
    }
    const isDue = looks % looksPerProgress === 0 && before?.bytes !== now.bytes;
    if (before && before.file === now.file && before.total === now.total && !isDue) return before;
    progress.set(machineId, now);
    return now;
  }
  function reported(machineId: string): ProgressLive | undefined {
    const own = tracker.progress(machineId);
    if (!own || own.totalBytes === 0 || own.doneBytes >= own.totalBytes) return undefined;
    return { file: own.step, bytes: own.doneBytes, total: own.totalBytes };
  }

  function lookAtMachines(exam: ReadonlyMap<string, Exam>): readonly Change[] {
    const all = inventory.all();
    machines.begin();
    for (const machine of all) {
      const { id, group } = machine;
      const subject = { kind: "machine", machineId: id } as const;
      const boot = tracker.current(id);
      const node = cluster?.node(id);
      const address = boots.addressOf(machine);
      const download = progressOf(id);
      const facts = [
        machine,
        boot,
        node,
        address,
        download,
        assignments.find(subject, "once"),
        assignments.find(subject, "always"),
        group === undefined ? undefined : assignments.find({ kind: "group", group }, "always"),
        group === undefined ? undefined : exam.get(group),
        exam.size > 0,
      ];
      machines.put(id, group, facts, () => machineLive(machine, { boot, node, address, download }));
    }
    const changes = machines.end(all.length);
    for (const { before, after } of changes) if (before && !after) progress.delete(before.key);
    return changes;
  }

  function machineLive(
    machine: Machine,
    now: {
      readonly boot: Boot | undefined;
      readonly node: ClusterNode | undefined;
      readonly address: string | undefined;
      readonly download: ProgressLive | null;
    },
  ): MachineLive {
    const { boot } = now;
    const { target, source } = boots.select(machine);
    const node = nodeInBoot(now.node, boot);
    return {
      id: machine.id,
      name: machine.name,
      group: machine.group ?? null,
      seat: machine.seat ?? null,
      phase: machine.phase,
      role: describeTarget(target),
      roleSource: source,
      runs: runsOf(boot),
      address: machine.address ?? null,
      currentAddress: now.address ?? null,
      lastSeenAt: isoTime(machine.lastSeenAt),
      boot: boot
        ? {
            id: boot.id,
            startedAt: isoTime(boot.startedAt),
            outcome: boot.outcome,
            lastStep: boot.steps.at(-1)?.step ?? null,
          }
        : null,
      cluster: node?.state ?? null,
      problem: boot?.verdict ?? node?.problem ?? null,
      progress: now.download,
    };
  }

  function lookAtGroups(exam: ReadonlyMap<string, Exam>): readonly Change[] {
    const all = inventory.groups();
    groups.begin();
    for (const group of all) {
      const { name } = group;
      const assignment = assignments.find({ kind: "group", group: name }, "always");
      const role = assignment ? describeTarget(assignment.target) : null;
      groups.put(name, name, [group, assignment, exam.get(name)], () =>
        groupLive(group, role, exam.get(name)),
      );
    }
    return groups.end(all.length);
  }

  /** @returns those under way, and those that have ended since the last look */
  function lookAtOperations(): ReadonlyMap<string, ToldOperation> {
    const before = running;
    running = new Map();
    const told = new Map<string, ToldOperation>();
    const tell = (operation: Operation) => {
      const known = before.get(operation.id);
      const same = known?.operation === operation ? known : undefined;
      const one = same ?? {
        key: operation.id,
        room: undefined,
        json: JSON.stringify(operationLive(operation)),
        operation,
      };
      told.set(operation.id, one);
      return one;
    };
    for (const operation of operations.running()) running.set(operation.id, tell(operation));
    for (const id of before.keys()) {
      if (running.has(id)) continue;
      const ended = endOf(id);
      if (ended) tell(ended);
    }
    return told;
  }
  /** Undefined: it is gone, or can't be read. */
  function endOf(id: string): Operation | undefined {
    try {
      return operations.get(id);
    } catch {
      return undefined;
    }
  }

  return {
    /** What has changed since the last look. */
    look() {
      const exam = new Map(exams.list().map((one) => [one.room, one]));
      const changes = {
        machines: lookAtMachines(exam),
        groups: lookAtGroups(exam),
        operations: lookAtOperations(),
      };
      looks++;
      return changes;
    },
    /** As of the last look. */
    machines: machines.values,
    groups: groups.values,
    operations: (): ReadonlyMap<string, ToldOperation> => running,
  };
}
export type LiveBoard = ReturnType<typeof createLiveBoard>;

function groupLive(
  { name, description, plan }: Group,
  role: string | null,
  exam: Exam | undefined,
): GroupLive {
  return {
    name,
    description,
    role,
    exam: exam
      ? {
          role: describeTarget(exam.target),
          startedBy: exam.startedBy,
          startedAt: isoTime(exam.startedAt),
          endsAt: isoTime(exam.endsAt),
        }
      : null,
    plan: plan ?? null,
  };
}

function operationLive(operation: Operation): OperationLive {
  const { id, order, actor, state, startedAt, endedAt, machines } = operation;
  const verdicts = machines.map((machine) => verdictOf(operation, machine));
  const isThrough = (verdict: string) => verdict !== "waiting" && verdict !== "running";
  return {
    id,
    kind: order.kind,
    action: order.action ?? null,
    target: order.target ?? null,
    actor,
    state,
    startedAt: isoTime(startedAt),
    endedAt: isoTime(endedAt),
    done: verdicts.filter(isThrough).length,
    failed: verdicts.filter((verdict) => verdict === "failed").length,
    total: machines.length,
  };
}
