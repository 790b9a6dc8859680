import t from "tap";
import { createClusterLab, makeRequest } from "../support/cluster-lab.ts";
import { macOf } from "../support/samples.ts";

const refused = { code: "CLAIM_REFUSED" };
const minutes = 60_000;

t.test("a claim", async (t) => {
  async function booted(t: Parameters<typeof createClusterLab>[0]) {
    const lab = await createClusterLab(t);
    const agent = await lab.add(1, "w1", "worker");
    const other = await lab.add(2, "w2", "worker");
    await agent.powerOn();
    await other.powerOn();
    return { lab, agent, other };
  }

  t.test(
    "is answered with a certificate for this boot, and again with the same when the answer was lost",
    async (t) => {
      const { lab, agent } = await booted(t);
      const first = await agent.claim();
      t.match(first, { name: "w1", certificate: /BEGIN CERTIFICATE/, authority: /BEGIN CERTIFICATE/ });
      t.same(await agent.claim(), first);
      t.match(lab.machine("w1"), { phase: "joining" });
      t.same(lab.alarms(), []);
    },
  );

  t.test("of another key for the same boot gives nobody anything, and raises the alarm", async (t) => {
    const { lab, agent } = await booted(t);
    await agent.claim();
    const { csr, key } = await makeRequest();
    await t.rejects(lab.service.claim(agent.secret, "10.1.0.1", { ...agent.fields, csr }), refused);
    t.equal(lab.row("w1").state, "quarantined");
    t.match(lab.alarms(), [
      { type: "node.state" },
      { type: "claim.refused", data: { reason: "second-claim" } },
    ]);
    await t.rejects(agent.poll(), refused, "not the first either");
    await t.rejects(agent.claim(), refused, "nor by its claim");
    t.equal(lab.alarms().length, 2, "which is no other alarm");
    await t.rejects(lab.service.instruction({ ...agent.proof, key }, { done: 0, waitMs: 0 }), refused);
    await agent.powerOn();
    await agent.claim();
    t.equal(lab.row("w1").state, "queued", "the next boot begins anew");
  });

  t.test(
    "from another address, of another machine's MAC or UUID, late, made up or of the boot before is refused with an alarm",
    async (t) => {
      const { lab, agent } = await booted(t);
      const alarms = () => lab.alarms().length;
      let expected = 0;
      const refuses = async (what: string, attempt: Promise<unknown>) => {
        await t.rejects(attempt, refused, what);
        t.equal(alarms(), ++expected, what);
      };
      await refuses("another address", agent.claim(2));
      await refuses("made up", lab.service.claim("x".repeat(26), "10.1.0.1", agent.fields));
      const { fields } = agent;
      agent.fields = { ...fields, mac: macOf(9) };
      await refuses("another MAC", agent.claim());
      const uuid = "11111111-2222-4333-8444-555555555555";
      lab.store.machines.updateNow(lab.machine("w1").id, (machine) => ({ ...machine, uuid: uuid as never }));
      agent.fields = { ...fields, uuid: "99999999-2222-4333-8444-555555555555" };
      await refuses("another UUID", agent.claim());
      agent.fields = fields;
      const before = agent.secret;
      await agent.powerOn();
      await refuses("of the boot before", lab.service.claim(before, "10.1.0.1", fields));
      lab.clock.advanceMs(61 * minutes);
      await refuses("late", agent.claim());
      t.equal(lab.service.nodes().length, 0);
    },
  );

  t.test("takes a UUID in either byte order", async (t) => {
    const { lab, agent } = await booted(t);
    lab.store.machines.updateNow(lab.machine("w1").id, (machine) => ({
      ...machine,
      uuid: "11223344-5566-4788-8444-555555555555" as never,
    }));
    agent.fields = { ...agent.fields, uuid: "44332211-6655-8847-8444-555555555555" };
    await agent.claim();
    t.equal(lab.row("w1").state, "queued");
  });

  t.test("that can't be read is refused by field", async (t) => {
    const { lab, agent } = await booted(t);
    const { fields } = agent;
    for (const [name, value] of Object.entries({
      bootId: "x",
      memoryKiB: "much",
      kernel: "a b",
      controllers: "CPU;rm",
      subuids: "-1",
      runtime: "docker",
    })) {
      agent.fields = { ...fields, [name]: value };
      await t.rejects(agent.claim(), { code: "INVALID_REQUEST", message: new RegExp(name) });
    }
    agent.fields = {
      ...fields,
      csr: "-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----\n",
    };
    await t.rejects(agent.claim(), { code: "CERTIFICATE_REQUEST_INVALID" });
    t.equal(lab.service.nodes().length, 0);
  });

  t.test("of a machine without cgroup controllers or ids says on its screen what is missing", async (t) => {
    const { lab, agent } = await booted(t);
    agent.fields = { ...agent.fields, controllers: "memory pids", subuids: "0" };
    await agent.claim();
    await lab.passes();
    t.match(lab.row("w1"), { state: "failed", problem: /controllers cpu/ });
    t.match(await agent.poll(), { operation: "wait", message: /^failed: .*cpu/ });
  });

  t.test("of a machine whose role joins nothing is refused", async (t) => {
    const { lab } = await booted(t);
    await lab.boot.add(7, "r1");
    await lab.boot.assign("r1", "rescue");
    const secret = await lab.boot.claim(7);
    await t.rejects(lab.service.claim(secret, "10.1.0.7", {}), { code: "NO_CLUSTER_NODE" });
  });

  t.test("no answer holds a secret of the cluster before the machine's turn", async (t) => {
    const { lab, agent } = await booted(t);
    const answer = await agent.claim();
    t.notMatch(JSON.stringify(answer), /PRIVATE KEY/);
    await lab.passes();
    t.match(await agent.poll(), { operation: "wait", files: [], message: /no master has booted/ });
  });
});

