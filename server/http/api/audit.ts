import type { FastifyInstance } from "fastify";
import type { RecordEvent } from "../../domain/event.ts";

declare module "fastify" {
  interface FastifyContextConfig {
    /**
     * Where the event of a change comes from: `own`: what it does records one with its actor; `none`: it changes nothing. A route
     * that says nothing, or names fields of its body that the event tells, gets `api.changed`. No field that is a secret belongs there.
     */
    audit?: "own" | "none" | readonly string[];
  }
}

/** Every change by the API is an event with its actor, whatever the route forgot to say. */
export function installAudit(app: FastifyInstance, record: RecordEvent): void {
  app.addHook("onSend", (request, reply, _payload, done) => {
    const { audit = [] } = request.routeOptions.config;
    const isChange = request.method !== "GET" && request.method !== "HEAD" && reply.statusCode < 400;
    if (isChange && typeof audit !== "string") {
      const body = (request.body ?? {}) as Readonly<Record<string, unknown>>;
      const told = Object.fromEntries(
        audit.flatMap((field) => (field in body ? [[field, body[field]]] : [])),
      );
      const route = `${request.method} ${request.routeOptions.url ?? ""}`.replace("/api/v1", "");
      record({
        type: "api.changed",
        actor: request.actor,
        message: `${request.actor} called ${route}`,
        data: { route, ...(request.params as object), ...told },
      });
    }
    done();
  });
}
