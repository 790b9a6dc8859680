import { readFileSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { Agent, request } from "undici";
import {
  linkLifetimeMs,
  sessionLifetimeMs,
  sessionSilenceMs,
} from "../../server/domain/dashboard-session.ts";
import { systemClock } from "../../server/platform/clock.ts";
import { cookieOf, makeLink, makeToken, ownRequest, signIn } from "../support/dashboard-lab.ts";
import { plain, startServer, type TestServer } from "../support/http-fixture.ts";

/** The server's clock, which can be put forward. */
function movableClock() {
  let aheadMs = 0;
  return {
    clock: { ...systemClock, now: () => systemClock.now() + aheadMs },
    forward: (ms: number) => void (aheadMs += ms),
  };
}

const over = { status: 401, json: { code: "SESSION_ENDED" } };
const sessionEvents = async (server: TestServer) =>
  (await server.api("GET", "/events?type=session&limit=1000")).items;

t.test("a session", async (t) => {
  const server = await startServer(t);
  await server.api("POST", "/groups", { name: "lab225" });
  await server.api("POST", "/groups", { name: "cellar" });
  await server.add(1, "s1", { group: "lab225" });
  await server.add(9, "far9", { group: "cellar" });

  t.test("is a cookie for a token, which no script reads and no other site's page sends", async (t) => {
    const { answer } = await signIn(server, { token: server.adminToken });
    t.match(answer, {
      status: 200,
      json: { name: "admin", scope: "admin", rooms: null, expiresAt: /^20/ },
      headers: { "cache-control": "no-store" },
    });
    const [cookie = ""] = [answer.headers["set-cookie"]].flat();
    t.match(cookie, /^rollcall_session=[a-z2-7]{26};/);
    t.same(cookie.split("; ").slice(1).sort(), ["HttpOnly", "Path=/", "SameSite=Strict"]);
  });
  t.test("says who one is, also to a token and on the control socket", async (t) => {
    const token = await makeToken(server, "vera", {
      scope: "viewer",
      rooms: ["lab225"],
      expiresInSeconds: 3600,
    });
    const { ask } = await signIn(server, { token });
    const mine = (await ask("/session")).json;
    t.match(mine, { name: "vera", scope: "viewer", rooms: ["lab225"] });
    const { json } = await server.api("GET", "/session", undefined, token);
    t.same(json, mine, "it is over when the token is");
    const dispatcher = new Agent({ connect: { socketPath: join(server.dataDir, "control.sock") } });
    t.teardown(() => dispatcher.close());
    const { body } = await request("http://localhost/api/v1/session", { dispatcher });
    t.same(await body.json(), { name: "local", scope: "admin", rooms: null, expiresAt: null });
    t.match(await server.ask("/api/v1/session"), { status: 401, json: { code: "TOKEN_MISSING" } });
  });
  t.test("may what its token may, in its rooms, and what it does is the token's doing", async (t) => {
    const { ask } = await signIn(server, {
      token: await makeToken(server, "olga", { scope: "operator", rooms: ["lab225"] }),
    });
    t.same(
      (await ask("/machines")).items.map(({ name }) => name),
      ["s1"],
    );
    t.equal((await ask("/machines/far9")).status, 404);
    t.match(await ask("/tokens"), { status: 403, json: { code: "SCOPE_MISSING" } });
    t.match(await ask("/machines", { method: "POST", body: {} }), { json: { code: "ROOMS_LIMITED" } });
    t.equal((await ask("/machines/s1", { method: "PATCH", body: { seat: "A1" } })).status, 200);
    const { items } = await server.api("GET", "/events?type=machine.edited");
    t.match(items.at(-1), { actor: "olga", data: { seat: "A1" } });
  });
  t.test("of a token for some repositories of the registry only looks here", async (t) => {
    const { answer, ask } = await signIn(server, {
      token: await makeToken(server, "builder", { scope: "imagemaker", repositories: ["p10/*"] }),
    });
    t.match(answer.json, { scope: "viewer" });
    t.equal((await ask("/assets/gc", { method: "POST", body: {} })).status, 403);
  });
  t.test("ends when it is signed out, and the cookie with it", async (t) => {
    const { ask } = await signIn(server, { token: server.adminToken });
    const { status, headers } = await ask("/session", { method: "DELETE" });
    t.equal(status, 204);
    t.match([headers["set-cookie"]].flat()[0], /^rollcall_session=;.*(Max-Age=0|Expires=Thu, 01 Jan 1970)/);
    t.match(await ask("/session"), over);
    t.match(await ask("/machines"), over);
    t.match((await sessionEvents(server)).at(-1), { type: "session.ended", actor: "admin" });
  });
  t.test("ends with its token, at once", async (t) => {
    const { ask } = await signIn(server, { token: await makeToken(server, "ben", { scope: "viewer" }) });
    t.equal((await ask("/machines")).status, 200);
    await server.api("DELETE", "/tokens/ben");
    t.match(await ask("/machines"), over);
    await makeToken(server, "ben", { scope: "admin" });
    t.match(await ask("/machines"), over, "and another token of that name is another token");
  });
  t.test("takes the place of the one before it in the same browser, under a new secret", async (t) => {
    const first = await signIn(server, { token: server.adminToken });
    const { headers } = await server.ask("/api/v1/session", {
      method: "POST",
      body: { token: server.adminToken },
      headers: { cookie: first.cookie },
    });
    t.not(cookieOf(headers), first.cookie);
    t.match(await first.ask("/session"), over);
    const planted = `rollcall_session=${"a".repeat(26)}`;
    const { headers: answered } = await server.ask("/api/v1/session", {
      method: "POST",
      body: { token: server.adminToken },
      headers: { cookie: planted },
    });
    t.not(cookieOf(answered), planted, "a cookie that somebody planted is not taken over");
    t.match(await server.ask("/api/v1/session", { headers: { cookie: planted } }), over);
  });
  t.test(
    "is one of twenty of its token at most: a new one ends the one that was used least recently",
    async (t) => {
      const token = await makeToken(server, "many", { scope: "viewer" });
      const all = [];
      for (let count = 0; count <= 20; count++) all.push(await signIn(server, { token }));
      t.match(await all[0]?.ask("/session"), over);
      t.equal((await all[1]?.ask("/session"))?.status, 200);
      t.equal((await all[20]?.ask("/session"))?.status, 200);
    },
  );
  t.test("keeps no secret: not in the store, no event, no log and no list", async (t) => {
    const link = await makeLink(server);
    const { cookie } = await signIn(server, { link });
    const unused = await makeLink(server);
    const places = [
      (await server.api("GET", "/events?limit=1000")).text,
      (await server.api("GET", "/tokens")).text,
      server.logged.join(),
      ...["rollcall.db", "rollcall.db-wal"].map((file) =>
        readFileSync(join(server.dataDir, file)).toString("latin1"),
      ),
    ];
    for (const secret of [link, unused, cookie.split("=")[1] ?? ""]) {
      t.equal(secret.length, 26);
      for (const place of places) t.notOk(place.includes(secret));
    }
  });
  t.test("hears the events live, and no more when its token is revoked", async (t) => {
    const { cookie } = await signIn(server, {
      token: await makeToken(server, "watcher", { scope: "viewer" }),
    });
    const { statusCode, body } = await request(`${server.url}/api/v1/events`, {
      headers: { accept: "text/event-stream", cookie },
    });
    t.equal(statusCode, 200);
    await server.api("POST", "/groups", { name: "heard" });
    await server.api("DELETE", "/tokens/watcher");
    const told = await body.text();
    t.match(told, /event: group\.added\n.*heard/);
    t.notMatch(told, /watcher revoked/);
  });
  t.test("is no use where no page of ours asks: the metrics take tokens only", async (t) => {
    const { cookie } = await signIn(server, { token: server.adminToken });
    t.match(await server.ask("/metrics", { headers: { cookie } }), { status: 401 });
  });
});

t.test("a session is over", async (t) => {
  const { clock, forward } = movableClock();
  const server = await startServer(t, { clock });
  t.test("after two hours without a request, and not before", async (t) => {
    const { ask } = await signIn(server, { token: server.adminToken });
    forward(sessionSilenceMs - 60_000);
    t.equal((await ask("/session")).status, 200);
    forward(sessionSilenceMs - 60_000);
    t.equal((await ask("/session")).status, 200, "a request is no silence");
    forward(sessionSilenceMs + 60_000);
    t.match(await ask("/session"), over);
  });
  t.test("after twelve hours, whatever it does", async (t) => {
    const { ask, answer } = await signIn(server, { token: server.adminToken });
    t.ok(Date.parse(plain(answer.json["expiresAt"])) <= clock.now() + sessionSilenceMs);
    for (let passedMs = 0; passedMs < sessionLifetimeMs; passedMs += 3_600_000) {
      t.equal((await ask("/machines")).status, 200);
      forward(3_600_000);
    }
    forward(1000);
    t.match(await ask("/session"), over);
  });
  t.test("when its token is", async (t) => {
    const token = await makeToken(server, "short", { scope: "viewer", expiresInSeconds: 600 });
    const { ask, answer } = await signIn(server, { token });
    t.ok(Date.parse(plain(answer.json["expiresAt"])) <= clock.now() + 600_000);
    forward(601_000);
    t.match(await ask("/session"), over);
  });
  t.test("and what is over leaves the store when somebody signs in", async (t) => {
    forward(sessionLifetimeMs + 1000);
    await makeLink(server);
    await signIn(server, { token: server.adminToken });
    t.equal(server.store.sessions.all().length, 1);
    t.equal(server.store.sessions.links().length, 1);
  });
});

t.test("a session and a link outlast a restart of the server", async (t) => {
  const first = await startServer(t);
  const { cookie } = await signIn(first, { token: first.adminToken });
  const link = await makeLink(first);
  await first.stop();
  const second = await startServer(t, { dataDir: first.dataDir });
  t.match(await second.ask("/api/v1/session", { headers: { cookie } }), {
    status: 200,
    json: { name: "admin" },
  });
  t.equal((await signIn(second, { link })).answer.status, 200);
});

t.test("a link", async (t) => {
  const { clock, forward } = movableClock();
  const server = await startServer(t, { clock });
  const refused = { status: 401, json: { code: "LINK_INVALID" } };

  t.test("signs in once as the one who made it, also when two come with it at the same time", async (t) => {
    const token = await makeToken(server, "olga", { scope: "operator" });
    const link = await makeLink(server, token);
    const answers = await Promise.all([1, 2].map(() => signIn(server, { link })));
    t.same(answers.map(({ answer }) => answer.status).sort(), [200, 401]);
    t.match(answers.find(({ answer }) => answer.status === 200)?.answer.json, {
      name: "olga",
      scope: "operator",
    });
    t.match((await signIn(server, { link })).answer, refused);
  });
  t.test(
    "leads to this server by the name that the maker knows it by; its secret is in the fragment",
    async (t) => {
      const { status, json, headers } = await server.api("POST", "/session/links", {});
      t.equal(status, 201);
      t.equal(headers["cache-control"], "no-store");
      t.match(plain(json["url"]), new RegExp(`^${server.url}/dashboard/sign-in#link=[a-z2-7]{26}$`));
      t.equal(Date.parse(plain(json["expiresAt"])) - clock.now() <= linkLifetimeMs, true);
    },
  );
  t.test("of the control socket signs in as the server's administrator", async (t) => {
    const dispatcher = new Agent({ connect: { socketPath: join(server.dataDir, "control.sock") } });
    t.teardown(() => dispatcher.close());
    const { body } = await request("http://localhost/api/v1/session/links", { method: "POST", dispatcher });
    const { url } = (await body.json()) as { url: string };
    t.ok(
      url.startsWith(`${server.url}/dashboard/sign-in#link=`),
      "with an address, where the socket has none",
    );
    const { answer, ask } = await signIn(server, { link: url.split("=")[1] ?? "" });
    t.match(answer.json, { name: "local", scope: "admin", rooms: null });
    t.equal((await ask("/groups", { method: "POST", body: { name: "lab225" } })).status, 201);
    t.match((await server.api("GET", "/events?type=group.added")).items, [{ actor: "local" }]);
  });
  t.test("is no good after five minutes, nor when its maker's token is gone", async (t) => {
    const old = await makeLink(server);
    forward(linkLifetimeMs + 1000);
    t.match((await signIn(server, { link: old })).answer, refused);
    const orphan = await makeLink(server, await makeToken(server, "gone", { scope: "viewer" }));
    await server.api("DELETE", "/tokens/gone");
    t.match((await signIn(server, { link: orphan })).answer, refused);
    t.match((await signIn(server, { link: "no-such" })).answer, refused);
    t.match((await signIn(server, { link: server.adminToken })).answer, refused, "a token is no link");
  });
  t.test("is not made by a session, which would go on for ever by it", async (t) => {
    const { ask } = await signIn(server, { token: server.adminToken });
    t.match(await ask("/session/links", { method: "POST", body: {} }), {
      status: 403,
      json: { code: "SESSION_NOT_ENOUGH" },
    });
  });
  t.test("and who made it and who came with it are events", async (t) => {
    t.match((await server.api("GET", "/events?type=session.link")).items.at(-1), { actor: /gone|admin/ });
    const started = (await server.api("GET", "/events?type=session.started")).items;
    t.match(
      started.find(({ actor }) => plain(actor) === "olga"),
      { data: { by: "link", address: "127.0.0.1", scope: "operator" } },
    );
  });
});

t.test("who can't sign in", async (t) => {
  const server = await startServer(t);
  const post = (body: unknown, from?: number) =>
    server.ask("/api/v1/session", { method: "POST", body, ...(from === undefined ? {} : { from }) });

  t.test("is told why, gets no cookie, and the event tells of it without the secret", async (t) => {
    const answer = await post({ token: "not-a-token" });
    t.match(answer, { status: 401, json: { code: "TOKEN_INVALID" } });
    t.equal(answer.headers["set-cookie"], undefined);
    const { items, text } = await server.api("GET", "/events?type=session.refused");
    t.match(items, [{ level: "warning", data: { address: "127.0.0.1", reason: "TOKEN_INVALID" } }]);
    t.notMatch(text, /not-a-token/);
  });
  t.test("makes the address wait after twenty tries, and no other one", async (t) => {
    for (let count = 0; count < 20; count++)
      t.equal((await post(count % 2 ? { token: "guess" } : { link: "guess" }, 1)).status, 401);
    t.match(await post({ token: server.adminToken }, 1), {
      status: 429,
      json: { code: "TOO_MANY_FAILURES" },
    });
    t.equal((await post({ token: server.adminToken }, 2)).status, 200);
  });
  t.test("may be a form of another site: it takes JSON only, and one thing at a time", async (t) => {
    const form = (type: string, body: string) =>
      server.ask("/api/v1/session", { method: "POST", body, headers: { "content-type": type } });
    const { adminToken } = server;
    t.equal((await form("application/x-www-form-urlencoded", `token=${adminToken}`)).status, 415);
    t.equal((await form("text/plain", JSON.stringify({ token: adminToken }))).status, 415);
    for (const body of [{}, { token: adminToken, link: "x" }, { token: 7 }, { password: "x" }])
      t.equal((await post(body)).status, 400, JSON.stringify(body));
  });
  t.test("may be sent by another site's page: that signs nobody in", async (t) => {
    for (const origin of ["https://evil.example", "null", `http://127.0.0.1:${server.port + 1}`]) {
      const answer = await server.ask("/api/v1/session", {
        method: "POST",
        body: { token: server.adminToken },
        headers: { ...ownRequest(server), origin },
      });
      t.match(answer, { status: 403, json: { code: "CROSS_SITE_REQUEST" } }, origin);
      t.equal(answer.headers["set-cookie"], undefined);
    }
  });
});
