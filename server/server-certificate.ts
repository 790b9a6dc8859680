import type { Clock } from "./domain/capabilities.ts";
import type { KeyAlgorithm } from "./domain/cluster.ts";
import type { TlsCredentials } from "./http/tls-listener.ts";
import { type Authority, dayMs } from "./pki/certificates.ts";
import { issueWithKey } from "./pki/master-files.ts";

export interface ServerNames {
  readonly dnsNames: readonly string[];
  readonly addresses: readonly string[];
}

/** What this server shows over TLS: each time a new key and a certificate of thirty days for its own names. */
export function serverCertificates(
  authority: Authority,
  { dnsNames, addresses }: ServerNames,
  { clock, keyAlgorithm }: { readonly clock: Clock; readonly keyAlgorithm: KeyAlgorithm },
): () => Promise<Omit<TlsCredentials, "authorityPem">> {
  const profile = {
    commonName: "rollcall",
    organizations: [],
    usages: ["serverAuth" as const],
    dnsNames: [...new Set([...dnsNames, "localhost"])],
    addresses: [...new Set([...addresses, "127.0.0.1"])],
  };
  return () =>
    issueWithKey(authority, profile, { cluster: { keyAlgorithm }, now: clock.now(), lifeMs: 30 * dayMs });
}
