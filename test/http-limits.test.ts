import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { readdirSync, readlinkSync } from "node:fs";
import { createServer, type Server } from "node:http";
import { type AddressInfo, connect, type Socket } from "node:net";
import { join } from "node:path";
import Fastify, { type FastifyInstance } from "fastify";
import t, { type Test } from "tap";
import { Agent, request } from "undici";
import { createContentStore } from "../server/content/content-store.ts";
import * as assets from "../server/http/asset-routes.ts";
import * as authorization from "../server/http/authorization.ts";
import * as building from "../server/http/build-server.ts";
import type { StreamLimits } from "../server/http/content-stream.ts";
import { createDownloads } from "../server/http/downloads.ts";
import * as connections from "../server/http/connection-limits.ts";
import { installErrorMapper } from "../server/http/error-mapper.ts";
import { systemClock } from "../server/platform/clock.ts";
import { systemIds } from "../server/platform/ids.ts";
import { silentLog } from "../server/platform/logger.ts";
import { plain, sha256Of, startServer, type TestServer } from "./support/http-fixture.ts";
import { ManualClock } from "./support/manual-clock.ts";
import { temporaryDirectory } from "./support/samples.ts";

const mebibyte = 1024 * 1024;

/** A connection to a port; what comes is kept, `closed` resolves at its end. */
function open(t: Test, port: number, localAddress = "127.0.0.1") {
  const socket = connect({ port, host: "127.0.0.1", localAddress });
  const opened = { socket, text: "", closed: once(socket, "close") };
  socket.on("error", () => undefined);
  socket.on("data", (chunk: Buffer) => (opened.text += chunk.toString("latin1")));
  t.teardown(() => socket.destroy());
  return opened;
}

/** Asks for something and reads its beginning only. */
async function beginDownload(t: Test, port: number, path: string, localAddress = "127.0.0.1") {
  const socket = connect({ port, host: "127.0.0.1", localAddress });
  socket.on("error", () => undefined);
  t.teardown(() => socket.destroy());
  socket.write(`GET ${path} HTTP/1.1\r\nHost: localhost\r\n\r\n`);
  const [first] = (await once(socket, "data")) as [Buffer];
  socket.pause();
  return { socket, head: first.toString("latin1") };
}

const pause = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

/** Resolves when the condition holds, or after ten seconds: then the assertion that follows tells. */
async function until(condition: () => boolean): Promise<void> {
  for (let turn = 0; turn < 1000 && !condition(); turn++) await pause(10);
}

function openBelow(directory: string): number {
  const targets = readdirSync("/proc/self/fd").map((fd) => {
    try {
      return readlinkSync(`/proc/self/fd/${fd}`);
    } catch {
      return "";
    }
  });
  return targets.filter((target) => target.startsWith(directory)).length;
}

/** Resolves as "closed", or as "open" when that has not come in time. */
const closedWithin = (socket: Socket, ms: number) =>
  Promise.race([
    socket.closed ? "closed" : once(socket, "close").then(() => "closed"),
    pause(ms).then(() => "open"),
  ]);

/** The asset routes alone, with limits of the test's own. */
async function assetServer(t: Test, limits: StreamLimits, content: Uint8Array) {
  const root = temporaryDirectory(t);
  const store = createContentStore(root);
  const { sha256 } = await store.put(
    (async function* () {
      yield content;
    })(),
  );
  const app = Fastify() as unknown as FastifyInstance;
  app.decorateRequest("bootStep", undefined);
  app.decorate("tellBootStep", () => undefined);
  installErrorMapper(app, silentLog, systemIds);
  assets.registerAssetRoutes(app, {
    content: store,
    clock: systemClock,
    images: { all: () => [] },
    boots: {
      machineAt: () => undefined,
      fileServed: async () => undefined,
      disk: {} as never,
      firstStageServed: () => {},
    },
    // No machine is known at any address, so nothing is told to it.
    tracker: {} as assets.AssetRouteDeps["tracker"],
    log: silentLog,
    downloads: createDownloads(),
    nbp: () => undefined,
    streamLimits: limits,
  });
  await app.listen({ port: 0, host: "127.0.0.1" });
  t.teardown(() => {
    app.server.closeAllConnections();
    return app.close();
  });
  return { port: (app.server.address() as AddressInfo).port, path: `/assets/${sha256}/x`, root };
}

