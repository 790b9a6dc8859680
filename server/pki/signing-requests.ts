import "reflect-metadata";
import { Pkcs10CertificateRequest, SubjectAlternativeNameExtension } from "@peculiar/x509";
import { createPublicKey, type KeyObject } from "node:crypto";
import { CertificateRequestInvalid } from "../domain/error-catalogue.ts";
import type { RequestedCertificate } from "../kubeadm/signing-request-policy.ts";

/** Octets of PEM; a request with an RSA key of 4096 bits has about 1,700. */
const largestRequest = 16 * 1024;

export interface ReadRequest extends RequestedCertificate {
  readonly publicKey: KeyObject;
}

/**
 * Reads a PKCS#10 request (RFC 2986) of somebody who is not trusted, and checks that it is signed with its own key.
 * @throws CertificateRequestInvalid
 */
export async function readSigningRequest(requestPem: string): Promise<ReadRequest> {
  const refuse = (problem: string) => CertificateRequestInvalid({ problem });
  if (requestPem.length > largestRequest) throw refuse(`it has more than ${largestRequest} characters`);
  const body =
    /^\s*-----BEGIN (?:NEW )?CERTIFICATE REQUEST-----([A-Za-z0-9+/=\s]+)-----END (?:NEW )?CERTIFICATE REQUEST-----\s*$/.exec(
      requestPem,
    )?.[1];
  if (body === undefined) throw refuse("it is not one request as PEM");
  const octets = Buffer.from(body, "base64");
  // What the library does not look at can't be judged: nothing may follow the request.
  if (outerLength(octets) !== octets.length) throw refuse("it is not one value of ASN.1 in DER");
  let request: Pkcs10CertificateRequest;
  let read: ReadRequest;
  try {
    request = new Pkcs10CertificateRequest(octets);
    read = { ...readNames(request), publicKey: readKey(request) };
  } catch (error) {
    throw refuse(error instanceof Error ? error.message.slice(0, 200) : "it is not ASN.1");
  }
  if (!isKeyStrong(read.publicKey)) throw refuse("its key is of a kind or size that is not taken");
  const isSigned = await request.verify().catch(() => false);
  if (!isSigned) throw refuse("its signature is not of its own key");
  return read;
}

/** Octets of a DER SEQUENCE with its head (X.690 s.8.1.3); undefined when it does not begin with one of two or three octets' length. */
function outerLength(octets: Buffer): number | undefined {
  if (octets[0] !== 0x30) return undefined;
  if (octets[1] === 0x81) return 3 + (octets[2] ?? 0);
  if (octets[1] === 0x82 && octets.length > 4) return 4 + octets.readUInt16BE(2);
  return undefined;
}

/** PKCS#9 extensionRequest (RFC 2985 s.5.4.2). */
const extensionRequest = "1.2.840.113549.1.9.14";

/** What stands beside the one list of extensions that is read: other attributes, a second list. */
function unreadAttributes({ attributes }: Pkcs10CertificateRequest): string[] {
  const lists = attributes.filter(({ type }) => type === extensionRequest);
  return [
    ...attributes.filter(({ type }) => type !== extensionRequest).map(({ type }) => type),
    ...(lists.length > 1 || lists.some(({ values }) => values.length > 1) ? [extensionRequest] : []),
  ];
}

function readNames(request: Pkcs10CertificateRequest): RequestedCertificate {
  const attributes = request.subjectName
    .toJSON()
    .flatMap((part) =>
      Object.entries(part).flatMap(([name, values]) => values.map((value) => ({ name, value }))),
    );
  const valuesOf = (wanted: string) =>
    attributes.filter(({ name }) => name === wanted).map(({ value }) => value);
  const alternative = request.extensions.filter(
    (extension) => extension instanceof SubjectAlternativeNameExtension,
  );
  return {
    commonNames: valuesOf("CN"),
    organizations: valuesOf("O"),
    otherAttributes: attributes
      .filter(({ name }) => name !== "CN" && name !== "O")
      .map(({ name, value }) => `${name}=${value}`),
    alternativeNames: alternative.flatMap((extension) => {
      const names = extension.names.items.map(({ type, value }) => `${type}:${value}`);
      // An extension without a name that the library knows still asks for something.
      return names.length > 0 ? names : ["(unreadable)"];
    }),
    otherExtensions: [
      ...request.extensions
        .filter((extension) => !(extension instanceof SubjectAlternativeNameExtension))
        .map(({ type }) => type),
      ...unreadAttributes(request),
    ],
  };
}

function readKey(request: Pkcs10CertificateRequest): KeyObject {
  return createPublicKey({
    key: Buffer.from(request.publicKey.rawData),
    format: "der",
    type: "spki",
  });
}

function isKeyStrong({ asymmetricKeyType, asymmetricKeyDetails }: KeyObject): boolean {
  if (asymmetricKeyType === "ec")
    return ["prime256v1", "secp384r1"].includes(asymmetricKeyDetails?.namedCurve ?? "");
  const bits = asymmetricKeyDetails?.modulusLength ?? 0;
  return asymmetricKeyType === "rsa" && bits >= 2048 && bits <= 8192;
}
