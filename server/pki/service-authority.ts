import { createPrivateKey as readPrivateKey } from "node:crypto";
import { mkdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import type { EpochMs } from "../domain/capabilities.ts";
import { SealBroken } from "../domain/error-catalogue.ts";
import { type Authority, createAuthority } from "./certificates.ts";
import { createPrivateKey, privateKeyPem } from "./key-pairs.ts";
import { sealWithKeyFile } from "./sealing.ts";
import { writeOnce } from "./write-once.ts";

/** What the key is sealed as. */
const purpose = "service-authority";

/**
 * The authority of this server's own certificates where there is no cluster; made at the first call: `pki/services.json`, its key sealed with
 * `pki/seal.key`, which the cluster's authorities use too unless they have a passphrase.
 * @throws SealBroken when the file is no such thing, KeyFileRefused
 */
export async function openServiceAuthority(dataDirectory: string, now: EpochMs): Promise<Authority> {
  const directory = join(dataDirectory, "pki");
  const file = join(directory, "services.json");
  await mkdir(directory, { recursive: true, mode: 0o700 });
  const known = await readFile(file, "utf8").catch(() => undefined);
  const sealer = await sealWithKeyFile(join(directory, "seal.key"), { mayCreate: known === undefined });
  if (known === undefined) {
    const { certificatePem, privateKey } = await createAuthority(
      "rollcall-services-ca",
      await createPrivateKey("ECDSA-P256"),
      now,
      { pathLength: 0 },
    );
    const key = await sealer.seal(purpose, Buffer.from(privateKeyPem(privateKey)));
    await writeOnce(file, `${JSON.stringify({ certificate: certificatePem, key }, null, 2)}\n`);
  }
  try {
    const kept = JSON.parse(known ?? (await readFile(file, "utf8"))) as { certificate: string; key: string };
    const privateKey = readPrivateKey((await sealer.open(purpose, kept.key)).toString());
    return { certificatePem: kept.certificate, privateKey };
  } catch {
    throw SealBroken({ what: file });
  }
}
