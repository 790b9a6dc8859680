import type { FastifyInstance } from "fastify";
import { type Static, Type } from "typebox";
import type { Event } from "../../domain/event.ts";
import type { Inventory } from "../../inventory/inventory.ts";
import type { EventLog } from "../../store/events.ts";
import { readers } from "../authorization.ts";
import { eventView } from "./views.ts";

export interface EventApiDeps {
  readonly events: Pick<EventLog, "list" | "subscribe">;
  readonly inventory: Inventory;
}

const query = Type.Object({
  since: Type.Optional(
    Type.Integer({
      minimum: 0,
      description: "only events after this sequence number; without it the newest",
    }),
  ),
  machine: Type.Optional(Type.String({ maxLength: 200 })),
  type: Type.Optional(
    Type.String({ maxLength: 60, description: "type or its beginning: machine, machine.phase" }),
  ),
  limit: Type.Integer({ minimum: 1, maximum: 1000, default: 100 }),
});

/** A watcher that does not read is cut off rather than kept in memory. */
const maximumBacklogBytes = 1024 * 1024;
/** Keeps proxies from closing a quiet stream. */
const heartbeatMs = 20_000;

export function registerEventApi(app: FastifyInstance, { events, inventory }: EventApiDeps): void {
  const nameOf = (event: Event) =>
    event.machineId ? inventory.all().find((machine) => machine.id === event.machineId)?.name : undefined;

  app.get<{ Querystring: Static<typeof query> }>(
    "/events",
    {
      config: { scopes: readers },
      schema: {
        summary: "The event log; with Accept: text/event-stream live",
        tags: ["events"],
        querystring: query,
      },
    },
    (request, reply) => {
      const { since, machine, type, limit } = request.query;
      const machineId = machine === undefined ? undefined : inventory.get(machine).id;
      const filter = { ...(machineId ? { machineId } : {}), ...(type ? { type } : {}), limit };
      const found =
        since === undefined ? events.list({ ...filter, newest: true }) : events.list({ ...filter, since });
      if (!request.headers.accept?.includes("text/event-stream")) {
        const last = found.at(-1);
        return {
          items: found.map((event) => eventView(event, nameOf(event))),
          next: last ? String(last.seq) : null,
        };
      }

      reply.hijack();
      const stream = reply.raw;
      stream.writeHead(200, { "content-type": "text/event-stream", "cache-control": "no-store" });
      const send = (event: Event) => {
        if (machineId !== undefined && event.machineId !== machineId) return;
        if (type !== undefined && event.type !== type && !event.type.startsWith(`${type}.`)) return;
        if (stream.writableLength > maximumBacklogBytes) return void stream.destroy();
        stream.write(
          `id: ${event.seq}\nevent: ${event.type}\ndata: ${JSON.stringify(eventView(event, nameOf(event)))}\n\n`,
        );
      };
      for (const event of found) send(event);
      const unsubscribe = events.subscribe(send);
      const heartbeat = setInterval(() => stream.write(": still here\n\n"), heartbeatMs);
      stream.on("close", () => {
        clearInterval(heartbeat);
        unsubscribe();
      });
      return reply;
    },
  );
}
