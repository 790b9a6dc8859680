import { once } from "node:events";
import { createServer } from "node:net";
import t from "tap";
import type { Clock } from "../../server/domain/capabilities.ts";
import { RollcallError } from "../../server/domain/errors.ts";
import { largestAnswer } from "../../server/kubernetes/connection.ts";
import { issueServerClient, serverClientLifeMs } from "../../server/pki/master-files.ts";
import { sampleAuthorities } from "../support/cluster-samples.ts";
import { fakeApiServer, type Told } from "../support/fake-api-server.ts";
import { clientOf } from "../support/kubernetes-clients.ts";
import { ManualClock } from "../support/manual-clock.ts";

const node = (name: string) => ({ metadata: { name } });

async function failureOf(promise: Promise<unknown>): Promise<RollcallError> {
  try {
    await promise;
  } catch (error) {
    if (error instanceof RollcallError) return error;
    throw error;
  }
  throw new Error("it did not fail");
}

t.test(
  "it shows its certificate, and knows the API server by name and authority, not by address",
  async (t) => {
    const authorities = await sampleAuthorities(t);
    const { target, asked } = await fakeApiServer(t, authorities, () => ({ body: node("s1") }));
    for (const serverName of ["kubernetes", "10.0.0.11"]) {
      const read = await clientOf(t, authorities, target, { serverName }).get("Node", { name: "s1" });
      t.equal(read.metadata.name, "s1", `dialled at 127.0.0.1, known as ${serverName}`);
    }
    t.same(
      asked.map(({ commonName, serverName }) => [commonName, serverName]),
      [
        ["rollcall", "kubernetes"],
        ["rollcall", false],
      ],
      "an address is no server name (RFC 6066)",
    );
    const wrongName = await failureOf(
      clientOf(t, authorities, target, { serverName: "api.other" }).get("Node", { name: "s1" }),
    );
    t.match(wrongName, { code: "KUBERNETES_UNREACHABLE", message: /ERR_TLS_CERT_ALTNAME_INVALID/ });
    const others = await sampleAuthorities(t);
    const wrongAuthority = await failureOf(clientOf(t, others, target).get("Node", { name: "s1" }));
    t.match(wrongAuthority, {
      code: "KUBERNETES_UNREACHABLE",
      message: /SELF_SIGNED|VERIFY|SIGNATURE|ISSUER/,
    });
    t.equal(asked.length, 2, "neither got as far as a request");
  },
);

t.test("a certificate is renewed before it ends, and one request at a time asks for it", async (t) => {
  const authorities = await sampleAuthorities(t);
  const { target, asked } = await fakeApiServer(t, authorities, () => ({ body: node("s1") }));
  const clock = new ManualClock();
  let issued = 0;
  const client = clientOf(t, authorities, target, {
    clock,
    issueIdentity() {
      issued++;
      return issueServerClient(authorities, {
        cluster: { keyAlgorithm: "ECDSA-P256" },
        now: Date.now(),
        rights: "operator",
      });
    },
  });
  await Promise.all([1, 2, 3, 4].map(() => client.get("Node", { name: "s1" })));
  t.equal(issued, 1);
  clock.advanceMs(serverClientLifeMs / 2);
  await client.get("Node", { name: "s1" });
  t.equal(issued, 1);
  clock.advanceMs(serverClientLifeMs / 4);
  await client.get("Node", { name: "s1" });
  t.equal(issued, 2, "at three quarters of its life there is another");
  t.equal(new Set(asked.map(({ serial }) => serial)).size, 2, "and it is the one that is shown");
  t.equal(clock.pendingTimers, 0, "no limit outlives its request");
});

t.test("a certificate that can't be made fails the request and is tried anew with the next", async (t) => {
  const authorities = await sampleAuthorities(t);
  const { target } = await fakeApiServer(t, authorities, () => ({ body: node("s1") }));
  let tries = 0;
  const client = clientOf(t, authorities, target, {
    issueIdentity() {
      if (tries++ === 0) return Promise.reject(new Error("sealed"));
      return issueServerClient(authorities, {
        cluster: { keyAlgorithm: "ECDSA-P256" },
        now: Date.now(),
        rights: "operator",
      });
    },
  });
  await t.rejects(client.get("Node", { name: "s1" }), { message: "sealed" });
  t.equal((await client.get("Node", { name: "s1" })).metadata.name, "s1");
});

