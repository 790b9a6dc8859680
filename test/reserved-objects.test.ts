import t from "tap";
import { reasonAgainst } from "../server/domain/reserved-object.ts";
import { bootstrapTokenSecret } from "../server/kubeadm/bootstrap-token.ts";
import { operatorRules } from "../server/kubernetes/cluster-setup.ts";
import { flannelManifests } from "../server/kubernetes/flannel.ts";
import { parseCidr } from "../server/net/cidr.ts";
import { directoryOf, parser } from "./support/declared-files.ts";
import { createDeclaredReader } from "../server/config/declared-files.ts";
import { systemClock } from "../server/platform/clock.ts";

const rbac = "rbac.authorization.k8s.io/v1";

t.test("no object that the server itself makes can be declared", (t) => {
  for (const manifest of operatorRules())
    t.match(reasonAgainst(manifest, "bridge"), /rollcall: .* take another name$/, manifest.kind);
  const podSubnet = parseCidr("10.244.0.0/16");
  if (!podSubnet) throw new Error("no network");
  for (const manifest of flannelManifests({ cluster: { podSubnet }, image: "a", pluginImage: "b" })) {
    t.match(
      reasonAgainst(manifest, "flannel"),
      /the network flannel, which the server applies/,
      manifest.kind,
    );
    t.equal(reasonAgainst(manifest, "bridge"), undefined, "without it the server makes none of them");
  }
  const token = bootstrapTokenSecret(
    { id: "abcdef", secret: "0123456789abcdef" },
    { machine: "m", attempt: "b", expiresAt: 0 },
  );
  t.match(reasonAgainst(token, "bridge"), /boot cluster join/);
  t.match(
    reasonAgainst({ ...token, metadata: { name: "mine", namespace: "kube-system" } }, "bridge"),
    /boot cluster join/,
    "whatever its name, its type makes it one",
  );
  t.end();
});

t.test(
  "what belongs to kubeadm or to Kubernetes is refused with what to do instead, and no more than that",
  (t) => {
    const against = (apiVersion: string, kind: string, name: string, namespace?: string) =>
      reasonAgainst(
        { apiVersion, kind, metadata: { name, ...(namespace === undefined ? {} : { namespace }) } },
        "bridge",
      );
    for (const [apiVersion, kind, name, namespace, reason] of [
      ["v1", "Node", "m1", undefined, /boot assign/],
      ["certificates.k8s.io/v1", "CertificateSigningRequest", "a", undefined, /judged by the server/],
      [rbac, "ClusterRoleBinding", "kubeadm:node-autoapprove-bootstrap", undefined, /take another name/],
      [rbac, "Role", "kubeadm:nodes-kubeadm-config", "kube-system", /take another name/],
      [
        "rbac.authorization.k8s.io/v1beta1",
        "RoleBinding",
        "rollcall:operators",
        "kube-public",
        /take another/,
      ],
      [rbac, "ClusterRole", "system:node", undefined, /take another name/],
      [rbac, "ClusterRoleBinding", "cluster-admin", undefined, /of another name/],
      ["v1", "ConfigMap", "kubeadm-config", "kube-system", /rollcall\.yaml/],
      ["v1", "ConfigMap", "kubelet-config-1.20", "kube-system", /rollcall\.yaml/],
      ["v1", "ConfigMap", "kube-proxy", "kube-system", /rollcall\.yaml/],
      ["apps/v1", "DaemonSet", "kube-proxy", "kube-system", /rollcall\.yaml/],
      ["v1", "ConfigMap", "cluster-info", "kube-public", /another name/],
      ["v1", "ConfigMap", "kube-root-ca.crt", "p10-anna", /another name/],
      ["v1", "ConfigMap", "extension-apiserver-authentication", "kube-system", /another name/],
      ["v1", "Service", "kubernetes", undefined, /another name/],
      ["coordination.k8s.io/v1", "Lease", "m1", "kube-node-lease", /another namespace/],
    ] as const)
      t.match(against(apiVersion, kind, name, namespace), reason, `${kind} ${name}`);
    for (const [apiVersion, kind, name, namespace] of [
      ["lab.example/v1", "Node", "m1", undefined],
      ["v1", "Secret", "bootstrap-token-x", "p10-anna"],
      ["v1", "ConfigMap", "kubeadm-config", "p10-anna"],
      // kubeadm keeps what people change in it.
      ["v1", "ConfigMap", "coredns", "kube-system"],
      ["v1", "Service", "kubernetes", "p10-anna"],
      ["v1", "Namespace", "kube-system", undefined],
      [rbac, "ClusterRoleBinding", "teachers", undefined],
      [rbac, "ClusterRole", "lab:system:x", undefined],
      ["v1", "ServiceAccount", "system:x", undefined],
    ] as const)
      t.equal(against(apiVersion, kind, name, namespace), undefined, `${kind} ${name}`);
    t.end();
  },
);

t.test("a file that declares one is told so with its line, and its other documents count", async (t) => {
  const directory = directoryOf(t, {
    "x.yaml":
      "apiVersion: v1\nkind: Node\nmetadata: { name: m1 }\n---\napiVersion: v1\nkind: Namespace\nmetadata: { name: one }\n",
  });
  const { documents, problems } = await createDeclaredReader(directory, {
    clock: systemClock,
    settleMs: 0,
    parser,
    reasonAgainst: (object) => reasonAgainst(object, "bridge"),
  })();
  t.equal(documents.length, 1);
  t.match(problems, [
    { file: "x.yaml", place: "#1", line: 2, object: "Node m1", reason: /^a Node comes with its machine/ },
  ]);
});
