import type { SignerKey } from "../../domain/signature.ts";

export function base64Of(octets: Uint8Array): string {
  return btoa(Array.from(octets, (octet) => String.fromCharCode(octet)).join(""));
}

/** A key of the format `sigstore` as `cosign.pub` has it (RFC 7468, section 13). */
export function pemOf({ octets }: Pick<SignerKey, "octets">): string {
  const lines = base64Of(octets).match(/.{1,64}/g) ?? [];
  return `-----BEGIN PUBLIC KEY-----\n${lines.join("\n")}\n-----END PUBLIC KEY-----\n`;
}
