import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import Database from "better-sqlite3";
import t from "tap";
import type { EventType, NewEvent } from "../server/domain/event.ts";
import { type EventFilter, eventQuery, firstEventFrom } from "../server/store/event-queries.ts";
import { openStore } from "../server/store/open-store.ts";
import { ManualClock } from "./support/manual-clock.ts";

const machines = ["m1", "m2", "m3"];
const types: EventType[] = ["machine.phase", "machine.log", "machine.added", "group.added", "schedule.fired"];
const actors = ["anna", "ben", undefined];
const rooms = ["lab225", "cellar"];

/** Each one of a list, in an order that repeats itself only after all combinations. */
const pick = <T>(list: readonly T[], number: number): T => list[number % list.length] as T;

/** Every combination of filters, with each of their values. */
function filters(): EventFilter[] {
  const within = { machineIds: ["m1", "m3"], rooms: ["lab225"] };
  return [undefined, "m2", "none"].flatMap((machineId) =>
    [undefined, "machine", "machine.log", "group", "mach", "machine."].flatMap((type) =>
      [undefined, "anna", "nobody"].flatMap((actor) =>
        [undefined, 1_000_500, 9_000_000].flatMap((fromMs) =>
          [undefined, within, { machineIds: [], rooms: [] }].flatMap((seen) =>
            [0, 77].flatMap((since) =>
              [true, false].map((newest) => ({
                since,
                limit: 7,
                newest,
                ...(machineId === undefined ? {} : { machineId }),
                ...(type === undefined ? {} : { type }),
                ...(actor === undefined ? {} : { actor }),
                ...(fromMs === undefined ? {} : { fromMs }),
                ...(seen === undefined ? {} : { within: seen }),
              })),
            ),
          ),
        ),
      ),
    ),
  );
}

t.test("every combination of filters finds what a look at each event finds", async (t) => {
  const clock = new ManualClock(1_000_000);
  const store = openStore(":memory:", clock);
  t.teardown(() => store.close());
  for (let number = 0; number < 210; number++) {
    // A clock that is put back: times are in no order.
    clock.advanceMs(number % 50 === 49 ? -300 : 10);
    const isOfRoom = number % 4 === 0;
    const event: NewEvent = {
      type: pick(types, number),
      message: `event ${number}`,
      machineId: isOfRoom ? undefined : pick(machines, Math.floor(number / 3)),
      actor: pick(actors, Math.floor(number / 2)),
      data: isOfRoom || number % 7 === 0 ? { group: pick(rooms, Math.floor(number / 4)) } : {},
    };
    void store.events.append(event);
  }
  await store.events.settled();
  const all = store.events.list({ limit: 1000 });
  t.equal(all.length, 210);
  for (const filter of filters()) {
    const { since = 0, machineId, type, actor, fromMs, within, limit, newest } = filter;
    const fitting = all.filter(
      (event) =>
        event.seq > since &&
        (machineId === undefined || event.machineId === machineId) &&
        (type === undefined || event.type === type || event.type.startsWith(`${type}.`)) &&
        (actor === undefined || event.actor === actor) &&
        (fromMs === undefined || event.at >= fromMs) &&
        (within === undefined ||
          (event.machineId === undefined
            ? within.rooms.includes(String(event.data["group"]))
            : within.machineIds.includes(event.machineId))),
    );
    const numbers = (newest ? fitting.slice(-limit) : fitting.slice(0, limit)).map(({ seq }) => seq);
    const found = store.events.list(filter).map(({ seq }) => seq);
    if (JSON.stringify(found) !== JSON.stringify(numbers)) t.same(found, numbers, JSON.stringify(filter));
  }
  t.ok(filters().length > 1000);
});

t.test(
  "no filter makes it look at the whole log: each has an index, and nothing is sorted but what is answered",
  (t) => {
    const db = new Database(":memory:");
    t.teardown(() => db.close());
    const directory = join(import.meta.dirname, "../db/migrations");
    for (const file of readdirSync(directory).toSorted())
      db.exec(readFileSync(join(directory, file), "utf8"));
    const none = {
      machineId: false,
      type: false,
      actor: false,
      fromMs: false,
      within: false,
      newest: false,
    };
    const values = {
      since: 0,
      limit: 10,
      machineId: "m1",
      type: "machine",
      actor: "anna",
      fromMs: 0,
      fromSeq: 0,
      machineIds: "[]",
      rooms: "[]",
    };
    const planOf = (sql: string) =>
      (db.prepare(`EXPLAIN QUERY PLAN ${sql}`).all(values) as { detail: string }[]).map(
        ({ detail }) => detail,
      );
    const indexes: [keyof typeof none, RegExp][] = [
      ["machineId", /USING INDEX events_by_machine \(machine_id=\? AND seq>\?\)/],
      ["actor", /USING INDEX events_by_actor \(actor=\? AND seq>\?\)/],
      ["type", /USING COVERING INDEX events_by_type \(type=\? AND seq>\?\)/],
      ["within", /USING COVERING INDEX events_by_machine \(machine_id=\? AND seq>\?\)/],
      ["within", /USING (COVERING )?INDEX events_by_group \(<expr>=\? AND seq>\?\)/],
      ["fromMs", /USING INTEGER PRIMARY KEY \(rowid>\?\)/],
    ];
    for (const [filter, index] of indexes)
      for (const newest of [true, false]) {
        const plan = planOf(eventQuery({ ...none, [filter]: true, newest }));
        t.match(plan.join("\n"), index, filter);
        t.notMatch(plan.join("\n"), /SCAN events( |$)/m, filter);
      }
    // Of two filters one leads, and what it finds is looked at.
    for (const more of [{ type: true }, { within: true }, { fromMs: true }])
      t.match(planOf(eventQuery({ ...none, actor: true, ...more })).join("\n"), /events_by_actor/);
    t.match(planOf(firstEventFrom).join("\n"), /COVERING INDEX events_by_time/);
    t.end();
  },
);
