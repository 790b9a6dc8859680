import { createHash, randomBytes } from "node:crypto";
import { readdirSync } from "node:fs";
import { type IncomingMessage, request } from "node:http";
import { join } from "node:path";
import t, { type Test } from "tap";
import type { Clock } from "../../server/domain/capabilities.ts";
import { systemClock } from "../../server/platform/clock.ts";
import { thisServer } from "../../server/upstream/audience.ts";
import { startFakeUpstream } from "../support/fake-upstream.ts";
import { startServer } from "../support/http-fixture.ts";
import { type Blob, blobOf, manifestOf, ociManifest } from "../support/oci-image.ts";

interface Pulled {
  readonly status: number;
  readonly headers: NodeJS.Dict<string | string[]>;
  readonly body: Buffer;
  /** All that was announced came. */
  readonly isWhole: boolean;
}

async function lab(
  t: Test,
  settings: Readonly<Record<string, unknown>> = {},
  more: object = {},
  clock: Clock = systemClock,
) {
  const upstream = await startFakeUpstream(t);
  const server = await startServer(t, {
    clock,
    settings: { "registry.upstreams": [{ prefix: "far/", url: upstream.url, ...more }], ...settings },
  });
  const port = server.app.addresses.registryPort;
  /** @param from which machine asks: each has an address of its own */
  const pull = (path: string, { from = 1, headers = {} }: { from?: number; headers?: object } = {}) =>
    new Promise<Pulled>((resolve, reject) => {
      const localAddress = `127.0.2.${from}`;
      const asked = request({
        host: "127.0.0.1",
        port,
        path: `/v2/far/${path}`,
        localAddress,
        agent: false,
        headers: { ...headers },
      });
      asked.on("response", (response) => {
        const chunks: Buffer[] = [];
        response.on("data", (chunk: Buffer) => chunks.push(chunk));
        response.on("error", () => undefined);
        response.on("close", () =>
          resolve({
            status: response.statusCode ?? 0,
            headers: response.headers,
            body: Buffer.concat(chunks),
            isWhole: response.complete,
          }),
        );
      });
      asked.on("error", reject);
      asked.end();
    });
  const blob = (size: number): Blob => {
    const made = blobOf(randomBytes(size));
    upstream.add(made);
    return made;
  };
  return {
    upstream,
    server,
    pull,
    blob,
    downloads: () => readdirSync(join(server.blobs, "downloads")),
    isKept: (one: Blob) => server.app.store.registry.keeps(one.digest),
  };
}

const isGet = (request: IncomingMessage) =>
  request.method === "GET" && request.url?.includes("/blobs/") === true;

t.test(
  "two hundred machines pull an image at once: the upstream sends it once, and nobody fails",
  async (t) => {
    const { upstream, pull, blob } = await lab(t);
    const config = blobOf("{}");
    const layers = [blob(2_000_000), blob(300_000), blob(500)];
    const manifest = manifestOf(config, layers);
    upstream.add(config);
    upstream.add(manifest, { type: ociManifest, tag: "1" });
    const size = [config, manifest, ...layers].reduce((sum, { content }) => sum + content.length, 0);
    const machines = Array.from({ length: 200 }, (_, index) => index + 1);
    const failures: string[] = [];
    await Promise.all(
      machines.map(async (from) => {
        const tagged = await pull("app/manifests/1", { from });
        if (!tagged.body.equals(manifest.content)) failures.push(`${from}: manifest ${tagged.status}`);
        for (const one of [config, ...layers]) {
          const { status, body } = await pull(`app/blobs/${one.digest}`, { from });
          if (status !== 200 || !body.equals(one.content))
            failures.push(`${from}: ${one.digest} ${status} ${body.length}`);
        }
      }),
    );
    t.same(failures, []);
    t.ok(
      upstream.sentBytes <= size * 1.01,
      `the upstream sent ${upstream.sentBytes} octets for an image of ${size}`,
    );
  },
);

