import { join } from "node:path";
import t, { type Test } from "tap";
import type { NewEvent } from "../../server/domain/event.ts";
import type { StudentRules } from "../../server/domain/student-objects.ts";
import { createStudentNamespaces } from "../../server/kubernetes/student-namespaces.ts";
import { silentLog } from "../../server/platform/logger.ts";
import { openStore } from "../../server/store/open-store.ts";
import { createStudents, type Students } from "../../server/students/students.ts";
import { readYaml } from "../../server/yaml/read-yaml.ts";
import { sampleAuthorities } from "../support/cluster-samples.ts";
import { fakeApiServer } from "../support/fake-api-server.ts";
import { fakeCluster } from "../support/fake-cluster.ts";
import { clientOf } from "../support/kubernetes-clients.ts";
import { ManualClock } from "../support/manual-clock.ts";
import { temporaryDirectory } from "../support/samples.ts";

/** All of this file speaks to an API server of the test's own: test/support/fake-cluster.ts. A real one: test/cluster/students.test.ts. */
const authorities = sampleAuthorities(t);

const sampleRules: StudentRules = {
  clusterRole: "admin",
  podSecurity: "baseline",
  quota: { cpu: "2", memory: "2Gi", pods: 10, services: 10, nodePorts: 2, volumeClaims: 0 },
  container: { cpu: "500m", memory: "256Mi", cpuRequest: "50m", memoryRequest: "64Mi" },
  networkPolicy: true,
  clusterNetworks: ["10.244.0.0/16", "10.96.0.0/12"],
};

async function createLab(t: Test, rules: Partial<StudentRules> = {}) {
  const cluster = fakeCluster();
  const { target, asked } = await fakeApiServer(t, await authorities, cluster.answer);
  const clock = new ManualClock();
  // Tokens' lives are reckoned by the API server's clock.
  clock.advanceMs(Date.now() - clock.now());
  const store = openStore(":memory:", clock);
  t.teardown(() => store.close());
  const events: NewEvent[] = [];
  const namespaces = createStudentNamespaces(clientOf(t, await authorities, target));
  const make = (): Students =>
    createStudents({
      clock,
      log: silentLog,
      record: (event) => void events.push(event),
      random: () => 0.5,
      store: store.students,
      namespaces,
      rules: { ...sampleRules, ...rules },
      cluster: { clusterName: "lab", server: "https://api.lab:6443", authorityPem: "PEM" },
      tokenSeconds: 8 * 3600,
    });
  const lab = {
    cluster,
    asked,
    clock,
    store: store.students,
    events,
    students: make(),
    /** A pass of the cluster, until nothing goes on any more. */
    async pass(generation = 1, isUp = true): Promise<void> {
      for (let round = 0; round < 3; round++) {
        lab.students.follow({ generation, setUps: generation, isUp });
        await lab.students.settled();
      }
    },
    async passFor(seconds: number, generation = 1): Promise<void> {
      for (let second = 0; second < seconds; second += 2) {
        clock.advanceMs(2000);
        await lab.pass(generation);
      }
    },
    async restart(): Promise<void> {
      await lab.students.stop();
      lab.students = make();
    },
    states: async () =>
      Object.fromEntries(
        (await lab.students.list()).map(({ student, state, problem }) => [
          student.name,
          problem ? `${state}: ${problem}` : state,
        ]),
      ),
    told: () =>
      events.splice(0).map(({ type, actor }) => `${type}${actor === undefined ? "" : ` by ${actor}`}`),
  };
  return lab;
}

const objectsOf = (name: string) => [
  `Namespace ${name}`,
  "ResourceQuota student",
  "LimitRange student",
  "NetworkPolicy student",
  `ServiceAccount ${name}`,
  `RoleBinding ${name}-admin-binding`,
];

