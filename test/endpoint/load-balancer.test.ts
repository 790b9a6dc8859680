import { createHash, randomBytes } from "node:crypto";
import { once } from "node:events";
import { type AddressInfo, connect, createServer, type Socket } from "node:net";
import t, { type Test } from "tap";
import { createLoadBalancer, type LoadBalancerOptions } from "../../server/endpoint/load-balancer.ts";
import type { Log } from "../../server/domain/capabilities.ts";
import type { BackendState } from "../../server/endpoint/backend-health.ts";
import { systemClock } from "../../server/platform/clock.ts";
import { silentLog } from "../../server/platform/logger.ts";
import { sampleAuthorities } from "../support/cluster-samples.ts";
import { fakeApiServer, type Told } from "../support/fake-api-server.ts";
import { clientOf } from "../support/kubernetes-clients.ts";
import { ManualClock } from "../support/manual-clock.ts";

/** A backend that does with its connections what the test says. */
async function startBackend(t: Test, serve: (socket: Socket) => void) {
  const sockets: Socket[] = [];
  const server = createServer({ allowHalfOpen: true }, (socket) => {
    sockets.push(socket);
    socket.on("error", () => {});
    serve(socket);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const stop = () =>
    new Promise<void>((resolve) => {
      server.close(() => resolve());
      for (const socket of sockets) socket.destroy();
    });
  t.teardown(stop);
  return { address: "127.0.0.1", port: (server.address() as AddressInfo).port, sockets, stop, server };
}

const echo = (socket: Socket) => void socket.pipe(socket);
/** Says who it is, and listens until the client is done. */
const named = (name: string) => (socket: Socket) => {
  socket.write(`${name}\n`);
  socket.on("end", () => socket.end()).resume();
};

/** A load balancer whose backends are ready as the test says; its probes are made when the test's clock goes on. */
async function startBalancer(t: Test, options: Partial<LoadBalancerOptions> = {}) {
  const clock = new ManualClock();
  const unready = new Set<number>();
  const slow = new Set<number>();
  const changes: BackendState[] = [];
  const lines: string[] = [];
  const waiting: (() => void)[] = [];
  const log: Log = {
    ...silentLog,
    warn: (_fields, message) => void lines.push(message),
    child: () => log,
  };
  const balancer = createLoadBalancer({
    address: "127.0.0.1",
    port: 0,
    clock,
    random: () => 0.5,
    log,
    probe: ({ port }) =>
      slow.has(port)
        ? Promise.resolve("slow")
        : unready.has(port)
          ? Promise.reject(new Error("/readyz answers 500"))
          : Promise.resolve("ready"),
    onChange(backend) {
      changes.push(backend);
      for (const look of waiting.splice(0)) look();
    },
    ...options,
  });
  await balancer.start();
  t.teardown(() => balancer.stop());
  return {
    balancer,
    clock,
    unready,
    slow,
    changes,
    lines,
    /** Until a backend's state is this, told by onChange. */
    async until(port: number, state: BackendState["state"]) {
      const isSo = () =>
        balancer.state().backends.some((backend) => backend.port === port && backend.state === state);
      while (!isSo()) await new Promise<void>((resolve) => waiting.push(resolve));
    },
    dial(): Socket {
      const socket = connect({ host: "127.0.0.1", port: balancer.state().port });
      socket.on("error", () => {});
      t.teardown(() => socket.destroy());
      return socket;
    },
  };
}

function closing(socket: Socket): Promise<void> {
  return new Promise((resolve) => {
    if (socket.closed) resolve();
    else socket.once("close", () => resolve());
  });
}

async function lineOf(socket: Socket): Promise<string> {
  const [chunk] = (await once(socket, "data")) as [Buffer];
  return chunk.toString().trim();
}

async function allOf(socket: Socket): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of socket) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks);
}

const digest = (data: Buffer) => createHash("sha256").update(data).digest("hex");

