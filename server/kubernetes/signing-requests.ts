import type { EpochMs } from "../domain/capabilities.ts";
import { KubernetesConflict, KubernetesRefused } from "../domain/error-catalogue.ts";
import { bootstrapUserPrefix, formatExpiry } from "../kubeadm/bootstrap-token.ts";
import {
  type DenialReason,
  type ExpectedJoin,
  judgeSigningRequest,
} from "../kubeadm/signing-request-policy.ts";
import { readSigningRequest } from "../pki/signing-requests.ts";
import { type KubernetesClient, unlessMissing } from "./client.ts";
import type { SigningRequestObject } from "./objects.ts";

export interface ApprovedRequest {
  readonly request: string;
  readonly tokenId: string;
  readonly machine: string;
}

export interface DeniedRequest {
  readonly request: string;
  /** Of the token that asked, when it was one. */
  readonly tokenId: string | undefined;
  /** Whose token that is. */
  readonly machine: string | undefined;
  readonly reason: DenialReason;
  readonly message: string;
}

export interface SigningPass {
  /** Of joins under way, approved now or before: what was approved before a restart is told again. */
  readonly approved: readonly ApprovedRequest[];
  /** Denied now. */
  readonly denied: readonly DeniedRequest[];
  /** There are more requests than are looked at: somebody floods the cluster with them. */
  readonly isCut: boolean;
}

/** Requests that are asked for at once: each may be as large as etcd takes it. */
const pageSize = 20;

const stateOf = ({ status }: SigningRequestObject) =>
  status?.conditions?.find(({ type }) => ["Approved", "Denied", "Failed"].includes(type))?.type ?? "Pending";

const tokenOf = ({ spec: { username = "" } }: SigningRequestObject) =>
  username.startsWith(bootstrapUserPrefix) ? username.slice(bootstrapUserPrefix.length) : undefined;

/**
 * Judges every request that waits, by the policy of the room kubeadm: exactly the one of each join is approved, what else a joining machine
 * asks is denied, and the rest is left to Kubernetes. What the cluster already approved counts, so a pass can be broken off anywhere.
 */
export async function signingPass(
  client: KubernetesClient,
  of: { readonly joins: () => readonly ExpectedJoin[]; readonly now: EpochMs },
): Promise<SigningPass> {
  const { now } = of;
  const { items, isCut } = await client.list("CertificateSigningRequest", { pageSize });
  // After the list: whoever made one of these requests has its join in here.
  const joins = of.joins();
  const approved = new Map<string, ApprovedRequest>();
  const note = (request: SigningRequestObject) => {
    const join = joins.find(({ tokenId }) => tokenId === tokenOf(request));
    if (join && !approved.has(join.tokenId))
      approved.set(join.tokenId, {
        request: request.metadata.name,
        tokenId: join.tokenId,
        machine: join.machine,
      });
  };
  for (const request of items) if (stateOf(request) === "Approved") note(request);
  const denied: DeniedRequest[] = [];
  for (const request of items.filter((one) => stateOf(one) === "Pending")) {
    const expected = joins.map((join) => ({
      ...join,
      approved: join.approved ?? approved.get(join.tokenId)?.request,
    }));
    const verdict = judgeSigningRequest(await readRequest(request), expected);
    if (verdict.verdict === "leave") continue;
    if (verdict.verdict === "approve") {
      const isDone = await decide(client, request, {
        type: "Approved",
        reason: "RollcallExpected",
        message: "the one request that this join was expected to make",
        now,
      });
      if (isDone) note(request);
      continue;
    }
    const { reason, message } = verdict;
    if (await decide(client, request, { type: "Denied", reason: "RollcallRefused", message, now })) {
      const tokenId = tokenOf(request);
      denied.push({
        request: request.metadata.name,
        tokenId,
        machine: joins.find((join) => join.tokenId === tokenId)?.machine,
        reason,
        message,
      });
    }
  }
  return { approved: [...approved.values()], denied, isCut };
}

async function readRequest({ metadata, spec }: SigningRequestObject) {
  const pem = Buffer.from(spec.request, "base64").toString("latin1");
  return {
    name: metadata.name,
    username: spec.username ?? "",
    signerName: spec.signerName,
    usages: spec.usages ?? [],
    requested: await readSigningRequest(pem).catch(() => undefined),
  };
}

interface Decision {
  readonly type: "Approved" | "Denied";
  readonly reason: string;
  readonly message: string;
  readonly now: EpochMs;
}

/** @returns false when it was changed or removed meanwhile: the next pass sees it as it is then */
async function decide(
  client: KubernetesClient,
  request: SigningRequestObject,
  { type, reason, message, now }: Decision,
): Promise<boolean> {
  const at = formatExpiry(now);
  const condition = { type, status: "True", reason, message, lastUpdateTime: at };
  const decided = {
    ...request,
    apiVersion: "certificates.k8s.io/v1",
    kind: "CertificateSigningRequest",
    status: { ...request.status, conditions: [...(request.status?.conditions ?? []), condition] },
  };
  try {
    const done = await client.replace("CertificateSigningRequest", decided, "approval").catch(unlessMissing);
    return done !== undefined;
  } catch (error) {
    if (KubernetesConflict.is(error)) return false;
    // Of another signer, for which we have no word: nobody signs it without an approval, so away with it.
    if (type === "Approved" || !KubernetesRefused.is(error) || error.details["status"] !== 403) throw error;
    return client.delete("CertificateSigningRequest", request.metadata);
  }
}