t.test("told to come again it does, and gives up when it is told so too often or for too long", async (t) => {
  const authorities = await sampleAuthorities(t);
  const answers: Told[] = [];
  const { target, asked } = await fakeApiServer(
    t,
    authorities,
    () => answers.shift() ?? { body: node("s1") },
  );
  const waits: number[] = [];
  const { systemClock } = await import("../../server/platform/clock.ts");
  const client = clientOf(t, authorities, target, {
    clock: {
      ...systemClock,
      after(delayMs, fn) {
        if (delayMs >= 10_000) return systemClock.after(delayMs, fn);
        waits.push(delayMs);
        return systemClock.after(0, fn);
      },
    },
  });
  const busy = (status: number, seconds?: string): Told => ({
    status,
    ...(seconds === undefined ? {} : { headers: { "retry-after": seconds } }),
  });
  answers.push(busy(429, "1"), busy(503, "2"));
  t.equal((await client.get("Node", { name: "s1" })).metadata.name, "s1");
  t.same(waits, [1000, 2000], "as long as it was told");
  for (const [what, list, count] of [
    ["always busy", [1, 2, 3, 4, 5].map(() => busy(429, "1")), 4],
    ["for an hour", [busy(429, "3600")], 1],
    ["a 500 that says nothing of later", [busy(500)], 1],
    ["a date, or something worse", [busy(503, "Wed, 21 Oct 2026 07:28:00 GMT")], 1],
  ] as const) {
    answers.splice(0, answers.length, ...list);
    const before = asked.length;
    t.match(await failureOf(client.get("Node", { name: "s1" })), { code: "KUBERNETES_UNREACHABLE" }, what);
    t.equal(asked.length - before, count);
  }
  answers.splice(0, answers.length, busy(429, "1"));
  const before = asked.length;
  t.match(
    await failureOf(client.evict({ name: "p", namespace: "default" }, "policy/v1")),
    { details: { status: 429 } },
    "to an eviction a 429 is an answer",
  );
  t.equal(asked.length - before, 1);
});

t.test("what an API server says no with is one of four errors, and tells no secret", async (t) => {
  const authorities = await sampleAuthorities(t);
  let told: Told = {};
  const { target } = await fakeApiServer(t, authorities, () => told);
  const client = clientOf(t, authorities, target);
  const status = (code: number, reason: string, message: string): Told => ({
    status: code,
    body: { kind: "Status", reason, message, code },
  });
  told = status(403, "Forbidden", 'nodes is forbidden: User "rollcall" cannot list\n\u001b[31mnodes');
  t.match(await failureOf(client.list("Node")), {
    code: "KUBERNETES_REFUSED",
    message:
      'the API server refuses to read nodes (403): nodes is forbidden: User "rollcall" cannot list [31mnodes',
  });
  told = status(404, "NotFound", "x");
  t.match(await failureOf(client.get("Node", { name: "s9" })), {
    code: "KUBERNETES_OBJECT_MISSING",
    message: "the cluster has no Node s9",
  });
  t.equal(await client.find("Node", { name: "s9" }), undefined);
  t.equal(await client.delete("Node", { name: "s9" }), false);
  told = status(409, "AlreadyExists", "x");
  t.match(await failureOf(client.create("Node", { apiVersion: "v1", kind: "Node", ...node("s1") })), {
    code: "KUBERNETES_CONFLICT",
  });
  told = status(
    422,
    "Invalid",
    'Secret "x" is invalid: data[token-secret]: Invalid value: "0123456789abcdef"',
  );
  const secret = { apiVersion: "v1", kind: "Secret", metadata: { name: "x", namespace: "kube-system" } };
  const refused = await failureOf(client.create("Secret", secret));
  t.match(refused.message, /refuses to create Secret kube-system\/x \(422\): Invalid$/);
  t.notMatch(JSON.stringify(refused), /0123456789abcdef/);
  told = { status: 502, body: "<html>a proxy</html>" };
  t.match(await failureOf(client.get("Node", { name: "s1" })), { code: "KUBERNETES_UNREACHABLE" });
  told = { body: "<html>a proxy</html>" };
  t.match(await failureOf(client.get("Node", { name: "s1" })), { message: /not JSON/ });
  told = { body: '"no object"', headers: { "content-type": "application/json" } };
  t.match(await failureOf(client.get("Node", { name: "s1" })), { message: /not JSON/ });
});

