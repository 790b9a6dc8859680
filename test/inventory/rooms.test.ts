import { join } from "node:path";
import Database from "better-sqlite3";
import t from "tap";
import { drawRoom } from "../../server/cli/commands/room-drawing.ts";
import {
  faultOfPlan,
  placeOf,
  readPlan,
  rectangularPlan,
  rowLetters,
  seatMeant,
} from "../../server/domain/room.ts";
import { isUsableUuid, parseUuid } from "../../server/net/uuid.ts";
import { createBootLab } from "../support/boot-lab.ts";
import { type Json, startServer } from "../support/http-fixture.ts";
import { macOf } from "../support/samples.ts";

t.test("a plan is read as people write it", (t) => {
  t.same(readPlan("2x3"), {
    seats: [
      ["A1", "A2", "A3"],
      ["B1", "B2", "B3"],
    ],
  });
  t.same(readPlan("A1 A2 . A3 / B1 B2"), {
    seats: [
      ["A1", "A2", null, "A3"],
      ["B1", "B2"],
    ],
  });
  t.equal(readPlan("1000x1000"), undefined);
  t.equal(faultOfPlan(rectangularPlan(40, 40)), undefined);
  t.match(faultOfPlan({ seats: [["A1", "a1"]] }), /twice/);
  t.match(faultOfPlan({ seats: [["A 1"]] }), /no name of a seat/);
  t.match(faultOfPlan({ seats: [["\u001b[2J"]] }), /no name of a seat/);
  t.match(faultOfPlan({ seats: [[null]] }), /no seat/);
  t.match(faultOfPlan({ seats: Array.from({ length: 41 }, (_, row) => [`s${row}`]) }), /more than 40 rows/);
  t.same(placeOf(rectangularPlan(2, 3), "B3"), { row: 2, column: 3 });
  t.equal(seatMeant(rectangularPlan(2, 3), "b3"), "B3");
  t.same([1, 26, 27, 52, 53].map(rowLetters), ["A", "Z", "AA", "AZ", "BA"]);
  t.end();
});

t.test("a seat holds one machine, and a room with a plan has no other seats", async (t) => {
  const lab = await createBootLab(t);
  const { inventory } = lab;
  const add = (number: number, name: string, seat: string, group = "lab225") =>
    inventory.add({ name, macs: [macOf(number)], group, seat }, "anna");
  await add(1, "s1", "A1");
  await t.rejects(add(2, "s2", "a1"), { code: "SEAT_TAKEN", message: /s1 sits at a1 of lab225/ });
  await add(2, "s2", "A1", "lab226");
  await inventory.editGroup("lab225", { plan: rectangularPlan(2, 2) }, "anna");
  t.equal((await add(3, "s3", "b2")).seat, "B2", "as the plan spells it");
  await t.rejects(add(4, "s4", "C1"), { code: "SEAT_NOT_IN_ROOM", message: /A1, A2, B1, B2/ });
  await t.rejects(inventory.edit(lab.machine("s3").id, { seat: "A1" }, "anna"), { code: "SEAT_TAKEN" });
  await inventory.edit(lab.machine("s1").id, { seat: null }, "anna");
  t.equal((await inventory.edit(lab.machine("s3").id, { seat: "A1" }, "anna")).seat, "A1");
  await inventory.editGroup("lab225", { plan: rectangularPlan(1, 1) }, "anna");
  await inventory.editGroup("lab225", { plan: { seats: [["X1"]] } }, "anna");
  t.equal(
    (await inventory.edit(lab.machine("s3").id, { address: "10.1.0.9" }, "anna")).seat,
    "A1",
    "it stays where it was",
  );
  await t.rejects(inventory.editGroup("lab225", { plan: { seats: [["A1", "A1"]] } }, "anna"), {
    code: "INVALID_REQUEST",
  });
});

t.test("the room is drawn as a room: each seat with who sits there and how far", async (t) => {
  const server = await startServer(t);
  const ask = async (method: "GET" | "POST" | "PATCH", path: string, body?: object): Promise<Json> =>
    (await server.api(method, path, body)).json;
  await ask("POST", "/groups", { name: "lab225" });
  await ask("PATCH", "/groups/lab225", {
    plan: {
      seats: [
        ["A1", null, "A2"],
        ["B1", null, "B2"],
      ],
    },
  });
  await ask("POST", "/machines", { name: "s1", macs: [macOf(1)], group: "lab225", seat: "A1" });
  await ask("POST", "/machines", { name: "s2", macs: [macOf(2)], group: "lab225", seat: "B2" });
  await ask("POST", "/machines", { name: "s3", macs: [macOf(3)], group: "lab225" });
  const group = await ask("GET", "/groups/lab225");
  t.match(group, {
    machines: ["s1", "s2", "s3"],
    plan: {
      rows: 2,
      columns: 3,
      seats: [
        { seat: "A1", row: 1, column: 1, machine: { name: "s1", phase: "accepted", role: "discover" } },
        { seat: "A2", row: 1, column: 3, machine: null },
        { seat: "B1", row: 2, column: 1, machine: null },
        { seat: "B2", row: 2, column: 3, machine: { name: "s2" } },
      ],
      elsewhere: [{ name: "s3", seat: null }],
    },
  });
  const drawn = drawRoom(group as unknown as Parameters<typeof drawRoom>[0]);
  t.match(drawn, /A1 +A2\ns1 +-\naccepted\n\nB1 +B2\n- +s2\n +accepted\n\nNot on the plan: s3\n$/);
  await ask("PATCH", "/groups/lab225", { plan: null });
  t.match(await ask("GET", "/groups/lab225"), { plan: null });
});

