import { execFileSync } from "node:child_process";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import t, { type Test } from "tap";
import { renewed } from "../../server/archive/registry-auth.ts";
import { RegistryClient } from "../../server/archive/registry-client.ts";
import { loadConfig } from "../../server/config/load.ts";
import { parseHtpasswd } from "../../server/http/v2/htpasswd.ts";
import { createPasswordUsers } from "../../server/http/v2/password-users.ts";
import { systemClock } from "../../server/platform/clock.ts";
import { silentLog } from "../../server/platform/logger.ts";
import { boot } from "../support/boot-command.ts";
import { makePodsecArchive, skopeo } from "../support/container-registry.ts";
import { curl, startServer } from "../support/http-fixture.ts";
import { blobOf } from "../support/oci-image.ts";
import { askRegistry, registryLab } from "../support/registry-lab.ts";
import { temporaryDirectory } from "../support/samples.ts";

const minuteMs = 60_000;

const basic = (user: string, password: string) => ({
  authorization: `Basic ${Buffer.from(`${user}:${password}`).toString("base64")}`,
});
const bearer = (token: string) => ({ authorization: `Bearer ${token}` });

/** A file of users, by the real program. Cost 5 is that of `htpasswd -B`. */
function htpasswd(file: string, user: string, password: string, ...words: string[]): void {
  const isNew = existsSync(file) ? [] : ["-c"];
  execFileSync("htpasswd", ["-B", "-b", ...words, ...isNew, file, user, password], { stdio: "ignore" });
}

t.test("on the server's own machine archives come in and go out without any token", async (t) => {
  const server = await startServer(t, {
    settings: { "registry.anonymousPull": false },
  });
  const { archive } = await makePodsecArchive(t, "amd64", [{ name: "c10f/pause:3.9", content: "a pause" }]);
  const home = temporaryDirectory(t);
  const run = (...words: string[]) => boot(["--data", server.dataDir, ...words], { HOME: home });
  t.match(await run("image", "import", archive), { code: 0, err: "" });
  const target = join(temporaryDirectory(t), "amd64.tar");
  t.match(await run("image", "export", "c10f/pause:3.9", "--to", target), { code: 0, err: "" });
  t.ok(existsSync(target));
  const { items } = await server.api("GET", "/events?type=registry.pushed");
  t.match(items, [{ actor: "local", data: { repository: "c10f/pause", reference: "3.9" } }]);
  t.match(
    await boot(["--server", server.url, "image", "import", archive], { HOME: home }),
    { code: 1, err: /^TOKEN_MISSING/ },
    "from elsewhere a token is needed as before",
  );
});

t.test("the credential of an administrator", async (t) => {
  let aheadMs = 0;
  const clock = { ...systemClock, now: () => Date.now() + aheadMs };
  const { server, url } = await registryLab(t, { clock });
  const make = async (token = server.adminToken) => {
    const answer = await server.api("POST", "/registry/credentials", {}, token);
    t.equal(answer.status, 200);
    t.equal(answer.headers["cache-control"], "no-store");
    return answer.json as unknown as { user: string; password: string; expiresInSeconds: number };
  };
  const push = (headers: Record<string, string>) =>
    askRegistry(url, "/v2/p10/a/blobs/uploads/", { method: "POST", headers });

  t.test("pushes to every repository for five minutes, and stands nowhere", async (t) => {
    const { user, password, expiresInSeconds } = await make();
    t.equal(expiresInSeconds, 300);
    t.equal((await push(basic(user, password))).status, 202);
    t.equal((await push(bearer(password))).status, 202);
    for (const file of ["rollcall.db", "rollcall.db-wal"])
      t.notOk(readFileSync(join(server.dataDir, file)).includes(password), file);
    t.notOk(server.logged.join().includes(password));
    t.notOk((await server.api("GET", "/events?limit=1000")).text.includes(password));
    t.equal(server.store.tokens.all().length, 1);
    aheadMs += 5 * minuteMs + 1000;
    t.equal((await push(basic(user, password))).status, 401);
  });
  t.test("is asked for anew in the middle of a transfer", async (t) => {
    let asked = 0;
    const ask = async () => {
      asked++;
      return { ...(await make()), until: Date.now() + 5 * minuteMs };
    };
    const client = new RegistryClient({
      origin: url,
      credentials: renewed(ask, { now: Date.now, spareMs: minuteMs }),
    });
    t.teardown(() => client.close());
    for (const text of ["one", "two", "three"]) {
      const { digest, content } = blobOf(text);
      const descriptor = { digest, size: content.length, mediaType: "application/octet-stream" };
      await client.pushBlob("p10/long", descriptor, async function* () {
        yield content;
      });
      // This clock is the server's alone, as after its restart or a step of time.
      if (text === "two") aheadMs += 6 * minuteMs;
    }
    t.equal(asked, 2);
  });
  t.test("ends with the token that it was made by", async (t) => {
    const other = await server.api("POST", "/tokens", { name: "other", scope: "admin" });
    const { user, password } = await make(String(other.json["token"] as unknown as string));
    t.equal((await push(basic(user, password))).status, 202);
    await server.api("DELETE", "/tokens/other");
    t.equal((await push(basic(user, password))).status, 401);
  });
});

