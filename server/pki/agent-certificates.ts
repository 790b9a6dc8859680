import type { DurationMs, EpochMs } from "../domain/capabilities.ts";
import { clientProfile } from "../kubeadm/certificate-layout.ts";
import { dayMs, issueCertificate, validityFrom } from "./certificates.ts";
import type { ClusterAuthorities } from "./cluster-authorities.ts";
import { readSigningRequest } from "./signing-requests.ts";

/** How long an agent may speak for its machine, ms: longer than a diskless machine stays on. The next boot brings the next certificate. */
export const agentLifeMs: DurationMs = 365 * dayMs;

/** Whom an agent speaks for. */
export interface AgentIdentity {
  readonly machineId: string;
  readonly attempt: string;
}

/**
 * A client certificate for the agent of one machine in one boot. Of its request the public key alone is taken: who it is, the claim has
 * shown, and what it would like to be called does not count.
 * @throws CertificateRequestInvalid
 */
export async function issueAgentCertificate(
  { agent }: Pick<ClusterAuthorities, "agent">,
  requestPem: string,
  { machineId, attempt }: AgentIdentity,
  now: EpochMs,
): Promise<string> {
  const { publicKey } = await readSigningRequest(requestPem);
  return issueCertificate(
    agent,
    clientProfile(attempt, machineId),
    publicKey,
    validityFrom(now, agentLifeMs, agent),
  );
}
