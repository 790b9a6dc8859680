import t from "tap";
import { type Dispatcher, request } from "undici";
import { createLoginFailures } from "../server/http/login-failures.ts";
import type { Uuid } from "../server/net/uuid.ts";
import { type Json, loopbackOf, plain, startServer, type TestServer } from "./support/http-fixture.ts";
import { ManualClock } from "./support/manual-clock.ts";
import { macOf } from "./support/samples.ts";

/** Routes that a token of some rooms may call at all: each works on what is in the rooms, or tells of no machine. */
const withinRooms = new Set([
  "GET /machines",
  "GET /machines/{machine}",
  "PATCH /machines/{machine}",
  "DELETE /machines/{machine}",
  "POST /machines/{machine}/accept",
  "GET /machines/{machine}/explain",
  "GET /machines/{machine}/preview",
  "GET /machines/{machine}/preview/{kind}",
  "GET /machines/{machine}/boots",
  "GET /machines/{machine}/doctor",
  "GET /machines/{machine}/timeline",
  "GET /machines/{machine}/log",
  "PUT /machines/{machine}/role",
  "DELETE /machines/{machine}/role",
  "GET /boots/{id}",
  "POST /assignments",
  "DELETE /assignments",
  "POST /assignments/undo",
  "POST /assignments/diff",
  "GET /assignments/history",
  "GET /schedules",
  "POST /schedules",
  "GET /schedules/{name}",
  "DELETE /schedules/{name}",
  "GET /machines/{machine}/hardware",
  "GET /machines/{machine}/power",
  "GET /groups/{group}/power",
  "GET /power",
  "POST /power",
  "POST /resets",
  "GET /operations",
  "GET /operations/{id}",
  "POST /operations/{id}/cancel",
  "GET /roles",
  "GET /roles/{role}",
  "GET /groups",
  "GET /groups/{group}",
  "PATCH /groups/{group}",
  "PUT /groups/{group}/role",
  "DELETE /groups/{group}/role",
  "GET /events",
  "GET /live",
  "GET /exams",
  "POST /exams",
  "DELETE /exams/{room}",
  "POST /session",
  "GET /session",
  "DELETE /session",
  "POST /session/links",
]);

async function tokenOf(server: TestServer, name: string, scope: string, rooms: string[]): Promise<string> {
  const { json, text } = await server.api("POST", "/tokens", { name, scope, rooms });
  if (!json["token"]) throw new Error(text);
  return plain(json["token"]);
}

/** s1 in lab225, whose token it is, and far9 in cellar. */
async function twoRooms(t: Parameters<typeof startServer>[0]) {
  const server = await startServer(t);
  await server.addImage();
  await server.add(1, "s1", { group: "lab225" });
  await server.add(9, "far9", { group: "cellar" });
  const operator = await tokenOf(server, "olga", "operator", ["lab225"]);
  const viewer = await tokenOf(server, "vera", "viewer", ["lab225"]);
  return { server, operator, viewer };
}

