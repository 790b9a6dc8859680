import t from "tap";
import {
  type EtcdMember,
  planRecovery,
  planRemoval,
  quorumOf,
  refuseAddition,
  type RemovalPlan,
} from "../../server/etcd/membership.ts";

/** What is done to etcd's members and what never is, as a table: `s1` is healthy, `-s1` is down, `?s1` has not started, `~s1` is a learner. */
function survey(...words: string[]) {
  const members = words.map((word, index): EtcdMember => {
    const name = word.replace(/^[-?~+]+/, "");
    return {
      id: String(2n ** 63n + BigInt(index)),
      name: word.includes("?") ? "" : name,
      peerUrls: [`https://${name}:2380`],
      clientUrls: word.includes("?") ? [] : [`https://${name}:2379`],
      isLearner: word.includes("~"),
    };
  });
  const healthy = new Set(
    members.filter((_, index) => !/^[~]?[-?]/.test(words[index] ?? "")).map(({ id }) => id),
  );
  return { members, healthy };
}
const master = (name: string) => ({ name, peerUrl: `https://${name}:2380` });

const removals: readonly (readonly [rule: string, members: string[], expected: string])[] = [
  ["one of three is wiped: it is removed", ["s1", "s2", "-s3"], "remove s3"],
  ["one of five is wiped, another is down: it is removed", ["s1", "s2", "s4", "-s5", "-s3"], "remove s3"],
  ["a master that never was a member has nothing to remove", ["s1", "s2"], "clean"],
  [
    "a member that added itself and never started is found by its address",
    ["s1", "s2", "?s3"],
    "remove https://s3:2380",
  ],
  ["a learner that did not get to the end is removed", ["s1", "s2", "~-s3"], "remove s3"],
  ["a learner does not count as a voter", ["s1", "~?s3"], "remove https://s3:2380"],
  ["two of three are down: nothing can be changed", ["s1", "-s2", "-s3"], "ETCD_QUORUM_LOST"],
  ["one of two is down: nothing can be changed", ["s1", "-s3"], "ETCD_QUORUM_LOST"],
  ["the only one is wiped: that is a total loss", ["-s3"], "ETCD_QUORUM_LOST"],
  ["all are down", ["-s1", "-s2", "-s3"], "ETCD_QUORUM_LOST"],
  ["three of five are down", ["s1", "s2", "-s4", "-s5", "-s3"], "ETCD_QUORUM_LOST"],
  [
    "a quorum that hangs on one: two of four are a quorum of neither",
    ["s1", "s2", "-s4", "-s3"],
    "ETCD_QUORUM_LOST",
  ],
  ["its member is healthy: another machine has this name", ["s1", "s2", "s3"], "ETCD_MEMBER_ALIVE"],
  ["a healthy learner of this master is alive, too", ["s1", "s2", "~s3"], "ETCD_MEMBER_ALIVE"],
  ["another master is a learner still", ["s1", "s2", "~s4", "-s3"], "ETCD_CHANGE_UNDER_WAY"],
  ["another master was added and has not started", ["s1", "s2", "s5", "?s4", "-s3"], "ETCD_CHANGE_UNDER_WAY"],
];
const inWords = (plan: RemovalPlan) =>
  plan.kind === "remove"
    ? `remove ${plan.member.name || plan.member.peerUrls[0]}`
    : plan.kind === "refused"
      ? plan.error.code
      : plan.kind;

t.test("what is removed for a master that comes back without its data", (t) => {
  for (const [rule, members, expected] of removals) {
    const plan = planRemoval(survey(...members), master("s3"), "wiped");
    t.equal(inWords(plan), expected, rule);
  }
  t.end();
});