t.test("short credentials are asked for before they end, once for all who wait", async (t) => {
  let now = 0;
  let asked = 0;
  const ask = async () => ({ user: "local", password: String(++asked), until: now + 300 });
  const current = renewed(ask, { now: () => now, spareMs: 60 });
  const several = async () =>
    (await Promise.all([1, 2, 3].map(() => current()))).map(({ password }) => password);
  t.same(await several(), ["1", "1", "1"]);
  now = 239;
  t.same(await several(), ["1", "1", "1"]);
  now = 241;
  t.same(await several(), ["2", "2", "2"]);
  t.match(await current(true), { password: "3" }, "or when they are refused");
  let isDown = true;
  const again = renewed(
    async () => {
      if (isDown) throw new Error("down");
      return ask();
    },
    { now: () => now, spareMs: 60 },
  );
  await t.rejects(again());
  isDown = false;
  t.match(await again(), { password: "4" }, "a failure is not kept");
});

t.test("without anonymous pull", async (t) => {
  const { server, url, image, pull } = await registryLab(t, {
    settings: { "registry.anonymousPull": false },
  });
  const { manifest, layers } = await image("p10/app", "1.0");
  const make = async (scope: string, more: object = {}) => {
    const answer = await server.api("POST", "/tokens", { name: scope, scope, ...more });
    return String(answer.json["token"] as unknown as string);
  };
  const paths = [
    "/v2/",
    "/v2/_catalog",
    "/v2/p10/app/tags/list",
    "/v2/p10/app/manifests/1.0",
    `/v2/p10/app/manifests/${manifest.digest}`,
    `/v2/p10/app/blobs/${layers[0]?.digest}`,
    `/v2/p10/app/referrers/${manifest.digest}`,
    `/extensions/v2/p10/app/signatures/${manifest.digest}`,
  ];
  const viewer = await make("viewer");
  const tokens = [viewer, await make("operator"), await make("imagemaker", { repositories: ["q/*"] })];
  for (const path of paths)
    t.test(path, async (t) => {
      for (const method of ["GET", "HEAD"] as const)
        t.match(
          await pull(path, { method }),
          { status: path.startsWith("/ext") && method === "HEAD" ? 405 : 401 },
          method,
        );
      t.match((await pull(path)).headers, { "www-authenticate": /Basic/ });
      t.equal((await pull(path, { headers: { authorization: "Basic Og==" } })).status, 401, "nor by nothing");
      t.equal((await pull(path, { token: "wrong" })).status, 401);
      for (const token of tokens) t.equal((await pull(path, { token })).status, 200, "with any valid token");
    });
  t.test("signatures of the lookaside stay open: clients have no login there", async (t) => {
    const { lookasidePort } = server.app.addresses;
    const path = `/sigstore/p10/app@${manifest.digest.replace(":", "=")}/signature-1`;
    t.equal((await askRegistry(`http://127.0.0.1:${lookasidePort}`, path)).status, 404);
  });
  t.test("over TLS clients are led to the token protocol, which gives nobody a token", async (t) => {
    const config = join(temporaryDirectory(t), "auth.json");
    const host = `127.0.0.1:${server.app.addresses.registryTlsPort}`;
    const inspect = (...words: string[]) =>
      skopeo(["inspect", "--raw", "--tls-verify=false", ...words, `docker://${host}/p10/app:1.0`], {
        REGISTRY_AUTH_FILE: config,
      });
    await t.rejects(inspect(), /unauthorized/i);
    await skopeo(["login", "--tls-verify=false", "-u", "any", "-p", viewer, host], {
      REGISTRY_AUTH_FILE: config,
    });
    t.equal(await inspect(), manifest.content.toString());
    await t.rejects(inspect("--creds", "any:wrong"), /unauthorized/i);
  });
  t.test("an access token is for the repositories that it names", async (t) => {
    const base = `https://127.0.0.1:${server.app.addresses.registryTlsPort}/v2`;
    const answer = await curl("-k", "-u", `x:${viewer}`, `${base}/token?scope=repository:p10/other:pull`);
    const { token } = JSON.parse(answer) as { token: string };
    const status = (path: string) =>
      curl(
        "-k",
        "-o",
        "/dev/null",
        "-w",
        "%{http_code}",
        "-H",
        `Authorization: Bearer ${token}`,
        base + path,
      );
    t.equal(await status("/p10/app/tags/list"), "401");
    t.equal(await status("/p10/other/tags/list"), "404");
    t.equal(await status("/"), "200");
    t.match(await curl("-k", `${base}/token?scope=repository:p10/app:pull`), /UNAUTHORIZED/);
  });
  t.test("over plain HTTP from another machine nobody is asked for a password", async (t) => {
    const found = execFileSync("ip", ["-4", "-o", "addr", "show", "scope", "global"], { encoding: "utf8" });
    const address = /inet ([0-9.]+)/.exec(found)?.[1];
    if (address === undefined) {
      t.pass("this machine has one address only");
      return;
    }
    const answer = await curl("-i", "--interface", address, "-u", `x:${viewer}`, `${url}/v2/`);
    t.match(answer, /403 Forbidden[^]*DENIED[^]*https/);
    t.notMatch(answer, /www-authenticate/i);
  });
});