t.test(
  "who is created without a cluster waits, and is there when it comes up, in each generation",
  async (t) => {
    const lab = await createLab(t);
    await lab.pass(0, false);
    t.match(await lab.students.create(["Anna Kowalska", "boris"], "ivan"), [
      { asked: "Anna Kowalska", name: "anna-kowalska", result: "created" },
      { asked: "boris", name: "boris", result: "created" },
    ]);
    await lab.students.settled();
    t.same(await lab.states(), {
      "anna-kowalska": "waiting: there is no cluster yet",
      boris: "waiting: there is no cluster yet",
    });
    t.same(lab.told(), ["student.created by ivan", "student.created by ivan"]);
    t.equal(lab.asked.length, 0);
    await lab.pass(1);
    t.same(await lab.states(), { "anna-kowalska": "ready", boris: "ready" });
    t.same(lab.cluster.tracesOf("anna-kowalska"), objectsOf("anna-kowalska"));
    await lab.pass(1, false);
    t.match(await lab.states(), { boris: "waiting: the cluster is not up" });
    lab.cluster.objects.clear();
    await lab.pass(2);
    t.same(lab.cluster.tracesOf("boris"), objectsOf("boris"), "the next generation begins with nothing");
    lab.cluster.objects.clear();
    await lab.restart();
    await lab.pass(2);
    t.same(lab.cluster.tracesOf("boris"), objectsOf("boris"), "and so may a server that was started anew");
    t.same(lab.told(), [], "which is no news");
  },
);

t.test("a student's objects are the thesis's, and a share, limits, a level and a policy", async (t) => {
  const lab = await createLab(t);
  await lab.pass();
  await lab.students.create(["anna"], "ivan");
  await lab.students.settled();
  const { objects, keyOf } = lab.cluster;
  const labels = { "app.kubernetes.io/managed-by": "rollcall", "rollcall/student": "anna" };
  for (const { metadata } of objects.values()) t.match(metadata.labels, labels, metadata.name);
  t.match(objects.get(keyOf("namespaces", "anna")), {
    metadata: { labels: { "pod-security.kubernetes.io/enforce": "baseline" } },
  });
  t.match(objects.get(keyOf("rolebindings", "anna-admin-binding", "anna")), {
    roleRef: { kind: "ClusterRole", name: "admin" },
    subjects: [{ kind: "ServiceAccount", name: "anna", namespace: "anna" }],
  });
  t.match(objects.get(keyOf("resourcequotas", "student", "anna")), {
    spec: {
      hard: {
        pods: "10",
        "limits.cpu": "2",
        "requests.memory": "2Gi",
        "services.loadbalancers": "0",
        persistentvolumeclaims: "0",
      },
    },
  });
  t.match(objects.get(keyOf("limitranges", "student", "anna")), {
    spec: { limits: [{ type: "Container", default: { memory: "256Mi" }, defaultRequest: { cpu: "50m" } }] },
  });
  t.match(objects.get(keyOf("networkpolicies", "student", "anna")), {
    spec: {
      podSelector: {},
      policyTypes: ["Ingress", "Egress"],
      ingress: [{ from: [{ podSelector: {} }] }],
      egress: [
        { to: [{ podSelector: {} }] },
        {
          ports: [
            { protocol: "UDP", port: 53 },
            { protocol: "TCP", port: 53 },
          ],
        },
        { to: [{ ipBlock: { cidr: "0.0.0.0/0", except: ["10.244.0.0/16", "10.96.0.0/12"] } }] },
      ],
    },
  });
  const order = lab.asked.filter(({ method }) => method !== "GET").map(({ path }) => path.split("?")[0]);
  t.equal(order[0], "/api/v1/namespaces", "a namespace is made and never taken over");
  t.match(order[1], /resourcequotas/, "the share stands before there is an account to go beyond it");
  const without = await createLab(t, { networkPolicy: false });
  await without.pass();
  await without.students.create(["anna"], "ivan");
  await without.students.settled();
  t.notMatch(without.cluster.tracesOf("anna"), ["NetworkPolicy student"]);
  t.equal(without.cluster.tracesOf("anna").length, 5);
});

