import type { FastifyInstance } from "fastify";
import type { Clock } from "../../domain/capabilities.ts";
import { readers } from "../authorization.ts";
import type { Reach } from "../reach.ts";
import { type EventStream, type EventStreams, isEventStream } from "./event-streams.ts";
import { type Change, createLiveBoard, type LiveBoardDeps, type Told } from "./live-board.ts";
import type { LiveMessages } from "./live-messages.ts";
import { isSeenOperation } from "./operations.ts";
import { isoTime } from "./views.ts";

export interface LiveApiDeps extends LiveBoardDeps {
  readonly clock: Clock;
}

/** How often is looked for what has changed, while somebody watches: what changes meanwhile is told once, ms. */
const lookEveryMs = 250;
/** A sign of life that a page can see: browsers keep comments to themselves. Every so many looks, 15 s. */
const looksPerBeat = 60;
/** After a lost connection a browser opens the stream again after this, ms. */
const retryMs = 1000;

interface Watcher {
  readonly stream: EventStream;
  readonly snapshotBytes: number;
}
/** Those who see the same: what changes is written once for all of them. */
interface Audience {
  readonly reach: Reach;
  readonly watchers: Set<Watcher>;
  /** Operations that they know of, by id. */
  operations: ReadonlyMap<string, Told>;
}

/** The members of `T`, each as JSON already; an array of such is an array. */
type InJson<T> = Readonly<Record<keyof T, readonly string[] | string>>;
function jsonOf(fields: Readonly<Record<string, readonly string[] | string>>): string {
  const parts = Object.entries(fields).map(
    ([key, value]) => `"${key}":${typeof value === "string" ? value : `[${value.join(",")}]`}`,
  );
  return `{${parts.join(",")}}`;
}
const message = (name: keyof LiveMessages, json: string) => `event: ${name}\ndata: ${json}\n\n`;

/** @returns the message, or nothing where nothing is to be told */
function changesMessage(
  name: Exclude<keyof LiveMessages, "snapshot" | "beat">,
  changed: readonly Told[],
  removed: readonly string[],
): string {
  if (changed.length === 0 && removed.length === 0) return "";
  const fields = {
    changed: changed.map((one) => one.json),
    removed: removed.map((key) => JSON.stringify(key)),
  } satisfies InJson<LiveMessages[typeof name]>;
  return message(name, jsonOf(fields));
}

/** What the rooms of a caller have of all that changed. */
function changesIn(name: "machines" | "groups", changes: readonly Change[], reach: Reach): string {
  const isSeen = (one: Told | undefined): one is Told => one !== undefined && sees(reach, one);
  const changed = changes.flatMap(({ after }) => (isSeen(after) ? [after] : []));
  const removed = changes.flatMap(({ before, after }) =>
    isSeen(before) && !isSeen(after) ? [before.key] : [],
  );
  return changesMessage(name, changed, removed);
}

function sees({ rooms, hasRoom }: Reach, { room }: Told): boolean {
  return rooms === undefined || (room !== undefined && hasRoom(room));
}

export function registerLiveApi(app: FastifyInstance, deps: LiveApiDeps, streams: EventStreams): void {
  const { clock } = deps;
  const board = createLiveBoard(deps);
  const audiences = new Map<string, Audience>();
  let isLooking = false;
  let looks = 0;

  const operationsSeenBy = (reach: Reach, all = board.operations()) =>
    new Map([...all].filter(([, { operation }]) => isSeenOperation(operation, reach)));

  function snapshot(reach: Reach, operations: ReadonlyMap<string, Told>): string {
    const seen = (all: Iterable<Told>) => [...all].flatMap((one) => (sees(reach, one) ? [one.json] : []));
    return jsonOf({
      at: JSON.stringify(isoTime(clock.now())),
      machines: seen(board.machines()),
      groups: seen(board.groups()),
      operations: [...operations.values()].map(({ json }) => json),
    } satisfies InJson<LiveMessages["snapshot"]>);
  }

  function lookSoon(): void {
    isLooking = true;
    clock.after(lookEveryMs, () => {
      isLooking = false;
      if (audiences.size === 0) return;
      lookSoon();
      tellChanges();
    });
  }

  function tellChanges(): void {
    const { machines, groups, operations } = board.look();
    const isBeat = ++looks % looksPerBeat === 0;
    const beat = isBeat ? message("beat", JSON.stringify({ at: isoTime(clock.now()) })) : "";
    for (const audience of audiences.values()) {
      const { reach, watchers } = audience;
      const text =
        beat +
        changesIn("groups", groups, reach) +
        changesIn("machines", machines, reach) +
        operationChanges(audience, operationsSeenBy(reach, operations));
      const octets = text === "" ? undefined : Buffer.from(text);
      for (const { stream, snapshotBytes } of watchers)
        if (stream.isAllowed() && octets && stream.keepsUp(snapshotBytes)) stream.write(octets);
    }
  }

  /** @param now those of this look, with those that have ended since the last */
  function operationChanges(audience: Audience, now: ReadonlyMap<string, Told>): string {
    const before = audience.operations;
    const running = board.operations();
    audience.operations = new Map([...now].filter(([id]) => running.has(id)));
    return changesMessage(
      "operations",
      [...now.values()].filter((one) => before.get(one.key)?.json !== one.json),
      [...before.keys()].filter((id) => !now.has(id)),
    );
  }

  function watch(reach: Reach, stream: EventStream): void {
    // Nobody has looked for a while: what is told first must not be old.
    if (!isLooking) board.look();
    const key = JSON.stringify(reach.rooms?.toSorted() ?? null);
    const audience: Audience = audiences.get(key) ?? {
      reach,
      watchers: new Set(),
      operations: operationsSeenBy(reach),
    };
    audiences.set(key, audience);
    const first = Buffer.from(
      `retry: ${retryMs}\n${message("snapshot", snapshot(reach, audience.operations))}`,
    );
    const watcher = { stream, snapshotBytes: first.length };
    stream.write(first);
    audience.watchers.add(watcher);
    stream.onEnd(() => {
      audience.watchers.delete(watcher);
      if (audience.watchers.size === 0 && audiences.get(key) === audience) audiences.delete(key);
    });
    if (!isLooking) lookSoon();
  }

  app.get(
    "/live",
    {
      config: { scopes: readers, rooms: "limited" },
      schema: {
        summary:
          "What a dashboard shows: machines, groups and operations under way; with Accept: text/event-stream live",
        tags: ["live"],
      },
    },
    (request, reply) => {
      const { reach } = request;
      if (isEventStream(request)) {
        watch(reach, streams.open(request, reply));
        return reply;
      }
      if (!isLooking) board.look();
      const json = snapshot(reach, operationsSeenBy(reach));
      return reply.type("application/json; charset=utf-8").send(json);
    },
  );
}
