import type { FastifyInstance, FastifyRequest } from "fastify";
import { type Static, Type } from "typebox";
import { describeTarget } from "../../domain/assignment.ts";
import { ScheduleNotFound } from "../../domain/error-catalogue.ts";
import {
  type Schedule,
  type SchedulePower,
  schedulePowers,
  type Weekday,
  weekdays,
} from "../../domain/schedule.ts";
import type { Scheduling } from "../../inventory/schedules.ts";
import { operators, readers } from "../authorization.ts";
import type { Reach } from "../reach.ts";
import { assignmentMode, targetFields, targetOf } from "./assignments.ts";
import { listQuery, page } from "./paging.ts";
import { isoTime } from "./views.ts";

export interface ScheduleApiDeps {
  readonly scheduling: Scheduling;
}

const scheduleBody = Type.Object(
  {
    name: Type.Optional(Type.String({ pattern: "^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$" })),
    machines: Type.String({ minLength: 1, maxLength: 4000, description: "host set, resolved each time" }),
    ...targetFields,
    mode: assignmentMode,
    power: Type.Unsafe<SchedulePower>(
      Type.Union(
        schedulePowers.map((power) => Type.Literal(power)),
        { default: "none" },
      ),
    ),
    at: Type.String({
      pattern: "^([01][0-9]|2[0-3]):[0-5][0-9]$",
      description: "time of day in the time zone of the config (`timezone`), e.g. 12:00",
    }),
    days: Type.Array(Type.Unsafe<Weekday>(Type.Union(weekdays.map((day) => Type.Literal(day)))), {
      minItems: 1,
      maxItems: 7,
      uniqueItems: true,
      default: [...weekdays],
    }),
  },
  { additionalProperties: false },
);

/** `lab225-desktop`, of letters that a name may have. */
function plainNameOf(machines: string, target: string): string {
  const plain = `${machines}-${target}`.replaceAll(/[^A-Za-z0-9._]+/g, "-").replaceAll(/^[-._]+|-+$/g, "");
  return plain.slice(0, 56) || "schedule";
}

type NamedRequest = Pick<FastifyRequest, "reach"> & { readonly params: { name: string } };

/** Assignments at a time of day. */
export function registerScheduleApi(app: FastifyInstance, { scheduling }: ScheduleApiDeps): void {
  const view = (schedule: Schedule) => ({
    name: schedule.name,
    machines: schedule.machines,
    target: describeTarget(schedule.target),
    mode: schedule.mode,
    power: schedule.power,
    timezone: scheduling.timeZone,
    at: new Date(schedule.atMinute * 60_000).toISOString().slice(11, 16),
    days: schedule.days,
    rooms: schedule.rooms ?? null,
    createdAt: isoTime(schedule.createdAt),
    createdBy: schedule.createdBy,
    next: scheduling.nextTimes(schedule).map((at) => isoTime(at)),
    problem: scheduling.problemOf(schedule) ?? null,
  });
  const tags = ["schedules"];
  const isSeen = (schedule: Schedule, { rooms }: Reach) =>
    rooms === undefined || scheduling.staysWithin(schedule, rooms);
  /** One that goes beyond the caller's rooms is as if it were not there. @throws ScheduleNotFound */
  function seenSchedule({ params: { name }, reach }: NamedRequest): Schedule {
    const schedule = scheduling.get(name);
    if (!isSeen(schedule, reach)) throw ScheduleNotFound({ name });
    return schedule;
  }

  app.get<{ Querystring: Static<typeof listQuery> }>(
    "/schedules",
    {
      config: { scopes: readers, rooms: "limited" },
      schema: { summary: "All schedules", tags, querystring: listQuery },
    },
    (request) => {
      const seen = scheduling.all().filter((one) => isSeen(one, request.reach));
      const { items, next } = page(seen, ({ name }) => name, request.query);
      return { items: items.map(view), next };
    },
  );
  app.get<{ Params: { name: string } }>(
    "/schedules/:name",
    {
      config: { scopes: readers, rooms: "limited" },
      schema: { summary: "One schedule, with its next times", tags },
    },
    (request) => view(seenSchedule(request)),
  );
  app.post<{ Body: Static<typeof scheduleBody> }>(
    "/schedules",
    {
      config: { scopes: operators, rooms: "limited", audit: "own" },
      schema: { summary: "Assign at a time of day, on some days of the week", tags, body: scheduleBody },
    },
    async (request, reply) => {
      const { machines, mode, power, at, days, name } = request.body;
      const target = targetOf(request.body);
      const taken = new Set(scheduling.all().map((one) => one.name));
      const base = plainNameOf(machines, target.kind === "role" ? target.role : "script");
      let free = base;
      for (let number = 2; taken.has(free); number++) free = `${base}-${number}`;
      const [hours = 0, minutes = 0] = at.split(":").map(Number);
      const schedule = await scheduling.add({
        name: name ?? free,
        machines,
        target,
        mode,
        power,
        atMinute: hours * 60 + minutes,
        days: weekdays.filter((day) => days.includes(day)),
        rooms: request.reach.rooms,
        createdBy: request.actor,
      });
      return reply.code(201).send(view(schedule));
    },
  );
  app.delete<{ Params: { name: string } }>(
    "/schedules/:name",
    {
      config: { scopes: operators, rooms: "limited", audit: "own" },
      schema: { summary: "Remove a schedule", tags },
    },
    async (request, reply) => {
      await scheduling.remove(seenSchedule(request).name, request.actor);
      return reply.code(204).send();
    },
  );
}
