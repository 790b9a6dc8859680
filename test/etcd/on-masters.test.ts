import { execFileSync } from "node:child_process";
import { existsSync, mkdirSync, readdirSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import t, { type Test } from "tap";
import { createEtcdOnMasters } from "../../server/cluster/etcd-on-masters.ts";
import type { ClusterNode, InstructionFile, NodeState } from "../../server/domain/cluster-node.ts";
import type { ClusterRecord } from "../../server/domain/cluster-record.ts";
import { instructionArchive } from "../../server/http/node-routes.ts";
import { unpackScript } from "../../server/node/scripts/agent-files.ts";
import type { Authority } from "../../server/pki/certificates.ts";
import { silentLog } from "../../server/platform/logger.ts";
import { systemClock } from "../../server/platform/clock.ts";
import { sampleAuthorities, sampleCluster, stackedEtcd } from "../support/cluster-samples.ts";
import { countKeys, etcdctl, labGateway, type LabMember, labMaster } from "../support/etcd-lab.ts";
import { temporaryDirectory } from "../support/samples.ts";

/** Members of etcd on masters: each has an address of its own and keeps its data in its RAM. On Debian's real etcd. */

const keys = 20;
/** What the agent's curl takes at most. */
const agentLimitBytes = 600 * 1024 ** 2;
/** kubeadm names no token, and etcd takes this one then. */
const kubeadmToken = "etcd-cluster";

async function createLab(t: Test, authority: Authority, count: number) {
  const directory = temporaryDirectory(t);
  const members = await Promise.all(
    Array.from({ length: count }, (_, index) => labMaster(t, authority, directory, index + 1)),
  );
  const rows = new Map<string, ClusterNode>();
  const row = (member: LabMember, state: NodeState, changes: Partial<ClusterNode> = {}): ClusterNode => {
    const { name, address } = member;
    const node = {
      machineId: name,
      name,
      address,
      role: "master",
      state,
      bootId: `b_${name}`,
      generation: store.record.generation,
      tries: 0,
      ...changes,
    } as ClusterNode;
    rows.set(name, node);
    return node;
  };
  const store = {
    record: { generation: 1, state: "up", initializedAt: 1 } as ClusterRecord,
    nodes: () => [...rows.values()],
  };
  const events: string[] = [];
  const own = join(directory, "server");
  /** As after a start of the server, too. */
  const make = () =>
    createEtcdOnMasters({
      clock: systemClock,
      log: silentLog,
      record: ({ type }) => void events.push(type),
      cluster: sampleCluster("1.20.2", { etcd: stackedEtcd }),
      authorities: { etcd: authority },
      store,
      directory: own,
      program: "etcd",
    });
  const etcd = make();
  t.teardown(() => etcd.stop());
  const gateway = ({ endpoint }: LabMember) => labGateway(authority, endpoint);
  const every = (some: readonly LabMember[]) =>
    some.map(({ name, peerUrl }) => `${name}=${peerUrl}`).join(",");
  const ctl = await etcdctl(
    authority,
    join(directory, "ctl"),
    members.map(({ endpoint }) => endpoint).join(","),
  );
  const healthy = async (member: LabMember) => {
    while (!(await gateway(member).isHealthy()))
      await new Promise<void>((resolve) => void systemClock.after(100, resolve));
  };
  return {
    directory: own,
    etcd,
    make,
    members: members as [LabMember, LabMember, LabMember],
    store,
    row,
    events,
    gateway,
    healthy,
    ctl,
    count: (member: LabMember) => countKeys(authority, own, member.endpoint),
    async begin() {
      for (const member of members) {
        member.start(every(members), "new");
        row(member, "ready");
      }
      await Promise.all(members.map(healthy));
      // A leader that dies is found out after a second: until then the others pass calls on to it.
      const { memberId } = await gateway(members[0] as LabMember).status();
      if (members.length > 1) await ctl("move-leader", BigInt(memberId).toString(16));
      for (let key = 0; key < keys; key++) await ctl("put", `k/${key}`, `value ${key}`);
    },
    async powerOff(...lost: LabMember[]) {
      for (const member of lost) {
        await member.powerOff();
        member.wipe();
      }
    },
    /** As kubeadm 1.20 joins: it adds a voter by a member that is there, and starts its own. */
    async kubeadmJoins(member: LabMember, others: readonly LabMember[]) {
      const there = await etcdctl(authority, join(directory, "ctl"), others[0]?.endpoint ?? "");
      const add = () => there("member", "add", member.name, `--peer-urls=${member.peerUrl}`);
      // It tries for 50 s: etcd wants its voters to have been connected for 5 s.
      const pause = () => new Promise<void>((resolve) => void systemClock.after(500, resolve));
      for (let left = 100; left > 0; left--) if (await add().then(() => true, pause)) break;
      member.start(every([...others, member]), "existing", kubeadmToken);
      await healthy(member);
    },
    /** As the agent does it: by its script, from the instruction alone. /var/lib is another one for it. */
    unpack(member: LabMember, files: readonly InstructionFile[]): number {
      const archive = instructionArchive({
        sequence: 1,
        operation: "init",
        message: "",
        deadlineSeconds: 1,
        arguments: [],
        files,
      });
      const script = join(directory, "unpack.sh");
      writeFileSync(script, unpackScript);
      const inside = 'mount -t tmpfs tmpfs /var/lib && sh "$1" && cp -a /var/lib/etcd "$2"';
      execFileSync("unshare", ["--mount", "sh", "-ec", inside, "sh", script, member.dataDirectory], {
        input: archive,
      });
      return archive.length;
    },
    /** With what kubeadm 1.20 writes into its manifest: `--initial-cluster` and no state, which is a new cluster then. */
    kubeadmInits: (member: LabMember) => member.start(every([member]), "new", kubeadmToken),
    /** A snapshot as the server takes it each minute. */
    async takeSnapshot(member: LabMember, at: Date) {
      mkdirSync(join(own, "snapshots"), { recursive: true });
      const name = `etcd-${at.toISOString().replaceAll(/[-:]/g, "")}-g1.db`;
      await gateway(member).snapshot(join(own, "snapshots", name));
    },
  };
}

t.test("a master that comes back without its data joins again", async (t) => {
  const { etcd: authority } = await sampleAuthorities(t);
  const lab = await createLab(t, authority, 3);
  const [m1, m2, m3] = lab.members;
  await lab.begin();
  await lab.powerOff(m3);
  const node = lab.row(m3, "preparing");
  t.equal(await lab.etcd.isBeyondRepair(), false, "two of three are a quorum");
  await t.rejects(
    lab.etcd.prepareInit(1, node),
    { code: "ETCD_HAS_QUORUM" },
    "nothing is restored beside it",
  );
  await lab.etcd.prepareMaster(node);
  t.same(lab.events, ["etcd.member-removed"]);
  await lab.etcd.prepareMaster(node);
  t.same(lab.events, ["etcd.member-removed"], "once");
  await lab.kubeadmJoins(m3, [m1, m2]);
  t.equal(await lab.count(m3), keys, "with all keys");

  await t.test("a try that failed late left a member that runs: it goes before the next try", async (t) => {
    const first = lab.row(m3, "preparing");
    await t.rejects(
      lab.etcd.prepareMaster(first),
      { code: "ETCD_MEMBER_ALIVE" },
      "another boot's is not touched",
    );
    await lab.etcd.prepareMaster(lab.row(m3, "preparing", { tries: 1 }));
    await lab.powerOff(m3);
    await lab.kubeadmJoins(m3, [m1, m2]);
    t.equal(await lab.count(m3), keys);
    lab.row(m3, "ready");
  });

  await t.test("a master that leaves takes its healthy member with it", async (t) => {
    await lab.etcd.removeMaster(lab.row(m3, "removing"));
    await lab.powerOff(m3);
    const { members } = JSON.parse(await lab.ctl("member", "list", "-w", "json"));
    t.same(members.map(({ name }: { name: string }) => name).sort(), ["m1", "m2"]);
    lab.row(m3, "rebooting");
  });

  await t.test("without a quorum no member is touched", async (t) => {
    await lab.powerOff(m2);
    lab.row(m2, "lost");
    await t.rejects(lab.etcd.removeMaster(lab.row(m1, "removing")), { code: "ETCD_UNREACHABLE" });
    lab.row(m1, "ready");
    while ((await lab.gateway(m1).status()).leaderId !== undefined)
      await new Promise<void>((resolve) => void systemClock.after(100, resolve));
    t.equal(await lab.etcd.isBeyondRepair(), false, "m2 may have its data still");
    const wiped = lab.row(m2, "preparing");
    await t.rejects(lab.etcd.prepareMaster(wiped), { code: "ETCD_QUORUM_LOST" });
    await t.rejects(lab.etcd.removeMaster(wiped), { code: "ETCD_QUORUM_LOST" });
    t.equal(await lab.etcd.isBeyondRepair(), true, "it has booted anew");
  });

  await t.test("who is left gives its data, newer than any snapshot", async (t) => {
    await lab.takeSnapshot(m1, new Date(Date.now() - 60_000));
    const [old] = readdirSync(join(lab.directory, "snapshots"));
    const { files, wentBack } = await lab.etcd.prepareInit(1, lab.row(m2, "preparing"));
    t.equal(wentBack, true);
    t.equal(readdirSync(join(lab.directory, "snapshots")).filter((name) => name !== old).length, 1);
    lab.unpack(m2, files);
    lab.kubeadmInits(m2);
    await lab.healthy(m2);
    t.equal(await lab.count(m2), keys);
    const status = async (member: LabMember) => (await lab.gateway(member).status()).clusterId;
    t.not(await status(m2), await status(m1), "and is a stranger to it");
    lab.store.record = { ...lab.store.record, generation: 2 };
    lab.row(m2, "ready");
    await lab.powerOff(m1);
    await lab.etcd.prepareMaster(lab.row(m1, "preparing"));
    await lab.kubeadmJoins(m1, [m2]);
    t.equal(await lab.count(m1), keys, "that joins it after its reboot");
  });
});

t.test("the member of a machine that is no master any more goes when it is off", async (t) => {
  const { etcd: authority } = await sampleAuthorities(t);
  const lab = await createLab(t, authority, 3);
  const [m1, m2, m3] = lab.members;
  await lab.begin();
  const names = async () => (await lab.gateway(m1).members()).map(({ name }) => name).toSorted();
  await lab.etcd.removeForsaken();
  lab.row(m3, "queued", { role: "worker" });
  await lab.etcd.removeForsaken();
  t.same(await names(), ["m1", "m2", "m3"], "one that answers is not touched");
  await lab.powerOff(m3);
  lab.row(m2, "lost");
  await m2.powerOff();
  while ((await lab.gateway(m1).status()).leaderId !== undefined)
    await new Promise<void>((resolve) => void systemClock.after(100, resolve));
  t.equal(await lab.etcd.isBeyondRepair(), false, "m2 may have its data still");
  await t.rejects(lab.etcd.removeForsaken(), /./, "nor is any without a quorum");
  lab.row(m2, "preparing");
  t.equal(await lab.etcd.isBeyondRepair(), true, "the worker's is gone with its data");
  lab.row(m2, "ready");
  m2.start(lab.members.map(({ name, peerUrl }) => `${name}=${peerUrl}`).join(","), "existing");
  await Promise.all([m1, m2].map(lab.healthy));
  await lab.etcd.removeForsaken();
  t.same(await names(), ["m1", "m2"]);
  t.equal(lab.events.filter((type) => type === "etcd.member-removed").length, 1);
});

t.test("all masters were switched off", async (t) => {
  const { etcd: authority } = await sampleAuthorities(t);
  const lab = await createLab(t, authority, 3);
  const [m1, m2, m3] = lab.members;
  await lab.begin();
  await t.test("without a snapshot it says so, and what is to be done", async (t) => {
    await lab.powerOff(...lab.members);
    for (const member of lab.members) lab.row(member, "queued");
    t.equal(await lab.etcd.isBeyondRepair(), false, "nobody is left who could tell");
    await t.rejects(lab.etcd.prepareInit(1, lab.row(m1, "preparing")), {
      code: "ETCD_SNAPSHOT_MISSING",
      advice: /boot cluster retry .*boot cluster reset --destroy-cluster/,
    });
  });

  lab.store.record = { ...lab.store.record, generation: 2 };
  await lab.begin();
  // More than an instruction ever was before.
  const large = 100;
  for (let key = 0; key < large; key++) await lab.ctl("put", `k/large-${key}`, "x".repeat(100_000));
  await lab.takeSnapshot(m2, new Date());
  await lab.powerOff(...lab.members);
  for (const member of lab.members) lab.row(member, "queued");

  await t.test(
    "the first one begins with the newest snapshot, from the files of its instruction alone",
    async (t) => {
      const { files, wentBack } = await lab.etcd.prepareInit(2, lab.row(m1, "preparing"));
      t.equal(wentBack, true);
      t.same([...new Set(files.map(({ mode }) => mode))], [0o600], "secrets");
      const log = files.find(({ path }) => path.endsWith(".wal"));
      t.ok((log?.content.length ?? 0) < 1024 ** 2, "a log of 64 MB has a few KiB in it");
      const bytes = lab.unpack(m1, files);
      t.ok(bytes < agentLimitBytes && bytes > 10_000_000, `${bytes} octets`);
      for (const name of ["", "member", "member/snap", "member/wal"])
        t.equal(
          statSync(join(m1.dataDirectory, name)).mode & 0o777,
          0o700,
          `etcd 3.4.13 asks for it: ${name}`,
        );
      lab.kubeadmInits(m1);
      await lab.healthy(m1);
      t.equal(await lab.count(m1), keys + large);
      t.match(await lab.gateway(m1).members(), [{ name: "m1", peerUrls: [m1.peerUrl] }]);
      t.ok(lab.events.includes("etcd.generation"));
      t.same(readdirSync(lab.directory), ["count", "snapshots"], "nothing of it is left here");
    },
  );

  await t.test("and the others join it as new ones", async (t) => {
    lab.store.record = { ...lab.store.record, generation: 3 };
    lab.row(m1, "ready");
    const before: LabMember[] = [m1];
    for (const member of [m2, m3]) {
      await lab.etcd.prepareMaster(lab.row(member, "preparing"));
      await lab.kubeadmJoins(member, before);
      lab.row(member, "ready");
      before.push(member);
    }
    for (const member of lab.members) t.equal(await lab.count(member), keys + large, member.name);
    await lab.ctl("put", "k/after", "it writes");
    await m1.powerOff();
    m1.start(`m1=${m1.peerUrl}`, "new", kubeadmToken);
    await lab.healthy(m1);
    t.equal(await lab.count(m1), keys + large + 1, "the restored member starts again on its shortened log");
  });

  await t.test("a new cluster is never restored to what was before it", async (t) => {
    lab.store.record = { ...lab.store.record, initializedAt: undefined };
    const node = lab.row(m1, "preparing");
    t.same(await lab.etcd.prepareInit(4, node), { files: [], wentBack: false });
    t.same(
      readdirSync(lab.directory),
      ["count", "snapshots.before"],
      "it is kept once, as a way back by hand",
    );
    await lab.etcd.prepareInit(4, node);
    t.equal(readdirSync(join(lab.directory, "snapshots.before")).length, 1);
    lab.store.record = { ...lab.store.record, initializedAt: 2 };
    for (const member of lab.members) lab.row(member, "queued");
    await t.rejects(lab.etcd.prepareInit(4, node), { code: "ETCD_SNAPSHOT_MISSING" });
  });
});

t.test("the only master is not reset by a second try", async (t) => {
  const { etcd: authority } = await sampleAuthorities(t);
  const lab = await createLab(t, authority, 1);
  const [m1] = lab.members;
  await t.rejects(lab.etcd.prepareMaster(lab.row(m1, "preparing", { tries: 1 })), {
    code: "ETCD_QUORUM_AT_RISK",
  });
  await lab.etcd.removeMaster(lab.row(m1, "removing"));
});

t.test("what a killed server left of a restore goes with the next start", async (t) => {
  const { etcd: authority } = await sampleAuthorities(t);
  const lab = await createLab(t, authority, 1);
  await lab.etcd.start(0);
  t.notOk(existsSync(lab.directory));
  mkdirSync(join(lab.directory, "restore-abc"), { recursive: true });
  writeFileSync(join(lab.directory, "restore-abc/db"), "secret");
  const next = lab.make();
  await next.start(1);
  t.same(readdirSync(lab.directory), []);
  await next.stop();
  t.ok(statSync(lab.directory).isDirectory());
});
