import {
  createHash,
  createHmac,
  randomBytes,
  randomInt,
  timingSafeEqual,
  X509Certificate,
} from "node:crypto";
import type { ClusterSpec } from "../domain/cluster.ts";
import type { BootstrapToken } from "../kubeadm/bootstrap-token.ts";
import { endpointUrl } from "../kubeadm/certificate-layout.ts";
import { formatKubeconfig } from "../kubeadm/kubeconfig.ts";
import type { ClusterAuthorities } from "./cluster-authorities.ts";
import { sharedFiles } from "./master-files.ts";
import { decrypt, encrypt } from "./sealing.ts";

/** `sha256:<hex>` of the authority's public key (its SubjectPublicKeyInfo): what `kubeadm join` pins. */
export function authorityHash(certificatePem: string): string {
  const spki = new X509Certificate(certificatePem).publicKey.export({ type: "spki", format: "der" });
  return `sha256:${createHash("sha256").update(spki).digest("hex")}`;
}

const tokenLetters = "abcdefghijklmnopqrstuvwxyz0123456789";
const letters = (count: number) =>
  Array.from({ length: count }, () => tokenLetters[randomInt(tokenLetters.length)]).join("");

/** A token for one machine and one boot: 31 bits of name, 82 of secret. */
export function createBootstrapToken(): BootstrapToken {
  return { id: letters(6), secret: letters(16) };
}

/** The key under which kubeadm keeps the shared files in the cluster: 64 hex digits. */
export function createCertificateKey(): string {
  return randomBytes(32).toString("hex");
}

/** Only cluster and authority: what a machine finds the API server by, and checks it against. No secret. */
export function discoveryKubeconfig(
  authorities: Pick<ClusterAuthorities, "cluster">,
  cluster: ClusterSpec,
): string {
  return formatKubeconfig({
    clusterName: cluster.name,
    server: endpointUrl(cluster),
    authorityPem: authorities.cluster.certificatePem,
  });
}

const base64url = (text: string) => Buffer.from(text).toString("base64url");

/**
 * The detached JWS (RFC 7515 app. F, HS256) that vouches for a cluster-info to whoever has the token: `<header>..<signature>`. The key is
 * the secret part of the token alone.
 */
export function signClusterInfo(kubeconfig: string, { id, secret }: BootstrapToken): string {
  const header = base64url(JSON.stringify({ alg: "HS256", kid: id }));
  const signature = createHmac("sha256", secret)
    .update(`${header}.${base64url(kubeconfig)}`)
    .digest("base64url");
  return `${header}..${signature}`;
}

/** Whether a detached JWS is of this token and over this text. */
export function isClusterInfoSigned(kubeconfig: string, jws: string, token: BootstrapToken): boolean {
  const right = Buffer.from(signClusterInfo(kubeconfig, token));
  const given = Buffer.from(jws);
  return right.length === given.length && timingSafeEqual(right, given);
}

/** The ConfigMap `kube-public/cluster-info`, signed for each token that may look. */
export function clusterInfoConfigMap(kubeconfig: string, tokens: readonly BootstrapToken[]) {
  return {
    apiVersion: "v1",
    kind: "ConfigMap",
    metadata: { name: "cluster-info", namespace: "kube-public" },
    data: {
      kubeconfig,
      ...Object.fromEntries(
        tokens.map((token) => [`jws-kubeconfig-${token.id}`, signClusterInfo(kubeconfig, token)]),
      ),
    },
  };
}

/** Names of the Secret for the files: `etcd/ca.crt` is `etcd-ca.crt`, and with an external etcd its three have names of their own. */
const externalEtcdNames: Readonly<Record<string, string>> = {
  "pki/etcd/ca.crt": "external-etcd-ca.crt",
  "pki/apiserver-etcd-client.crt": "external-etcd.crt",
  "pki/apiserver-etcd-client.key": "external-etcd.key",
};

/**
 * The Secret `kube-system/kubeadm-certs`, by which `kubeadm join --control-plane --certificate-key` gets the shared files: each value is
 * nonce, ciphertext and tag of AES-256-GCM.
 * @param etcdClient the API server's certificate for an external etcd
 */
export function kubeadmCertsSecret(
  authorities: ClusterAuthorities,
  cluster: ClusterSpec,
  certificateKey: string,
  etcdClient?: { readonly certificatePem: string; readonly privateKeyPem: string },
) {
  const key = Buffer.from(certificateKey, "hex");
  const isExternal = cluster.etcd.kind === "external";
  const files = [
    ...sharedFiles(authorities, cluster).map(({ path, content }) => ({ path, content })),
    ...(isExternal && etcdClient
      ? [
          { path: "pki/apiserver-etcd-client.crt", content: etcdClient.certificatePem },
          { path: "pki/apiserver-etcd-client.key", content: etcdClient.privateKeyPem },
        ]
      : []),
  ];
  const nameOf = (path: string) =>
    (isExternal ? externalEtcdNames[path] : undefined) ?? path.slice("pki/".length).replace("/", "-");
  return {
    apiVersion: "v1",
    kind: "Secret",
    type: "Opaque",
    metadata: { name: "kubeadm-certs", namespace: "kube-system" },
    data: Object.fromEntries(
      files.map(({ path, content }) => [nameOf(path), encrypt(key, Buffer.from(content)).toString("base64")]),
    ),
  };
}

/** One value of that Secret, opened. @returns undefined when the key is another */
export function openKubeadmCert(value: string, certificateKey: string): string | undefined {
  return decrypt(Buffer.from(certificateKey, "hex"), Buffer.from(value, "base64"))?.toString();
}