t.test("two names that come to one namespace in two calls are two persons", async (t) => {
  const lab = await createLab(t);
  t.match(await lab.students.create(["Zoë Łącka"], "ivan"), [{ name: "zoe-lacka", result: "created" }]);
  t.match(await lab.students.create(["Zoe Lacka"], "ivan"), [
    {
      asked: "Zoe Lacka",
      result: "refused",
      reason: /^Zoe Lacka comes to zoe-lacka, which Zoë Łącka has, and two persons can't share a namespace/,
      suggestion: "zoe-lacka-2",
    },
  ]);
  for (const same of ["Zoë Łącka", "zoë łącka ", "Zoë  Łącka", "zoe-lacka"])
    t.match(await lab.students.create([same], "ivan"), [{ name: "zoe-lacka", result: "exists" }], same);
  t.equal(lab.students.status("zoe-lacka").student.asked, "Zoë Łącka");
});

t.test("creating again changes nothing, and names are refused one by one", async (t) => {
  const lab = await createLab(t);
  await lab.pass();
  const both = ["anna", "default", "Anna", "boris"];
  t.match(await lab.students.create(both, "ivan"), [
    { result: "created" },
    { result: "refused", suggestion: "student-default" },
    { result: "refused", reason: /comes to anna/, suggestion: "anna-2" },
    { result: "created" },
  ]);
  t.match(await lab.students.create(["anna", "ANNA "], "ivan"), [
    { result: "exists" },
    { result: "refused" },
  ]);
  await lab.students.settled();
  t.same(await lab.states(), { anna: "ready", boris: "ready" });
});

t.test("a namespace that others made is not touched, and nobody gets rights there", async (t) => {
  const lab = await createLab(t);
  lab.cluster.put("Namespace", "namespaces", { name: "monitoring", labels: {} });
  lab.cluster.put("Namespace", "namespaces", { name: "boris", labels: { "rollcall/student": "anna" } });
  await lab.pass();
  await lab.students.create(["monitoring", "boris", "anna"], "ivan");
  await lab.students.settled();
  t.match(await lab.states(), {
    anna: "ready",
    boris: /failed: the cluster has a namespace boris that is not a student's/,
    monitoring: /failed: the cluster has a namespace monitoring/,
  });
  t.same(lab.cluster.tracesOf("monitoring"), ["Namespace monitoring"]);
  t.match(lab.events.filter(({ type }) => type === "student.problem").length, 2);
  await lab.passFor(60);
  t.equal(lab.events.filter(({ type }) => type === "student.problem").length, 2, "told once");
  await lab.students.remove("monitoring", "ivan");
  await lab.pass();
  t.ok(
    lab.cluster.objects.has(lab.cluster.keyOf("namespaces", "monitoring")),
    "and it is not deleted either",
  );
  await t.rejects(lab.students.describe("monitoring"), { code: "STUDENT_NOT_FOUND" });
});

t.test("what is removed from a student comes back within five minutes", async (t) => {
  const lab = await createLab(t);
  await lab.pass();
  await lab.students.create(["anna"], "ivan");
  await lab.students.settled();
  const { objects, keyOf } = lab.cluster;
  objects.delete(keyOf("resourcequotas", "student", "anna"));
  t.match(
    (await lab.students.describe("anna")).objects.filter(({ isThere }) => !isThere),
    [{ object: "ResourceQuota anna/student" }],
  );
  await lab.passFor(298);
  t.notOk(objects.has(keyOf("resourcequotas", "student", "anna")));
  await lab.passFor(4);
  t.ok(objects.has(keyOf("resourcequotas", "student", "anna")));
});

t.test("another role in the config is another binding of the same name", async (t) => {
  const lab = await createLab(t, { clusterRole: "edit" });
  lab.cluster.put("Namespace", "namespaces", { name: "anna", labels: { "rollcall/student": "anna" } });
  const admin = { apiGroup: "rbac.authorization.k8s.io", kind: "ClusterRole", name: "admin" };
  lab.cluster.put(
    "RoleBinding",
    "rolebindings",
    { name: "anna-admin-binding", namespace: "anna" },
    { roleRef: admin },
  );
  await lab.pass();
  await lab.students.create(["anna"], "ivan");
  await lab.students.settled();
  t.same(await lab.states(), { anna: "ready" });
  t.match(lab.cluster.objects.get(lab.cluster.keyOf("rolebindings", "anna-admin-binding", "anna")), {
    roleRef: { name: "edit" },
  });
});