t.test("a token of a room reaches that room and nothing else", async (t) => {
  const { server, operator, viewer } = await twoRooms(t);
  const { items } = await server.api("GET", "/machines/far9/boots");
  t.same(items, []);
  const far = (await server.api("GET", "/machines/far9")).json;
  await server.assign("far9,s1", "rescue");
  const secrets = ["far9", "cellar", macOf(9), plain(far["id"])];
  const paths = (await server.ask("/api/openapi.json")).json["paths"] ?? {};
  const routes = Object.entries(paths)
    .flatMap(([path, methods]) => Object.keys(methods).map((method) => `${method.toUpperCase()} ${path}`))
    .filter((route) => route.includes(" /api/v1/") && !route.startsWith("HEAD "))
    .map((route) => route.replace("/api/v1", ""));
  t.ok(routes.length > 60);

  await server.api("POST", "/schedules", { machines: "far9", role: "rescue", at: "12:00", name: "far9" });

  for (const route of routes) {
    const [method = "", path = ""] = route.split(" ");
    const call = (name: string) =>
      server.ask(`/api/v1${path.replaceAll(/\{\w+\}/g, name)}${queryFor(route, name)}`, {
        method: method as Dispatcher.HttpMethod,
        token: operator,
        ...(method === "GET" ? {} : { body: JSON.stringify(bodyFor(route, name)) }),
        ...(method === "GET" ? {} : { headers: { "content-type": "application/json" } }),
      });
    t.test(route, async (t) => {
      if (!withinRooms.has(route)) {
        const { status, json } = await call("s1");
        t.match([status, json["code"]], [403, /ROOMS_LIMITED|SCOPE_MISSING/]);
        return;
      }
      // What an earlier route began must not change an answer between two looks.
      while ((await server.api("GET", "/operations?state=running")).items.length > 0);
      for (const [inside, outside] of [
        ["no-such", "far9"],
        ["no-room", "cellar"],
      ] as const) {
        const unknown = await call(inside);
        const hidden = await call(outside);
        t.equal(hidden.status, unknown.status);
        if (!/\/(undo|links)$/.test(route))
          t.equal(untimed(hidden).replaceAll(outside, inside), untimed(unknown), "as if it were not there");
      }
      const { text } = await call("s1");
      for (const secret of secrets) t.notOk(text.includes(secret), `tells nothing of ${secret}`);
    });
  }

  t.test("it does there what its scope says", async (t) => {
    const as = (method: Dispatcher.HttpMethod, path: string, body?: unknown) =>
      server.api(method, path, body, operator);
    t.same(
      (await as("GET", "/machines")).items.map(({ name }) => name),
      ["s1"],
    );
    t.match(await as("POST", "/assignments", { machines: "all", role: "worker" }), {
      status: 200,
      json: { plan: [{ machine: "s1" }] },
    });
    t.equal((await server.api("GET", "/machines/far9")).json["role"], "rescue");
    t.equal((await as("PATCH", "/machines/s1", { seat: "A1" })).status, 200);
    t.match(await as("PATCH", "/machines/s1", { name: "far9" }), { json: { code: "ROOMS_LIMITED" } });
    t.equal((await server.api("PUT", "/machines/s1/role", { role: "worker" }, viewer)).status, 403);
    t.match(await server.ask("/metrics", { token: viewer }), {
      status: 403,
      text: /ROOMS_LIMITED.*lab225|lab225/,
    });
  });
  t.test("an undo of it takes back only what is within its room", async (t) => {
    await server.api("POST", "/assignments/undo", {});
    t.match(await server.api("POST", "/assignments/undo", {}, operator), {
      json: { code: "NOTHING_TO_UNDO" },
    });
  });
  t.test("only viewers and operators are limited, and to rooms that there are", async (t) => {
    for (const scope of ["admin", "imagemaker"])
      t.equal((await server.api("POST", "/tokens", { name: "x", scope, rooms: ["lab225"] })).status, 400);
    t.match(await server.api("POST", "/tokens", { name: "x", scope: "viewer", rooms: ["lab522"] }), {
      json: { code: "GROUP_NOT_FOUND" },
    });
  });
});

