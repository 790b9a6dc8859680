import type { Ipv4 } from "../net/ipv4.ts";
import type { Mac } from "../net/mac.ts";
import type { AssignedTarget } from "./assignment.ts";
import type { EpochMs } from "./capabilities.ts";
import type { BootedImage } from "./image.ts";

/**
 * A claim is the secret that a machine gets with its script and shows for its configs and callbacks: one per boot, bound to the
 * machine and the address that it was minted for. Only its hash is stored.
 */
export interface Claim {
  /** SHA-256 of the secret, hex. */
  readonly hash: string;
  readonly bootId: string;
  readonly machineId: string;
  readonly mac: Mac;
  readonly address: Ipv4;
  /** What the script was made for: the configs are made for the same, whatever is assigned meanwhile. */
  readonly target: AssignedTarget;
  /** The version of the image that the script names: the boot keeps it, whichever is chosen meanwhile. */
  readonly image: BootedImage | undefined;
  /** The assignment that the target comes from; undefined for a default or a policy. */
  readonly assignmentId: string | undefined;
  readonly mintedAt: EpochMs;
  readonly expiresAt: EpochMs;
  /** When the machine's callback spent it; configs are refused from then on. */
  readonly spentAt: EpochMs | undefined;
  /** How often each document was fetched. */
  readonly fetches: Readonly<Record<string, number>>;
}

/** A lost reply is asked for again, so a document may be fetched a few times; cloud-init retries up to 10 times. */
export const maximumFetchesPerDocument = 12;
/** From the script to the callback: a slow disk-less boot over 100 Mbit/s takes a few minutes. */
export const claimLifetimeMs = 60 * 60_000;
/** After the callback the machine may still send its log and repeat its callback for this long. */
export const reportWindowMs = 10 * 60_000;

/** May the machine of this claim still be loading? */
export function isLoading(
  { spentAt, expiresAt }: Pick<Claim, "spentAt" | "expiresAt">,
  now: EpochMs,
): boolean {
  return spentAt === undefined && now <= expiresAt;
}

export type ClaimUse = { readonly kind: "config"; readonly document: string } | { readonly kind: "report" };
export type ClaimVerdict = "ok" | "unknown" | "wrong-address" | "expired" | "spent" | "too-many-fetches";

/** May `address` (undefined: shown to be somebody else's) use this claim now? Anything but `ok` is refused with the same answer and raises an alarm event. */
export function judgeClaim(
  claim: Claim | undefined,
  address: string | undefined,
  use: ClaimUse,
  now: EpochMs,
): ClaimVerdict {
  if (!claim) return "unknown";
  if (claim.address !== address) return "wrong-address";
  if (use.kind === "report") {
    // A callback that came just before the claim's end opens its report window all the same.
    if (claim.spentAt !== undefined) return now > claim.spentAt + reportWindowMs ? "spent" : "ok";
    return now > claim.expiresAt ? "expired" : "ok";
  }
  if (claim.spentAt !== undefined) return "spent";
  if (now > claim.expiresAt) return "expired";
  if ((claim.fetches[use.document] ?? 0) >= maximumFetchesPerDocument) return "too-many-fetches";
  return "ok";
}
