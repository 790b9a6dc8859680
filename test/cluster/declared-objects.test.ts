import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { createDeclaredObjects } from "../../server/cluster/declared-objects.ts";
import { createDeclaredReader } from "../../server/config/declared-files.ts";
import type { DeclaredObject } from "../../server/domain/declared-object.ts";
import type { NewEvent } from "../../server/domain/event.ts";
import { createObjectApplier } from "../../server/kubernetes/object-applier.ts";
import { systemClock } from "../../server/platform/clock.ts";
import { silentLog } from "../../server/platform/logger.ts";
import { clientOf } from "../support/kubernetes-clients.ts";
import { startControlPlane } from "../support/real-control-plane.ts";
import { temporaryDirectory } from "../support/samples.ts";

/** Files that go with the one of docs/cluster.md. */
const files = {
  "a-broken.yaml": "apiVersion: v1\nkind: ConfigMap\nmetadata: { name: [x }\n",
  "b-refused.yaml": `apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: { name: no-role, namespace: p10-anna }
roleRef: { apiGroup: rbac.authorization.k8s.io, kind: Nonsense, name: admin }
---
apiVersion: lab.example/v1
kind: Bench
metadata: { name: unknown }
---
apiVersion: v1
kind: Secret
metadata: { name: wrong, namespace: p10-anna }
data: { password: "hunter2 is no base64" }
---
apiVersion: v1
kind: ConfigMap
metadata: { name: homeless, namespace: nowhere }
`,
  "c-seats.yaml": `apiVersion: lab.example/v1
kind: Seat
metadata: { name: s4 }
spec: { row: 2 }
---
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: { name: seats.lab.example }
spec:
  group: lab.example
  scope: Cluster
  names: { kind: Seat, plural: seats, singular: seat }
  versions:
    - name: v1
      served: true
      storage: true
      schema: { openAPIV3Schema: { type: object, x-kubernetes-preserve-unknown-fields: true } }
`,
  "web.json": JSON.stringify({
    apiVersion: "apps/v1",
    kind: "Deployment",
    metadata: { name: "web", namespace: "p10-anna", resourceVersion: "17", uid: "of-another-cluster" },
    spec: {
      replicas: 1,
      selector: { matchLabels: { app: "web" } },
      template: {
        metadata: { labels: { app: "web" } },
        spec: { containers: [{ name: "web", image: "registry.local/web" }] },
      },
    },
    status: { replicas: 5 },
  }),
};

/**
 * Declared objects in a real cluster, and again in the one that comes after it with an empty etcd: see
 * test/support/real-control-plane.ts for what it needs. About two minutes.
 */
t.test("each generation of a real cluster gets what is declared", async (t) => {
  const directory = temporaryDirectory(t);
  for (const [name, text] of Object.entries(files)) writeFileSync(join(directory, name), text);
  const manual = readFileSync(new URL("../../docs/cluster.md", import.meta.url), "utf8");
  const lesson = /```yaml\n# \/etc\/rollcall\/objects\/students\.yaml\n([^`]+)```/.exec(manual)?.[1] ?? "";
  writeFileSync(join(directory, "students.yaml"), lesson);
  const events: NewEvent[] = [];
  let begin = (): ((object: DeclaredObject) => Promise<void>) => {
    throw new Error("there is no cluster");
  };
  const objects = createDeclaredObjects({
    clock: systemClock,
    log: silentLog,
    record: (event) => void events.push(event),
    random: Math.random,
    read: createDeclaredReader(directory, { clock: systemClock, settleMs: 0 }),
    begin: () => begin(),
  });
  for (const generation of [1, 2])
    await t.test(`generation ${generation}`, async (t) => {
      const plane = await startControlPlane(t, {
        controllers: [
          "clusterrole-aggregation",
          "serviceaccount",
          "serviceaccount-token",
          "deployment",
          "replicaset",
          "resourcequota",
        ],
      });
      const { kubectl, until } = plane;
      const applier = createObjectApplier(clientOf(t, plane.authorities, await plane.reachable()));
      begin = applier;
      const get = (...words: string[]) => kubectl("admin.conf", ["get", ...words]).stdout.trim();
      t.equal(get("namespace", "p10-anna", "-o", "name"), "", "it begins empty");
      events.length = 0;
      await until("all is applied but what is wrong", async () => {
        objects.follow({ generation, setUps: 1, isUp: true });
        await objects.settled();
        const { waiting } = objects.status();
        return waiting === 0;
      });
      const { applied, refused } = objects.status();
      t.equal(applied, 10 + 1 + 2, "two students, a Deployment, a definition and an object of it");
      t.match(Object.fromEntries(refused.map(({ file, place, reason }) => [`${file} ${place}`, reason])), {
        "a-broken.yaml #1": /^YAML: /,
        "b-refused.yaml #1": /refuses to change RoleBinding p10-anna\/no-role \(422\): .*roleRef\.kind/,
        "b-refused.yaml #2": /has no kind Bench in lab\.example\/v1/,
        "b-refused.yaml #3": /change Secret p10-anna\/wrong/,
        "b-refused.yaml #4": /has no namespace nowhere/,
      });
      t.equal(refused.length, 5);
      const told = events.filter(({ type }) => type === "cluster.object-refused");
      t.equal(
        told.length,
        4 + (generation === 1 ? 1 : 0),
        "each once a generation, and a file when it is read",
      );
      t.notMatch(JSON.stringify([events, refused]), /hunter2/, "no word of a Secret");

      for (const name of ["anna", "boris"]) {
        t.equal(get("serviceaccount", name, "-n", `p10-${name}`, "-o", "name"), `serviceaccount/${name}`);
        const as = [`--as=system:serviceaccount:p10-${name}:${name}`];
        const can = (...words: string[]) =>
          kubectl("admin.conf", ["auth", "can-i", ...words, ...as]).stdout.trim();
        // A controller puts the ClusterRole admin together.
        await until(
          `${name} rules the own namespace`,
          () => can("create", "deployments", "-n", `p10-${name}`) === "yes",
        );
        t.equal(can("get", "pods", "-n", name === "anna" ? "p10-boris" : "p10-anna"), "no", "and no other");
        t.equal(get("resourcequota", "share", "-n", `p10-${name}`, "-o", "jsonpath={.spec.hard.pods}"), "10");
      }
      t.equal(get("seats.lab.example", "s4", "-o", "jsonpath={.spec.row}"), "2");
      const limit = [
        "pods",
        "-n",
        "p10-anna",
        "-o",
        "jsonpath={.items[0].spec.containers[0].resources.limits.memory}",
      ];
      await until("the Deployment has its pod, within the usual limits", () => get(...limit) === "256Mi");

      const before = get("namespace", "p10-anna", "-o", "jsonpath={.metadata.resourceVersion}");
      t.equal(
        kubectl("admin.conf", ["label", "namespace", "p10-anna", "teacher=ivan"]).status,
        0,
        "what others set is theirs",
      );
      await applier()({
        apiVersion: "v1",
        kind: "Namespace",
        metadata: { name: "p10-anna" },
      });
      t.equal(get("namespace", "p10-anna", "-o", "jsonpath={.metadata.labels.teacher}"), "ivan");
      t.not(get("namespace", "p10-anna", "-o", "jsonpath={.metadata.resourceVersion}"), before);
    });
});