t.test("who sat down before the plan was drawn sits on it, however the seat was spelled", async (t) => {
  const server = await startServer(t);
  const ask = async (method: "GET" | "POST" | "PATCH", path: string, body?: object): Promise<Json> =>
    (await server.api(method, path, body)).json;
  await ask("POST", "/machines", { name: "s1", macs: [macOf(1)], group: "lab225", seat: "a1" });
  await ask("PATCH", "/groups/lab225", { plan: { seats: [["A1", "A2"]] } });
  t.match(await ask("GET", "/groups/lab225"), {
    plan: {
      seats: [
        { seat: "A1", machine: { name: "s1" } },
        { seat: "A2", machine: null },
      ],
      elsewhere: [],
    },
  });
});

t.test("two machines on one seat from before the rule are told, and mended by moving one", async (t) => {
  const first = await startServer(t);
  const { dataDir } = first;
  for (const [number, seat] of [
    [1, "A1"],
    [2, "A2"],
  ] as const)
    await first.api("POST", "/machines", {
      name: `s${number}`,
      macs: [macOf(number)],
      group: "lab225",
      seat,
    });
  await first.stop();
  const db = new Database(join(dataDir, "rollcall.db"));
  db.exec("UPDATE machines SET seat = 'a1' WHERE name = 's2'");
  db.close();
  const server = await startServer(t, { dataDir });
  const ask = (method: "GET" | "POST" | "PATCH", path: string, body?: object) =>
    server.ask(`/api/v1${path}`, { method, token: first.adminToken, ...(body ? { body } : {}) });
  const group = (await ask("GET", "/groups/lab225")).json;
  t.match(group, { sharedSeats: [{ seat: /a1/i, machines: ["s1", "s2"] }] });
  t.match(
    drawRoom(group as unknown as Parameters<typeof drawRoom>[0]),
    /s1 and s2 both have the seat a1: .* boot machine edit s2 --seat SEAT/i,
  );
  t.equal((await ask("PATCH", "/machines/s1", { labels: { os: "alt" } })).status, 200, "else it is as ever");
  t.equal((await ask("PATCH", "/machines/s1", { seat: "B1" })).status, 200);
  const third = { name: "s3", macs: [macOf(3)], group: "lab225", seat: "A1" };
  t.match((await ask("POST", "/machines", third)).json, { code: "SEAT_TAKEN", detail: /s2/ });
  t.match((await ask("GET", "/groups/lab225")).json, { sharedSeats: [] });
});

t.test("a UUID that many boards share is none, and two machines with one UUID are told", async (t) => {
  for (const text of [
    "00000000-0000-0000-0000-000000000000",
    "FFFFFFFF-FFFF-FFFF-FFFF-FFFFFFFFFFFF",
    "03000200-0400-0500-0006-000700080009",
    "4c4c4544-0000-2010-8020-80c04f202020",
  ]) {
    const uuid = parseUuid(text);
    t.notOk(uuid && isUsableUuid(uuid), text);
  }
  const lab = await createBootLab(t);
  const uuid = parseUuid("11223344-5566-7788-99aa-bbccddeeff00");
  await lab.inventory.meet(macOf(1), { uuid });
  const second = await lab.inventory.meet(macOf(2), { uuid });
  t.not(second.id, lab.inventory.get(macOf(1)).id, "a MAC is what a machine is known by");
  t.match(lab.of("machine.uuid-shared"), [{ machineId: second.id, data: { uuid } }]);
  t.same(
    lab.inventory.sharersOf(second).map(({ macs }) => macs[0]),
    [macOf(1)],
  );
  await lab.inventory.meet(macOf(2), { uuid });
  await lab.inventory.meet(macOf(2), { uuid: parseUuid("11223344-5566-7788-99aa-bbccddeeff01") });
  await lab.inventory.meet(macOf(2), { uuid });
  t.equal(lab.of("machine.uuid-shared").length, 1, "once, whatever it says in between");
  const junk = await lab.inventory.meet(macOf(3), {
    uuid: parseUuid("03000200-0400-0500-0006-000700080009"),
  });
  t.equal(junk.uuid, undefined);
});
