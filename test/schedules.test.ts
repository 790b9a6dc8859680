import t from "tap";
import { readDays } from "../server/cli/commands/schedule.ts";
import {
  dueNow,
  momentOf,
  nextTimes,
  offsetsOf,
  type Schedule,
  weekdays,
} from "../server/domain/schedule.ts";
import type { Clock } from "../server/domain/capabilities.ts";
import { OperationUnderWay } from "../server/domain/error-catalogue.ts";
import { createScheduling, type Switching } from "../server/inventory/schedules.ts";
import { silentLog } from "../server/platform/logger.ts";
import { boot } from "./support/boot-command.ts";
import { createBootLab } from "./support/boot-lab.ts";
import { plain, startServer } from "./support/http-fixture.ts";
import { macOf } from "./support/samples.ts";

const berlin = offsetsOf("Europe/Berlin");
const utc = () => 0;
const iso = (at: number | undefined) => (at === undefined ? undefined : new Date(at).toISOString());
const hour = 3_600_000;
const minutes = (text: string) => Number(text.slice(0, 2)) * 60 + Number(text.slice(3));

t.test("a time of day is the moment when the clocks of the time zone show it", (t) => {
  const cases: [string, string, string, string][] = [
    ["an ordinary day", "Europe/Berlin", "2026-03-02T12:00:00Z", "2026-03-02T11:00:00.000Z"],
    ["in summer", "Europe/Berlin", "2026-07-02T12:00:00Z", "2026-07-02T10:00:00.000Z"],
    [
      "a time that the clocks jump over: the first moment after",
      "Europe/Berlin",
      "2026-03-29T02:30:00Z",
      "2026-03-29T01:00:00.000Z",
    ],
    ["the last minute before the jump", "Europe/Berlin", "2026-03-29T01:59:00Z", "2026-03-29T00:59:00.000Z"],
    [
      "a time that is shown twice: the first",
      "Europe/Berlin",
      "2026-10-25T02:30:00Z",
      "2026-10-25T00:30:00.000Z",
    ],
    ["the hour after it", "Europe/Berlin", "2026-10-25T03:00:00Z", "2026-10-25T02:00:00.000Z"],
    ["clocks that jump over midnight", "Africa/Cairo", "2024-04-26T00:30:00Z", "2024-04-25T22:00:00.000Z"],
    [
      "clocks that jump by half an hour",
      "Australia/Lord_Howe",
      "2026-10-04T02:15:00Z",
      "2026-10-03T15:30:00.000Z",
    ],
    ["west of Greenwich", "America/New_York", "2026-03-08T02:30:00Z", "2026-03-08T07:00:00.000Z"],
  ];
  for (const [what, zone, local, moment] of cases)
    t.equal(iso(momentOf(Date.parse(local), offsetsOf(zone))), moment, what);
  t.end();
});

t.test("a schedule has one moment on each of its days, over the year and whatever the clocks do", (t) => {
  for (const zone of ["Europe/Berlin", "America/New_York", "Australia/Lord_Howe"]) {
    const times = { atMinute: minutes("02:30"), days: weekdays };
    const all = nextTimes(times, Date.UTC(2026, 0, 1, 12), 365, offsetsOf(zone));
    t.equal(all.length, 365, zone);
    t.ok(
      all.every(
        (at, index) =>
          index === 0 || (at - (all[index - 1] ?? 0) >= 23 * hour && at - (all[index - 1] ?? 0) <= 25 * hour),
      ),
      `${zone}: they are a day apart`,
    );
  }
  const lessons = { atMinute: minutes("12:00"), days: ["mon", "fri"] as const };
  t.same(nextTimes(lessons, Date.parse("2026-03-27T11:00:00Z"), 3, berlin).map(iso), [
    "2026-03-30T10:00:00.000Z",
    "2026-04-03T10:00:00.000Z",
    "2026-04-06T10:00:00.000Z",
  ]);
  t.end();
});

