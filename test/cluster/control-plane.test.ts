import { execFileSync } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import { once } from "node:events";
import t from "tap";
import {
  bootstrapTokenLifeMs,
  bootstrapTokenSecret,
  formatBootstrapToken,
} from "../../server/kubeadm/bootstrap-token.ts";
import { endpointUrl, certificatesDirectory } from "../../server/kubeadm/certificate-layout.ts";
import { joinConfiguration } from "../../server/kubeadm/configuration.ts";
import { judgeSigningRequest } from "../../server/kubeadm/signing-request-policy.ts";
import {
  authorityHash,
  createBootstrapToken,
  createCertificateKey,
  isClusterInfoSigned,
  kubeadmCertsSecret,
} from "../../server/pki/join-secrets.ts";
import { issueServerClient, issueWithKey, sharedFiles } from "../../server/pki/master-files.ts";
import { nodePortsScript } from "../../server/node/scripts/agent-node-ports.ts";
import { readSigningRequest } from "../../server/pki/signing-requests.ts";
import { sampleMaster } from "../support/cluster-samples.ts";
import { startControlPlane } from "../support/real-control-plane.ts";

/**
 * A real etcd, API server and controller manager run on nothing but our files, and take our tokens and Secrets. Needs root (a network
 * namespace), ROLLCALL_KUBERNETES and Debian's etcd (in ROLLCALL_ETCD where it is not on the PATH). About a minute.
 */
