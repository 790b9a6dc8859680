import { writeFileSync } from "node:fs";
import { connect } from "node:net";
import { join } from "node:path";
import { brotliCompressSync, gzipSync } from "node:zlib";
import t from "tap";
import { startServer, type TestServer } from "../support/http-fixture.ts";

const script = `console.log("${"the application ".repeat(100)}")`;
const pages = {
  "index.html": "<!doctype html><title>the application</title>",
  "robots.txt": "nothing",
  ".secret": "nobody's",
  "assets/index-abc123.js": script,
  "assets/index-abc123.js.br": brotliCompressSync(script).toString("latin1"),
  "assets/style-abc123.css": "body { margin: 0 }",
  "assets/icon-abc123.svg": "<svg xmlns='http://www.w3.org/2000/svg'/>",
};

async function startWithPages(t: Parameters<typeof startServer>[0]) {
  const server = await startServer(t, { pages });
  const directory = join(server.rolesDir, "../checkout/dist/web");
  // As they are, not as text.
  writeFileSync(join(directory, "assets/index-abc123.js.br"), brotliCompressSync(script));
  writeFileSync(join(directory, "assets/index-abc123.js.gz"), gzipSync(script));
  writeFileSync(join(directory, "../beside.txt"), "not a page");
  return server;
}

/** Sends a path as it is: clients tidy up what they are given. @returns the whole answer */
function rawRequest(server: TestServer, path: string): Promise<string> {
  return new Promise((resolve, reject) => {
    let text = "";
    connect({ port: server.port, host: "127.0.0.1" })
      .on("data", (chunk: Buffer) => (text += chunk.toString()))
      .on("end", () => resolve(text))
      .on("error", reject)
      .write(`GET ${path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n`);
  });
}

