import t from "tap";
import type {
  GroupLive,
  MachineLive,
  OperationLive,
  SnapshotMessage,
} from "../../server/http/api/live-messages.ts";
import { afterMachines, afterOperations, afterSnapshot, nothingLive } from "../../server/web/live-state.ts";
import { agoText, bytesText, durationText } from "../../server/web/parts/format.ts";
import { visibleText } from "../../server/web/parts/visible-text.ts";
import { pathTo, type Route, routeOf } from "../../server/web/routes.ts";
import { proposeName } from "../../server/web/views/propose-name.ts";
import { layoutOf } from "../../server/web/views/room-layout.ts";
import {
  extendTo,
  moveTo,
  nothingSelected,
  selectOnly,
  toggle,
  toggleAll,
} from "../../server/web/views/selection.ts";

const machine = (name: string, seat: string | null, more: Partial<MachineLive> = {}): MachineLive => ({
  id: name,
  name,
  group: "room",
  seat,
  phase: "ready",
  role: "worker",
  roleSource: "group",
  runs: null,
  address: null,
  currentAddress: null,
  lastSeenAt: null,
  boot: null,
  cluster: null,
  problem: null,
  progress: null,
  ...more,
});
const plan: GroupLive["plan"] = {
  seats: [
    ["A1", "A2", null, "A3"],
    ["B1", "B2", null, "B3"],
  ],
};
const members = [
  machine("s10", "B1"),
  machine("s2", "a2"),
  machine("s1", "A1"),
  machine("s3", "A3"),
  machine("s5", "B2"),
  machine("s4", "A1"),
  machine("s6", null),
];

t.test("machines stand where the plan has their seats, the others beside it by name", (t) => {
  const { rows, aisles, elsewhere } = layoutOf(plan, members);
  t.same(
    rows.map(({ label, seats }) => [label, ...seats.map((seat) => seat.machine?.name)]),
    [
      ["A", "s1", "s2", "s3"],
      ["B", "s10", "s5", undefined],
    ],
  );
  t.same(aisles, [false, false, true, false]);
  t.same(
    elsewhere.map(({ name }) => name),
    ["s4", "s6"],
    "one seat, one machine",
  );
  t.same(
    layoutOf(null, members).elsewhere.map(({ name }) => name),
    ["s1", "s2", "s3", "s4", "s5", "s6", "s10"],
    "without a plan all of them, as people count",
  );
  t.end();
});

t.test("Shift selects the rectangle between two seats, and a stretch of a list", (t) => {
  const layout = layoutOf(plan, members);
  const ids = (selection: { ids: ReadonlySet<string> }) => [...selection.ids].toSorted();
  const from = selectOnly("s2");
  t.same(ids(extendTo(from, "s10", layout)), ["s1", "s10", "s2", "s5"]);
  t.same(ids(extendTo(extendTo(from, "s10", layout), "s3", layout)), ["s2", "s3"], "the anchor stays");
  t.same(ids(extendTo(selectOnly("s5"), "s6", layout)), ["s4", "s5", "s6"], "also beyond the plan");
  t.same(ids(moveTo(from, "s3")), ["s2"], "an arrow alone selects nothing");
  t.same(ids(toggle(toggle(nothingSelected, "s1"), "s1")), []);
  t.same(ids(toggleAll(from, ["s1", "s2"])), ["s1", "s2"]);
  t.same(ids(toggleAll(toggleAll(from, ["s1", "s2"]), ["s1", "s2"])), []);
  t.end();
});

t.test("what can't be seen is shown by its code, what is long is cut", (t) => {
  t.equal(visibleText("exe.\u202egnp\u0000\n"), "exe.\\u{202e}gnp\\u{0}\\n");
  t.equal(visibleText("zażółć 日本 😀"), "zażółć 日本 😀");
  t.equal(visibleText("\ud800\u200b\u2066"), "\\u{d800}\\u{200b}\\u{2066}");
  t.equal(visibleText("x".repeat(10_000), 10), `${"x".repeat(10)}…`);
  t.end();
});

t.test("times and sizes are told in the reader's language", (t) => {
  t.equal(bytesText(412_345_678, "en"), "412 MB");
  t.equal(bytesText(1500, "en"), "1.5 kB");
  t.equal(bytesText(0, "en"), "0 byte");
  t.match(bytesText(4_000_000_000, "ru"), /^4\sГБ$/);
  t.match(durationText(185_000, "en"), /^3 min 5 sec$/);
  t.equal(durationText(42, "en"), "42 ms");
  t.equal(agoText(125_000, "en"), "2 minutes ago");
  t.equal(agoText(125_000, "pl"), "2 minuty temu");
  t.end();
});

t.test("each address leads to its view and back", (t) => {
  const routes: Route[] = [
    { view: "rooms" },
    { view: "room", room: "sala 225/ä?" },
    { view: "machine", machine: "s1" },
    { view: "cluster" },
    { view: "images" },
    { view: "events" },
    { view: "operations" },
    { view: "operation", operation: "op_1" },
    { view: "sign-in" },
  ];
  for (const route of routes) t.same(routeOf(pathTo(route)), route, pathTo(route));
  for (const path of ["/dashboard/x", "/dashboard/rooms/a/b", "/other", "/dashboard/rooms/%zz"])
    t.same(routeOf(path), { view: "nowhere" }, path);
  t.same(routeOf("/dashboard"), { view: "rooms" });
  t.end();
});

t.test("a machine that nobody named is offered the next name of the series", (t) => {
  t.equal(proposeName(["s1", "s29", "s3", "printer1"]), "s30");
  t.equal(proposeName(["pc-07", "pc-08"]), "pc-09");
  t.equal(proposeName(["m-525400123456", "m-525400123457"]), undefined);
  t.equal(proposeName([]), undefined);
  t.end();
});

t.test("what the stream tells replaces what was known, and what did not change is not drawn anew", (t) => {
  const snapshot: SnapshotMessage = {
    at: "2026-01-01T00:00:10.000Z",
    machines: [machine("s1", "A1"), machine("s2", "A2")],
    groups: [],
    operations: [],
  };
  const first = afterSnapshot(nothingLive, snapshot, Date.parse("2026-01-01T00:00:00Z"));
  t.equal(first.clockAheadMs, 10_000);
  const failed = machine("s2", "A2", { phase: "failed" });
  const changed = afterMachines(first, { changed: [failed, machine("s3", null)], removed: ["s1"] });
  t.same([...changed.machines.keys()], ["s2", "s3"]);
  t.equal(changed.machines.get("s2"), failed);
  const again = afterSnapshot(changed, { ...snapshot, machines: [{ ...failed }] }, 0);
  t.equal(again.machines.get("s2"), failed, "the same object");
  t.equal(again.machines.size, 1, "a snapshot tells all there is");
  t.end();
});

t.test("of operations that have ended the newest are kept, and all that are under way", (t) => {
  const operation = (id: string, state: OperationLive["state"]): OperationLive => ({
    id,
    kind: "power",
    action: "on",
    target: null,
    actor: "vera",
    state,
    startedAt: "2026-01-01T00:00:00.000Z",
    endedAt: null,
    done: 0,
    failed: 0,
    total: 1,
  });
  let state = afterOperations(nothingLive, { changed: [operation("long", "running")], removed: [] });
  for (let number = 1; number <= 300; number++)
    state = afterOperations(state, { changed: [operation(`op${number}`, "done")], removed: [] });
  t.equal(state.operations.size, 201);
  t.ok(state.operations.has("long") && state.operations.has("op300"));
  t.notOk(state.operations.has("op100"));
  t.end();
});
