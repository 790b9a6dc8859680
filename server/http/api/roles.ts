import type { FastifyInstance, FastifyRequest } from "fastify";
import { type Static, Type } from "typebox";
import { describeTarget } from "../../domain/assignment.ts";
import { GroupNotFound, RoleNotFound } from "../../domain/error-catalogue.ts";
import type { Exams } from "../../inventory/exams.ts";
import type { Inventory } from "../../inventory/inventory.ts";
import type { LoadedRoles } from "../../render/load-roles.ts";
import type { AssignmentRepository } from "../../store/assignments.ts";
import { operators, readers } from "../authorization.ts";
import type { RoomRule } from "../reach.ts";
import { preferenceFields } from "./machines.ts";
import { listQuery, page } from "./paging.ts";
import { isoTime, roleView } from "./views.ts";

export interface RoleApiDeps {
  readonly roles: () => LoadedRoles;
  readonly inventory: Inventory;
  readonly exams: Exams;
  readonly assignments: Pick<AssignmentRepository, "find">;
}

const groupBody = Type.Object(
  { name: Type.String({ maxLength: 63 }), description: Type.Optional(Type.String({ maxLength: 200 })) },
  { additionalProperties: false },
);
const groupEdit = Type.Object(
  { description: Type.Optional(Type.String({ maxLength: 200 })), ...preferenceFields },
  { additionalProperties: false },
);

type GroupRequest = Pick<FastifyRequest, "reach"> & { readonly params: { group: string } };

export function registerRoleApi(
  app: FastifyInstance,
  { roles, inventory, assignments, exams }: RoleApiDeps,
): void {
  const reading = (summary: string, tag: string, rooms: RoomRule) => ({
    config: { scopes: readers, rooms },
    schema: { summary, tags: [tag] },
  });

  app.get<{ Querystring: Static<typeof listQuery> }>(
    "/roles",
    {
      config: { scopes: readers, rooms: "free" },
      schema: { summary: "All roles", tags: ["roles"], querystring: listQuery },
    },
    (request) => {
      const loaded = roles();
      const { items, next } = page([...loaded.roles.values()], (role) => role.name, request.query);
      return { items: items.map(roleView), next, problems: loaded.problems };
    },
  );
  app.get<{ Params: { role: string } }>("/roles/:role", reading("One role", "roles", "free"), (request) => {
    const loaded = roles();
    const role = loaded.roles.get(request.params.role);
    if (!role) throw RoleNotFound({ role: request.params.role, known: [...loaded.roles.keys()] });
    return roleView(role);
  });

  const groupView = (name: string) => {
    const group = inventory.groups().find((group) => group.name === name);
    if (!group) throw GroupNotFound({ group: name });
    const assignment = assignments.find({ kind: "group", group: name }, "always");
    return {
      name,
      description: group.description,
      localBoot: group.localBoot ?? null,
      driver: group.driver ?? null,
      ramCheck: group.ramCheck ?? null,
      createdAt: isoTime(group.createdAt),
      role: assignment ? describeTarget(assignment.target) : null,
      machines: inventory
        .all()
        .filter((machine) => machine.group === name)
        .map((machine) => machine.name)
        .sort(),
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
    reading("One group", "groups", "limited"),
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
        summary: "Change a group: what it is, and how its machines boot",
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
