import type { FastifyInstance, FastifyRequest } from "fastify";
import { type Static, Type } from "typebox";
import { InvalidRequest } from "../../domain/error-catalogue.ts";
import type { Event } from "../../domain/event.ts";
import { eventInRoom } from "../../domain/event-in-room.ts";
import type { Inventory } from "../../inventory/inventory.ts";
import type { EventFilter } from "../../store/event-queries.ts";
import type { EventLog } from "../../store/events.ts";
import { readers } from "../authorization.ts";
import type { Reach } from "../reach.ts";
import { type EventStreams, isEventStream } from "./event-streams.ts";
import { eventView } from "./views.ts";

export interface EventApiDeps {
  readonly events: Pick<EventLog, "list" | "settled" | "subscribe">;
  readonly inventory: Inventory;
}

const query = Type.Object(
  {
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
    actor: Type.Optional(
      Type.String({ maxLength: 63, description: "who did it: name of a token, or local" }),
    ),
    from: Type.Optional(
      Type.String({ maxLength: 40, description: "time as in ISO 8601: only events from then on" }),
    ),
    cursor: Type.Optional(
      Type.String({
        pattern: "^[0-9]{1,15}$",
        description: "`next` of the previous page; the same as since",
      }),
    ),
    limit: Type.Integer({ minimum: 1, maximum: 1000, default: 100 }),
  },
  { additionalProperties: false },
);

/** Stored events are told in parts of this size to whoever has much to catch up with. */
const catchUpEvents = 500;

export function registerEventApi(
  app: FastifyInstance,
  { events, inventory }: EventApiDeps,
  streams: EventStreams,
): void {
  const nameOf = (event: Event) =>
    event.machineId ? inventory.all().find((machine) => machine.id === event.machineId)?.name : undefined;

  app.get<{ Querystring: Static<typeof query> }>(
    "/events",
    {
      config: { scopes: readers, rooms: "limited" },
      schema: {
        summary: "The event log; with Accept: text/event-stream live",
        tags: ["events"],
        querystring: query,
      },
    },
    async (request, reply) => {
      const { reach } = request;
      const { machine, type, limit, cursor, actor } = request.query;
      const machineId = machine === undefined ? undefined : reach.inventory.get(machine).id;
      const filter = {
        ...(machineId ? { machineId } : {}),
        ...(type ? { type } : {}),
        ...(actor ? { actor } : {}),
        ...(request.query.from === undefined ? {} : { fromMs: timeIn(request.query.from) }),
      };
      // By what machines there are in the rooms now, anew for each look.
      const list = (more: Pick<EventFilter, "since" | "newest" | "limit">) =>
        events.list({ ...filter, ...withinOf(reach), ...more });
      const view = (event: Event) => eventView(reach.rooms ? eventInRoom(event) : event, nameOf(event));
      const isLive = isEventStream(request);
      const since =
        (isLive ? lastEventId(request) : undefined) ??
        (cursor === undefined ? request.query.since : Number(cursor));
      if (!isLive) {
        await events.settled();
        if (since === undefined) {
          const newest = list({ newest: true, limit });
          return { items: newest.map(view), next: null };
        }
        const found = list({ since, limit: limit + 1 });
        const taken = found.slice(0, limit);
        return {
          items: taken.map(view),
          next: found.length > limit ? String(taken.at(-1)?.seq) : null,
        };
      }

      const stream = streams.open(request, reply);
      const write = (event: Event) =>
        stream.write(`id: ${event.seq}\nevent: ${event.type}\ndata: ${JSON.stringify(view(event))}\n\n`);
      if (since === undefined) list({ newest: true, limit }).forEach(write);
      else if (!(await catchUp(since))) return reply;
      // Nothing is stored between the last look into the log and this line, so nothing is told twice or left out.
      const unsubscribe = events.subscribe((event) => {
        // The event of a token's end comes by here too.
        if (!stream.isAllowed()) return;
        if (!reach.seesEvent(event)) return;
        if (actor !== undefined && event.actor !== actor) return;
        if (filter.fromMs !== undefined && event.at < filter.fromMs) return;
        if (machineId !== undefined && event.machineId !== machineId) return;
        if (type !== undefined && event.type !== type && !event.type.startsWith(`${type}.`)) return;
        if (stream.keepsUp()) write(event);
      });
      stream.onEnd(unsubscribe);
      return reply;

      /** Tells all that is stored, as fast as the watcher reads. @returns false when it has gone */
      async function catchUp(after: number): Promise<boolean> {
        for (let from = after; ;) {
          if (!stream.isAllowed()) return false;
          const part = list({ since: from, limit: catchUpEvents });
          part.forEach(write);
          from = part.at(-1)?.seq ?? from;
          const hasWaited = await stream.caughtUp();
          if (stream.isOver()) return false;
          // More may have been stored while it waited.
          if (!hasWaited && part.length < catchUpEvents) return true;
        }
      }
    },
  );
}

/** @throws InvalidRequest */
function timeIn(text: string): number {
  const at = Date.parse(text);
  if (Number.isNaN(at))
    throw InvalidRequest({
      problem: `from: ${JSON.stringify(text)} is no time`,
      advice: "Write it as in ISO 8601, e.g. 2026-01-31T12:00:00Z.",
    });
  return at;
}

/** For a caller of some rooms: events of their machines, and of the rooms themselves. */
function withinOf({ rooms, inventory }: Reach): Pick<EventFilter, "within"> {
  return rooms ? { within: { machineIds: inventory.all().map(({ id }) => id), rooms } } : {};
}

/** Where a browser that lost the stream goes on by itself (HTML, "Server-sent events", s.9.2.4). */
function lastEventId(request: FastifyRequest): number | undefined {
  const id = request.headers["last-event-id"];
  return typeof id === "string" && /^[0-9]{1,15}$/.test(id) ? Number(id) : undefined;
}
