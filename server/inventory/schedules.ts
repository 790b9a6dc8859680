import { describeTarget } from "../domain/assignment.ts";
import type { Clock, DurationMs, EpochMs, Log } from "../domain/capabilities.ts";
import { ScheduleNotFound } from "../domain/error-catalogue.ts";
import { RollcallError } from "../domain/errors.ts";
import type { RecordEvent } from "../domain/event.ts";
import type { Machine } from "../domain/machine.ts";
import type { Operation, OperationOrder } from "../domain/operation.ts";
import type { PowerAction } from "../domain/power.ts";
import {
  type Due,
  dueNow,
  nextTimes,
  offsetsOf,
  type Schedule,
  type SchedulePower,
  seenTooFar,
} from "../domain/schedule.ts";
import type { ScheduleRepository } from "../store/schedules.ts";
import type { Assigning, AssignRequest } from "./assigning.ts";
import type { Exams } from "./exams.ts";
import type { Inventory } from "./inventory.ts";
import { withinRooms } from "./within-rooms.ts";

/** Who switches machines, and waits until they are ready. */
export interface Switching {
  /** @throws OperationUnderWay */
  readonly findSame: (order: OperationOrder, machines: readonly Machine[]) => Operation | undefined;
  readonly begin: (
    order: OperationOrder,
    machines: readonly Machine[],
    actor: string,
  ) => Promise<Pick<Operation, "id">>;
}

export interface SchedulingDeps {
  readonly clock: Clock;
  readonly log: Log;
  readonly record: RecordEvent;
  readonly schedules: ScheduleRepository;
  readonly assigning: Pick<Assigning, "plan" | "assign" | "machinesOf">;
  readonly exams: Pick<Exams, "refuse">;
  readonly inventory: Pick<Inventory, "all" | "groupNames">;
  readonly switching: () => Switching;
  /** IANA name, e.g. Europe/Moscow. */
  readonly timeZone: string;
}

export type NewSchedule = Omit<Schedule, "createdAt" | "seenUntil" | "settled">;

type SchedulingEvent = "schedule.fired" | "schedule.missed" | "schedule.failed";

/** The clock is looked at this often at least: it may be put forward, and a machine may sleep, ms. */
const lookEveryMs = 30_000;
/** What comes later than this after its time assigns and switches nothing: a lesson may have begun, ms. */
const switchWithinMs = 5 * 60_000;
const actions: Readonly<Record<SchedulePower, PowerAction | undefined>> = {
  none: undefined,
  wake: "on",
  cycle: "cycle",
};
/** Next times that are told. */
const toldTimes = 3;

/** Who is limited to a room is told of its own schedules in the event log. */
const groupOf = ({ rooms }: Pick<Schedule, "rooms">) => (rooms?.length === 1 ? { group: rooms[0] } : {});