t.test("other content than was asked for: nobody gets its last octet, and nothing of it stays", async (t) => {
  const { upstream, pull, blob, downloads, isKept } = await lab(t);
  const one = blob(300_000);
  upstream.twist((request, response) => {
    if (!isGet(request)) return false;
    const wrong = Buffer.from(one.content);
    wrong[1000] = (wrong[1000] ?? 0) ^ 1;
    response.writeHead(200, { "content-length": wrong.length }).end(wrong);
    return true;
  });
  const pulled = await Promise.all([1, 2, 3].map((from) => pull(`app/blobs/${one.digest}`, { from })));
  for (const { status, isWhole, body } of pulled)
    t.ok(
      status === 502 || (!isWhole && body.length < one.content.length),
      `${status}, ${body.length} octets`,
    );
  // Files go after the answers.
  while (downloads().length > 0) await new Promise(setImmediate);
  t.notOk(isKept(one));
  const next = await pull(`app/blobs/${one.digest}`);
  t.equal(next.status, 502, "and who comes next is told");
  t.match(next.headers["content-type"], "application/json");
  t.ok(next.body.includes("gave other content"));
});

t.test(
  "an upstream that breaks off midway: the download goes on where it was, unseen by the client",
  async (t) => {
    const { upstream, pull, blob } = await lab(t);
    const one = blob(3_000_000);
    let left = 2;
    upstream.twist((request, response) => {
      if (!isGet(request) || left === 0) return false;
      left -= 1;
      const from = Number(/^bytes=(\d+)-/.exec(request.headers.range ?? "")?.[1] ?? 0);
      response.writeHead(from > 0 ? 206 : 200, {
        "content-length": one.content.length - from,
        ...(from > 0 && { "content-range": `bytes ${from}-${one.content.length - 1}/${one.content.length}` }),
      });
      response.write(one.content.subarray(from, from + 1_000_000), () => response.destroy());
      return true;
    });
    const { status, body } = await pull(`app/blobs/${one.digest}`);
    t.equal(status, 200);
    t.ok(body.equals(one.content));
    const ranges = upstream.asked.filter((line) => line.includes("bytes="));
    t.equal(ranges.length, 2, "it was asked for the rest");
    t.ok(upstream.sentBytes <= one.content.length * 1.5, `${upstream.sentBytes} octets were sent`);
  },
);

t.test("a client that goes away does not end the download for the others", async (t) => {
  const { upstream, pull, blob, server } = await lab(t);
  const one = blob(2_000_000);
  const begun = Promise.withResolvers<void>();
  const goOn = Promise.withResolvers<void>();
  upstream.twist((request, response) => {
    if (!isGet(request)) return false;
    response.writeHead(200, { "content-length": one.content.length });
    response.write(one.content.subarray(0, 1_000_000));
    begun.resolve();
    void goOn.promise.then(() => response.end(one.content.subarray(1_000_000)));
    return true;
  });
  const gone = request({ port: server.app.addresses.registryPort, path: `/v2/far/app/blobs/${one.digest}` });
  const first = new Promise<void>((resolve) =>
    gone.on("response", (response) => {
      response.on("error", () => undefined);
      response.once("data", () => resolve());
    }),
  );
  gone.on("error", () => undefined);
  gone.end();
  await begun.promise;
  await first;
  const follower = pull(`app/blobs/${one.digest}`, { from: 2 });
  gone.destroy();
  goOn.resolve();
  t.ok((await follower).body.equals(one.content));
  t.equal(upstream.asked.filter((line) => line.startsWith("GET") && line.includes("/blobs/")).length, 1);
});

t.test("a body that is longer than it says, or does not end, is given up", async (t) => {
  const { upstream, pull, blob, downloads } = await lab(t, { "registry.cacheBytes": 2_000_000 });
  const one = blob(1000);
  upstream.twist((request, response) => {
    if (!isGet(request)) return false;
    const more = (): void => {
      while (!response.destroyed && response.write(Buffer.alloc(64 * 1024)));
      response.once("drain", more);
    };
    response.writeHead(200);
    more();
    return true;
  });
  const { status, body } = await pull(`app/blobs/${one.digest}`);
  t.equal(status, 502);
  t.match(body.toString(), /sends more than the 2000000 octets/);
  t.same(downloads(), []);
});

