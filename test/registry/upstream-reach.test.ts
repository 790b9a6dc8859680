import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import t, { type Test } from "tap";
import { request } from "undici";
import { Audience, thisServer } from "../../server/upstream/audience.ts";
import { createReachingAgent, innerKindOf } from "../../server/upstream/reach.ts";
import type { Upstream } from "../../server/upstream/upstream.ts";
import { createUpstreamClient, readAll } from "../../server/upstream/upstream-client.ts";
import { startFakeUpstream } from "../support/fake-upstream.ts";
import { ManualClock } from "../support/manual-clock.ts";

const ownAddresses = () => ["10.9.9.9", "fd00::9"];

t.test("addresses of this machine and of its link are known, however they are written", async (t) => {
  const rows: Readonly<Record<string, string | undefined>> = {
    "127.0.0.1": "this machine",
    "127.8.8.8": "this machine",
    "0.0.0.0": "this machine",
    "::1": "this machine",
    "::": "this machine",
    "::ffff:127.0.0.1": "this machine",
    "::ffff:7f00:1": "this machine",
    "10.9.9.9": "this machine",
    "::ffff:10.9.9.9": "this machine",
    "fd00::9": "this machine",
    "169.254.169.254": "link-local",
    "::ffff:169.254.169.254": "link-local",
    "fe80::1": "link-local",
    "10.9.9.8": undefined,
    "192.0.2.1": undefined,
    "2001:db8::1": undefined,
  };
  for (const [address, kind] of Object.entries(rows))
    t.equal(innerKindOf(address, ownAddresses()), kind, address);
});

t.test(
  "no upstream leads to this machine but one that is configured there, by name or by address",
  async (t) => {
    const server = createServer((_request, response) => void response.end("inner"));
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    t.teardown(() => void server.close());
    const { port } = server.address() as AddressInfo;
    const ask = async (upstream: string, url: string) => {
      const dispatcher = createReachingAgent(upstream, { ownAddresses, connect: { timeout: 5000 } });
      t.teardown(() => dispatcher.destroy());
      return (await request(url, { dispatcher })).body.text();
    };
    const inner = [
      `http://127.0.0.1:${port}/`,
      `http://localhost:${port}/`,
      `http://[::ffff:7f00:1]:${port}/`,
    ];
    for (const upstream of ["https://registry.example.org", "http://192.0.2.1", "http://169.254.1.1"])
      for (const url of inner)
        await t.rejects(
          ask(upstream, url),
          { message: /an address of this machine/ },
          `${upstream} -> ${url}`,
        );
    for (const upstream of ["http://127.0.0.1:1", "http://localhost", "http://10.9.9.9", "http://[::1]:5000"])
      t.equal(await ask(upstream, inner[0] ?? ""), "inner", upstream);
  },
);

const demand = Audience.of(thisServer);

async function lab(t: Test, more: Partial<Upstream> = {}) {
  const fake = await startFakeUpstream(t);
  const clock = new ManualClock();
  const upstream: Upstream = { prefix: "far/", url: fake.url, isInsecure: false, ...more };
  const client = createUpstreamClient(upstream, { clock, ownAddresses });
  t.teardown(() => client.close());
  const ask = () =>
    client.request({ name: "app" }, { method: "GET", path: "/manifests/1", kind: "small", demand });
  return { fake, clock, upstream, client, ask };
}

t.test("a redirect of an upstream to this machine's link is not followed", async (t) => {
  const { fake, ask, client } = await lab(t);
  fake.twist((_request, response) => {
    response.writeHead(307, { location: "http://169.254.169.254/latest/meta-data/" }).end();
    return true;
  });
  await t.rejects(ask(), {
    code: "UNAVAILABLE",
    message: /leads to 169\.254\.169\.254, a link-local address/,
  });
  await t.rejects(client.fetchBeside(new URL(`${fake.url}/sigstore/x`), 1000, demand), {
    message: /a link-local address/,
  });
});

t.test("a small answer that goes on and on is given up after its time", async (t) => {
  const { fake, ask, clock, upstream } = await lab(t);
  fake.twist((_request, response) => {
    response.writeHead(200);
    response.write("a little");
    return true;
  });
  const answer = await ask();
  const all = readAll(upstream, answer.body, 1000);
  clock.advanceMs(60_000);
  await t.rejects(all, { status: 504, message: /has not finished its answer after 60 s/ });
  answer.release();
  t.equal(clock.pendingTimers, 0);
});

t.test("the body of a 401 keeps no connection, though the login fails", async (t) => {
  const { fake, ask } = await lab(t);
  const body = Buffer.alloc(1_000_000);
  fake.twist((_request, response) => {
    response.writeHead(401, { "www-authenticate": 'Bearer realm="http://169.254.1.1/token"' }).end(body);
    return true;
  });
  for (let count = 0; count < 40; count += 1) await t.rejects(ask(), { message: /link-local/ });
});

t.test("a login that leads nowhere is told as a refusal", async (t) => {
  const { fake, ask, clock } = await lab(t);
  fake.twist((_request, response) => {
    response.writeHead(401, { "www-authenticate": 'Bearer realm="/token"' }).end();
    return true;
  });
  await t.rejects(ask(), { code: "DENIED", message: /does not let this server read there \(401\)/ });
  t.equal(clock.pendingTimers, 0);
});