/** Assigns at the times that people named. What it does follows from the clock and the table alone, whenever it looks. */
export function createScheduling(deps: SchedulingDeps) {
  const { clock, log, record, schedules, assigning, exams, timeZone, inventory } = deps;
  const offsetAt = offsetsOf(timeZone);
  const requestOf = ({ name, machines, target, mode, rooms }: NewSchedule): AssignRequest => ({
    machines,
    target,
    mode,
    actor: `schedule:${name}`,
    ...(rooms ? { within: withinRooms(inventory, rooms) } : {}),
  });

  /** Does all that it assigns now lie in these rooms, and its host set name nothing else? */
  function staysWithin(schedule: Schedule, rooms: readonly string[]): boolean {
    const { machines, within } = requestOf(schedule);
    const own = schedule.rooms?.filter((room) => rooms.includes(room)) ?? rooms;
    if (own.length === schedule.rooms?.length) return true;
    try {
      const inside = assigning.machinesOf(machines, withinRooms(inventory, own)).length;
      return inside > 0 && inside === assigning.machinesOf(machines, within).length;
    } catch (error) {
      if (error instanceof RollcallError) return false;
      throw error;
    }
  }

  /** Why it would fail now; undefined: nothing speaks against it. */
  function problemOf(schedule: Schedule): string | undefined {
    try {
      assigning.plan(requestOf(schedule));
      return undefined;
    } catch (error) {
      if (error instanceof RollcallError) return error.message;
      throw error;
    }
  }

  function tell(schedule: Schedule, type: SchedulingEvent, rest: string, data: object): void {
    record({
      type,
      level: type === "schedule.fired" ? "info" : "warning",
      actor: `schedule:${schedule.name}`,
      message: `schedule ${schedule.name} (${schedule.machines} -> ${describeTarget(schedule.target)}) ${rest}`,
      data: { name: schedule.name, ...groupOf(schedule), ...data },
    });
  }

  /** What is ordered of the machines' power; undefined: nothing. */
  function orderOf({ power, target }: Schedule, lateMs: DurationMs): OperationOrder | undefined {
    const action = lateMs <= switchWithinMs ? actions[power] : undefined;
    return action && { kind: "assign", action, target: describeTarget(target) };
  }

  /** @throws ExamUnderWay, OperationUnderWay, and what an assignment is refused for */
  async function assign(request: AssignRequest, order: OperationOrder | undefined): Promise<Machine[]> {
    const machines = assigning.machinesOf(request.machines, request.within);
    exams.refuse(machines, { actor: request.actor, overridesExam: false });
    // Before anything is written: two may not switch the same machine.
    if (order) deps.switching().findSame(order, machines);
    return (await assigning.assign(request)).map(({ machine }) => machine);
  }

  async function settle(schedule: Schedule, due: Due): Promise<void> {
    const { kind, at } = due;
    const time = new Date(at).toISOString();
    if (kind === "missed") {
      await schedules.see(schedule.name, at, due);
      return tell(schedule, "schedule.missed", `was missed at ${time}: the server was off`, { at: time });
    }
    const request = requestOf(schedule);
    const lateMs = clock.now() - at;
    const order = orderOf(schedule, lateMs);
    // Both are asked for in one turn, so that they stand in one commit: what was done is not done again after a crash.
    const assigned = assign(request, order);
    const seen = schedules.see(schedule.name, at, due);
    const [result] = await Promise.allSettled([assigned, seen]);
    try {
      if (result.status === "rejected") throw result.reason;
      const machines = result.value;
      // An exam may have begun while the disk was waited for.
      if (order) exams.refuse(machines, { actor: request.actor, overridesExam: false });
      const begun = order && (await deps.switching().begin(order, machines, request.actor));
      const switched = begun ? `, and began ${begun.id}` : "";
      const late = !order && schedule.power !== "none" ? ", and switched none: it is too late for that" : "";
      return tell(schedule, "schedule.fired", `assigned ${machines.length} machines${switched}${late}`, {
        at: time,
        ...(begun ? { operation: begun.id } : {}),
      });
    } catch (error) {
      await seen;
      tell(schedule, "schedule.failed", `could not assign: ${(error as Error).message}`, { at: time });
    }
  }

  /** The clock at the last look of this process. */
  let lookedAt: EpochMs | undefined;
  /**
   * A server without a battery starts in the past and jumps to the present: what it jumps over was done already, before however many
   * restarts. What a clock that once ran ahead comes to step by step was done too early, and is just now.
   */
  function wasDone({ settled }: Schedule, due: Due, before: EpochMs | undefined, now: EpochMs): boolean {
    const done = settled.find(({ local }) => local === due.local);
    if (!done) return false;
    const isStep = (from: EpochMs, to: EpochMs) => from <= to && to - from <= 2 * lookEveryMs;
    const isWalkedTo = before !== undefined && isStep(before, due.at) && isStep(due.at, now);
    // Another moment of the same day: the time zone was changed since.
    return done.at !== due.at || !isWalkedTo;
  }

  /** Sees to all that is due; one that fails stops no other. */
  async function look(): Promise<void> {
    const now = clock.now();
    const before = lookedAt;
    lookedAt = now;
    for (const schedule of schedules.all()) {
      try {
        if (seenTooFar(schedule, now)) await schedules.see(schedule.name, now);
        const due = dueNow(schedule, now, offsetAt);
        if (due && wasDone(schedule, due, before, now)) await schedules.see(schedule.name, due.at);
        else if (due) await settle(schedule, due);
      } catch (error) {
        log.warn({ err: error, schedule: schedule.name }, "failed to see to a schedule");
      }
    }
  }

  let cancel = () => {};
  let isStopped = false;
  let looking: Promise<void> = Promise.resolve();
  function lookAgain(): void {
    if (isStopped) return;
    cancel();
    const now = clock.now();
    const next = schedules.all().flatMap((one) => nextTimes(one, now, 1, offsetAt));
    cancel = clock.after(Math.max(1, Math.min(lookEveryMs, ...next.map((at) => at - now))), lookSoon);
  }
  function lookSoon(): void {
    looking = looking.then(look).then(lookAgain);
  }

  return {
    timeZone,
    problemOf,
    staysWithin,
    all: schedules.all,
    nextTimes: (schedule: Schedule): EpochMs[] => nextTimes(schedule, clock.now(), toldTimes, offsetAt),
    /** @throws ScheduleNotFound */
    get(name: string): Schedule {
      const schedule = schedules.find(name);
      if (!schedule) throw ScheduleNotFound({ name });
      return schedule;
    },
    /** @throws ScheduleNameTaken, and what an assignment would be refused for */
    async add(asked: NewSchedule): Promise<Schedule> {
      assigning.plan(requestOf(asked));
      const now = clock.now();
      const schedule: Schedule = { ...asked, createdAt: now, seenUntil: now, settled: [] };
      await schedules.add(schedule);
      record({
        type: "schedule.added",
        actor: asked.createdBy,
        message: `schedule ${asked.name} added: ${asked.machines} -> ${describeTarget(asked.target)}`,
        data: { name: asked.name, ...groupOf(asked) },
      });
      lookAgain();
      return schedule;
    },
    /** @throws ScheduleNotFound */
    async remove(name: string, actor: string): Promise<void> {
      const before = schedules.find(name);
      if (!before || !(await schedules.remove(name))) throw ScheduleNotFound({ name });
      const data = { name, ...groupOf(before) };
      record({ type: "schedule.removed", actor, message: `schedule ${name} removed`, data });
      lookAgain();
    },
    start: lookSoon,
    /** When all that is under way is done. */
    settled: () => looking,
    async stop(): Promise<void> {
      isStopped = true;
      cancel();
      await looking;
    },
  };
}
export type Scheduling = ReturnType<typeof createScheduling>;
