import t from "tap";
import { KubernetesKindUnknown, KubernetesObjectMissing } from "../../server/domain/error-catalogue.ts";
import { createClusterLab } from "../support/cluster-lab.ts";
import { counts, createLab, declare, refused, silent } from "../support/declared-lab.ts";

t.test("each generation of the cluster gets what is declared, once, in the order of the kinds", async (t) => {
  const lab = createLab();
  lab.declared = declare([
    ["Pod", "p"],
    ["ServiceAccount", "anna"],
    ["Namespace", "one"],
  ]);
  t.same(await lab.pass(0, false), []);
  t.same(counts(lab), [0, 3, 0], "it waits for a cluster");
  const all = ["Namespace one", "ServiceAccount anna", "Pod p"];
  t.same(await lab.pass(1), all);
  t.same(counts(lab), [3, 0, 0]);
  t.match(lab.events, [{ type: "cluster.objects", message: "declared objects of generation 1: 3 applied" }]);
  t.same(await lab.passFor(60), []);
  t.same(await lab.pass(1, false), []);
  t.same(await lab.pass(1), [], "it was down, with its data");
  t.same(await lab.pass(2, false), []);
  t.same(counts(lab), [0, 3, 0], "the new one has nothing");
  t.same(await lab.pass(2), all);
  t.equal(lab.begun, 2, "nobody asks the API server for nothing");
});

t.test("a server that was started anew applies all again", async (t) => {
  const lab = createLab();
  lab.declared = declare([["Namespace", "one"]]);
  await lab.pass();
  lab.make();
  t.same(await lab.pass(), ["Namespace one"]);
});

t.test("what changes in the files is applied, and only that", async (t) => {
  const lab = createLab();
  lab.declared = declare([
    ["Namespace", "one"],
    ["Namespace", "two"],
  ]);
  await lab.pass();
  lab.declared = declare([
    ["Namespace", "zero"],
    ["Namespace", "one"],
    ["Namespace", "two", { metadata: { name: "two", labels: { room: "225" } } }],
  ]);
  t.same(await lab.pass(), [], "the files are looked at every five seconds");
  lab.clock.advanceMs(5000);
  t.same(await lab.pass(), ["Namespace zero", "Namespace two"], "and what only moved is the same");
  lab.declared = declare([["Namespace", "one"]]);
  lab.clock.advanceMs(5000);
  t.same(await lab.pass(), []);
  t.same(counts(lab), [1, 0, 0], "what is gone from the files is forgotten, and stays in the cluster");
});

t.test("a refused document stops no other, is told once, and is tried again with longer waits", async (t) => {
  const lab = createLab();
  lab.declared = declare([
    ["Namespace", "one"],
    ["Secret", "bad"],
    ["Pod", "p"],
  ]);
  lab.faults.set("bad", refused("Invalid"));
  t.same(await lab.pass(), ["Namespace one", "Pod p"]);
  t.match(lab.objects.status(), {
    applied: 2,
    waiting: 0,
    refused: [
      { file: "students.yaml", place: "#2", line: 11, object: "Secret bad", reason: /\(422\): Invalid/ },
    ],
  });
  t.same(lab.refusals(), [
    "declared object refused: students.yaml #2 (Secret bad): the API server refuses to change it (422): Invalid",
  ]);
  lab.begun = 0;
  await lab.passFor(60 * 60);
  t.same(lab.refusals(), [], "once");
  t.ok(
    lab.begun >= 10 && lab.begun <= 25,
    `at most every five minutes in the end: ${lab.begun} tries in an hour`,
  );
  await lab.pass(2);
  t.equal(lab.refusals().length, 1, "and once in the next generation");
  lab.faults.clear();
  t.same(await lab.passFor(10, 2), ["Secret bad"]);
  t.same(counts(lab), [3, 0, 0]);
});

t.test("a problem of a file is told when it comes, whether there is a cluster or not", async (t) => {
  const lab = createLab();
  const problem = { file: "x.yaml", place: "#3", line: 41, object: undefined, reason: "YAML: broken" };
  lab.declared = declare([["Namespace", "one"]], [problem]);
  await lab.pass(0, false);
  t.match(lab.events, [
    {
      type: "cluster.object-refused",
      level: "warning",
      message: "declared object refused: x.yaml #3: YAML: broken",
      data: { file: "x.yaml", document: "#3", line: 41, reason: "YAML: broken" },
    },
  ]);
  t.same(await lab.pass(), ["Namespace one"]);
  t.same(counts(lab), [1, 0, 1]);
  lab.events.length = 0;
  lab.declared = declare([], [problem, { ...problem, place: "#4" }]);
  lab.clock.advanceMs(5000);
  await lab.pass();
  t.equal(lab.refusals().length, 1, "only what is new");
});

t.test("two thousand refused documents are no two thousand events", async (t) => {
  const lab = createLab();
  lab.declared = declare(Array.from({ length: 2000 }, (_, index) => ["Pod", `p${index}`] as const));
  for (const { object } of lab.declared.documents) lab.faults.set(object.metadata.name, refused("no"));
  await lab.pass();
  const told = lab.refusals();
  t.equal(told.length, 21);
  t.match(told.at(-1), /1980 more; boot cluster show lists them/);
});

t.test("an API server that does not answer refuses nothing, and gets no flood", async (t) => {
  const lab = createLab();
  const names = Array.from({ length: 50 }, (_, index) => `p${index}`);
  lab.declared = declare(names.map((name) => ["Pod", name]));
  for (const name of names) lab.faults.set(name, silent);
  let asked = 0;
  lab.onApply = () => void asked++;
  lab.objects.follow({ generation: 1, setUps: 1, isUp: true });
  await lab.objects.settled();
  t.equal(asked, 3, "after three without an answer the round ends");
  t.same(counts(lab), [0, 50, 0]);
  t.same(lab.refusals(), []);
  lab.faults.clear();
  t.equal((await lab.passFor(10)).length, 50, "each is applied once it answers");
});

