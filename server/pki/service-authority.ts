import { createPrivateKey as readPrivateKey } from "node:crypto";
import { mkdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import type { EpochMs } from "../domain/capabilities.ts";
import { SealBroken } from "../domain/error-catalogue.ts";
import { type Authority, createAuthority } from "./certificates.ts";
import { createPrivateKey, privateKeyPem } from "./key-pairs.ts";
import { writeOnce } from "./write-once.ts";

/**
 * The authority of this server's own certificates where there is no cluster; made at the first call, `pki/services.json`. It signs
 * nothing but this server's name, so its key lies there unsealed, mode 0600.
 * @throws SealBroken when the file is no such thing
 */
export async function openServiceAuthority(dataDirectory: string, now: EpochMs): Promise<Authority> {
  const directory = join(dataDirectory, "pki");
  const file = join(directory, "services.json");
  await mkdir(directory, { recursive: true, mode: 0o700 });
  const known = await readFile(file, "utf8").catch(() => undefined);
  if (known === undefined) {
    const made = await createAuthority("rollcall-services-ca", await createPrivateKey("ECDSA-P256"), now, {
      pathLength: 0,
    });
    const kept = { certificate: made.certificatePem, key: privateKeyPem(made.privateKey) };
    await writeOnce(file, `${JSON.stringify(kept, null, 2)}\n`);
  }
  try {
    const kept = JSON.parse(known ?? (await readFile(file, "utf8"))) as { certificate: string; key: string };
    return { certificatePem: kept.certificate, privateKey: readPrivateKey(kept.key) };
  } catch {
    throw SealBroken({ what: file });
  }
}