t.test("nodes of a cluster have no login, so the config refuses to demand one", (t) => {
  const load = (more: Record<string, unknown>) =>
    loadConfig({
      defaultFiles: [],
      environment: {},
      overrides: Object.entries({ "registry.anonymousPull": false, ...more }).map(([key, value]) => ({
        key,
        value,
        argument: "test",
      })),
    });
  t.throws(
    () => load({ "cluster.kubernetesVersion": "1.31.0" }),
    /registry\.anonymousPull.*nodes pull without/,
  );
  t.doesNotThrow(() => load({}));
  t.doesNotThrow(() => load({ "cluster.kubernetesVersion": "1.31.0", "registry.enabled": false }));
  t.throws(
    () => load({ "registry.users": [{ name: "anna", repositories: [] }] }),
    /without registry\.htpasswdFile/,
  );
  t.throws(() => load({ "registry.htpasswdFile": "/nowhere/users" }), /there is no file/);
  const users = [1, 2].map(() => ({ name: "anna", repositories: ["a"] }));
  t.throws(
    () => load({ "registry.htpasswdFile": "/etc/hostname", "registry.users": users }),
    /listed already/,
  );
  t.end();
});

t.test("users of an htpasswd file", async (t) => {
  const file = join(temporaryDirectory(t), "users");
  htpasswd(file, "anna", "a secret: with colons");
  htpasswd(file, "ben", "another", "-C", "6");
  const { server, url } = await registryLab(t, {
    settings: {
      "registry.htpasswdFile": file,
      "registry.users": [{ name: "ben", repositories: ["p10/*"] }],
    },
  });
  const push = (repository: string, user: string, password: string) =>
    askRegistry(url, `/v2/${repository}/blobs/uploads/`, { method: "POST", headers: basic(user, password) });

  t.test("push with the scope imagemaker, bound to repositories where the config says so", async (t) => {
    t.equal((await push("q/a", "anna", "a secret: with colons")).status, 202);
    t.equal((await push("p10/a", "ben", "another")).status, 202);
    t.match(await push("q/a", "ben", "another"), { status: 403, code: "DENIED", text: /p10\/\* alone/ });
    t.match(await push("q/a", "anna", "wrong"), { status: 401, code: "UNAUTHORIZED" });
    t.match(await push("q/a", "nobody", "another"), { status: 401 });
    t.match(await push("q/a", "anna", ""), { status: 401 });
    t.equal((await push("q/a", "anna", server.adminToken)).status, 202, "API tokens go with any name");
  });
  t.test("log in with skopeo, and push with its --all and over TLS; events name them", async (t) => {
    const auth = { REGISTRY_AUTH_FILE: join(temporaryDirectory(t), "auth.json") };
    const hosts = [
      `127.0.0.1:${server.app.addresses.registryPort}`,
      `127.0.0.1:${server.app.addresses.registryTlsPort}`,
    ];
    const { layout } = await makePodsecArchive(t, "amd64", [{ name: "p10/pause:3.9", content: "a pause" }]);
    for (const [index, host] of hosts.entries()) {
      await t.rejects(
        skopeo(["login", "--tls-verify=false", "-u", "ben", "-p", "wrong", host], auth),
        /401|unauthorized|invalid username/i,
      );
      await skopeo(["login", "--tls-verify=false", "-u", "ben", "-p", "another", host], auth);
      const copy = (repository: string) =>
        skopeo(
          [
            "--insecure-policy",
            "copy",
            "--dest-tls-verify=false",
            `oci:${layout}:p10/pause:3.9`,
            `docker://${host}/${repository}:${index}`,
          ],
          auth,
        );
      await copy("p10/pause");
      await t.rejects(copy("q/pause"), /denied|unauthorized/i);
    }
    const { items } = await server.api("GET", "/events?type=registry.pushed");
    t.match(items, [{ actor: "htpasswd:ben" }, { actor: "htpasswd:ben" }]);
  });
  t.test("count as the file is now: another password, another user, none at all", async (t) => {
    const auth = `https://127.0.0.1:${server.app.addresses.registryTlsPort}/v2/token?scope=repository:p10/a:push`;
    const answer = await curl("-k", "-u", "ben:another", auth);
    const { token } = JSON.parse(answer) as { token: string };
    const byToken = () =>
      askRegistry(url, "/v2/p10/a/blobs/uploads/", { method: "POST", headers: bearer(token) });
    t.equal((await byToken()).status, 202);
    htpasswd(file, "ben", "changed");
    htpasswd(file, "carl", "new here");
    t.equal((await push("p10/a", "ben", "another")).status, 401, "also what was remembered");
    t.equal((await byToken()).status, 401, "and tokens that were made by it");
    t.equal((await push("p10/a", "ben", "changed")).status, 202);
    t.equal((await push("q/a", "carl", "new here")).status, 202);
    writeFileSync(file, "");
    t.equal((await push("q/a", "carl", "new here")).status, 401);
  });
});

