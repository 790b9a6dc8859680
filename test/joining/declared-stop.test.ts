import { setImmediate } from "node:timers/promises";
import t from "tap";
import { createClusterLab } from "../support/cluster-lab.ts";
import { createLab, declare, refused } from "../support/declared-lab.ts";

t.test("the stop waits for the object that is under way, and nothing is applied after it", async (t) => {
  const lab = createLab();
  lab.declared = declare([
    ["Namespace", "one"],
    ["Namespace", "two"],
  ]);
  const { promise: begun, resolve: begin } = Promise.withResolvers<void>();
  const { promise: answer, resolve: answerIt } = Promise.withResolvers<void>();
  lab.onApply = () => {
    begin();
    return answer;
  };
  lab.objects.follow({ generation: 1, setUps: 1, isUp: true });
  await begun;
  let isStopped = false;
  const stopped = lab.objects.stop().then(() => (isStopped = true));
  await setImmediate();
  t.equal(isStopped, false);
  answerIt();
  await stopped;
  t.equal(lab.clock.pendingTimers, 0);
  t.same(lab.applied, ["Namespace one"]);
  t.same(await lab.passFor(60), ["Namespace one"], "no more than that one");
});

t.test(
  "the stop waits three seconds for an API server that is silent, and hears no more of it",
  async (t) => {
    const lab = createLab();
    lab.declared = declare([["Namespace", "one"]]);
    const { promise: begun, resolve: begin } = Promise.withResolvers<void>();
    const { promise: answer, reject: fail } = Promise.withResolvers<void>();
    lab.onApply = () => {
      begin();
      return answer;
    };
    lab.objects.follow({ generation: 1, setUps: 1, isUp: true });
    await begun;
    const stopped = lab.objects.stop();
    lab.clock.advanceMs(3000);
    await stopped;
    const told = lab.events.length;
    fail(refused("too late"));
    await lab.objects.settled();
    t.equal(lab.events.length, told);
  },
);

t.test("a file whose digest is the same is not applied again", async (t) => {
  const lab = createLab();
  lab.declared = declare([["Namespace", "one"]]);
  await lab.pass();
  const { documents } = declare([["Namespace", "one", { metadata: { name: "one", labels: { a: "b" } } }]]);
  lab.declared = {
    documents: documents.map((document) => ({
      ...document,
      digest: lab.declared.documents[0]?.digest ?? "",
    })),
    problems: [],
  };
  t.same(await lab.passFor(10), [], "the digest of who read it counts, made once");
});

t.test("the cluster's stop waits for theirs", async (t) => {
  const { promise: round, resolve: endRound } = Promise.withResolvers<void>();
  const lab = await createClusterLab(t, { objects: { ...createLab().objects, stop: () => round } });
  let isStopped = false;
  const stopped = lab.service.stop().then(() => (isStopped = true));
  await setImmediate();
  t.equal(isStopped, false);
  endRound();
  await stopped;
});
