import { randomBytes } from "node:crypto";
import { type ClientRequest, type IncomingMessage, request, type ServerResponse } from "node:http";
import t, { type Test } from "tap";
import { systemClock } from "../../server/platform/clock.ts";
import { startFakeUpstream } from "../support/fake-upstream.ts";
import { startServer } from "../support/http-fixture.ts";
import { type Blob, blobOf, manifestOf, ociManifest } from "../support/oci-image.ts";

async function lab(t: Test, settings: Readonly<Record<string, unknown>> = {}) {
  let later = 0;
  const clock = { ...systemClock, monotonicMs: () => systemClock.monotonicMs() + later };
  const upstream = await startFakeUpstream(t);
  const server = await startServer(t, {
    clock,
    settings: { "registry.upstreams": [{ prefix: "far/", url: upstream.url }], ...settings },
  });
  /** A request of a machine of its own, which may go away. */
  function ask(path: string, from = 1) {
    const { promise, resolve } = Promise.withResolvers<{
      readonly status: number;
      readonly warning: string | undefined;
      readonly body: Buffer;
    }>();
    const asked: ClientRequest = request({
      host: "127.0.0.1",
      port: server.app.addresses.registryPort,
      path: `/v2/far/${path}`,
      localAddress: `127.0.2.${from}`,
      agent: false,
    });
    const first = Promise.withResolvers<void>();
    asked.on("response", (response) => {
      const chunks: Buffer[] = [];
      response.on("data", (chunk: Buffer) => {
        chunks.push(chunk);
        first.resolve();
      });
      response.on("error", () => undefined);
      response.on("close", () => {
        const warning = response.headers["warning"];
        resolve({ status: response.statusCode ?? 0, warning, body: Buffer.concat(chunks) });
      });
    });
    asked.on("error", () => undefined);
    asked.end();
    return { answer: promise, first: first.promise, leave: () => void asked.destroy() };
  }
  const blob = (size: number): Blob => {
    const made = blobOf(randomBytes(size));
    upstream.add(made);
    return made;
  };
  return { upstream, server, ask, blob, advance: (ms: number) => void (later += ms) };
}

/** Holds requests whose path has this in it until they are let go. */
function hold(word: string, goOn: (request: IncomingMessage, response: ServerResponse) => void) {
  const held: (() => void)[] = [];
  const waiters: { readonly count: number; readonly resolve: () => void }[] = [];
  return {
    held,
    count: (count: number) =>
      new Promise<void>((resolve) => {
        if (held.length >= count) resolve();
        else waiters.push({ count, resolve });
      }),
    twist(request: IncomingMessage, response: ServerResponse): boolean {
      if (request.url?.includes(word) !== true) return false;
      held.push(() => goOn(request, response));
      for (const waiter of waiters) if (held.length >= waiter.count) waiter.resolve();
      return true;
    },
  };
}

const notThere = (_request: IncomingMessage, response: ServerResponse) => void response.writeHead(404).end();

t.test("invented tags of one machine take a part of an upstream's slots, and go with it", async (t) => {
  const { upstream, ask } = await lab(t);
  const manifest = manifestOf(blobOf("{}"), []);
  upstream.add(manifest, { type: ociManifest, tag: "real" });
  const { held, count, twist } = hold("invented", notThere);
  upstream.twist(twist);
  const invented = Array.from({ length: 107 }, (_, number) => ask(`app/manifests/invented-${number}`));
  await count(6);
  const refused = await Promise.race(invented.map(({ answer }) => answer));
  t.equal(refused.status, 429, "six are asked for, a hundred wait, and one too many is refused");
  t.equal(held.length, 6);
  const other = await ask("app/manifests/real", 2).answer;
  t.ok(other.body.equals(manifest.content), "another machine is answered meanwhile");
  for (const { leave } of invented) leave();
  // Who connects after that is heard after that.
  await ask("app/manifests/real", 1).answer;
  for (const answer of held.splice(0)) answer();
  upstream.twist(() => false);
  t.equal((await ask("app/manifests/nothing", 1).answer).status, 404, "its places are free again");
  const asked = upstream.asked.filter((line) => line.includes("invented-"));
  t.equal(asked.length, 6, "nobody asked for what nobody waited for");
});

t.test("where there is no slot, what is here is served, with a warning", async (t) => {
  const { upstream, ask, advance } = await lab(t);
  const manifest = manifestOf(blobOf("{}"), []);
  upstream.add(manifest, { type: ociManifest, tag: "1" });
  t.equal((await ask("app/manifests/1").answer).status, 200);
  advance(61_000);
  const { held, twist } = hold("invented", notThere);
  upstream.twist(twist);
  const invented = Array.from({ length: 107 }, (_, number) => ask(`app/manifests/invented-${number}`));
  await Promise.race(invented.map(({ answer }) => answer));
  const stale = await ask("app/manifests/1").answer;
  t.equal(stale.status, 200);
  t.ok(stale.body.equals(manifest.content));
  t.match(stale.warning, /^299 - "http.* is asked for too much at once; this tag is as it was at 20/);
  for (const answer of held) answer();
  for (const { leave } of invented) leave();
});

t.test("of downloads whose clients have gone two go on for each address that began them", async (t) => {
  const { upstream, ask, blob, server } = await lab(t);
  const blobs = [1, 2, 3].map(() => blob(300_000));
  const ended = Promise.withResolvers<void>();
  const held: (() => void)[] = [];
  upstream.twist((request, response) => {
    const one = blobs.find(({ digest }) => request.url?.endsWith(digest));
    if (!one || request.method !== "GET") return false;
    response.writeHead(200, { "content-length": one.content.length });
    response.write(one.content.subarray(0, 200_000));
    held.push(() => response.end(one.content.subarray(200_000)));
    response.on("close", () => {
      if (!response.writableFinished) ended.resolve();
    });
    return true;
  });
  const asked = blobs.map(({ digest }) => ask(`app/blobs/${digest}`));
  await Promise.all(asked.map(({ first }) => first));
  for (const { leave } of asked) leave();
  await ended.promise;
  const { pull } = server.app.upstreams;
  t.match(pull.counts, { downloads: 3, runningDownloads: 2, unheardDownloads: 2 });
  const digests = blobs.map(({ digest }) => digest);
  const back = ask(`app/blobs/${digests[0]}`, 2);
  await back.first;
  for (const finish of held) finish();
  t.equal((await back.answer).body.length, 300_000);
});

t.test("a blob longer than the whole cache is passed on, and nothing goes for it", async (t) => {
  const { upstream, ask, blob, server } = await lab(t, { "registry.cacheBytes": 1_000_000 });
  const small = blob(400_000);
  t.equal((await ask(`app/blobs/${small.digest}`).answer).status, 200);
  const large = blob(1_500_000);
  for (const from of [1, 2]) {
    const { status, body } = await ask(`app/blobs/${large.digest}`, from).answer;
    t.equal(status, 200);
    t.ok(body.equals(large.content));
  }
  const { registry } = server.app.store;
  t.notOk(registry.keeps(large.digest));
  t.ok(registry.keeps(small.digest), "the cache is as it was");
  const gets = upstream.asked.filter((line) => line.startsWith("GET") && line.includes(large.digest));
  t.equal(gets.length, 3, "once to learn its length, then for each who asks");
});