t.test("lines that are no bcrypt, too costly or twice are left out and told", (t) => {
  const hash = (cost: string) => `$2y$${cost}$${"a".repeat(53)}`;
  const { entries, problems } = parseHtpasswd(
    [
      "# users",
      `anna:${hash("05")}`,
      "md5:$apr1$abcdefgh$1234567890123456789012",
      "plain:secret",
      `slow:${hash("14")}`,
      `anna:${hash("06")}`,
      "nothing",
      `low:${hash("03")}`,
      `ben:${hash("10")}:a remark\r`,
      "",
    ].join("\n"),
  );
  t.same(
    [...entries.values()].map(({ name, cost }) => [name, cost]),
    [
      ["anna", 5],
      ["ben", 10],
    ],
  );
  t.same(
    problems.map(({ line }) => line),
    [3, 4, 5, 6, 7, 8],
  );
  t.end();
});

async function usersLab(t: Test) {
  const file = join(temporaryDirectory(t), "users");
  const hash = (cost: string, letter: string) => `$2y$${cost}$${letter.repeat(53)}`;
  writeFileSync(file, `anna:${hash("05", "a")}\nben:${hash("09", "b")}\n`);
  let now = 0;
  const compared: string[] = [];
  const waiting: (() => void)[] = [];
  const users = createPasswordUsers({
    clock: { now: () => now },
    log: silentLog,
    file,
    bound: [],
    compare: async (password, against) => {
      compared.push(against);
      await new Promise<void>((resolve) => waiting.push(resolve));
      return password === "right";
    },
  });
  /** Lets comparisons go on until none is left. */
  const goOn = async () => {
    for (let idle = 0; idle < 20; idle++) {
      await new Promise((resolve) => setImmediate(resolve));
      if (waiting.length > 0) idle = 0;
      waiting.shift()?.();
    }
  };
  return { users, compared, waiting, goOn, later: (ms: number) => (now += ms) };
}

