import { execFileSync, spawnSync } from "node:child_process";
import { once } from "node:events";
import { readFileSync, writeFileSync } from "node:fs";
import { type AddressInfo, connect, createServer, type Socket } from "node:net";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import type { Test } from "tap";
import { endpointUrl, etcdMemberProfile } from "../../server/kubeadm/certificate-layout.ts";
import { formatKubeconfig, type KubeconfigUser } from "../../server/kubeadm/kubeconfig.ts";
import { initConfiguration } from "../../server/kubeadm/configuration.ts";
import { kubeletClientSigner } from "../../server/kubeadm/signing-request-policy.ts";
import type { Target } from "../../server/kubernetes/target.ts";
import { createBootstrapToken } from "../../server/pki/join-secrets.ts";
import { issueWithKey, masterFiles } from "../../server/pki/master-files.ts";
import { sampleAuthorities, sampleCluster, sampleMaster, writeNodeFiles } from "./cluster-samples.ts";
import { kubernetesProgram } from "./kubernetes-programs.ts";
import { createLan } from "./namespaces.ts";
import { temporaryDirectory } from "./samples.ts";

export type ControlPlane = Awaited<ReturnType<typeof startControlPlane>>;

/**
 * A real etcd, API server and controller manager on nothing but our files, as the master s1 in a network namespace. Needs root,
 * ROLLCALL_KUBERNETES and Debian's etcd (in ROLLCALL_ETCD where it is not on the PATH).
 * @param controllers of kube-controller-manager, by name
 */
