import { createPublicKey } from "node:crypto";
import type { DurationMs, EpochMs } from "../domain/capabilities.ts";
import type { ClusterMachine, ClusterSpec } from "../domain/cluster.ts";
import {
  administratorKubeconfig,
  authorityFiles,
  certificateFiles,
  type CertificateProfile,
  clientProfile,
  type KubeconfigFile,
  kubeconfigFiles,
  privilegedGroup,
} from "../kubeadm/certificate-layout.ts";
import { formatKubeconfig } from "../kubeadm/kubeconfig.ts";
import { type Authority, dayMs, issueCertificate, validityFrom } from "./certificates.ts";
import type { ClusterAuthorities } from "./cluster-authorities.ts";
import { createPrivateKey, privateKeyPem, publicKeyPem } from "./key-pairs.ts";

/** A file of a machine; one of mode 0600 holds a secret, which is never logged. */
export interface NodeFile {
  /** Below /etc/kubernetes. */
  readonly path: string;
  readonly mode: 0o600 | 0o644;
  readonly content: string;
}

export interface IssuedCertificate {
  readonly certificatePem: string;
  readonly privateKeyPem: string;
}

/** How long a master's certificates last, ms: kubeadm's year, since nothing renews them while the machine runs. */
export const masterLifeMs: DurationMs = 365 * dayMs;
/** How long the server's own certificates last, ms. */
export const serverClientLifeMs: DurationMs = 10 * 60_000;

const secret = (path: string, content: string): NodeFile => ({ path, mode: 0o600, content });
const open = (path: string, content: string): NodeFile => ({ path, mode: 0o644, content });

/** A new key and its certificate. */
export async function issueWithKey(
  authority: Authority,
  profile: CertificateProfile,
  {
    cluster,
    now,
    lifeMs,
  }: {
    readonly cluster: Pick<ClusterSpec, "keyAlgorithm">;
    readonly now: EpochMs;
    readonly lifeMs: DurationMs;
  },
): Promise<IssuedCertificate> {
  const key = await createPrivateKey(cluster.keyAlgorithm);
  return {
    certificatePem: await issueCertificate(
      authority,
      profile,
      createPublicKey(key),
      validityFrom(now, lifeMs, authority),
    ),
    privateKeyPem: privateKeyPem(key),
  };
}

/** What all masters share and kubeadm makes the rest from; with an external etcd its authority's key stays with the server. */
export function sharedFiles(authorities: ClusterAuthorities, cluster: ClusterSpec): NodeFile[] {
  const authority = (name: keyof typeof authorityFiles) =>
    open(`pki/${authorityFiles[name].path}.crt`, authorities[name].certificatePem);
  const key = (name: keyof typeof authorityFiles) =>
    secret(`pki/${authorityFiles[name].path}.key`, privateKeyPem(authorities[name].privateKey));
  return [
    authority("cluster"),
    key("cluster"),
    authority("frontProxy"),
    key("frontProxy"),
    authority("etcd"),
    ...(cluster.etcd.kind === "stacked" ? [key("etcd")] : []),
    open("pki/sa.pub", publicKeyPem(authorities.serviceAccount)),
    secret("pki/sa.key", privateKeyPem(authorities.serviceAccount)),
  ];
}

export interface MasterInput {
  readonly cluster: ClusterSpec;
  readonly machine: ClusterMachine;
  readonly isFirst: boolean;
  readonly now: EpochMs;
  readonly lifeMs?: DurationMs;
}

/** Everything below /etc/kubernetes that kubeadm would make on a master, for this one: it finds all and makes nothing. */
export async function masterFiles(authorities: ClusterAuthorities, input: MasterInput): Promise<NodeFile[]> {
  const { cluster, machine, isFirst, now, lifeMs = masterLifeMs } = input;
  const certificates = await Promise.all(
    certificateFiles(cluster, machine).map(async ({ path, signer, profile }) => {
      const issued = await issueWithKey(authorities[signer], profile, { cluster, now, lifeMs });
      return [
        open(`pki/${path}.crt`, issued.certificatePem),
        secret(`pki/${path}.key`, issued.privateKeyPem),
      ];
    }),
  );
  const kubeconfigs = await Promise.all(
    kubeconfigFiles(cluster, machine, { isFirst }).map(async (file) =>
      secret(file.name, await issueKubeconfig(authorities, file, { cluster, now, lifeMs })),
    ),
  );
  return [...sharedFiles(authorities, cluster), ...certificates.flat(), ...kubeconfigs];
}

async function issueKubeconfig(
  authorities: ClusterAuthorities,
  { server, profile }: KubeconfigFile,
  life: { readonly cluster: ClusterSpec; readonly now: EpochMs; readonly lifeMs: DurationMs },
): Promise<string> {
  return formatKubeconfig({
    clusterName: life.cluster.name,
    server,
    authorityPem: authorities.cluster.certificatePem,
    user: { name: profile.commonName, ...(await issueWithKey(authorities.cluster, profile, life)) },
  });
}

/** A kubeconfig for a person on a machine of their own. A secret. */
export function administratorFile(
  authorities: ClusterAuthorities,
  life: { readonly cluster: ClusterSpec; readonly now: EpochMs; readonly lifeMs: DurationMs },
): Promise<string> {
  return issueKubeconfig(authorities, administratorKubeconfig(life.cluster), life);
}

/**
 * The server's own way into the cluster: a client certificate of ten minutes, asked for again as it ends.
 * @param rights "bootstrap" may do all, for what must be done before there are RBAC rules; "operator" what the rules give it
 */
export function issueServerClient(
  authorities: ClusterAuthorities,
  {
    cluster,
    now,
    rights,
  }: {
    readonly cluster: Pick<ClusterSpec, "keyAlgorithm">;
    readonly now: EpochMs;
    readonly rights: "bootstrap" | "operator";
  },
): Promise<IssuedCertificate> {
  return issueWithKey(
    authorities.cluster,
    clientProfile("rollcall", rights === "bootstrap" ? privilegedGroup : "rollcall:operators"),
    { cluster, now, lifeMs: serverClientLifeMs },
  );
}
