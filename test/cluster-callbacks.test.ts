import { writeFileSync } from "node:fs";
import { join } from "node:path";
import t, { type Test } from "tap";
import type { ClusterNodes } from "../server/boot/cluster-nodes.ts";
import { createKernelReleases, kernelReleaseIn } from "../server/content/kernel-releases.ts";
import type { NodePart } from "../server/node/node-spec.ts";
import { publicText } from "../server/node/public-text.ts";
import { createBootLab, serverUrl } from "./support/boot-lab.ts";
import { sampleCluster } from "./support/cluster-samples.ts";
import { sampleImages } from "./support/node-samples.ts";
import { addressOf } from "./support/samples.ts";

const nodes: ClusterNodes = {
  cluster: sampleCluster("1.31.0"),
  machineIdSecret: Buffer.from("secret"),
  servicesAddress: undefined,
  images: () => sampleImages,
  parts: () => [],
  kernelRelease: () => undefined,
};
const minute = 60_000;

/** A worker that has its script; it is its first boot. */
async function worker(t: Test, more: { nodes?: ClusterNodes; mode?: "always" | "once" } = {}) {
  const lab = await createBootLab(t, { nodes, ...more });
  await lab.add(1, "s1");
  await lab.assign("s1", "worker", more.mode);
  await lab.dhcp(1);
  const claim = await lab.claim(1);
  const { id: machineId } = lab.machine("s1");
  const { id: bootId } = lab.boot("s1");
  return {
    lab,
    claim,
    machineId,
    bootId,
    phase: () => lab.machine("s1").phase,
    joined: () => lab.boots.joined(claim, addressOf(1)),
  };
}

t.test("a node that calls back is joining, and its claim goes on", async (t) => {
  const { lab, claim, phase, joined } = await worker(t);
  await lab.config(claim, 1);
  t.match(await joined(), { phase: "joining" });
  t.equal(phase(), "joining");
  t.match(await joined(), { phase: "joining" });
  t.equal(
    lab.stepsOf("s1").filter((step) => step === "callback").length,
    1,
    "repeated, it is no second step",
  );
  t.equal(lab.boot("s1").outcome, "running");
  t.ok((await lab.config(claim, 1)).text, "the agent asks with the same claim");
});

t.test("without a cluster the same machine is ready", async (t) => {
  const lab = await createBootLab(t);
  await lab.add(1, "s1");
  await lab.assign("s1", "worker");
  await lab.dhcp(1);
  const claim = await lab.claim(1);
  t.match(await lab.boots.joined(claim, addressOf(1)), { phase: "ready" });
  t.equal(lab.machine("s1").phase, "ready");
});

t.test(
  "a node is ready when the cluster says so: claim spent, assignment for one boot used up",
  async (t) => {
    const { lab, claim, machineId, bootId, phase, joined } = await worker(t, { mode: "once" });
    await joined();
    t.equal(lab.of("assignment.used").length, 0);
    t.equal(await lab.boots.joinComplete(machineId, bootId), true);
    t.equal(phase(), "ready");
    t.match(lab.boot("s1"), { outcome: "ready" });
    t.equal(lab.of("assignment.used").length, 1);
    await t.rejects(lab.config(claim, 1), { code: "CLAIM_REFUSED" });
    t.equal(await lab.boots.joinComplete(machineId, bootId), true, "said twice it changes nothing");
    t.equal(lab.of("boot.ended").length, 1);
    t.match(await joined(), { phase: "ready" }, "and so does a callback that comes after");
    t.equal(phase(), "ready");
    t.equal(
      await lab.boots.joinComplete(machineId, "b_other"),
      false,
      "another boot is none of its business",
    );
    t.equal(lab.boots.joinGoesOn(machineId, "b_other"), false);
  },
);

t.test("a machine that joins for long is not lost while the cluster hears of it", async (t) => {
  const { lab, machineId, bootId, phase, joined } = await worker(t);
  await joined();
  for (let spent = 0; spent < 60; spent += 10) {
    lab.clock.advanceMs(10 * minute);
    t.equal(lab.boots.joinGoesOn(machineId, bootId), true);
    lab.tracker.sweep();
  }
  t.equal(phase(), "joining");
  lab.clock.advanceMs(16 * minute);
  lab.tracker.sweep();
  t.equal(phase(), "lost", "and is when nobody does");
  t.equal(lab.boots.joinGoesOn(machineId, bootId), true);
  t.equal(phase(), "joining", "until it is heard of again");
  t.equal(lab.boot("s1").outcome, "running");
});

t.test("what others add to a node is in what it is served", async (t) => {
  const agent: NodePart = {
    files: [{ path: "/etc/rollcall/agent.env", owner: "root", mode: 0o644, text: publicText("A=1\n") }],
  };
  const seen: string[] = [];
  const { lab, claim } = await worker(t, {
    nodes: {
      ...nodes,
      parts: (role, family, facts) => {
        seen.push(`${role} ${family} ${facts.hostname} ${facts.address}`);
        return [agent, { arguments: [publicText("rollcall.agent=1")] }];
      },
    },
  });
  const { archive } = await lab.boots.nodeInitrd({ secret: claim, address: addressOf(1), serverUrl });
  t.match(Buffer.from(archive ?? []).toString("latin1"), /etc\/rollcall\/agent\.env\0+A=1\n/);
  t.match((await lab.script(1)).script, / rollcall\.agent=1 /);
  t.same([...new Set(seen)], [`worker debian s1 ${addressOf(1)}`]);
});

t.test("a kernel's release is what its header says, and unknown where it says nothing", (t) => {
  const kernel = (text: string) => {
    const head = Buffer.alloc(0x4000);
    head.write("HdrS", 0x202, "latin1");
    head.writeUInt16LE(0x3000, 0x20e);
    head.write(text, 0x3200, "latin1");
    return head;
  };
  const release = "6.12.95+deb12-amd64";
  t.equal(kernelReleaseIn(kernel(`${release} (debian-kernel@lists.debian.org) #1 SMP`)), release);
  for (const text of ["nonsense", "6.1", "6.1-$(id) ", "", "6.1;x "])
    t.equal(kernelReleaseIn(kernel(`${text}x`)), undefined, JSON.stringify(text));
  t.equal(kernelReleaseIn(Buffer.from("a shell script")), undefined);
  t.equal(kernelReleaseIn(kernel(release).subarray(0, 0x1000)), undefined, "cut off");
  const file = join(t.testdir(), "vmlinuz");
  const releases = createKernelReleases((sha256) => (sha256 === "a" ? file : undefined));
  t.equal(releases("b"), undefined);
  t.equal(releases("a"), undefined, "a file that is not there yet");
  writeFileSync(file, kernel(`${release} x`));
  t.equal(releases("a"), release);
  t.end();
});