t.test("one whom the API server refuses stops no other, and is tried again", async (t) => {
  const lab = await createLab(t);
  await lab.pass();
  lab.cluster.refused.set("limitranges", {
    status: 403,
    body: { kind: "Status", reason: "Forbidden", message: "a webhook" },
  });
  await lab.students.create(["anna", "boris"], "ivan");
  await lab.students.settled();
  t.match(await lab.states(), {
    anna: /failed: .*LimitRange anna\/student \(403\): a webhook/,
    boris: /failed/,
  });
  t.match(
    lab.events.filter(({ type }) => type === "student.problem"),
    [{ level: "warning", data: { student: "anna" } }, {}],
  );
  lab.cluster.refused.clear();
  await lab.passFor(10);
  t.same(await lab.states(), { anna: "ready", boris: "ready" });
});

t.test("an API server that does not answer fails nobody, and gets no flood", async (t) => {
  const lab = await createLab(t);
  lab.cluster.isDown = true;
  await lab.students.create(
    Array.from({ length: 30 }, (_, index) => `s${index}`),
    "ivan",
  );
  await lab.pass();
  t.match(await lab.states(), { s0: "waiting", s29: "waiting" });
  lab.cluster.isDown = false;
  await lab.passFor(10);
  t.same([...new Set(Object.values(await lab.states()))], ["ready"]);
});

t.test("a class is made a few at a time", async (t) => {
  const lab = await createLab(t);
  await lab.pass();
  await lab.students.create(
    Array.from({ length: 30 }, (_, index) => `s${index}`),
    "ivan",
  );
  await lab.students.settled();
  t.same([...new Set(Object.values(await lab.states()))], ["ready"]);
  const begun = new Set<string>();
  const done = new Set<string>();
  let most = 0;
  for (const { path, method } of lab.asked) {
    const name = /\/namespaces\/(s[0-9]+)/.exec(path)?.[1];
    if (name === undefined) continue;
    begun.add(name);
    if (method === "PATCH" && path.includes("rolebindings")) done.add(name);
    most = Math.max(most, begun.size - done.size);
  }
  t.ok(most <= 4, `${most} at once`);
  t.equal(done.size, 30);
});

t.test("delete leaves nothing, and the student is there until nothing is", async (t) => {
  const lab = await createLab(t);
  await lab.pass();
  await lab.students.create(["anna", "boris"], "ivan");
  await lab.students.settled();
  lab.cluster.put("Pod", "pods", { name: "web", namespace: "anna", labels: {} });
  lab.cluster.held.set(
    "anna",
    "Some content in the namespace has finalizers remaining: lab.example/seat in 1 resource instances",
  );
  lab.told();
  await lab.students.remove("anna", "piotr");
  await lab.students.settled();
  await lab.passFor(10);
  t.match(await lab.states(), {
    anna: /leaving: .*finalizers remaining: lab\.example\/seat/,
    boris: "ready",
  });
  t.match(await lab.students.create(["anna"], "ivan"), [{ result: "refused", reason: /is being deleted/ }]);
  await t.rejects(lab.students.issueToken("anna", undefined, "ivan"), { code: "STUDENT_LEAVING" });
  await lab.students.remove("anna", "ivan");
  t.same(lab.told(), [], "not yet");
  await lab.restart();
  await lab.pass();
  t.match(await lab.states(), { anna: /leaving/ }, "the server was started anew meanwhile");
  lab.cluster.held.clear();
  await lab.passFor(4);
  t.same(await lab.states(), { boris: "ready" });
  t.same(lab.cluster.tracesOf("anna"), []);
  t.same(lab.told(), ["student.deleted by piotr"]);
  t.equal(lab.cluster.tracesOf("boris").length, 6);
  await t.rejects(lab.students.remove("anna", "ivan"), { code: "STUDENT_NOT_FOUND" });
  await lab.students.create(["anna"], "ivan");
  await lab.students.settled();
  t.match(await lab.states(), { anna: "ready" }, "the name is free again");
});