export async function startControlPlane(
  t: Test,
  { controllers }: { readonly controllers: readonly string[] },
) {
  const directory = temporaryDirectory(t);
  const file = (name: string) => join(directory, name);
  const version = execFileSync(kubernetesProgram("kubeadm"), ["version", "-o", "short"], {
    encoding: "utf8",
  }).trim();
  const cluster = sampleCluster(version, {
    endpoint: `${sampleMaster.address}:6443`,
    etcd: { kind: "external", endpoints: [`https://${sampleMaster.address}:2379`] },
  });
  const authorities = await sampleAuthorities(t);
  const now = Date.now();
  writeNodeFiles(
    directory,
    await masterFiles(authorities, { cluster, machine: sampleMaster, isFirst: true, now }),
  );
  const member = await issueWithKey(authorities.etcd, etcdMemberProfile(sampleMaster), {
    cluster,
    now,
    lifeMs: 3_600_000,
  });
  writeFileSync(file("etcd.crt"), member.certificatePem);
  writeFileSync(file("etcd.key"), member.privateKeyPem, { mode: 0o600 });

  const lan = createLan(t, { master: { m0: `lan ${sampleMaster.address}/24` } });
  const start = (name: string, words: string[]) => {
    const child = lan.start("master", [
      "sh",
      "-c",
      `exec "$@" > ${file(`${name}.log`)} 2>&1`,
      name,
      ...words,
    ]);
    child.on("exit", (code) => {
      if (code) t.comment(`${name} ended: ${readFileSync(file(`${name}.log`), "utf8").slice(-2000)}`);
    });
  };
  const pki = (name: string) => file(`pki/${name}`);
  const etcdUrl = `https://${sampleMaster.address}:2379`;
  start("etcd", [
    process.env["ROLLCALL_ETCD"] ?? "etcd",
    `--data-dir=${file("etcd")}`,
    `--listen-client-urls=${etcdUrl}`,
    `--advertise-client-urls=${etcdUrl}`,
    `--cert-file=${file("etcd.crt")}`,
    `--key-file=${file("etcd.key")}`,
    "--client-cert-auth",
    `--trusted-ca-file=${pki("etcd/ca.crt")}`,
  ]);
  start("apiserver", [
    kubernetesProgram("kube-apiserver"),
    `--advertise-address=${sampleMaster.address}`,
    "--authorization-mode=Node,RBAC",
    `--client-ca-file=${pki("ca.crt")}`,
    "--enable-bootstrap-token-auth=true",
    `--etcd-cafile=${pki("etcd/ca.crt")}`,
    `--etcd-certfile=${pki("apiserver-etcd-client.crt")}`,
    `--etcd-keyfile=${pki("apiserver-etcd-client.key")}`,
    `--etcd-servers=${etcdUrl}`,
    `--proxy-client-cert-file=${pki("front-proxy-client.crt")}`,
    `--proxy-client-key-file=${pki("front-proxy-client.key")}`,
    `--requestheader-client-ca-file=${pki("front-proxy-ca.crt")}`,
    "--service-account-issuer=https://kubernetes.default.svc.cluster.local",
    `--service-account-key-file=${pki("sa.pub")}`,
    `--service-account-signing-key-file=${pki("sa.key")}`,
    "--service-cluster-ip-range=10.96.0.0/12",
    `--tls-cert-file=${pki("apiserver.crt")}`,
    `--tls-private-key-file=${pki("apiserver.key")}`,
    "--secure-port=6443",
  ]);

  const inMaster = (program: string, words: readonly string[], input = "") => {
    const { status, stdout, stderr } = spawnSync(
      "ip",
      ["netns", "exec", lan.namespaceOf("master"), kubernetesProgram(program), ...words],
      { encoding: "utf8", input },
    );
    return { status, stdout, stderr };
  };
  const kubectl = (kubeconfig: string, words: readonly string[], input = "") =>
    inMaster(
      "kubectl",
      [`--kubeconfig=${file(kubeconfig)}`, `--cache-dir=${file("cache")}`, ...words],
      input,
    );
  /** Asks until it is so; the limit is for a machine that is slow, not a condition. */
  const until = async (what: string, isSo: () => boolean | Promise<boolean>) => {
    const limit = Date.now() + 120_000;
    while (!(await isSo())) {
      if (Date.now() > limit) throw new Error(`after two minutes it is not yet so: ${what}`);
      await delay(500);
    }
    t.pass(what);
  };
  await until(
    "the API server is ready, over etcd with client certificates",
    () => kubectl("admin.conf", ["get", "--raw", "/readyz"]).stdout === "ok",
  );
  start("controllers", [
    kubernetesProgram("kube-controller-manager"),
    `--kubeconfig=${file("controller-manager.conf")}`,
    `--cluster-signing-cert-file=${pki("ca.crt")}`,
    `--cluster-signing-key-file=${pki("ca.key")}`,
    `--root-ca-file=${pki("ca.crt")}`,
    `--service-account-private-key-file=${pki("sa.key")}`,
    `--controllers=${controllers.join(",")}`,
    "--leader-elect=false",
    "--use-service-account-credentials=true",
    "--cluster-signing-duration=24h",
  ]);

  return {
    file,
    pki,
    cluster,
    authorities,
    /** The network that it runs in, as the host `master`. */
    lan,
    kubectl,
    kubeadm: (...words: string[]) => inMaster("kubeadm", words),
    until,
    /** Writes a kubeconfig for this cluster. */
    writeKubeconfig(name: string, user: KubeconfigUser): void {
      writeFileSync(
        file(name),
        formatKubeconfig({
          clusterName: cluster.name,
          server: endpointUrl(cluster),
          authorityPem: authorities.cluster.certificatePem,
          user,
        }),
        { mode: 0o600 },
      );
    },
    /** What `kubeadm init` does in the cluster once its API server runs. @param prepare changes the configuration's text */
    initializeCluster(prepare: (text: string) => string = (text) => text): void {
      const token = createBootstrapToken();
      const config = initConfiguration({ cluster, machine: sampleMaster, token, attempt: "b_0" });
      writeFileSync(file("init.yaml"), prepare(config));
      // kubeadm notes the runtime's socket at the Node, and waits for one.
      const labels = { "kubernetes.io/hostname": sampleMaster.name };
      kubectl(
        "admin.conf",
        ["apply", "-f", "-"],
        JSON.stringify({ apiVersion: "v1", kind: "Node", metadata: { name: sampleMaster.name, labels } }),
      );
      for (const phase of [["upload-config", "all"], ["bootstrap-token"]]) {
        const { status, stderr } = inMaster("kubeadm", [
          "init",
          "phase",
          ...phase,
          "--config",
          file("init.yaml"),
          `--kubeconfig=${file("admin.conf")}`,
        ]);
        t.equal(status, 0, `kubeadm init phase ${phase.join(" ")} ${stderr.slice(0, 500)}`);
      }
    },
    /** Makes a key `<name>.key` and asks the cluster for a certificate of it, as somebody who has the kubeconfig. */
    ask(kubeconfig: string, name: string, subject: string, signerName: string = kubeletClientSigner) {
      const key = "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes".split(" ");
      const words = ["req", "-new", ...key, "-keyout", file(`${name}.key`), "-subj", subject];
      const request = execFileSync("openssl", words, { stdio: ["ignore", "pipe", "ignore"] });
      return kubectl(
        kubeconfig,
        ["create", "-f", "-"],
        JSON.stringify({
          apiVersion: "certificates.k8s.io/v1",
          kind: "CertificateSigningRequest",
          metadata: { name },
          spec: {
            request: request.toString("base64"),
            signerName,
            usages: ["digital signature", "key encipherment", "client auth"],
          },
        }),
      );
    },
    /** A way to the API server from outside of its namespace: a port on loopback. */
    reachable: () => relay(t, lan, file("relay"), { host: sampleMaster.address, port: 6443 }),
  };
}

/** Inside of the namespace: from a socket in the file system, which all namespaces see, to the API server. */
const innerRelay = `const { connect, createServer } = require("node:net");
const [path, host, port] = process.argv.slice(1);
createServer((socket) => {
  const onwards = connect(Number(port), host);
  for (const [from, to] of [[socket, onwards], [onwards, socket]]) from.on("error", () => to.destroy()).pipe(to);
}).listen(path, () => console.log("listening"));`;

async function relay(
  t: Test,
  lan: ReturnType<typeof createLan>,
  path: string,
  { host, port }: Target,
): Promise<Target> {
  const child = lan.start("master", [process.execPath, "-e", innerRelay, path, host, String(port)]);
  if (!child.stdout) throw new Error("no standard output");
  await once(child.stdout, "data");
  const sockets = new Set<Socket>();
  const outer = createServer((socket) => {
    const onwards = connect(path);
    for (const [from, to] of [
      [socket, onwards],
      [onwards, socket],
    ] as const) {
      sockets.add(from);
      from
        .on("error", () => to.destroy())
        .on("close", () => sockets.delete(from))
        .pipe(to);
    }
  });
  await new Promise<void>((resolve) => outer.listen(0, "127.0.0.1", resolve));
  t.teardown(() => {
    outer.close();
    for (const socket of sockets) socket.destroy();
  });
  return { host: "127.0.0.1", port: (outer.address() as AddressInfo).port };
}