const base: Schedule = {
  name: "noon",
  machines: "lab225",
  target: { kind: "role", role: "rescue", params: {} },
  mode: "always",
  power: "none",
  atMinute: minutes("12:00"),
  days: weekdays,
  rooms: undefined,
  createdAt: 0,
  createdBy: "anna",
  seenUntil: Date.UTC(2026, 2, 2, 12),
  settled: [],
};

t.test("what is due follows from the clock and from what was seen to", (t) => {
  const at = (day: number, hours: number) => Date.UTC(2026, 2, day, hours);
  const cases: [string, number, object | undefined][] = [
    ["not yet", at(3, 12) - 1, undefined],
    ["to the millisecond", at(3, 12), { kind: "fire", at: at(3, 12), local: "2026-03-03T12:00" }],
    ["an hour late", at(3, 13), { kind: "fire", at: at(3, 12), local: "2026-03-03T12:00" }],
    ["later than that", at(3, 13) + 1, { kind: "missed", at: at(3, 12), local: "2026-03-03T12:00" }],
    ["only the latest of many", at(20, 12), { kind: "fire", at: at(20, 12), local: "2026-03-20T12:00" }],
    ["a clock that was put back", at(2, 11), undefined],
  ];
  for (const [what, now, due] of cases) t.same(dueNow(base, now, utc), due, what);
  t.end();
});

t.test("days are written as people write them", (t) => {
  t.same(readDays("mon-fri"), ["mon", "tue", "wed", "thu", "fri"]);
  t.same(readDays("sat,Sun"), ["sat", "sun"]);
  t.same(readDays("sat-mon"), ["sat", "sun", "mon"]);
  t.equal(readDays("daily").length, 7);
  for (const wrong of ["", "monday", "mon-", "mon-tue-wed", "mon,"])
    t.throws(() => readDays(wrong), /mon-fri/, JSON.stringify(wrong));
  t.end();
});

async function lab(t: Parameters<typeof createBootLab>[0]) {
  const room = await createBootLab(t);
  await room.inventory.addGroup("lab225", "", "anna");
  for (const seat of [1, 2])
    await room.inventory.add({ name: `s${seat}`, macs: [macOf(seat)], group: "lab225" }, "anna");
  const switched: unknown[] = [];
  const at: { refusal?: Error; beforeAssigning?: () => unknown } = {};
  const switching: Switching = {
    findSame: () => {
      if (at.refusal) throw at.refusal;
      at.beforeAssigning?.();
      return undefined;
    },
    async begin(order, machines, actor) {
      switched.push([order.action, order.target, machines.map(({ name }) => name), actor]);
      return { id: `op_${switched.length}` };
    },
  };
  const scheduling = ({ clock = room.clock, timeZone = "UTC" }: { clock?: Clock; timeZone?: string } = {}) =>
    createScheduling({
      clock,
      log: silentLog,
      record: room.record,
      schedules: room.store.schedules,
      assigning: room.assigning,
      inventory: room.inventory,
      exams: room.exams,
      switching: () => switching,
      timeZone,
    });
  const start = Date.UTC(2026, 2, 2, 11, 59);
  room.clock.advanceMs(start - room.clock.now());
  const named = (machines: string, role: string, name: string) => ({
    ...base,
    name,
    machines,
    target: { kind: "role" as const, role, params: {} },
  });
  /** Behind by so much. */
  let behindMs = 0;
  const wrongClock: Clock = {
    now: () => room.clock.now() - behindMs,
    monotonicMs: () => room.clock.monotonicMs(),
    after: (ms, call) => room.clock.after(ms, call),
  };
  return {
    ...room,
    scheduling,
    switched,
    refuse: (error: Error) => void (at.refusal = error),
    meanwhile: (play: () => unknown) => void (at.beforeAssigning = play),
    at: named,
    wrongClock,
    isBehind: (ms: number) => void (behindMs = ms),
  };
}