t.test(
  "octets arrive as they were sent, both ways at once, and the end of one way ends that way only",
  async (t) => {
    const answer = randomBytes(8 * 1024 * 1024);
    let received: Promise<Buffer> | undefined;
    const backend = await startBackend(t, (socket) => {
      received = allOf(socket);
      // The answer is longer than any buffer, and ends after the question.
      void received.then(() => socket.end(answer));
    });
    const { balancer, until, dial } = await startBalancer(t);
    balancer.setBackends([backend]);
    await until(backend.port, "ready");
    const question = randomBytes(8 * 1024 * 1024);
    const socket = dial();
    socket.end(question);
    const got = await allOf(socket);
    t.equal(digest((await received) ?? Buffer.alloc(0)), digest(question));
    t.equal(digest(got), digest(answer), "sent after the client had said its last");
    await closing(socket);

    const talk = await startBackend(t, echo);
    balancer.setBackends([talk]);
    await until(talk.port, "ready");
    const both = dial();
    both.end(question);
    t.equal(digest(await allOf(both)), digest(question), "echoed while it was still being sent");
    t.equal(balancer.state().backends.length, 1);
  },
);

t.test("what one end does not take is not read from the other", async (t) => {
  const backend = await startBackend(t, (socket) => {
    const block = Buffer.alloc(64 * 1024);
    const more = () => {
      while (socket.write(block));
    };
    socket.on("drain", more);
    more();
  });
  const { balancer, until, dial } = await startBalancer(t);
  balancer.setBackends([backend]);
  await until(backend.port, "ready");
  const socket = dial();
  socket.pause();
  await once(socket, "connect");
  await once(backend.server, "connection").catch(() => {});
  // A client that reads nothing: the backend is stopped by the sizes of buffers, after some MiB at the most.
  const written = () => backend.sockets[0]?.bytesWritten ?? 0;
  let last = -1;
  while (written() !== last) {
    last = written();
    await new Promise((resolve) => setTimeout(resolve, 200));
  }
  t.ok(last < 64 * 1024 * 1024, `${last} octets are on their way, and no more`);
});

t.test("only ready backends get connections, the one with the fewest first", async (t) => {
  const [a, b, c] = await Promise.all(["a", "b", "c"].map((name) => startBackend(t, named(name))));
  if (!a || !b || !c) throw new Error("three backends");
  const { balancer, until, dial, unready, clock } = await startBalancer(t);
  unready.add(c.port);
  balancer.setBackends([a, b, c]);
  await Promise.all([until(a.port, "ready"), until(b.port, "ready")]);
  const names = [];
  for (let index = 0; index < 6; index++) names.push(await lineOf(dial()));
  t.same(names.sort(), ["a", "a", "a", "b", "b", "b"]);
  t.match(
    balancer.state().backends.map(({ state, connections, total, reason }) => ({
      state,
      connections,
      total,
      reason,
    })),
    [
      { state: "ready", connections: 3, total: 3 },
      { state: "ready", connections: 3, total: 3 },
      { state: "unready", connections: 0, total: 0, reason: "/readyz answers 500" },
    ],
  );
  unready.delete(c.port);
  clock.advanceMs(2_000);
  await until(c.port, "ready");
  const later = [await lineOf(dial()), await lineOf(dial()), await lineOf(dial())];
  t.same(later, ["c", "c", "c"], "one that came later catches up");
});

t.test("a backend that refuses is passed over, and asked at once whether it is ready", async (t) => {
  const [dead, alive] = await Promise.all([startBackend(t, named("dead")), startBackend(t, named("alive"))]);
  if (!dead || !alive) throw new Error("two backends");
  const { balancer, until, dial, unready, changes } = await startBalancer(t);
  balancer.setBackends([dead, alive]);
  await Promise.all([until(dead.port, "ready"), until(alive.port, "ready")]);
  await dead.stop();
  unready.add(dead.port);
  for (let index = 0; index < 4; index++) t.equal(await lineOf(dial()), "alive");
  await until(dead.port, "unready");
  t.equal(changes.length, 3, "no time passed: the connections showed it");
});

