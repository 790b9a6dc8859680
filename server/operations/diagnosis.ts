import { type Boot, type BootStepName, furthestStep } from "../domain/boot.ts";
import type { DurationMs, EpochMs } from "../domain/capabilities.ts";

/** How far a boot came, in words that say where to look. */
const stoppedAt: Readonly<Record<BootStepName, string>> = {
  discover: "its firmware asked for an address and loaded nothing",
  offer: "its firmware was offered an address and loaded nothing",
  request: "its firmware was told its boot file and did not load it",
  nbp: "it loaded its first-stage program and was not heard of again: Secure Boot, or its network driver",
  "ipxe-dhcp": "iPXE runs on it and did not ask for its script",
  contact: "iPXE runs on it and did not ask for its script",
  script: "it got its script and did not load its kernel",
  wait: "it waits for a role on its screen",
  pick: "a role was picked on it, and its kernel was not loaded",
  kernel: "it loaded its kernel and not all that belongs to it",
  node: "it loaded its kernel and not all that belongs to it",
  initrd: "it loaded kernel and initrd, and its initramfs was not heard of",
  network: "its initramfs has an address and stopped there",
  rootfs: "it did not get through loading its root file system",
  verify: "it did not get through checking its root file system",
  "switch-root": "it started its system, which did not fetch its config",
  config: "its system has its config and did not report that it is done",
  callback: "it called back, and is not ready in the cluster",
  failed: "it reported that it failed",
};

/** `90 s`, `6 minutes` */
export function inWords(ms: DurationMs): string {
  const seconds = Math.round(ms / 1000);
  return seconds < 120 ? `${seconds} s` : `${Math.round(seconds / 60)} minutes`;
}

/** Why a machine is not where it should be, in one sentence. @param since when it was ordered to boot */
export function diagnose(
  machine: string,
  boot: Boot | undefined,
  { since, now }: { since: EpochMs; now: EpochMs },
): string {
  const after = `${inWords(now - since)} after the order`;
  if (!boot || boot.startedAt < since) {
    const last = boot ? `its last boot is of ${new Date(boot.startedAt).toISOString()}` : "it never has";
    return `${machine} has begun no boot ${after}; ${last}`;
  }
  const furthest = furthestStep(boot);
  const where = furthest === undefined ? "nothing was seen of it" : stoppedAt[furthest];
  return `${machine} is not ready ${after}: ${boot.verdict ?? where}`;
}
