import t from "tap";
import type { NewEvent } from "../server/domain/event.ts";
import { createRepeatedAlarms } from "../server/store/repeated-alarms.ts";
import { startServer } from "./support/http-fixture.ts";
import { ManualClock } from "./support/manual-clock.ts";
import { sampleMachine } from "./support/samples.ts";

function setUp() {
  const clock = new ManualClock();
  const rows: NewEvent[] = [];
  const alarms = createRepeatedAlarms(clock, (event) => void rows.push(event));
  return { clock, rows, alarms };
}
const refusal = (address: string, reason = "unknown", machineId?: string): NewEvent => ({
  type: "claim.refused",
  level: "alarm",
  machineId,
  message: `${address} was refused`,
  data: { address, reason },
});

t.test("a thousand alarms of one kind are one row, and the next one says how many there were", (t) => {
  const { clock, rows, alarms } = setUp();
  for (let count = 0; count < 1000; count++) alarms.record(refusal("10.0.0.9"));
  t.same(rows, [refusal("10.0.0.9")], "the first is recorded at once");
  clock.advanceMs(60_000);
  alarms.record(refusal("10.0.0.9"));
  t.equal(rows.length, 2);
  t.match(rows[1], {
    message: "10.0.0.9 was refused (and 999 more times before)",
    data: { address: "10.0.0.9", reason: "unknown", repeated: 999 },
  });
  t.end();
});

t.test("when it stops, the count is told all the same", (t) => {
  const { clock, rows, alarms } = setUp();
  for (let count = 0; count < 10; count++) alarms.record(refusal("10.0.0.9"));
  alarms.sweep();
  t.equal(rows.length, 1, "the minute is not over");
  clock.advanceMs(60_000);
  alarms.sweep();
  alarms.sweep();
  t.equal(rows.length, 2);
  t.match(rows[1], { data: { repeated: 8 } }, "one row for the ninth, with the eight between");
  alarms.record(refusal("10.0.0.9"));
  alarms.record(refusal("10.0.0.9"));
  alarms.sweep({ all: true });
  t.equal(rows.length, 4, "at the end of the server nothing is kept back");
  t.end();
});

t.test(
  "type, address, reason and machine tell them apart; what names no address or is no alarm passes",
  (t) => {
    const { rows, alarms } = setUp();
    const contradicted: NewEvent = { ...refusal("10.0.0.9"), type: "mac.contradicted" };
    const different = [
      refusal("10.0.0.9"),
      refusal("10.0.0.8"),
      refusal("10.0.0.9", "expired"),
      refusal("10.0.0.9", "expired", "m_1"),
      contradicted,
    ];
    for (const event of [...different, ...different]) alarms.record(event);
    t.same(rows, different);
    rows.length = 0;
    const plain: NewEvent[] = [
      { type: "boot.started", message: "s1: boot begun", data: { address: "10.0.0.9" } },
      { type: "machine.failed", level: "warning", message: "s1 failed" },
    ];
    for (const event of [...plain, ...plain]) alarms.record(event);
    t.same(rows, [...plain, ...plain]);
    t.end();
  },
);

t.test("a flood from ever new addresses is few rows, and still tells each type", (t) => {
  const { rows, alarms } = setUp();
  for (let count = 0; count < 10_000; count++)
    alarms.record(refusal(`10.1.${Math.floor(count / 250)}.${count % 250}`));
  t.equal(rows.length, 201);
  alarms.record({ ...refusal("10.9.9.9"), type: "mac.contradicted" });
  t.equal(rows.length, 202, "another type is heard");
  t.end();
});

t.test("a flood without a login leaves one row and one line of the log", async (t) => {
  const server = await startServer(t);
  for (let count = 0; count < 20; count++)
    t.equal((await server.ask("/boot/claims/aaaaaaaaaaaaaaaaaaaaaaaaaa/ignition.json")).status, 403);
  const refusals = await server.api("GET", "/events?type=claim.refused");
  t.equal(refusals.items.length, 1, "one row for twenty bad claims");

  const now = Date.now();
  await Promise.all(
    Array.from({ length: 2000 }, (_, index) =>
      server.store.machines.add(sampleMachine(10_000 + index, { phase: "discovered", createdAt: now })),
    ),
  );
  for (let number = 1; number <= 20; number++) await server.script(number);
  t.equal(
    server.logged.filter((line) => line.includes("too many")).length,
    1,
    "one line for twenty unknown MACs",
  );
  for (let number = 101; number <= 120; number++) await server.script(number, { from: 30 });
  const failures = (await server.api("GET", "/events?type=script.failed")).items;
  const ofOneAddress = failures.filter((event) => JSON.stringify(event).includes('"address":"127.0.1.30"'));
  t.ok(ofOneAddress.length <= 2, "a row for each reason, not for each MAC that one address asked for");
});