t.test(
  "connections to a backend that is no longer ready are cut; one failed probe is not enough",
  async (t) => {
    const [a, b] = await Promise.all([startBackend(t, named("a")), startBackend(t, named("b"))]);
    if (!a || !b) throw new Error("two backends");
    const { balancer, until, dial, unready, clock } = await startBalancer(t);
    balancer.setBackends([a, b]);
    await Promise.all([until(a.port, "ready"), until(b.port, "ready")]);
    const sockets = [dial(), dial()];
    const names = await Promise.all(sockets.map(lineOf));
    const ofA = sockets[names.indexOf("a")];
    const ofB = sockets[names.indexOf("b")];
    if (!ofA || !ofB) throw new Error("one each");
    unready.add(a.port);
    clock.advanceMs(2_000);
    await new Promise((resolve) => setImmediate(resolve));
    t.equal(balancer.state().backends[0]?.state, "ready", "a busy moment");
    t.equal(ofA.closed, false);
    const cut = closing(ofA);
    clock.advanceMs(2_000);
    await until(a.port, "unready");
    await cut;
    t.equal(ofB.closed, false, "the other's stay");
    t.equal(await lineOf(dial()), "b", "and who comes anew gets another");

    const gone = closing(ofB);
    balancer.setBackends([]);
    await gone;
    t.pass("as are those to one that was taken away");
  },
);

t.test(
  "the last ready backend keeps its connections while it is only slow; one of two does not",
  async (t) => {
    const [a, b] = await Promise.all([startBackend(t, named("a")), startBackend(t, named("b"))]);
    if (!a || !b) throw new Error("two backends");
    const { balancer, until, slow, clock } = await startBalancer(t);
    balancer.setBackends([a, b]);
    await Promise.all([until(a.port, "ready"), until(b.port, "ready")]);
    const rounds = async (count: number) => {
      for (let round = 0; round < count; round++) {
        clock.advanceMs(2_000);
        await new Promise((resolve) => setImmediate(resolve));
      }
    };
    slow.add(a.port);
    await rounds(2);
    t.equal(balancer.state().backends[0]?.state, "unready");
    slow.add(b.port);
    await rounds(14);
    t.equal(balancer.state().backends[1]?.state, "ready", "it may have too much to do");
    await rounds(1);
    t.equal(balancer.state().backends[1]?.state, "unready", "half a minute is too long for anybody");
  },
);

t.test(
  "without a ready backend a connection is closed at once, and the log says so now and then",
  async (t) => {
    const { balancer, dial, lines, clock } = await startBalancer(t);
    const turned = async () => {
      const socket = dial();
      socket.resume();
      await closing(socket);
    };
    for (let index = 0; index < 20; index++) await turned();
    t.equal(balancer.state().turnedAway, 20);
    t.same(lines, ["a connection to the endpoint is closed: no API server takes it"]);
    clock.advanceMs(10_000);
    await turned();
    t.equal(lines.length, 2);
  },
);

t.test("200 connections at once are spread evenly and all answered", async (t) => {
  const backends = await Promise.all([1, 2, 3, 4].map(() => startBackend(t, echo)));
  const { balancer, until, dial } = await startBalancer(t);
  balancer.setBackends(backends);
  await Promise.all(backends.map(({ port }) => until(port, "ready")));
  const sent = Array.from({ length: 200 }, () => randomBytes(64 * 1024));
  const right = await Promise.all(
    sent.map(async (data) => {
      const socket = dial();
      socket.end(data);
      return digest(await allOf(socket)) === digest(data);
    }),
  );
  t.equal(right.filter(Boolean).length, 200);
  t.same(
    balancer.state().backends.map(({ total }) => total),
    [50, 50, 50, 50],
  );
});

t.test("one address, and all of them, have a limit", async (t) => {
  const backend = await startBackend(t, named("a"));
  const { balancer, until, dial } = await startBalancer(t, { maxPerAddress: 3 });
  balancer.setBackends([backend]);
  await until(backend.port, "ready");
  const held = [dial(), dial(), dial()];
  for (const socket of held) t.equal(await lineOf(socket), "a");
  const refused = dial();
  refused.resume();
  await closing(refused);
  t.equal(balancer.state().connections, 3);
  held[0]?.destroy();
  while (balancer.state().connections === 3) await new Promise((resolve) => setImmediate(resolve));
  t.equal(await lineOf(dial()), "a", "one that ends makes room");
});

