import type { FastifyInstance, FastifyRequest } from "fastify";
import { type Static, Type } from "typebox";
import type { BootService } from "../../boot/boot-service.ts";
import { describeTarget } from "../../domain/assignment.ts";
import { GroupNotFound } from "../../domain/error-catalogue.ts";
import { type Machine, naturalKey } from "../../domain/machine.ts";
import { placeOf, type RoomPlan } from "../../domain/room.ts";
import type { Exams } from "../../inventory/exams.ts";
import type { Inventory } from "../../inventory/inventory.ts";
import type { AssignmentRepository } from "../../store/assignments.ts";
import { operators, readers } from "../authorization.ts";
import { preferenceFields } from "./machines.ts";
import { listQuery, page } from "./paging.ts";
import { isoTime } from "./views.ts";

export interface GroupApiDeps {
  readonly inventory: Inventory;
  readonly exams: Exams;
  readonly boots: BootService;
  readonly assignments: Pick<AssignmentRepository, "find">;
}

const groupBody = Type.Object(
  { name: Type.String({ maxLength: 63 }), description: Type.Optional(Type.String({ maxLength: 200 })) },
  { additionalProperties: false },
);
const planBody = Type.Object(
  {
    seats: Type.Array(
      Type.Array(Type.Union([Type.String({ maxLength: 40 }), Type.Null()]), { maxItems: 100 }),
      { maxItems: 100, description: "rows from the front, each from left to right; null where nobody sits" },
    ),
  },
  { additionalProperties: false },
);
const groupEdit = Type.Object(
  {
    description: Type.Optional(Type.String({ maxLength: 200 })),
    plan: Type.Optional(Type.Union([planBody, Type.Null()], { description: "where its seats stand" })),
    ...preferenceFields,
  },
  { additionalProperties: false },
);

/** The room as a room: each seat with its place, counted from 1, and who sits there. */
function planView(plan: RoomPlan, members: readonly Machine[], roleOf: (machine: Machine) => string) {
  // A1 is a1, as the store has it: who sat down before the plan was drawn may be written otherwise.
  const bySeat = Map.groupBy(members, ({ seat }) => seat?.toLowerCase());
  const seats = plan.seats.flatMap((row, rowIndex) =>
    row.flatMap((seat, columnIndex) => {
      if (seat === null) return [];
      const machine = bySeat.get(seat.toLowerCase())?.[0];
      return {
        seat,
        row: rowIndex + 1,
        column: columnIndex + 1,
        machine: machine ? { name: machine.name, phase: machine.phase, role: roleOf(machine) } : null,
      };
    }),
  );
  const seated = new Set(seats.map(({ machine }) => machine?.name));
  return {
    rows: plan.seats.length,
    columns: Math.max(...plan.seats.map((row) => row.length)),
    seats,
    /** Machines of the room that have no seat on the plan. */
    elsewhere: members
      .filter(({ name }) => !seated.has(name))
      .map(({ name, seat }) => ({
        name,
        seat: seat ?? null,
        isOnPlan: seat !== undefined && placeOf(plan, seat) !== undefined,
      })),
  };
}

/** Seats that more than one machine has: from before a seat held one, until somebody gives one of them another. */
const sharedSeats = (members: readonly Machine[]) =>
  [...Map.groupBy(members, ({ seat }) => seat?.toLowerCase())].flatMap(([key, sitting]) =>
    key === undefined || sitting.length < 2
      ? []
      : [{ seat: sitting[0]?.seat ?? key, machines: sitting.map(({ name }) => name) }],
  );

type GroupRequest = Pick<FastifyRequest, "reach"> & { readonly params: { group: string } };

export function registerGroupApi(
  app: FastifyInstance,
  { inventory, boots, assignments, exams }: GroupApiDeps,
): void {
  const roleOf = (machine: Machine) => describeTarget(boots.select(machine).target);
  const groupView = (name: string) => {
    const group = inventory.groups().find((group) => group.name === name);
    if (!group) throw GroupNotFound({ group: name });
    const assignment = assignments.find({ kind: "group", group: name }, "always");
    const members = inventory
      .all()
      .filter((machine) => machine.group === name)
      .map((machine) => ({ machine, key: naturalKey(machine.name) }))
      .sort((left, right) => (left.key < right.key ? -1 : 1))
      .map(({ machine }) => machine);
    return {
      name,
      description: group.description,
      localBoot: group.localBoot ?? null,
      driver: group.driver ?? null,
      ramCheck: group.ramCheck ?? null,
      createdAt: isoTime(group.createdAt),
      role: assignment ? describeTarget(assignment.target) : null,
      machines: members.map((machine) => machine.name),
      sharedSeats: sharedSeats(members),
      plan: group.plan ? planView(group.plan, members, roleOf) : null,
    };
  };
  /** One that is none of the caller's is as if it were not there. */
  const seenGroup = ({ reach, params }: GroupRequest) => {
    if (!reach.inventory.groupNames().has(params.group)) throw GroupNotFound({ group: params.group });
    return groupView(params.group);
  };

  app.get<{ Querystring: Static<typeof listQuery> }>(
    "/groups",
    {
      config: { scopes: readers, rooms: "limited" },
      schema: { summary: "All groups", tags: ["groups"], querystring: listQuery },
    },
    (request) => {
      const { items, next } = page(request.reach.inventory.groups(), (group) => group.name, request.query);
      return { items: items.map((group) => groupView(group.name)), next };
    },
  );
  app.get<{ Params: { group: string } }>(
    "/groups/:group",
    {
      config: { scopes: readers, rooms: "limited" },
      schema: { summary: "One group, with the plan of the room", tags: ["groups"] },
    },
    (request) => seenGroup(request),
  );
  app.post<{ Body: Static<typeof groupBody> }>(
    "/groups",
    {
      config: { scopes: operators, audit: "own" },
      schema: { summary: "Add a group", tags: ["groups"], body: groupBody },
    },
    async (request, reply) => {
      exams.refuseRoom(request.body.name, request.asker);
      await inventory.addGroup(request.body.name, request.body.description ?? "", request.actor);
      return reply.code(201).send(groupView(request.body.name));
    },
  );
  app.patch<{ Params: { group: string }; Body: Static<typeof groupEdit> }>(
    "/groups/:group",
    {
      config: { scopes: operators, rooms: "limited", audit: "own" },
      schema: {
        summary: "Change a group: what it is, its plan, and how its machines boot",
        tags: ["groups"],
        body: groupEdit,
      },
    },
    async (request) => {
      seenGroup(request);
      exams.refuseRoom(request.params.group, request.asker);
      await inventory.editGroup(request.params.group, request.body, request.actor);
      return groupView(request.params.group);
    },
  );
  app.delete<{ Params: { group: string } }>(
    "/groups/:group",
    {
      config: { scopes: operators, audit: "own" },
      schema: { summary: "Remove a group; its machines stay", tags: ["groups"] },
    },
    async (request, reply) => {
      groupView(request.params.group);
      exams.refuseRoom(request.params.group, request.asker);
      await inventory.removeGroup(request.params.group, request.actor);
      return reply.code(204).send();
    },
  );
}
