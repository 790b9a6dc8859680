import type { FastifyInstance } from "fastify";
import { type Static, Type } from "typebox";
import type { BootTracker } from "../../boot/tracker.ts";
import type { Boot } from "../../domain/boot.ts";
import { partInWords, partUnderWay, spansOf, usualTimes } from "../../domain/boot-spans.ts";
import type { DurationMs, EpochMs } from "../../domain/capabilities.ts";
import { BootNotFound } from "../../domain/error-catalogue.ts";
import type { Machine } from "../../domain/machine.ts";
import type { BootRepository } from "../../store/boots.ts";
import type { EventLog } from "../../store/events.ts";
import { readers } from "../authorization.ts";
import { isoTime } from "./views.ts";

export interface TimelineApiDeps {
  readonly tracker: Pick<BootTracker, "current">;
  readonly bootHistory: Pick<BootRepository, "find" | "ofMachine">;
  readonly events: Pick<EventLog, "list" | "settled">;
  readonly doctor: {
    /** The newest boots that came through of the other machines of its room. */
    roomBoots(machine: Machine): readonly Boot[];
  };
}

const machineParams = Type.Object({
  machine: Type.String({ maxLength: 200, description: "name, MAC or id" }),
});
const bootQuery = Type.Object(
  {
    boot: Type.Optional(
      Type.String({ maxLength: 64, description: "a boot of this machine; without it the newest" }),
    ),
  },
  { additionalProperties: false },
);
interface Asked {
  Params: { machine: string };
  Querystring: Static<typeof bootQuery>;
}

/** A boot belongs to an order to the machine's power that is not older than this. */
const orderedWithinMs: DurationMs = 10 * 60_000;
/** Orders within that time that are looked at. */
const lookedAtOrders = 50;
/** As many posts as are kept of one boot (server/http/callback-routes.ts), and some of others. */
const logEvents = 200;

/** One boot as its parts beside the room's, and what the machine itself wrote meanwhile. */
export function registerTimelineApi(app: FastifyInstance, deps: TimelineApiDeps): void {
  const { tracker, bootHistory, events, doctor } = deps;

  /** @throws BootNotFound */
  function bootOf(machine: Machine, id: string | undefined): Boot | undefined {
    const current = tracker.current(machine.id);
    if (id === undefined) return current ?? bootHistory.ofMachine(machine.id, 1)[0];
    if (current?.id === id) return current;
    const stored = bootHistory.find(id);
    if (stored?.machineId !== machine.id) throw BootNotFound({ id });
    return stored;
  }

  /** When its power was ordered on for this boot; undefined: nobody did so here. */
  function orderedOnAt({ machineId, startedAt }: Boot): EpochMs | undefined {
    return events
      .list({
        machineId,
        type: "machine.power",
        fromMs: startedAt - orderedWithinMs,
        limit: lookedAtOrders,
      })
      .findLast(({ at, data }) => at <= startedAt && data["method"] !== undefined && data["action"] !== "off")
      ?.at;
  }

  app.get<Asked>(
    "/machines/:machine/timeline",
    {
      config: { scopes: readers, rooms: "limited" },
      schema: {
        summary: "Where a boot's time went, part by part, beside the medians of its room",
        tags: ["machines"],
        params: machineParams,
        querystring: bootQuery,
      },
    },
    async (request) => {
      const machine = request.reach.inventory.get(request.params.machine);
      await events.settled();
      const boot = bootOf(machine, request.query.boot);
      const others = doctor.roomBoots(machine);
      return {
        machine: machine.name,
        room: machine.group ?? null,
        compared: others.length,
        ...(boot ? timelineOf(boot, others, orderedOnAt(boot)) : { boot: null, parts: [], underWay: null }),
      };
    },
  );

  app.get<Asked>(
    "/machines/:machine/log",
    {
      config: { scopes: readers, rooms: "limited" },
      schema: {
        summary: "Lines of its log that a machine sent in a boot; in the newest one unless told otherwise",
        tags: ["machines"],
        params: machineParams,
        querystring: bootQuery,
      },
    },
    async (request) => {
      const machine = request.reach.inventory.get(request.params.machine);
      await events.settled();
      const boot = bootOf(machine, request.query.boot);
      const found = events.list({
        machineId: machine.id,
        type: "machine.log",
        limit: logEvents,
        newest: true,
      });
      return {
        machine: machine.name,
        boot: boot?.id ?? null,
        items: found
          .filter(({ bootId }) => bootId === boot?.id)
          .map(({ at, message, data }) => ({
            at: isoTime(at),
            message,
            text: typeof data["tail"] === "string" ? data["tail"] : null,
          })),
        next: null,
      };
    },
  );
}

function timelineOf(boot: Boot, others: readonly Boot[], poweredOnAt: EpochMs | undefined) {
  const spans = spansOf(boot, poweredOnAt);
  const usual = usualTimes(others);
  const underWay = boot.outcome === "running" ? partUnderWay(boot) : undefined;
  const last = spans.at(-1);
  return {
    boot: {
      id: boot.id,
      startedAt: isoTime(boot.startedAt),
      endedAt: isoTime(boot.endedAt),
      outcome: boot.outcome,
      target: boot.target ?? null,
      verdict: boot.verdict ?? null,
    },
    parts: spans.map(({ part, what, startMs, milliseconds }) => ({
      part,
      what,
      startMs,
      ms: milliseconds,
      medianMs: usual.get(part)?.medianMs ?? null,
      medianOf: usual.get(part)?.boots ?? 0,
    })),
    underWay: underWay
      ? {
          part: underWay,
          what: partInWords(underWay),
          startMs: last ? last.startMs + last.milliseconds : 0,
          medianMs: usual.get(underWay)?.medianMs ?? null,
          medianOf: usual.get(underWay)?.boots ?? 0,
        }
      : null,
  };
}
