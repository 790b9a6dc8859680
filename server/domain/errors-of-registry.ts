import { defineError } from "./errors.ts";

/** What the container registry refuses to its administrator; what its clients are told has the form of OCI (registry/oci-error.ts). */

const inMebibytes = (octets: number) => `${Math.ceil(octets / 1024 ** 2)} MiB`;

export const RegistryQuotaReached = defineError("REGISTRY_QUOTA_REACHED", {
  kind: "operational",
  httpStatus: 403,
  message: (d: { usedBytes: number; quotaBytes: number }) =>
    `the registry holds ${inMebibytes(d.usedBytes)} of its ${inMebibytes(d.quotaBytes)} (registry.quotaBytes), and this is more`,
  advice:
    "Delete tags that nobody needs, then `boot registry collect`; what was used within registry.graceSeconds goes later. Or raise registry.quotaBytes.",
});
export const RepositoryQuotaReached = defineError("REPOSITORY_QUOTA_REACHED", {
  kind: "operational",
  httpStatus: 403,
  message: (d: { repository: string; usedBytes: number; quotaBytes: number }) =>
    `the repository ${d.repository} holds ${inMebibytes(d.usedBytes)} of its ${inMebibytes(d.quotaBytes)} (quotaBytes in registry.repositories), and this is more`,
  advice:
    "Delete tags of it that nobody needs: what no tag leads to is removed within registry.graceSeconds and counts no more. Or raise the quota.",
});
export const RegistryCheckRuns = defineError("REGISTRY_CHECK_RUNS", {
  kind: "operational",
  httpStatus: 409,
  message: () => "a check of the registry is under way already",
  advice: "Wait until it is done, and check again.",
});
