import { execFileSync, spawnSync } from "node:child_process";
import { readdirSync, statSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { readYaml } from "../../server/yaml/read-yaml.ts";
import type { KeyAlgorithm } from "../../server/domain/cluster.ts";
import { hourMs } from "../../server/pki/certificates.ts";
import { authorityHash } from "../../server/pki/join-secrets.ts";
import { issueServerClient, masterFiles } from "../../server/pki/master-files.ts";
import {
  externalEtcd,
  sampleAuthorities,
  sampleCluster,
  sampleMaster,
  stackedEtcd,
  writeNodeFiles,
} from "../support/cluster-samples.ts";
import { temporaryDirectory } from "../support/samples.ts";

const openssl = (words: readonly string[], input?: string) =>
  execFileSync("openssl", words, { encoding: "utf8", ...(input === undefined ? {} : { input }) });

/** What a certificate says, in openssl's words. */
function read(pem: string) {
  const text = openssl(
    [
      "x509",
      "-noout",
      "-subject",
      "-nameopt",
      "RFC2253",
      "-startdate",
      "-pubkey",
      "-ext",
      "keyUsage,extendedKeyUsage,subjectAltName,basicConstraints",
    ],
    pem,
  );
  const valueAfter = (title: string) =>
    new RegExp(`${title}:( critical)?\\s*\\n\\s+(.+)`).exec(text)?.[2]?.trim() ?? "";
  return {
    subject: /^subject=(.*)$/m.exec(text)?.[1] ?? "",
    keyUsage: valueAfter("X509v3 Key Usage"),
    isKeyUsageCritical: text.includes("X509v3 Key Usage: critical"),
    extended: valueAfter("X509v3 Extended Key Usage"),
    names: valueAfter("X509v3 Subject Alternative Name"),
    constraints: valueAfter("X509v3 Basic Constraints"),
    begins: /^notBefore=(.*)$/m.exec(text)?.[1],
    publicKey: /^-----BEGIN PUBLIC KEY-----[^]*?-----END PUBLIC KEY-----\n/m.exec(text)?.[0],
  };
}

const client = "TLS Web Client Authentication";
const server = "TLS Web Server Authentication";
const authorityUsages = "Digital Signature, Key Encipherment, Certificate Sign";
const leafUsages = "Digital Signature, Key Encipherment";
const memberNames =
  "DNS:s1, DNS:localhost, IP Address:10.0.0.11, IP Address:127.0.0.1, IP Address:0:0:0:0:0:0:0:1";

/** Every certificate of kubeadm's layout: signer, subject, extended usages, names. `1.28` and `1.29` differ in groups. */
const rows: Readonly<
  Record<string, readonly [signer: string, subject: string, extended: string, names: string]>
> = {
  "pki/ca": ["pki/ca", "CN=kubernetes", "", "DNS:kubernetes"],
  "pki/front-proxy-ca": ["pki/front-proxy-ca", "CN=front-proxy-ca", "", "DNS:front-proxy-ca"],
  "pki/etcd/ca": ["pki/etcd/ca", "CN=etcd-ca", "", "DNS:etcd-ca"],
  "pki/apiserver": [
    "pki/ca",
    "CN=kube-apiserver",
    server,
    "DNS:s1, DNS:kubernetes, DNS:kubernetes.default, DNS:kubernetes.default.svc, DNS:kubernetes.default.svc.cluster.local, " +
      "DNS:api.lab, DNS:localhost, DNS:master.lab, IP Address:10.96.0.1, IP Address:10.0.0.11, IP Address:127.0.0.1, IP Address:10.0.0.9",
  ],
  "pki/apiserver-kubelet-client": ["pki/ca", "CN=kube-apiserver-kubelet-client,O=GROUP", client, ""],
  "pki/front-proxy-client": ["pki/front-proxy-ca", "CN=front-proxy-client", client, ""],
  "pki/apiserver-etcd-client": ["pki/etcd/ca", "CN=kube-apiserver-etcd-clientETCDGROUP", client, ""],
  "pki/etcd/server": ["pki/etcd/ca", "CN=s1", `${server}, ${client}`, memberNames],
  "pki/etcd/peer": ["pki/etcd/ca", "CN=s1", `${server}, ${client}`, memberNames],
  "pki/etcd/healthcheck-client": ["pki/etcd/ca", "CN=kube-etcd-healthcheck-clientETCDGROUP", client, ""],
};

/** Kubeconfigs: server, subject. */
const kubeconfigRows: Readonly<Record<string, readonly [server: string, subject: string]>> = {
  "admin.conf": ["https://api.lab:6443", "CN=kubernetes-admin,O=GROUP"],
  "super-admin.conf": ["https://api.lab:6443", "CN=kubernetes-super-admin,O=system:masters"],
  "controller-manager.conf": ["https://10.0.0.11:6443", "CN=system:kube-controller-manager"],
  "scheduler.conf": ["https://10.0.0.11:6443", "CN=system:kube-scheduler"],
  "kubelet.conf": ["https://api.lab:6443", "CN=system:node:s1,O=system:nodes"],
};

interface KubeconfigContent {
  clusters: [{ cluster: { server: string; "certificate-authority-data": string } }];
  users: [{ name: string; user: { "client-certificate-data": string; "client-key-data": string } }];
  "current-context": string;
}
const decode = (text: string) => Buffer.from(text, "base64").toString();

/** Since 1.33 a master's kubelet speaks to the API server beside it. */
const localKubelet = ["https://10.0.0.11:6443", "CN=system:node:s1,O=system:nodes"] as const;

const certificateSans = ["master.lab", "10.0.0.9"];
const cases: readonly [version: string, etcd: typeof externalEtcd | typeof stackedEtcd, KeyAlgorithm][] = [
  ["1.20.2", stackedEtcd, "ECDSA-P256"],
  ["1.28.15", stackedEtcd, "RSA-2048"],
  ["1.29.0", stackedEtcd, "ECDSA-P256"],
  ["1.32.3", externalEtcd, "ECDSA-P256"],
  ["1.34.1", externalEtcd, "ECDSA-P256"],
];
for (const [version, etcd, keyAlgorithm] of cases) {
  t.test(
    `every file of kubeadm's layout for ${version} with ${etcd.kind} etcd and ${keyAlgorithm}`,
    async (t) => {
      const cluster = sampleCluster(version, { etcd, keyAlgorithm, certificateSans });
      const isNew = cluster.version.minor >= 29;
      const authorities = await sampleAuthorities(t, keyAlgorithm);
      const directory = temporaryDirectory(t);
      const files = await masterFiles(authorities, {
        cluster,
        machine: sampleMaster,
        isFirst: true,
        now: Date.now(),
      });
      writeNodeFiles(directory, files);
      const contentOf = (path: string) => files.find((file) => file.path === path)?.content ?? "";
      const subjectFor = (subject: string) =>
        subject
          .replace("ETCDGROUP", isNew ? "" : ",O=system:masters")
          .replace("GROUP", isNew ? "kubeadm:cluster-admins" : "system:masters");

      const paths = Object.keys(rows).filter(
        (path) => etcd.kind === "stacked" || !/etcd\/(server|peer|healthcheck)/.test(path),
      );
      const names = Object.keys(kubeconfigRows).filter((name) => isNew || name !== "super-admin.conf");
      t.same(
        files.map(({ path }) => path).sort(),
        [
          ...paths.flatMap((path) =>
            path === "pki/etcd/ca" && etcd.kind === "external"
              ? [`${path}.crt`]
              : [`${path}.crt`, `${path}.key`],
          ),
          "pki/sa.key",
          "pki/sa.pub",
          ...names,
        ].sort(),
        "these files and no others",
      );
      const beginnings = new Map<string, string | undefined>();
      for (const path of paths) {
        const [signer, subject, extended, sans] = rows[path] ?? ["", "", "", ""];
        const pem = contentOf(`${path}.crt`);
        const isAuthority = signer === path;
        const { begins, publicKey, ...certificate } = read(pem);
        t.same(
          certificate,
          {
            subject: subjectFor(subject),
            keyUsage: isAuthority ? authorityUsages : leafUsages,
            isKeyUsageCritical: true,
            extended,
            names: sans,
            constraints: isAuthority ? "CA:TRUE" : "CA:FALSE",
          },
          path,
        );
        const purpose = extended.startsWith(server) ? "sslserver" : "sslclient";
        const verify = [
          "verify",
          "-x509_strict",
          ...(isAuthority ? [] : ["-purpose", purpose]),
          "-CAfile",
          join(directory, `${signer}.crt`),
        ];
        t.match(
          openssl([...verify, join(directory, `${path}.crt`)]),
          /: OK/,
          `${path} is signed by ${signer}`,
        );
        if (contentOf(`${path}.key`))
          t.equal(
            openssl(["pkey", "-pubout"], contentOf(`${path}.key`)),
            publicKey,
            `${path}.key is its key`,
          );
        if (isAuthority) beginnings.set(signer, begins);
        t.ok(begins);
        t.equal(begins, beginnings.get(signer), `${path} begins with its authority`);
      }
      t.equal(openssl(["pkey", "-pubout"], contentOf("pki/sa.key")), contentOf("pki/sa.pub"), "sa.pub");
      t.match(contentOf("pki/sa.key"), /^-----BEGIN RSA PRIVATE KEY-----/);
      for (const name of names) {
        const row =
          name === "kubelet.conf" && cluster.version.minor >= 33 ? localKubelet : kubeconfigRows[name];
        const [url, subject] = row ?? ["", ""];
        const config = readYaml(contentOf(name)).value as KubeconfigContent;
        const { user, name: userName } = config.users[0];
        t.equal(config.clusters[0].cluster.server, url, `${name}: server`);
        t.equal(
          decode(config.clusters[0].cluster["certificate-authority-data"]),
          contentOf("pki/ca.crt"),
          `${name}: authority`,
        );
        const certificate = decode(user["client-certificate-data"]);
        t.match(
          read(certificate),
          { subject: subjectFor(subject), extended: client, keyUsage: leafUsages, names: "" },
          `${name}: certificate`,
        );
        t.equal(config["current-context"], `${userName}@kubernetes`, `${name}: context`);
        t.equal(
          openssl(["pkey", "-pubout"], decode(user["client-key-data"])),
          openssl(["x509", "-noout", "-pubkey"], certificate),
          `${name}: key`,
        );
      }
      const modes = (below: string): string[] =>
        readdirSync(join(directory, below), { withFileTypes: true }).flatMap((entry) => {
          const path = join(below, entry.name);
          return entry.isDirectory()
            ? modes(path)
            : [`${path} ${(statSync(join(directory, path)).mode & 0o777).toString(8)}`];
        });
      for (const line of modes("."))
        t.match(line, /\.(crt|pub) 644$|\.(key|conf) 600$/, "keys and kubeconfigs are for root alone");
    },
  );
}

t.test("a certificate of one authority is nothing to another", async (t) => {
  const directory = temporaryDirectory(t);
  const authorities = await sampleAuthorities(t);
  const cluster = sampleCluster("1.31.0", { etcd: stackedEtcd });
  writeNodeFiles(
    directory,
    await masterFiles(authorities, { cluster, machine: sampleMaster, isFirst: false, now: Date.now() }),
  );
  const verify = (authority: string, path: string) =>
    spawnSync("openssl", ["verify", "-CAfile", join(directory, authority), join(directory, path)]).status;
  t.equal(verify("pki/ca.crt", "pki/apiserver.crt"), 0);
  t.not(verify("pki/etcd/ca.crt", "pki/apiserver.crt"), 0);
  t.not(verify("pki/ca.crt", "pki/front-proxy-client.crt"), 0);
  t.not(verify("pki/front-proxy-ca.crt", "pki/etcd/peer.crt"), 0);
});

t.test(
  "a master that joins has no kubeconfig of its kubelet, which kubeadm refuses to find, and none that may do all",
  async (t) => {
    const files = await masterFiles(await sampleAuthorities(t), {
      cluster: sampleCluster("1.31.0"),
      machine: sampleMaster,
      isFirst: false,
      now: Date.now(),
    });
    t.same(
      files.map(({ path }) => path).filter((path) => path.endsWith(".conf")),
      ["admin.conf", "controller-manager.conf", "scheduler.conf"],
    );
  },
);

t.test("the authority's hash is openssl's digest of its public key", async (t) => {
  for (const algorithm of ["ECDSA-P256", "RSA-2048"] as const) {
    const { cluster } = await sampleAuthorities(t, algorithm);
    const directory = temporaryDirectory(t);
    writeNodeFiles(directory, [{ path: "ca.crt", mode: 0o644, content: cluster.certificatePem }]);
    const digest = execFileSync(
      "sh",
      [
        "-c",
        `openssl x509 -pubkey -noout -in "$0" | openssl pkey -pubin -outform der | openssl dgst -sha256 -hex`,
        join(directory, "ca.crt"),
      ],
      { encoding: "utf8" },
    );
    t.equal(authorityHash(cluster.certificatePem), `sha256:${digest.trim().split(" ").at(-1)}`);
    t.match(authorityHash(cluster.certificatePem), /^sha256:[0-9a-f]{64}$/);
  }
});

t.test(
  "the server's own certificates end after ten minutes, and may do all before there are rules only",
  async (t) => {
    const authorities = await sampleAuthorities(t);
    const cluster = sampleCluster("1.31.0");
    const now = Date.now();
    for (const [rights, group] of [
      ["bootstrap", "system:masters"],
      ["operator", "rollcall:operators"],
    ] as const) {
      const { certificatePem } = await issueServerClient(authorities, { cluster, now, rights });
      t.equal(read(certificatePem).subject, `CN=rollcall,O=${group}`);
      const end = Date.parse(
        openssl(["x509", "-noout", "-enddate"], certificatePem).slice("notAfter=".length),
      );
      t.ok(end > now + 9 * 60_000 && end <= now + 10 * 60_000);
    }
  },
);

t.test("no certificate outlives its authority", async (t) => {
  const authorities = await sampleAuthorities(t);
  const cluster = sampleCluster("1.31.0");
  const endOf = (pem: string) => openssl(["x509", "-noout", "-enddate"], pem);
  const nearTheEnd = Date.now() + 3650 * 24 * hourMs - hourMs;
  const files = await masterFiles(authorities, {
    cluster,
    machine: sampleMaster,
    isFirst: true,
    now: nearTheEnd,
  });
  const certificate = files.find(({ path }) => path === "pki/apiserver.crt")?.content ?? "";
  t.equal(endOf(certificate), endOf(authorities.cluster.certificatePem));
});