t.test("a master waits for an operator", async (t) => {
  const lab = await createClusterLab(t, { arming: "operator" });
  const master = await lab.add(1, "m1", "master");
  await master.powerOn();
  await master.claim();
  await lab.passes();
  const told = await master.poll();
  const code = /--code ([0-9]{6})$/.exec(told?.message ?? "")?.[1] ?? "";
  t.match(told, { operation: "wait", files: [], message: /boot cluster arm m1 --code [0-9]{6}$/ });
  const machine = lab.machine("m1");
  const wrong = code === "000000" ? "000001" : "000000";
  await t.rejects(lab.service.arm(machine, { code: wrong, by: "anna" }), { code: "ARMING_CODE_WRONG" });
  t.equal(lab.row("m1").state, "unarmed");
  await lab.service.arm(machine, { code, by: "anna" });
  await lab.passes();
  t.equal((await master.poll())?.operation, "init");

  t.test("and the next boot has another code, unless a window is open", async (t) => {
    await master.powerOn();
    await master.claim();
    t.equal(lab.row("m1").state, "unarmed");
    await t.rejects(lab.service.arm(machine, { code, by: "anna" }), { code: "ARMING_CODE_WRONG" });
    await lab.service.arm(machine, { by: "anna" });
    await lab.passes();
    t.not(lab.row("m1").state, "unarmed", "the one that waits is let in by the window too");
    await master.powerOn();
    await master.claim();
    t.equal(lab.row("m1").state, "unarmed", "a window is for one boot");
    await lab.service.arm(machine, { by: "anna" });
    await lab.passes();
    await lab.service.arm(machine, { by: "anna", forMs: 5 * minutes });
    await master.powerOn();
    await master.claim();
    t.equal(lab.row("m1").state, "queued", "opened beforehand, it is for the next");
    await lab.service.arm(machine, { by: "anna" });
    lab.clock.advanceMs(16 * minutes);
    await master.powerOn();
    await master.claim();
    t.equal(lab.row("m1").state, "unarmed", "the window has closed");
  });
});