t.test(
  "at its time a schedule assigns once, as an actor of its own, and an undo takes it back",
  async (t) => {
    const room = await lab(t);
    const scheduling = room.scheduling();
    scheduling.start();
    await scheduling.settled();
    await scheduling.add(room.at("lab225", "rescue", "noon"));
    t.same(scheduling.nextTimes(scheduling.get("noon")).map(iso).slice(0, 2), [
      "2026-03-02T12:00:00.000Z",
      "2026-03-03T12:00:00.000Z",
    ]);
    room.clock.advanceMs(60_000);
    await scheduling.settled();
    t.match(room.of("schedule.fired"), [{ actor: "schedule:noon", message: /assigned 2 machines$/ }]);
    t.equal(room.of("assignment.set").length, 2);
    room.clock.advanceMs(3 * 60_000);
    await scheduling.settled();
    t.equal(room.of("schedule.fired").length, 1, "its time is over");
    await room.undoing.undo("ben");
    t.same(room.store.assignments.all(), []);
    t.match(room.undoing.history("s1", 10), [
      { actor: "schedule:noon", message: "s1, s2 -> rescue", undoneBy: "ben" },
    ]);
    await scheduling.stop();
    t.equal(room.clock.pendingTimers, 0);
  },
);

t.test("a schedule of some rooms stays within them, whatever its host set comes to mean", async (t) => {
  const room = await lab(t);
  await room.inventory.addGroup("cellar", "", "anna");
  const scheduling = room.scheduling();
  await scheduling.add({ ...room.at("all", "rescue", "noon"), rooms: ["lab225"] });
  await room.inventory.add({ name: "s3", macs: [macOf(3)], group: "cellar" }, "anna");
  await room.inventory.edit(room.inventory.get("s2").id, { group: "cellar" }, "anna");
  room.clock.advanceMs(60_000);
  await scheduling.settled();
  t.match(room.of("schedule.fired"), [{ message: /assigned 1 machines$/, data: { group: "lab225" } }]);
  t.match(room.of("assignment.set"), [{ message: /^s1: / }]);
  await scheduling.stop();
});

t.test("a schedule whose time comes in an exam assigns nothing, and says why", async (t) => {
  const room = await lab(t);
  const scheduling = room.scheduling();
  await scheduling.add(room.at("lab225", "menu", "noon"));
  const target = { kind: "role", role: "rescue", params: {} } as const;
  await room.exams.start("lab225", { target, endsAt: undefined }, { actor: "anna", overridesExam: false });
  room.clock.advanceMs(60_000);
  await scheduling.settled();
  t.same(room.store.assignments.all(), []);
  t.match(room.of("schedule.failed"), [{ message: /lab225 has an exam, started by anna/ }]);
  await scheduling.stop();
});

t.test("a schedule switches nothing in an exam that began while it assigned", async (t) => {
  const room = await lab(t);
  const scheduling = room.scheduling();
  await scheduling.add({ ...room.at("lab225", "menu", "noon"), power: "cycle" });
  const target = { kind: "role", role: "rescue", params: {} } as const;
  const anna = { actor: "anna", overridesExam: false };
  room.meanwhile(() => room.exams.start("lab225", { target, endsAt: undefined }, anna));
  room.clock.advanceMs(60_000);
  await scheduling.settled();
  t.same(room.switched, []);
  t.match(room.of("schedule.failed"), [{ message: /lab225 has an exam, started by anna/ }]);
  await scheduling.stop();
});

t.test("what was missed while the server was off is done within the hour, and told after it", async (t) => {
  const room = await lab(t);
  const before = room.scheduling();
  await before.add(room.at("s1", "rescue", "noon"));
  await before.stop();
  room.clock.advanceMs(30 * 60_000);
  const soon = room.scheduling();
  soon.start();
  await soon.settled();
  await soon.stop();
  t.equal(room.of("schedule.fired").length, 1);
  room.clock.advanceMs(50 * hour);
  const late = room.scheduling();
  late.start();
  await late.settled();
  await late.stop();
  t.equal(room.of("schedule.fired").length, 1);
  t.match(room.of("schedule.missed"), [{ level: "warning", message: /was missed at 2026-03-04T12:00/ }]);
});

