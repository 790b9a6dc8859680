import { spawnSync } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import {
  formatKubernetesVersion,
  type KeyAlgorithm,
  parseKubernetesVersion,
} from "../../server/domain/cluster.ts";
import { initConfiguration, joinConfiguration } from "../../server/kubeadm/configuration.ts";
import { certificatesDirectory } from "../../server/kubeadm/certificate-layout.ts";
import { judgeSigningRequest, kubeletClientSigner } from "../../server/kubeadm/signing-request-policy.ts";
import { readSigningRequest } from "../../server/pki/signing-requests.ts";
import { authorityHash, createBootstrapToken, createCertificateKey } from "../../server/pki/join-secrets.ts";
import { masterFiles, sharedFiles } from "../../server/pki/master-files.ts";
import {
  externalEtcd,
  sampleAuthorities,
  sampleCluster,
  sampleMaster,
  sampleWorker,
  stackedEtcd,
  writeNodeFiles,
} from "../support/cluster-samples.ts";
import { kubernetesProgram } from "../support/kubernetes-programs.ts";
import { temporaryDirectory } from "../support/samples.ts";

/**
 * A real kubeadm reads what we write: ROLLCALL_KUBERNETES=DIRECTORY that has one, of whatever version; the configurations are made for it.
 * Nothing is started and nothing of this machine is changed.
 */
const kubeadm = kubernetesProgram("kubeadm");

function run(...words: string[]) {
  const { status, stdout, stderr } = spawnSync(kubeadm, words, { encoding: "utf8" });
  return { status, stdout, stderr, lines: stdout.split("\n").filter((line) => line !== "") };
}
const version = run("version", "--output", "short").stdout.trim();
const parsed = parseKubernetesVersion(version);
if (!parsed) throw new Error(`${kubeadm} says that it is ${JSON.stringify(version)}`);
t.comment(`kubeadm ${formatKubernetesVersion(parsed)}`);

const cases: readonly [typeof externalEtcd | typeof stackedEtcd, KeyAlgorithm][] = [
  [stackedEtcd, "ECDSA-P256"],
  [stackedEtcd, "RSA-2048"],
  [externalEtcd, "ECDSA-P256"],
];
for (const [etcd, keyAlgorithm] of cases) {
  t.test(`with ${etcd.kind} etcd and ${keyAlgorithm}`, async (t) => {
    const cluster = sampleCluster(version, { etcd, keyAlgorithm, certificateSans: ["10.0.0.9"] });
    const authorities = await sampleAuthorities(t, keyAlgorithm);
    const directory = temporaryDirectory(t);
    const pki = join(directory, "pki");
    const token = createBootstrapToken();
    const write = (name: string, text: string) => {
      const file = join(directory, name);
      // The directory is the same on every machine of a cluster; here it must not be this machine's own.
      writeFileSync(file, text.replaceAll(certificatesDirectory, pki));
      return file;
    };
    const init = write(
      "init.yaml",
      initConfiguration({ cluster, machine: sampleMaster, token, attempt: "b_1" }),
    );
    writeNodeFiles(
      directory,
      await masterFiles(authorities, { cluster, machine: sampleMaster, isFirst: true, now: Date.now() }),
    );

    const certs = run("init", "phase", "certs", "all", "--config", init);
    t.equal(certs.status, 0, certs.stderr);
    const count = etcd.kind === "stacked" ? 10 : 5;
    t.equal(
      certs.lines.filter((line) => /Using existing .* (certificate|certificates|authority)/.test(line))
        .length,
      count,
    );
    t.same(
      certs.lines.filter(
        (line) => !/Using (existing|the existing)|certificateDir folder|External etcd mode/.test(line),
      ),
      [],
      "kubeadm uses every certificate and key that it finds and makes none",
    );
    t.equal(certs.stderr.includes("WARNING"), false, certs.stderr);

    const kubeconfigs = run(
      "init",
      "phase",
      "kubeconfig",
      "all",
      "--config",
      init,
      "--kubeconfig-dir",
      directory,
    );
    t.equal(kubeconfigs.status, 0, kubeconfigs.stderr);
    t.same(
      kubeconfigs.lines.filter((line) => !/Using (existing kubeconfig file|kubeconfig folder)/.test(line)),
      [],
      "and every kubeconfig",
    );

    const images = run("config", "images", "list", "--config", init);
    t.equal(images.status, 0, images.stderr);
    t.match(images.stdout, new RegExp(`kube-apiserver:${version.replaceAll(".", "\\.")}`));
    t.same(
      images.stderr.split("\n").filter((line) => /unknown field|strict|deprecated/i.test(line)),
      [],
      "no key of ours is unknown or deprecated",
    );
    for (const [name, input] of [
      ["file", { role: "worker", discovery: { kind: "file", path: join(directory, "admin.conf") } }],
      [
        "token",
        {
          role: "worker",
          discovery: { kind: "token", authorityHash: authorityHash(authorities.cluster.certificatePem) },
        },
      ],
      [
        "master",
        {
          role: "control-plane",
          discovery: { kind: "token", authorityHash: authorityHash(authorities.cluster.certificatePem) },
          certificateKey: createCertificateKey(),
        },
      ],
    ] as const) {
      const joinFile = write(
        `join-${name}.yaml`,
        joinConfiguration({ cluster, machine: sampleWorker, token, ...input }),
      );
      const migrated = run("config", "migrate", "--old-config", joinFile);
      t.equal(migrated.status, 0, `${name}: ${migrated.stderr}`);
      t.equal(/unknown field|strict decoding/i.test(migrated.stderr), false, migrated.stderr);
    }
  });
}

