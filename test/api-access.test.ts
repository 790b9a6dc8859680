import { readFileSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { Agent, type Dispatcher, request } from "undici";
import { hashSecret } from "../server/boot/claims.ts";
import { type Json, plain, startServer, type TestServer } from "./support/http-fixture.ts";

const scopes = ["admin", "operator", "viewer", "imagemaker"] as const;
type Scope = (typeof scopes)[number];

const everybody: readonly Scope[] = scopes;
const operators: readonly Scope[] = ["admin", "operator"];
const imageMakers: readonly Scope[] = ["admin", "imagemaker"];
const admins: readonly Scope[] = ["admin"];

/** Who may call what. A route that is not in this table makes the test fail: whoever adds one decides here who may call it. */
const table: Readonly<Record<string, readonly Scope[]>> = {
  "GET /machines": everybody,
  "POST /machines": operators,
  "POST /machines/import": operators,
  "POST /machines/accept": operators,
  "GET /machines/{machine}": everybody,
  "PATCH /machines/{machine}": operators,
  "DELETE /machines/{machine}": operators,
  "POST /machines/{machine}/accept": operators,
  "GET /machines/{machine}/hardware": everybody,
  "GET /machines/{machine}/explain": everybody,
  "GET /machines/{machine}/preview": everybody,
  "GET /machines/{machine}/preview/{kind}": everybody,
  "GET /machines/{machine}/boots": everybody,
  "GET /machines/{machine}/doctor": everybody,
  "GET /machines/{machine}/timeline": everybody,
  "GET /machines/{machine}/log": everybody,
  "GET /machines/{machine}/power": everybody,
  "PUT /machines/{machine}/power": admins,
  "DELETE /machines/{machine}/power": admins,
  "PUT /machines/{machine}/role": operators,
  "DELETE /machines/{machine}/role": operators,
  "GET /boots/{id}": everybody,
  "POST /assignments": operators,
  "DELETE /assignments": operators,
  "POST /assignments/undo": operators,
  "POST /assignments/diff": everybody,
  "GET /operations": everybody,
  "GET /assignments/history": everybody,
  "GET /schedules": everybody,
  "POST /schedules": operators,
  "GET /schedules/{name}": everybody,
  "DELETE /schedules/{name}": operators,
  "GET /operations/{id}": everybody,
  "POST /operations/{id}/cancel": operators,
  "POST /resets": operators,
  "GET /power": everybody,
  "POST /power": operators,
  "POST /commands": admins,
  "GET /roles": everybody,
  "GET /roles/{role}": everybody,
  "GET /groups": everybody,
  "POST /groups": operators,
  "GET /groups/{group}": everybody,
  "PATCH /groups/{group}": operators,
  "DELETE /groups/{group}": operators,
  "GET /groups/{group}/power": everybody,
  "PUT /groups/{group}/power": admins,
  "DELETE /groups/{group}/power": admins,
  "PUT /groups/{group}/role": operators,
  "DELETE /groups/{group}/role": operators,
  "GET /events": everybody,
  "GET /live": everybody,
  "GET /exams": everybody,
  "POST /exams": operators,
  "DELETE /exams/{room}": operators,
  "GET /images": everybody,
  "POST /images/import": imageMakers,
  "DELETE /images/{image}": imageMakers,
  "PUT /images/{image}/current": imageMakers,
  "POST /images/{image}/rollback": imageMakers,
  "POST /assets/gc": imageMakers,
  "GET /cluster": everybody,
  "GET /cluster/kubeconfig": admins,
  "GET /cluster/join": everybody,
  "POST /cluster/join": operators,
  "POST /cluster/arm": operators,
  "POST /cluster/release": operators,
  "POST /cluster/reset": operators,
  "GET /cluster/transitions": everybody,
  "GET /students": everybody,
  "POST /students": operators,
  "GET /students/{name}": everybody,
  "DELETE /students/{name}": operators,
  "POST /students/{name}/tokens": operators,
  "PUT /contents/{sha256}": imageMakers,
  "GET /contents/{sha256}": everybody,
  "GET /cluster/endpoint/haproxy": everybody,
  "GET /cluster/endpoint/keepalived": everybody,
  "GET /cluster/endpoint/authority": everybody,
  "GET /registry": everybody,
  "GET /registry/images": everybody,
  "DELETE /registry/images": imageMakers,
  "GET /registry/upstreams": everybody,
  "GET /registry/prewarm/{id}": everybody,
  "POST /registry/prewarm": imageMakers,
  "GET /registry/policy": everybody,
  "POST /registry/check": imageMakers,
  "POST /registry/collect": imageMakers,
  "POST /registry/credentials": admins,
  "GET /images/{repository}/signatures": everybody,
  "GET /keys": everybody,
  "POST /keys": admins,
  "POST /keys/{name}/revoke": admins,
  "DELETE /keys/{name}": admins,
  "POST /session": everybody,
  "GET /session": everybody,
  "DELETE /session": everybody,
  "POST /session/links": everybody,
  "GET /tokens": admins,
  "POST /tokens": admins,
  "DELETE /tokens/{token}": admins,
};

/** Signing in: it needs no token, since it takes one. */
const open: ReadonlySet<string> = new Set(["POST /session"]);

async function tokenOf(server: TestServer, scope: Scope, more: object = {}): Promise<string> {
  const { json, text } = await server.api("POST", "/tokens", { name: `${scope}-token`, scope, ...more });
  if (!json["token"]) throw new Error(text);
  return plain(json["token"]);
}

t.test("who may call what", async (t) => {
  const server = await startServer(t);
  const document = (await server.ask("/api/openapi.json")).json;
  const paths = document["paths"] ?? {};
  const routes = Object.entries(paths).flatMap(([path, methods]) =>
    Object.keys(methods).map((method) => `${method.toUpperCase()} ${path}`),
  );

  t.test("the OpenAPI document lists every route, machines' paths too, each with a summary", async (t) => {
    const api = routes.filter((route) => route.includes(" /api/v1/") && !route.startsWith("HEAD "));
    t.same(api.map((route) => route.replace("/api/v1", "")).sort(), Object.keys(table).sort());
    for (const path of [
      "/boot.ipxe",
      "/autoexec.ipxe",
      "/boot/{mac}/boot.ipxe",
      "/assets/{sha256}/{name}",
      "/callback/{claim}/joined",
      "/callback/{claim}/join",
      "/node/instruction",
      "/node/report",
      "/healthz",
    ])
      t.ok(paths[path], path);
    for (const [path, methods] of Object.entries(paths))
      for (const [method, operation] of Object.entries(methods))
        t.ok(operation["summary"], `${method} ${path}`);
    t.match(await server.ask("/api/docs"), { status: 200, text: /<html/i });
  });

  const tokens = new Map<Scope | "nobody" | "stranger", string | undefined>([
    ["nobody", undefined],
    ["stranger", "a".repeat(26)],
  ]);
  for (const scope of scopes) tokens.set(scope, await tokenOf(server, scope));
  let asked = 0;
  for (const [route, allowed] of Object.entries(table)) {
    const [method = "", path = ""] = route.split(" ");
    t.test(`${route}: ${allowed.join(", ")}`, async (t) => {
      // An address that shows a wrong token again and again has to wait, so the stranger comes from another one each time.
      const from = ++asked;
      for (const [caller, token] of tokens) {
        const answer = await server.ask(`/api/v1${path.replaceAll(/\{\w+\}/g, "nobody")}`, {
          method: method as Dispatcher.HttpMethod,
          token,
          ...(caller === "stranger" ? { from } : {}),
          ...(method === "GET" ? {} : { body: "{}", headers: { "content-type": "application/json" } }),
        });
        const { status, headers } = answer;
        if (open.has(route)) t.equal(status, 400, caller);
        else if (caller === "nobody")
          t.match(
            [status, answer.json, headers["www-authenticate"]],
            [401, { code: "TOKEN_MISSING" }, "Bearer"],
          );
        else if (caller === "stranger") t.match([status, answer.json], [401, { code: "TOKEN_INVALID" }]);
        else if ((allowed as readonly string[]).includes(caller))
          t.notMatch(String(status), /^(401|403|5\d\d)$/, caller);
        else t.match([status, answer.json], [403, { code: "SCOPE_MISSING" }], caller);
      }
    });
  }
  t.test("HEAD asks for the same token as GET", async (t) => {
    t.equal((await server.ask("/api/v1/machines", { method: "HEAD" })).status, 401);
    t.equal(
      (await server.ask("/api/v1/tokens", { method: "HEAD", token: tokens.get("viewer") })).status,
      403,
    );
  });
  t.test("nothing of the request is read before the token was checked", async (t) => {
    const body = "{not json";
    const headers = { "content-type": "application/json" };
    t.equal((await server.ask("/api/v1/machines", { method: "POST", body, headers })).status, 401);
  });
});

t.test("tokens", async (t) => {
  const server = await startServer(t);
  const machines = (headers: Record<string, string>) => server.ask("/api/v1/machines", { headers });

  t.test("are taken from the Authorization header only", async (t) => {
    const token = server.adminToken;
    t.equal((await machines({ authorization: `bearer  ${token}` })).status, 200);
    for (const authorization of [
      token,
      `Basic ${token}`,
      `Bearer ${token} x`,
      "Bearer",
      "Bearer null",
      `Bearer ${token.toUpperCase()}`,
    ])
      t.equal((await machines({ authorization })).status, 401, authorization.slice(0, 10));
    t.equal((await server.ask(`/api/v1/machines?token=${token}&access_token=${token}`)).status, 401);
  });
  t.test(
    "are shown once: in the answer that makes them, in no list, no event, no log and no file",
    async (t) => {
      const made = await server.api("POST", "/tokens", {
        name: "anna",
        scope: "operator",
        expiresInSeconds: 3600,
      });
      t.equal(made.status, 201);
      t.equal(made.headers["cache-control"], "no-store");
      const secret = plain(made.json["token"]);
      t.match(secret, /^[a-z2-7]{26}$/);
      const list = await server.api("GET", "/tokens");
      t.match(list.items, [{ name: "admin" }, { name: "anna", scope: "operator", expiresAt: /^20/ }]);
      const events = await server.api("GET", "/events?limit=1000");
      t.match(events.items.at(-1), { type: "token.created", actor: "admin" });
      for (const place of [
        list.text,
        events.text,
        server.logged.join(),
        JSON.stringify([...server.store.tokens.all()]),
      ])
        t.notOk(place.includes(secret));
      for (const file of ["rollcall.db", "rollcall.db-wal"])
        t.notOk(readFileSync(join(server.dataDir, file)).includes(secret), file);
      t.notOk(list.text.includes(hashSecret(secret)), "nor is its hash in the list");
    },
  );
  t.test("of one name there is one, also when two are made at once", async (t) => {
    const answers = await Promise.all(
      [1, 2].map(() => server.api("POST", "/tokens", { name: "twin", scope: "viewer" })),
    );
    t.same(answers.map(({ status }) => status).sort(), [201, 400]);
  });
  t.test(
    "named like the server's own administrator are refused: the log could not tell them apart",
    async (t) => {
      t.match(await server.api("POST", "/tokens", { name: "local", scope: "viewer" }), { status: 400 });
    },
  );
  t.test("are refused as soon as they are revoked, or expired", async (t) => {
    const secret = await tokenOf(server, "viewer");
    t.equal((await server.ask("/api/v1/machines", { token: secret })).status, 200);
    t.equal((await server.api("DELETE", "/tokens/viewer-token")).status, 204);
    t.match(await server.ask("/api/v1/machines", { token: secret }), {
      status: 401,
      json: { code: "TOKEN_INVALID" },
    });
    t.equal((await server.api("DELETE", "/tokens/viewer-token")).status, 404);
    const old = {
      id: "t_old",
      name: "old",
      scope: "admin",
      hash: hashSecret("old"),
      createdAt: 0,
      acceptedAt: undefined,
      expiresAt: Date.now() - 1,
    } as const;
    await server.store.tokens.add(old);
    t.equal((await server.ask("/api/v1/machines", { token: "old" })).status, 401);
  });
  t.test("say who did it, in the event log", async (t) => {
    const secret = await tokenOf(server, "operator");
    await server.api("POST", "/groups", { name: "lab1" }, secret);
    const { items } = await server.api("GET", "/events?type=group.added");
    t.match(items, [{ actor: "operator-token", data: { group: "lab1" } }]);
  });
  t.test("are not needed on the control socket, and whoever comes over it is `local`", async (t) => {
    const dispatcher = new Agent({ connect: { socketPath: join(server.dataDir, "control.sock") } });
    t.teardown(() => dispatcher.close());
    const { statusCode } = await request("http://localhost/api/v1/groups/lab1", {
      method: "DELETE",
      dispatcher,
    });
    t.equal(statusCode, 204);
    const { items } = await server.api("GET", "/events?type=group.removed");
    t.match(items, [{ actor: "local" }]);
  });
});

/** Opens the event stream; the returned function reads on until the event that fits, and gives all that came up to it. */
async function watch(server: TestServer, path: string, headers: Record<string, string> = {}) {
  const response = await request(`${server.url}/api/v1${path}`, {
    headers: { accept: "text/event-stream", authorization: `Bearer ${server.adminToken}`, ...headers },
  });
  return async (isLast: (event: Json) => boolean): Promise<Json[]> => {
    const told: Json[] = [];
    let pending = "";
    for await (const chunk of response.body) {
      const parts = (pending + String(chunk)).split("\n\n");
      pending = parts.pop() ?? "";
      for (const part of parts) {
        const data = /^data: (.*)$/m.exec(part)?.[1];
        if (data === undefined) continue;
        const event = JSON.parse(data) as Json;
        told.push(event);
        if (isLast(event)) return told;
      }
    }
    throw new Error(`the stream ended after ${told.length} events`);
  };
}

t.test("events", async (t) => {
  const server = await startServer(t);
  const named = (name: string) => (event: Json) => plain(event["data"]?.["group"]) === name;
  const addGroup = (name: string) => server.api("POST", "/groups", { name });
  for (let number = 1; number <= 5; number++) await addGroup(`g${number}`);

  t.test("are listed newest without since, and after a number with it, a page at a time", async (t) => {
    const groups = (items: Json[]) => items.map((item) => item["data"]?.["group"]);
    t.same(groups((await server.api("GET", "/events?type=group&limit=2")).items), ["g4", "g5"]);
    const seen: unknown[] = [];
    let next = "0";
    while (next !== "null") {
      const { items, json } = await server.api("GET", `/events?type=group&limit=2&cursor=${next}`);
      t.ok(items.length <= 2);
      seen.push(...groups(items));
      next = plain(json["next"]);
    }
    t.same(seen, ["g1", "g2", "g3", "g4", "g5"]);
    const [first] = (await server.api("GET", "/events?type=group&since=0&limit=1")).items;
    t.same(groups((await server.api("GET", `/events?type=group&since=${plain(first?.["seq"])}`)).items), [
      "g2",
      "g3",
      "g4",
      "g5",
    ]);
    t.equal((await server.api("GET", "/events?machine=nobody")).status, 404);
    t.equal((await server.api("GET", "/events?since=-1")).status, 400);
  });
  t.test(
    "are told live, each once and in order, also to somebody with thousands to catch up with",
    async (t) => {
      const many = 2600;
      await Promise.all(
        Array.from({ length: many }, (_, index) =>
          server.store.events.append({ type: "machine.log", message: `log ${index}` }),
        ),
      );
      const told = await watch(server, "/events?since=0&limit=10");
      for (let number = 0; number < 10; number++) await addGroup(`live${number}`);
      await addGroup("last");
      const numbers = (await told(named("last"))).map((event) => Number(event["seq"]));
      t.same(
        numbers,
        Array.from({ length: numbers.length }, (_, index) => index + 1),
        "no gap and nothing twice",
      );
      t.ok(numbers.length > many);
    },
  );
  t.test("go on where a browser lost them (Last-Event-ID)", async (t) => {
    const [newest] = (await server.api("GET", "/events?limit=1")).items;
    const seen = Number(newest?.["seq"]);
    await addGroup("while-away");
    const told = await (
      await watch(server, "/events", { "last-event-id": String(seen) })
    )(named("while-away"));
    t.same(
      told.map((event) => event["seq"]),
      [seen + 1],
    );
  });
  t.test("can be watched by type and machine; steps of a boot are told live and not kept", async (t) => {
    for (const number of [1, 2]) await server.add(number, `s${number}`);
    const told = await watch(server, "/events?machine=s1&type=boot&since=0");
    await server.script(2);
    await server.script(1);
    const types = (await told((event) => plain(event["type"]) === "boot.started")).map(
      (event) => event["type"],
    );
    t.same([...types].sort(), ["boot.started", "boot.step"]);
    t.same((await server.api("GET", "/events?type=boot.step")).items, []);
  });
});