t.test("a clock that is wrong over two restarts does nothing twice when it is set right", async (t) => {
  const room = await lab(t);
  const start = () => {
    const scheduling = room.scheduling({ clock: room.wrongClock });
    scheduling.start();
    return scheduling;
  };
  const before = start();
  await before.settled();
  await before.add(room.at("s1", "rescue", "noon"));
  room.clock.advanceMs(60_000);
  await before.settled();
  await before.stop();
  t.equal(room.of("schedule.fired").length, 1);

  room.isBehind(1000 * 24 * hour);
  for (let restart = 0; restart < 2; restart++) {
    const between = start();
    await between.settled();
    room.clock.advanceMs(10 * 60_000);
    await between.settled();
    await between.stop();
  }
  const after = start();
  await after.settled();
  room.isBehind(0);
  room.clock.advanceMs(60_000);
  await after.settled();
  t.equal(room.of("schedule.fired").length, 1, "it was done before the restarts");
  t.equal(room.of("schedule.missed").length, 0);
  room.clock.advanceMs(Date.UTC(2026, 2, 3, 12) - room.clock.now());
  await after.settled();
  t.equal(room.of("schedule.fired").length, 2, "the next day is as ever");
  await after.stop();
});

t.test("a time that a clock ahead came to too early is done when its day really comes", async (t) => {
  const room = await lab(t);
  room.isBehind(-24 * hour);
  const scheduling = room.scheduling({ clock: room.wrongClock });
  scheduling.start();
  await scheduling.settled();
  await scheduling.add(room.at("s1", "rescue", "noon"));
  room.clock.advanceMs(60_000);
  await scheduling.settled();
  t.match(room.of("schedule.fired"), [{ data: { at: "2026-03-03T12:00:00.000Z" } }]);
  room.isBehind(0);
  const walk = async (steps: number, stepMs: number) => {
    for (let step = 0; step < steps; step++) {
      room.clock.advanceMs(stepMs);
      await scheduling.settled();
    }
  };
  await walk(24 * 6 - 1, 10 * 60_000);
  await walk(40, 30_000);
  t.match(room.of("schedule.fired"), [{}, { data: { at: "2026-03-03T12:00:00.000Z" } }]);
  await scheduling.stop();
});

t.test("a time of a day is done once, also when the time zone of the config changes after it", async (t) => {
  const room = await lab(t);
  const fired = async (timeZone: string): Promise<string[]> => {
    const scheduling = room.scheduling({ timeZone });
    if (room.store.schedules.all().length === 0) await scheduling.add(room.at("s1", "rescue", "noon"));
    scheduling.start();
    for (let step = 0; step < 2 * 6; step++) {
      room.clock.advanceMs(10 * 60_000);
      await scheduling.settled();
    }
    await scheduling.stop();
    return room.of("schedule.fired").map(({ data }) => String(data?.["at"]));
  };
  t.same(await fired("UTC"), ["2026-03-02T12:00:00.000Z"]);
  t.same(await fired("America/Sao_Paulo"), ["2026-03-02T12:00:00.000Z"], "15:00 UTC is noon there");
});

t.test("clocks that go back or jump over a time make it one all the same", async (t) => {
  for (const [day, moment] of [
    ["2026-10-25", "2026-10-25T00:30:00.000Z"],
    ["2026-03-29", "2026-03-29T01:00:00.000Z"],
  ] as const) {
    const room = await lab(t);
    room.clock.advanceMs(Date.parse(`${day}T00:00:00Z`) - 3 * hour - room.clock.now());
    const scheduling = room.scheduling({ timeZone: "Europe/Berlin" });
    await scheduling.add({ ...room.at("s1", "rescue", "night"), atMinute: minutes("02:30") });
    scheduling.start();
    for (let step = 0; step < 8 * 6; step++) {
      room.clock.advanceMs(10 * 60_000);
      await scheduling.settled();
    }
    t.match(room.of("schedule.fired"), [{ data: { at: moment } }], day);
    t.equal(room.of("schedule.fired").length, 1, day);
    await scheduling.stop();
  }
});