t.test("a control plane on our certificates", async (t) => {
  const plane = await startControlPlane(t, {
    controllers: [
      "bootstrapsigner",
      "tokencleaner",
      "csrsigning",
      "serviceaccount",
      "root-ca-cert-publisher",
    ],
  });
  const { file, pki, cluster, authorities, lan, kubectl, kubeadm, until, writeKubeconfig } = plane;

  const can = (kubeconfig: string, ...words: string[]) =>
    kubectl(kubeconfig, ["auth", "can-i", ...words]).stdout.trim();
  t.equal(can("admin.conf", "*", "*"), "yes", "admin.conf may do all");
  t.equal(
    can("scheduler.conf", "bind", "pods"),
    "no",
    "scheduler.conf is known, and no more than it should be",
  );
  t.equal(can("scheduler.conf", "create", "pods", "--subresource=binding"), "yes");

  const services = [
    { name: "web", type: "LoadBalancer", ports: [{ port: 80, nodePort: 30080 }] },
    {
      name: "dns",
      type: "NodePort",
      ports: [
        { name: "udp", port: 53, nodePort: 30053, protocol: "UDP" },
        { name: "tcp", port: 53, nodePort: 30054 },
      ],
    },
    { name: "inner", type: "ClusterIP", ports: [{ port: 80 }] },
  ];
  for (const { name, ...spec } of services) {
    const annotations = { nodePort: "31000", text: '"nodePort": 31001 }]} \\" \n' };
    const service = { apiVersion: "v1", kind: "Service", metadata: { name, annotations }, spec };
    const made = kubectl("admin.conf", ["apply", "-f", "-"], JSON.stringify(service));
    t.equal(made.status, 0, `${name} ${made.stderr}`);
  }
  const kubelet = await issueWithKey(
    authorities.cluster,
    {
      commonName: "system:node:s4",
      organizations: ["system:nodes"],
      usages: ["clientAuth"],
      dnsNames: [],
      addresses: [],
    },
    { cluster, now: Date.now(), lifeMs: 3_600_000 },
  );
  writeFileSync(file("kubelet.pem"), kubelet.certificatePem + kubelet.privateKeyPem);
  writeFileSync(file("nodeports.sh"), nodePortsScript);
  const setUp = `mount -t tmpfs tmpfs /var/lib
mkdir /var/lib/upper /var/lib/work
mount -t overlay overlay -o lowerdir=/etc,upperdir=/var/lib/upper,workdir=/var/lib/work /etc
mkdir -p /etc/kubernetes/pki /var/lib/kubelet/pki
cp ${pki("ca.crt")} /etc/kubernetes/pki/ca.crt
cp ${file("kubelet.pem")} /var/lib/kubelet/pki/kubelet-client-current.pem
echo '    server: ${endpointUrl(cluster)}' >/etc/kubernetes/kubelet.conf
exec sh ${file("nodeports.sh")} "$@"`;
  const inNode = [
    "ip",
    "netns",
    "exec",
    lan.namespaceOf("master"),
    "unshare",
    "--mount",
    "sh",
    "-ec",
    setUp,
    "sh",
  ];
  const nodePorts = (...words: string[]) =>
    execFileSync("ip", [...inNode.slice(1), ...words], { encoding: "utf8" });
  const [version1 = "", ...ports] = nodePorts("list").trim().split("\n");
  t.match(version1, /^version [1-9][0-9]*$/);
  t.same(
    ports.sort(),
    ["30053/udp", "30054/tcp", "30080/tcp"],
    "a kubelet's certificate is enough to see the NodePorts",
  );
  const watching = lan.start(
    "master",
    inNode.slice(4).concat("watch", version1.replace("version ", "")),
    "ignore",
  );
  const ended = once(watching, "exit");
  t.equal(kubectl("admin.conf", ["delete", "service", "web"]).status, 0);
  t.same(await ended, [0, null], "a change ends the watch");
  t.same(nodePorts("list").trim().split("\n").slice(1).sort(), ["30053/udp", "30054/tcp"]);

  const server = await issueServerClient(authorities, { cluster, now: Date.now(), rights: "bootstrap" });
  writeKubeconfig("server.conf", { name: "rollcall", ...server });
  t.equal(can("server.conf", "create", "secrets"), "yes", "and the server its work");
  const operator = await issueServerClient(authorities, { cluster, now: Date.now(), rights: "operator" });
  writeKubeconfig("operator.conf", { name: "rollcall", ...operator });
  t.equal(
    can("operator.conf", "list", "nodes"),
    "no",
    "as an operator it has what RBAC gives it: nothing yet",
  );

  const token = createBootstrapToken();
  const purpose = { machine: "s5", attempt: "b_1", expiresAt: Date.now() + bootstrapTokenLifeMs };
  const apply = (manifest: object) => kubectl("server.conf", ["apply", "-f", "-"], JSON.stringify(manifest));
  t.equal(apply(bootstrapTokenSecret(token, purpose)).status, 0, "the token is created");
  const write = (name: string, text: string) =>
    writeFileSync(file(name), text.replaceAll(certificatesDirectory, file("joined")));
  plane.initializeCluster((text) => text.replaceAll(certificatesDirectory, file("joined")));

  interface ConfigMap {
    data: Record<string, string>;
  }
  const clusterInfo = () =>
    (
      JSON.parse(
        kubectl("admin.conf", ["get", "configmap", "cluster-info", "-n", "kube-public", "-o", "json"])
          .stdout || "{}",
      ) as Partial<ConfigMap>
    ).data ?? {};
  await until(
    "the controller signs cluster-info for our token",
    () => `jws-kubeconfig-${token.id}` in clusterInfo(),
  );
  const { kubeconfig = "", ...signatures } = clusterInfo();
  t.ok(isClusterInfoSigned(kubeconfig, signatures[`jws-kubeconfig-${token.id}`] ?? "", token), "as we would");

  // The Secret that kubeadm decrypts; its Role comes with kubeadm's own upload, which is done under another key first.
  const certificateKey = createCertificateKey();
  const etcdClient = {
    certificatePem: readFileSync(pki("apiserver-etcd-client.crt"), "utf8"),
    privateKeyPem: readFileSync(pki("apiserver-etcd-client.key"), "utf8"),
  };
  t.equal(apply(kubeadmCertsSecret(authorities, cluster, certificateKey, etcdClient)).status, 0);
  for (const kind of ["role", "rolebinding"])
    kubectl("admin.conf", [
      "create",
      kind,
      "kubeadm:kubeadm-certs",
      "-n",
      "kube-system",
      ...(kind === "role"
        ? ["--verb=get", "--resource=secrets", "--resource-name=kubeadm-certs"]
        : ["--role=kubeadm:kubeadm-certs", "--group=system:bootstrappers:kubeadm:default-node-token"]),
    ]);
  write(
    "join.yaml",
    joinConfiguration({
      cluster,
      machine: { ...sampleMaster, name: "s2" },
      token,
      role: "control-plane",
      discovery: { kind: "token", authorityHash: authorityHash(authorities.cluster.certificatePem) },
      certificateKey,
    }),
  );
  const download = kubeadm(
    "join",
    "phase",
    "control-plane-prepare",
    "download-certs",
    "--config",
    file("join.yaml"),
  );
  t.equal(
    download.status,
    0,
    `kubeadm finds the cluster by token and hash, and opens the Secret: ${download.stderr.slice(0, 500)}`,
  );
  for (const { path, content } of sharedFiles(authorities, cluster))
    t.equal(readFileSync(file(path.replace("pki/", "joined/")), "utf8"), content, `${path} as it was`);

  write(
    "wrong.yaml",
    joinConfiguration({
      cluster,
      machine: { ...sampleMaster, name: "s2" },
      token,
      role: "control-plane",
      discovery: { kind: "token", authorityHash: authorityHash(authorities.etcd.certificatePem) },
      certificateKey,
    }).replaceAll("10m0s", "3s"),
  );
  const wrong = kubeadm(
    "join",
    "phase",
    "control-plane-prepare",
    "download-certs",
    "--config",
    file("wrong.yaml"),
  );
  t.not(wrong.status, 0, "not by another authority's hash");
  t.match(wrong.stderr, /none of the public keys .* are pinned/);

  // A machine asks for its certificate by the token; what the API server says of the request is what we judge.
  writeKubeconfig("token.conf", { name: "tls-bootstrap-token-user", token: formatBootstrapToken(token) });
  interface Csr {
    metadata: { name: string };
    spec: { username: string; signerName: string; usages: string[]; request: string };
    status?: { certificate?: string };
  }
  const get = (name: string) =>
    JSON.parse(kubectl("server.conf", ["get", "csr", name, "-o", "json"]).stdout) as Csr;
  const judge = async ({ metadata, spec }: Csr) =>
    judgeSigningRequest(
      {
        name: metadata.name,
        username: spec.username,
        signerName: spec.signerName,
        usages: spec.usages,
        requested: await readSigningRequest(Buffer.from(spec.request, "base64").toString()).catch(
          () => undefined,
        ),
      },
      [{ tokenId: token.id, machine: "s5" }],
    );
  t.equal(plane.ask("token.conf", "right", "/O=system:nodes/CN=system:node:s5").status, 0);
  t.same(await judge(get("right")), { verdict: "approve" });
  t.equal(
    plane.ask("token.conf", "foreign", "/O=system:nodes/CN=system:node:s4").status,
    0,
    "the API server takes any Node's name",
  );
  t.match(await judge(get("foreign")), { verdict: "deny", reason: "wrong-name" }, "and we do not");
  t.equal(kubectl("server.conf", ["certificate", "approve", "right"]).status, 0);
  await until(
    "the controller signs with our authority",
    () => get("right").status?.certificate !== undefined,
  );
  writeFileSync(file("right.crt"), Buffer.from(get("right").status?.certificate ?? "", "base64"));
  t.match(
    execFileSync(
      "openssl",
      ["verify", "-purpose", "sslclient", "-CAfile", pki("ca.crt"), file("right.crt")],
      { encoding: "utf8" },
    ),
    /: OK/,
  );

  t.equal(
    kubectl("server.conf", ["delete", "secret", `bootstrap-token-${token.id}`, "-n", "kube-system"]).status,
    0,
  );
  await until("without its Secret the token is worth nothing", () =>
    /Unauthorized|must be logged in/.test(kubectl("token.conf", ["get", "--raw", "/api"]).stderr),
  );
});
