// The library's decorators need it to be there first.
import "reflect-metadata";
import {
  AuthorityKeyIdentifierExtension,
  BasicConstraintsExtension,
  ExtendedKeyUsage,
  ExtendedKeyUsageExtension,
  type Extension,
  KeyUsageFlags,
  KeyUsagesExtension,
  SubjectAlternativeNameExtension,
  SubjectKeyIdentifierExtension,
  X509Certificate,
  X509CertificateGenerator,
} from "@peculiar/x509";
import { createPublicKey, type KeyObject, randomBytes } from "node:crypto";
import type { DurationMs, EpochMs } from "../domain/capabilities.ts";
import type { CertificateProfile } from "../kubeadm/certificate-layout.ts";

/** A certificate that signs others, with its key. */
export interface Authority {
  readonly certificatePem: string;
  readonly privateKey: KeyObject;
}

export const hourMs = 3_600_000;
export const dayMs = 24 * hourMs;
/** As kubeadm has it. */
export const authorityLifeMs: DurationMs = 3650 * dayMs;
/**
 * Certificates begin a day before they are made: a machine without a battery wakes up in the past, and to it a certificate of now is
 * not valid yet.
 */
export const backdatedMs: DurationMs = dayMs;

const algorithms = {
  ec: {
    key: { name: "ECDSA", namedCurve: "P-256" },
    signing: { name: "ECDSA", hash: "SHA-256" },
  },
  rsa: {
    key: { name: "RSASSA-PKCS1-v1_5", hash: "SHA-256" },
    signing: { name: "RSASSA-PKCS1-v1_5", hash: "SHA-256" },
  },
} as const;

const algorithmOf = (key: KeyObject) => algorithms[key.asymmetricKeyType === "rsa" ? "rsa" : "ec"];

const spkiOf = (publicKey: KeyObject) => publicKey.export({ type: "spki", format: "der" });

/** Certificates count in seconds. */
const toDate = (at: EpochMs) => new Date(Math.floor(at / 1000) * 1000);

/** 127 random bits: positive, and never zero (RFC 5280 s.4.1.2.2). */
function createSerialNumber(): string {
  const octets = randomBytes(16);
  octets[0] = ((octets[0] ?? 0) & 0x7f) | 0x40;
  return octets.toString("hex");
}

/**
 * A new authority that signs itself: kubeadm's usages, and its name as DNS name like kubeadm since 1.22.
 * @param pathLength how many authorities may stand below it; kubeadm leaves that open
 */
export async function createAuthority(
  commonName: string,
  privateKey: KeyObject,
  now: EpochMs,
  { pathLength }: { readonly pathLength?: number } = {},
): Promise<Authority> {
  const publicKey = spkiOf(createPublicKey(privateKey));
  const name = [{ CN: [commonName] }];
  const certificate = await X509CertificateGenerator.create({
    serialNumber: createSerialNumber(),
    subject: name,
    issuer: name,
    notBefore: toDate(now - backdatedMs),
    notAfter: toDate(now + authorityLifeMs),
    publicKey,
    ...signedBy(privateKey),
    extensions: [
      new KeyUsagesExtension(
        KeyUsageFlags.digitalSignature | KeyUsageFlags.keyEncipherment | KeyUsageFlags.keyCertSign,
        true,
      ),
      new BasicConstraintsExtension(true, pathLength, true),
      await SubjectKeyIdentifierExtension.create(publicKey),
      new SubjectAlternativeNameExtension([{ type: "dns", value: commonName }]),
    ],
  });
  return { certificatePem: pem(certificate), privateKey };
}

export interface Validity {
  readonly notBefore: EpochMs;
  readonly notAfter: EpochMs;
}

/**
 * The life of a certificate made now: it begins with its authority, as kubeadm's do, and ends with it at the latest.
 * @param lifeMs counted from now
 */
export function validityFrom(now: EpochMs, lifeMs: DurationMs, authority: Authority): Validity {
  const { notBefore, notAfter } = validityOf(authority.certificatePem);
  return { notBefore, notAfter: Math.min(now + lifeMs, notAfter) };
}

/** When a certificate begins and ends to be valid. */
export function validityOf(certificatePem: string): Validity {
  const certificate = new X509Certificate(certificatePem);
  return { notBefore: certificate.notBefore.getTime(), notAfter: certificate.notAfter.getTime() };
}

/** Signs a certificate for a public key. */
export async function issueCertificate(
  authority: Authority,
  profile: CertificateProfile,
  publicKey: KeyObject,
  validity: Validity,
): Promise<string> {
  const issuer = new X509Certificate(authority.certificatePem);
  const names = [
    ...profile.dnsNames.map((value) => ({ type: "dns" as const, value })),
    ...profile.addresses.map((value) => ({ type: "ip" as const, value })),
  ];
  const extensions: Extension[] = [
    new KeyUsagesExtension(KeyUsageFlags.digitalSignature | KeyUsageFlags.keyEncipherment, true),
    new ExtendedKeyUsageExtension(profile.usages.map((usage) => ExtendedKeyUsage[usage])),
    new BasicConstraintsExtension(false, undefined, true),
    await AuthorityKeyIdentifierExtension.create(issuer.publicKey),
    ...(names.length > 0 ? [new SubjectAlternativeNameExtension(names)] : []),
  ];
  const certificate = await X509CertificateGenerator.create({
    serialNumber: createSerialNumber(),
    subject: [
      ...profile.organizations.map((organization) => ({ O: [organization] })),
      { CN: [profile.commonName] },
    ],
    issuer: issuer.subjectName,
    notBefore: toDate(validity.notBefore),
    notAfter: toDate(validity.notAfter),
    publicKey: spkiOf(publicKey),
    ...signedBy(authority.privateKey),
    extensions,
  });
  return pem(certificate);
}

function signedBy(privateKey: KeyObject) {
  const { key, signing } = algorithmOf(privateKey);
  return {
    signingKey: privateKey.toCryptoKey(key, false, ["sign"]),
    signingAlgorithm: signing,
  };
}

const pem = (certificate: X509Certificate) => `${certificate.toString("pem")}\n`;
