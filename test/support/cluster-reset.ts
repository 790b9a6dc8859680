import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import type { Test } from "tap";
import type { ClusterE2e } from "./cluster-e2e.ts";
import { newestOperation } from "./e2e-lab.ts";
import { kubernetesProgram } from "./kubernetes-programs.ts";
import { proofImage } from "./proof-image.ts";

/** Emulated machines pull and start a pod in a minute; this is the limit, not an expectation. */
const podLimitMs = 10 * 60_000;

/** A pod that runs once on one machine, with the machine's /var/tmp in /host. */
const hostPod = (name: string, nodeName: string, script: string) => ({
  apiVersion: "v1",
  kind: "Pod",
  metadata: { name },
  spec: {
    nodeName,
    restartPolicy: "Never",
    containers: [
      {
        name,
        image: proofImage,
        imagePullPolicy: "Never",
        command: ["/bin/sh", "-c", script],
        volumeMounts: [{ name: "host", mountPath: "/host" }],
      },
    ],
    volumes: [{ name: "host", hostPath: { path: "/var/tmp" } }],
  },
});

/** The Node as it is now: made anew it has another uid, booted anew its kernel has another boot id. */
async function nodeOf(cluster: ClusterE2e, name: string) {
  const path = "jsonpath={.metadata.uid} {.status.nodeInfo.bootID}";
  const [uid = "", kernelBootId = ""] = (await cluster.kubectl("get", "node", name, "-o", path)).split(" ");
  return { uid, kernelBootId };
}

/** What the pod printed, once it has ended. */
async function outputOf(cluster: ClusterE2e, namespace: string, pod: string): Promise<string> {
  const limit = Date.now() + podLimitMs;
  const phase = () =>
    cluster.kubectl("get", "pod", pod, "--namespace", namespace, "-o", "jsonpath={.status.phase}");
  while (!/^(Succeeded|Failed)$/.test(await phase())) {
    if (Date.now() > limit) throw new Error(await cluster.kubectl("describe", "pod", pod, "-n", namespace));
    await delay(2000);
  }
  return cluster.kubectl("logs", pod, "--namespace", namespace);
}

/** A student with a token of the cluster, who runs kubectl as they would. */
async function createStudent(cluster: ClusterE2e, name: string) {
  const { e2e } = cluster;
  const directory = join(e2e.lab.directory, "kubeconfigs");
  await e2e.boot("student", "create", name, "--kubeconfigs", directory);
  const kubeconfig = join(directory, `${name}.kubeconfig`);
  const kubectl = (...words: string[]) =>
    e2e.lab.run(kubernetesProgram("kubectl"), "--kubeconfig", kubeconfig, ...words);
  return {
    kubectl,
    async create(object: object): Promise<void> {
      const file = join(directory, "object.json");
      writeFileSync(file, JSON.stringify(object));
      await kubectl("create", "-f", file);
    },
  };
}

interface ResetOfWorker {
  readonly worker: string;
  /** Machines that go on as if nothing were. */
  readonly others: readonly string[];
  /** The present boot of each machine; the worker's is replaced by its new one. */
  readonly boots: Map<string, string>;
}

/** `boot reset` of a worker of a cluster that runs, with a student who left something in the cluster and on the machine. */
export async function checkWorkerReset(
  t: Test,
  cluster: ClusterE2e,
  { worker, others, boots }: ResetOfWorker,
): Promise<void> {
  const { e2e } = cluster;
  const leftover = "anna-was-here";
  const anna = await createStudent(cluster, "anna");
  await anna.create(hostPod("before", worker, `echo ${leftover} > /host/${leftover}; echo /host/*`));
  t.match(await outputOf(cluster, "anna", "before"), leftover, "what a student left lies on the machine");
  t.match((await anna.kubectl("get", "pods")).stdout, /^before /m, "and the student sees the pod");
  const before = await nodeOf(cluster, worker);
  const untouched = new Map<string, unknown>();
  for (const name of others) untouched.set(name, await nodeOf(cluster, name));
  const began = Date.now();

  const told = await e2e.boot("reset", worker, "--students", "--yes").catch((error: unknown) => {
    // Its report is what it printed.
    return String((error as { stdout?: string }).stdout);
  });
  t.comment(`${told}\nafter ${Math.round((Date.now() - began) / 1000)} s`);
  const report = await newestOperation(e2e);
  t.comment(JSON.stringify(report, undefined, 2));
  t.comment(await e2e.boot("cluster", "log"));

  const [seat] = report.machines;
  const step = (name: string) => seat?.steps.find((one) => one.name === name);
  const boot = await e2e.newestBoot(worker);
  t.equal(report.state, "done", "the reset is done");
  t.match(report.steps, [{ name: "students", state: "done" }], "the students are gone first");
  t.same(
    seat?.steps.map(({ name, state }) => `${name} ${state}`),
    ["drain", "revoke", "power", "boot", "ready", "proof"].map((name) => `${name} done`),
    "each step of the machine is done",
  );
  t.match(step("power")?.facts["method"], /^(ssh|agent)$/, "it was restarted by its own system");
  t.not(boot.id, boots.get(worker), "it has booted anew");
  boots.set(worker, boot.id);
  await proveBoot(t, cluster, { facts: step("proof")?.facts ?? {}, bootId: boot.id });

  const after = await nodeOf(cluster, worker);
  t.not(after.uid, before.uid, "its Node was deleted and made anew");
  t.not(after.kernelBootId, before.kernelBootId, "its kernel started anew");
  t.match(await cluster.kubectl("get", "node", worker), /\bReady\b/, "it is Ready");
  for (const [name, node] of untouched) t.same(await nodeOf(cluster, name), node, `${name} went on`);
  await proveStudentGone(t, cluster, anna.kubectl);
  await cluster.apply([hostPod("after", worker, "echo /host/*")]);
  t.notMatch(await outputOf(cluster, "default", "after"), leftover, "nothing of it lies on the machine");
  await cluster.kubectl("delete", "pod", "after");
  await cluster.kubectl("rollout", "status", "deployment/web", "--timeout=10m");
  t.match(
    await cluster.kubectl("get", "pods", "-l", "app=web", "-o", "jsonpath={.items[*].spec.nodeName}"),
    worker,
    "pods of the lesson run on it again",
  );
}

/** The digests of the report are those of the image, and the boot is the newest one. */
async function proveBoot(
  t: Test,
  cluster: ClusterE2e,
  { facts, bootId }: { facts: Readonly<Record<string, string | number>>; bootId: string },
): Promise<void> {
  const [image] = await cluster.e2e.client.list<{
    name: string;
    version: string;
    files: Record<"kernel" | "rootfs", { sha256: string }>;
  }>("/images");
  t.match(
    facts,
    {
      boot: bootId,
      role: "worker",
      image: `${image?.name} ${image?.version}`,
      kernel: image?.files.kernel.sha256,
      root: image?.files.rootfs.sha256,
      config: /^[0-9a-f]{64}$/,
      claim: "spent",
    },
    "the report has the digests of what it booted",
  );
}

async function proveStudentGone(
  t: Test,
  cluster: ClusterE2e,
  kubectl: (...words: string[]) => Promise<unknown>,
): Promise<void> {
  const namespaces = await cluster.kubectl("get", "namespaces", "-o", "name");
  t.notMatch(namespaces, /anna/, "the student's namespace is gone");
  t.notMatch(await cluster.e2e.boot("student", "get"), /anna/, "the student is gone");
  await t.rejects(kubectl("get", "pods"), /Unauthorized|must be logged in/i, "the token is worth nothing");
}
