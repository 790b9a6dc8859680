import * as openpgp from "openpgp";
import type { EpochMs } from "../domain/capabilities.ts";
import { KeyInvalid } from "../domain/error-catalogue.ts";
import { largestSignature, type SignerKey } from "../domain/signature.ts";

/** What the OpenPGP part of a signature says, once its mathematics are right. */
export interface OpenedSignature {
  readonly format: "openpgp";
  readonly fingerprint: string;
  readonly signedAt: EpochMs;
  readonly expiresAt: EpochMs | undefined;
  readonly payload: Uint8Array;
}

/** Why a signature can't be opened. */
export type EnvelopeFault =
  /** It is no binary signed message: clearsigned, detached, armored, with two signatures, encrypted, cut off. */
  | "malformed"
  | "unknown-key"
  /** Made by a subkey: containers/image compares with the fingerprint of the primary key, and refuses it. */
  | "by-subkey"
  | "weak-hash"
  | "bad";

const { enums } = openpgp;

/** As gpg 2.2: MD5 is refused, the rest is the key owner's. Times are looked at by the verdict. */
const config = {
  ...openpgp.config,
  rejectHashAlgorithms: new Set([enums.hash.md5]),
  rejectMessageHashAlgorithms: new Set([enums.hash.md5]),
  maxDecompressedMessageSize: 4 * largestSignature,
  ignoreUnsupportedPackets: false,
  ignoreMalformedPackets: false,
  enforceGrammar: true,
  allowMissingKeyFlags: true,
};

/** First octets that containers/image takes for a simple signature (internal/signature): compressed, one-pass signature, signature. */
const firstOctets = new Set([
  0xa0, 0xa1, 0xa2, 0xa3, 0xc8, 0x90, 0x91, 0x92, 0xc4, 0x88, 0x89, 0x8a, 0x8b, 0xc2,
]);
/** The library takes null for "whenever", and its types don't say so. */
const anyTime = null as unknown as Date;
const messageTypes = new Set([enums.signature.binary, enums.signature.text]);
const parsedKeys = new WeakMap<SignerKey, Promise<openpgp.Key>>();

function parsed(key: SignerKey): Promise<openpgp.Key> {
  const known = parsedKeys.get(key);
  if (known) return known;
  const made = openpgp.readKey({ binaryKey: key.octets, config });
  parsedKeys.set(key, made);
  return made;
}

/**
 * Verifies a signed message (RFC 4880, section 11.3) with the keys of our signers.
 * Neither its times nor those of its key are judged here.
 */
export async function openSignature(
  octets: Uint8Array,
  keys: readonly SignerKey[],
): Promise<OpenedSignature | { readonly fault: EnvelopeFault }> {
  const message = await readSignedMessage(octets);
  if (!message) return { fault: "malformed" };
  const { signature, literal } = message;
  if (signature.hashAlgorithm === enums.hash.md5) return { fault: "weak-hash" };
  let fault: EnvelopeFault = "unknown-key";
  for (const key of keys) {
    const issuer = await parsed(key);
    if (issuer.getSubkeys(signature.issuerKeyID).length > 0) fault = "by-subkey";
    if (!issuer.getKeyID().equals(signature.issuerKeyID)) continue;
    try {
      await signature.verify(
        issuer.keyPacket,
        signature.signatureType ?? enums.signature.binary,
        literal,
        anyTime,
        false,
        config,
      );
      const expires = signature.getExpirationTime();
      return {
        format: "openpgp",
        fingerprint: key.fingerprint,
        signedAt: signature.created?.getTime() ?? 0,
        expiresAt: typeof expires === "number" ? undefined : expires.getTime(),
        payload: message.payload,
      };
    } catch {
      fault = "bad";
    }
  }
  return { fault };
}

/** One signature over one literal, and nothing else. */
async function readSignedMessage(
  octets: Uint8Array,
): Promise<
  { signature: openpgp.SignaturePacket; literal: openpgp.LiteralDataPacket; payload: Uint8Array } | undefined
> {
  if (octets.length > largestSignature || !firstOctets.has(octets[0] ?? 0)) return undefined;
  try {
    const message = await openpgp.readMessage({ binaryMessage: octets, config });
    // Without keys it verifies nothing, and reads what is behind the literal: the library hands signatures out this way alone.
    const results = await message.verify([], anyTime, config);
    const signatures = await Promise.all(
      results.map(async (result) => {
        result.verified.catch(() => undefined);
        return (await result.signature).packets[0];
      }),
    );
    const inner = message.unwrapCompressed();
    const literal = inner.packets.find((packet) => packet instanceof openpgp.LiteralDataPacket);
    const payload = inner.getLiteralData();
    const [signature] = signatures;
    if (!signature || !literal || !payload || signatures.length !== 1) return undefined;
    const isOfMessage = signature.signatureType !== null && messageTypes.has(signature.signatureType);
    return isOfMessage ? { signature, literal, payload } : undefined;
  } catch {
    return undefined;
  }
}