t.test("large downloads", async (t) => {
  const large = randomBytes(24 * mebibyte);

  t.test("a client that reads nothing is cut off, one that reads slowly is not", async (t) => {
    const { port, path, root } = await assetServer(t, { stallMs: 400, perAddress: 8, total: 9 }, large);
    const stuck = await beginDownload(t, port, path);
    const slow = await beginDownload(t, port, path);
    let received = 0;
    let restMs = 10;
    slow.socket.on("data", (chunk: Buffer) => {
      received += chunk.length;
      slow.socket.pause();
      setTimeout(() => slow.socket.resume(), restMs);
    });
    slow.socket.resume();
    await until(() => openBelow(root) === 1);
    t.equal(openBelow(root), 1, "the file of the one that does not read is closed");
    t.notOk(slow.socket.closed);
    t.ok(received < large.length - mebibyte, `the slow one has ${received} octets so far`);
    restMs = 0;
    stuck.socket.resume();
    t.equal(await closedWithin(stuck.socket, 2000), "closed");
    await until(() => received > large.length - 100_000);
    t.ok(received > large.length - 100_000, "the slow one has all of it");
  });
  t.test("answers that wait behind another one on a connection leave nothing when it ends", async (t) => {
    const { port, path, root } = await assetServer(t, { stallMs: 60_000, perAddress: 4, total: 9 }, large);
    const { socket } = open(t, port);
    socket.pause();
    socket.write(`GET ${path} HTTP/1.1\r\nHost: localhost\r\n\r\n`.repeat(4));
    await until(() => openBelow(root) === 4);
    t.equal(openBelow(root), 4);
    socket.destroy();
    await until(() => openBelow(root) === 0);
    t.equal(openBelow(root), 0);
    t.match((await beginDownload(t, port, path)).head, /^HTTP\/1\.1 200 /, "and their places are free again");
  });
  t.test("so many in all, whoever asks; a small part and HEAD are served all the same", async (t) => {
    const { port, path } = await assetServer(t, { stallMs: 60_000, perAddress: 8, total: 3 }, large);
    const begun = [];
    for (const number of [1, 2, 3]) begun.push(await beginDownload(t, port, path, `127.0.3.${number}`));
    for (const { head } of begun) t.match(head, /^HTTP\/1\.1 200 /);
    const url = `http://127.0.0.1:${port}${path}`;
    const refused = await request(url);
    t.match([refused.statusCode, refused.headers["retry-after"]], [503, /^[0-9]+$/]);
    t.match(await refused.body.json(), { code: "SERVER_BUSY" });
    t.equal((await request(url, { method: "HEAD" })).statusCode, 200);
    const part = await request(url, { headers: { range: "bytes=0-999" } });
    t.equal((await part.body.arrayBuffer()).byteLength, 1000);
    begun[0]?.socket.destroy();
    await pause(100);
    t.match((await beginDownload(t, port, path)).head, /^HTTP\/1\.1 200 /);
  });
  t.test("eight to one address, and others are served; many hold little memory", async (t) => {
    const server = await startServer(t);
    const path = `/assets/${await server.put(large)}/root.squashfs`;
    const before = process.memoryUsage().arrayBuffers;
    for (let number = 0; number < 40; number++)
      await beginDownload(t, server.port, path, `127.0.3.${1 + (number >> 3)}`);
    const held = (process.memoryUsage().arrayBuffers - before) / mebibyte;
    t.ok(held < 55, `${Math.round(held)} MiB held by 40 clients that do not read`);
    const ninth = await beginDownload(t, server.port, path, "127.0.3.1");
    t.match(ninth.head, /^HTTP\/1\.1 503 [\s\S]*\r\nretry-after: [0-9]+\r\n[\s\S]*"code":"SERVER_BUSY"/i);
    t.match((await beginDownload(t, server.port, path, "127.0.3.99")).head, /^HTTP\/1\.1 200 /);
  });
});