t.test(
  "whoever was in no cluster is deleted at once, and whoever may be in one that is down waits",
  async (t) => {
    const lab = await createLab(t);
    await lab.pass(1);
    await lab.students.create(["anna"], "ivan");
    await lab.students.settled();
    await lab.pass(1, false);
    await lab.students.create(["boris"], "ivan");
    await lab.students.remove("anna", "ivan");
    await lab.students.remove("boris", "ivan");
    await lab.students.settled();
    t.same(await lab.states(), { anna: "leaving: the cluster is not up" });
    await lab.pass(0, false);
    t.same(await lab.states(), {}, "the cluster was taken back to nothing");
  },
);

t.test("a server that has just begun forgets nobody of whom a cluster may have something", async (t) => {
  const lab = await createLab(t);
  await lab.pass();
  await lab.students.create(["anna", "boris"], "ivan");
  await lab.students.settled();
  await lab.pass(1, false);
  await lab.students.remove("anna", "ivan");
  await lab.students.settled();
  await lab.restart();
  // Asked for before the first pass of the cluster.
  await lab.students.remove("boris", "ivan");
  await lab.students.create(["celina"], "ivan");
  await lab.students.settled();
  t.match(await lab.states(), {
    anna: /leaving/,
    boris: /leaving/,
    celina: /waiting/,
  });
  t.same(await lab.students.removeAll("ivan", lab.clock.now()), ["anna", "boris", "celina"]);
  await lab.passFor(6);
  t.same([lab.cluster.tracesOf("anna"), lab.cluster.tracesOf("boris")], [[], []]);
  t.same(await lab.states(), {});
});

t.test("a token is of the account, ends by itself and is written down nowhere", async (t) => {
  const lab = await createLab(t);
  await t.rejects(lab.students.issueToken("anna", undefined, "ivan"), { code: "STUDENT_NOT_FOUND" });
  await lab.students.create(["anna"], "ivan");
  await t.rejects(lab.students.issueToken("anna", undefined, "ivan"), {
    code: "STUDENT_NOT_READY",
    message: /there is no cluster yet/,
  });
  await lab.pass();
  const given = await lab.students.issueToken("anna", undefined, "ivan");
  t.match(given, { name: "anna", token: lab.cluster.tokens[0], isShortened: false });
  t.ok(Math.abs(given.expiresAt - Date.now() - 8 * 3_600_000) < 60_000);
  t.match(readYaml(given.kubeconfig).value, {
    clusters: [
      {
        name: "lab",
        cluster: {
          server: "https://api.lab:6443",
          "certificate-authority-data": Buffer.from("PEM").toString("base64"),
        },
      },
    ],
    contexts: [{ name: "anna@lab", context: { cluster: "lab", user: "anna", namespace: "anna" } }],
    "current-context": "anna@lab",
    users: [{ name: "anna", user: { token: given.token } }],
  });
  t.match(JSON.parse(lab.asked.at(-1)?.body ?? ""), {
    kind: "TokenRequest",
    spec: { expirationSeconds: 28_800 },
  });
  lab.cluster.longestTokenSeconds = 3600;
  t.match(await lab.students.issueToken("anna", 7200, "piotr"), { isShortened: true });
  const { tokens } = await lab.students.describe("anna");
  t.match(tokens, [
    { issuedBy: "piotr", isAlive: true },
    { issuedBy: "ivan", isAlive: true },
  ]);
  t.match(lab.events.slice(-1), [{ type: "student.token", actor: "piotr", data: { student: "anna" } }]);
  t.notMatch(JSON.stringify([lab.events, tokens, await lab.students.list(), lab.store.all()]), /eyJ/);
  await lab.pass(2);
  t.match(
    (await lab.students.describe("anna")).tokens,
    [{ isAlive: false }, { isAlive: false }],
    "accounts are new",
  );
  for (let count = 0; count < 12; count++) await lab.students.issueToken("anna", 600, "ivan");
  t.equal(lab.store.tokensOf("anna").length, 10, "nothing grows for ever");
});

