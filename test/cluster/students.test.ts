import { readFileSync, writeFileSync } from "node:fs";
import t from "tap";
import type { NewEvent } from "../../server/domain/event.ts";
import type { StudentRules } from "../../server/domain/student-objects.ts";
import { endpointUrl } from "../../server/kubeadm/certificate-layout.ts";
import { createStudentNamespaces } from "../../server/kubernetes/student-namespaces.ts";
import { systemClock } from "../../server/platform/clock.ts";
import { silentLog } from "../../server/platform/logger.ts";
import { openStore } from "../../server/store/open-store.ts";
import { createStudents } from "../../server/students/students.ts";
import { clientOf } from "../support/kubernetes-clients.ts";
import { startControlPlane } from "../support/real-control-plane.ts";

const rules: StudentRules = {
  clusterRole: "admin",
  podSecurity: "baseline",
  quota: { cpu: "2", memory: "2Gi", pods: 3, services: 5, nodePorts: 2, volumeClaims: 0 },
  container: { cpu: "500m", memory: "256Mi", cpuRequest: "50m", memoryRequest: "64Mi" },
  networkPolicy: true,
  clusterNetworks: ["10.244.0.0/16", "10.96.0.0/12"],
};

/** Students in a real cluster: see test/support/real-control-plane.ts for what it needs. About a minute. */
t.test("students in a real cluster", async (t) => {
  const plane = await startControlPlane(t, {
    controllers: [
      "clusterrole-aggregation",
      "deployment",
      "namespace",
      "replicaset",
      "resourcequota",
      "root-ca-cert-publisher",
      "serviceaccount",
      "serviceaccount-token",
    ],
  });
  const { authorities, cluster, kubectl, until } = plane;
  const store = openStore(":memory:", systemClock);
  t.teardown(() => store.close());
  const events: NewEvent[] = [];
  const client = clientOf(t, authorities, await plane.reachable());
  const make = (changed: Partial<StudentRules> = {}) =>
    createStudents({
      clock: systemClock,
      log: silentLog,
      record: (event) => void events.push(event),
      random: Math.random,
      store: store.students,
      namespaces: createStudentNamespaces(client),
      rules: { ...rules, ...changed },
      cluster: {
        clusterName: cluster.name,
        server: endpointUrl(cluster),
        authorityPem: authorities.cluster.certificatePem,
      },
      tokenSeconds: 3600,
    });
  let students = make();
  const pass = async () => {
    students.follow({ generation: 1, setUps: 1, isUp: true });
    await students.settled();
  };
  const areReady = (...names: string[]) =>
    until(`${names.join(", ")} ready`, async () => {
      await pass();
      return names.every((name) => students.status(name).state === "ready");
    });
  const admin = (...words: string[]) => kubectl("admin.conf", words);
  const kubeconfigOf = async (name: string) => {
    const given = await students.issueToken(name, 600, "ivan");
    writeFileSync(plane.file(`${name}.conf`), given.kubeconfig, { mode: 0o600 });
    return given;
  };
  const as = (name: string, ...words: string[]) => kubectl(`${name}.conf`, words);
  const canAnna = (...words: string[]) => as("anna", "auth", "can-i", ...words).stdout.trim();

  await students.create(["Anna", "boris", "kube-system"], "ivan");
  await areReady("anna", "boris");
  t.match((await students.describe("anna")).objects, Array(6).fill({ isThere: true }));
  const anna = await kubeconfigOf("anna");
  await kubeconfigOf("boris");
  t.ok(anna.expiresAt > Date.now() && anna.expiresAt < Date.now() + 700_000, "ten minutes, as was asked");
  // A controller puts the ClusterRole admin together.
  await until("anna rules the own namespace", () => canAnna("create", "deployments") === "yes");

  await t.test("a student has the own namespace, by the kubeconfig alone, and no other", (t) => {
    t.match(as("anna", "config", "view", "--minify", "-o", "jsonpath={..namespace}").stdout, "anna");
    t.equal(
      as("anna", "create", "deployment", "web", "--image=registry.local/web:1", "--replicas=0").status,
      0,
    );
    t.match(as("anna", "get", "deployments", "-o", "name").stdout, "deployment.apps/web");
    for (const words of [
      ["create", "deployment", "web", "--image=x", "-n", "boris"],
      ["get", "pods", "-n", "boris"],
      ["get", "secrets", "-n", "kube-system"],
      ["get", "nodes"],
      ["get", "namespaces"],
      ["create", "namespace", "mine"],
      ["label", "namespace", "anna", "pod-security.kubernetes.io/enforce=privileged", "--overwrite"],
      ["delete", "namespace", "anna"],
    ])
      t.match(as("anna", ...words), { status: 1, stderr: /Forbidden|forbidden/ }, words.join(" "));
    t.end();
  });

  await t.test("share and limits are not the student's to change; the network's policy is", (t) => {
    for (const kind of ["resourcequotas", "limitranges"])
      for (const verb of ["create", "update", "patch", "delete"])
        t.equal(canAnna(verb, kind), "no", `${verb} ${kind}`);
    t.equal(canAnna("delete", "networkpolicies"), "yes", "docs/students.md says so");
    const bind = (role: string, ...words: string[]) =>
      as(
        "anna",
        "create",
        "rolebinding",
        `r-${role}`,
        `--clusterrole=${role}`,
        "--serviceaccount=boris:boris",
        ...words,
      );
    t.match(
      bind("cluster-admin"),
      { status: 1, stderr: /forbidden/i },
      "rights that one has not can't be given",
    );
    t.match(bind("view", "-n", "boris"), { status: 1, stderr: /forbidden/i });
    t.equal(bind("view").status, 0, "one's own namespace can be shown to others");
    t.equal(
      as("boris", "get", "deployments", "-n", "anna", "-o", "name").stdout.trim(),
      "deployment.apps/web",
    );
    t.end();
  });

  await t.test("the quota refuses what goes beyond the share", async (t) => {
    as("anna", "scale", "deployment", "web", "--replicas=5");
    await until("three of five pods are there", async () => {
      const used = (await students.list()).find(({ student }) => student.name === "anna")?.usage?.used[
        "pods"
      ];
      return used === "3";
    });
    t.match(as("anna", "run", "one-more", "--image=x"), { status: 1, stderr: /exceeded quota: student/ });
    t.match(as("anna", "create", "service", "loadbalancer", "lb", "--tcp=80:80"), {
      status: 1,
      stderr: /exceeded quota/,
    });
    const limits = as(
      "anna",
      "get",
      "pods",
      "-o",
      "jsonpath={.items[0].spec.containers[0].resources.limits.memory}",
    );
    t.equal(limits.stdout, "256Mi");
    t.equal(as("boris", "run", "mine", "--image=x").status, 0, "each has a share of their own");
  });

  await t.test("a namespace that others made is not touched", async (t) => {
    admin("create", "namespace", "monitoring");
    await students.create(["monitoring"], "ivan");
    await pass();
    t.match(students.status("monitoring"), { state: "failed", problem: /not a student's/ });
    t.notMatch(
      admin("get", "serviceaccounts,rolebindings,resourcequotas", "-n", "monitoring", "-o", "name").stdout,
      /monitoring|student/,
    );
    await students.remove("monitoring", "ivan");
    await students.settled();
    t.throws(() => students.status("monitoring"), { code: "STUDENT_NOT_FOUND" });
    t.match(admin("get", "namespace", "monitoring", "-o", "jsonpath={.status.phase}").stdout, "Active");
  });

  await t.test("another role in the config replaces the binding", async (t) => {
    students = make({ clusterRole: "edit" });
    await areReady("anna", "boris");
    t.equal(canAnna("create", "deployments"), "yes");
    t.equal(canAnna("create", "rolebindings"), "no");
  });

  await t.test("delete leaves nothing, says what holds it, and ends the token", async (t) => {
    const held = {
      apiVersion: "v1",
      kind: "ConfigMap",
      metadata: { name: "seat", namespace: "anna", finalizers: ["lab.example/seat"] },
    };
    t.equal(kubectl("admin.conf", ["create", "-f", "-"], JSON.stringify(held)).status, 0);
    // Whatever has the label is looked for, wherever it is.
    const kinds = (isNamespaced: boolean) =>
      admin("api-resources", "--verbs=list", `--namespaced=${isNamespaced}`, "-o", "name")
        .stdout.trim()
        .split("\n")
        .join(",");
    const [inside, outside] = [kinds(true), kinds(false)];
    t.ok(inside.split(",").length > 20 && outside.split(",").length > 10, "of all kinds");
    const traces = (name: string) =>
      [
        ...admin("get", inside, "-A", "-l", `rollcall/student=${name}`, "-o", "name")
          .stdout.trim()
          .split("\n"),
        ...admin("get", outside, "-l", `rollcall/student=${name}`, "-o", "name").stdout.trim().split("\n"),
        ...admin("get", inside, "-n", name, "-o", "name").stdout.trim().split("\n"),
      ].filter((line) => line !== "");
    t.ok(traces("anna").length > 10, `there is something to delete: ${traces("anna").length}`);
    await students.remove("anna", "ivan");
    await until("it says what holds the namespace", async () => {
      await pass();
      return /lab\.example\/seat in 1 resource instances/.test(students.status("anna").problem ?? "");
    });
    t.match(students.status("anna").state, "leaving");
    admin(
      "patch",
      "configmap",
      "seat",
      "-n",
      "anna",
      "--type=merge",
      "-p",
      '{"metadata":{"finalizers":null}}',
    );
    await until("anna is gone", async () => {
      await pass();
      return store.students.find("anna") === undefined;
    });
    t.same(traces("anna"), []);
    t.match(admin("get", "namespace", "anna"), { status: 1, stderr: /not found/ });
    t.match(as("anna", "get", "pods"), { status: 1, stderr: /Unauthorized|logged in/ });
    t.ok(traces("boris").length > 5, "and nobody else has lost anything");
    t.match(events.at(-1), { type: "student.deleted", actor: "ivan", data: { student: "anna" } });
  });

  await t.test("a namespace that somebody else deletes comes back", async (t) => {
    admin("delete", "namespace", "boris");
    t.match(as("boris", "get", "pods"), { status: 1 });
    students = make();
    await areReady("boris");
    await kubeconfigOf("boris");
    await until(
      "and a new token rules it",
      () => as("boris", "auth", "can-i", "create", "pods").stdout.trim() === "yes",
    );
  });

  t.notMatch(JSON.stringify([events, await students.list(), store.students.tokensOf("boris")]), anna.token);
  t.notMatch(readFileSync(plane.file("apiserver.log"), "utf8"), anna.token);
});