t.test("connections", async (t) => {
  const listen = async (t: Test, server: Server) => {
    server.listen(0, "127.0.0.1");
    await once(server, "listening");
    t.teardown(() => {
      server.closeAllConnections();
      server.close();
    });
    return (server.address() as AddressInfo).port;
  };
  t.test("an address has 256 of them at most, and others still get in", async (t) => {
    const server = await startServer(t);
    const sockets = await Promise.all(
      Array.from({ length: 256 }, async () => {
        const { socket } = open(t, server.port, "127.0.3.1");
        await once(socket, "connect");
        return socket;
      }),
    );
    const more = open(t, server.port, "127.0.3.1");
    t.equal(await closedWithin(more.socket, 1000), "closed");
    t.ok(sockets.every((socket) => !socket.closed));
    t.equal((await server.ask("/healthz", { from: 2 })).status, 200);
    sockets[0]?.destroy();
    await pause(100);
    const next = open(t, server.port, "127.0.3.1");
    t.equal(await closedWithin(next.socket, 200), "open", "a place that was left is free");
  });
  t.test("and all of them together are limited", async (t) => {
    const server = createServer();
    connections.limitConnections(server, { total: 2, perAddress: 9 });
    const port = await listen(t, server);
    const [first, second, third] = [1, 2, 3].map((number) => open(t, port, `127.0.3.${number}`).socket);
    if (!first || !second || !third) throw new Error("three were opened");
    t.equal(await closedWithin(third, 1000), "closed");
    t.notOk(first.closed || second.closed);
  });
});

t.test("slow bodies", async (t) => {
  const clock = new ManualClock();
  const server = await startServer(t, { clock });
  const begin = async (lines: string[]) => {
    const opened = open(t, server.port);
    opened.socket.write([...lines, "Host: localhost", "Content-Length: 10", "", "abc"].join("\r\n"));
    await pause(100);
    return opened;
  };
  const put = `PUT /api/v1/contents/${sha256Of("abcdefghij")} HTTP/1.1`;

  t.test("end after a minute, also of requests that were answered without them", async (t) => {
    const reports = await Promise.all([
      begin(["POST /callback/x/phase HTTP/1.1", "Content-Type: text/plain"]),
      begin(["POST /nothing/here HTTP/1.1", "Content-Type: text/plain"]),
      begin([put]),
    ]);
    clock.advanceMs(59_000);
    await pause(50);
    t.notOk(reports.some(({ socket }) => socket.closed));
    clock.advanceMs(2000);
    for (const { socket } of reports) t.equal(await closedWithin(socket, 1000), "closed");
  });
  t.test("but an upload may take as long as it takes", async (t) => {
    const upload = await begin([put, `Authorization: Bearer ${server.adminToken}`]);
    clock.advanceMs(3_600_000);
    await pause(50);
    t.notOk(upload.socket.closed);
    upload.socket.write("defghij");
    await until(() => upload.text !== "");
    t.match(upload.text, /^HTTP\/1\.1 201 /);
  });
  t.test("unless nothing comes any more", async (t) => {
    const app = Fastify() as unknown as FastifyInstance;
    building.limitBodies(app, systemClock, { bodyMs: 200, uploadSilenceMs: 400 });
    app.addContentTypeParser("*", (_request, payload, done) => done(null, payload));
    app.post("/", async (request) => {
      request.allowSlowBody();
      await once(request.raw.resume(), "end");
      return "done";
    });
    await app.listen({ port: 0, host: "127.0.0.1" });
    t.teardown(() => app.close());
    const upload = open(t, (app.server.address() as AddressInfo).port);
    upload.socket.write(
      "POST / HTTP/1.1\r\nHost: a\r\nContent-Type: application/x\r\nContent-Length: 99\r\n\r\n",
    );
    for (let turn = 0; turn < 8; turn++) {
      await pause(100);
      upload.socket.write("x");
    }
    t.notOk(upload.socket.closed, "it is slow");
    t.equal(await closedWithin(upload.socket, 1500), "closed", "it is silent");
  });
});

