import { createPrivateKey as readPrivateKey, type KeyObject } from "node:crypto";
import { existsSync } from "node:fs";
import { mkdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import type { EpochMs } from "../domain/capabilities.ts";
import type { KeyAlgorithm } from "../domain/cluster.ts";
import { SealBroken } from "../domain/error-catalogue.ts";
import { authorityFiles, type Signer } from "../kubeadm/certificate-layout.ts";
import { type Authority, createAuthority } from "./certificates.ts";
import { createPrivateKey, privateKeyPem, publicKeyPem } from "./key-pairs.ts";
import { type Sealer, sealWithKeyFile, sealWithPassphrase } from "./sealing.ts";
import { writeOnce } from "./write-once.ts";

/** All that a cluster's trust hangs on. The server makes it once and keeps it, so that hash and certificates outlive every machine. */
export interface ClusterAuthorities extends Readonly<Record<Signer, Authority>> {
  /** Signs the certificates of the agents on the machines; apart from the cluster, which it gives no way into. */
  readonly agent: Authority;
  /** Signs the tokens of service accounts. RSA whatever the cluster's algorithm is: kubeadm before 1.31 takes no other. */
  readonly serviceAccount: KeyObject;
}

const authorityNames = ["cluster", "frontProxy", "etcd", "agent"] as const;

interface SealedFile {
  readonly version: 1;
  readonly sealedBy: Sealer["kind"];
  readonly createdAt: string;
  readonly authorities: Readonly<Record<string, { readonly certificate: string; readonly key: string }>>;
  readonly serviceAccount: { readonly publicKey: string; readonly key: string };
}

export interface AuthorityStorage {
  /** Directory of the server's data: `pki/authorities.json`, and `pki/seal.key` where no passphrase is given. */
  readonly dataDirectory: string;
  readonly passphrase?: string | undefined;
}

/**
 * Reads the authorities, or makes them at the first call.
 * @throws KeyFileRefused, SealBroken
 */
export async function openClusterAuthorities(
  { dataDirectory, passphrase }: AuthorityStorage,
  { now, keyAlgorithm }: { readonly now: EpochMs; readonly keyAlgorithm: KeyAlgorithm },
): Promise<ClusterAuthorities> {
  const directory = join(dataDirectory, "pki");
  const file = join(directory, "authorities.json");
  await mkdir(directory, { recursive: true, mode: 0o700 });
  const sealer =
    passphrase === undefined
      ? await sealWithKeyFile(join(directory, "seal.key"), { mayCreate: !existsSync(file) })
      : sealWithPassphrase(passphrase);
  if (!existsSync(file)) {
    const made = await createAuthorities(now, keyAlgorithm);
    await writeOnce(file, `${JSON.stringify(await sealAll(made, sealer, now), null, 2)}\n`);
  }
  return openAll(await readFile(file, "utf8"), file, sealer);
}

async function createAuthorities(now: EpochMs, algorithm: KeyAlgorithm): Promise<ClusterAuthorities> {
  const create = async (commonName: string, pathLength?: number) =>
    createAuthority(
      commonName,
      await createPrivateKey(algorithm),
      now,
      pathLength === undefined ? {} : { pathLength },
    );
  return {
    cluster: await create(authorityFiles.cluster.commonName),
    frontProxy: await create(authorityFiles.frontProxy.commonName),
    etcd: await create(authorityFiles.etcd.commonName),
    agent: await create("rollcall-agent-ca", 0),
    serviceAccount: await createPrivateKey("RSA-2048"),
  };
}

/** A key opens only beside the certificate that it belongs to. */
const contextOf = (name: string, publicPart: string) => `rollcall pki 1 ${name}\n${publicPart}`;

async function sealAll(authorities: ClusterAuthorities, sealer: Sealer, now: EpochMs): Promise<SealedFile> {
  const sealKey = (name: string, publicPart: string, key: KeyObject) =>
    sealer.seal(contextOf(name, publicPart), Buffer.from(privateKeyPem(key)));
  const entries = authorityNames.map(async (name) => {
    const { certificatePem, privateKey } = authorities[name];
    return [
      name,
      { certificate: certificatePem, key: await sealKey(name, certificatePem, privateKey) },
    ] as const;
  });
  const publicKey = publicKeyPem(authorities.serviceAccount);
  return {
    version: 1,
    sealedBy: sealer.kind,
    createdAt: new Date(now).toISOString(),
    authorities: Object.fromEntries(await Promise.all(entries)),
    serviceAccount: {
      publicKey,
      key: await sealKey("serviceAccount", publicKey, authorities.serviceAccount),
    },
  };
}

async function openAll(text: string, file: string, sealer: Sealer): Promise<ClusterAuthorities> {
  let sealed: SealedFile;
  try {
    sealed = JSON.parse(text) as SealedFile;
  } catch {
    throw SealBroken({ what: file });
  }
  if (sealed.version !== 1 || sealed.sealedBy !== sealer.kind)
    throw SealBroken({ what: `${file} (sealed by ${String(sealed.sealedBy).slice(0, 40)})` });
  const openKey = async (name: string, publicPart: string, key: string) => {
    const opened = await sealer.open(contextOf(name, publicPart), key).catch(() => {
      // The context has the whole certificate in it, which is nothing to read.
      throw SealBroken({ what: `${file}, ${name}` });
    });
    return readPrivateKey(opened);
  };
  const opened = await Promise.all(
    authorityNames.map(async (name): Promise<Authority> => {
      const entry = sealed.authorities?.[name];
      if (typeof entry?.certificate !== "string" || typeof entry.key !== "string")
        throw SealBroken({ what: `${file}, ${name}` });
      return {
        certificatePem: entry.certificate,
        privateKey: await openKey(name, entry.certificate, entry.key),
      };
    }),
  );
  const { publicKey, key } = sealed.serviceAccount ?? {};
  if (typeof publicKey !== "string" || typeof key !== "string")
    throw SealBroken({ what: `${file}, serviceAccount` });
  const [cluster, frontProxy, etcd, agent] = opened as [Authority, Authority, Authority, Authority];
  return {
    cluster,
    frontProxy,
    etcd,
    agent,
    serviceAccount: await openKey("serviceAccount", publicKey, key),
  };
}
