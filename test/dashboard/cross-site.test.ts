import type { Dispatcher } from "undici";
import t from "tap";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { mayUseCookie } from "../../server/http/dashboard/same-origin.ts";
import { signIn } from "../support/dashboard-lab.ts";
import { freePort } from "../support/free-port.ts";
import { curl, startServer } from "../support/http-fixture.ts";
import { temporaryDirectory } from "../support/samples.ts";

/** Of Origin, Host, method, cookie, token and header: what is answered. Whatever is not said to be right is refused. */
t.test(
  "only the dashboard's own pages change something with a cookie: origin, host, method, cookie and header",
  async (t) => {
    const server = await startServer(t);
    const { cookie } = await signIn(server, { token: server.adminToken });
    const own = `127.0.0.1:${server.port}`;
    const local = `localhost:${server.port}`;
    const hosts = [own, local, `evil.example:${server.port}`];
    const origins = [
      undefined,
      `http://${own}`,
      `http://${local}`,
      `https://${own}`,
      "null",
      "http://evil.example",
      `http://evil.example:${server.port}`,
      `http://127.0.0.1:${server.port + 1}`,
      `http://127.0.0.1`,
      `ftp://${own}`,
      `http://${own}@evil.example`,
      `http://${own}.evil.example`,
      "",
    ];
    const ways: readonly (readonly [Dispatcher.HttpMethod, string, unknown])[] = [
      ["GET", "/machines", undefined],
      ["POST", "/assignments/undo", {}],
      ["PATCH", "/machines/nobody", { seat: "A1" }],
      ["DELETE", "/machines/nobody", undefined],
    ];
    let passed = 0;
    let asked = 0;
    for (const host of hosts)
      for (const origin of origins)
        for (const [method, path, body] of ways)
          for (const header of [undefined, "dashboard", "Dashboard"])
            for (const how of ["cookie", "token", "nothing"] as const) {
              const { status, headers } = await server.ask(`/api/v1${path}`, {
                method,
                ...(body === undefined ? {} : { body }),
                headers: {
                  host,
                  ...(origin === undefined ? {} : { origin }),
                  ...(header === undefined ? {} : { "x-rollcall-request": header }),
                  ...(how === "cookie" ? { cookie } : {}),
                  ...(how === "token" ? { authorization: `Bearer ${server.adminToken}`, cookie } : {}),
                },
              });
              asked++;
              const isReading = method === "GET";
              const isOwn = origin === `http://${host}` || origin === `https://${host}`;
              const mayCookie = isReading ? origin === undefined || isOwn : isOwn && header === "dashboard";
              const wanted = host.startsWith("evil")
                ? 421
                : how === "nothing"
                  ? 401
                  : how === "cookie" && !mayCookie
                    ? 403
                    : undefined;
              const name = `${host} ${origin} ${method} ${header} ${how}: ${status}`;
              if (wanted === undefined) {
                if ([401, 403, 421].includes(status)) t.fail(name);
                else passed++;
              } else if (status !== wanted) t.fail(`${name}, not ${wanted}`);
              if (headers["access-control-allow-origin"] !== undefined)
                t.fail(`${name}: lets other sites read`);
            }
    t.ok(passed > 0 && passed < asked, `${passed} of ${asked} are let through`);
    const { items } = await server.api("GET", "/events?type=session.refused");
    t.match(items[0], { level: "warning", data: { reason: "CROSS_SITE_REQUEST", session: "admin" } });
  },
);

t.test("no page of elsewhere is allowed to ask first (CORS)", async (t) => {
  const server = await startServer(t);
  const { status, headers } = await server.ask("/api/v1/session", {
    method: "OPTIONS",
    headers: { origin: "http://evil.example", "access-control-request-method": "POST" },
  });
  t.equal(status, 404);
  t.notOk(Object.keys(headers).some((name) => name.startsWith("access-control")));
});

t.test(
  "the page's own address may be one behind a proxy that ends TLS, but over TLS only one of https",
  (t) => {
    const page = { method: "POST", host: "boot.lab", requestedBy: "dashboard" };
    t.ok(mayUseCookie({ ...page, origin: "https://boot.lab", isEncrypted: false }));
    t.ok(mayUseCookie({ ...page, origin: "https://boot.lab", isEncrypted: true }));
    t.notOk(mayUseCookie({ ...page, origin: "http://boot.lab", isEncrypted: true }));
    t.ok(mayUseCookie({ ...page, host: "boot.lab:443", origin: "https://boot.lab", isEncrypted: true }));
    t.notOk(mayUseCookie({ ...page, host: undefined, origin: "https://boot.lab", isEncrypted: true }));
    t.end();
  },
);

t.test("curl with a jar of cookies signs in, works and signs out, over HTTP and TLS", async (t) => {
  const server = await startServer(t, {
    settings: {
      "https.port": 0,
      "cluster.kubernetesVersion": "1.31.0",
      "cluster.endpoint": `api.lab:${await freePort()}`,
    },
  });
  const directory = temporaryDirectory(t);
  // A secret on the command line is everybody's to read.
  const body = join(directory, "token.json");
  writeFileSync(body, JSON.stringify({ token: server.adminToken }));
  for (const [scheme, port] of [
    ["http", server.port],
    ["https", server.app.addresses.tlsPort],
  ] as const) {
    const address = `${scheme}://127.0.0.1:${port}`;
    const jar = join(directory, `${scheme}.jar`);
    const ask = (path: string, ...words: string[]) =>
      curl("--insecure", "--cookie", jar, "--cookie-jar", jar, ...words, `${address}/api/v1${path}`);
    const own = ["--header", `Origin: ${address}`, "--header", "X-Rollcall-Request: dashboard"];
    const given = await ask("/session", "--include", "--json", `@${body}`);
    t.match(given, /^set-cookie: (__Host-)?rollcall_session=[a-z2-7]{26};.*HttpOnly/im);
    t.equal(/^set-cookie: .*; Secure/im.test(given), scheme === "https", `${scheme}: Secure over TLS alone`);
    const [, , , secure, , name] =
      /^#HttpOnly_127.*$/m.exec(readFileSync(jar, "utf8"))?.[0].split("\t") ?? [];
    t.same(
      [name, secure],
      scheme === "https" ? ["__Host-rollcall_session", "TRUE"] : ["rollcall_session", "FALSE"],
      "two names: a browser would not let the one of HTTP take the place of the other",
    );
    t.match(JSON.parse(await ask("/session")), { name: "admin" });
    t.match(JSON.parse(await ask("/groups", "--json", '{"name":"a"}')), { code: "CROSS_SITE_REQUEST" });
    t.match(JSON.parse(await ask("/groups", ...own, "--json", `{"name":"${scheme}"}`)), { name: scheme });
    t.equal(await ask("/session", ...own, "--request", "DELETE"), "");
    t.match(JSON.parse(await ask("/session")), { code: /TOKEN_MISSING|SESSION_ENDED/ });
  }
});