t.test(
  "redirects in a circle are left after five; a redirect to elsewhere goes without the login",
  async (t) => {
    const { upstream, pull, blob } = await lab(t);
    const one = blob(1000);
    upstream.twist((request, response) => {
      if (!isGet(request)) return false;
      response.writeHead(307, { location: request.url }).end();
      return true;
    });
    const circle = await pull(`app/blobs/${one.digest}`);
    t.equal(circle.status, 502);
    t.match(circle.body.toString(), /redirects more than 5 times/);

    const elsewhere = await startFakeUpstream(t);
    const two = blobOf("elsewhere");
    let shown: string | undefined = "nobody came";
    elsewhere.twist((request, response) => {
      shown = request.headers.authorization;
      response.end(two.content);
      return true;
    });
    upstream.twist((request, response) => {
      if (request.headers.authorization !== "Bearer secret") {
        if (request.url?.startsWith("/token") === true)
          return Boolean(response.end(JSON.stringify({ token: "secret" })));
        const challenge = `Bearer realm="${upstream.url}/token",service="s"`;
        response.writeHead(401, { "www-authenticate": challenge }).end();
        return true;
      }
      response.writeHead(307, { location: `${elsewhere.url}/content` }).end();
      return true;
    });
    const { status, body } = await pull(`app/blobs/${two.digest}`);
    t.equal(status, 200);
    t.equal(body.toString(), "elsewhere");
    t.equal(shown, undefined, "no Authorization");
    t.ok(
      upstream.asked.some((line) => line.includes("/token?service=s&scope=repository%3Aapp%3Apull")),
      "the token is for this repository",
    );
  },
);

t.test("404 is 404, for a moment without asking again", async (t) => {
  const { upstream, pull } = await lab(t);
  const digest = blobOf("nothing").digest;
  for (const path of [`app/blobs/${digest}`, `app/manifests/${digest}`, "app/manifests/none"]) {
    t.equal((await pull(path)).status, 404);
    const asked = upstream.asked.length;
    t.equal((await pull(path)).status, 404);
    t.equal(upstream.asked.length, asked, `${path} was not asked for again`);
  }
});

t.test("what a path could mean to the upstream beside a tag does not get there", async (t) => {
  const { upstream, pull } = await lab(t);
  for (const tag of ["a%3Fb", "a%23b", "..%2fx", "a%0d%0ab"])
    t.not((await pull(`app/manifests/${tag}`)).status, 200);
  t.same(upstream.asked, []);
});

t.test("a part of a blob is given when all of it was checked", async (t) => {
  const { pull, blob } = await lab(t);
  const one = blob(500_000);
  const { status, body } = await pull(`app/blobs/${one.digest}`, { headers: { range: "bytes=1000-1999" } });
  t.equal(status, 206);
  t.ok(body.equals(one.content.subarray(1000, 2000)));
});

t.test(
  "over its limit the cache gives up what nobody used for the longest time, and nothing that was pushed",
  async (t) => {
    const { pull, blob, isKept, server, upstream } = await lab(t, { "registry.cacheBytes": 1_000_000 });
    const pushed = blob(400_000);
    const registry = `http://127.0.0.1:${server.app.addresses.registryPort}`;
    const answer = await fetch(`${registry}/v2/ours/blobs/uploads/?digest=${pushed.digest}`, {
      method: "POST",
      headers: { authorization: `Bearer ${server.adminToken}`, "content-type": "application/octet-stream" },
      body: new Uint8Array(pushed.content),
    });
    t.equal(answer.status, 201);
    t.equal((await pull(`app/blobs/${pushed.digest}`)).status, 200);
    t.equal(upstream.sentBytes, 0, "what is here is not fetched");
    const blobs: Blob[] = [];
    for (let n = 0; n < 6; n += 1) {
      const one = blob(300_000);
      blobs.push(one);
      t.equal((await pull(`app/blobs/${one.digest}`)).status, 200);
    }
    const kept = blobs.map(isKept);
    t.match(
      kept,
      [false, false, false, true, true, true].map((is, index) => (index === 3 ? Boolean : is)),
    );
    t.ok(isKept(pushed));
    t.ok((await fetch(`${registry}/v2/ours/blobs/${pushed.digest}`)).ok);
    const first = blobs[0] as Blob;
    t.ok((await pull(`app/blobs/${first.digest}`)).body.equals(first.content), "what went is fetched again");
  },
);