t.test("a schedule with power switches its machines, unless it is late or they are at work", async (t) => {
  const room = await lab(t);
  const scheduling = room.scheduling();
  scheduling.start();
  await scheduling.add({ ...room.at("lab225", "rescue", "noon"), power: "cycle" });
  await scheduling.add({ ...room.at("s1", "rescue", "wake"), atMinute: minutes("12:02"), power: "wake" });
  room.clock.advanceMs(60_000);
  await scheduling.settled();
  t.same(room.switched, [["cycle", "rescue", ["s1", "s2"], "schedule:noon"]]);
  t.match(room.of("schedule.fired"), [
    { message: /assigned 2 machines, and began op_1$/, data: { operation: "op_1" } },
  ]);
  await room.undoing.undo("anna");
  room.refuse(OperationUnderWay({ operation: "op_1", machines: "s1" }));
  room.clock.advanceMs(2 * 60_000);
  await scheduling.settled();
  t.match(room.of("schedule.failed"), [{ message: /op_1 is at work on s1/ }]);
  t.same(room.store.assignments.all(), [], "nothing was assigned");
  await scheduling.stop();

  room.clock.advanceMs(24 * hour + 10 * 60_000);
  const late = room.scheduling();
  late.start();
  await late.settled();
  await late.stop();
  t.match(room.of("schedule.fired").at(-1), {
    message: /assigned . machines?, and switched none: it is too late/,
  });
  t.equal(room.switched.length, 1);
});

t.test("a clock that ran ahead and was put back silences no schedule", async (t) => {
  const room = await lab(t);
  await room.store.schedules.add({
    ...room.at("s1", "rescue", "noon"),
    seenUntil: room.clock.now() + 300 * 24 * hour,
  });
  const scheduling = room.scheduling();
  scheduling.start();
  await scheduling.settled();
  room.clock.advanceMs(60_000);
  await scheduling.settled();
  t.equal(room.of("schedule.fired").length, 1);
  await scheduling.stop();
});

t.test("a schedule whose machines are gone says so, and stops no other", async (t) => {
  const room = await lab(t);
  const scheduling = room.scheduling();
  scheduling.start();
  await scheduling.settled();
  await scheduling.add(room.at("s1", "rescue", "a"));
  await scheduling.add(room.at("s2", "rescue", "b"));
  await t.rejects(scheduling.add(room.at("s2", "rescue", "b")), { code: "SCHEDULE_NAME_TAKEN" });
  await t.rejects(scheduling.add(room.at("s9", "rescue", "c")), { code: "INVALID_HOST_SET" });
  await t.rejects(scheduling.add(room.at("s2", "nobody", "c")), { code: "ROLE_NOT_FOUND" });
  await room.inventory.remove(room.machine("s1"), "anna");
  t.match(scheduling.problemOf(scheduling.get("a")), /s1/);
  t.equal(scheduling.problemOf(scheduling.get("b")), undefined);
  room.clock.advanceMs(60_000);
  await scheduling.settled();
  t.match(room.of("schedule.failed"), [{ level: "warning", data: { name: "a" } }]);
  t.match(room.of("schedule.fired"), [{ data: { name: "b" } }]);
  room.clock.advanceMs(60_000);
  await scheduling.settled();
  t.equal(room.of("schedule.failed").length, 1, "told once");
  await scheduling.stop();
});

t.test(
  "the history tells of changes that can be taken back no more, and these stay as they are",
  async (t) => {
    const room = await lab(t);
    const assign = (machines: string) =>
      room.assigning.assign({ machines, target: base.target, mode: "always", actor: "anna" });
    await assign("s1");
    for (let change = 0; change < 101; change++) await assign("s2");
    t.equal(room.undoing.history(undefined, 1000).length, 102);
    t.match(room.undoing.history("s1", 10), [{ actor: "anna", message: "s1 -> rescue" }]);
    t.equal(room.store.assignments.changes().length, 100);
    t.equal(room.undoing.history(undefined, 5).length, 5);
    t.throws(() => room.undoing.history("s77", 5), { code: "INVALID_HOST_SET" });
  },
);

