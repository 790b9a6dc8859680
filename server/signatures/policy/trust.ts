import type { EpochMs } from "../../domain/capabilities.ts";
import type { Signer } from "../../domain/signature.ts";
import { type ImageReference, scopesOf } from "./reference.ts";

/** What the registry is called. */
export interface RegistryNames {
  /** The name that signatures name images by: `registry.local`. */
  readonly host: string;
  /** Other names and addresses that clients reach the same registry by. A signature names none of them. */
  readonly aliases: readonly string[];
}

/** Who counts for one scope; nobody: every image there is refused. */
export interface TrustRule {
  readonly signers: readonly Signer[];
  /** Those of the scope that count no more: revoked or expired. */
  readonly former: readonly Signer[];
  /** The scope is written with another name of the registry, and its signatures with the one that stands here. */
  readonly alias: { readonly prefix: string; readonly signedPrefix: string } | undefined;
}

/** The rules by scope; what falls under none of them is refused. Policy files and verdicts are made of the same rules. */
export type Trust = ReadonlyMap<string, TrustRule>;

/**
 * @param now signers that are revoked or expired then count no more. Their scopes stay, closed: were they gone, a signer of the scope
 * above would count for them
 */
export function trustOf(all: readonly Signer[], names: RegistryNames, now: EpochMs): Trust {
  const trust = new Map<string, TrustRule>();
  const put = (scope: string, signer: Signer, alias: TrustRule["alias"]) => {
    const { signers = [], former = [] } = trust.get(scope) ?? {};
    trust.set(
      scope,
      counts(signer, now)
        ? { signers: [...signers, signer], former, alias }
        : { signers, former: [...former, signer], alias },
    );
  };
  for (const signer of all.toSorted((one, other) => (one.name < other.name ? -1 : 1)))
    for (const scope of new Set(signer.scopes)) {
      put(scope, signer, undefined);
      if (scope !== names.host && !scope.startsWith(`${names.host}/`)) continue;
      for (const alias of new Set(names.aliases))
        if (alias !== names.host)
          put(`${alias}${scope.slice(names.host.length)}`, signer, {
            prefix: alias,
            signedPrefix: names.host,
          });
    }
  return trust;
}

/** Do the signer's signatures count at that time? */
export function counts({ revokedAt, expiresAt }: Signer, now: EpochMs): boolean {
  return revokedAt === undefined && (expiresAt === undefined || now < expiresAt);
}

/** Has the signer a key of cosign's? Then it has no other, and shares none of its scopes with another signer that counts. */
export function isSigstore({ keys }: Signer): boolean {
  return keys.some(({ format }) => format === "sigstore");
}

/** The one rule that holds for an image: of the most specific scope that there is. */
export function ruleFor(trust: Trust, reference: ImageReference): TrustRule | undefined {
  for (const scope of scopesOf(reference)) {
    const rule = trust.get(scope);
    if (rule) return rule;
  }
  return undefined;
}