t.test("a password that was right is remembered for some minutes, a wrong one never", async (t) => {
  const { users, compared, goOn, later } = await usersLab(t);
  const login = async (secret: string) => {
    const answer = users.verify({ user: "anna", secret }, "10.0.0.1");
    await goOn();
    return answer;
  };
  t.match(await login("right"), { name: "htpasswd:anna", scope: "imagemaker" });
  await login("right");
  t.equal(compared.length, 1);
  t.equal(await login("wrong"), undefined);
  t.equal(await login("wrong"), undefined);
  t.equal(compared.length, 3);
  later(5 * minuteMs + 1);
  await login("right");
  t.equal(compared.length, 4);
});

t.test("who is not there costs as much as somebody who is, the same each time", async (t) => {
  const { users, compared, goOn } = await usersLab(t);
  for (const user of ["carl", "dora", "emil", "frida", "gustav", "hanna", "ida", "jan"])
    for (let time = 0; time < 2; time++) {
      const answer = users.verify({ user, secret: "right" }, "10.0.0.1");
      await goOn();
      t.equal(await answer, undefined);
    }
  t.equal(compared.length, 16);
  const costs = compared.map((hash) => /^\$2y\$(\d\d)\$.{53}$/.exec(hash)?.[1]);
  for (let index = 0; index < costs.length; index += 2) t.equal(costs[index], costs[index + 1]);
  t.same([...new Set(costs)].sort(), ["05", "09"]);
});

t.test(
  "a flood of wrong passwords waits for itself: one comparison at a time, few of one address",
  async (t) => {
    const { users, waiting, compared, goOn } = await usersLab(t);
    const flood = Array.from({ length: 100 }, (_, index) =>
      users.verify({ user: "anna", secret: `wrong ${index}` }, "10.0.0.66").catch((error: unknown) => error),
    );
    const other = users.verify({ user: "anna", secret: "right" }, "10.0.0.1");
    const twice = users.verify({ user: "anna", secret: "right" }, "10.0.0.1");
    await new Promise((resolve) => setImmediate(resolve));
    t.equal(waiting.length, 1);
    await goOn();
    t.match(await other, { name: "htpasswd:anna" }, "somebody else gets in");
    t.match(await twice, { name: "htpasswd:anna" });
    t.equal(compared.length, 5, "four of the flood, and one for two requests with the same password");
    const answers = await Promise.all(flood);
    t.equal(answers.filter((one) => one === undefined).length, 4);
    t.match(answers.at(-1), { code: "TOOMANYREQUESTS", headers: { "retry-after": "1" } });
  },
);

t.test("passwords are compared beside the event loop", async (t) => {
  const file = join(temporaryDirectory(t), "users");
  htpasswd(file, "anna", "secret", "-C", "12");
  const { url } = await registryLab(t, { settings: { "registry.htpasswdFile": file } });
  const path = "/v2/a/blobs/uploads/";
  const order: string[] = [];
  const slow = askRegistry(url, path, { method: "POST", headers: basic("anna", "secret") }).then(
    ({ status }) => {
      order.push("login");
      return status;
    },
  );
  // Asked one after the other, all while the comparison of some hundred milliseconds is under way.
  for (let number = 0; number < 5; number++) {
    t.equal((await askRegistry(url, "/v2/")).status, 200);
    order.push("pull");
  }
  t.equal(await slow, 202);
  t.same(order, ["pull", "pull", "pull", "pull", "pull", "login"]);
});