t.test("an end that breaks ends the other; one that is done waits a minute for the other", async (t) => {
  const backend = await startBackend(t, (socket) => {
    socket.write("a");
    socket.resume();
  });
  const { balancer, until, dial, clock } = await startBalancer(t);
  balancer.setBackends([backend]);
  await until(backend.port, "ready");
  const broken = dial();
  await lineOf(broken);
  const first = backend.sockets[0];
  if (!first) throw new Error("a connection");
  const seen = closing(first);
  broken.resetAndDestroy();
  await seen;
  t.pass("the backend hears of a client that broke off");

  const half = dial();
  await lineOf(half);
  const second = backend.sockets[1];
  if (!second) throw new Error("another");
  const ended = once(second, "end");
  second.resume();
  half.end();
  await ended;
  const closed = closing(half);
  half.resume();
  clock.advanceMs(60_000);
  await closed;
  t.equal(clock.pendingTimers, 1, "what is left is the next probe");
});

t.test("a silent connection lives for hours", async (t) => {
  const backend = await startBackend(t, echo);
  const { balancer, until, dial, clock } = await startBalancer(t);
  balancer.setBackends([backend]);
  await until(backend.port, "ready");
  const watch = dial();
  watch.write("a");
  t.equal(await lineOf(watch), "a");
  for (let hours = 0; hours < 6 * 3600; hours += 2) {
    clock.advanceMs(2_000);
    if (hours % 3600 === 0) await new Promise((resolve) => setImmediate(resolve));
  }
  watch.write("b");
  t.equal(await lineOf(watch), "b");
});

t.test("stopped, it lets connections end for a while and then cuts them", async (t) => {
  const backend = await startBackend(t, echo);
  const one = await startBalancer(t);
  one.balancer.setBackends([backend]);
  await one.until(backend.port, "ready");
  const [ends, stays] = [one.dial(), one.dial()];
  for (const socket of [ends, stays]) {
    socket.write("a");
    await lineOf(socket);
  }
  const stopped = one.balancer.stop({ drainMs: 5_000 });
  const late = one.dial();
  await closing(late);
  ends.end("last words");
  t.equal((await allOf(ends)).toString(), "last words");
  t.equal(stays.closed, false);
  one.clock.advanceMs(5_000);
  await stopped;
  stays.resume();
  await closing(stays);
  t.equal(one.clock.pendingTimers, 0);

  const other = await startBalancer(t);
  await other.balancer.stop();
  t.pass("and one without connections stops at once");
});

t.test("a port that somebody has is told", async (t) => {
  const backend = await startBackend(t, echo);
  const balancer = createLoadBalancer({
    address: "127.0.0.1",
    port: backend.port,
    clock: systemClock,
    log: silentLog,
    random: Math.random,
    probe: () => Promise.resolve("ready"),
  });
  await t.rejects(balancer.start(), { code: "PORT_IN_USE" });
  await balancer.stop();
});

t.test(
  "with API servers behind it, a client with a certificate works through it and /readyz decides",
  async (t) => {
    const authorities = await sampleAuthorities(t);
    const ready: [boolean, boolean] = [true, true];
    const servers = await Promise.all(
      ([0, 1] as const).map((index) =>
        fakeApiServer(t, authorities, ({ path }): Told => {
          if (path === "/readyz")
            return { status: ready[index] ? 200 : 500, body: ready[index] ? "ok" : "no" };
          return { body: { metadata: { name: `from-${index}` } } };
        }),
      ),
    );
    const prober = clientOf(t, authorities, { host: "127.0.0.1", port: 1 });
    const { balancer, until } = await startBalancer(t, {
      clock: systemClock,
      probeEveryMs: 20,
      probe: ({ address, port }) => prober.healthz({ host: address, port }).then(() => "ready" as const),
    });
    balancer.setBackends(servers.map(({ target }) => ({ address: target.host, port: target.port })));
    const [first, second] = servers;
    if (!first || !second) throw new Error("two");
    await Promise.all([until(first.target.port, "ready"), until(second.target.port, "ready")]);
    const client = clientOf(t, authorities, { host: "127.0.0.1", port: balancer.state().port });
    const ask = async () => (await client.get("Node", { name: "x" })).metadata.name;
    const { metadata } = await client.get("Node", { name: "x" });
    const index = metadata.name === "from-0" ? 0 : 1;
    ready[index] = false;
    await until(servers[index]?.target.port ?? 0, "unready");
    t.equal(
      await ask().catch(ask),
      `from-${1 - index}`,
      "the connection was cut and the client came anew to the other",
    );
  },
);
