import { execFileSync } from "node:child_process";
import { join } from "node:path";
import t, { type Test } from "tap";
import { Agent, request } from "undici";
import { systemClock } from "../../server/platform/clock.ts";
import { loopbackOf, plain } from "../support/http-fixture.ts";
import { registryLab } from "../support/registry-lab.ts";
import { temporaryDirectory } from "../support/samples.ts";

type Registry = Awaited<ReturnType<typeof registryLab>>;

const basic = (password: string, user = "anybody") =>
  `Basic ${Buffer.from(`${user}:${password}`).toString("base64")}`;

/** An address waits a second, and this host may be slower than that. */
const standing = { ...systemClock, monotonicMs: () => 0 };

/** Hands at the addresses of several rooms. */
function askers(t: Test, { url }: Pick<Registry, "url">) {
  const agents = new Map<number, Agent>();
  t.teardown(() => Promise.all([...agents.values()].map((agent) => agent.close())).then(() => {}));
  return async (from: number, authorization?: string, path = "/v2/", form?: string) => {
    const dispatcher = agents.get(from) ?? new Agent({ localAddress: loopbackOf(from) });
    agents.set(from, dispatcher);
    const { statusCode, headers, body } = await request(`${url}${path}`, {
      method: form === undefined ? "GET" : "POST",
      dispatcher,
      headers: authorization === undefined ? {} : { authorization },
      body: form ?? null,
    });
    return { status: statusCode, headers, text: await body.text() };
  };
}

t.test("wrong tokens at the registry make their address wait, however they are shown", async (t) => {
  const lab = await registryLab(t, { clock: standing });
  const ask = askers(t, lab);
  const { server } = lab;
  const ways: [string, (number: number) => ReturnType<typeof ask>][] = [
    ["as the password of Basic", (from) => ask(from, basic("wrong"))],
    ["as a bearer", (from) => ask(from, "Bearer wrong")],
    ["for an access token", (from) => ask(from, basic("wrong"), "/v2/token?service=rollcall")],
    ["in a form", (from) => ask(from, undefined, "/v2/token", "username=anna&password=wrong")],
  ];
  for (const [index, [what, wrong]] of ways.entries())
    t.test(what, async (t) => {
      const from = index + 1;
      const anonymous = (JSON.parse((await ask(from, undefined, "/v2/token")).text) as { token: string })
        .token;
      for (let count = 1; count <= 20; count++) t.equal((await wrong(from)).status, 401);
      const refused = [await wrong(from), await ask(from, basic(server.adminToken))];
      for (const { status, headers, text } of refused)
        t.match(
          [status, headers["retry-after"], text],
          [429, /^[1-9]/, /TOOMANYREQUESTS.*TOO_MANY_FAILURES/],
        );
      t.equal((await ask(from)).status, 200, "a room behind this address pulls without a login as before");
      t.equal((await ask(from, `Bearer ${anonymous}`)).status, 200, "also with the tokens that it has");
      t.equal((await ask(from, undefined, "/v2/token")).status, 200, "and gets new ones");
      t.equal((await ask(99, basic(server.adminToken))).status, 200, "and other addresses never notice");
      t.equal(
        (await server.ask("/api/v1/machines", { from, token: server.adminToken })).status,
        429,
        "the API counts in the same book",
      );
      const { items } = await server.api("GET", "/events?type=token.failures");
      t.match(items.at(-1), { level: "warning", data: { address: loopbackOf(from), failures: 20 } });
    });
});

t.test("what a room of clients shows after a restart of the server is no wrong login", async (t) => {
  const before = await registryLab(t);
  const { text } = await askers(t, before)(1, undefined, "/v2/token");
  const { token } = JSON.parse(text) as { token: string };
  const lab = await registryLab(t);
  const ask = askers(t, lab);
  for (let machine = 1; machine <= 30; machine++) {
    t.equal((await ask(1, `Bearer ${token}`)).status, 401, "it asks for a new one");
    t.equal((await ask(1, undefined, "/v2/token")).status, 200);
  }
  t.equal((await ask(1, basic(lab.server.adminToken))).status, 200);
  t.same((await lab.server.api("GET", "/events?type=token.failures")).items, []);
});

t.test("wrong passwords count as wrong tokens do", async (t) => {
  const file = join(temporaryDirectory(t), "users");
  execFileSync("htpasswd", ["-B", "-b", "-c", file, "ben", "secret"], { stdio: "ignore" });
  const lab = await registryLab(t, { clock: standing, settings: { "registry.htpasswdFile": file } });
  const ask = askers(t, lab);
  t.equal((await ask(1, basic("secret", "ben"))).status, 200);
  for (let count = 1; count <= 20; count++)
    t.equal((await ask(1, basic(`guess ${count}`, "ben"))).status, 401);
  t.equal((await ask(1, basic("secret", "ben"))).status, 429);
  t.equal(
    plain((await lab.server.api("GET", "/events?type=token.failures")).items[0]?.["data"]?.["failures"]),
    "20",
  );
});
