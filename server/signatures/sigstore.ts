import { createHash, createPublicKey, type KeyObject, verify } from "node:crypto";
import { KeyInvalid } from "../domain/error-catalogue.ts";
import type { SignerKey } from "../domain/signature.ts";

/** Of a layer that is a signature's payload (cosign, specs/SIGNATURE_SPEC.md). */
export const sigstorePayloadType = "application/vnd.dev.cosign.simplesigning.v1+json";
/** Annotation of such a layer: the signature over it, in base64. */
export const sigstoreAnnotation = "dev.cosignproject.cosign/signature";

const pemLine = /^-----BEGIN ([A-Z0-9 ]+)-----/gm;
const curves: Readonly<Record<string, string>> = {
  prime256v1: "nistp256",
  secp384r1: "nistp384",
  secp521r1: "nistp521",
};
const smallestRsaBits = 2048;

/** Whether a text is PEM of keys that are none of OpenPGP. */
export const isPem = (text: string): boolean =>
  [...text.matchAll(pemLine)].some(([, label = ""]) => !label.startsWith("PGP "));

/** Reads a public key as cosign writes it: a SubjectPublicKeyInfo in PEM (RFC 7468, section 13). @throws KeyInvalid */
export function readSigstoreKey(text: string): SignerKey {
  const labels = [...text.matchAll(pemLine)].map(([, label = ""]) => label);
  if (labels.some((label) => label.endsWith("PRIVATE KEY")))
    throw KeyInvalid({
      problem: "it is a private key",
      advice: "Send the public one, `cosign.pub`. If this one was not encrypted, it is known to others now.",
    });
  if (labels.length !== 1 || labels[0] !== "PUBLIC KEY")
    throw KeyInvalid({ problem: "it is not one PUBLIC KEY in PEM" });
  let key: KeyObject;
  try {
    key = createPublicKey({ key: text, format: "pem" });
  } catch {
    throw KeyInvalid({ problem: "its PEM can't be read" });
  }
  const algorithm = algorithmOf(key);
  // A point of a curve may be written in two ways, of which Go reads one.
  const plain = createPublicKey({ key: key.export({ format: "jwk" }), format: "jwk" });
  const octets = plain.export({ format: "der", type: "spki" });
  return {
    format: "sigstore",
    fingerprint: createHash("sha256").update(octets).digest("hex"),
    algorithm,
    userIds: [],
    createdAt: undefined,
    expiresAt: undefined,
    isRevoked: false,
    octets,
  };
}

/** @throws KeyInvalid for what clients don't know (sigstore/pkg/signature, LoadVerifier) */
function algorithmOf({ asymmetricKeyType, asymmetricKeyDetails }: KeyObject): string {
  const { namedCurve = "", modulusLength = 0 } = asymmetricKeyDetails ?? {};
  const curve = curves[namedCurve];
  if (asymmetricKeyType === "ed25519") return "ed25519";
  if (asymmetricKeyType === "ec" && curve !== undefined) return curve;
  if (asymmetricKeyType !== "rsa")
    throw KeyInvalid({ problem: `${namedCurve || asymmetricKeyType} is none that clients know` });
  if (modulusLength < smallestRsaBits)
    throw KeyInvalid({ problem: `RSA with fewer than ${smallestRsaBits} bits` });
  return `rsa${modulusLength}`;
}

const keyObjects = new WeakMap<SignerKey, KeyObject>();

function keyObjectOf(key: SignerKey): KeyObject {
  const known = keyObjects.get(key);
  if (known) return known;
  const made = createPublicKey({ key: Buffer.from(key.octets), format: "der", type: "spki" });
  keyObjects.set(key, made);
  return made;
}

const base64Form = /^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$/;

/** The octets of the annotation, read as Go does: line ends may stand anywhere in it. @returns undefined when it is no base64 */
export function readSigstoreSignature(annotation: string): Buffer | undefined {
  const text = annotation.replaceAll(/[\r\n]/g, "");
  return base64Form.test(text) ? Buffer.from(text, "base64") : undefined;
}

/**
 * Which of the keys has signed the payload. ECDSA (DER) and RSA (PKCS #1 v1.5) over SHA-256, or Ed25519. Nothing in a signature says whose it
 * is, so each key is tried; that is done beside the event loop.
 */
export async function findSigstoreKey(
  payload: Uint8Array,
  signature: Uint8Array,
  keys: readonly SignerKey[],
): Promise<SignerKey | undefined> {
  for (const key of keys) if (await isSignedBy(key, payload, signature)) return key;
  return undefined;
}

function isSignedBy(key: SignerKey, payload: Uint8Array, signature: Uint8Array): Promise<boolean> {
  const algorithm = key.algorithm === "ed25519" ? null : "sha256";
  return new Promise((resolve) => {
    // What has not the form of a signature is an error to some algorithms.
    verify(algorithm, payload, keyObjectOf(key), signature, (error, isGood) => resolve(!error && isGood));
  });
}