t.test(
  "what of each share is used is told, and without an API server the list comes all the same",
  async (t) => {
    const lab = await createLab(t);
    await lab.pass();
    await lab.students.create(["anna", "boris"], "ivan");
    await lab.students.settled();
    t.match(await lab.students.list(), [
      { usage: { used: { pods: "1" }, hard: { pods: "10" } } },
      { usage: {} },
    ]);
    t.match(await lab.students.describe("anna"), { usage: { hard: { pods: "10" } }, objects: { length: 6 } });
    lab.cluster.isDown = true;
    t.match(await lab.students.list(), [{ state: "ready", usage: undefined }, {}]);
    t.match(await lab.students.describe("anna"), { objects: [], usage: undefined });
  },
);

t.test("there are two thousand students at most", async (t) => {
  const lab = await createLab(t);
  const names = (from: number, count: number) =>
    Array.from({ length: count }, (_, index) => `s${from + index}`);
  for (let from = 0; from < 2000; from += 500) await lab.students.create(names(from, 500), "ivan");
  await t.rejects(lab.students.create(["one-more"], "ivan"), { code: "STUDENTS_TOO_MANY" });
  t.match(await lab.students.create(["s7"], "ivan"), [{ result: "exists" }]);
});

t.test("the account that somebody removed is made anew when its token is asked for", async (t) => {
  const lab = await createLab(t);
  await lab.pass();
  await lab.students.create(["anna"], "ivan");
  await lab.students.settled();
  lab.cluster.objects.delete(lab.cluster.keyOf("serviceaccounts", "anna", "anna"));
  await t.rejects(lab.students.issueToken("anna", undefined, "ivan"), { code: "KUBERNETES_OBJECT_MISSING" });
  await lab.students.settled();
  t.match(await lab.students.issueToken("anna", undefined, "ivan"), { name: "anna" });
});

t.test("students and what was given to them are on the disk", async (t) => {
  const path = join(temporaryDirectory(t), "rollcall.db");
  const clock = new ManualClock();
  const first = openStore(path, clock);
  const anna = {
    name: "anna",
    asked: "Anna",
    createdAt: 1,
    createdBy: "ivan",
    isInCluster: false,
    leaving: undefined,
  };
  const boris = { ...anna, name: "boris", isInCluster: true, leaving: { since: 2, by: "piotr" } };
  for (const student of [anna, boris]) await first.students.update(student.name, () => student);
  const token = (issuedAt: number) => ({
    issuedAt,
    expiresAt: issuedAt + 600_000,
    issuedBy: "ivan",
    generation: 3,
  });
  for (let issuedAt = 1; issuedAt <= 12; issuedAt++) await first.students.noteToken("anna", token(issuedAt));
  await first.students.noteToken("boris", token(1));
  const kept = first.students.tokensOf("anna");
  first.close();
  const second = openStore(path, clock);
  t.teardown(() => second.close());
  t.same(second.students.all(), [anna, boris]);
  t.same(second.students.tokensOf("anna"), kept);
  t.equal(kept.length, 10);
  t.match(kept[0], token(12), "the newest first");
  t.equal(await second.students.remove("boris"), true);
  t.equal(await second.students.remove("boris"), false);
  await second.students.noteToken("boris", token(2));
  t.same(second.students.tokensOf("boris"), [], "whoever is gone meanwhile has none");
});

t.test(
  "a server that stops in the middle of it begins nothing more, and goes on after its next start",
  async (t) => {
    const lab = await createLab(t);
    await lab.pass();
    await lab.students.create(
      Array.from({ length: 30 }, (_, index) => `s${index}`),
      "ivan",
    );
    await lab.restart();
    const asked = lab.asked.length;
    t.ok(asked < 30 * 7, `${asked} requests, and not all`);
    t.match(await lab.states(), { s29: /waiting/ });
    t.equal(lab.asked.length, asked);
    t.same(
      lab.events.filter(({ type }) => type === "student.problem"),
      [],
    );
    await lab.pass();
    t.same([...new Set(Object.values(await lab.states()))], ["ready"]);
  },
);