const departures: readonly (readonly [rule: string, members: string[], expected: string])[] = [
  ["a healthy one of three leaves", ["s1", "s2", "s3"], "remove s3"],
  ["one that is down leaves", ["s1", "s2", "-s3"], "remove s3"],
  ["one of two leaves: the other one goes on alone", ["s1", "s3"], "remove s3"],
  ["another one is down: one of two would be left", ["s1", "-s2", "s3"], "ETCD_QUORUM_AT_RISK"],
  ["the last one does not leave", ["s3"], "ETCD_QUORUM_AT_RISK"],
  [
    "with two of five down three of four are left to two",
    ["s1", "s2", "-s4", "-s5", "s3"],
    "ETCD_QUORUM_AT_RISK",
  ],
  ["one of five is down: three of four are healthy", ["s1", "s2", "s4", "-s5", "s3"], "remove s3"],
  ["not while another one is a learner", ["s1", "s2", "~s4", "s3"], "ETCD_CHANGE_UNDER_WAY"],
];
t.test("what is removed when a master leaves for good", (t) => {
  for (const [rule, members, expected] of departures)
    t.equal(inWords(planRemoval(survey(...members), master("s3"), "leaving")), expected, rule);
  t.end();
});

t.test("a member is found by name at another address, and by address under another name", (t) => {
  const now = survey("s1", "s2", "-s3");
  t.match(planRemoval(now, { name: "s3", peerUrl: "https://10.0.0.99:2380" }, "wiped"), { kind: "remove" });
  t.match(planRemoval(now, { name: "new", peerUrl: "https://s3:2380" }, "wiped"), { kind: "remove" });
  t.match(
    planRemoval(now, { name: "s2", peerUrl: "https://s3:2380" }, "wiped"),
    { kind: "refused", error: { code: "ETCD_MEMBER_ALIVE" } },
    "nothing is removed while one of the two is alive",
  );
  t.end();
});

t.test("no removal leaves fewer healthy voters than the new quorum, whatever the members", (t) => {
  let removed = 0;
  for (let voters = 1; voters <= 7; voters++)
    for (let down = 0; down < 1 << voters; down++) {
      const words = Array.from({ length: voters }, (_, at) => `${down & (1 << at) ? "-" : ""}s${at}`);
      for (const reason of ["wiped", "leaving"] as const) {
        const plan = planRemoval(survey(...words), master("s0"), reason);
        if (plan.kind !== "remove") continue;
        removed++;
        const healthyLeft = words.slice(1).filter((word) => !word.startsWith("-")).length;
        if (healthyLeft < quorumOf(voters - 1)) t.fail(`${reason}: ${words.join(" ")}`);
        const healthy = words.filter((word) => !word.startsWith("-")).length;
        if (healthy < quorumOf(voters)) t.fail(`${reason}: ${words.join(" ")} can't decide it`);
      }
    }
  t.ok(removed > 10, `${removed} removals were allowed`);
  t.end();
});

t.test("a learner is added to a healthy cluster without another change", (t) => {
  const code = (...members: string[]) => refuseAddition(survey(...members))?.code;
  t.equal(code("s1", "s2"), undefined);
  t.equal(code("s1"), undefined);
  t.equal(code("s1", "s2", "-s4"), undefined, "a member that is down has its own turn");
  t.equal(code("s1", "~s2"), "ETCD_CHANGE_UNDER_WAY");
  t.equal(code("s1", "?s2"), "ETCD_CHANGE_UNDER_WAY");
  t.equal(code("s1", "-s2"), "ETCD_QUORUM_LOST");
  t.end();
});

t.test("etcd is had back from who is left, and only else from a snapshot", (t) => {
  t.same(planRecovery(survey("s1", "s2", "-s3"), ["https://s1:2379"]), { kind: "none" });
  t.same(planRecovery(survey("-s1", "-s2", "-s3"), ["https://s1:2379"]), {
    kind: "survivor",
    endpoint: "https://s1:2379",
  });
  t.same(planRecovery(undefined, []), { kind: "snapshot" });
  t.same(planRecovery(survey("-s1"), []), { kind: "snapshot" });
  t.end();
});
