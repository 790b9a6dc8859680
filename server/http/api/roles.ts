import type { FastifyInstance } from "fastify";
import type { Static } from "typebox";
import { RoleNotFound } from "../../domain/error-catalogue.ts";
import type { LoadedRoles } from "../../render/load-roles.ts";
import { readers } from "../authorization.ts";
import type { RoomRule } from "../reach.ts";
import { listQuery, page } from "./paging.ts";
import { roleView } from "./views.ts";

export interface RoleApiDeps {
  readonly roles: () => LoadedRoles;
}

export function registerRoleApi(app: FastifyInstance, { roles }: RoleApiDeps): void {
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
}