t.test("over the API schedules are added, listed and removed, and outlive the server", async (t) => {
  const server = await startServer(t, { settings: { timezone: "Asia/Tokyo" } });
  const { api } = server;
  await server.addImage();
  await server.add(1, "s1", { group: "lab225" });
  const asked = { machines: "lab225", role: "rescue", power: "cycle", at: "07:05", days: ["fri", "mon"] };
  const added = await api("POST", "/schedules", asked);
  t.match(
    [added.status, added.json],
    [
      201,
      {
        name: "lab225-rescue",
        power: "cycle",
        timezone: "Asia/Tokyo",
        at: "07:05",
        days: ["mon", "fri"],
        createdBy: "admin",
        problem: null,
      },
    ],
  );
  t.equal((await api("POST", "/schedules", asked)).json["name"], "lab225-rescue-2");
  t.match(
    (await api("GET", "/schedules")).items.map(({ name }) => plain(name)),
    ["lab225-rescue", "lab225-rescue-2"],
  );
  t.equal((await api("POST", "/schedules", { ...asked, at: "24:00" })).status, 400);
  t.equal((await api("POST", "/schedules", { ...asked, days: [] })).status, 400);
  t.equal((await api("POST", "/schedules", { ...asked, role: "nobody" })).status, 404);
  t.equal((await api("DELETE", "/schedules/lab225-rescue-2")).status, 204);
  t.match(await api("GET", "/schedules/lab225-rescue-2"), {
    status: 404,
    json: { code: "SCHEDULE_NOT_FOUND" },
  });
  await server.assign("s1", "rescue");
  t.match((await api("GET", "/assignments/history?machines=s1")).items, [
    { actor: "admin", message: "s1 -> rescue", undoneAt: null },
  ]);
  await server.stop();
  const again = await startServer(t, { dataDir: server.dataDir });
  t.match(again.store.schedules.all(), [
    { name: "lab225-rescue", days: ["mon", "fri"], atMinute: 425, power: "cycle" },
  ]);
});

t.test("the boot command adds, lists, shows and removes schedules, and tells the history", async (t) => {
  const server = await startServer(t);
  const local = ["--data", server.dataDir];
  await server.add(1, "s1", { group: "lab225" });
  const add = ["schedule", "add", "lab225", "discover", "--at"];
  const added = await boot([...local, ...add, "7:30", "--on", "mon-fri", "--power", "wake"]);
  t.match(
    [added.code, added.out],
    [
      0,
      /^lab225-discover: lab225 -> discover, waking them, mon-fri 07:30\nAdded by the server's administrator\. Next: \d{4}-\d\d-\d\d \d\d:\d\d UTC, /,
    ],
  );
  await server.assign("s1", "discover");
  await server.api("POST", "/assignments/undo", {});
  const [list, show, history, wrong, late] = await Promise.all([
    boot([...local, "schedule", "list"]),
    boot([...local, "schedule", "show", "lab225-discover", "--output", "json"]),
    boot([...local, "history", "lab225"]),
    boot([...local, ...add, "24:00"]),
    boot([...local, ...add, "12:00", "--on", "someday"]),
  ]);
  t.match(
    list.out,
    /^SCHEDULE .*\nlab225-discover +lab225 +discover, wake +mon-fri 07:30 +\d{4}-.* UTC *\n$/,
  );
  t.match(JSON.parse(show.out), { name: "lab225-discover", at: "07:30", problem: null });
  t.match(history.out, /^WHEN .*\n.* UTC +admin +s1 -> discover +.* by admin\n$/);
  t.match([wrong.code, wrong.err], [2, /a time of day like 12:00/]);
  t.match([late.code, late.err], [2, /mon-fri, or sat,sun, or daily/]);
  t.match((await boot([...local, "schedule", "remove", "lab225-discover"])).out, /^Removed the schedule/);
  t.same(server.store.schedules.all(), []);
});
