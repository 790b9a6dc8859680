import { execFileSync } from "node:child_process";
import { existsSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import t from "tap";
import { buildImage } from "../../server/image/build-image.ts";
import { ingredientsOf } from "../../server/image/ingredients.ts";
import { checkWorkerReset } from "../support/cluster-reset.ts";
import { createClusterE2e } from "../support/cluster-e2e.ts";
import { writeDockerArchive } from "../support/docker-archive.ts";
import { kubernetesProgram } from "../support/kubernetes-programs.ts";
import { proofContainer, proofImage } from "../support/proof-image.ts";
import { authoritativeConfig } from "../support/lab-configs.ts";
import { makeSigningKey } from "../support/signing-key.ts";

/**
 * A cluster of real machines (QEMU) that boot over the network into RAM: a rootless master and two rootless workers, which join by themselves
 * and come back after a power cut under the same names. ROLLCALL_KUBERNETES has the programs (build-kubernetes.sh makes them). Minutes to
 * an hour; the screens are kept in test/artifacts/cluster.
 */
const artifacts = resolve(import.meta.dirname, "../artifacts");
const config = `${authoritativeConfig}
cluster:
  kubernetesVersion: ${execFileSync(kubernetesProgram("kubeadm"), ["version", "-o", "short"], { encoding: "utf8" }).trim().slice(1)}
  arming: automatic
  # Debian has no CoreDNS.
  dns: none
registry:
  repositories:
    - { pattern: "lesson/*", mode: require-signed }
`;
const machines = [
  { name: "m1", mac: "52:54:00:77:00:01", role: "master", memoryMiB: 6400 },
  { name: "w1", mac: "52:54:00:77:00:11", role: "worker", memoryMiB: 3300 },
  { name: "w2", mac: "52:54:00:77:00:12", role: "worker", memoryMiB: 3300 },
] as const;

/** An image that was built before; servers take the name for a setting of theirs. */
const given = process.env["ROLLCALL_CLUSTER_IMAGE"];
delete process.env["ROLLCALL_CLUSTER_IMAGE"];

const labels = { app: "web" };
/** Two servers that may not be on one machine, behind one port. */
const web = [
  {
    apiVersion: "apps/v1",
    kind: "Deployment",
    metadata: { name: "web" },
    spec: {
      replicas: 2,
      selector: { matchLabels: labels },
      template: {
        metadata: { labels },
        spec: {
          affinity: {
            podAntiAffinity: {
              requiredDuringSchedulingIgnoredDuringExecution: [
                { labelSelector: { matchLabels: labels }, topologyKey: "kubernetes.io/hostname" },
              ],
            },
          },
          containers: [
            {
              name: "web",
              image: proofImage,
              imagePullPolicy: "Never",
              command: ["/bin/httpd", "-f", "-p", "80", "-h", "/bin"],
            },
          ],
        },
      },
    },
  },
  {
    apiVersion: "v1",
    kind: "Service",
    metadata: { name: "web" },
    spec: { type: "NodePort", selector: labels, ports: [{ port: 80, nodePort: 30080 }] },
  },
];

const deploymentFromRegistry = (name: string) => ({
  apiVersion: "apps/v1",
  kind: "Deployment",
  metadata: { name },
  spec: {
    selector: { matchLabels: { app: name } },
    template: {
      metadata: { labels: { app: name } },
      spec: {
        containers: [
          {
            name: "proof",
            image: `registry.local/lesson/${name}:1`,
            imagePullPolicy: "Always",
            command: ["/bin/sh", "-c", "cat /bin/note; exec httpd -f -p 80"],
          },
        ],
      },
    },
  },
});

interface PodList {
  readonly items: readonly {
    metadata: { labels: Record<string, string> };
    status: { containerStatuses?: { state: { waiting?: { reason: string } } }[] };
  }[];
}

async function ensureClusterImage(): Promise<string> {
  const image = given ?? join(artifacts, "cluster-image");
  if (existsSync(join(image, "image.json"))) return image;
  const ingredients = join(artifacts, "cluster-programs");
  const maker = join(import.meta.dirname, "kubernetes-images.ts");
  execFileSync(process.execPath, [maker, join(kubernetesProgram("kubelet"), ".."), ingredients]);
  await buildImage({
    recipeDir: join(import.meta.dirname, "../../server/image/recipes/debian-node"),
    outputDir: image,
    ingredients: await ingredientsOf(ingredients),
  });
  return image;
}

t.test("a master and two workers boot over the network and join by themselves", async (t) => {
  const cluster = await createClusterE2e(t, { config, image: await ensureClusterImage(), machines });
  const { e2e } = cluster;
  const names = machines.map(({ name }) => name);
  const boots = new Map<string, string>();
  let began = Date.now();
  await Promise.all(names.map((name) => cluster.powerOn(name)));
  const allReady = async (what: string) => {
    await Promise.all(
      names.map(async (name) => {
        const { bootId } = await cluster.becomesReady(name, boots.get(name));
        boots.set(name, bootId ?? "");
        t.comment(`${what}: ${name} is ready after ${Math.round((Date.now() - began) / 1000)} s`);
      }),
    );
    t.comment(`${what}: ${await cluster.joinSeconds()} s from the last machine's claim to all ready`);
  };
  await allReady("first boot");
  t.comment(await e2e.boot("cluster", "show"));
  t.comment(await e2e.boot("cluster", "log"));
  const nodes = await cluster.kubectl("get", "nodes", "-o", "wide");
  t.comment(nodes);
  for (const name of names) t.match(nodes, new RegExp(`^${name} +Ready`, "m"));
  t.comment(await cluster.kubectl("get", "pods", "-A", "-o", "wide"));
  t.equal((await cluster.show()).state, "up");
  t.match(await e2e.boot("status"), /w1.*ready/);

  await t.test("pods of different machines serve one another, and a NodePort answers on each", async (t) => {
    await cluster.apply(web);
    await cluster.kubectl("rollout", "status", "deployment/web", "--timeout=10m");
    t.comment(await cluster.kubectl("get", "pods", "-o", "wide"));
    const where = await cluster.kubectl("get", "pods", "-o", "jsonpath={.items[*].spec.nodeName}");
    t.same(where.split(" ").toSorted(), ["w1", "w2"], "one on each worker");
    const addresses = await cluster.kubectl(
      "get",
      "nodes",
      "-o",
      "jsonpath={.items[*].status.addresses[0].address}",
    );
    for (const address of addresses.split(" "))
      t.ok(await cluster.answers(`http://${address}:30080/cat`, 8), `eight requests in a row at ${address}`);
  });

  await t.test("pods run from signed images of the embedded registry, and from no other", async (t) => {
    const { directory } = e2e.lab;
    for (const name of ["lesson/signed:1", "lesson/unsigned:1"]) {
      // Other octets than those that lie on the nodes.
      const proof = proofContainer();
      const note = join(directory, "note");
      // A container's log has whole lines only.
      writeFileSync(note, `${name}\n`);
      const archive = join(directory, `${/\w+(?=:)/.exec(name)?.[0] ?? ""}.tar`);
      writeDockerArchive({ ...proof, name, files: { ...proof.files, "/bin/note": note } }, archive);
    }
    const [, token = ""] = (await e2e.boot("token", "create", "maker", "--scope", "admin")).split("\n");
    const key = makeSigningKey(t, "maker@lab.example", "rsa3072");
    const boot = (...words: string[]) => e2e.boot("--token", token.trim(), ...words);
    t.comment(await boot("image", "import", join(directory, "signed.tar"), join(directory, "unsigned.tar")));
    t.comment(await boot("key", "add", "maker", "--file", key.publicFile));
    t.comment(await boot("sign", "lesson/signed:1", "--key", key.file));
    t.comment(await boot("image", "list"));
    await cluster.apply(["signed", "unsigned"].map(deploymentFromRegistry));
    await cluster.kubectl("rollout", "status", "deployment/signed", "--timeout=10m");
    const phases = () => cluster.kubectl("get", "pods", "-l", "app in (signed,unsigned)", "-o", "json");
    const waiting = async () => {
      const { items } = JSON.parse(await phases()) as PodList;
      const pod = items.find(({ metadata }) => metadata.labels["app"] === "unsigned");
      return pod?.status.containerStatuses?.[0]?.state.waiting;
    };
    while (!/^(ErrImagePull|ImagePullBackOff)$/.test((await waiting())?.reason ?? "")) await delay(2000);
    t.comment(await cluster.kubectl("get", "pods", "-o", "wide"));
    t.comment(await cluster.kubectl("get", "events", "--field-selector", "type=Warning"));
    t.match(
      await cluster.kubectl("get", "events", "--field-selector", "reason=Failed"),
      /lesson\/unsigned:1.*not found/,
    );
    t.equal(await cluster.kubectl("logs", "deployment/signed"), "lesson/signed:1\n", "its own content ran");
    await boot("sign", "lesson/unsigned:1", "--key", key.file);
    await cluster.kubectl("rollout", "status", "deployment/unsigned", "--timeout=10m");
    t.pass("once it is signed its pod runs by itself");
    await cluster.kubectl("delete", "deployment", "signed", "unsigned");
  });

  await t.test("a worker that is reset leaves the cluster, loses what a student left, and joins anew", (t) =>
    checkWorkerReset(t, cluster, { worker: "w1", others: ["m1", "w2"], boots }),
  );

  const uids = await cluster.kubectl("get", "nodes", "-o", "jsonpath={.items[*].metadata.uid}");
  await Promise.all(names.map((name) => cluster.powerOff(name)));
  began = Date.now();
  await Promise.all(names.map((name) => cluster.powerOn(name)));
  await allReady("after the power cut");
  t.equal(
    await cluster.kubectl("get", "nodes", "-o", "jsonpath={.items[*].metadata.uid}"),
    uids,
    "they are the same Nodes, of the same cluster",
  );
  t.equal((await cluster.show()).generation, 1);
});
