import type { FastifyInstance } from "fastify";
import { type Static, Type } from "typebox";
import { describeTarget } from "../../domain/assignment.ts";
import { GroupNotFound, RoleNotFound } from "../../domain/error-catalogue.ts";
import type { Inventory } from "../../inventory/inventory.ts";
import type { LoadedRoles } from "../../render/load-roles.ts";
import type { AssignmentRepository } from "../../store/assignments.ts";
import { operators, readers } from "../authorization.ts";
import { preferenceFields } from "./machines.ts";
import { listQuery, page } from "./paging.ts";
import { isoTime, roleView } from "./views.ts";

export interface RoleApiDeps {
  readonly roles: () => LoadedRoles;
  readonly inventory: Inventory;
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

export function registerRoleApi(app: FastifyInstance, { roles, inventory, assignments }: RoleApiDeps): void {
  const reading = (summary: string, tag: string) => ({
    config: { scopes: readers },
    schema: { summary, tags: [tag] },
  });

  app.get<{ Querystring: Static<typeof listQuery> }>(
    "/roles",
    {
      config: { scopes: readers },
      schema: { summary: "All roles", tags: ["roles"], querystring: listQuery },
    },
    (request) => {
      const loaded = roles();
      const { items, next } = page([...loaded.roles.values()], (role) => role.name, request.query);
      return { items: items.map(roleView), next, problems: loaded.problems };
    },
  );
  app.get<{ Params: { role: string } }>("/roles/:role", reading("One role", "roles"), (request) => {
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
  app.get<{ Querystring: Static<typeof listQuery> }>(
    "/groups",
    {
      config: { scopes: readers },
      schema: { summary: "All groups", tags: ["groups"], querystring: listQuery },
    },
    (request) => {
      const { items, next } = page(inventory.groups(), (group) => group.name, request.query);
      return { items: items.map((group) => groupView(group.name)), next };
    },
  );
  app.get<{ Params: { group: string } }>("/groups/:group", reading("One group", "groups"), (request) =>
    groupView(request.params.group),
  );
  app.post<{ Body: Static<typeof groupBody> }>(
    "/groups",
    { config: { scopes: operators }, schema: { summary: "Add a group", tags: ["groups"], body: groupBody } },
    async (request, reply) => {
      await inventory.addGroup(request.body.name, request.body.description ?? "", request.actor);
      return reply.code(201).send(groupView(request.body.name));
    },
  );
  app.patch<{ Params: { group: string }; Body: Static<typeof groupEdit> }>(
    "/groups/:group",
    {
      config: { scopes: operators },
      schema: {
        summary: "Change a group: what it is, and how its machines boot",
        tags: ["groups"],
        body: groupEdit,
      },
    },
    async (request) => {
      await inventory.editGroup(request.params.group, request.body, request.actor);
      return groupView(request.params.group);
    },
  );
  app.delete<{ Params: { group: string } }>(
    "/groups/:group",
    {
      config: { scopes: operators },
      schema: { summary: "Remove a group; its machines stay", tags: ["groups"] },
    },
    async (request, reply) => {
      groupView(request.params.group);
      await inventory.removeGroup(request.params.group, request.actor);
      return reply.code(204).send();
    },
  );
}
