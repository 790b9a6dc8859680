import { readFileSync, writeFileSync } from "node:fs";
import t from "tap";
import { formatBootstrapToken } from "../../server/kubeadm/bootstrap-token.ts";
import {
  createToken,
  deleteToken,
  deleteUnownedTokens,
  listTokens,
} from "../../server/kubernetes/bootstrap-tokens.ts";
import { identifyCluster, removeAutoApproval, setUpCluster } from "../../server/kubernetes/cluster-setup.ts";
import { flannelManifests } from "../../server/kubernetes/flannel.ts";
import {
  deleteNode,
  drainPass,
  listNodes,
  markNotReady,
  readNode,
  setCordoned,
} from "../../server/kubernetes/nodes.ts";
import { signingPass } from "../../server/kubernetes/signing-requests.ts";
import { createBootstrapToken } from "../../server/pki/join-secrets.ts";
import { issueServerClient } from "../../server/pki/master-files.ts";
import { sampleAuthorities, sampleCluster } from "../support/cluster-samples.ts";
import { clientOf } from "../support/kubernetes-clients.ts";
import { startControlPlane } from "../support/real-control-plane.ts";

/** The server's hands in a real cluster: see test/support/real-control-plane.ts for what it needs. About a minute. */
t.test("the server in a real cluster", async (t) => {
  const plane = await startControlPlane(t, {
    // With Kubernetes' own approver, as every control plane has it.
    controllers: ["csrapproving", "csrsigning", "serviceaccount", "disruption", "tokencleaner"],
  });
  const { authorities, cluster, kubectl, until } = plane;
  const target = await plane.reachable();
  const bootstrap = clientOf(t, authorities, target, { serverName: cluster.endpoint.host });
  const operator = clientOf(t, authorities, target, { rights: "operator" });
  const attempt = "b_1";
  const life = { attempt, expiresAt: Date.now() + 15 * 60_000 };
  const certificateOf = async (name: string) =>
    (await bootstrap.get("CertificateSigningRequest", { name })).status?.certificate;
  const pass = (joins: Parameters<typeof signingPass>[1]["joins"]) =>
    signingPass(operator, { joins, now: Date.now() });

  await bootstrap.healthz(target);
  t.same(await identifyCluster(bootstrap, cluster, authorities.cluster.certificatePem), { kind: "none" });
  plane.initializeCluster();
  await t.rejects(listNodes(operator), { code: "KUBERNETES_REFUSED" }, "an operator has no rights yet");

  await t.test("the auto-approve binding is gone, and does not come back unnoticed", async (t) => {
    await setUpCluster(bootstrap);
    await setUpCluster(bootstrap);
    t.equal(await removeAutoApproval(operator), true, "kubeadm had made it");
    t.equal(await removeAutoApproval(operator), false);
    plane.initializeCluster();
    t.equal(await removeAutoApproval(operator), true, "and made it again");
  });

  await t.test("the cluster in etcd is known as ours or not", async (t) => {
    const authorityPem = authorities.cluster.certificatePem;
    t.match(await identifyCluster(operator, cluster, authorityPem), {
      kind: "ours",
      kubernetesVersion: /^v1\./,
    });
    const other = sampleCluster(`1.${cluster.version.minor}.${cluster.version.patch}`, {
      name: "lab",
      podSubnet: "10.32.0.0/12",
    });
    t.same(await identifyCluster(operator, other, (await sampleAuthorities(t)).cluster.certificatePem), {
      kind: "foreign",
      differences: [
        'clusterName: "kubernetes", not lab',
        'podSubnet: "10.244.0.0/16", not 10.32.0.0/12',
        "its authority is not this server's",
      ],
    });
  });

  await t.test("a machine gets the certificate of its own Node, once, and nothing else", async (t) => {
    const token = createBootstrapToken();
    const purpose = { machine: "s5", ...life };
    await createToken(operator, token, purpose);
    await createToken(operator, token, purpose);
    await t.rejects(createToken(operator, token, { ...purpose, machine: "s6" }), {
      code: "KUBERNETES_CONFLICT",
    });
    plane.writeKubeconfig("s5.conf", {
      name: "tls-bootstrap-token-user",
      token: formatBootstrapToken(token),
    });
    const joins = [{ tokenId: token.id, machine: "s5" }];
    const ask = (name: string, subject: string, signer?: string) =>
      t.equal(plane.ask("s5.conf", name, subject, signer).status, 0, `${name} is taken by the API server`);

    ask("foreign", "/O=system:nodes/CN=system:node:s4");
    ask("master", "/O=system:masters/CN=s5");
    ask("serving", "/O=system:nodes/CN=system:node:s5", "example.org/other");
    t.equal(
      plane.ask("admin.conf", "persons", "/CN=somebody", "kubernetes.io/kube-apiserver-client").status,
      0,
      "and one of an administrator, which is no business of ours",
    );
    const first = await pass(() => joins);
    t.same(
      first.denied
        .map(({ request, reason, machine }) => [request, reason, machine])
        .sort(([left = ""], [right = ""]) => left.localeCompare(right)),
      [
        ["foreign", "wrong-name", "s5"],
        ["master", "wrong-name", "s5"],
        ["serving", "wrong-signer", "s5"],
      ],
    );
    t.same(first.approved, []);
    t.match((await bootstrap.get("CertificateSigningRequest", { name: "foreign" })).status?.conditions, [
      { type: "Denied", reason: "RollcallRefused", message: /s5 may be called system:node:s5/ },
    ]);
    t.equal(
      (await bootstrap.get("CertificateSigningRequest", { name: "persons" })).status?.conditions,
      undefined,
    );

    ask("right", "/O=system:nodes/CN=system:node:s5");
    const approved = [{ request: "right", tokenId: token.id, machine: "s5" }];
    t.same(await pass(() => joins), { approved, denied: [], isCut: false });
    await until("it is issued", async () => (await certificateOf("right")) !== undefined);
    t.same(await pass(() => joins), { approved, denied: [], isCut: false }, "told again, done once");
    ask("second", "/O=system:nodes/CN=system:node:s5");
    t.match(
      await pass(() => joins),
      { approved, denied: [{ request: "second", reason: "already-approved" }] },
      "what the cluster approved counts, even when the server forgot it",
    );
    for (const name of ["foreign", "master", "second", "persons"])
      t.equal(await certificateOf(name), undefined, `${name} has no certificate`);

    // With that certificate the machine makes its Node, and may not touch another's.
    writeFileSync(
      plane.file("right.crt"),
      Buffer.from((await certificateOf("right")) ?? "", "base64").toString(),
    );
    plane.writeKubeconfig("node.conf", {
      name: "system:node:s5",
      certificatePem: readFileSync(plane.file("right.crt"), "utf8"),
      privateKeyPem: readFileSync(plane.file("right.key"), "utf8"),
    });
    t.equal(await deleteToken(operator, token.id), true);
    t.equal(await deleteToken(operator, token.id), false);
    await until("the token is worth nothing", () =>
      /Unauthorized|must be logged in/.test(kubectl("s5.conf", ["get", "--raw", "/api"]).stderr),
    );
  });

  await t.test("tokens that no join has are taken away, and people's are not", async (t) => {
    const [kept, forgotten] = [createBootstrapToken(), createBootstrapToken()];
    for (const [token, machine] of [
      [kept, "s6"],
      [forgotten, "s7"],
    ] as const)
      await createToken(operator, token, { machine, ...life });
    const made = plane.kubeadm("token", "create", `--kubeconfig=${plane.file("admin.conf")}`);
    t.equal(made.status, 0, made.stderr);
    const gone = (await deleteUnownedTokens(operator, new Set([kept.id]))).map(
      ({ description }) => description,
    );
    t.ok(gone.includes("m/s7/b_1"));
    t.same(
      (await listTokens(operator)).map(({ id, description, expiresAt }) => [id, description, expiresAt]),
      [[kept.id, "m/s6/b_1", Math.floor(life.expiresAt / 1000) * 1000]],
    );
    const [id = ""] = made.stdout.trim().split(".");
    t.ok(await bootstrap.find("Secret", { name: `bootstrap-token-${id}`, namespace: "kube-system" }));
  });

  await t.test("a Node of an earlier boot is no longer Ready, and stays the same Node", async (t) => {
    const manifest = {
      apiVersion: "v1",
      kind: "Node",
      metadata: { name: "s5", labels: { "lab/seat": "17", "kubernetes.io/hostname": "s5" } },
      spec: { podCIDR: "10.244.3.0/24" },
    };
    t.equal(kubectl("admin.conf", ["apply", "-f", "-"], JSON.stringify(manifest)).status, 0);
    const conditions = [
      { type: "MemoryPressure", status: "False", reason: "KubeletHasSufficientMemory" },
      { type: "Ready", status: "True", reason: "KubeletReady", message: "kubelet is posting ready status" },
    ];
    const nodeInfo = { bootID: "5e9a", kubeletVersion: "v1.20.2" };
    const addresses = [
      { type: "InternalIP", address: "10.0.0.15" },
      { type: "Hostname", address: "s5" },
    ];
    const status = {
      conditions,
      addresses,
      nodeInfo: {
        ...nodeInfo,
        machineID: "",
        systemUUID: "",
        kernelVersion: "",
        osImage: "",
        containerRuntimeVersion: "",
        kubeProxyVersion: "",
        operatingSystem: "",
        architecture: "",
      },
    };
    await bootstrap.patch("Node", { name: "s5" }, { status }, "status");
    const before = await readNode(operator, "s5");
    t.match(before, {
      bootId: "5e9a",
      isReady: true,
      isCordoned: false,
      podCidr: "10.244.3.0/24",
      addresses: ["10.0.0.15"],
      kubeletVersion: "v1.20.2",
    });
    const reason = { reason: "MachineBootedAnew", message: "it claimed as boot b_2", now: Date.now() };
    t.equal(await markNotReady(operator, "s5", reason), true);
    t.equal(await markNotReady(operator, "s5", reason), false, "once is enough");
    const after = await readNode(operator, "s5");
    t.equal(after?.isReady, false);
    t.equal(after?.uid, before?.uid);
    t.match(after?.conditions, [
      { type: "MemoryPressure", status: "False" },
      { type: "Ready", status: "Unknown", reason: "MachineBootedAnew" },
    ]);
    const { metadata } = await operator.get("Node", { name: "s5" });
    t.equal(metadata.labels?.["lab/seat"], "17");
    t.equal(await markNotReady(operator, "s9", reason), false, "no such Node, nothing to do");
    t.equal(await readNode(operator, "s9"), undefined);
  });

  await t.test("a drain asks, waits for budgets, and ends at its deadline", async (t) => {
    const pod = (name: string, metadata: object = {}) => ({
      apiVersion: "v1",
      kind: "Pod",
      metadata: { name, namespace: "default", ...metadata },
      spec: {
        nodeName: "s5",
        automountServiceAccountToken: false,
        containers: [{ name: "c", image: "registry.local/none" }],
      },
    });
    await until(
      "the default account is there",
      () => kubectl("admin.conf", ["get", "serviceaccount", "default"]).status === 0,
    );
    await bootstrap.create("Pod", pod("plain"));
    await bootstrap.create("Pod", pod("held", { labels: { app: "held" } }));
    await bootstrap.create(
      "Pod",
      pod("daemon", {
        ownerReferences: [
          { apiVersion: "apps/v1", kind: "DaemonSet", name: "d", uid: "1", controller: true },
        ],
      }),
    );
    // As the kubelet would say; a pod that is not Ready is held back by no budget.
    await bootstrap.patch(
      "Pod",
      { name: "held", namespace: "default" },
      { status: { phase: "Running", conditions: [{ type: "Ready", status: "True" }] } },
      "status",
    );
    const budget = {
      apiVersion: cluster.version.minor >= 22 ? "policy/v1" : "policy/v1beta1",
      kind: "PodDisruptionBudget",
      metadata: { name: "held", namespace: "default" },
      spec: { minAvailable: 1, selector: { matchLabels: { app: "held" } } },
    };
    t.equal(kubectl("admin.conf", ["apply", "-f", "-"], JSON.stringify(budget)).status, 0);
    await until("the budget counts its pod", () =>
      /"currentHealthy": 1/.test(kubectl("admin.conf", ["get", "pdb", "held", "-o", "json"]).stdout),
    );
    const now = Date.now();
    const drain = (at: number) =>
      drainPass(operator, { name: "s5", version: cluster.version, now: at, deadline: now + 600_000 });
    const first = await drain(now);
    t.same([...first.remaining].sort(), ["default/held", "default/plain"]);
    t.same(first.heldBack, ["default/held"]);
    t.equal((await readNode(operator, "s5"))?.isCordoned, true);
    const plain = await bootstrap.find("Pod", { name: "plain", namespace: "default" });
    t.ok(plain === undefined || plain.metadata.deletionTimestamp !== undefined, "it was asked to go");
    await drain(now + 600_000);
    t.same(await drain(now + 600_001), { remaining: [], heldBack: [] });
    t.ok(await bootstrap.find("Pod", { name: "daemon", namespace: "default" }), "a DaemonSet's pod stays");
    t.equal(await setCordoned(operator, "s5", false), true);
    t.equal((await readNode(operator, "s5"))?.isCordoned, false);
    t.same(await drainPass(operator, { name: "s9", version: cluster.version, now, deadline: now }), {
      remaining: [],
      heldBack: [],
    });
  });

  await t.test("a Node is taken away only if it is the one that was meant", async (t) => {
    t.equal(await deleteNode(operator, "s5", "11111111-1111-1111-1111-111111111111"), false);
    const node = await readNode(operator, "s5");
    t.ok(node);
    t.equal(await deleteNode(operator, "s5", node?.uid), true);
    t.equal(await deleteNode(operator, "s5", node?.uid), false);
  });

  await t.test("flannel's manifests are taken as they are, twice", async () => {
    const manifests = flannelManifests({
      cluster,
      image: "registry.local/flannel:v0.26.7",
      pluginImage: "registry.local/flannel-cni-plugin:v1.6.0",
    });
    for (const _ of [1, 2]) for (const manifest of manifests) await bootstrap.apply(manifest.kind, manifest);
  });

  await t.test("an operator can't make itself more than it is", async (t) => {
    plane.writeKubeconfig("operator.conf", {
      name: "rollcall",
      ...(await issueServerClient(authorities, { cluster, now: Date.now(), rights: "operator" })),
    });
    const can = (...words: string[]) => kubectl("operator.conf", ["auth", "can-i", ...words]).stdout.trim();
    for (const words of [
      ["create", "clusterrolebindings"],
      ["delete", "clusterrolebindings/cluster-admin"],
      ["get", "secrets", "-n", "default"],
      ["create", "pods"],
      ["impersonate", "users"],
      ["approve", "signers.certificates.k8s.io/kubernetes.io/kube-apiserver-client"],
      ["update", "clusterroles"],
    ])
      t.equal(can(...words), "no", words.join(" "));
  });
});
