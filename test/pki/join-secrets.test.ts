import { createDecipheriv } from "node:crypto";
import { execFileSync } from "node:child_process";
import t from "tap";
import { readYaml } from "../../server/yaml/read-yaml.ts";
import { parseBootstrapToken, formatBootstrapToken } from "../../server/kubeadm/bootstrap-token.ts";
import {
  clusterInfoConfigMap,
  createBootstrapToken,
  createCertificateKey,
  discoveryKubeconfig,
  isClusterInfoSigned,
  kubeadmCertsSecret,
  openKubeadmCert,
  signClusterInfo,
} from "../../server/pki/join-secrets.ts";
import { sharedFiles } from "../../server/pki/master-files.ts";
import { sampleAuthorities, sampleCluster, stackedEtcd } from "../support/cluster-samples.ts";

t.test("tokens and certificate keys have the form that kubeadm takes, and are all different", (t) => {
  const tokens = Array.from({ length: 500 }, createBootstrapToken);
  for (const token of tokens) t.same(parseBootstrapToken(formatBootstrapToken(token)), token);
  t.equal(new Set(tokens.map(({ secret }) => secret)).size, tokens.length);
  const used = new Set(tokens.flatMap(({ secret }) => secret.split("")));
  t.equal(used.size, 36, "every letter and digit comes up");
  t.match(createCertificateKey(), /^[0-9a-f]{64}$/);
  t.not(createCertificateKey(), createCertificateKey());
  t.end();
});

t.test("cluster-info is signed with the secret of the token alone, as openssl does it", (t) => {
  const token = { id: "abcdef", secret: "0123456789abcdef" };
  const kubeconfig = "apiVersion: v1\nkind: Config\n";
  const base64url = (text: string) => Buffer.from(text).toString("base64url");
  const header = base64url('{"alg":"HS256","kid":"abcdef"}');
  const mac = execFileSync("openssl", ["dgst", "-sha256", "-hmac", token.secret, "-binary"], {
    input: `${header}.${base64url(kubeconfig)}`,
  });
  t.equal(signClusterInfo(kubeconfig, token), `${header}..${mac.toString("base64url")}`);
  t.ok(isClusterInfoSigned(kubeconfig, signClusterInfo(kubeconfig, token), token));
  t.notOk(isClusterInfoSigned(`${kubeconfig} `, signClusterInfo(kubeconfig, token), token));
  t.notOk(
    isClusterInfoSigned(kubeconfig, signClusterInfo(kubeconfig, token), { ...token, secret: "0".repeat(16) }),
  );
  t.notOk(isClusterInfoSigned(kubeconfig, "", token));
  t.match(clusterInfoConfigMap(kubeconfig, [token]), {
    metadata: { name: "cluster-info", namespace: "kube-public" },
    data: { kubeconfig, "jws-kubeconfig-abcdef": /^[\w-]+\.\.[\w-]{43}$/ },
  });
  t.end();
});

t.test(
  "the discovery file says where the cluster is and who vouches for it, and nothing secret",
  async (t) => {
    const authorities = await sampleAuthorities(t);
    const text = discoveryKubeconfig(authorities, sampleCluster("1.31.0"));
    const { value } = readYaml(text) as {
      value: { clusters: { cluster: Record<string, string> }[]; users: unknown[] };
    };
    t.same(value.users, []);
    t.equal(value.clusters[0]?.cluster["server"], "https://api.lab:6443");
    t.equal(
      Buffer.from(value.clusters[0]?.cluster["certificate-authority-data"] ?? "", "base64").toString(),
      authorities.cluster.certificatePem,
    );
    t.notMatch(text, /token|client-key|insecure/);
  },
);

t.test(
  "each value of kubeadm-certs is nonce, ciphertext and tag of AES-256-GCM, and opens to the file",
  async (t) => {
    const authorities = await sampleAuthorities(t);
    const key = createCertificateKey();
    const stacked = sampleCluster("1.31.0", { etcd: stackedEtcd });
    const secret = kubeadmCertsSecret(authorities, stacked, key);
    t.match(secret, { type: "Opaque", metadata: { name: "kubeadm-certs", namespace: "kube-system" } });
    t.same(Object.keys(secret.data).sort(), [
      "ca.crt",
      "ca.key",
      "etcd-ca.crt",
      "etcd-ca.key",
      "front-proxy-ca.crt",
      "front-proxy-ca.key",
      "sa.key",
      "sa.pub",
    ]);
    // Opened here by hand, as crypto.go of kubeadm does: Seal(nonce, nonce, data, nil) with a nonce of 12 octets.
    for (const { path, content } of sharedFiles(authorities, stacked)) {
      const name = path.replace("pki/", "").replace("/", "-");
      const octets = Buffer.from(secret.data[name] ?? "", "base64");
      const decipher = createDecipheriv("aes-256-gcm", Buffer.from(key, "hex"), octets.subarray(0, 12));
      decipher.setAuthTag(octets.subarray(-16));
      const plain = Buffer.concat([decipher.update(octets.subarray(12, -16)), decipher.final()]).toString();
      t.equal(plain, content, name);
      t.equal(openKubeadmCert(secret.data[name] ?? "", key), content, `${name}, opened by us`);
      t.equal(
        openKubeadmCert(secret.data[name] ?? "", createCertificateKey()),
        undefined,
        "not by another key",
      );
    }
  },
);

t.test("with etcd outside, masters get its certificate and the key of no authority of it", async (t) => {
  const authorities = await sampleAuthorities(t);
  const secret = kubeadmCertsSecret(authorities, sampleCluster("1.31.0"), createCertificateKey(), {
    certificatePem: "certificate",
    privateKeyPem: "key",
  });
  const names = Object.keys(secret.data).sort();
  t.same(
    names.filter((name) => name.includes("etcd")),
    ["external-etcd-ca.crt", "external-etcd.crt", "external-etcd.key"],
  );
  t.notOk(sharedFiles(authorities, sampleCluster("1.31.0")).some(({ path }) => path === "pki/etcd/ca.key"));
});
