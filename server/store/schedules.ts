import type { Database } from "better-sqlite3";
import type { AssignedTarget, AssignmentMode } from "../domain/assignment.ts";
import type { EpochMs } from "../domain/capabilities.ts";
import { ScheduleNameTaken } from "../domain/error-catalogue.ts";
import {
  keptOccurrences,
  type Occurrence,
  type Schedule,
  type SchedulePower,
  weekdays,
} from "../domain/schedule.ts";
import type { CommitQueue } from "./commit-queue.ts";

interface Row {
  name: string;
  machines: string;
  target: string;
  mode: AssignmentMode;
  power: SchedulePower;
  at_minute: number;
  days: number;
  rooms: string | null;
  created_at_ms: number;
  created_by: string;
  seen_until_ms: number;
  settled: string;
}

const fromRow = (row: Row): Schedule => ({
  name: row.name,
  machines: row.machines,
  target: JSON.parse(row.target) as AssignedTarget,
  mode: row.mode,
  power: row.power,
  atMinute: row.at_minute,
  days: weekdays.filter((_, bit) => (row.days & (1 << bit)) !== 0),
  rooms: row.rooms === null ? undefined : (JSON.parse(row.rooms) as string[]),
  createdAt: row.created_at_ms,
  createdBy: row.created_by,
  seenUntil: row.seen_until_ms,
  settled: JSON.parse(row.settled) as Occurrence[],
});

/** Schedules are few and in memory. */
export function createScheduleRepository(db: Database, queue: CommitQueue) {
  const schedules = new Map<string, Schedule>();
  for (const row of db.prepare("SELECT * FROM schedules ORDER BY name").all() as Row[])
    schedules.set(row.name, fromRow(row));
  const insert = db.prepare(
    `INSERT INTO schedules (name, machines, target, mode, power, at_minute, days, rooms, created_at_ms, created_by, seen_until_ms, settled)
     VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
  );
  const drop = db.prepare("DELETE FROM schedules WHERE name = ?");
  const seen = db.prepare("UPDATE schedules SET seen_until_ms = ?, settled = ? WHERE name = ?");

  return {
    all: (): Schedule[] => [...schedules.values()],
    find: (name: string): Schedule | undefined => schedules.get(name),
    /** @throws ScheduleNameTaken */
    add: (schedule: Schedule): Promise<void> =>
      queue.run(({ onRollback }) => {
        const { name } = schedule;
        if (schedules.has(name)) throw ScheduleNameTaken({ name });
        insert.run(
          name,
          schedule.machines,
          JSON.stringify(schedule.target),
          schedule.mode,
          schedule.power,
          schedule.atMinute,
          schedule.days.reduce((bits, day) => bits | (1 << weekdays.indexOf(day)), 0),
          schedule.rooms === undefined ? null : JSON.stringify(schedule.rooms),
          schedule.createdAt,
          schedule.createdBy,
          schedule.seenUntil,
          JSON.stringify(schedule.settled),
        );
        schedules.set(name, schedule);
        onRollback(() => schedules.delete(name));
      }),
    /** @returns false when there is none */
    remove: (name: string): Promise<boolean> =>
      queue.run(({ onRollback }) => {
        const before = schedules.get(name);
        if (!before) return false;
        drop.run(name);
        schedules.delete(name);
        onRollback(() => schedules.set(name, before));
        return true;
      }),
    /** Times of it up to `until` have been seen to, and this one among them. */
    see: (name: string, until: EpochMs, occurrence?: Occurrence): Promise<void> =>
      queue.run(({ onRollback }) => {
        const before = schedules.get(name);
        if (!before) return;
        const settled = occurrence
          ? [...before.settled.filter(({ local }) => local !== occurrence.local), occurrence]
          : before.settled;
        const after = { ...before, seenUntil: until, settled: settled.slice(-keptOccurrences) };
        seen.run(until, JSON.stringify(after.settled), name);
        schedules.set(name, after);
        onRollback(() => schedules.set(name, before));
      }),
  };
}
export type ScheduleRepository = ReturnType<typeof createScheduleRepository>;