t.test("of the shared files alone it makes certificates that ours verify", async (t) => {
  const cluster = sampleCluster(version, { etcd: stackedEtcd });
  const authorities = await sampleAuthorities(t);
  const directory = temporaryDirectory(t);
  const pki = join(directory, "pki");
  writeNodeFiles(directory, sharedFiles(authorities, cluster));
  const init = join(directory, "init.yaml");
  const token = createBootstrapToken();
  writeFileSync(
    init,
    initConfiguration({ cluster, machine: sampleMaster, token, attempt: "b_1" }).replaceAll(
      certificatesDirectory,
      pki,
    ),
  );
  const certs = run("init", "phase", "certs", "all", "--config", init);
  t.equal(certs.status, 0, certs.stderr);
  t.equal(certs.lines.filter((line) => /Generating ".*" certificate and key/.test(line)).length, 7);
  for (const [authority, path] of [
    ["ca", "apiserver"],
    ["front-proxy-ca", "front-proxy-client"],
    ["etcd/ca", "etcd/peer"],
  ] as const) {
    const { stdout } = spawnSync(
      "openssl",
      ["verify", "-CAfile", join(pki, `${authority}.crt`), join(pki, `${path}.crt`)],
      { encoding: "utf8" },
    );
    t.match(stdout, /: OK/, path);
  }
});

t.test(
  "it refuses a certificate of another authority, so that 'Using existing' means something",
  async (t) => {
    const directory = temporaryDirectory(t);
    const cluster = sampleCluster(version, { etcd: stackedEtcd });
    const ours = await sampleAuthorities(t);
    const others = await sampleAuthorities(t);
    const input = { cluster, machine: sampleMaster, isFirst: true, now: Date.now() };
    writeNodeFiles(directory, await masterFiles(others, input));
    writeNodeFiles(directory, sharedFiles(ours, cluster));
    const init = join(directory, "init.yaml");
    const token = createBootstrapToken();
    writeFileSync(
      init,
      initConfiguration({ cluster, machine: sampleMaster, token, attempt: "b_1" }).replaceAll(
        certificatesDirectory,
        join(directory, "pki"),
      ),
    );
    const certs = run("init", "phase", "certs", "all", "--config", init);
    t.not(certs.status, 0);
    t.match(certs.stderr, /not signed by/);
  },
);

t.test("requests that kubeadm writes are read as they are meant", async (t) => {
  const directory = temporaryDirectory(t);
  const cluster = sampleCluster(version, { etcd: stackedEtcd });
  const init = join(directory, "init.yaml");
  const token = createBootstrapToken();
  writeFileSync(
    init,
    initConfiguration({ cluster, machine: sampleMaster, token, attempt: "b_1" }).replaceAll(
      certificatesDirectory,
      join(directory, "pki"),
    ),
  );
  const made = run(
    "certs",
    "generate-csr",
    "--config",
    init,
    "--kubeconfig-dir",
    directory,
    "--cert-dir",
    join(directory, "pki"),
  );
  t.equal(made.status, 0, made.stderr);
  const requestOf = (name: string) => readSigningRequest(readFileSync(join(directory, name), "utf8"));
  const kubelet = await requestOf("kubelet.conf.csr");
  const request = {
    name: "csr-1",
    username: `system:bootstrap:${token.id}`,
    signerName: kubeletClientSigner,
    usages: ["digital signature", "key encipherment", "client auth"],
  };
  const joins = [{ tokenId: token.id, machine: sampleMaster.name }];
  t.same(judgeSigningRequest({ ...request, requested: kubelet }, joins), { verdict: "approve" });
  const server = await requestOf("pki/apiserver.csr");
  t.same(server.commonNames, ["kube-apiserver"]);
  t.ok(["dns:s1", "dns:api.lab", "ip:10.0.0.11"].every((name) => server.alternativeNames.includes(name)));
});
