import { execFileSync } from "node:child_process";
import { join } from "node:path";
import t from "tap";
import type { ClusterApi } from "../../server/cluster/ports.ts";
import { kubeletClientSigner } from "../../server/kubeadm/signing-request-policy.ts";
import { createClusterHands } from "../../server/kubernetes/cluster-hands.ts";
import { operatorRules } from "../../server/kubernetes/cluster-setup.ts";
import { flannelManifests } from "../../server/kubernetes/flannel.ts";
import { drainPass } from "../../server/kubernetes/nodes.ts";
import { signingPass } from "../../server/kubernetes/signing-requests.ts";
import { sampleAuthorities, sampleCluster } from "../support/cluster-samples.ts";
import { type Asked, fakeApiServer, type Told } from "../support/fake-api-server.ts";
import { clientOf } from "../support/kubernetes-clients.ts";
import { ManualClock } from "../support/manual-clock.ts";
import { temporaryDirectory } from "../support/samples.ts";

/** What a pass does is shown against a real API server in test/cluster; here is what one seldom does. */

const requestOf = (directory: string, subject: string) =>
  execFileSync(
    "openssl",
    [
      ..."req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout".split(" "),
      join(directory, "key"),
      "-subj",
      subject,
    ],
    { stdio: ["ignore", "pipe", "ignore"] },
  ).toString("base64");

t.test("two requests of one join in one pass: the first is approved, the second is not", async (t) => {
  const authorities = await sampleAuthorities(t);
  const request = requestOf(temporaryDirectory(t), "/O=system:nodes/CN=system:node:s5");
  const item = (name: string) => ({
    metadata: { name, resourceVersion: "7" },
    spec: {
      username: "system:bootstrap:abcdef",
      signerName: kubeletClientSigner,
      usages: ["digital signature", "key encipherment", "client auth"],
      request,
    },
    status: {},
  });
  const { target, asked } = await fakeApiServer(t, authorities, ({ method }) =>
    method === "GET" ? { body: { items: [item("csr-1"), item("csr-2")] } } : {},
  );
  const joins = () => [{ tokenId: "abcdef", machine: "s5" }];
  const pass = await signingPass(clientOf(t, authorities, target), { joins, now: Date.UTC(2026, 0, 1) });
  t.match(pass, {
    approved: [{ request: "csr-1", machine: "s5" }],
    denied: [{ request: "csr-2", machine: "s5", reason: "already-approved" }],
  });
  const puts = asked.filter(({ method }) => method === "PUT");
  t.same(
    puts.map(({ path }) => path),
    ["csr-1", "csr-2"].map(
      (name) => `/apis/certificates.k8s.io/v1/certificatesigningrequests/${name}/approval`,
    ),
  );
  t.match(JSON.parse(puts[0]?.body ?? ""), {
    kind: "CertificateSigningRequest",
    metadata: { resourceVersion: "7" },
    status: { conditions: [{ type: "Approved", status: "True", lastUpdateTime: "2026-01-01T00:00:00Z" }] },
  });
});

t.test("a request that somebody changed or removed meanwhile is left to the next pass", async (t) => {
  const authorities = await sampleAuthorities(t);
  for (const status of [404, 409]) {
    const { target } = await fakeApiServer(t, authorities, ({ method }): Told =>
      method === "GET"
        ? {
            body: {
              items: [
                {
                  metadata: { name: "x" },
                  spec: { username: "system:bootstrap:zzzzzz", signerName: kubeletClientSigner, request: "" },
                },
              ],
            },
          }
        : { status, body: { reason: "Conflict" } },
    );
    t.same(await signingPass(clientOf(t, authorities, target), { joins: () => [], now: 0 }), {
      approved: [],
      denied: [],
      isCut: false,
    });
  }
});