t.test("an answer that never comes or never ends is given up", async (t) => {
  const authorities = await sampleAuthorities(t);
  const clock = new ManualClock();
  const { target, server } = await fakeApiServer(t, authorities, () => undefined);
  const client = clientOf(t, authorities, target, { clock });
  const never = failureOf(client.get("Node", { name: "s1" }));
  await once(server, "request");
  clock.advanceMs(10_000);
  t.match(await never, { code: "KUBERNETES_UNREACHABLE", message: /no answer within 10000 ms/ });

  const large = await fakeApiServer(t, authorities, () => ({
    body: { metadata: { name: "x".repeat(largestAnswer) } },
  }));
  t.match(await failureOf(clientOf(t, authorities, large.target).get("Node", { name: "s1" })), {
    code: "KUBERNETES_UNREACHABLE",
    message: /UND_ERR_RES_EXCEEDED_MAX_SIZE/,
  });

  const closed = createServer();
  await new Promise<void>((resolve) => closed.listen(0, "127.0.0.1", resolve));
  const { port } = closed.address() as { port: number };
  await new Promise<void>((resolve) => closed.close(() => resolve()));
  t.match(
    await failureOf(clientOf(t, authorities, { host: "127.0.0.1", port }).get("Node", { name: "s1" })),
    {
      message: /ECONNREFUSED/,
    },
  );
});

t.test("lists are read page by page, and one that does not end is cut", async (t) => {
  const authorities = await sampleAuthorities(t);
  let pages = 3;
  const { target, asked } = await fakeApiServer(t, authorities, () => ({
    body: { items: [node(`s${pages}`)], metadata: --pages > 0 ? { continue: `p${pages}` } : {} },
  }));
  const client = clientOf(t, authorities, target);
  const read = await client.list("Node", { fieldSelector: "spec.unschedulable=true" });
  t.same(
    read.items.map(({ metadata }) => metadata.name),
    ["s3", "s2", "s1"],
  );
  t.equal(read.isCut, false);
  t.equal(asked[1]?.path, "/api/v1/nodes?limit=100&fieldSelector=spec.unschedulable%3Dtrue&continue=p2");
  pages = 1_000_000;
  t.match(await client.list("Node"), { isCut: true, items: { length: 100 } });
});

t.test("names stay one segment of the path", async (t) => {
  const authorities = await sampleAuthorities(t);
  const { target, asked } = await fakeApiServer(t, authorities, () => ({}));
  await clientOf(t, authorities, target).get("Secret", { name: "../../nodes?x#", namespace: "a/b" });
  t.equal(asked[0]?.path, "/api/v1/namespaces/a%2Fb/secrets/..%2F..%2Fnodes%3Fx%23");
});

t.test("an API server is ready when /readyz says 200 on a new connection", async (t) => {
  const authorities = await sampleAuthorities(t);
  let told: Told = { body: "ok" };
  const { target, asked, server } = await fakeApiServer(t, authorities, () => told);
  let connections = 0;
  server.on("secureConnection", () => connections++);
  const client = clientOf(t, authorities, { host: "127.0.0.1", port: 1 });
  await client.healthz(target);
  await client.healthz(target);
  t.equal(connections, 2);
  t.equal(asked[0]?.path, "/readyz");
  told = { status: 500, body: "[-]etcd failed" };
  t.match(await failureOf(client.healthz(target)), { message: /\/readyz answers 500/ });
});

t.test("a client that was closed asks nobody any more, not even again", async (t) => {
  const authorities = await sampleAuthorities(t);
  const { target, asked } = await fakeApiServer(t, authorities, () => ({
    status: 429,
    headers: { "retry-after": "1" },
  }));
  const closed = { code: "KUBERNETES_UNREACHABLE", message: /the server stops/ };
  const clock = new ManualClock();
  const { promise: isPatient, resolve: waits } = Promise.withResolvers<void>();
  const after: Clock["after"] = (delayMs, fn) => {
    if (delayMs === 1000) waits();
    return clock.after(delayMs, fn);
  };
  const now = { now: () => clock.now(), monotonicMs: () => clock.monotonicMs(), after };
  const client = clientOf(t, authorities, target, { clock: now });
  const patient = client.get("Node", { name: "s1" });
  await isPatient;
  await client.close();
  clock.advanceMs(20_000);
  t.match(await failureOf(patient), closed);
  t.match(await failureOf(client.get("Node", { name: "s1" })), closed);
  t.equal(asked.length, 1);
  const { promise: issued, resolve: issue } = Promise.withResolvers<void>();
  const slow = clientOf(t, authorities, target, {
    issueIdentity: async () => {
      await issued;
      return issueServerClient(authorities, {
        cluster: { keyAlgorithm: "ECDSA-P256" },
        now: Date.now(),
        rights: "operator",
      });
    },
  });
  const waiting = failureOf(slow.get("Node", { name: "s1" }));
  const closing = slow.close();
  issue();
  await closing;
  t.match(await waiting, closed);
  t.equal(asked.length, 1, "and not when its certificate is made after the end");
});