const armourLine = /^-----BEGIN PGP /m;
/** Keys of one signer. */
const mostKeys = 16;
/** Octets of what is sent as keys: one with many certifications has some 100 KiB. */
export const largestKeyring = 512 * 1024;
const curves = new Set([
  "ed25519Legacy",
  "nistP256",
  "nistP384",
  "nistP521",
  "brainpoolP256r1",
  "brainpoolP384r1",
  "brainpoolP512r1",
]);
const smallestRsaBits = 2048;

/** Reads what `gpg --export` writes, with `--armor` or without; several keys are fine. @throws KeyInvalid */
export async function readPublicKeys(sent: Uint8Array): Promise<SignerKey[]> {
  if (sent.length > largestKeyring)
    throw KeyInvalid({ problem: `it is larger than ${largestKeyring / 1024} KiB` });
  const keys = await readKeyring(sent);
  if (keys.length === 0) throw KeyInvalid({ problem: "there is no OpenPGP key in it" });
  if (keys.length > mostKeys) throw KeyInvalid({ problem: `it holds more than ${mostKeys} keys` });
  return Promise.all(keys.map(factsOf));
}

async function readKeyring(sent: Uint8Array): Promise<openpgp.Key[]> {
  const text = new TextDecoder("latin1").decode(sent);
  try {
    if (!armourLine.test(text)) return await openpgp.readKeys({ binaryKeys: sent, config });
    const blocks = text.split(/^(?=-----BEGIN PGP )/m).filter((block) => armourLine.test(block));
    const read = await Promise.all(blocks.map((armoredKeys) => openpgp.readKeys({ armoredKeys, config })));
    return read.flat();
  } catch (error) {
    throw KeyInvalid({ problem: `it is no OpenPGP key (${(error as Error).message.slice(0, 200)})` });
  }
}

async function factsOf(key: openpgp.Key): Promise<SignerKey> {
  if (key.isPrivate())
    throw KeyInvalid({
      problem: "it is a private key",
      advice: "Send the public one: `gpg --export --armor NAME`. This one left its owner: revoke it.",
    });
  const refuse = (problem: string): never => {
    throw KeyInvalid({ problem: `key ${key.getFingerprint()}: ${problem}` });
  };
  const { algorithm, bits, curve } = key.getAlgorithmInfo();
  if (key.keyPacket.version !== 4) refuse(`version ${key.keyPacket.version}, which gpg 2.2 does not know`);
  const isRsa = algorithm.startsWith("rsa");
  if (isRsa && (bits ?? 0) < smallestRsaBits) refuse(`RSA with fewer than ${smallestRsaBits} bits`);
  if (!isRsa && !(["eddsaLegacy", "ecdsa"].includes(algorithm) && curves.has(curve ?? "")))
    refuse(`${curve ?? algorithm} is none that every client knows`);
  const [primary, expires] = await Promise.all([
    key.getPrimaryUser(anyTime, undefined, config).catch(() => undefined),
    key.getExpirationTime(undefined, config),
  ]);
  if (!primary) return refuse("it has no user id that it signed itself");
  const flags = primary.selfCertification.keyFlags?.[0];
  if (flags !== undefined && (flags & enums.keyFlags.signData) === 0)
    refuse("its primary key does not sign, and clients refuse signatures of subkeys");
  return {
    format: "openpgp",
    fingerprint: key.getFingerprint(),
    algorithm: isRsa ? `rsa${bits}` : (curve ?? algorithm).replace("Legacy", "").toLowerCase(),
    userIds: key.getUserIDs(),
    createdAt: key.getCreationTime().getTime(),
    expiresAt: expires instanceof Date ? expires.getTime() : undefined,
    isRevoked: await key.isRevoked(undefined, undefined, anyTime, config),
    octets: key.write(),
  };
}

/** A key as its owner sent it anew: expiry and revocation are added, and what was known of it stays. */
export async function mergeKeys(known: SignerKey, sent: SignerKey): Promise<SignerKey> {
  const [one, other] = await Promise.all([parsed(known), parsed(sent)]);
  return factsOf(await one.update(other as openpgp.PublicKey, undefined, config));
}

/** The keys of one signer as one file in ASCII armor (RFC 4880, section 6.2). */
export function armorKeys(keys: readonly SignerKey[]): string {
  return openpgp.armor(
    enums.armor.publicKey,
    Buffer.concat(keys.map(({ octets }) => octets)),
    undefined,
    undefined,
    undefined,
    undefined,
    config,
  );
}
