import { createPublicKey, generateKeyPair, type KeyObject } from "node:crypto";
import { promisify } from "node:util";
import type { KeyAlgorithm } from "../domain/cluster.ts";

const generate = promisify(generateKeyPair);

/** Keys stay KeyObjects as long as they can: a KeyObject prints as its type, whatever logs it. */
export async function createPrivateKey(algorithm: KeyAlgorithm): Promise<KeyObject> {
  const pair =
    algorithm === "RSA-2048"
      ? await generate("rsa", { modulusLength: 2048 })
      : await generate("ec", { namedCurve: "P-256" });
  return pair.privateKey;
}

/** `EC PRIVATE KEY` or `RSA PRIVATE KEY`, as kubeadm writes them. A secret. */
export function privateKeyPem(key: KeyObject): string {
  return key.export({ type: key.asymmetricKeyType === "rsa" ? "pkcs1" : "sec1", format: "pem" }).toString();
}

/** `PUBLIC KEY` of a private key. */
export function publicKeyPem(key: KeyObject): string {
  return createPublicKey(key).export({ type: "spki", format: "pem" }).toString();
}
