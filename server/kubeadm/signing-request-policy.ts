import { bootstrapUserPrefix } from "./bootstrap-token.ts";

/** What a PKCS#10 request says (RFC 2986), read by the room pki. */
export interface RequestedCertificate {
  readonly commonNames: readonly string[];
  readonly organizations: readonly string[];
  /** Other attributes of the subject, as `OU=x`. */
  readonly otherAttributes: readonly string[];
  /** Subject alternative names of any kind, as `dns:x`. */
  readonly alternativeNames: readonly string[];
  /** OIDs of other extensions asked for, and of attributes besides them. */
  readonly otherExtensions: readonly string[];
}

/** A CertificateSigningRequest of certificates.k8s.io/v1; the API server vouches for `username`. */
export interface SigningRequest {
  readonly name: string;
  readonly username: string;
  readonly signerName: string;
  readonly usages: readonly string[];
  /** Undefined: the request in it can't be read, or its signature is wrong. */
  readonly requested: RequestedCertificate | undefined;
}

/** A join under way: what its one request must look like. */
export interface ExpectedJoin {
  readonly tokenId: string;
  readonly machine: string;
  /** Name of the request that was approved for this join already. */
  readonly approved?: string | undefined;
}

export type DenialReason =
  | "wrong-signer"
  | "wrong-user"
  | "unknown-token"
  | "unreadable"
  | "wrong-name"
  | "wrong-organization"
  | "extra-subject"
  | "extra-names"
  | "extra-extensions"
  | "wrong-usages"
  | "already-approved";

export type Verdict =
  | { readonly verdict: "approve" }
  | { readonly verdict: "deny"; readonly reason: DenialReason; readonly message: string }
  /** Not about joining: it is left to whoever looks after it. */
  | { readonly verdict: "leave" };

export const kubeletClientSigner = "kubernetes.io/kube-apiserver-client-kubelet";
const necessaryUsages = ["client auth", "digital signature"];
const allowedUsages = [...necessaryUsages, "key encipherment"];

/** Texts of a machine, for a person to read: encoded, and not without end. */
const shown = (texts: readonly string[]) =>
  texts.length === 0
    ? "none"
    : texts
        .slice(0, 5)
        .map((text) => JSON.stringify(text.slice(0, 100)))
        .join(", ");

const deny = (reason: DenialReason, message: string): Verdict => ({ verdict: "deny", reason, message });

/**
 * Judges one request: a machine that joins gets a client certificate for its own Node and nothing else, once. Kubernetes itself would give
 * any bootstrap token a certificate in the name of any Node, so its approver for these has to be switched off.
 *
 * @param joins all joins under way
 */
export function judgeSigningRequest(request: SigningRequest, joins: readonly ExpectedJoin[]): Verdict {
  const { username, signerName, usages, requested } = request;
  const isOfToken = username.startsWith(bootstrapUserPrefix);
  if (!isOfToken) {
    // A kubelet renews its own certificate by the one it has, and Kubernetes' own approver sees to the names.
    if (signerName !== kubeletClientSigner || username.startsWith("system:node:"))
      return { verdict: "leave" };
    return deny("wrong-user", `${shown([username])} is no machine that joins`);
  }
  const tokenId = username.slice(bootstrapUserPrefix.length);
  const join = joins.find((candidate) => candidate.tokenId === tokenId);
  if (!join) return deny("unknown-token", `no join under way has the token ${shown([tokenId])}`);
  if (signerName !== kubeletClientSigner)
    return deny("wrong-signer", `a machine that joins may not ask the signer ${shown([signerName])}`);
  if (!requested) return deny("unreadable", "the request can't be read, or is not signed by its own key");
  const expectedName = `system:node:${join.machine}`;
  if (requested.commonNames.length !== 1 || requested.commonNames[0] !== expectedName)
    return deny(
      "wrong-name",
      `${join.machine} may be called ${expectedName}, not ${shown(requested.commonNames)}`,
    );
  if (requested.organizations.length !== 1 || requested.organizations[0] !== "system:nodes")
    return deny(
      "wrong-organization",
      `the organization is system:nodes, not ${shown(requested.organizations)}`,
    );
  if (requested.otherAttributes.length > 0)
    return deny("extra-subject", `the subject has more: ${shown(requested.otherAttributes)}`);
  if (requested.alternativeNames.length > 0)
    return deny("extra-names", `it asks for other names: ${shown(requested.alternativeNames)}`);
  if (requested.otherExtensions.length > 0)
    return deny("extra-extensions", `it asks for extensions: ${shown(requested.otherExtensions)}`);
  const wrong = usages.filter((usage) => !allowedUsages.includes(usage));
  const missing = necessaryUsages.filter((usage) => !usages.includes(usage));
  if (wrong.length > 0 || missing.length > 0)
    return deny(
      "wrong-usages",
      [
        ...(wrong.length > 0 ? [`not allowed: ${shown(wrong)}`] : []),
        ...(missing.length > 0 ? [`missing: ${shown(missing)}`] : []),
      ].join("; "),
    );
  if (join.approved !== undefined && join.approved !== request.name)
    return deny("already-approved", `this join has its certificate by ${shown([join.approved])}`);
  return { verdict: "approve" };
}