t.test(
  "evictions are of the policy that the version has, and a pod of the same name later is spared",
  async (t) => {
    const authorities = await sampleAuthorities(t);
    const { target, asked } = await fakeApiServer(t, authorities, ({ path }) =>
      path.startsWith("/api/v1/pods")
        ? { body: { items: [{ metadata: { name: "p", namespace: "n", uid: "u1" } }] } }
        : {},
    );
    const client = clientOf(t, authorities, target);
    for (const [minor, version] of [
      [21, "policy/v1beta1"],
      [22, "policy/v1"],
    ] as const) {
      await drainPass(client, { name: "s5", version: { minor, patch: 0 }, now: 0, deadline: 1 });
      t.match(JSON.parse(asked.at(-1)?.body ?? ""), {
        apiVersion: version,
        deleteOptions: { preconditions: { uid: "u1" } },
      });
    }
    await drainPass(client, { name: "s5", version: { minor: 22, patch: 0 }, now: 1, deadline: 1 });
    t.match(JSON.parse(asked.at(-1)?.body ?? ""), {
      kind: "DeleteOptions",
      gracePeriodSeconds: 0,
      preconditions: { uid: "u1" },
    });
  },
);

t.test(
  "as the state machine calls it: a drain goes on until nothing is left, and auto-approval is told of",
  async (t) => {
    const authorities = await sampleAuthorities(t);
    const clock = new ManualClock();
    let pods = 2;
    let isAutomatic = true;
    const answer = ({ method, path }: Asked): Told => {
      if (path.startsWith("/api/v1/pods"))
        return {
          body: {
            items: Array.from({ length: pods }, (_, index) => ({
              metadata: { name: `p${index}`, namespace: "n" },
            })),
          },
        };
      if (method === "DELETE" && path.includes("autoapprove")) {
        const told = isAutomatic ? {} : { status: 404 };
        isAutomatic = false;
        return told;
      }
      return { body: { items: [] } };
    };
    const { target } = await fakeApiServer(t, authorities, answer);
    const found: string[] = [];
    const bootstrap = clientOf(t, authorities, target);
    const operator = clientOf(t, authorities, target, { rights: "operator" });
    const wakes: (() => void)[] = [];
    const hands: ClusterApi = createClusterHands({
      bootstrap,
      operator,
      cluster: sampleCluster("1.31.0"),
      clock: {
        now: () => clock.now(),
        monotonicMs: () => clock.monotonicMs(),
        after: (_ms, fn) => (wakes.push(fn), () => {}),
      },
      onAutoApproval: () => found.push("auto-approval"),
    });
    const drained = hands.drain("s5", clock.now() + 60_000, () => true);
    while (wakes.length === 0) await new Promise((resolve) => setImmediate(resolve));
    pods = 0;
    wakes.shift()?.();
    await drained;
    t.equal(wakes.length, 0);
    t.same(await hands.judgeRequests(() => []), []);
    t.same(await hands.judgeRequests(() => []), []);
    t.same(found, ["auto-approval"]);
    t.same(await hands.nodes(), []);
  },
);

t.test("the rules of an operator name no right that makes rights", (t) => {
  const rules = operatorRules().flatMap(
    (manifest) =>
      (manifest as { rules?: { resources: string[]; verbs: string[]; resourceNames?: string[] }[] }).rules ??
      [],
  );
  t.ok(rules.length > 5);
  for (const { resources, verbs, resourceNames } of rules) {
    t.notOk([...verbs, ...resources].some((word) => ["*", "escalate", "bind", "impersonate"].includes(word)));
    if (resources.some((name) => /role|signers/.test(name))) t.equal(resourceNames?.length, 1);
  }
  t.end();
});

t.test("flannel's network is the pods', and without an image of its plugin nothing is installed", (t) => {
  const cluster = sampleCluster("1.31.0");
  const texts = [undefined, "registry.local/plugin:1"].map((pluginImage) =>
    JSON.stringify(flannelManifests({ cluster, image: "registry.local/flannel:1", pluginImage })),
  );
  t.match(
    texts[0],
    /"net-conf.json":"\{\\"Network\\":\\"10.244.0.0\/16\\",\\"Backend\\":{\\"Type\\":\\"vxlan\\",\\"MTU\\":1500}}"/,
  );
  t.notMatch(texts[0], /opt\/cni\/bin/);
  t.match(texts[1], /registry.local\/plugin:1/);
  t.end();
});
