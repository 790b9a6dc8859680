import type { FastifyInstance } from "fastify";
import { type Static, Type } from "typebox";
import { hashSecret } from "../../boot/claims.ts";
import { type ApiToken, tokenScopes } from "../../domain/api-token.ts";
import type { Clock, Ids } from "../../domain/capabilities.ts";
import { GroupNotFound, InvalidRequest, TokenNotFound } from "../../domain/error-catalogue.ts";
import type { RecordEvent } from "../../domain/event.ts";
import type { Inventory } from "../../inventory/inventory.ts";
import type { TokenRepository } from "../../store/tokens.ts";
import { localActor } from "../../domain/assignment.ts";
import { listQuery, page } from "./paging.ts";
import { isoTime } from "./views.ts";

export interface TokenApiDeps {
  readonly clock: Clock;
  readonly ids: Ids;
  readonly tokens: TokenRepository;
  readonly record: RecordEvent;
  readonly inventory: Inventory;
}

const tokenBody = Type.Object(
  {
    name: Type.String({ pattern: "^[A-Za-z0-9][A-Za-z0-9._@-]{0,62}$" }),
    scope: Type.Union(tokenScopes.map((scope) => Type.Literal(scope))),
    expiresInSeconds: Type.Optional(Type.Integer({ minimum: 60, maximum: 315_360_000 })),
    repositories: Type.Optional(
      Type.Array(Type.String({ pattern: "^[a-z0-9._/*-]{1,255}$" }), { minItems: 1, maxItems: 100 }),
    ),
    rooms: Type.Optional(
      Type.Array(Type.String({ minLength: 1, maxLength: 63 }), {
        maxItems: 100,
        description: "groups that an operator or viewer reaches; empty or left out: everything",
      }),
    ),
  },
  { additionalProperties: false },
);

function tokenView(token: ApiToken): object {
  return {
    id: token.id,
    name: token.name,
    scope: token.scope,
    createdAt: isoTime(token.createdAt),
    expiresAt: isoTime(token.expiresAt),
    repositories: token.repositories ?? null,
    rooms: token.rooms ?? [],
  };
}

/** Only admins make and revoke tokens; a secret is in the answer that makes it and nowhere else. */
export function registerTokenApi(
  app: FastifyInstance,
  { clock, ids, tokens, record, inventory }: TokenApiDeps,
): void {
  app.get<{ Querystring: Static<typeof listQuery> }>(
    "/tokens",
    {
      schema: { summary: "All API tokens, without their secrets", tags: ["tokens"], querystring: listQuery },
    },
    (request) => {
      const { items, next } = page(tokens.all(), (token) => token.name, request.query);
      return { items: items.map(tokenView), next };
    },
  );
  app.post<{ Body: Static<typeof tokenBody> }>(
    "/tokens",
    {
      config: { audit: "own" },
      schema: { summary: "Make a token; its secret is shown once", tags: ["tokens"], body: tokenBody },
    },
    async (request, reply) => {
      const { name, scope, expiresInSeconds, repositories } = request.body;
      const rooms = [...new Set(request.body.rooms)];
      if (name === localActor)
        throw InvalidRequest({
          problem: `the name ${name} is what the event log calls this server's own administrator`,
          advice: "Choose another name.",
        });
      if (repositories && scope !== "imagemaker")
        throw InvalidRequest({
          problem: `a token with the scope ${scope} is not bound to repositories`,
          advice: "Only imagemaker's can be.",
        });
      if (rooms.length > 0 && scope !== "operator" && scope !== "viewer")
        throw InvalidRequest({
          problem: `a token with the scope ${scope} is not limited to rooms: what it may do is of the whole server`,
          advice: "Only operator's and viewer's can be.",
        });
      const missing = rooms.find((room) => !inventory.groupNames().has(room));
      if (missing !== undefined) throw GroupNotFound({ group: missing });
      const secret = ids.secret();
      const now = clock.now();
      const token: ApiToken = {
        id: ids.id("t"),
        name,
        scope,
        hash: hashSecret(secret),
        createdAt: now,
        expiresAt: expiresInSeconds === undefined ? undefined : now + expiresInSeconds * 1000,
        repositories,
        rooms: rooms.length > 0 ? rooms : undefined,
      };
      await tokens.add(token);
      record({
        type: "token.created",
        actor: request.actor,
        message: `token ${name} (${scope}) made`,
        data: { name, scope, rooms, repositories, expiresAt: isoTime(token.expiresAt) },
      });
      return reply
        .code(201)
        .header("cache-control", "no-store")
        .send({ ...tokenView(token), token: secret });
    },
  );
  app.delete<{ Params: { token: string } }>(
    "/tokens/:token",
    { config: { audit: "own" }, schema: { summary: "Revoke a token", tags: ["tokens"] } },
    async (request, reply) => {
      const token = tokens.findByName(request.params.token);
      if (!token) throw TokenNotFound({ id: request.params.token });
      await tokens.remove(token);
      record({
        type: "token.revoked",
        actor: request.actor,
        message: `token ${token.name} revoked`,
        data: { before: tokenView(token) },
      });
      return reply.code(204).send();
    },
  );
}