t.test(
  "a tag that the upstream moves is followed after its time, and one that it drops is gone",
  async (t) => {
    let later = 0;
    const clock = { ...systemClock, monotonicMs: () => systemClock.monotonicMs() + later };
    const { upstream, pull, server } = await lab(t, {}, {}, clock);
    const first = manifestOf(blobOf("{}"), []);
    upstream.add(first, { type: ociManifest, tag: "1" });
    t.ok((await pull("app/manifests/1")).body.equals(first.content));
    const asked = upstream.asked.length;
    await pull("app/manifests/1");
    t.equal(upstream.asked.length, asked, "within a minute nobody asks");
    t.match(server.app.store.upstreams.findTag("far/app", "1"), { digest: first.digest, isCached: true });
    const second = manifestOf(blobOf("[]"), []);
    upstream.add(second, { type: ociManifest, tag: "1" });
    later += 61_000;
    t.ok((await pull("app/manifests/1")).body.equals(second.content));
    upstream.twist((_request, response) => Boolean(response.writeHead(503).end()));
    later += 61_000;
    const stale = await pull("app/manifests/1");
    t.ok(stale.body.equals(second.content));
    t.match(stale.headers["warning"], /answers with 503; this tag is as it was at 20/);
    upstream.twist(() => false);
    upstream.untag("1");
    later += 61_000;
    t.equal((await pull("app/manifests/1")).status, 404);
    t.equal((await pull(`app/manifests/${second.digest}`)).status, 200, "its content stays");
  },
);

t.test("signatures of an upstream: found ones are remembered, absent ones for a moment", async (t) => {
  let later = 0;
  const clock = { ...systemClock, monotonicMs: () => systemClock.monotonicMs() + later };
  const lookaside = await startFakeUpstream(t);
  let isSigned = false;
  lookaside.twist((request, response) => {
    const isThere = isSigned && request.url?.endsWith("/signature-1") === true;
    response.writeHead(isThere ? 200 : 404).end(isThere ? "signed" : "");
    return true;
  });
  const { server } = await lab(t, {}, { lookaside: `${lookaside.url}/sigstore/` }, clock);
  const digest = blobOf("x").digest;
  const { signatures } = server.app.upstreams;
  const find = (repository: string) => signatures.passedOn(repository, digest, thisServer);
  t.same(await find("far/app"), []);
  t.same(await find("far/app"), []);
  t.same(lookaside.asked, [`GET /sigstore/app@${digest.replace(":", "=")}/signature-1`]);
  isSigned = true;
  later += 5001;
  t.same(await find("far/app"), [Buffer.from("signed")]);
  const asked = lookaside.asked.length;
  t.same(await find("far/app"), [Buffer.from("signed")]);
  t.equal(lookaside.asked.length, asked);
  later += 10 * 60_000;
  lookaside.twist((_request, response) => Boolean(response.writeHead(503).end()));
  t.same(await find("far/app"), [Buffer.from("signed")], "of an upstream that fails what is remembered");
  t.equal(find("ours/app"), undefined);
});

t.test("?ns= names the registry beside the path, as containerd does", async (t) => {
  const upstream = await startFakeUpstream(t);
  const manifest = manifestOf(blobOf("{}"), []);
  upstream.add(manifest, { type: ociManifest, tag: "3" });
  const server = await startServer(t, {
    settings: { "registry.upstreams": [{ prefix: "docker.io", url: upstream.url }] },
  });
  const base = `http://127.0.0.1:${server.app.addresses.registryPort}/v2/library/alpine`;
  const answer = await fetch(`${base}/manifests/3?ns=docker.io`);
  t.equal(answer.status, 200);
  t.equal(answer.headers.get("oci-namespace"), "docker.io");
  t.equal(
    createHash("sha256")
      .update(await answer.bytes())
      .digest("hex"),
    manifest.digest.slice(7),
  );
  t.equal((await fetch(`${base}/manifests/3?ns=quay.io`)).status, 404);
});
