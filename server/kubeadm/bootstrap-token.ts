import type { EpochMs } from "../domain/capabilities.ts";

/** What a machine joins with: `id` is a name and no secret, `secret` is. */
export interface BootstrapToken {
  /** `[a-z0-9]{6}` */
  readonly id: string;
  /** `[a-z0-9]{16}` */
  readonly secret: string;
}

/** For one machine and one boot, ms: long enough for a join, too short to be worth stealing. */
export const bootstrapTokenLifeMs = 15 * 60_000;
export const bootstrapUserPrefix = "system:bootstrap:";
/** kubeadm's RBAC rules for joining machines hang on the first; the second tells ours apart. */
export const bootstrapGroups = [
  "system:bootstrappers:kubeadm:default-node-token",
  "system:bootstrappers:rollcall",
] as const;
export const bootstrapUsages = ["signing", "authentication"] as const;

/** Reads `abcdef.0123456789abcdef`, as bootstrap tokens are in Kubernetes and nothing else. */
export function parseBootstrapToken(text: string): BootstrapToken | undefined {
  const match = /^([a-z0-9]{6})\.([a-z0-9]{16})$/.exec(text);
  return match?.[0] === text ? { id: match[1] ?? "", secret: match[2] ?? "" } : undefined;
}

export function formatBootstrapToken({ id, secret }: BootstrapToken): string {
  return `${id}.${secret}`;
}

/** Whom a token is for. */
export interface TokenPurpose {
  readonly machine: string;
  /** The boot that it is for: the next boot has another. */
  readonly attempt: string;
  readonly expiresAt: EpochMs;
}

/** What stands in the token's description, so that a person sees in `kubeadm token list` whose it is. */
export function tokenDescription({ machine, attempt }: Pick<TokenPurpose, "machine" | "attempt">): string {
  return `m/${machine}/${attempt}`;
}

/** RFC 3339 without fractions, as kubeadm writes it. */
export function formatExpiry(at: EpochMs): string {
  return new Date(at).toISOString().replace(/\.[0-9]{3}Z$/, "Z");
}

/** The Secret that makes a token valid: `kube-system/bootstrap-token-<id>`. */
export function bootstrapTokenSecret(token: BootstrapToken, purpose: TokenPurpose) {
  const texts: Readonly<Record<string, string>> = {
    "token-id": token.id,
    "token-secret": token.secret,
    expiration: formatExpiry(purpose.expiresAt),
    description: tokenDescription(purpose),
    "auth-extra-groups": bootstrapGroups.join(","),
    ...Object.fromEntries(bootstrapUsages.map((usage) => [`usage-bootstrap-${usage}`, "true"])),
  };
  return {
    apiVersion: "v1",
    kind: "Secret",
    type: "bootstrap.kubernetes.io/token",
    metadata: { name: `bootstrap-token-${token.id}`, namespace: "kube-system" },
    data: Object.fromEntries(
      Object.entries(texts).map(([key, text]) => [key, Buffer.from(text).toString("base64")]),
    ),
  };
}
