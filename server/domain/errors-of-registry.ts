import { formatUse } from "./byte-size.ts";
import { defineError } from "./errors.ts";

/** What the container registry refuses to its administrator; what its clients are told has the form of OCI (registry/oci-error.ts). */

export const RegistryQuotaReached = defineError("REGISTRY_QUOTA_REACHED", {
  kind: "operational",
  httpStatus: 403,
  message: (d: { usedBytes: number; quotaBytes: number }) =>
    `the registry holds ${formatUse(d.usedBytes, d.quotaBytes)} (registry.quotaBytes), and this is more`,
  advice:
    "Delete tags that nobody needs, then `boot registry collect`; what was used within registry.graceSeconds goes later. Or raise registry.quotaBytes.",
});
export const RepositoryQuotaReached = defineError("REPOSITORY_QUOTA_REACHED", {
  kind: "operational",
  httpStatus: 403,
  message: (d: { repository: string; usedBytes: number; quotaBytes: number }) =>
    `the repository ${d.repository} holds ${formatUse(d.usedBytes, d.quotaBytes)} (quotaBytes in registry.repositories), and this is more`,
  advice:
    "Delete tags of it that nobody needs: what no tag leads to is removed within registry.graceSeconds and counts no more. Or raise the quota.",
});
export const RegistryCheckRuns = defineError("REGISTRY_CHECK_RUNS", {
  kind: "operational",
  httpStatus: 409,
  message: () => "a check of the registry is under way already",
  advice: "Wait until it is done, and check again.",
});
export const ContainerImagePinned = defineError("CONTAINER_IMAGE_PINNED", {
  kind: "user",
  httpStatus: 409,
  message: (d: { image: string; by: string }) => `${d.image} is needed: it is pinned by ${d.by}`,
  advice:
    "Take it out of there first, for machines that boot may ask for it. If it is to go all the same: `boot image remove IMAGE --force`.",
});
export const ContainerImageReferenced = defineError("CONTAINER_IMAGE_REFERENCED", {
  kind: "user",
  httpStatus: 409,
  message: (d: { image: string; index: string }) => `${d.image} is a part of the image ${d.index}`,
  advice: "Remove that one, which is for several architectures, by its tag or digest; its parts go with it.",
});