t.test("the dashboard's files", async (t) => {
  const server = await startWithPages(t);
  const page = (path: string, headers = {}) => server.ask(`/dashboard${path}`, { headers });

  t.test(
    "have names that change with them and are kept for ever; the page that names them is not",
    async (t) => {
      for (const [path, type] of [
        ["/assets/index-abc123.js", "application/javascript; charset=utf-8"],
        ["/assets/style-abc123.css", "text/css; charset=utf-8"],
        ["/assets/icon-abc123.svg", "image/svg+xml"],
      ] as const) {
        const { status, headers } = await page(path);
        t.match([status, headers["content-type"]], [200, type], path);
        t.equal(headers["cache-control"], "public, max-age=31536000, immutable", path);
      }
      t.equal((await page("/")).headers["cache-control"], "no-store");
      t.equal((await page("/robots.txt")).headers["cache-control"], "no-cache");
    },
  );
  t.test("come compressed to whoever takes that", async (t) => {
    const path = "/assets/index-abc123.js";
    const encodingFor = async (accepted: string) => {
      const { headers } = await page(path, { "accept-encoding": accepted });
      t.match(headers["vary"], /accept-encoding/i);
      t.equal(headers["content-type"], "application/javascript; charset=utf-8");
      return headers["content-encoding"];
    };
    t.equal(await encodingFor("gzip, deflate, br"), "br");
    t.equal(await encodingFor("gzip"), "gzip");
    t.equal(await encodingFor("identity"), undefined);
    t.equal((await page(path)).text, script);
  });
  t.test(
    "come with a policy that lets nothing of elsewhere and nothing inline do anything, errors too",
    async (t) => {
      for (const path of [
        "/",
        "/rooms/lab225",
        "/assets/index-abc123.js",
        "/assets/no-such.js",
        "/no-such.txt",
      ]) {
        const { headers } = await page(path);
        const policy = headers["content-security-policy"] ?? "";
        t.match(policy, /^default-src 'none'; script-src 'self'; style-src 'self'; /, path);
        t.match(policy, /base-uri 'none'; form-action 'none'; frame-ancestors 'none'$/, path);
        t.notMatch(policy, /unsafe|\*|http/, path);
        t.match(
          headers,
          {
            "x-content-type-options": "nosniff",
            "referrer-policy": "no-referrer",
            "cross-origin-opener-policy": "same-origin",
            "cross-origin-resource-policy": "same-origin",
            "x-frame-options": "DENY",
          },
          path,
        );
      }
    },
  );
  t.test("answer every place of the application with its one page", async (t) => {
    for (const path of [
      "/",
      "/rooms/lab225",
      "/machines/s1.lab.example",
      "/machines/52:54:00:00:00:01",
      "/cluster",
      "/images",
      "/events",
      "/operations/op_1",
      "/sign-in",
      "/newer/than/this/server",
      "/rooms/lab%20225?view=list",
    ])
      t.match(
        await page(path),
        { status: 200, text: pages["index.html"], headers: { "cache-control": "no-store" } },
        path,
      );
    t.equal((await server.ask("/dashboard/rooms/lab225", { method: "HEAD" })).status, 200);
    for (const path of ["/assets/no-such.js", "/assets/", "/favicon.ico", "/index-old.js"])
      t.match(await page(path), { status: 404, json: { code: "NOT_FOUND" } }, path);
    t.equal((await server.ask("/dashboard/rooms/lab225", { method: "POST" })).status, 404);
    t.match(await server.ask("/dashboard"), { status: 302, headers: { location: "/dashboard/" } });
  });
  t.test("are all that is given out: nothing beside them, whatever the path looks like", async (t) => {
    for (const path of [
      "/dashboard/../beside.txt",
      "/dashboard/%2e%2e/beside.txt",
      "/dashboard/%2e%2e%2fbeside.txt",
      "/dashboard/..%2f..%2f..%2fboot-assets/manifest.json",
      "/dashboard/assets/../../beside.txt",
      "/dashboard/assets/%2e%2e/%2e%2e/beside.txt",
      "/dashboard/assets/..%5c..%5cbeside.txt",
      "/dashboard//etc/passwd",
      "/dashboard/%00",
      "/dashboard/assets/index-abc123.js%00.html",
      "/dashboard/.secret",
      "/dashboard/%2esecret",
      "/dashboard/%zz",
    ]) {
      const answer = await rawRequest(server, path);
      t.match(answer, /^HTTP\/1\.1 (400|403|404|200) /, path);
      t.notMatch(answer, /not a page|nobody's|root:|"assets"/, path);
      if (answer.startsWith("HTTP/1.1 200"))
        t.match(answer, pages["index.html"], `${path}: a place, and no file`);
    }
  });
});

t.test("the first page of the server", async (t) => {
  const server = await startWithPages(t);
  t.test("leads a browser to the dashboard, and is for programs what it was", async (t) => {
    const accept = "text/html,application/xhtml+xml,*/*;q=0.8";
    t.match(await server.ask("/", { headers: { accept } }), {
      status: 302,
      headers: { location: "/dashboard/", vary: "accept" },
    });
    for (const headers of [{}, { accept: "*/*" }] as Record<string, string>[])
      t.match(await server.ask("/", { headers }), { status: 200, text: /Rollcall is up/ });
  });
  t.test("and the dashboard answer to the server's own names only", async (t) => {
    for (const path of ["/", "/dashboard/", "/dashboard/assets/index-abc123.js", "/api/v1/session"])
      t.match(await server.ask(path, { headers: { host: "evil.example" } }), {
        status: 421,
        json: { code: "HOST_NOT_ALLOWED" },
      });
  });
});

t.test("where the pages are not built, a page without them says what to do", async (t) => {
  const server = await startServer(t);
  for (const path of ["/dashboard/", "/dashboard/rooms/lab225"])
    t.match(await server.ask(path), {
      status: 503,
      text: /build-dashboard\.mjs/,
      headers: {
        "content-type": /^text\/html/,
        "cache-control": "no-store",
        "content-security-policy": /^default-src 'none'/,
      },
    });
  t.match(await server.ask("/dashboard/assets/index.js"), { status: 404 });
  t.match(await server.ask("/readyz"), { status: 200 }, "machines boot all the same");
});
