import { join } from "node:path";
import t from "tap";
import { restoreSnapshot } from "../../server/etcd/restore.ts";
import { createEtcdSurgery } from "../../server/etcd/surgery.ts";
import { systemClock } from "../../server/platform/clock.ts";
import { silentLog } from "../../server/platform/logger.ts";
import { sampleAuthorities } from "../support/cluster-samples.ts";
import { countKeys, etcdctl, labGateway, labMember, type LabMember } from "../support/etcd-lab.ts";
import { temporaryDirectory } from "../support/samples.ts";

/** Three masters with real etcd, whose data are gone with their power. */
t.test("members that lose their disks", async (t) => {
  const { etcd: authority } = await sampleAuthorities(t);
  const directory = temporaryDirectory(t);
  const [s1, s2, s3] = (await Promise.all(
    ["s1", "s2", "s3"].map((name) => labMember(t, authority, directory, name)),
  )) as [LabMember, LabMember, LabMember];
  const all = [s1, s2, s3];
  const everyEndpoint = all.map(({ endpoint }) => endpoint);
  const gateway = (endpoint: string) => labGateway(authority, endpoint);
  const events: string[] = [];
  const surgery = createEtcdSurgery({
    connect: gateway,
    clock: systemClock,
    log: silentLog,
    record: ({ type }) => void events.push(type),
  });
  const until = async (endpoint: string) => {
    while (!(await gateway(endpoint).isHealthy()))
      await new Promise<void>((resolve) => void systemClock.after(100, resolve));
  };
  const cluster = (...members: LabMember[]) =>
    members.map(({ name, peerUrl }) => `${name}=${peerUrl}`).join(",");
  const keys = 20;
  const countIn = (member: LabMember) => countKeys(authority, directory, member.endpoint);
  const lose = async (...members: LabMember[]) => {
    for (const member of members) {
      await member.powerOff();
      member.wipe();
    }
  };
  /** All that brings one back: what the server does, what the machine does, what the server does. */
  const bringBack = async (member: LabMember, others: readonly LabMember[]) => {
    const endpoints = others.map(({ endpoint }) => endpoint);
    const { member: learner, initialCluster } = await surgery.addLearner(endpoints, member);
    member.start(initialCluster, "existing");
    await surgery.promote(endpoints, learner.id, 30_000);
    await until(member.endpoint);
  };

  for (const member of all) member.start(cluster(...all), "new");
  await Promise.all(everyEndpoint.map(until));
  const ctl = await etcdctl(authority, join(directory, "ctl"), everyEndpoint.join(","));
  for (let key = 0; key < keys; key++) await ctl("put", `k/${key}`, `value ${key}`);
  t.equal(await countIn(s3), keys);
  // A leader that is wiped comes back to a new one, which does not know how far it was: it lives, and has forgotten what it voted for.
  const { memberId } = await gateway(s1.endpoint).status();
  await ctl("move-leader", BigInt(memberId).toString(16));

  await t.test("a wiped member that is simply started again dies", async (t) => {
    await lose(s3);
    s3.start(cluster(...all), "new");
    t.match(await s3.ended(), /has already been bootstrapped/, "as a new one");
    s3.wipe();
    s3.start(cluster(...all), "existing");
    t.match(await s3.ended(), /tocommit\(\d+\) is out of range/, "as the old one");
    s3.wipe();
  });

  await t.test("surgery brings it back with all keys", async (t) => {
    const { members, healthy } = await surgery.survey([s1.endpoint]);
    const idOf = (name: string) => members.find((member) => member.name === name)?.id ?? "";
    t.same([...healthy].sort(), [idOf("s1"), idOf("s2")].sort(), "the survey knows who is there");
    const old = idOf("s3");
    await bringBack(s3, [s1, s2]);
    t.equal(await countIn(s3), keys);
    const after = await surgery.survey([s1.endpoint]);
    t.equal(after.healthy.size, 3);
    t.match(
      after.members
        .map(({ name, isLearner }) => ({ name, isLearner }))
        .sort((a, b) => (a.name < b.name ? -1 : 1)),
      all.map(({ name }) => ({ name, isLearner: false })),
    );
    t.notOk(
      after.members.some(({ id }) => id === old),
      "under a number of its own",
    );
    t.same(events, ["etcd.member-removed", "etcd.member-added", "etcd.member-promoted"]);
  });

  await t.test("what kubeadm finds after the removal is what it adds itself to", async (t) => {
    await lose(s3);
    t.match(await surgery.removeStale([s1.endpoint, s2.endpoint], s3), [{ name: "s3" }]);
    t.same(await surgery.removeStale([s1.endpoint, s2.endpoint], s3), [], "again: nothing to do");
    // As kubeadm 1.20 does it: a full voter, and then its own etcd.
    const add = () => ctl("member", "add", "s3", `--peer-urls=${s3.peerUrl}`);
    // It tries for 50 s, since etcd wants its voters to have been connected for 5 s.
    for (
      let left = 50;
      !(await add().catch((error: unknown) => (left > 0 ? undefined : Promise.reject(error as Error))));
      left--
    )
      await new Promise<void>((resolve) => void systemClock.after(500, resolve));
    s3.start(cluster(...all), "existing");
    await until(s3.endpoint);
    t.equal(await countIn(s3), keys);
  });

  await t.test("guards: a healthy member, two changes at once", async (t) => {
    await t.rejects(surgery.removeStale(everyEndpoint, s3), { code: "ETCD_MEMBER_ALIVE" });
    await lose(s3);
    const both = [surgery.removeStale(everyEndpoint, s3), surgery.removeStale(everyEndpoint, s3)];
    t.match(
      (await Promise.allSettled(both)).map((one) =>
        one.status === "rejected" ? one.reason.code : one.value,
      ),
      [[{ name: "s3" }], "ETCD_CHANGE_UNDER_WAY"],
    );
    await surgery.addLearner([s1.endpoint], s3);
    await t.rejects(surgery.addLearner([s1.endpoint], { name: "s4", peerUrl: "https://127.0.0.9:2380" }), {
      code: "ETCD_CHANGE_UNDER_WAY",
      message: /was added and has not started/,
    });
    const unstarted = (await surgery.survey([s1.endpoint])).members.find(({ name }) => name === "");
    await t.rejects(surgery.promote([s1.endpoint], unstarted?.id ?? "", 0), { code: "ETCD_NOT_IN_SYNC" });
    await bringBack(s3, [s1, s2]);
    t.equal(await countIn(s3), keys, "an attempt that was cut short is begun anew");
  });

  const snapshot = join(directory, "newest.db");
  await gateway(s1.endpoint).snapshot(snapshot);

  await t.test("with two of three down nothing is touched, and who is left gives its data", async (t) => {
    await lose(s2, s3);
    while ((await gateway(s1.endpoint).status()).leaderId !== undefined)
      await new Promise<void>((resolve) => void systemClock.after(100, resolve));
    await t.rejects(surgery.removeStale([s1.endpoint], s3), { code: "ETCD_QUORUM_LOST" });
    await t.rejects(surgery.addLearner([s1.endpoint], s3), { code: "ETCD_QUORUM_LOST" });
    t.same(await surgery.recovery([s1.endpoint, s2.endpoint]), { kind: "survivor", endpoint: s1.endpoint });
    t.match(
      await gateway(s1.endpoint).snapshot(join(directory, "survivor.db")),
      { bytes: Number },
      "a snapshot needs no quorum",
    );
  });

  await t.test("when all are lost, the snapshot brings all keys back", async (t) => {
    await lose(...all);
    t.same(await surgery.recovery(everyEndpoint), { kind: "snapshot" });
    await t.rejects(surgery.survey(everyEndpoint), { code: "ETCD_UNREACHABLE" });
    const token = "lab-2";
    await restoreSnapshot({ snapshot, into: s1.dataDirectory, member: s1, token, program: "etcd" });
    s1.start(cluster(s1), "new", token);
    await until(s1.endpoint);
    t.same(
      (await surgery.survey([s1.endpoint])).members.map(({ name }) => name),
      ["s1"],
      "the first master alone",
    );
    await bringBack(s2, [s1]);
    await bringBack(s3, [s1, s2]);
    for (const member of all) t.equal(await countIn(member), keys, member.name);
    t.equal((await surgery.survey(everyEndpoint)).healthy.size, 3);
    t.match(await ctl("get", "k/7"), /value 7/);
  });

  await t.test("a master that made a cluster of its own is found out", async (t) => {
    await lose(s3);
    s3.start(cluster(s3), "new", "lab-3");
    await until(s3.endpoint);
    await t.rejects(surgery.removeStale(everyEndpoint, s3), { code: "ETCD_CLUSTERS_DIFFER" });
    t.match(
      await surgery.removeStale([s1.endpoint, s2.endpoint], s3),
      [{ name: "s3" }],
      "and is stale to the others",
    );
    await s3.powerOff();
    t.match(
      await surgery.retire([s1.endpoint, s2.endpoint], s2),
      [{ name: "s2" }],
      "a healthy one may leave",
    );
    await until(s1.endpoint);
    t.equal(await countIn(s1), keys);
    await t.rejects(surgery.retire([s1.endpoint], s1), { code: "ETCD_QUORUM_AT_RISK" }, "but not the last");
  });
});