/** What is answered, but for the time of the answer itself. */
const untimed = ({ text }: { readonly text: string }): string => text.replace(/^\{"at":"[^"]*",/, "{");

const queryFor = (route: string, name: string): string =>
  /GET \/(power|assignments\/history)$/.test(route) ? `?machines=${name}` : "";

function bodyFor(route: string, name: string): unknown {
  if (/assignments\/undo|accept/.test(route)) return {};
  if (route === "DELETE /assignments") return { machines: name };
  if (route === "POST /schedules") return { machines: name, role: "rescue", at: "12:00" };
  if (route.includes("/assignments")) return { machines: name, role: "rescue" };
  if (route.endsWith("/role")) return { role: "rescue" };
  if (route === "POST /power") return { machines: name, action: "off" };
  if (route === "POST /resets") return { machines: name, dryRun: true };
  if (route === "POST /exams") return { room: name, role: "rescue" };
  return {};
}

t.test("of operations a token of a room sees those all of whose machines are there", async (t) => {
  const { server, operator } = await twoRooms(t);
  const begun = async (machines: string) =>
    plain((await server.api("POST", "/assignments", { machines, role: "rescue" })).json["operation"]);
  const own = await begun("s1");
  const both = await begun("s1,far9");
  for (let count = 0; count < 3; count++) await begun("far9");
  const as = (method: Dispatcher.HttpMethod, path: string, body?: unknown) =>
    server.api(method, path, body, operator);
  t.match(await as("GET", `/operations/${own}`), { status: 200, json: { id: own } });
  for (const [method, path] of [
    ["GET", `/operations/${both}`],
    ["POST", `/operations/${both}/cancel`],
  ] as const)
    t.match(await as(method, path), { status: 404, json: { code: "OPERATION_NOT_FOUND" } });
  const { json, items } = await as("GET", "/operations?limit=1");
  t.same(
    items.map(({ id }) => id),
    [own],
  );
  t.equal(json["next"], null, "and is not told how many there are elsewhere");
  t.equal((await server.api("GET", "/operations")).items.length, 5);
  for (const more of [{ students: true }, { destroyCluster: "lab" }])
    t.match(await as("POST", "/resets", { machines: "s1", ...more }), { json: { code: "ROOMS_LIMITED" } });
});

t.test("of schedules a token of rooms sees and takes away those that lie wholly there", async (t) => {
  const { server, operator } = await twoRooms(t);
  const add = async (machines: string, token?: string) => {
    const { status, json } = await server.api(
      "POST",
      "/schedules",
      { machines, role: "rescue", at: "12:00" },
      token,
    );
    return status === 201 ? plain(json["name"]) : plain(json["code"]);
  };
  const names = async (token?: string) =>
    (await server.api("GET", "/schedules", undefined, token)).items.map(({ name }) => plain(name));
  for (const machines of ["s1", "far9", "s1,far9", "all", "all,-far9", "lab225"]) await add(machines);
  t.same(
    (await names(operator)).sort(),
    ["lab225-rescue", "s1-rescue"],
    "not what names others, be it to leave them out",
  );
  t.equal(await add("far9", operator), "INVALID_HOST_SET");
  t.equal(await add("s1,far9", operator), "INVALID_HOST_SET");
  t.equal(await add("all", operator), "all-rescue-2");
  t.match((await server.api("GET", "/schedules/all-rescue-2")).json, {
    rooms: ["lab225"],
    createdBy: "olga",
  });
  t.same((await names(operator)).sort(), ["all-rescue-2", "lab225-rescue", "s1-rescue"]);
  for (const name of ["far9-rescue", "all-rescue", "s1-far9-rescue", "no-such"])
    for (const method of ["GET", "DELETE"] as const)
      t.match((await server.api(method, `/schedules/${name}`, undefined, operator)).json, {
        code: "SCHEDULE_NOT_FOUND",
      });
  t.equal((await server.api("DELETE", "/schedules/lab225-rescue", undefined, operator)).status, 204);
  t.equal((await server.api("DELETE", "/schedules/all-rescue-2", undefined, operator)).status, 204);
  const told = await server.api("GET", "/events?type=schedule", undefined, operator);
  t.match(told.items, [
    { type: "schedule.added", actor: "olga", data: { group: "lab225" } },
    { type: "schedule.removed", actor: "olga", data: { group: "lab225" } },
  ]);
});

t.test("the history that a token of a room sees is of changes that concern it alone", async (t) => {
  const { server, operator } = await twoRooms(t);
  await server.assign("s1", "worker");
  await server.assign("far9", "worker");
  await server.assign("s1,far9", "rescue");
  await server.api("PUT", "/groups/cellar/role", { role: "rescue" });
  await server.api("PUT", "/groups/lab225/role", { role: "rescue" });
  const told = (query: string, token?: string) =>
    server.api("GET", `/assignments/history${query}`, undefined, token);
  t.same(
    (await told("", operator)).items.map(({ message }) => message),
    ["group lab225 -> rescue", "s1 -> worker"],
  );
  t.equal((await told("?limit=1", operator)).items.length, 1);
  t.same(
    (await told("?machines=s1", operator)).items.map(({ message }) => message),
    ["group lab225 -> rescue", "s1 -> worker"],
  );
  t.equal((await told("")).items.length, 5);
});

t.test("the doctor's evidence for a token of a room names no machine of another one", async (t) => {
  const { server, viewer } = await twoRooms(t);
  // Somebody asks for s1's script from the address of far9.
  await server.script(1, { from: 9 });
  const doctor = (machine: string, token?: string) =>
    server.api("GET", `/machines/${machine}/doctor`, undefined, token);
  t.match((await doctor("s1")).text, new RegExp(macOf(9)), "which whoever sees all is told");
  const { status, text } = await doctor("s1", viewer);
  t.equal(status, 200);
  t.match(text, /belongs to|another one's/);
  t.notMatch(text, new RegExp(macOf(9)));
  const events = await server.api("GET", "/events?type=mac", undefined, viewer);
  t.equal(events.items.length, 1);
  t.notMatch(events.text, new RegExp(macOf(9)));
  t.equal((await doctor(macOf(1), viewer)).status, 200);
  const [unknown, other] = [await doctor(macOf(77), viewer), await doctor(macOf(9), viewer)];
  t.same(
    [unknown.status, other.status],
    [404, 404],
    "of a MAC that nobody added nobody knows whose room it is in",
  );
});

t.test("students and the cluster are of all rooms: a token of one is refused, and told why", async (t) => {
  const { server, operator } = await twoRooms(t);
  for (const [method, path, body] of [
    ["GET", "/students", undefined],
    ["POST", "/students", { names: ["anna"] }],
    ["POST", "/resets", { machines: "s1", students: true }],
  ] as const)
    t.match((await server.api(method, path, body, operator)).json, {
      code: "ROOMS_LIMITED",
      detail: /lab225 alone.*students' pods run on any of its machines/,
    });
});

t.test(
  "boards with one UUID are told to a token of a room without the names of other rooms' machines",
  async (t) => {
    const { server, viewer } = await twoRooms(t);
    const uuid = "8b2f5f4c-0a6e-4c0e-9d0a-5a1f3e6f7a11" as Uuid;
    for (const name of ["far9", "s1"]) {
      const machineId = plain((await server.api("GET", `/machines/${name}`)).json["id"]);
      await server.store.machines.update(machineId, (before) => ({ ...before, uuid }));
      await server.store.events.append({
        type: "machine.uuid-shared",
        machineId,
        message: `${name} says the same UUID of itself as far9`,
        data: { uuid, machines: ["far9"] },
      });
    }
    t.same((await server.api("GET", "/machines/s1/hardware", undefined, viewer)).json["sharesUuidWith"], []);
    t.same((await server.api("GET", "/machines/s1/hardware")).json["sharesUuidWith"], ["far9"]);
    const told = await server.api("GET", "/events?type=machine.uuid-shared", undefined, viewer);
    t.equal(told.items.length, 1);
    t.notMatch(told.text, /far9/);
  },
);

t.test("the event stream of a room tells of that room, and ends when its token is revoked", async (t) => {
  const { server, viewer } = await twoRooms(t);
  const response = await request(`${server.url}/api/v1/events`, {
    headers: { accept: "text/event-stream", authorization: `Bearer ${viewer}` },
  });
  await server.assign("far9", "worker");
  await server.assign("s1", "worker");
  await server.api("DELETE", "/tokens/vera");
  const told = await response.body.text();
  t.match(told, /s1: .* -> worker/);
  t.notMatch(told, /far9|cellar|token\./);
  t.equal((await server.api("GET", "/events", undefined, viewer)).status, 401);
});

t.test("wrong tokens", async (t) => {
  t.test("make the address that shows them wait, and no other one", async (t) => {
    const server = await startServer(t);
    const ask = (from: number, token: string) => server.ask("/api/v1/machines", { from, token });
    for (let count = 1; count <= 20; count++) t.equal((await ask(1, "wrong")).status, 401);
    const refused = await ask(1, server.adminToken);
    t.match([refused.status, refused.json["code"]], [429, "TOO_MANY_FAILURES"]);
    t.match(refused.headers["retry-after"], /^[1-9]/);
    t.equal((await ask(2, server.adminToken)).status, 200);
    t.equal((await server.api("GET", "/machines")).status, 200);
    t.match((await server.api("GET", "/events?type=token.failures")).items, [
      { level: "warning", data: { address: loopbackOf(1), failures: 20 } },
    ]);
  });
  t.test("cost twice the time each, up to a minute, and are forgotten", (t) => {
    const clock = new ManualClock();
    const failures = createLoginFailures({ clock, record: () => {} });
    const waitOf = () => {
      try {
        failures.refuse("10.0.0.1");
        return 0;
      } catch (error) {
        return (error as { details: Json }).details["retryAfterSeconds"];
      }
    };
    for (let count = 1; count < 20; count++) failures.note("10.0.0.1");
    t.equal(waitOf(), 0);
    const waits = [1, 2, 4, 8, 16, 32, 60, 60].map((seconds) => {
      failures.note("10.0.0.1");
      const wait = waitOf();
      clock.advanceMs(seconds * 1000);
      t.equal(waitOf(), 0, "and then it may try again");
      return Number(wait);
    });
    t.same(waits, [1, 2, 4, 8, 16, 32, 60, 60]);
    clock.advanceMs(10 * 60_000);
    failures.note("10.0.0.1");
    t.equal(waitOf(), 0);
    t.end();
  });
});
