import t, { type Test } from "tap";
import { readResources } from "../../server/kubernetes/discovery.ts";
import { createObjectApplier } from "../../server/kubernetes/object-applier.ts";
import { sampleAuthorities } from "../support/cluster-samples.ts";
import { type Asked, fakeApiServer, type Told } from "../support/fake-api-server.ts";
import { clientOf } from "../support/kubernetes-clients.ts";

const verbs = ["create", "get", "patch"];
const core = {
  kind: "APIResourceList",
  groupVersion: "v1",
  resources: [
    { name: "namespaces", kind: "Namespace", namespaced: false, verbs },
    { name: "namespaces/status", kind: "Namespace", namespaced: true, verbs },
    { name: "secrets", kind: "Secret", namespaced: true, verbs },
    { name: "bindings", kind: "Binding", namespaced: true, verbs: ["create"] },
    { name: "../x", kind: "Bad", namespaced: true, verbs },
  ],
};

async function start(t: Test, answer: (asked: Asked) => Told | undefined = () => ({})) {
  const authorities = await sampleAuthorities(t);
  const server = await fakeApiServer(t, authorities, (asked) => {
    if (asked.method !== "GET") return answer(asked);
    return asked.path === "/api/v1" ? { body: core } : { status: 404, body: "404 page not found" };
  });
  return {
    begin: createObjectApplier(clientOf(t, authorities, server.target)),
    asked: () => server.asked.splice(0).map(({ method, path }) => `${method} ${path}`),
    server,
  };
}
const object = (kind: string, metadata: { name: string; namespace?: string }, apiVersion = "v1") => ({
  apiVersion,
  kind,
  metadata,
});

t.test("an object goes where the API server's own discovery has its kind, asked for once", async (t) => {
  const { begin, asked, server } = await start(t);
  const apply = begin();
  await apply(object("Namespace", { name: "p10-anna" }));
  await apply(object("Secret", { name: "a:b", namespace: "p10-anna" }));
  await apply(object("Secret", { name: "c" }));
  t.match(server.asked.at(-1), {
    contentType: "application/apply-patch+yaml",
    body: /"namespace":"default"/,
  });
  const apart = "?fieldManager=rollcall-declared&force=true";
  t.same(asked(), [
    "GET /api/v1",
    `PATCH /api/v1/namespaces/p10-anna${apart}`,
    `PATCH /api/v1/namespaces/p10-anna/secrets/a%3Ab${apart}`,
    `PATCH /api/v1/namespaces/default/secrets/c${apart}`,
  ]);
  await begin()(object("Namespace", { name: "p10-anna" }));
  t.equal(asked()[0], "GET /api/v1", "another round asks again: kinds come and go");
});

t.test("a kind that the API server does not have is told, and nothing is sent", async (t) => {
  const { begin, asked } = await start(t);
  const apply = begin();
  for (const one of [
    object("Deploiment", { name: "a" }),
    object("Bad", { name: "a" }),
    object("Binding", { name: "a" }),
    object("Deployment", { name: "a" }, "extensions/v1beta1"),
    object("DaemonSet", { name: "a" }, "extensions/v1beta1"),
  ])
    await t.rejects(apply(one), {
      code: "KUBERNETES_KIND_UNKNOWN",
      message: `the API server has no kind ${one.kind} in ${one.apiVersion} that can be applied`,
    });
  t.same(asked(), ["GET /api/v1", "GET /apis/extensions/v1beta1"]);
});

t.test("without an answer nothing is remembered as unknown", async (t) => {
  const authorities = await sampleAuthorities(t);
  let status = 503;
  const { target } = await fakeApiServer(t, authorities, () =>
    status === 200 ? { body: core } : { status },
  );
  const apply = createObjectApplier(clientOf(t, authorities, target))();
  await t.rejects(apply(object("Namespace", { name: "a" })), { code: "KUBERNETES_UNREACHABLE" });
  status = 200;
  await apply(object("Namespace", { name: "a" }));
});

t.test("what is refused says why; of a Secret no more than the reason", async (t) => {
  let told: Told = {};
  const { begin } = await start(t, () => told);
  const apply = begin();
  told = { status: 404, body: { kind: "Status", message: 'namespaces "b" not found' } };
  await t.rejects(apply(object("Secret", { name: "a", namespace: "b" })), {
    code: "KUBERNETES_OBJECT_MISSING",
    message: "the cluster has no namespace b",
  });
  told = { status: 422, body: { kind: "Status", reason: "Invalid", message: 'Invalid value: "hunter2"' } };
  await t.rejects(apply(object("Secret", { name: "a", namespace: "b" })), {
    message: "the API server refuses to change Secret b/a (422): Invalid",
  });
  await t.rejects(apply(object("Namespace", { name: "a" })), { message: /hunter2/ });
  told = { status: 500, body: { kind: "Status", reason: "InternalError", message: "webhook of hunter2" } };
  await t.rejects(apply(object("Secret", { name: "a", namespace: "b" })), {
    message: /it answers 500 to change Secret b\/a: InternalError$/,
  });
  await t.rejects(apply(object("Namespace", { name: "a" })), { message: /: webhook of hunter2$/ });
});

t.test("an answer that is no list of kinds has none", (t) => {
  for (const answer of [undefined, {}, { resources: 5 }, { resources: [null, 5, "x", {}, { kind: 5 }] }])
    t.equal(readResources("v1", answer).size, 0);
  const many = Array.from({ length: 2000 }, (_, index) => ({ name: `k${index}`, kind: `K${index}`, verbs }));
  t.equal(readResources("v1", { resources: many }).size, 1000);
  t.end();
});