/** A server with the machine s1, which boots. */
async function withMachine(t: Test) {
  const server = await startServer(t);
  await server.addImage();
  await server.add(1, "s1");
  await server.assign("s1", "worker");
  return server;
}
const post = (server: TestServer, path: string, body: unknown) =>
  server.ask(path, {
    method: "POST",
    from: 1,
    body,
    headers: { "content-type": typeof body === "string" ? "text/plain" : "application/json" },
  });

t.test("what a boot may put into the event log", async (t) => {
  const server = await withMachine(t);
  const claim = await server.claim(1);
  const eventsOf = async (type: string) =>
    (await server.api("GET", `/events?type=${type}&since=0&limit=1000`)).items;

  t.test("is 64 KiB of its log, with a word of what is dropped", async (t) => {
    for (let turn = 0; turn < 200; turn++)
      t.equal((await post(server, `/callback/${claim}/log`, "x".repeat(9000))).status, 204);
    const events = await eventsOf("machine.log");
    t.equal(events.length, 8, "seven with 8 KiB each, and one that says so");
    t.match(events.at(-1), { level: "warning", message: /64 KiB/ });
    t.ok(events.reduce((sum, event) => sum + JSON.stringify(event["data"]).length, 0) < 64 * 1024);
  });
  t.test("and twenty failures one by one, then one in ten times as many", async (t) => {
    for (let turn = 1; turn <= 150; turn++)
      t.equal(
        (await post(server, `/callback/${claim}/failed`, { code: "X", message: `no ${turn}` })).status,
        204,
      );
    const events = await eventsOf("machine.failed");
    t.equal(events.length, 21);
    t.match(events.at(-1), { message: /no 100 \(report 100 of this boot/, data: { reports: 100 } });
  });
});

t.test("an empty log costs too", async (t) => {
  const server = await withMachine(t);
  const claim = await server.claim(1);
  for (let turn = 0; turn < 200; turn++) await post(server, `/callback/${claim}/log`, "");
  const { items } = await server.api("GET", "/events?type=machine.log&since=0&limit=1000");
  t.ok(items.length < 130, `${items.length} events`);
});

t.test("HEAD of a script or config makes and counts nothing", async (t) => {
  const server = await withMachine(t);
  const claim = await server.claim(1);
  const head = (path: string) => server.ask(path, { method: "HEAD", from: 1 });
  t.equal((await head("/boot/52-54-00-00-00-01/boot.ipxe")).status, 404);
  const config = `/boot/claims/${claim}/cloud-init/user-data`;
  for (let turn = 0; turn < 20; turn++) t.equal((await head(config)).status, 404);
  t.equal(
    (await server.ask(config, { from: 1 })).status,
    200,
    "the claim lives, and no fetch of it was used up",
  );
  t.equal((await head("/boot.ipxe")).status, 200);
  t.equal((await head("/nbp/snponly.efi")).status, 200);
});

t.test("a Host that is not ours is refused", async (t) => {
  const app = Fastify() as unknown as FastifyInstance;
  const isControl = (asked: { headers: object }) => "x-control" in asked.headers;
  installErrorMapper(app, silentLog, systemIds);
  authorization.installHostCheck(app, { hostname: "Boot1.lab", isControl });
  app.get("/", () => "here");
  t.teardown(() => app.close());
  const ask = async (host: string, more: Record<string, string> = {}, url = "/") => {
    const { statusCode, body } = await app.inject({ url, headers: { host, ...more } });
    return statusCode === 421 ? (JSON.parse(body) as { code: string }).code : statusCode;
  };
  for (const host of [
    "10.0.0.1",
    "10.0.0.1:8080",
    "[::1]",
    "[::1]:80",
    "localhost",
    "LocalHost:1",
    "boot1.lab:80",
  ])
    t.equal(await ask(host), 200, host);
  for (const host of [
    "evil.example",
    "evil.example:80",
    "10.0.0.1.evil.example",
    "localhost.evil.example",
    "1.2.3",
    "0x7f.1",
    "a",
    "x@10.0.0.1",
    "[evil]",
    "10.0.0.1:80:80",
  ])
    t.equal(await ask(host), "HOST_NOT_ALLOWED", host);
  t.equal(await ask("evil.example", {}, "/nothing"), "HOST_NOT_ALLOWED", "whatever is asked for");
  t.equal(await ask("anything", { "x-control": "1" }), 200, "on the control socket");
});

t.test("the check of Host covers every route on TCP, and the control socket takes any name", async (t) => {
  const server = await startServer(t);
  const headers = { host: "evil.example" };
  const token = server.adminToken;
  for (const path of [
    "/",
    "/healthz",
    "/boot.ipxe",
    "/api/docs/",
    "/api/openapi.json",
    "/api/v1/machines",
    "/nothing",
  ]) {
    const { status, json } = await server.ask(path, { headers, token });
    t.match([status, json], [421, { code: "HOST_NOT_ALLOWED", status: 421 }], path);
  }
  t.equal((await server.ask("/healthz", { headers: { host: `localhost:${server.port}` } })).status, 200);
  const old = open(t, server.port);
  old.socket.write("GET /healthz HTTP/1.0\r\n\r\n");
  await old.closed;
  t.match(old.text, /^HTTP\/1\.1 200 /, "none at all, as U-Boot asks: no browser does");
  const empty = open(t, server.port);
  empty.socket.write("GET /healthz HTTP/1.0\r\nHost:\r\n\r\n");
  await empty.closed;
  t.match(empty.text, /^HTTP\/1\.1 421 /, "an empty one");
  const dispatcher = new Agent({ connect: { socketPath: join(server.dataDir, "control.sock") } });
  t.teardown(() => dispatcher.close());
  t.equal((await request("http://evil.example/api/v1/machines", { dispatcher })).statusCode, 200);
});

t.test("live events", async (t) => {
  const clock = new ManualClock();
  const server = await startServer(t, { clock });
  const tokenOf = async (name: string, more: object = {}) =>
    plain((await server.api("POST", "/tokens", { name, scope: "viewer", ...more })).json["token"]);
  const watch = (token: string) =>
    request(`${server.url}/api/v1/events`, {
      headers: { accept: "text/event-stream", authorization: `Bearer ${token}` },
    });
  const ends = (stream: Awaited<ReturnType<typeof watch>>) =>
    Promise.race([stream.body.text().then(() => true), pause(1000).then(() => false)]);

  t.test("end with the token that they were asked for with", async (t) => {
    const [revoked, expiring, kept] = [
      await watch(await tokenOf("revoked")),
      await watch(await tokenOf("expiring", { expiresInSeconds: 60 })),
      await watch(await tokenOf("kept")),
    ];
    t.teardown(() => kept.body.destroy());
    const told: string[] = [];
    kept.body.on("data", (chunk: Buffer) => told.push(chunk.toString())).on("error", () => undefined);
    t.equal((await server.api("DELETE", "/tokens/revoked")).status, 204);
    clock.advanceMs(20_000);
    t.ok(await ends(revoked), "revoked");
    await until(() => told.join("").includes(": still here"));
    t.match(told.join(""), /: still here/);
    clock.advanceMs(60_000);
    t.ok(await ends(expiring), "expired");
    t.notOk(kept.body.destroyed || kept.body.readableEnded);
  });
  t.test("are 64 at most", async (t) => {
    const streams = await Promise.all(Array.from({ length: 70 }, () => watch(server.adminToken)));
    const statuses = streams.map(({ statusCode }) => statusCode);
    for (const { body } of streams) body.on("error", () => undefined).destroy();
    t.ok(statuses.filter((status) => status === 200).length <= 64);
    t.match(streams.find(({ statusCode }) => statusCode === 503)?.headers["retry-after"], /^[0-9]+$/);
    await pause(100);
    const next = await watch(server.adminToken);
    t.equal(next.statusCode, 200, "a place that was left is free");
    next.body.on("error", () => undefined).destroy();
  });
});
