import type { EpochMs } from "../domain/capabilities.ts";
import type { SignedStatement, Signer, SignerKey } from "../domain/signature.ts";
import { formatReference, type ImageReference, parseReference } from "./policy/reference.ts";
import { ruleFor, type Trust } from "./policy/trust.ts";

/** Why a signature does not count for an image. */
export type Refusal =
  /** No rule is for this image, so clients refuse it whoever signs. */
  | "no-signer"
  /** The key's signer may not sign this image. */
  | "out-of-scope"
  /** The signer was revoked by a person here, or its time here is over. */
  | "signer-revoked"
  | "signer-expired"
  | "key-revoked"
  | "key-expired"
  /** The signature says that it is older than its key. */
  | "key-newer"
  | "expired"
  | "other-digest"
  | "other-repository"
  /** By tag the signature has to name that tag; by digest any tag will do. */
  | "other-tag";

export type Verdict =
  | { readonly accepted: true; readonly signer: Signer }
  | { readonly accepted: false; readonly refusal: Refusal };

/** An image as a client asks for it: by its tag, or without one by its digest. */
export interface AskedImage {
  readonly host: string;
  readonly repository: string;
  readonly tag: string | undefined;
  /** `sha256:…` of the manifest that the registry has for it. */
  readonly digest: string;
}

/**
 * Decides as containers/image does by the policy of the same `trust` (policy_eval_signedby.go and policy_eval_sigstore.go; gpg's own checks of time and key first).
 *
 * @param statement whose signature has been verified, with the key that it names
 */
export function judge(
  statement: SignedStatement,
  { host, repository, tag, digest }: AskedImage,
  trust: Trust,
  now: EpochMs,
): Verdict {
  const asked = parseReference(`${host}/${repository}${tag === undefined ? `@${digest}` : `:${tag}`}`);
  const rule = asked && ruleFor(trust, asked);
  if (!rule) return refused("no-signer");
  const signer = rule.signers.find((one) => keyOf(one, statement));
  const key = signer && keyOf(signer, statement);
  if (!key) return refused(whyNot(rule.former, statement, now));
  const fault = faultOfKey(key, statement, now);
  if (fault) return refused(fault);
  if (statement.expiresAt !== undefined && statement.expiresAt <= now) return refused("expired");
  if (statement.digest !== digest) return refused("other-digest");
  const signed = parseReference(statement.reference);
  const other = rule.alias
    ? differs(
        { ...asked, host: rule.alias.signedPrefix, name: `${rule.alias.signedPrefix}/${asked.path}` },
        signed,
      )
    : statement.format === "sigstore"
      ? isOtherRepository(asked, signed)
      : differs(asked, signed);
  return other ? refused(other) : { accepted: true, signer };
}

const refused = (refusal: Refusal): Verdict => ({ accepted: false, refusal });

function keyOf({ keys }: Signer, { fingerprint }: SignedStatement): SignerKey | undefined {
  return keys.find((key) => key.fingerprint === fingerprint);
}

function whyNot(former: readonly Signer[], statement: SignedStatement, now: EpochMs): Refusal {
  const signer = former.find((one) => keyOf(one, statement));
  if (!signer) return "out-of-scope";
  return signer.expiresAt !== undefined && signer.expiresAt <= now && signer.revokedAt === undefined
    ? "signer-expired"
    : "signer-revoked";
}

/** What gpg looks at beside the mathematics: the key's time is that of now, not of the signature. */
function faultOfKey(key: SignerKey, statement: SignedStatement, now: EpochMs): Refusal | undefined {
  if (key.isRevoked) return "key-revoked";
  if (key.expiresAt !== undefined && key.expiresAt <= now) return "key-expired";
  const { createdAt } = key;
  return createdAt !== undefined && (createdAt > statement.signedAt || createdAt > now)
    ? "key-newer"
    : undefined;
}

/** `matchRepository`: what cosign signs has no tag. */
function isOtherRepository(asked: ImageReference, signed: ImageReference | undefined): Refusal | undefined {
  return signed?.name === asked.name ? undefined : "other-repository";
}

/** `matchRepoDigestOrExact`, the rule of a `signedBy` that names none, and of `remapIdentity`. @param signed undefined: what the payload says is no reference */
function differs(asked: ImageReference, signed: ImageReference | undefined): Refusal | undefined {
  // A signature of a name alone, without tag or digest, is for no image.
  if (!signed || (signed.tag === undefined && signed.digest === undefined)) return "other-repository";
  if (signed.name !== asked.name) return "other-repository";
  return asked.tag === undefined || formatReference(signed) === formatReference(asked)
    ? undefined
    : "other-tag";
}