t.test("what gets no answer keeps nothing else waiting", async (t) => {
  const lab = createLab();
  const stuck = Array.from({ length: 10 }, (_, index) => `stuck${index}`);
  const fine = Array.from({ length: 10 }, (_, index) => `fine${index}`);
  lab.declared = declare([...stuck, ...fine].map((name) => ["Pod", name]));
  for (const name of stuck) lab.faults.set(name, silent);
  t.same(
    await lab.passFor(120),
    fine.map((name) => `Pod ${name}`),
  );
});

t.test("a round that takes long ends, and the next one goes on where it was", async (t) => {
  const lab = createLab();
  const names = Array.from({ length: 10 }, (_, index) => `p${index}`);
  lab.declared = declare(names.map((name) => ["Pod", name]));
  lab.onApply = () => lab.clock.advanceMs(5000);
  lab.objects.follow({ generation: 1, setUps: 1, isUp: true });
  await lab.objects.settled();
  t.equal(lab.applied.length, 5);
  t.equal((await lab.pass()).length, 10);
});

t.test("a cluster that was set up anew in its generation gets all once more", async (t) => {
  const lab = createLab();
  lab.declared = declare([["Namespace", "one"]]);
  await lab.pass();
  lab.objects.follow({ generation: 1, setUps: 2, isUp: true });
  await lab.objects.settled();
  t.same(lab.applied, ["Namespace one"]);
});

t.test("what is missing its declared namespace for a moment is not refused", async (t) => {
  const lab = createLab();
  lab.declared = declare([
    ["Namespace", "one"],
    ["ConfigMap", "a", { metadata: { name: "a", namespace: "one" } }],
    ["ConfigMap", "b", { metadata: { name: "b", namespace: "two" } }],
  ]);
  lab.faults.set("one", silent);
  for (const [name, namespace] of Object.entries({ a: "one", b: "two" }))
    lab.faults.set(name, KubernetesObjectMissing({ what: `namespace ${namespace}` }));
  t.same(await lab.pass(), []);
  t.match(lab.refusals(), [/ConfigMap two\/b/]);
  lab.faults.delete("one");
  lab.faults.delete("a");
  t.same(await lab.passFor(10), ["Namespace one", "ConfigMap one/a"]);
});

t.test(
  "a kind whose definition is declared too is waited for, and one without is refused at once",
  async (t) => {
    const lab = createLab();
    const unknown = (kind: string) => KubernetesKindUnknown({ kind, apiVersion: "lab.example/v1" });
    lab.declared = declare([
      ["Seat", "a", { apiVersion: "lab.example/v1" }],
      ["Bench", "b", { apiVersion: "lab.example/v1" }],
      ["CustomResourceDefinition", "seats", { spec: { group: "lab.example", names: { kind: "Seat" } } }],
    ]);
    lab.faults.set("a", unknown("Seat")).set("b", unknown("Bench"));
    t.same(await lab.pass(), ["CustomResourceDefinition seats"]);
    t.match(lab.refusals(), [/#2 \(Bench b\)/]);
    t.same(counts(lab), [1, 1, 1]);
    lab.faults.delete("a");
    t.same(await lab.passFor(2), ["Seat a"]);
    lab.faults.set("a", unknown("Seat"));
    await lab.passFor(120, 2);
    t.ok(
      lab.refusals().some((message) => message.includes("#1 (Seat a)")),
      "not for ever",
    );
  },
);

t.test("a round ends where the cluster goes down, begins anew, or the server stops", async (t) => {
  for (const [what, end, isBack] of [
    ["down", (lab: Lab) => lab.objects.follow({ generation: 1, setUps: 1, isUp: false }), true],
    ["anew", (lab: Lab) => lab.objects.follow({ generation: 2, setUps: 1, isUp: true }), true],
    ["stopped", (lab: Lab) => void lab.objects.stop(), false],
  ] as const) {
    const lab = createLab();
    lab.declared = declare([
      ["Namespace", "one"],
      ["Namespace", "two"],
    ]);
    lab.onApply = ({ metadata: { name } }) => void (name === "one" && end(lab));
    lab.objects.follow({ generation: 1, setUps: 1, isUp: true });
    await lab.objects.settled();
    t.same(lab.applied.splice(0), ["Namespace one"], what);
    lab.onApply = () => undefined;
    t.same(await lab.pass(what === "anew" ? 2 : 1), isBack ? ["Namespace one", "Namespace two"] : [], what);
  }
});

type Lab = ReturnType<typeof createLab>;

t.test("an ephemeral cluster has its objects back with each lesson", async (t) => {
  const objects = createLab();
  objects.declared = declare([["Namespace", "p10-anna"]]);
  const lab = await createClusterLab(t, { keepsData: false, objects: objects.objects });
  const lesson = async () => {
    await master.powerOn();
    await master.claim();
    for (let round = 0; round < 8; round++) {
      await lab.passes(2);
      await master.obey();
    }
    return objects.applied.splice(0);
  };
  const master = await lab.add(1, "m1", "master");
  t.same(await lesson(), ["Namespace p10-anna"]);
  t.equal(lab.service.record.generation, 1);
  t.match(lab.service.declaredObjects(), { applied: 1, waiting: 0, refused: [] });
  t.same(await lesson(), ["Namespace p10-anna"], "after the power was off");
  t.equal(lab.service.record.generation, 2);
  const order = lab.world.done.filter((what) => /^(etcd init|set-up)/.test(what));
  t.same(order, ["etcd init 1", "set-up", "etcd init 2", "set-up"]);
});
