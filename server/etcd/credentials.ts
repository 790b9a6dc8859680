import type { Clock, DurationMs } from "../domain/capabilities.ts";
import type { KeyAlgorithm } from "../domain/cluster.ts";
import { clientProfile } from "../kubeadm/certificate-layout.ts";
import type { Authority } from "../pki/certificates.ts";
import { type IssuedCertificate, issueWithKey, serverClientLifeMs } from "../pki/master-files.ts";

/** What a client of etcd shows, asked for at each call: it is short-lived. */
export type ClientCredentials = () => Promise<IssuedCertificate>;

/** How long one is used, ms: half of its life, so that none ends while a call is under way. */
const usedForMs: DurationMs = serverClientLifeMs / 2;

/** The server's own certificates as a client of etcd, made by etcd's authority as they are needed. */
export function createEtcdCredentials({
  authority,
  keyAlgorithm,
  clock,
}: {
  readonly authority: Authority;
  readonly keyAlgorithm: KeyAlgorithm;
  readonly clock: Clock;
}): ClientCredentials {
  let current: Promise<IssuedCertificate> | undefined;
  let madeAtMs = 0;
  return () => {
    if (current === undefined || clock.monotonicMs() - madeAtMs > usedForMs) {
      madeAtMs = clock.monotonicMs();
      current = issueWithKey(authority, clientProfile("rollcall"), {
        cluster: { keyAlgorithm },
        now: clock.now(),
        lifeMs: serverClientLifeMs,
      });
    }
    return current;
  };
}
