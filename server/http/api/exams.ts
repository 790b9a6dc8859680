import type { FastifyInstance } from "fastify";
import { type Static, Type } from "typebox";
import { describeTarget } from "../../domain/assignment.ts";
import type { Clock } from "../../domain/capabilities.ts";
import { GroupNotFound, InvalidRequest } from "../../domain/error-catalogue.ts";
import type { Exam } from "../../domain/exam.ts";
import type { Exams, StartedExam } from "../../inventory/exams.ts";
import { operators, readers } from "../authorization.ts";
import type { Reach } from "../reach.ts";
import { listQuery, page } from "./paging.ts";
import { isoTime, targetView } from "./views.ts";

export interface ExamApiDeps {
  readonly clock: Clock;
  readonly exams: Exams;
}

const examBody = Type.Object(
  {
    room: Type.String({ minLength: 1, maxLength: 63, description: "group" }),
    role: Type.String({ minLength: 1, maxLength: 40 }),
    params: Type.Optional(Type.Record(Type.String(), Type.Unknown())),
    until: Type.Optional(Type.String({ maxLength: 40, description: "time as in ISO 8601" })),
    forSeconds: Type.Optional(Type.Integer({ minimum: 60, maximum: 604_800 })),
    dryRun: Type.Boolean({ default: false, description: "only tell what it would be, and what it stops" }),
  },
  { additionalProperties: false },
);

function examView(exam: Exam) {
  return {
    room: exam.room,
    role: describeTarget(exam.target),
    target: targetView(exam.target),
    startedAt: isoTime(exam.startedAt),
    startedBy: exam.startedBy,
    endsAt: isoTime(exam.endsAt),
  };
}

/** With the operations that it stops at their next step. */
const startedView = ({ exam, stops }: StartedExam) => ({
  ...examView(exam),
  stops: stops.map(({ operation: { id, order }, machines }) => ({
    operation: id,
    kind: order.kind,
    action: order.action ?? null,
    target: order.target ?? null,
    machines,
  })),
});

/** One that is none of the caller's is as if it were not there. @throws GroupNotFound */
function refuseUnseen(reach: Reach, room: string): void {
  if (!reach.inventory.groupNames().has(room)) throw GroupNotFound({ group: room });
}

export function registerExamApi(app: FastifyInstance, { clock, exams }: ExamApiDeps): void {
  const tags = ["exams"];

  app.get<{ Querystring: Static<typeof listQuery> }>(
    "/exams",
    {
      config: { scopes: readers, rooms: "limited" },
      schema: { summary: "Exams under way", tags, querystring: listQuery },
    },
    (request) => {
      const seen = exams.list().filter(({ room }) => request.reach.hasRoom(room));
      const { items, next } = page(seen, ({ room }) => room, request.query);
      return { items: items.map(examView), next };
    },
  );
  app.post<{ Body: Static<typeof examBody> }>(
    "/exams",
    {
      config: { scopes: operators, rooms: "limited", audit: "own" },
      schema: { summary: "Lock a room to one role", tags, body: examBody },
    },
    async (request, reply) => {
      const { room, role, params = {}, until, forSeconds, dryRun } = request.body;
      refuseUnseen(request.reach, room);
      const at = until === undefined ? undefined : Date.parse(until);
      if ((at !== undefined && Number.isNaN(at)) || (until !== undefined && forSeconds !== undefined))
        throw InvalidRequest({
          problem: "until is a time as in ISO 8601, and forSeconds stands in its place",
          advice: "Give one of them, e.g. 2026-01-31T12:00:00Z; without both it goes on until it is ended.",
        });
      const endsAt = forSeconds === undefined ? at : clock.now() + forSeconds * 1000;
      const target = { kind: "role", role, params } as const;
      const asked = { target, endsAt };
      if (dryRun) return reply.send({ dryRun, ...startedView(exams.plan(room, asked, request.asker)) });
      return reply.code(201).send(startedView(await exams.start(room, asked, request.asker)));
    },
  );
  app.delete<{ Params: { room: string } }>(
    "/exams/:room",
    {
      config: { scopes: operators, rooms: "limited", audit: "own" },
      schema: { summary: "End the exam of a room", tags },
    },
    async (request, reply) => {
      const { room } = request.params;
      refuseUnseen(request.reach, room);
      await exams.end(room, { actor: request.actor, isAdmin: request.isAdmin });
      return reply.code(204).send();
    },
  );
}
